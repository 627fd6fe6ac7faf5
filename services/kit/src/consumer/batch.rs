//! One transaction of a consumer: the position first, then what is held, then the effects.

use std::borrow::Cow;
use std::collections::HashSet;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use sea_orm::FromQueryResult;
use tracing::Instrument;

use super::Handler;
use super::judge::Position;
use super::watermark::{self, Stored};
use crate::bus::{Defect, Partition};
use crate::event::Record;
use crate::{Ctx, Error, Result, Tx, parked};

/// Records to apply, and how far they and what is got past among them bring the position.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    /// The position behind each record.
    behind: Vec<Behind>,
    /// The position behind all, where the last thing in it is no record.
    end: Option<Behind>,
}

/// The position behind a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behind {
    pub(super) next_offset: i64,
    pub(super) position: Position,
}

impl From<Behind> for Stored {
    fn from(behind: Behind) -> Self {
        Self {
            position: behind.position,
            next_offset: behind.next_offset,
            held: None,
        }
    }
}

impl Batch {
    pub(super) fn push(&mut self, record: Record, behind: Behind) {
        self.records.push(record);
        self.behind.push(behind);
        self.end = None;
    }

    /// Gets past something that has no effect.
    pub(super) fn pass(&mut self, behind: Behind) {
        self.end = Some(behind);
    }

    /// The position behind all of it; `None` when there is nothing in it.
    pub(super) fn to(&self) -> Option<Stored> {
        let end = self.end.or(self.behind.last().copied());
        end.map(Stored::from)
    }

    /// The part that begins with record `first`.
    pub(super) fn split_off(&mut self, first: usize) -> Self {
        Self {
            records: self.records.split_off(first),
            behind: self.behind.split_off(first),
            end: self.end.take(),
        }
    }

    /// The position behind record `index`.
    pub(super) fn behind(&self, index: usize) -> Option<Stored> {
        self.behind.get(index).copied().map(Stored::from)
    }
}

/// What a batch came to.
#[derive(Debug)]
pub(super) struct Applied {
    /// The new position.
    pub(super) to: Stored,
    /// Records that had their effect; the others only moved the position or wait.
    pub(super) effects: usize,
}

/// Applies `records` and moves to `to` in one transaction; `None` when somebody else was here.
pub(super) async fn apply<H: Handler>(
    ctx: &Ctx,
    handler: &H,
    at: (&Partition, &Stored),
    (records, to): (&[Record], Stored),
) -> Result<Option<Applied>> {
    let started = std::time::Instant::now();
    let early = ctx.db.faults().has(Defect::PositionBeforeEffects);
    if early {
        let tx = ctx.db.begin().await?;
        let moved = advance(&tx, handler.name(), at, &to).await;
        if ctx.db.end_as(handler.name(), tx, moved).await?.is_none() {
            return Ok(None);
        }
    }
    let tx = ctx.db.begin().await?;
    let traces = records
        .iter()
        .filter_map(|record| record.traceparent.as_deref());
    let span = crate::telemetry::consumed(handler.name(), traces);
    let attempt = async {
        let moved = if early {
            Some(true)
        } else {
            advance(&tx, handler.name(), at, &to).await?
        };
        match moved {
            Some(holds) => effects(&tx, handler, (at.0, holds), records)
                .await
                .map(Some),
            None => Ok(None),
        }
    };
    let result = attempt.instrument(span.clone()).await;
    let effects: Option<usize> = ctx
        .db
        .end_as(handler.name(), tx, result)
        .instrument(span)
        .await?;
    metrics::histogram!("bashu_consumer_batch_seconds", "consumer" => handler.name())
        .record(started.elapsed().as_secs_f64());
    if let Some(last) = records.last() {
        let age = (ctx.clock.now() - last.at).num_milliseconds().max(0);
        #[expect(
            clippy::cast_precision_loss,
            reason = "an age of years would lose a millisecond"
        )]
        metrics::gauge!("bashu_consumer_last_event_age_seconds", "consumer" => handler.name())
            .set(age as f64 / 1_000.0);
    }
    Ok(effects.map(|effects| Applied { to, effects }))
}

async fn advance(
    tx: &Tx,
    name: &'static str,
    (partition, stored): (&Partition, &Stored),
    to: &Stored,
) -> Result<Option<bool>> {
    watermark::advance(tx, name, partition, stored.next_offset, to).await
}

/// What the records do; how many had their effect.
async fn effects<H: Handler>(
    tx: &Tx,
    handler: &H,
    (partition, holds): (&Partition, bool),
    records: &[Record],
) -> Result<usize> {
    let held = if holds {
        held_keys(tx, handler.name(), partition, records).await?
    } else {
        HashSet::new()
    };
    let sorted = sort_out(handler, &held, records)?;
    for waiting in sorted.waiting {
        parked::insert(tx, handler.name(), waiting, None).await?;
    }
    run(handler, tx, &sorted.apply).await?;
    Ok(sorted.apply.len())
}

/// Parks one record with the error it causes, and holds its key.
pub(super) async fn park(
    ctx: &Ctx,
    consumer: &'static str,
    (partition, stored): (&Partition, &Stored),
    (record, to): (&Record, Stored),
    error: &Error,
) -> Result<Option<Applied>> {
    let reason = parked::reason(error);
    let tx = ctx.db.begin().await?;
    let result = park_one(&tx, consumer, (partition, stored), &to, (record, &reason)).await;
    let moved = ctx.db.end_as(consumer, tx, result).await?;
    tracing::error!(
        consumer,
        topic = record.topic,
        partition = record.partition,
        offset = record.offset,
        kind = record.kind,
        %error,
        sqlstate = error.sqlstate(),
        "a record was parked and its key is held"
    );
    metrics::counter!("bashu_consumer_parked_total", "consumer" => consumer).increment(1);
    parked::measure(ctx).await?;
    Ok(moved.then_some(Applied { to, effects: 0 }))
}

/// Lets a stopped partition go on at the announcement of a later epoch.
pub(super) async fn reopen(
    ctx: &Ctx,
    consumer: &'static str,
    (partition, stored): (&Partition, &Stored),
    open: &Stored,
) -> Result<bool> {
    let tx = ctx.db.begin().await?;
    let result = watermark::advance(&tx, consumer, partition, stored.next_offset, open).await;
    Ok(ctx.db.end_as(consumer, tx, result).await?.is_some())
}

async fn park_one(
    tx: &Tx,
    consumer: &'static str,
    (partition, stored): (&Partition, &Stored),
    to: &Stored,
    (record, reason): (&Record, &str),
) -> Result<bool> {
    let moved = watermark::advance(tx, consumer, partition, stored.next_offset, to).await?;
    if moved.is_none() {
        return Ok(false);
    }
    parked::insert(tx, consumer, record, Some(reason)).await?;
    Ok(true)
}

struct SortedOut<'a> {
    apply: Cow<'a, [Record]>,
    waiting: Vec<&'a Record>,
}

/// Tells apart what is applied now and what waits behind a held key. As a rule all of it is
/// applied, as it stands.
fn sort_out<'a, H: Handler>(
    handler: &H,
    held: &HashSet<Vec<u8>>,
    records: &'a [Record],
) -> Result<SortedOut<'a>> {
    let mut waiting = Vec::new();
    if held.is_empty() && records.iter().all(|record| handler.handles(&record.kind)) {
        return Ok(SortedOut {
            apply: Cow::Borrowed(records),
            waiting,
        });
    }
    let mut apply = Vec::with_capacity(records.len());
    for record in records {
        let known = handler.handles(&record.kind);
        if !known && !record.must_understand {
            continue;
        }
        let held = held.contains(&record.key);
        if held && !(known && handler.monotone(record)) {
            waiting.push(record);
        } else if known {
            apply.push(record.clone());
        } else {
            let kind = &record.kind;
            return Err(Error::permanent(format!(
                "{kind} must be understood and is not known"
            )));
        }
    }
    let apply = Cow::Owned(apply);
    Ok(SortedOut { apply, waiting })
}

/// The keys of these records that are held; locked, so that a release cannot drop a hold behind
/// which this transaction puts a record.
async fn held_keys(
    tx: &Tx,
    consumer: &str,
    partition: &Partition,
    records: &[Record],
) -> Result<HashSet<Vec<u8>>> {
    #[derive(FromQueryResult)]
    struct Key {
        key: Vec<u8>,
    }
    if records.is_empty() {
        return Ok(HashSet::new());
    }
    let keys: Vec<Vec<u8>> = records.iter().map(|record| record.key.clone()).collect();
    let held: Vec<Key> = tx
        .all(
            "SELECT key FROM parked_key WHERE consumer = $1 AND topic = $2 AND key = ANY ($3)
             ORDER BY key FOR SHARE",
            [consumer.into(), partition.topic.clone().into(), keys.into()],
        )
        .await?;
    Ok(held.into_iter().map(|row| row.key).collect())
}

/// Runs the handler; its refusal undoes all of the transaction, and its panic is a failure of
/// the record like any other.
pub(crate) async fn run<H: Handler>(handler: &H, tx: &Tx, records: &[Record]) -> Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    match AssertUnwindSafe(handler.apply(tx, records))
        .catch_unwind()
        .await
    {
        Ok(Err(Error::Refused(refusal))) if !refusal.transient => {
            Err(Error::permanent(format!("refused: {}", refusal.code)))
        }
        Ok(done) => done,
        Err(_) => Err(Error::permanent("the handler panicked")),
    }
}
