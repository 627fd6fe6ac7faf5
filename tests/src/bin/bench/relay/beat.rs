//! Events at a steady pace: how long after its commit each has had its effect.
//!
//! The effect is seen where the reader's transaction committed: its handler notifies, and
//! PostgreSQL delivers a notification when and only when it is committed. So the way of the
//! notification counts in, which makes the figure larger than the truth and never smaller.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kit::consumer::{Consumer, Handler};
use kit::event::Record;
use kit::relay::Relay;
use kit::{Ctx, Tx};
use sea_orm::sqlx::postgres::PgListener;
use tests::load::Histogram;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::PAYLOAD_BYTES;
use super::stage::{self, Stage, TOPIC, Writing};

/// Events in a second.
pub(super) const RATE: u32 = 1_000;
/// Seconds before the timed ones.
const WARM_SECONDS: u32 = 3;
const SECONDS: u32 = 15;
/// Longest that the last effect may be waited for.
const QUIET_TIME_MAX: Duration = Duration::from_secs(30);
/// The channel on which effects are told.
const CHANNEL: &str = "effect";
/// The time of what did not happen yet.
const NEVER: u64 = 0;

/// What came of it.
pub(super) struct Beats {
    pub(super) events: u32,
    pub(super) from_commit: Histogram,
    /// From the instant at which the event's transaction should have begun.
    pub(super) from_due: Histogram,
}

/// When each event was committed and had its effect, in microseconds from the start.
struct Times {
    started: Instant,
    committed: Vec<AtomicU64>,
    effected: Vec<AtomicU64>,
    /// The events of each attempt at a batch.
    batches: Mutex<HashMap<u64, Vec<usize>>>,
    next_batch: AtomicU64,
}

impl Times {
    fn new(events: usize) -> Self {
        let never = || (0..events).map(|_| AtomicU64::new(NEVER)).collect();
        Self {
            started: Instant::now(),
            committed: never(),
            effected: never(),
            batches: Mutex::default(),
            next_batch: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Notes when the events of a batch had their effect; how many there were.
    fn effect(&self, batch: u64) -> usize {
        let now = self.now();
        let events = self
            .batches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&batch)
            .unwrap_or_default();
        for event in &events {
            self.effected[*event].store(now, Ordering::Release);
        }
        events.len()
    }
}

/// Runs the relay, the consumer and the writers.
pub(super) async fn run(stage: &Stage) -> Result<Beats> {
    let events = RATE * (WARM_SECONDS + SECONDS);
    let mut listener = PgListener::connect(&stage.reader_url).await?;
    listener.listen(CHANNEL).await?;
    let stop = CancellationToken::new();
    let mut working = JoinSet::new();
    working.spawn(Relay::new(stage.writer.clone(), stage.bus.clone()).run(stop.clone()));
    let times = Arc::new(Times::new(usize::try_from(events)?));
    let handler = Telling(Arc::clone(&times));
    let consumer = Consumer::new(stage.reader.clone(), stage.bus.clone(), handler);
    working.spawn(consumer.run(stop.clone()));
    let (written, seen) = tokio::join!(
        write(&stage.writer, &times, events),
        listen(&mut listener, &times, usize::try_from(events)?)
    );
    stop.cancel();
    while let Some(ended) = working.join_next().await {
        ended?;
    }
    written?;
    seen?;
    Ok(summary(&times, events))
}

fn summary(times: &Times, events: u32) -> Beats {
    let mut beats = Beats {
        events,
        from_commit: Histogram::default(),
        from_due: Histogram::default(),
    };
    let pairs = times.committed.iter().zip(&times.effected);
    for (index, (committed, effected)) in (0_u64..).zip(pairs) {
        if index < u64::from(RATE * WARM_SECONDS) {
            continue;
        }
        let effected = effected.load(Ordering::Acquire);
        let since = |at: u64| Duration::from_micros(effected.saturating_sub(at));
        let committed = committed.load(Ordering::Acquire);
        beats.from_commit.record(since(committed));
        beats.from_due.record(since(due_us(index)));
    }
    beats
}

fn due_us(index: u64) -> u64 {
    index * 1_000_000 / u64::from(RATE)
}

/// Each event in a transaction of its own, begun when it is due whatever became of the others.
async fn write(ctx: &Ctx, times: &Arc<Times>, events: u32) -> Result<()> {
    let mut writing = JoinSet::new();
    for number in 0..events {
        let due = times.started + Duration::from_micros(due_us(u64::from(number)));
        tokio::time::sleep_until(due.into()).await;
        writing.spawn(write_one(ctx.clone(), Arc::clone(times), number));
        while let Some(written) = writing.try_join_next() {
            written??;
        }
    }
    while let Some(written) = writing.join_next().await {
        written??;
    }
    Ok(())
}

async fn write_one(ctx: Ctx, times: Arc<Times>, number: u32) -> Result<()> {
    let mut payload = vec![0_u8; PAYLOAD_BYTES];
    ctx.ids.fill(&mut payload);
    payload[..4].copy_from_slice(&number.to_be_bytes());
    let payload = payload.as_slice();
    ctx.db
        .tx("beat", async |tx| {
            tx.emit(stage::event(number, 1, payload));
            Ok(())
        })
        .await?;
    times.committed[usize::try_from(number)?].store(times.now(), Ordering::Release);
    Ok(())
}

/// Takes notifications until every event has had its effect.
async fn listen(listener: &mut PgListener, times: &Times, events: usize) -> Result<()> {
    let limit = Duration::from_secs(u64::from(WARM_SECONDS + SECONDS)) + QUIET_TIME_MAX;
    let mut effects = 0;
    while effects < events {
        let left = limit.saturating_sub(times.started.elapsed());
        let told = tokio::time::timeout(left, listener.recv()).await;
        let told =
            told.with_context(|| format!("{effects} of {events} events had an effect"))??;
        effects += times.effect(told.payload().parse()?);
    }
    ensure!(effects == events, "{effects} effects of {events} events");
    Ok(())
}

/// Writes as [`Writing`] does and tells which batch it was.
struct Telling(Arc<Times>);

impl Handler for Telling {
    fn name(&self) -> &'static str {
        "telling"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[TOPIC]
    }

    fn handles(&self, kind: &str) -> bool {
        Writing.handles(kind)
    }

    async fn apply(&self, tx: &Tx, records: &[Record]) -> kit::Result<()> {
        stage::write(tx, records).await?;
        let events = records
            .iter()
            .map(number)
            .collect::<kit::Result<Vec<_>>>()?;
        let batch = self.0.next_batch.fetch_add(1, Ordering::Relaxed);
        self.0
            .batches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(batch, events);
        tx.execute(
            "SELECT pg_notify($1, $2)",
            [CHANNEL.into(), batch.to_string().into()],
        )
        .await?;
        Ok(())
    }
}

fn number(record: &Record) -> kit::Result<usize> {
    record
        .payload
        .first_chunk::<4>()
        .and_then(|bytes| usize::try_from(u32::from_be_bytes(*bytes)).ok())
        .ok_or_else(|| kit::Error::permanent("an event without a number"))
}
