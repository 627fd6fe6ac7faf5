//! One partition of a consumer: takes what has arrived, batch by batch, and decides what becomes
//! of a batch that fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::batch::{self, Applied, Step};
use super::judge::{Position, Verdict, judge};
use super::watermark::{self, Stored};
use super::{BATCH_RECORDS_MAX, Handler, PARKED_IN_A_ROW_MAX, RETRY_DELAY, RETRY_DELAY_MAX};
use crate::bus::{Arrived, Bus, EPOCH_OPENED, Inbox, Partition, Start, is_crash};
use crate::event::Record;
use crate::{Ctx, Error, Result};

/// How often a stopped partition looks whether an operator let it go on.
const HELD_CHECK: Duration = Duration::from_secs(1);

/// What a turn came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// So many records are behind us.
    Passed(usize),
    /// The database has another position than we thought: read from there.
    Reposition,
}

#[derive(Debug)]
pub(super) struct PartitionLane {
    partition: Partition,
    stored: Stored,
    generation: u64,
    inbox: Arc<Inbox>,
    /// The next offset wanted: a smaller one has been delivered before.
    wanted: i64,
    /// What failed for the moment and is tried again.
    pending: Vec<Step>,
    retry_at: Option<Instant>,
    retry_delay: Duration,
    parked_in_a_row: u32,
    held_check_at: Instant,
}

/// Why a partition must stop, before which record.
struct Stop {
    offset: i64,
    reason: String,
}

impl PartitionLane {
    pub(super) fn new(
        partition: Partition,
        stored: Stored,
        generation: u64,
        arrived: Arc<Notify>,
    ) -> Self {
        // A stopped partition reads everything to find the announcement of a new epoch.
        let wanted = if stored.held.is_some() {
            0
        } else {
            stored.next_offset
        };
        Self {
            partition,
            stored,
            generation,
            inbox: Inbox::new(arrived),
            wanted,
            pending: Vec::new(),
            retry_at: None,
            retry_delay: RETRY_DELAY,
            parked_in_a_row: 0,
            held_check_at: Instant::now() + HELD_CHECK,
        }
    }

    pub(super) fn partition(&self) -> &Partition {
        &self.partition
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn start(&self) -> Start {
        Start {
            partition: self.partition.clone(),
            next_offset: if self.stored.held.is_some() {
                -1
            } else {
                self.stored.next_offset
            },
            inbox: Arc::clone(&self.inbox),
        }
    }

    /// Whether a turn would do something now.
    pub(super) fn is_ready(&self) -> bool {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| now < at) {
            return false;
        }
        let check = self.stored.held.is_some() && now >= self.held_check_at;
        !self.pending.is_empty() || self.inbox.len() > 0 || check
    }

    /// Whether nothing waits here, not even for a later attempt.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.inbox.len() == 0
    }

    pub(super) async fn turn<H: Handler>(
        mut self,
        ctx: Ctx,
        bus: Bus,
        handler: Arc<H>,
    ) -> (Self, Result<Turn>) {
        let turn = self.pass(&ctx, &bus, handler.as_ref()).await;
        self.measure(handler.name());
        (self, turn)
    }

    async fn pass<H: Handler>(&mut self, ctx: &Ctx, bus: &Bus, handler: &H) -> Result<Turn> {
        if self.stored.held.is_some() {
            return self.scan(ctx, handler.name()).await;
        }
        let taken = match std::mem::take(&mut self.pending) {
            steps if steps.is_empty() => self.take(),
            steps => Taken::Steps(steps),
        };
        match taken {
            Taken::Nothing => Ok(Turn::Passed(0)),
            Taken::Stop(stop) => self.hold(ctx, handler.name(), stop).await,
            Taken::Steps(steps) => {
                bus.faults().point("consumer.taken").await?;
                let turn = self.apply(ctx, handler, steps).await?;
                bus.faults().point("consumer.applied").await?;
                Ok(turn)
            }
        }
    }

    /// The next batch; or what stops the partition, when it comes first.
    fn take(&mut self) -> Taken {
        let mut steps = Vec::new();
        let mut position = self.stored.position;
        let mut arrived = self.inbox.take(BATCH_RECORDS_MAX).into_iter();
        while let Some(next) = arrived.next() {
            match self.sort(position, &next) {
                Sorted::Nothing => {}
                Sorted::Step(step) => {
                    position = step.after;
                    steps.push(step);
                }
                Sorted::Stop(stop) if steps.is_empty() => {
                    self.inbox.put_back(arrived.collect());
                    return Taken::Stop(stop);
                }
                Sorted::Stop(_) => {
                    // First what came before it; then it is met again.
                    let rest = std::iter::once(next).chain(arrived).collect();
                    self.inbox.put_back(rest);
                    break;
                }
            }
        }
        if steps.is_empty() {
            Taken::Nothing
        } else {
            Taken::Steps(steps)
        }
    }

    fn sort(&mut self, position: Position, arrived: &Arrived) -> Sorted {
        match arrived {
            Arrived::Rewound { asked, high, .. } if asked > high => Sorted::Stop(Stop {
                offset: *high,
                reason: format!("log: it ends at {high} and was read up to {asked}: wiped"),
            }),
            Arrived::Rewound { low, .. } => {
                self.wanted = *low;
                Sorted::Nothing
            }
            Arrived::Broken { offset, .. } if *offset < self.wanted => Sorted::Nothing,
            Arrived::Broken { offset, reason } => Sorted::Stop(Stop {
                offset: *offset,
                reason: format!("broken: a record is not one of ours: {reason}"),
            }),
            Arrived::Record(record) if record.offset < self.wanted => Sorted::Nothing,
            Arrived::Record(record) => match judge(position, record) {
                Verdict::Hold(reason) => Sorted::Stop(Stop {
                    offset: record.offset,
                    reason,
                }),
                verdict @ (Verdict::Drop | Verdict::Apply(_) | Verdict::Open(_)) => {
                    self.wanted = record.offset + 1;
                    Sorted::Step(step(position, record, &verdict))
                }
            },
        }
    }

    async fn apply<H: Handler>(
        &mut self,
        ctx: &Ctx,
        handler: &H,
        steps: Vec<Step>,
    ) -> Result<Turn> {
        match batch::apply(ctx, handler, (&self.partition, &self.stored), &steps).await {
            Ok(applied) => Ok(self.applied(applied, steps.len())),
            Err(error) if is_crash(&error) => Err(error),
            Err(error) if error.is_transient() => Ok(self.later(steps, &error)),
            Err(error) => self.one_by_one(ctx, handler, steps, error).await,
        }
    }

    /// Redoes a batch that failed for good, record by record, and parks the one at fault.
    async fn one_by_one<H: Handler>(
        &mut self,
        ctx: &Ctx,
        handler: &H,
        steps: Vec<Step>,
        whole: Error,
    ) -> Result<Turn> {
        // A batch of one need not fail twice.
        let mut known = (steps.len() == 1).then_some(whole);
        let mut passed = 0;
        let mut rest = steps.into_iter();
        while let Some(step) = rest.next() {
            let at = (&self.partition, &self.stored);
            let tried = match known.take() {
                Some(error) => Err(error),
                None => batch::apply(ctx, handler, at, std::slice::from_ref(&step)).await,
            };
            let outcome = match tried {
                Ok(applied) => Ok(applied),
                Err(error) if error.is_transient() => Err(error),
                Err(error) => {
                    self.parked_in_a_row += 1;
                    batch::park(ctx, handler.name(), at, &step, &error).await
                }
            };
            match outcome {
                Ok(Some(applied)) => self.move_to(applied),
                Ok(None) => return Ok(Turn::Reposition),
                Err(error) => {
                    let again = std::iter::once(step).chain(rest).collect();
                    return Ok(self.later(again, &error));
                }
            }
            passed += 1;
            if self.parked_in_a_row >= PARKED_IN_A_ROW_MAX {
                let reason = format!("circuit: {PARKED_IN_A_ROW_MAX} records in a row failed");
                let stop = Stop {
                    offset: self.stored.next_offset,
                    reason,
                };
                self.hold(ctx, handler.name(), stop).await?;
                return Ok(Turn::Passed(passed));
            }
        }
        self.retry_delay = RETRY_DELAY;
        Ok(Turn::Passed(passed))
    }

    fn applied(&mut self, applied: Option<Applied>, passed: usize) -> Turn {
        let Some(applied) = applied else {
            metrics::counter!("bashu_consumer_fenced_total").increment(1);
            return Turn::Reposition;
        };
        self.move_to(applied);
        self.retry_at = None;
        self.retry_delay = RETRY_DELAY;
        Turn::Passed(passed)
    }

    fn move_to(&mut self, applied: Applied) {
        // What only waits behind a held key says nothing about the handler.
        if applied.effects > 0 {
            self.parked_in_a_row = 0;
        }
        self.inbox.set_applied(applied.to.next_offset);
        self.stored = applied.to;
    }

    /// Keeps a batch for a later attempt; meanwhile the inbox fills and the reader pauses.
    fn later(&mut self, steps: Vec<Step>, error: &Error) -> Turn {
        tracing::warn!(
            topic = self.partition.topic,
            partition = self.partition.partition,
            delay = ?self.retry_delay,
            %error,
            sqlstate = error.sqlstate(),
            "a batch is tried again"
        );
        self.pending = steps;
        self.retry_at = Some(Instant::now() + self.retry_delay);
        self.retry_delay = (self.retry_delay * 2).min(RETRY_DELAY_MAX);
        Turn::Passed(0)
    }

    /// Stops the partition. What it still reads is only looked through for a new epoch.
    async fn hold(&mut self, ctx: &Ctx, consumer: &'static str, stop: Stop) -> Result<Turn> {
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
        self.pending.clear();
        // The announcement may stand before the record that was met without one.
        Ok(if announced_before {
            Turn::Reposition
        } else {
            Turn::Passed(0)
        })
    }

    /// Looks through what arrives at a stopped partition for the announcement of a later epoch,
    /// with which it goes on: all that was lost is said again in it.
    async fn scan(&mut self, ctx: &Ctx, consumer: &'static str) -> Result<Turn> {
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

    fn measure(&self, consumer: &'static str) {
        let topic = self.partition.topic.clone();
        let partition = self.partition.partition.to_string();
        let behind = (self.inbox.high() - self.stored.next_offset).max(0);
        let held = i32::from(self.stored.held.is_some());
        #[expect(clippy::cast_precision_loss, reason = "a count of records for a gauge")]
        metrics::gauge!("bashu_consumer_behind_records", "consumer" => consumer,
            "topic" => topic.clone(), "partition" => partition.clone())
        .set(behind as f64);
        metrics::gauge!("bashu_consumer_held", "consumer" => consumer, "topic" => topic,
            "partition" => partition)
        .set(f64::from(held));
    }
}

enum Taken {
    Nothing,
    Steps(Vec<Step>),
    Stop(Stop),
}

enum Sorted {
    Nothing,
    Step(Step),
    Stop(Stop),
}

fn step(position: Position, record: &Record, verdict: &Verdict) -> Step {
    let (after, applied) = match verdict {
        Verdict::Apply(after) => {
            if position.epoch == 0 && after.last_pseq != 1 {
                tracing::warn!(
                    topic = record.topic,
                    partition = record.partition,
                    first = after.last_pseq,
                    "a new consumer begins in the middle: run `bashu resync` of the writer"
                );
            }
            (*after, Some(record.clone()))
        }
        Verdict::Open(after) => (*after, None),
        Verdict::Drop | Verdict::Hold(_) => (position, None),
    };
    Step {
        next_offset: record.offset + 1,
        after,
        record: applied,
    }
}
