//! The relay: the one writer of its service's topic, the only place that publishes.
//!
//! A tick is everything visible in one snapshot of the database and not in the one before,
//! ordered by id, so that nothing committed late is skipped, the order of each key holds and a
//! long transaction elsewhere stalls nothing. Each record is stamped with a counter that is dense
//! per partition and follows from stored state alone: whatever crashes where, it is sent again
//! with the same number. Before it sends anything the relay compares the ends of its topic with
//! what it has stored ([`explain`]); if one does not explain the other, the database or the topic
//! went back in time, and it refuses until [`restored`] has opened a new epoch.
//!
//! It does not use `LISTEN`, marks no row, and deletes none: slots are emptied by `TRUNCATE`.

mod explain;
mod restored;
mod slots;
mod state;
mod tick;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use restored::restored;
use state::{Lock, State};
use tick::{Chunk, Ticker};

use crate::bus::{Bus, Defect, EPOCH_OPENED, Publisher, partition_of};
use crate::event::Record;
use crate::{Ctx, Error, Result};

/// Events sent and stored at once, at most.
pub const CHUNK_EVENTS_MAX: usize = 5_000;
/// Bytes of payload sent and stored at once, at most, give or take one read.
pub const CHUNK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A tick of fewer events than this is followed by the next one no sooner than [`GATHER`] after it
/// began: a tick costs the same eight statements and two commits, whatever is in it.
const GATHERED_EVENTS: usize = 500;
const GATHER: Duration = Duration::from_millis(20);
/// The longest pause of a relay with nothing to do.
const IDLE: Duration = Duration::from_millis(200);
/// How often another process's relay looks whether it may take over.
const STANDBY: Duration = Duration::from_secs(1);
/// The first pause after an error; doubles up to [`RETRY_DELAY_MAX`].
const RETRY_DELAY: Duration = Duration::from_millis(50);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// How often the age of what waits is shown.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// How often a relay asks whether it still has the lock. One that has lost it is fenced in any
/// case: it stores nothing and so sends nothing more.
const LOCK_CHECK: Duration = Duration::from_secs(1);
/// How often an idle relay looks whether its topic still is what it was.
const TOPIC_CHECK: Duration = Duration::from_secs(10);

/// What a relay is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not started, or starting again after an error.
    Closed,
    /// Another process has the lock.
    Standby,
    Running,
    /// The topic and the database do not explain each other: why. [`restored`] is the way out.
    Refused(String),
}

/// A service's relay. One step publishes one chunk.
#[derive(Debug)]
pub struct Relay {
    ctx: Ctx,
    bus: Bus,
    topic: String,
    status: Status,
    lock: Option<Lock>,
    open: Option<Open>,
    slots_at: Option<DateTime<Utc>>,
}

/// A relay that holds the lock and knows where it stands.
#[derive(Debug)]
struct Open {
    publisher: Publisher,
    state: State,
    ticker: Option<Ticker>,
    checked: Instant,
    lock_checked: Instant,
}

impl Relay {
    pub fn new(ctx: Ctx, bus: Bus) -> Self {
        let topic = ctx.topic();
        Self {
            ctx,
            bus,
            topic,
            status: Status::Closed,
            lock: None,
            open: None,
            slots_at: None,
        }
    }

    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Steps until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let (ctx, topic) = (self.ctx.clone(), self.topic.clone());
        tokio::select! {
            () = self.publish_on() => {}
            // Beside it, since a step waits for the broker as long as it takes.
            () = measure_backlog(&ctx, &topic) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn publish_on(&mut self) {
        let mut delay = RETRY_DELAY;
        loop {
            let began = tokio::time::Instant::now();
            let pause = match self.step().await {
                Ok(0) if self.status == Status::Standby => STANDBY,
                Ok(0) => IDLE,
                Ok(published) => {
                    delay = RETRY_DELAY;
                    if published < GATHERED_EVENTS {
                        tokio::time::sleep_until(began + GATHER).await;
                    }
                    continue;
                }
                Err(error) => {
                    tracing::error!(
                        topic = self.topic,
                        %error,
                        sqlstate = error.sqlstate(),
                        "the relay starts again"
                    );
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(RETRY_DELAY_MAX);
                    continue;
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.ctx.wake.relay.notified() => {}
            }
        }
    }

    /// Publishes the next chunk; the number of events published, 0 when there was nothing to do
    /// or another process is the relay. After an error, or when the future is dropped, the next
    /// step starts from what is stored.
    ///
    /// # Errors
    /// When the database or the broker fails, or the topic is not what it should be.
    pub async fn step(&mut self) -> Result<usize> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => match self.start().await? {
                Some(open) => open,
                None => return Ok(0),
            },
        };
        let published = match self.advance(&mut open).await {
            Ok(published) => published,
            Err(error) => {
                if !matches!(self.status, Status::Refused(_)) {
                    self.status = Status::Closed;
                }
                return Err(error);
            }
        };
        self.open = Some(open);
        self.empty_slots().await?;
        Ok(published)
    }

    /// Takes the lock, compares the topic with what is stored, announces a new epoch.
    async fn start(&mut self) -> Result<Option<Open>> {
        if !self.hold_lock().await? {
            self.status = Status::Standby;
            return Ok(None);
        }
        let partitions = self.bus.ensure_topic(&self.topic).await?;
        // Made first: it needs half a second to get its producer id, during which we read.
        let source = format!("/{}/{}", self.ctx.union, self.ctx.service);
        let publisher = self.bus.publisher(&self.topic, source)?;
        let mut state = State::load(&self.ctx, partitions).await?;
        let mut ticker = state.ticker(&self.ctx);
        let from: Vec<i64> = state
            .offsets
            .iter()
            .map(|offset| (*offset).max(0))
            .collect();
        let tails = self.bus.tails(&self.topic, &from).await?;
        let expected = match &mut ticker {
            Some(ticker) if explain::goes_beyond(&state, &tails) => {
                let records = stamp(&state, ticker.peek().await?.clone());
                records
                    .iter()
                    .map(|r| ((r.partition, r.pseq), r.id))
                    .collect()
            }
            Some(_) | None => HashMap::new(),
        };
        if self.ctx.db.faults().has(Defect::ResendRenumbered) {
            state.renumber(&tails);
        } else if let Err(reason) = explain::explain(&state, &tails, &expected) {
            return Err(self.refuse(reason).await);
        }
        if !state.announced {
            let records = self.announcement(&state);
            let offsets = publisher.publish(Arc::new(records)).await?;
            state.announce(&self.ctx, offsets).await?;
        }
        self.status = Status::Running;
        Ok(Some(Open {
            publisher,
            state,
            ticker,
            checked: Instant::now(),
            lock_checked: Instant::now(),
        }))
    }

    async fn hold_lock(&mut self) -> Result<bool> {
        if let Some(lock) = &mut self.lock
            && lock.is_alive().await
        {
            return Ok(true);
        }
        self.lock = Lock::try_take(&self.ctx).await?;
        Ok(self.lock.is_some())
    }

    async fn refuse(&mut self, reason: String) -> Error {
        metrics::counter!("bashu_relay_refused_total", "topic" => self.topic.clone()).increment(1);
        let error = Error::internal(format!(
            "topic {} and the database do not explain each other: {reason}; see `bashu restored`",
            self.topic
        ));
        self.status = Status::Refused(reason);
        // `restored` needs the lock.
        if let Some(lock) = self.lock.take() {
            lock.release().await;
        }
        error
    }

    async fn advance(&mut self, open: &mut Open) -> Result<usize> {
        let mut ticker = match open.ticker.take() {
            Some(ticker) => ticker,
            None => {
                self.check_lock(open).await?;
                match open.state.open_tick(&self.ctx).await? {
                    Some(ticker) => ticker,
                    None => {
                        self.check_topic(open).await?;
                        return Ok(0);
                    }
                }
            }
        };
        let started = Instant::now();
        self.bus.faults().point("relay.opened").await?;
        let chunk = ticker.next().await?;
        let published = chunk.events.len();
        let last_id = chunk.events.last().map(|event| event.id);
        let records = Arc::new(stamp(&open.state, chunk));
        // The next chunk is read while this one is on its way; it is sent after this is stored.
        let (offsets, read) = tokio::join!(
            open.publisher.publish(Arc::clone(&records)),
            ticker.read_ahead()
        );
        let offsets = offsets?;
        read?;
        self.bus.faults().point("relay.acknowledged").await?;
        if let Err(reason) = open.state.take_in(&records, &offsets) {
            return Err(self.refuse(reason).await);
        }
        if ticker.is_finished() {
            open.state.close_tick(&self.ctx).await?;
        } else {
            open.state
                .store(&self.ctx, last_id.unwrap_or_default())
                .await?;
            open.ticker = Some(ticker);
        }
        self.bus.faults().point("relay.stored").await?;
        metrics::histogram!("bashu_relay_chunk_seconds", "topic" => self.topic.clone())
            .record(started.elapsed().as_secs_f64());
        metrics::counter!("bashu_relay_events_total", "topic" => self.topic.clone())
            .increment(published as u64);
        Ok(published)
    }

    async fn check_lock(&mut self, open: &mut Open) -> Result<()> {
        if open.lock_checked.elapsed() < LOCK_CHECK {
            return Ok(());
        }
        if !self.hold_lock().await? {
            return Err(Error::Unavailable("another process is the relay now"));
        }
        open.lock_checked = Instant::now();
        Ok(())
    }

    /// Looks now and then whether the topic still reaches as far as was acknowledged.
    async fn check_topic(&mut self, open: &mut Open) -> Result<()> {
        if open.checked.elapsed() < TOPIC_CHECK {
            return Ok(());
        }
        open.checked = Instant::now();
        let ends: Vec<i64> = vec![i64::MAX; open.state.offsets.len()];
        let tails = self.bus.tails(&self.topic, &ends).await?;
        match explain::reaches(&open.state, &tails) {
            Ok(()) => Ok(()),
            Err(reason) => Err(self.refuse(reason).await),
        }
    }

    async fn empty_slots(&mut self) -> Result<()> {
        let now = self.ctx.clock.now();
        if self.slots_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        self.slots_at = Some(now + chrono::TimeDelta::seconds(slots::EMPTY_EVERY_SECONDS));
        slots::empty(&self.ctx).await
    }

    fn announcement(&self, state: &State) -> Vec<Record> {
        (0..)
            .take(state.offsets.len())
            .map(|partition| Record {
                topic: self.topic.clone(),
                partition,
                offset: -1,
                epoch: state.epoch,
                pseq: 0,
                id: crate::Ids::derive(
                    Uuid::nil(),
                    &format!("{}/{EPOCH_OPENED}/{}", self.topic, state.epoch),
                    u32::try_from(partition).unwrap_or_default(),
                ),
                kind: EPOCH_OPENED.to_owned(),
                key: Vec::new(),
                version: state.epoch,
                must_understand: true,
                at: self.ctx.clock.now(),
                traceparent: None,
                payload: Vec::new(),
            })
            .collect()
    }
}

/// Shows again and again how old the oldest event is that waits to be published.
async fn measure_backlog(ctx: &Ctx, topic: &str) {
    loop {
        // A database that is away says nothing; the relay says that it is.
        if let Ok(oldest) = oldest_unpublished(ctx).await {
            let waited = oldest.map_or(0, |at| (ctx.clock.now() - at).num_milliseconds());
            #[expect(
                clippy::cast_precision_loss,
                reason = "an age of years would lose a millisecond"
            )]
            let seconds = waited.max(0) as f64 / 1_000.0;
            metrics::gauge!("bashu_outbox_oldest_seconds", "topic" => topic.to_owned())
                .set(seconds);
        }
        tokio::time::sleep(MEASURE_EVERY).await;
    }
}

/// When the oldest event that is not published yet happened; `None` when all are.
///
/// # Errors
/// When the database fails.
pub async fn oldest_unpublished(ctx: &Ctx) -> Result<Option<DateTime<Utc>>> {
    state::oldest_unpublished(ctx).await
}

/// The records of a chunk with the numbers that follow from the stored counters. The publisher
/// knows the topic: it is not written into each.
fn stamp(state: &State, chunk: Chunk) -> Vec<Record> {
    let partitions = i32::try_from(state.pseqs.len()).unwrap_or(i32::MAX);
    let mut pseqs = state.pseqs.clone();
    chunk
        .events
        .into_iter()
        .map(|event| {
            let partition = partition_of(&event.key, partitions);
            let pseq = &mut pseqs[usize::try_from(partition).unwrap_or_default()];
            *pseq += 1;
            Record {
                topic: String::new(),
                partition,
                offset: -1,
                epoch: state.epoch,
                pseq: *pseq,
                id: event.event_id,
                kind: event.kind,
                key: event.key,
                version: event.version,
                must_understand: event.must_understand,
                at: event.occurred_at,
                traceparent: event.traceparent,
                payload: event.payload,
            }
        })
        .collect()
}
