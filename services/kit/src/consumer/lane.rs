//! One partition of a consumer: takes what has arrived, batch by batch, and decides what becomes
//! of a batch that fails.

mod stopped;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::batch::{self, Applied, Batch, Behind};
use super::judge::{Position, Verdict, judge, judge_number};
use super::watermark::{self, Stored};
use super::{
    BATCH_RECORDS_MAX, Handler, LINGER, PARKED_IN_A_ROW_MAX, RETRY_DELAY, RETRY_DELAY_MAX,
};
use crate::bus::{Arrived, Bus, Inbox, Partition, Start, is_crash};
use crate::{Ctx, Error, Result};

/// How often a stopped partition looks whether an operator let it go on.
const HELD_CHECK: Duration = Duration::from_secs(1);

/// How long a position may stay in memory alone when all that is behind it had no effect here: it
/// is stored together with the next effect or, when none comes, by itself. Whoever reads from the
/// stored one meets only what has no effect.
const PASSED_STORED_AFTER: Duration = Duration::from_millis(100);

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
    /// How far beyond what is stored it got without an effect.
    passed: Option<Passed>,
    generation: u64,
    inbox: Arc<Inbox>,
    gauges: Gauges,
    /// The next offset wanted: a smaller one has been delivered before.
    wanted: i64,
    /// What failed for the moment and is tried again.
    pending: Option<Batch>,
    retry_at: Option<Instant>,
    retry_delay: Duration,
    parked_in_a_row: u32,
    held_check_at: Instant,
}

/// A position that is not stored yet.
#[derive(Debug)]
struct Passed {
    to: Stored,
    since: Instant,
}

#[derive(Debug)]
struct Gauges {
    behind: metrics::Gauge,
    held: metrics::Gauge,
}

impl Gauges {
    fn new(consumer: &'static str, partition: &Partition) -> Self {
        let (topic, part) = (partition.topic.clone(), partition.partition.to_string());
        Self {
            behind: metrics::gauge!("bashu_consumer_behind_records", "consumer" => consumer,
                "topic" => topic.clone(), "partition" => part.clone()),
            held: metrics::gauge!("bashu_consumer_held", "consumer" => consumer,
                "topic" => topic, "partition" => part),
        }
    }
}

/// Why a partition must stop, before which record.
struct Stop {
    offset: i64,
    reason: String,
}

impl PartitionLane {
    pub(super) fn new(
        consumer: &'static str,
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
            gauges: Gauges::new(consumer, &partition),
            partition,
            stored,
            passed: None,
            generation,
            inbox: Inbox::new(arrived),
            wanted,
            pending: None,
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
        let passed = |passed: &Passed| now >= passed.since + PASSED_STORED_AFTER;
        let store = self.passed.as_ref().is_some_and(passed);
        self.pending.is_some() || self.inbox.len() > 0 || check || store
    }

    /// Whether nothing waits here, not even for a later attempt.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_none() && self.inbox.len() == 0 && self.passed.is_none()
    }

    pub(super) async fn turn<H: Handler>(
        mut self,
        ctx: Ctx,
        bus: Bus,
        handler: Arc<H>,
    ) -> (Self, Result<Turn>) {
        let turn = self.pass(&ctx, &bus, handler.as_ref()).await;
        self.measure();
        (self, turn)
    }

    async fn pass<H: Handler>(&mut self, ctx: &Ctx, bus: &Bus, handler: &H) -> Result<Turn> {
        if self.stored.held.is_some() {
            return self.scan(ctx, handler.name()).await;
        }
        let taken = match self.pending.take() {
            Some(batch) => Taken::Batch(batch),
            None => self.take(),
        };
        match taken {
            Taken::Stop(stop) => self.hold(ctx, handler.name(), stop).await,
            Taken::Batch(batch) if !batch.records.is_empty() => {
                bus.faults().point("consumer.taken").await?;
                let turn = self.apply(ctx, handler, batch).await?;
                bus.faults().point("consumer.applied").await?;
                Ok(turn)
            }
            Taken::Batch(batch) => {
                let passed = usize::from(batch.to().is_some());
                // In the simulation a seed decides everything, and not how long a step took.
                let at_once = matches!(bus, Bus::Memory(_));
                self.pass_over(batch.to());
                let stored = self.store_passed(ctx, handler.name(), at_once).await?;
                if passed > 0 && !at_once {
                    // Without a transaction to wait for, each record would be a turn of its own.
                    tokio::time::sleep(LINGER).await;
                }
                Ok(stored.unwrap_or(Turn::Passed(passed)))
            }
        }
    }

    /// How far it has got, stored or not.
    fn here(&self) -> &Stored {
        self.passed
            .as_ref()
            .map_or(&self.stored, |passed| &passed.to)
    }

    /// Goes on without storing it.
    fn pass_over(&mut self, to: Option<Stored>) {
        let since = self.passed.as_ref().map_or_else(Instant::now, |p| p.since);
        if let Some(to) = to {
            self.passed = Some(Passed { to, since });
        }
    }

    /// Stores how far it got without an effect, if that has waited long enough, opens an epoch, or
    /// must be `at_once`; what there is to do when it could not.
    pub(super) async fn store_passed(
        &mut self,
        ctx: &Ctx,
        consumer: &str,
        at_once: bool,
    ) -> Result<Option<Turn>> {
        let Some(passed) = self.passed.take() else {
            return Ok(None);
        };
        let opens = passed.to.position.epoch != self.stored.position.epoch;
        if !at_once && !opens && passed.since.elapsed() < PASSED_STORED_AFTER {
            self.passed = Some(passed);
            return Ok(None);
        }
        let expected = self.stored.next_offset;
        match watermark::pass(ctx, consumer, &self.partition, expected, &passed.to).await {
            Ok(true) => {
                let (to, effects) = (passed.to, 0);
                self.move_to(Applied { to, effects });
                Ok(None)
            }
            Ok(false) => Ok(Some(self.fenced())),
            Err(error) if error.is_transient() => {
                self.passed = Some(passed);
                self.wait(&error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The next batch; or what stops the partition, when it comes first.
    fn take(&mut self) -> Taken {
        let mut batch = Batch::default();
        let mut position = self.here().position;
        let mut arrived = self.inbox.take(BATCH_RECORDS_MAX).into_iter();
        while let Some(next) = arrived.next() {
            match self.sort(position, &next) {
                Sorted::Nothing => {}
                Sorted::Pass(behind) => {
                    position = behind.position;
                    batch.pass(behind);
                }
                Sorted::Apply(behind) => {
                    position = behind.position;
                    if let Arrived::Record(record) = next {
                        batch.push(*record, behind);
                    }
                }
                Sorted::Stop(stop) if batch.to().is_none() => {
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
        Taken::Batch(batch)
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
            Arrived::Skipped { offset, number } => {
                let verdict = judge_number(position, *number, false);
                match self.sort_one(position, *offset, verdict) {
                    // Its place counts, and nothing else of it.
                    Sorted::Apply(behind) => Sorted::Pass(behind),
                    sorted @ (Sorted::Nothing | Sorted::Pass(_) | Sorted::Stop(_)) => sorted,
                }
            }
            Arrived::Record(record) => {
                let verdict = judge(position, record);
                self.sort_one(position, record.offset, verdict)
            }
        }
    }

    fn sort_one(&mut self, position: Position, offset: i64, verdict: Verdict) -> Sorted {
        if offset < self.wanted {
            return Sorted::Nothing;
        }
        let behind = |position| Behind {
            next_offset: offset + 1,
            position,
        };
        let sorted = match verdict {
            Verdict::Hold(reason) => return Sorted::Stop(Stop { offset, reason }),
            Verdict::Drop => Sorted::Pass(behind(position)),
            Verdict::Open(after) => Sorted::Pass(behind(after)),
            Verdict::Apply(after) => {
                if position.epoch == 0 && after.last_pseq != 1 {
                    tracing::warn!(
                        topic = self.partition.topic,
                        partition = self.partition.partition,
                        first = after.last_pseq,
                        "a new consumer begins in the middle: run `bashu resync` of the writer"
                    );
                }
                Sorted::Apply(behind(after))
            }
        };
        self.wanted = offset + 1;
        sorted
    }

    async fn apply<H: Handler>(&mut self, ctx: &Ctx, handler: &H, batch: Batch) -> Result<Turn> {
        let Some(to) = batch.to() else {
            return Ok(Turn::Passed(0));
        };
        let at = (&self.partition, &self.stored);
        match batch::apply(ctx, handler, at, (&batch.records, to)).await {
            Ok(Some(applied)) => {
                self.move_to(applied);
                Ok(Turn::Passed(batch.records.len()))
            }
            Ok(None) => Ok(self.fenced()),
            Err(error) if is_crash(&error) => Err(error),
            Err(error) if error.is_transient() => Ok(self.later(batch, &error)),
            Err(error) => self.one_by_one(ctx, handler, batch, error).await,
        }
    }

    /// Redoes a batch that failed for good, record by record, and parks the one at fault.
    async fn one_by_one<H: Handler>(
        &mut self,
        ctx: &Ctx,
        handler: &H,
        mut batch: Batch,
        whole: Error,
    ) -> Result<Turn> {
        // A batch of one need not fail twice.
        let mut known = (batch.records.len() == 1).then_some(whole);
        for index in 0..batch.records.len() {
            let Some(to) = batch.behind(index) else {
                return Err(Error::internal("a record without a position"));
            };
            let at = (&self.partition, &self.stored);
            let record = &batch.records[index..=index];
            let tried = match known.take() {
                Some(error) => Err(error),
                None => batch::apply(ctx, handler, at, (record, to.clone())).await,
            };
            let outcome = match tried {
                Ok(applied) => Ok(applied),
                Err(error) if error.is_transient() => Err(error),
                Err(error) => {
                    self.parked_in_a_row += 1;
                    batch::park(ctx, handler.name(), at, (&record[0], to), &error).await
                }
            };
            match outcome {
                Ok(Some(applied)) => self.move_to(applied),
                Ok(None) => return Ok(self.fenced()),
                Err(error) => return Ok(self.later(batch.split_off(index), &error)),
            }
            if self.parked_in_a_row >= PARKED_IN_A_ROW_MAX {
                let reason = format!("circuit: {PARKED_IN_A_ROW_MAX} records in a row failed");
                let stop = Stop {
                    offset: self.stored.next_offset,
                    reason,
                };
                self.hold(ctx, handler.name(), stop).await?;
                return Ok(Turn::Passed(index + 1));
            }
        }
        self.pass_over(batch.to().filter(|to| *to != self.stored));
        let stored = self.store_passed(ctx, handler.name(), true).await?;
        Ok(stored.unwrap_or(Turn::Passed(batch.records.len())))
    }

    /// Somebody else was here.
    fn fenced(&mut self) -> Turn {
        self.passed = None;
        metrics::counter!("bashu_consumer_fenced_total").increment(1);
        Turn::Reposition
    }

    fn move_to(&mut self, applied: Applied) {
        // What only waits behind a held key says nothing about the handler.
        if applied.effects > 0 {
            self.parked_in_a_row = 0;
        }
        self.inbox.set_applied(applied.to.next_offset);
        self.stored = applied.to;
        self.passed = None;
        self.retry_at = None;
        self.retry_delay = RETRY_DELAY;
    }

    /// Keeps a batch for a later attempt; meanwhile the inbox fills and the reader pauses.
    fn later(&mut self, batch: Batch, error: &Error) -> Turn {
        self.pending = Some(batch);
        self.wait(error);
        Turn::Passed(0)
    }

    fn wait(&mut self, error: &Error) {
        tracing::warn!(
            topic = self.partition.topic,
            partition = self.partition.partition,
            delay = ?self.retry_delay,
            %error,
            sqlstate = error.sqlstate(),
            "a batch is tried again"
        );
        self.retry_at = Some(Instant::now() + self.retry_delay);
        self.retry_delay = (self.retry_delay * 2).min(RETRY_DELAY_MAX);
    }

    fn measure(&self) {
        let behind = (self.inbox.high() - self.here().next_offset).max(0);
        let held = i32::from(self.stored.held.is_some());
        #[expect(clippy::cast_precision_loss, reason = "a count of records for a gauge")]
        self.gauges.behind.set(behind as f64);
        self.gauges.held.set(f64::from(held));
    }
}

enum Taken {
    Batch(Batch),
    Stop(Stop),
}

enum Sorted {
    Nothing,
    /// Only the position moves.
    Pass(Behind),
    Apply(Behind),
    Stop(Stop),
}
