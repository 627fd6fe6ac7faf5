//! Two services and a topic: `alpha` writes things and says so, `beta` copies them. Beta also
//! keeps one row for each effect, so that a checker sees what happened twice, too late or never.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kit::bus::{Bus, EPOCH_OPENED, Stamp, Tail};
use kit::consumer::{Consumer, Handler};
use kit::event::{NewEvent, Record};
use kit::migrate::{KIT, Migration};
use kit::relay::Relay;
use kit::resync::{RESYNC_ROWS_MAX, Source};
use kit::testing::{self, TestDb, TestKafka};
use kit::{Ctx, Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

pub(crate) const TOPIC: &str = "alpha.v1";
pub(crate) const CHANGED: &str = "alpha.v1.ThingChanged";
pub(crate) const FROZEN: &str = "alpha.v1.ThingFrozen";
pub(crate) const UNKNOWN: &str = "alpha.v1.Unknown";
/// A payload that the copying handler cannot apply until it is repaired.
pub(crate) const POISON: &[u8] = b"poison";
/// A payload whose handler waits at its gate.
pub(crate) const GATED: &[u8] = b"gated";
/// How long a condition may take to come true before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const THINGS: &[Migration] = &[Migration {
    name: "things",
    sql: "CREATE TABLE thing (id uuid PRIMARY KEY, version bigint NOT NULL);
          CREATE TABLE copy (id uuid PRIMARY KEY, epoch bigint NOT NULL, version bigint NOT NULL,
            frozen boolean NOT NULL DEFAULT false);
          CREATE TABLE effect (at bigint GENERATED ALWAYS AS IDENTITY, id uuid NOT NULL,
            version bigint NOT NULL, epoch bigint NOT NULL, kind text NOT NULL)",
}];

pub(crate) struct World {
    pub(crate) kafka: TestKafka,
    pub(crate) alpha: TestDb,
    pub(crate) beta: TestDb,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (alpha, beta) = tokio::join!(
            testing::db("alpha", &[KIT, THINGS]),
            testing::db("beta", &[KIT, THINGS])
        );
        Self {
            kafka: testing::kafka(),
            alpha,
            beta,
        }
    }

    pub(crate) fn bus(&self) -> Bus {
        self.kafka.bus.clone()
    }

    pub(crate) fn relay(&self) -> Relay {
        Relay::new(self.alpha.ctx.clone(), self.bus())
    }

    pub(crate) fn consumer(&self, copying: Copying) -> Consumer<Copying> {
        Consumer::new(self.beta.ctx.clone(), self.bus(), copying)
    }

    /// Writes a thing and publishes it.
    pub(crate) async fn change(&self, id: Uuid) {
        change(&self.alpha.ctx, id, CHANGED, b"fine").await;
    }

    pub(crate) async fn publish(&self) {
        publish_all(&mut self.relay()).await;
    }

    /// Everything in the topic, by partition.
    pub(crate) async fn log(&self) -> Vec<Tail> {
        self.bus().tails(TOPIC, &[0; 2]).await.unwrap()
    }
}

/// Ids of things: the same ones in every run.
pub(crate) fn thing(n: u128) -> Uuid {
    Uuid::from_u128(0x0196_f2b0_0000_7000_8000_0000_0000_0000 + n)
}

/// The next version of a thing, with its event.
pub(crate) async fn change(ctx: &Ctx, id: Uuid, kind: &'static str, payload: &'static [u8]) {
    ctx.db
        .tx("change", async |tx| change_in(tx, id, kind, payload).await)
        .await
        .unwrap();
}

pub(crate) async fn change_in(tx: &Tx, id: Uuid, kind: &'static str, payload: &[u8]) -> Result<()> {
    let version = bump(tx, id).await?;
    tx.emit(event(id, kind, version, payload));
    Ok(())
}

pub(crate) async fn bump(tx: &Tx, id: Uuid) -> Result<i64> {
    let row: Option<Version> = tx
        .one(
            "INSERT INTO thing (id, version) VALUES ($1, 1)
             ON CONFLICT (id) DO UPDATE SET version = thing.version + 1 RETURNING version",
            [id.into()],
        )
        .await?;
    row.map(|row| row.version).ok_or(Error::NotFound)
}

pub(crate) fn event(id: Uuid, kind: &'static str, version: i64, payload: &[u8]) -> NewEvent {
    NewEvent {
        kind,
        key: id.as_bytes().to_vec(),
        version,
        must_understand: false,
        payload: payload.to_vec(),
    }
}

#[derive(FromQueryResult)]
struct Version {
    version: i64,
}

/// Steps a relay until it has nothing to do, through the moment in which the lock of one that
/// died is not free yet.
pub(crate) async fn publish_all(relay: &mut Relay) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let published = relay.step().await.unwrap();
        if published == 0 && *relay.status() == kit::relay::Status::Running {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "the relay does not get on: {:?}",
            relay.status()
        );
    }
}

/// Steps a consumer until `done` says so.
pub(crate) async fn until<H: Handler, D: AsyncFn() -> bool>(consumer: &mut Consumer<H>, done: D) {
    let deadline = Instant::now() + PATIENCE;
    while !done().await {
        consumer.step().await.unwrap();
        assert!(
            Instant::now() < deadline,
            "what was waited for did not come"
        );
    }
}

#[derive(FromQueryResult, Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) id: Uuid,
    pub(crate) version: i64,
    pub(crate) epoch: i64,
}

pub(crate) async fn effects(ctx: &Ctx) -> Vec<Effect> {
    ctx.db
        .all("SELECT id, version, epoch FROM effect ORDER BY at", [])
        .await
        .unwrap()
}

pub(crate) async fn effect_count(ctx: &Ctx) -> usize {
    effects(ctx).await.len()
}

/// What is wrong with the effects, if every thing was changed as often as `changes` says: each
/// version must have had one effect, in order.
pub(crate) fn problems(effects: &[Effect], changes: &HashMap<Uuid, i64>) -> Vec<String> {
    let mut problems = Vec::new();
    for (id, last) in changes {
        let seen: Vec<i64> = effects
            .iter()
            .filter(|e| e.id == *id)
            .map(|e| e.version)
            .collect();
        let wanted: Vec<i64> = (1..=*last).collect();
        if seen != wanted {
            problems.push(format!("{id}: {seen:?} instead of 1..={last}"));
        }
    }
    problems
}

/// What is wrong with a log: every number must name one event, copies aside, without a hole, and
/// nothing may overtake.
pub(crate) fn log_problems(tails: &[Tail]) -> Vec<String> {
    let mut problems = Vec::new();
    for (partition, tail) in tails.iter().enumerate() {
        let mut named: HashMap<(i64, i64), Uuid> = HashMap::new();
        let mut next = (0, 0);
        for stamp in stamps(tail) {
            let number = (stamp.epoch, stamp.pseq);
            if *named.entry(number).or_insert(stamp.id) != stamp.id {
                problems.push(format!("{partition}: {number:?} names two events"));
            }
            if stamp.kind == EPOCH_OPENED {
                if stamp.epoch > next.0 {
                    next = (stamp.epoch, 1);
                }
            } else if number == next {
                next.1 += 1;
            } else if number > next {
                problems.push(format!("{partition}: {number:?} comes before {next:?}"));
            }
        }
    }
    problems
}

pub(crate) fn stamps(tail: &Tail) -> impl Iterator<Item = &Stamp> {
    tail.records
        .iter()
        .filter_map(|record| record.stamp.as_ref())
}

/// Different events in the log, announcements aside.
pub(crate) fn events(tails: &[Tail]) -> usize {
    let ids: std::collections::HashSet<Uuid> = tails
        .iter()
        .flat_map(stamps)
        .filter(|stamp| stamp.kind != EPOCH_OPENED)
        .map(|stamp| stamp.id)
        .collect();
    ids.len()
}

/// Where a handler waits in the middle of its transaction.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) reached: tokio::sync::Notify,
    pub(crate) open: tokio::sync::Notify,
}

/// Beta's handler: copies each thing and leaves one row for each effect.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copying {
    /// Poison is applied like anything else.
    pub(crate) repaired: Arc<AtomicBool>,
    /// So many calls fail for the moment first.
    pub(crate) away: Arc<AtomicU32>,
    /// Calls that wait in their transaction until they are let through.
    pub(crate) gate: Arc<Gate>,
}

impl Handler for Copying {
    fn name(&self) -> &'static str {
        "copying"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[TOPIC]
    }

    fn handles(&self, kind: &str) -> bool {
        kind != UNKNOWN || self.repaired.load(Ordering::SeqCst)
    }

    fn monotone(&self, record: &Record) -> bool {
        record.kind == FROZEN
    }

    async fn apply(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        let less = |left: u32| left.checked_sub(1);
        if self
            .away
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
        {
            return Err(Error::Unavailable("a test says so"));
        }
        for record in records {
            if record.payload == POISON && !self.repaired.load(Ordering::SeqCst) {
                return Err(Error::permanent("poison"));
            }
            if record.payload == b"panic" && !self.repaired.load(Ordering::SeqCst) {
                panic!("a test says so");
            }
            if record.payload == GATED {
                self.gate.reached.notify_one();
                self.gate.open.notified().await;
            }
            apply_one(tx, record).await?;
        }
        Ok(())
    }
}

async fn apply_one(tx: &Tx, record: &Record) -> Result<()> {
    let id = Uuid::from_slice(&record.key).map_err(|_| Error::permanent("no id"))?;
    tx.execute(
        "INSERT INTO copy (id, epoch, version, frozen) VALUES ($1, $2, $3, $4)
         ON CONFLICT (id) DO UPDATE SET epoch = $2, version = $3, frozen = copy.frozen OR $4
         WHERE (copy.epoch, copy.version) < ($2, $3)",
        [
            id.into(),
            record.epoch.into(),
            record.version.into(),
            (record.kind == FROZEN).into(),
        ],
    )
    .await?;
    log_effect(tx, id, record).await
}

/// One row for each effect: nothing here keeps it from happening twice.
pub(crate) async fn log_effect(tx: &Tx, id: Uuid, record: &Record) -> Result<()> {
    tx.execute(
        "INSERT INTO effect (id, version, epoch, kind) VALUES ($1, $2, $3, $4)",
        [
            id.into(),
            record.version.into(),
            record.epoch.into(),
            record.kind.clone().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Says every thing of alpha again.
pub(crate) struct Things;

impl Source for Things {
    fn aggregates(&self) -> &'static [&'static str] {
        &["thing"]
    }

    async fn resync(
        &self,
        tx: &Tx,
        _aggregate: &str,
        after: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>> {
        #[derive(FromQueryResult)]
        struct Row {
            id: Uuid,
            version: i64,
        }
        let after = after.map_or(Uuid::nil(), |bytes| Uuid::from_slice(&bytes).unwrap());
        let rows: Vec<Row> = tx
            .all(
                "SELECT id, version FROM thing WHERE id > $1 ORDER BY id LIMIT $2 FOR UPDATE",
                [after.into(), RESYNC_ROWS_MAX.into()],
            )
            .await?;
        for row in &rows {
            tx.emit(event(row.id, CHANGED, row.version, b"fine"));
        }
        Ok(rows.last().map(|row| row.id.as_bytes().to_vec()))
    }
}
