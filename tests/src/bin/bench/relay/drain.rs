//! Drains the backlog, and looks now and then how far both sides have stored that they are.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kit::Db;
use kit::consumer::Consumer;
use kit::relay::Relay;
use sea_orm::FromQueryResult;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::BACKLOG_EVENTS;
use super::cost::Cost;
use super::stage::{Stage, Writing};
use crate::world::Bench;

/// Longest that a drain may take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(120);
/// How often it is looked how far they are.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Who works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// From the outbox into the topic.
    Relay,
    /// From the topic into the tables.
    Consumer,
    Both,
}

/// What a drain came to. Times are in seconds from the moment that the first of them was made,
/// so that connecting and joining the group count.
pub(super) struct Drained {
    pub(super) seconds: f64,
    pub(super) published: Vec<(f64, f64)>,
    pub(super) applied: Vec<(f64, f64)>,
    /// Who spent how much CPU.
    pub(super) cost: Cost,
}

impl Drained {
    /// Events in a second.
    pub(super) fn rate(&self) -> f64 {
        f64::from(BACKLOG_EVENTS) / self.seconds
    }
}

/// Drains the stage's backlog.
pub(super) async fn run(bench: &Bench, stage: &Stage, who: Who) -> Result<Drained> {
    let stop = CancellationToken::new();
    let before = Cost::now(bench)?;
    let started = Instant::now();
    let mut working = JoinSet::new();
    if who != Who::Consumer {
        let relay = Relay::new(stage.writer.clone(), stage.bus.clone());
        working.spawn(relay.run(stop.clone()));
    }
    if who != Who::Relay {
        let consumer = Consumer::new(stage.reader.clone(), stage.bus.clone(), Writing);
        working.spawn(consumer.run(stop.clone()));
    }
    let watched = watch(stage, who, started).await;
    let after = Cost::now(bench)?;
    stop.cancel();
    while let Some(ended) = working.join_next().await {
        ended?;
    }
    let (seconds, published, applied) = watched?;
    Ok(Drained {
        seconds,
        published,
        applied,
        cost: after.since(&before),
    })
}

type Watched = (f64, Vec<(f64, f64)>, Vec<(f64, f64)>);

async fn watch(stage: &Stage, who: Who, started: Instant) -> Result<Watched> {
    let (mut published, mut applied) = (Vec::new(), Vec::new());
    loop {
        let sent = events(&stage.writer.db, PUBLISHED).await?;
        let done = events(&stage.reader.db, APPLIED).await?;
        let at = started.elapsed().as_secs_f64();
        published.push((at, f64::from(sent)));
        applied.push((at, f64::from(done)));
        let reached = if who == Who::Relay { sent } else { done };
        if reached >= BACKLOG_EVENTS {
            return Ok((at, published, applied));
        }
        ensure!(
            started.elapsed() < DRAIN_TIME_MAX,
            "{who:?}: {sent} of {BACKLOG_EVENTS} events published and {done} applied in {} s",
            DRAIN_TIME_MAX.as_secs()
        );
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The numbers of the last records acknowledged, which are dense from one.
const PUBLISHED: &str = "SELECT COALESCE(sum(n), 0)::bigint AS events
     FROM outbox_relay, unnest(pseqs) AS n";
/// The numbers of the last records applied; -1 before the first.
const APPLIED: &str = "SELECT COALESCE(sum(GREATEST(last_pseq, 0)), 0)::bigint AS events
     FROM watermark";

async fn events(db: &Db, sql: &str) -> Result<u32> {
    #[derive(FromQueryResult)]
    struct Events {
        events: i64,
    }
    let found: Events = db.one(sql, []).await?.context("a sum without a row")?;
    Ok(u32::try_from(found.events)?)
}
