//! A code is issued again: the generation that gates compare is raised, once for each request.

use chrono::TimeDelta;
use futures::future::join_all;
use kit::access::Caller;
use kit::graphql::Language;
use passes::domain::REISSUES_PER_DAY_MAX;
use proto::v1::{Entitlement, EntitlementChanged};
use serde_json::{Value, json};

use crate::races::twin;
use crate::world::{World, caller, code, entitlement, key};

const GENERATION: &str = "SELECT generation::bigint AS count FROM pass";

async fn again(world: &World, who: &Caller, pass: &str, reason: Option<&str>) -> Value {
    let input = json!({ "passId": pass, "reason": reason, "idempotencyKey": key() });
    world.mutate(who, "reissuePass", input).await
}

async fn right(world: &World) -> Entitlement {
    let event: EntitlementChanged = world.last().await;
    event.entitlement.unwrap()
}

/// Its holder has it replaced: the event carries the next generation, the same request again does
/// not raise it, and whatever happens afterwards does not lower it.
#[tokio::test]
async fn the_next_generation_is_told_once() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    assert_eq!(right(&world).await.r#gen, 0);
    let input = json!({ "passId": id, "idempotencyKey": key() });
    let first = world.mutate(&caller(1), "reissuePass", input.clone()).await;
    assert_eq!(first["userErrors"], json!([]));
    assert_eq!(first["pass"]["generation"], 1);
    let told = right(&world).await;
    assert_eq!((told.r#gen, told.version), (1, 3));
    let replayed = world.mutate(&caller(1), "reissuePass", input).await;
    assert_eq!(replayed["pass"]["generation"], 1);
    assert!(world.emitted().await.is_empty(), "a replay says nothing");
    let freeze = json!({ "passId": id, "reason": "copied", "idempotencyKey": key() });
    let _ = world.mutate(&world.operator, "freezePass", freeze).await;
    assert_eq!(right(&world).await.r#gen, 1);
    let audited = "SELECT count(*) AS count FROM audit WHERE act = 'reissue_pass'";
    assert_eq!(world.count(audited).await, 1);
    world.verify().await;
}

/// Another member's pass is answered as one that is not there; an operator says why, and that is
/// audited.
#[tokio::test]
async fn it_is_the_holders_and_the_operators() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    for pass in [id.as_str(), "UGFzczoAAAAAAAAAAA"] {
        for language in [Language::Zh, Language::En] {
            let who = Caller {
                language,
                ..caller(2)
            };
            let refused = again(&world, &who, pass, Some("x")).await;
            let message = language.choose("没有找到。", "There is no such thing.");
            assert_eq!(code(&refused), "NOT_FOUND");
            assert_eq!(refused["userErrors"][0]["message"], message);
        }
    }
    for reason in [None, Some(" ")] {
        let refused = again(&world, &world.operator, &id, reason).await;
        assert_eq!(code(&refused), "BAD_INPUT", "{reason:?}");
    }
    let done = again(&world, &world.operator, &id, Some("posted online")).await;
    assert_eq!(done["pass"]["generation"], 1);
    let audited = "SELECT count(*) AS count FROM audit WHERE act = 'reissue_pass'
                   AND detail ->> 'reason' = 'posted online'";
    assert_eq!(world.count(audited).await, 1);
    world.verify().await;
}

/// So often in a day and no more; the next day the very same request is taken.
#[tokio::test]
async fn a_day_has_so_many() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    for _ in 0..REISSUES_PER_DAY_MAX {
        assert_eq!(code(&again(&world, &caller(1), &id, None).await), "");
    }
    let input = json!({ "passId": id, "idempotencyKey": key() });
    for (language, text) in [
        (Language::Zh, "这张年票近期换码次数过多，请稍后再试。"),
        (
            Language::En,
            "The code of this pass has been replaced too often lately; please try again later.",
        ),
    ] {
        let who = Caller {
            language,
            ..caller(1)
        };
        let refused = world.mutate(&who, "reissuePass", input.clone()).await;
        assert_eq!(code(&refused), "REISSUED_TOO_OFTEN");
        assert_eq!(refused["userErrors"][0]["message"], text);
    }
    let often = i64::from(REISSUES_PER_DAY_MAX);
    assert_eq!(world.count(GENERATION).await, often);
    world.ctx().clock.advance(TimeDelta::hours(25));
    let done = world.mutate(&caller(1), "reissuePass", input).await;
    assert_eq!(done["pass"]["generation"], often + 1);
    world.verify().await;
}

/// Asked for by many at once, the limit of a day holds and each generation is issued once.
#[tokio::test]
async fn at_once_the_limit_holds() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = entitlement(&world.bought(&caller(1), &product).await);
    let other = twin(&world).await;
    let asked = (0..10).map(|n| {
        let process = if n % 2 == 0 { &world.passes } else { &other };
        async move { process.reissue(&caller(1), id, None, key()).await }
    });
    let done = join_all(asked).await;
    let mut generations: Vec<u8> = done.iter().flatten().map(|pass| pass.generation).collect();
    generations.sort_unstable();
    assert_eq!(generations, [1, 2, 3]);
    world.verify().await;
}
