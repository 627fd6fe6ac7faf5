//! A granter's record that cannot be applied holds the key of its entitlement, on a real Kafka
//! and with the handler that serves: what revokes or freezes passes it, and the gate hears of it.

use std::time::{Duration, Instant};

use credential::rules::Reason;
use kit::consumer::Consumer;
use kit::event::NewEvent;
use kit::migrate::KIT;
use kit::relay::Relay;
use kit::types::EntitlementId;
use proto::v1::{Entitlement, EntitlementChanged, entitlement::State};

use crate::world::{World, admits, daily, reason};

const ENTITLEMENT: &str = "bashu.v1.EntitlementChanged";
/// How long a condition may take to come true before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// One that nobody can apply, under the entitlement's own key.
fn poison(id: u64) -> NewEvent {
    said(id, 1, None)
}

fn said(id: u64, version: i64, entitlement: Option<Entitlement>) -> NewEvent {
    let message = EntitlementChanged { entitlement };
    let key = EntitlementId(id).to_bytes();
    NewEvent::of(&message, ENTITLEMENT, &key, version)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_and_a_freeze_pass_a_held_key() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    let frozen = Entitlement {
        freeze_version: 3,
        ..world.word(2, 3, State::Frozen)
    };
    let revoked = world.word(1, 3, State::Revoked);
    let active = |id| said(id, 2, Some(world.word(id, 2, State::Active)));
    let events = [
        poison(1),
        active(1),
        poison(2),
        active(2),
        said(1, 3, Some(revoked)),
        said(2, 3, Some(frozen)),
        said(3, 2, Some(world.word(3, 2, State::Active))),
    ];
    let (kafka, passes) = (
        kit::testing::kafka(),
        kit::testing::db("passes", &[KIT]).await,
    );
    for event in events {
        let say = async |tx: &kit::Tx| {
            tx.emit(event.clone());
            Ok(())
        };
        passes.ctx.db.tx("say", say).await.unwrap();
    }
    let mut relay = Relay::new(passes.ctx.clone(), kafka.bus.clone());
    let grants = world.admission.grants();
    let mut consumer = Consumer::new(world.ctx().clone(), kafka.bus.clone(), grants);
    let heard = "SELECT count(*) FROM entitlement WHERE version IN (2, 3)";
    let started = Instant::now();
    while world.count(heard).await < 3 {
        assert!(started.elapsed() < PATIENCE, "what passes was not heard");
        relay.step().await.unwrap();
        consumer.step().await.unwrap();
    }
    consumer.close().await;
    let waiting = "SELECT count(*) FROM parked";
    assert_eq!(world.count(waiting).await, 4, "both keys are still held");
    for (pass, expected) in [(1, Reason::Revoked), (2, Reason::Frozen)] {
        let answer = world.enter(&door, &world.token(pass)).await;
        assert_eq!(reason(&answer), Some(expected));
    }
    assert_eq!(
        world.events("FreezeApplied").await.len(),
        1,
        "the freeze is answered"
    );
    assert!(
        admits(&world.enter(&door, &world.token(3)).await),
        "the rest flows"
    );
    world.check().await;
}
