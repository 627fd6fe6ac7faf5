//! An operator's token alone writes no price and takes no pass: what she does to products and
//! passes asks for her second factor, and a refusal for want of it leaves nothing behind.

use kit::access::Caller;
use serde_json::{Value, json};

use crate::world::{World, caller, code, key, usual_terms};

/// What the operator has left: acts, keys and events.
async fn left(world: &World) -> i64 {
    world
        .count(
            "SELECT (SELECT count(*) FROM audit) + (SELECT count(*) FROM once)
               + (SELECT count(*) FROM outbox) AS count",
        )
        .await
}

/// Refused to the operator's token, then done with her factor under the same key.
async fn asks(world: &World, plain: &Caller, mutation: &str, input: Value) -> Value {
    let before = left(world).await;
    let refused = world.mutate(plain, mutation, input.clone()).await;
    assert_eq!(code(&refused), "STEP_UP_REQUIRED", "{mutation}");
    assert_eq!(left(world).await, before, "{mutation} left something");
    let done = world.mutate(&world.operator, mutation, input).await;
    assert_eq!(code(&done), "", "{mutation}: {done}");
    assert!(left(world).await > before, "{mutation} left nothing");
    done
}

#[tokio::test]
async fn products_are_written_and_sold_with_a_second_factor_alone() {
    let world = World::new().await;
    let plain = caller(0);
    let terms = usual_terms(&json!({}));
    let create = json!({ "terms": terms, "idempotencyKey": key() });
    let made = asks(&world, &plain, "createPassProduct", create).await;
    let id = made["product"]["id"].clone();
    let update = json!({ "productId": id, "terms": terms, "idempotencyKey": key() });
    asks(&world, &plain, "updatePassProduct", update).await;
    for mutation in ["publishPassProduct", "stopSale", "resumeSale"] {
        let input = json!({ "productId": id, "idempotencyKey": key() });
        asks(&world, &plain, mutation, input).await;
    }
    world.verify().await;
}

#[tokio::test]
async fn passes_are_taken_and_given_back_with_a_second_factor_alone() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(2), &product).await;
    for mutation in ["freezePass", "unfreezePass", "voidPass"] {
        let mut input = json!({ "passId": id, "reason": "it was lent", "idempotencyKey": key() });
        if mutation == "voidPass" {
            input["refund"] = json!(true);
        }
        asks(&world, &caller(0), mutation, input).await;
    }
    world.verify().await;
}
