//! Refunds: once per number, never more than was paid.

use crate::harness::World;
use reqwest::Method;
use serde_json::{Value, json};

const REFUNDS: &str = "/v3/refund/domestic/refunds";

fn refund_of(world: &World, number: &str, refund: i64, total: i64) -> Value {
    json!({
        "out_trade_no": "ORDER0001",
        "out_refund_no": number,
        "reason": "退票",
        "notify_url": world.receiver.url,
        "amount": { "refund": refund, "total": total, "currency": "CNY" },
    })
}

async fn ask(world: &World, body: &Value) -> (u16, Value) {
    let reply = world.call(Method::POST, REFUNDS, &body.to_string()).await;
    (reply.status, reply.json())
}

async fn paid_world() -> World {
    let world = World::start().await;
    let _code_url = world.place("ORDER0001", 10_000).await;
    let _paid = world.pay("ORDER0001").await;
    assert_eq!(world.step().await, 1);
    assert_eq!(world.receiver.take().len(), 1);
    world
}

/// A refund is accepted, processed, told, and both queries show it.
#[tokio::test]
async fn a_refund_is_processed_then_told() {
    let world = paid_world().await;
    let (status, accepted) = ask(&world, &refund_of(&world, "R1", 3_000, 10_000)).await;
    assert_eq!((status, &accepted["status"]), (200, &json!("PROCESSING")));
    assert_eq!(accepted["amount"]["refund"], 3_000);
    assert_eq!(accepted["refund_id"].as_str().unwrap().len(), 29);
    assert_eq!(world.step().await, 0);
    world.clock.advance_ms(2_000);
    assert_eq!(world.step().await, 2);
    let target = format!("{REFUNDS}/R1");
    let done = world.call(Method::GET, &target, "").await.json();
    assert_eq!(done["status"], "SUCCESS");
    assert_eq!(done["success_time"], "2026-11-23T12:00:02+08:00");
    let received = world.receiver.take();
    assert_eq!(received.len(), 1);
    let told = world.merchant.unseal(&received[0].body).unwrap();
    assert_eq!(told["refund_status"], "SUCCESS");
    assert_eq!(told["out_refund_no"], "R1");
    assert_eq!(told["amount"]["refund"], 3_000);
    assert_eq!(told["mchid"], "1900000050");
    let order = world.query("ORDER0001").await.json();
    assert_eq!(order["trade_state"], "REFUND");
    let reply = world.call_as(&world.other, Method::GET, &target, "").await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (404, "RESOURCE_NOT_EXISTS")
    );
}

/// The same number is the same refund however often it is asked for, also twice at once; with
/// another amount it is refused.
#[tokio::test]
async fn a_number_is_one_refund() {
    let world = paid_world().await;
    let body = refund_of(&world, "R1", 10_000, 10_000);
    let (a, b) = tokio::join!(ask(&world, &body), ask(&world, &body));
    assert_eq!(a.0, 200);
    assert_eq!(a, b);
    world.clock.advance_ms(2_000);
    assert_eq!(world.step().await, 2);
    let (status, again) = ask(&world, &body).await;
    assert_eq!((status, &again["refund_id"]), (200, &a.1["refund_id"]));
    assert_eq!(world.step().await, 0);
    let (status, other) = ask(&world, &refund_of(&world, "R1", 9_999, 10_000)).await;
    assert_eq!((status, &other["code"]), (400, &json!("INVALID_REQUEST")));
}

/// Parts add up to what was paid and not one fen more; two refunds of an order are a minute apart.
#[tokio::test]
async fn parts_never_exceed_the_payment() {
    let world = paid_world().await;
    assert_eq!(
        ask(&world, &refund_of(&world, "R1", 6_000, 10_000)).await.0,
        200
    );
    let (status, early) = ask(&world, &refund_of(&world, "R2", 1, 10_000)).await;
    assert_eq!((status, &early["code"]), (429, &json!("FREQUENCY_LIMITED")));
    world.clock.advance_ms(60_000);
    let (status, much) = ask(&world, &refund_of(&world, "R2", 4_001, 10_000)).await;
    assert_eq!((status, &much["code"]), (400, &json!("INVALID_REQUEST")));
    assert_eq!(
        ask(&world, &refund_of(&world, "R2", 4_000, 10_000)).await.0,
        200
    );
    world.clock.advance_ms(60_000);
    let (status, _) = ask(&world, &refund_of(&world, "R3", 1, 10_000)).await;
    assert_eq!(status, 400);
}

/// The fifty-first part is refused, though money would be left.
#[tokio::test]
async fn fifty_parts_and_no_more() {
    let world = paid_world().await;
    for part in 1..=50 {
        let (status, answer) =
            ask(&world, &refund_of(&world, &format!("R{part}"), 1, 10_000)).await;
        assert_eq!(status, 200, "{answer}");
        world.clock.advance_ms(60_000);
    }
    let (status, answer) = ask(&world, &refund_of(&world, "R51", 1, 10_000)).await;
    assert_eq!((status, &answer["code"]), (400, &json!("INVALID_REQUEST")));
}

/// What cannot be refunded is refused, each with its reason.
#[tokio::test]
async fn refunds_that_cannot_be_are_refused() {
    let world = paid_world().await;
    let _code_url = world.place("ORDER0002", 500).await;
    let good = refund_of(&world, "R1", 100, 10_000);
    let change = |pointer: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let mut nameless = good.clone();
    nameless.as_object_mut().unwrap().remove("out_trade_no");
    let mut both = good.clone();
    both["transaction_id"] = json!("4200000000000000000000000000");
    for (body, status, code) in [
        (change("/amount/refund", json!(0)), 400, "PARAM_ERROR"),
        (change("/amount/refund", json!(-1)), 400, "PARAM_ERROR"),
        (change("/amount/refund", json!(1.5)), 400, "PARAM_ERROR"),
        (change("/amount/currency", json!("USD")), 400, "PARAM_ERROR"),
        (change("/out_refund_no", json!("")), 400, "PARAM_ERROR"),
        (change("/out_refund_no", json!("R 1")), 400, "PARAM_ERROR"),
        (
            change("/out_refund_no", json!("R".repeat(65))),
            400,
            "PARAM_ERROR",
        ),
        (
            change("/reason", json!("退".repeat(81))),
            400,
            "PARAM_ERROR",
        ),
        (
            change("/notify_url", json!("http://example.com/")),
            400,
            "PARAM_ERROR",
        ),
        (nameless, 400, "PARAM_ERROR"),
        (both, 404, "RESOURCE_NOT_EXISTS"),
        (
            change("/out_trade_no", json!("NOBODYS1")),
            404,
            "RESOURCE_NOT_EXISTS",
        ),
        (
            change("/amount/total", json!(9_999)),
            400,
            "INVALID_REQUEST",
        ),
        (
            change("/amount/refund", json!(10_001)),
            400,
            "INVALID_REQUEST",
        ),
    ] {
        let (got, answer) = ask(&world, &body).await;
        assert_eq!((got, &answer["code"]), (status, &json!(code)), "{body}");
    }
    let mut unpaid = change("/out_trade_no", json!("ORDER0002"));
    unpaid["amount"]["total"] = json!(500);
    assert_eq!(ask(&world, &unpaid).await.1["code"], "INVALID_REQUEST");
    let reply = world
        .call_as(&world.other, Method::POST, REFUNDS, &good.to_string())
        .await;
    assert_eq!(reply.code(), "RESOURCE_NOT_EXISTS");
    world.clock.advance_ms(365 * 24 * 3_600_000 + 1);
    assert_eq!(ask(&world, &good).await.1["code"], "INVALID_REQUEST");
    assert_eq!(
        world.query("ORDER0001").await.json()["trade_state"],
        "SUCCESS"
    );
}
