//! Every mutation leaves the audit row that `schema/acts.json` says; and what an operator does to
//! money waits while such rows are not sealed, where paying does not.

use chrono::TimeDelta;
use kit::audit::LAG_SECONDS_MAX;
use kit::bus::Defect;
use kit::testing::acts::Acts;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::books::{again, compared, next_morning};
use crate::closed::retry;
use crate::closing::cancel;
use crate::explaining::{explain, reused};
use crate::world::{World, key, payer};

/// A refund of one fen that the provider has not paid out.
async fn refund(world: &World) -> Uuid {
    let order = world.paid(&[100]).await;
    let id = key();
    let back = world.returned(&order, 0, id, 1);
    world.apply(&[back]).await.unwrap();
    id
}

#[tokio::test]
async fn every_mutation_leaves_its_row() {
    let world = World::start().await;
    let acts = Acts::of(&world.db.ctx);
    let (none, who) = (json!([]), payer());
    let _sold = world.paid(&[100]).await;
    let order = world.order(&[100]).await;
    let paying = world.pay_order(&who, order.id, key());
    let paying = acts.left_by("payOrder", paying).await;
    assert_eq!(paying["userErrors"], none, "{paying}");
    let order = world.order(&[100]).await;
    let cancelled = cancel(&world, &who, order.id, key());
    let cancelled = acts.left_by("cancelOrder", cancelled).await;
    assert_eq!(cancelled["userErrors"], none, "{cancelled}");
    next_morning(&world).await;
    compared(&world, 1).await;
    let asked = acts.left_by("reconcile", again(&world)).await;
    assert_ne!(asked, Value::Null);
    let (id, _) = reused(&world).await;
    let operator = world.operator().await;
    let explained = explain(&world, &operator, (id, "told twice"), key());
    let explained = acts.left_by("explainDiscrepancy", explained).await;
    assert_eq!(explained["userErrors"], none, "{explained}");
    let id = refund(&world).await;
    let retried = retry(&world, &operator, id, key());
    let retried = acts.left_by("retryRefund", retried).await;
    assert_eq!(retried["data"]["retryRefund"]["userErrors"], none);
    acts.assert_complete();
}

/// While rows wait too long for their seal an operator has no refund tried again and explains
/// nothing away; members pay. With the guard off the refund is tried.
#[tokio::test]
async fn privileges_wait_for_the_sealer() {
    let world = World::start().await;
    let order = world.order(&[100]).await;
    let operator = world.operator().await;
    let cancelled = cancel(&world, &payer(), order.id, key()).await;
    assert_eq!(cancelled["userErrors"], json!([]), "{cancelled}");
    world.advance(TimeDelta::seconds(LAG_SECONDS_MAX + 1));
    let heard = "UPDATE replica_heartbeat SET at = $1";
    let ctx = &world.db.ctx;
    let now = ctx.clock.now();
    ctx.db.execute(heard, [now.into()]).await.unwrap();
    let code = |answer: &Value| answer["errors"][0]["extensions"]["code"].clone();
    // Refused before anybody looks whether there is such a refund.
    let refused = retry(&world, &operator, key(), key()).await;
    assert_eq!(code(&refused), "AUDIT_LAGS", "{refused}");
    let explaining = "mutation ($input: ExplainDiscrepancyInput!) {
        explainDiscrepancy(input: $input) { userErrors { code } } }";
    let id = kit::graphql::GlobalId::of_uuid("Discrepancy", key()).0;
    let input = json!({ "input": {
        "discrepancyId": id, "reason": "told twice", "idempotencyKey": key(),
    }});
    let refused = world.graph(&operator, explaining, input).await;
    assert_eq!(code(&refused), "AUDIT_LAGS", "{refused}");
    let other = world.order(&[100]).await;
    let cancelled = cancel(&world, &payer(), other.id, key()).await;
    assert_eq!(cancelled["userErrors"], json!([]), "{cancelled}");
    ctx.db.faults().switch_on(Defect::PrivilegedUnsealed);
    let tried = retry(&world, &operator, key(), key()).await;
    let said = &tried["data"]["retryRefund"]["userErrors"][0]["code"];
    assert_eq!(said, "NOT_FOUND", "with the guard off: {tried}");
}
