//! Deliberate defects: each is switched on, and a checker of this folder must see what comes of
//! it; switched off, the same play is clean. What a defect does is therefore known to be visible,
//! not only believed to be absent.

use std::sync::Arc;

use anyhow::{Result, ensure};
use kit::Tx;
use kit::bus::{Bus, Defect, Memory, MemoryOptions};
use kit::consumer::{Consumer, Handler};
use kit::event::{NewEvent, Record};
use kit::relay::Relay;
use kit::testing::TestDb;
use sea_orm::FromQueryResult;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::check;

const TOPIC: &str = "passes.v1";
const KIND: &str = "bashu.passes.v1.PassChanged";
/// Steps after which a loop must have nothing left to do.
const STEPS_MAX: usize = 50;

/// Leaves a row for each record it applies, however often: what a handler that acts on states
/// would hide is seen here.
#[derive(Clone, Debug)]
struct Counting;

impl Handler for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[TOPIC]
    }

    fn handles(&self, kind: &str) -> bool {
        kind == KIND
    }

    async fn apply(&self, tx: &Tx, records: &[Record]) -> kit::Result<()> {
        for record in records {
            tx.execute(
                "INSERT INTO effect (event, key, version) VALUES ($1, $2, $3)",
                [
                    record.id.into(),
                    record.key.clone().into(),
                    record.version.into(),
                ],
            )
            .await?;
        }
        Ok(())
    }
}

#[derive(Debug, FromQueryResult)]
struct Effect {
    event: Uuid,
    key: Vec<u8>,
    version: i64,
}

/// A writer and a reader with a log between them.
struct Bench {
    writer: TestDb,
    reader: TestDb,
    bus: Bus,
    memory: Memory,
    relay: Relay,
}

impl Bench {
    async fn new(defect: Option<Defect>) -> Result<Self> {
        let writer = kit::testing::db("passes", passes::ALL_MIGRATIONS).await;
        let reader = kit::testing::db("billing", billing::ALL_MIGRATIONS).await;
        let owner = reader.superuser().await;
        for sql in [
            "CREATE TABLE effect (id bigint GENERATED ALWAYS AS IDENTITY, event uuid NOT NULL,
               key bytea NOT NULL, version bigint NOT NULL)",
            "GRANT ALL ON effect TO bashu_app",
        ] {
            owner.execute(sql, []).await?;
        }
        let bus = Bus::memory(MemoryOptions::calm(1));
        let Bus::Memory(memory) = bus.clone() else {
            unreachable!("a bus in memory was asked for")
        };
        if let Some(defect) = defect {
            writer.ctx.db.faults().switch_on(defect);
            reader.ctx.db.faults().switch_on(defect);
        }
        let relay = Relay::new(writer.ctx.clone(), bus.clone());
        Ok(Self {
            writer,
            reader,
            bus,
            memory,
            relay,
        })
    }

    fn consumer(&self) -> Consumer<Counting> {
        Consumer::new(self.reader.ctx.clone(), self.bus.clone(), Counting)
    }

    async fn emit(&self, version: i64) -> Result<()> {
        let work = async |tx: &Tx| {
            tx.emit(event(version));
            Ok(())
        };
        Ok(self.writer.ctx.db.tx("emit", work).await?)
    }

    /// Publishes everything; an error of a step is one that the play asked for.
    async fn publish(&mut self) {
        for _ in 0..STEPS_MAX {
            if matches!(self.relay.step().await, Ok(0)) {
                return;
            }
        }
        panic!("the relay never ends");
    }

    /// What the checkers have to say.
    async fn problems(&self) -> Result<Vec<String>> {
        let records = self.memory.records(TOPIC);
        let mut found = check::log(TOPIC, &records);
        let sql = "SELECT event, key, version FROM effect ORDER BY id";
        let effects: Vec<Effect> = self.reader.ctx.db.all(sql, []).await?;
        let mut ids: Vec<Uuid> = records
            .iter()
            .flatten()
            .filter(|record| record.kind == KIND)
            .map(|record| record.id)
            .collect();
        ids.sort();
        ids.dedup();
        for id in ids {
            let count = effects.iter().filter(|effect| effect.event == id).count();
            if count != 1 {
                found.push(format!("event {id} had {count} effects"));
            }
        }
        for pair in effects.windows(2) {
            if pair[0].key == pair[1].key && pair[0].version > pair[1].version {
                found.push(format!("{:?} was applied before {:?}", pair[0], pair[1]));
            }
        }
        Ok(found)
    }
}

fn event(version: i64) -> NewEvent {
    NewEvent {
        kind: KIND,
        key: vec![7],
        version,
        must_understand: false,
        payload: vec![1],
    }
}

async fn drain(consumer: &mut Consumer<Counting>) -> Result<()> {
    for _ in 0..STEPS_MAX {
        let stepped = consumer.step().await?;
        if stepped == 0 && consumer.is_quiet() {
            return Ok(());
        }
    }
    anyhow::bail!("a consumer never ends")
}

/// Two transactions change one thing; the second to lock it has taken its number first.
async fn crossing_transactions(defect: Option<Defect>) -> Result<Vec<String>> {
    let mut bench = Bench::new(defect).await?;
    bench.publish().await;
    let (numbered, changed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let db = &bench.writer.ctx.db;
    let early = db.tx("early", async |tx| {
        tx.execute("SELECT pg_current_xact_id()", []).await?;
        numbered.notify_one();
        changed.notified().await;
        tx.emit(event(2));
        Ok(())
    });
    let late = async {
        numbered.notified().await;
        bench.emit(1).await?;
        changed.notify_one();
        Ok(())
    };
    let (early, late): (_, Result<()>) = tokio::join!(early, late);
    early?;
    late?;
    bench.publish().await;
    let mut consumer = bench.consumer();
    drain(&mut consumer).await?;
    bench.problems().await
}

/// A consumer dies in the transaction of the effects.
async fn death_before_effects(defect: Option<Defect>) -> Result<Vec<String>> {
    let mut bench = Bench::new(defect).await?;
    bench.publish().await;
    let mut consumer = bench.consumer();
    drain(&mut consumer).await?;
    bench.emit(1).await?;
    bench.publish().await;
    // With the defect the first transaction stores the position alone.
    let faults = bench.reader.ctx.db.faults();
    faults.crash_at("tx.before_commit", u32::from(defect.is_some()));
    ensure!(consumer.step().await.is_err(), "it was to die");
    ensure!(!faults.waits_at("tx.before_commit"), "it was to die there");
    drain(&mut consumer).await?;
    bench.emit(2).await?;
    bench.publish().await;
    drain(&mut consumer).await?;
    bench.problems().await
}

/// A consumer that is believed dead has a batch in its hands while another one applies it.
async fn zombie(defect: Option<Defect>) -> Result<Vec<String>> {
    let mut bench = Bench::new(defect).await?;
    bench.publish().await;
    let (mut zombie, mut heir) = (bench.consumer(), bench.consumer());
    drain(&mut zombie).await?;
    drain(&mut heir).await?;
    bench.emit(1).await?;
    bench.publish().await;
    let hold = bench.bus.faults().hold_at("consumer.taken");
    let stands = zombie.step();
    let goes_on = async {
        hold.reached().await;
        let drained = drain(&mut heir).await;
        hold.release();
        drained
    };
    let (stepped, drained) = tokio::join!(stands, goes_on);
    stepped?;
    drained?;
    drain(&mut zombie).await?;
    bench.problems().await
}

/// A relay dies when its records are acknowledged and nothing says so.
async fn resend(defect: Option<Defect>) -> Result<Vec<String>> {
    let mut bench = Bench::new(defect).await?;
    bench.publish().await;
    bench.emit(1).await?;
    bench.bus.faults().crash_at("relay.acknowledged", 0);
    bench.publish().await;
    ensure!(
        !bench.bus.faults().waits_at("relay.acknowledged"),
        "it was to die"
    );
    bench.emit(2).await?;
    bench.publish().await;
    let mut consumer = bench.consumer();
    drain(&mut consumer).await?;
    bench.problems().await
}

fn one_of(found: &[String], words: &str) -> bool {
    found.iter().any(|line| line.contains(words))
}

/// A relay that sends in the order of transaction numbers turns the order of a thing around, and
/// the log's checker says so.
#[tokio::test]
async fn order_by_xid_is_caught() {
    let clean = crossing_transactions(None).await.expect("a play");
    assert_eq!(clean, Vec::<String>::new());
    let found = crossing_transactions(Some(Defect::OrderByXid))
        .await
        .expect("a play");
    assert!(one_of(&found, "goes back to 1"), "{found:?}");
    assert!(one_of(&found, "was applied before"), "{found:?}");
}

/// A consumer that stores its position before the effects loses them when it dies between.
#[tokio::test]
async fn a_position_committed_before_its_effects_is_caught() {
    let clean = death_before_effects(None).await.expect("a play");
    assert_eq!(clean, Vec::<String>::new());
    let defect = Some(Defect::PositionBeforeEffects);
    let found = death_before_effects(defect).await.expect("a play");
    assert!(one_of(&found, "had 0 effects"), "{found:?}");
}

/// A consumer whose position moves whatever it is applies what another one has applied.
#[tokio::test]
async fn a_position_without_its_fence_is_caught() {
    let clean = zombie(None).await.expect("a play");
    assert_eq!(clean, Vec::<String>::new());
    let found = zombie(Some(Defect::PositionUnfenced))
        .await
        .expect("a play");
    assert!(one_of(&found, "had 2 effects"), "{found:?}");
}

/// A relay that numbers what it sends again as new makes two events of one.
#[tokio::test]
async fn a_resend_under_new_numbers_is_caught() {
    let clean = resend(None).await.expect("a play");
    assert_eq!(clean, Vec::<String>::new());
    let found = resend(Some(Defect::ResendRenumbered))
        .await
        .expect("a play");
    assert!(one_of(&found, "has the numbers"), "{found:?}");
    assert!(one_of(&found, "had 2 effects"), "{found:?}");
}
