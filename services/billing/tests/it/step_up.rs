//! An operator's token alone moves no money: what she does to refunds, discrepancies and days asks
//! for her second factor, and a refusal for want of it leaves nothing behind.

use chrono::{DateTime, Utc};
use kit::access::{Caller, Role};
use kit::graphql::Language;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::books::next_morning;
use crate::closed::retry;
use crate::explaining::{explain, reused};
use crate::world::{World, caller, key, speaking};

const DAY: &str = "2026-03-31";

/// The code of a payload that is the whole answer or its data.
fn code(payload: &Value) -> &str {
    payload["userErrors"][0]["code"].as_str().unwrap_or("")
}

async fn reconcile(world: &World, by: &Caller) -> Value {
    let text = "mutation ($input: ReconcileInput!) { reconcile(input: $input) {
        reconciliation { state } userErrors { code message } } }";
    let input = json!({ "input": { "date": DAY } });
    let answer = world.graph(by, text, input).await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    answer["data"]["reconcile"].clone()
}

/// An operator of whom nothing but a token is known, and what she has left.
async fn plain(world: &World) -> Caller {
    let plain = caller(9_001);
    world.office(&plain, Role::Operator).await;
    plain
}

async fn left_by_her(world: &World) -> i64 {
    let her = Uuid::from_u128(0x1000 + 9_001);
    let audited = world.count(&format!("audit WHERE member = '{her}'")).await;
    audited + world.count(&format!("once WHERE caller = '{her}'")).await
}

/// Refused without the factor, and the same request with the same key is done with it.
#[tokio::test]
async fn money_moves_with_a_second_factor_alone() {
    let world = World::start().await;
    let (id, _) = reused(&world).await;
    let order = world.paid(&[100]).await;
    let back = key();
    let returned = world.returned(&order, 0, back, 1);
    world.apply(&[returned]).await.unwrap();
    let plain = plain(&world).await;
    let over = plain
        .clone()
        .stepped_up(world.db.ctx.clock.now() - chrono::TimeDelta::seconds(1));
    let (said, tried) = (key(), key());
    for refused in [&plain, &over] {
        let explained = explain(&world, refused, (id, "told twice"), said).await;
        assert_eq!(code(&explained), "STEP_UP_REQUIRED", "{explained}");
        let retried = retry(&world, refused, back, tried).await;
        let retried = &retried["data"]["retryRefund"];
        assert_eq!(code(retried), "STEP_UP_REQUIRED", "{retried}");
    }
    assert_eq!(left_by_her(&world).await, 0);
    let shown = plain.stepped_up(DateTime::<Utc>::MAX_UTC);
    let explained = explain(&world, &shown, (id, "told twice"), said).await;
    assert_eq!(code(&explained), "", "{explained}");
    let retried = retry(&world, &shown, back, tried).await;
    assert_eq!(code(&retried["data"]["retryRefund"]), "", "{retried}");
    assert_eq!(left_by_her(&world).await, 4, "an act and a key of each");
}

/// A day is compared again by who has shown the factor; who has not hears so in her language.
#[tokio::test]
async fn a_day_is_compared_again_with_a_second_factor_alone() {
    let world = World::start().await;
    let _sold = world.paid(&[100]).await;
    next_morning(&world).await;
    let plain = plain(&world).await;
    for language in [Language::Zh, Language::En] {
        let refused = reconcile(&world, &speaking(plain.clone(), language)).await;
        assert_eq!(code(&refused), "STEP_UP_REQUIRED");
        let why = kit::access::step_up_required();
        assert_eq!(refused["userErrors"][0]["message"], why.message(language));
    }
    assert_eq!(left_by_her(&world).await, 0);
    let shown = plain.stepped_up(DateTime::<Utc>::MAX_UTC);
    assert_eq!(code(&reconcile(&world, &shown).await), "");
    assert_eq!(left_by_her(&world).await, 1);
}
