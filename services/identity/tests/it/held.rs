//! A record that nobody can apply holds the key of its entitlement, on a real Kafka and with the
//! handler that serves: admission's block passes it, and what gives a right back does not.

use std::time::{Duration, Instant};

use identity::consumers::Entitlements;
use kit::consumer::{Consumer, Handler};
use kit::event::{NewEvent, Record};
use kit::migrate::KIT;
use kit::relay::Relay;
use kit::testing::{TestDb, TestKafka};
use kit::types::EntitlementId;
use kit::{Result, Tx, parked};
use prost::Name;
use proto::v1::EntitlementChanged;
use serde_json::Value;

use crate::credentials::{BLOCKED, CHANGED, Holder, PASS, blocked, credential, granted, holder};
use crate::world::World;

/// How long a condition may take to come true before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);
const HELD: &str = "SELECT count(*) AS count FROM parked WHERE state = 'waiting'";

/// Bytes that are no message, under the entitlement's own key.
fn poison(kind: &'static str, version: i64) -> NewEvent {
    NewEvent {
        kind,
        key: EntitlementId(PASS).to_bytes().to_vec(),
        version,
        must_understand: false,
        payload: vec![0xFF],
    }
}

fn said(message: &impl Name, kind: &'static str, version: i64) -> NewEvent {
    NewEvent::of(message, kind, &EntitlementId(PASS).to_bytes(), version)
}

/// A block under its key, and its end, behind what nobody can apply.
fn block_behind_poison() -> [NewEvent; 3] {
    let block = |version, cleared| said(&blocked(version, cleared), BLOCKED, version);
    [poison(BLOCKED, 1), block(2, false), block(3, true)]
}

/// The handler that serves, without its word on what passes a held key.
struct Unguarded;

impl Handler for Unguarded {
    fn name(&self) -> &'static str {
        Entitlements.name()
    }

    fn topics(&self) -> &'static [&'static str] {
        Entitlements.topics()
    }

    fn handles(&self, kind: &str) -> bool {
        Entitlements.handles(kind)
    }

    async fn apply(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        Entitlements.apply(tx, records).await
    }
}

/// Those who speak, and what identity hears of them.
struct Heard {
    holder: Holder,
    kafka: TestKafka,
    passes: TestDb,
    admission: TestDb,
}

impl Heard {
    async fn new() -> Self {
        Self {
            holder: holder().await,
            kafka: kit::testing::kafka(),
            passes: kit::testing::db("passes", &[KIT]).await,
            admission: kit::testing::db("admission", &[KIT]).await,
        }
    }

    fn world(&self) -> &World {
        &self.holder.world
    }

    fn granted(&self, version: i64) -> NewEvent {
        let entitlement = Some(granted(self.world(), self.holder.member, version));
        said(&EntitlementChanged { entitlement }, CHANGED, version)
    }

    /// Says these in their order and has them heard, until a count is as wanted.
    async fn say(
        &self,
        (by, events): (&TestDb, &[NewEvent]),
        handler: impl Handler,
        (sql, wanted): (&str, i64),
    ) {
        let say = async |tx: &Tx| {
            events.iter().for_each(|event| tx.emit(event.clone()));
            Ok(())
        };
        by.ctx.db.tx("say", say).await.unwrap();
        let mut relay = Relay::new(by.ctx.clone(), self.kafka.bus.clone());
        let ctx = self.world().identity.ctx.clone();
        let mut consumer = Consumer::new(ctx, self.kafka.bus.clone(), handler);
        let started = Instant::now();
        while self.world().count(sql).await < wanted {
            assert!(started.elapsed() < PATIENCE, "{sql}: never {wanted}");
            relay.step().await.unwrap();
            consumer.step().await.unwrap();
        }
        consumer.close().await;
        assert_eq!(self.world().count(sql).await, wanted);
    }

    async fn shown(&self) -> bool {
        credential(self.world(), self.holder.member).await != Value::Null
    }

    /// A pass that is shown, and behind a record of passes that cannot be applied another one.
    async fn shown_and_held<H: Handler>(handler: impl Fn() -> H) -> Self {
        let heard = Self::new().await;
        let known = "SELECT count(*) AS count FROM entitlement WHERE state = 'active'";
        let grant = [heard.granted(1)];
        heard
            .say((&heard.passes, &grant), handler(), (known, 1))
            .await;
        assert!(heard.shown().await);
        let events = [poison(CHANGED, 2), heard.granted(3)];
        heard
            .say((&heard.passes, &events), handler(), (HELD, 2))
            .await;
        heard
    }
}

/// Both who grants and admission said something that cannot be applied. The block is applied at
/// once, its end waits; an operator gives up what is broken, and the end has its turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_passes_a_held_key_and_its_end_waits() {
    let heard = Heard::shown_and_held(|| Entitlements).await;
    let events = block_behind_poison();
    let held = (HELD, 2 + 2);
    heard
        .say((&heard.admission, &events), Entitlements, held)
        .await;
    assert!(!heard.shown().await, "the block did not pass");

    let ctx = &heard.world().identity.ctx;
    let waiting = parked::list(&ctx.db, None).await.unwrap();
    let broken = waiting
        .iter()
        .find(|it| it.topic == "admission.v1" && it.error.is_some());
    let (broken, name) = (broken.unwrap().id, Entitlements.name());
    let end = waiting
        .iter()
        .find(|it| it.version == 3 && it.kind == BLOCKED);
    parked::discard(ctx, name, broken, "a test says so")
        .await
        .unwrap();
    let retried = parked::retry(ctx, &Entitlements, end.unwrap().id).await;
    assert_eq!(retried.unwrap().applied, 1);
    assert!(heard.shown().await);
}

/// Were it not for what the handler says of a block, it would wait too, and what admission has
/// blocked would still be shown.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_word_a_block_would_wait() {
    let heard = Heard::shown_and_held(|| Unguarded).await;
    let events = block_behind_poison();
    let held = (HELD, 2 + 3);
    heard
        .say((&heard.admission, &events), Unguarded, held)
        .await;
    assert!(heard.shown().await);
}
