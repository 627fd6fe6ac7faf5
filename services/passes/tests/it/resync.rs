//! A resync says all that was said, as it stands now, and changes nothing.

use std::collections::BTreeMap;

use serde_json::json;

use crate::world::{Emitted, World, caller, key, usual_terms};

/// The last that was said of each (type, key, rules version).
fn last_of(events: Vec<Emitted>) -> BTreeMap<(String, Vec<u8>, i64), Vec<u8>> {
    let mut all = BTreeMap::new();
    for event in events {
        let rules = if event.kind.ends_with("ProductChanged") {
            event
                .decode::<proto::passes::ProductChanged>()
                .rules_version
        } else {
            0
        };
        all.insert(
            (event.kind.clone(), event.key.clone(), rules),
            event.payload,
        );
    }
    all
}

#[tokio::test]
async fn a_resync_says_the_present_state_of_everything() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let _ = world.draft(json!({})).await;
    let active = world.bought(&caller(1), &product).await;
    let _ = world.buy(&caller(2), &product).await;
    let lapsing = world.buy(&caller(3), &product).await;
    world
        .tell(&[world.closed(&lapsing["pass"], 2)])
        .await
        .unwrap();
    let refunding = world.bought(&caller(4), &product).await;
    let input = json!({ "passId": refunding, "idempotencyKey": key() });
    let _ = world.mutate(&caller(4), "requestPassRefund", input).await;
    let freeze = world
        .count("SELECT freeze_version AS count FROM refund")
        .await;
    world
        .tell(&[world.counted(&refunding, freeze, 0, 0)])
        .await
        .unwrap();
    world.ctx().clock.advance(chrono::TimeDelta::minutes(20));
    world.due().await;
    let terms = usual_terms(&json!({ "priceFen": 1 }));
    let input = json!({ "productId": product, "terms": terms, "idempotencyKey": key() });
    world.heartbeat().await;
    let _ = world
        .mutate(&world.operator, "updatePassProduct", input)
        .await;
    let publish = json!({ "productId": product, "idempotencyKey": key() });
    let _ = world
        .mutate(&world.operator, "publishPassProduct", publish)
        .await;
    let said = last_of(world.emitted().await);
    let source = world.passes.source();
    for _ in 0..2 {
        kit::resync::run(world.ctx(), &source, |_, _| {})
            .await
            .unwrap();
        let again = last_of(world.emitted().await);
        assert_eq!(
            said.keys().collect::<Vec<_>>(),
            again.keys().collect::<Vec<_>>()
        );
        for (name, payload) in &again {
            // A request of an order says by then that it is settled.
            if !name.0.ends_with("OrderRequested") {
                assert_eq!(said[name], *payload, "{}", name.0);
            }
        }
    }
    assert_eq!(world.pass(&caller(1), &active).await["state"], "ACTIVE");
    world.verify().await;
}

/// Every step of a long resync goes on where the last one ended.
#[tokio::test]
async fn a_resync_walks_all_of_a_long_table() {
    let world = World::new().await;
    let product = world.product(json!({ "memberLimit": null })).await;
    let buyers: Vec<_> = (0..1_050).map(|n| caller(n % 40)).collect();
    futures::future::join_all(buyers.iter().map(|buyer| world.buy(buyer, &product))).await;
    let _ = world.emitted().await;
    kit::resync::run(world.ctx(), &world.passes.source(), |_, _| {})
        .await
        .unwrap();
    let again = world.emitted().await;
    let passes = again
        .iter()
        .filter(|one| one.kind.ends_with("PassChanged"))
        .count();
    assert_eq!(passes, 1_050);
    world.verify().await;
}
