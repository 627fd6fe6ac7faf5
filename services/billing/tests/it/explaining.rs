//! What somebody must look at, and how it comes to an end.

use chrono::TimeDelta;
use kit::access::{Caller, Role};
use kit::graphql::{GlobalId, Language};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::provider::Provider;
use crate::refunds::paid_out;
use crate::world::{World, caller, key, payer, speaking};

/// How often this promise is broken.
pub(crate) async fn broken(world: &World, promise: &str) -> usize {
    let mut all = billing::verify::INVARIANTS.iter();
    let promise = all.find(|one| one.id == promise).unwrap();
    let found = kit::verify::check(&world.db.ctx.db, promise).await;
    found.unwrap().len()
}

pub(crate) async fn explain(
    world: &World,
    caller: &Caller,
    (id, reason): (Uuid, &str),
    key: Uuid,
) -> Value {
    let answer = world
        .graph(
            caller,
            "mutation ($input: ExplainDiscrepancyInput!) { explainDiscrepancy(input: $input) {
               discrepancy { kind explained explanation } userErrors { code field message } } }",
            json!({ "input": {
                "discrepancyId": GlobalId::of_uuid("Discrepancy", id).0, "reason": reason,
                "idempotencyKey": key,
            }}),
        )
        .await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    answer["data"]["explainDiscrepancy"].clone()
}

async fn found(world: &World, kind: &str) -> Uuid {
    let sql = format!("SELECT id FROM discrepancy WHERE kind = '{kind}'");
    world.text(&sql).await.parse().unwrap()
}

/// A transaction that was told of for two orders; what is to be explained, and the second one.
pub(crate) async fn reused(world: &World) -> (Uuid, String) {
    let (first, second) = (world.order(&[100]).await, world.order(&[100]).await);
    let (one, two) = (world.ready(&first).await, world.ready(&second).await);
    for (number, status) in [(&one, 204), (&two, 409)] {
        assert_eq!(told_of(world, number).await, status);
    }
    (found(world, "transaction_reused").await, two)
}

/// What the provider is answered when it tells of this number's payment.
async fn told_of(world: &World, number: &str) -> u16 {
    let provider = Provider::of(world);
    let paid = provider.transaction(world, number, 100);
    let posted = provider.seal(world, "TRANSACTION.SUCCESS", &paid);
    posted.to(world, "payment").await.0
}

/// An operator who has looked says what came of it: it is listed no longer, on record with the
/// reason, and the same request again is one.
#[tokio::test]
async fn an_operator_explains_what_was_looked_at() {
    let world = World::start().await;
    let (id, second) = reused(&world).await;
    let operator = world.operator().await;
    let auditor = caller(30);
    world.office(&auditor, Role::Auditor).await;
    for nobody in [&payer(), &auditor] {
        let refused = explain(&world, nobody, (id, "mine"), key()).await;
        assert_eq!(refused["userErrors"][0]["code"], "FORBIDDEN");
    }
    for reason in [" ".to_owned(), "x".repeat(201)] {
        let refused = explain(&world, &operator, (id, &reason), key()).await;
        assert_eq!(refused["userErrors"][0]["code"], "BAD_INPUT");
    }
    let absent = explain(&world, &operator, (key(), "x"), key()).await;
    assert_eq!(absent["userErrors"][0]["code"], "NOT_FOUND");
    let once = key();
    let said = (id, "the provider told us the same thing twice");
    let done = explain(&world, &operator, said, once).await;
    let shown = json!({ "kind": "transaction_reused", "explained": true, "explanation": said.1 });
    assert_eq!(done["discrepancy"], shown);
    assert_eq!(explain(&world, &operator, said, once).await, done);
    for (language, text) in [
        (Language::Zh, "该差异已有说明。"),
        (Language::En, "This discrepancy has already been explained."),
    ] {
        let who = speaking(operator.clone(), language);
        let again = explain(&world, &who, said, key()).await;
        assert_eq!(again["userErrors"][0]["code"], "ALREADY_EXPLAINED");
        assert_eq!(again["userErrors"][0]["message"], text);
    }
    // The provider tells of it until somebody believes it; that is nothing new.
    assert_eq!(told_of(&world, &second).await, 409);
    let listed = world
        .graph(
            &operator,
            "{ discrepancies(first: 5) { nodes { id } } }",
            json!({}),
        )
        .await;
    assert_eq!(listed["data"]["discrepancies"]["nodes"], json!([]));
    let audited = "audit WHERE act = 'explain_discrepancy'
        AND detail ->> 'reason' = 'the provider told us the same thing twice'";
    assert_eq!(world.count(audited).await, 1);
    world.verify().await;
}

/// A refund that is stuck cannot be talked away; a return that never became one can.
#[tokio::test]
async fn a_refund_that_waits_is_not_explained_away() {
    let world = World::start().await;
    let order = world.paid(&[100]).await;
    let fault = json!({ "next": 1, "fault": "not_enough", "path_prefix": "/v3/refund" });
    world.fault(fault).await;
    let back = world.returned(&order, 0, key(), 100);
    world.apply(&[back]).await.unwrap();
    let stuck = "discrepancy WHERE kind = 'refund_stuck' AND state = 'open'";
    world
        .until("stuck", async || world.count(stuck).await == 1)
        .await;
    let operator = world.operator().await;
    let id = found(&world, "refund_stuck").await;
    for (language, text) in [
        (Language::Zh, "该笔退款尚未到账，请先重试退款。"),
        (
            Language::En,
            "The money of this refund has not gone back; please try the refund again first.",
        ),
    ] {
        let who = speaking(operator.clone(), language);
        let refused = explain(&world, &who, (id, "no"), key()).await;
        assert_eq!(refused["userErrors"][0]["code"], "REFUND_STILL_STUCK");
        assert_eq!(refused["userErrors"][0]["message"], text);
    }
    world.advance(TimeDelta::seconds(62));
    paid_out(&world).await;
    assert_eq!(world.count(stuck).await, 0);
    let order = world.order(&[100]).await;
    let beyond = world.returned(&order, 0, key(), 101);
    world.apply(&[beyond]).await.unwrap();
    let number = world.ready(&order).await;
    world.payer_pays(&number).await;
    world.deliver().await;
    let open = "SELECT id FROM discrepancy WHERE state = 'open'";
    let id = world.text(open).await.parse().unwrap();
    world.heartbeat().await;
    let done = explain(&world, &operator, (id, "the seller asked too much"), key()).await;
    assert_eq!(done["userErrors"], json!([]));
    world.verify().await;
}

const SEEN: &str = "SELECT concat_ws(' ', kind, ours_fen, theirs_fen, state) FROM discrepancy";

/// The provider tells of a refund otherwise than we know it: somebody is told, the provider is
/// asked, and when it says what we know the matter is over. A refund that nobody here knows stays
/// for a person.
#[tokio::test]
async fn a_refund_notification_that_does_not_fit_is_looked_into() {
    let world = World::start().await;
    let order = world.paid(&[100]).await;
    let number = world.trade_no(order.id).await;
    let back = world.returned(&order, 0, key(), 40);
    world.apply(&[back]).await.unwrap();
    paid_out(&world).await;
    let forged = json!({ "out_trade_no": number, "event_type": "REFUND.SUCCESS",
        "forgery": "wrong_amount" });
    assert_eq!(world.resend(forged).await, [409]);
    world
        .until("asked", async || {
            world.count("due WHERE kind = 'refund_query'").await == 0
        })
        .await;
    let seen = world.text(SEEN).await;
    assert!(seen.starts_with("refund_notice_differs 40 "), "{seen}");
    assert!(seen.ends_with(" explained"), "{seen}");
    assert_eq!(world.text("SELECT refunded_fen FROM orders").await, "40");
    world.verify().await;
    let world = World::start().await;
    let strange = Provider::of(&world).refund(&world, ("t-unknown", "42"), "R1", "SUCCESS");
    assert_eq!(strange.to(&world, "refund").await.0, 409);
    assert_eq!(world.text(SEEN).await, "refund_notice_differs 1 open");
    assert_eq!(world.count("refund").await, 0);
    world.verify().await;
}

/// Asked, the provider itself says another currency: nothing can be booked in fen, the payment
/// fails, its order can still be paid, and a person looks at it.
#[tokio::test]
async fn another_currency_by_the_providers_own_answer() {
    let world = World::start().await;
    let order = world.order(&[19_900]).await;
    let number = world.ready(&order).await;
    let lose = json!({ "out_trade_no": number, "action": "lose" });
    world.instruct(lose).await;
    let path = "/v3/pay/transactions/out-trade-no";
    world
        .fault(json!({ "next": 1, "fault": "foreign_currency", "path_prefix": path }))
        .await;
    world.payer_pays(&number).await;
    world.advance(TimeDelta::seconds(10));
    world
        .until("asked", async || {
            world.count("payment WHERE state = 'failed'").await == 1
        })
        .await;
    let failure = "SELECT failure FROM payment";
    assert_eq!(world.text(failure).await, "CURRENCY_DIFFERS");
    assert_eq!(world.text(SEEN).await, "currency_differs 19900 19900 open");
    assert_eq!(world.order_state(order.id).await, "open");
    assert_eq!(world.count("receipt").await, 0);
    assert_eq!(world.count("transfer").await, 0);
    assert_eq!(world.kinds(order.id).await, Vec::<String>::new());
    world.verify().await;
    let second = world.ready(&order).await;
    world.payer_pays(&second).await;
    world.deliver().await;
    assert_eq!(world.order_state(order.id).await, "paid");
    world.verify().await;
}
