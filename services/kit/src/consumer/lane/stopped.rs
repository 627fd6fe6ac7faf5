//! A partition that must not go on: how it stops, and what it looks for until it may.

use std::time::Instant;

use super::{HELD_CHECK, PartitionLane, Stop, Turn};
use crate::bus::{Arrived, EPOCH_OPENED};
use crate::consumer::judge::Position;
use crate::consumer::watermark::{self, Stored};
use crate::consumer::{BATCH_RECORDS_MAX, batch};
use crate::{Ctx, Result};

impl PartitionLane {
    /// Stops the partition. What it still reads is only looked through for a new epoch.
    pub(super) async fn hold(
        &mut self,
        ctx: &Ctx,
        consumer: &'static str,
        stop: Stop,
    ) -> Result<Turn> {
        let expected = self.stored.next_offset;
        let at = (stop.offset, stop.reason.as_str());
        if !watermark::hold(ctx, consumer, &self.partition, expected, at).await? {
            return Ok(Turn::Reposition);
        }
        tracing::error!(
            consumer,
            topic = self.partition.topic,
            partition = self.partition.partition,
            reason = stop.reason,
            "a partition has stopped"
        );
        metrics::counter!("bashu_consumer_stops_total", "consumer" => consumer).increment(1);
        let announced_before = stop.reason.starts_with("epoch:");
        self.stored.held = Some(stop.reason);
        self.pending = None;
        self.passed = None;
        // The announcement may stand before the record that was met without one.
        Ok(if announced_before {
            Turn::Reposition
        } else {
            Turn::Passed(0)
        })
    }

    /// Looks through what arrives at a stopped partition for the announcement of a later epoch,
    /// with which it goes on: all that was lost is said again in it.
    pub(super) async fn scan(&mut self, ctx: &Ctx, consumer: &'static str) -> Result<Turn> {
        if Instant::now() >= self.held_check_at {
            self.held_check_at = Instant::now() + HELD_CHECK;
            match watermark::load(ctx, consumer, &self.partition).await {
                Ok(stored) if stored == self.stored => {}
                Ok(_) => return Ok(Turn::Reposition),
                // It looks again in a moment.
                Err(error) if error.is_transient() => return Ok(Turn::Passed(0)),
                Err(error) => return Err(error),
            }
        }
        let mut arrived = self.inbox.take(BATCH_RECORDS_MAX).into_iter();
        while let Some(next) = arrived.next() {
            let Arrived::Record(record) = &next else {
                continue;
            };
            let later = record.epoch > self.stored.position.epoch;
            if record.kind != EPOCH_OPENED || record.pseq != 0 || !later {
                continue;
            }
            let open = Stored {
                position: Position {
                    epoch: record.epoch,
                    last_pseq: 0,
                },
                next_offset: record.offset + 1,
                held: None,
            };
            self.inbox.put_back(arrived.collect());
            let moved = batch::reopen(ctx, consumer, (&self.partition, &self.stored), &open);
            if !moved.await? {
                return Ok(Turn::Reposition);
            }
            tracing::warn!(
                consumer,
                topic = self.partition.topic,
                partition = self.partition.partition,
                epoch = open.position.epoch,
                "a stopped partition goes on in a new epoch"
            );
            self.wanted = open.next_offset;
            self.stored = open;
            self.parked_in_a_row = 0;
            return Ok(Turn::Passed(1));
        }
        Ok(Turn::Passed(0))
    }
}
