//! A topic and a database that do not explain each other: noticed, explained, repaired.

use std::time::Duration;

use kit::consumer::Consumer;
use kit::relay::{Relay, Status};
use kit::replica::{Replica, Roots};
use kit::testing;
use tokio_util::sync::CancellationToken;

use crate::world::{World, finding};

/// How long the world may take to carry events.
const CARRY_MAX: Duration = Duration::from_secs(60);

/// The root that this world's key sets are signed by.
fn roots(world: &World) -> Roots {
    let root = identity::commands::keys::read_root(world.root().as_ref()).unwrap();
    Roots::from([(identity::signing::issuer(world.union), root.verifying_key())])
}

/// A union with keys and an operator, whose events are carried while `work` goes on: identity's
/// relay and the replica of each other service run.
pub(crate) async fn carried<T>(world: &World, work: impl Future<Output = T>) -> T {
    let stop = CancellationToken::new();
    let mut loops = tokio::task::JoinSet::new();
    let relay = Relay::new(world.ctx("identity").await, world.bus());
    loops.spawn(relay.run(stop.clone()));
    for service in ["passes", "billing", "admission"] {
        let replica = Replica::new(roots(world));
        let consumer = Consumer::new(world.ctx(service).await, world.bus(), replica);
        loops.spawn(consumer.run(stop.clone()));
    }
    let result = tokio::time::timeout(CARRY_MAX, work).await.unwrap();
    stop.cancel();
    while loops.join_next().await.is_some() {}
    result
}

/// Gives identity something to tell.
pub(crate) async fn told(world: &World) {
    world.bashu(&["keys", "rotate"]).await.well();
    world
        .bashu(&["keys", "publish", "--root", &world.root()])
        .await
        .well();
    let made = world
        .bashu_typing(&["operator", "create"], "13911112222\n欧阳晓晓\n")
        .await;
    assert_eq!(made.code, 0, "{}", made.err);
}

#[tokio::test]
async fn what_went_back_in_time_is_noticed_and_repaired() {
    let world = World::ready().await;
    told(&world).await;
    carried(&world, async {
        world.bashu(&["verify", "--settle", "50"]).await.well();
    })
    .await;

    // The topic lost records that the database knows to have been acknowledged.
    let lost = "UPDATE outbox_relay SET offsets = ARRAY[5000, 5000]::bigint[]";
    world.plant("identity", lost).await;
    let mut relay = Relay::new(world.ctx("identity").await, world.bus());
    assert!(testing::in_charge(&mut relay).await.is_err());
    assert!(
        matches!(relay.status(), Status::Refused(_)),
        "{:?}",
        relay.status()
    );
    drop(relay);
    let report = world.bashu(&["doctor"]).await;
    assert_eq!(report.code, 1);
    let report = report.json();
    let history = finding(&report, "kafka.history", "identity.v1");
    assert_eq!(history["severity"], "fail");
    assert!(
        history["to_do"]["zh"]
            .as_str()
            .unwrap()
            .contains("bashu restored identity")
    );

    let explained = world.bashu(&["restored", "identity"]).await;
    assert_eq!(explained.code, 1, "it explains itself and does nothing");
    assert!(
        explained.json()["explanation"]["zh"]
            .as_str()
            .unwrap()
            .contains("bashu resync")
    );
    assert_eq!(
        world
            .ask("identity", "SELECT epoch FROM outbox_relay")
            .await,
        "1"
    );

    let opened = world.bashu(&["restored", "identity", "--yes"]).await.well();
    assert_eq!(
        (&opened[0]["service"], &opened[0]["epoch"]),
        (&"identity".into(), &2.into())
    );
    // A consumer that lost what it had learnt learns it again.
    world.plant("passes", "DELETE FROM replica_role").await;
    let said = world.bashu(&["resync", "identity"]).await.well();
    assert!(said["transactions"].as_u64().unwrap() > 0);
    assert_eq!(said["waiting"], true, "no relay runs yet");
    carried(&world, async {
        world.bashu(&["verify", "--settle", "50"]).await.well();
    })
    .await;
    let epochs = "SELECT string_agg(DISTINCT epoch::text, ',') FROM watermark";
    assert_eq!(world.ask("passes", epochs).await, "2");
    assert_eq!(
        world
            .ask("passes", "SELECT count(*) FROM replica_role")
            .await,
        "1"
    );
    let acts = "SELECT string_agg(act || ' by ' || (detail ->> 'by'), ',' ORDER BY id) FROM audit
                WHERE act LIKE '%restored' OR act = 'resync'";
    assert_eq!(
        world.ask("identity", acts).await,
        "restored by tester,resync by tester"
    );
}

#[tokio::test]
async fn a_running_service_is_not_restored() {
    let world = World::ready().await;
    told(&world).await;
    let mut relay = Relay::new(world.ctx("identity").await, world.bus());
    testing::in_charge(&mut relay).await.unwrap();
    assert_eq!(*relay.status(), Status::Running);
    let refused = world.bashu(&["restored", "identity", "--yes"]).await;
    assert_eq!(refused.code, 3);
    assert!(refused.err.contains("stop the service"), "{}", refused.err);
    assert_eq!(
        world
            .ask("identity", "SELECT epoch FROM outbox_relay")
            .await,
        "1"
    );
}
