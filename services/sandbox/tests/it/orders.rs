//! Orders: placed, paid, queried, closed, and everything that is refused.

use crate::harness::{HOUR_MS, World};
use reqwest::Method;
use serde_json::{Value, json};

const NATIVE: &str = "/v3/pay/transactions/native";
const JSAPI: &str = "/v3/pay/transactions/jsapi";

async fn close(world: &World, number: &str) -> (u16, String) {
    let target = format!("/v3/pay/transactions/out-trade-no/{number}/close");
    let body = json!({ "mchid": world.merchant.mchid }).to_string();
    let reply = world.call(Method::POST, &target, &body).await;
    (
        reply.status,
        if reply.text.is_empty() {
            String::new()
        } else {
            reply.code()
        },
    )
}

/// The whole life of a native order: its code is scanned, it is paid, both queries tell it.
#[tokio::test]
async fn a_native_order_is_placed_paid_and_queried() {
    let world = World::start().await;
    let code_url = world.place("ORDER0001", 20_000).await;
    assert!(code_url.starts_with("weixin://wxpay/bizpayurl?pr="));
    let before = world.query("ORDER0001").await.json();
    assert_eq!(before["trade_state"], "NOTPAY");
    assert_eq!(
        before["amount"],
        json!({ "total": 20_000, "currency": "CNY" })
    );
    assert!(before.get("transaction_id").is_none());

    let paid = world
        .post("/sandbox/pay", json!({ "code_url": code_url }))
        .await
        .json();
    assert_eq!(world.query("ORDER0001").await.json(), paid);
    assert_eq!(paid["trade_state"], "SUCCESS");
    assert_eq!(paid["trade_type"], "NATIVE");
    assert_eq!(paid["success_time"], "2026-11-23T12:00:00+08:00");
    assert_eq!(paid["amount"]["payer_total"], 20_000);
    let id = paid["transaction_id"].as_str().unwrap();
    assert_eq!(id.len(), 28);
    let target = format!("/v3/pay/transactions/id/{id}?mchid=1900000050");
    assert_eq!(world.call(Method::GET, &target, "").await.json(), paid);

    let again = world
        .post("/sandbox/pay", json!({ "code_url": code_url }))
        .await;
    assert_eq!((again.status, again.code().as_str()), (409, "ORDERPAID"));
    let other = "/v3/pay/transactions/out-trade-no/ORDER0001?mchid=1900000051";
    let reply = world.call_as(&world.other, Method::GET, other, "").await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (404, "ORDER_NOT_EXIST")
    );
    let target = target.replace("1900000050", "1900000051");
    let reply = world.call_as(&world.other, Method::GET, &target, "").await;
    assert_eq!(reply.status, 404);
}

/// A JSAPI order belongs to its payer and is paid by its prepay_id.
#[tokio::test]
async fn a_jsapi_order_needs_its_payer() {
    let world = World::start().await;
    let mut body = world.order("ORDER0001", 1);
    let reply = world.call(Method::POST, JSAPI, &body.to_string()).await;
    assert_eq!(reply.code(), "PARAM_ERROR");
    body["payer"] = json!({ "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o" });
    let reply = world
        .call(Method::POST, JSAPI, &body.to_string())
        .await
        .json();
    let prepay_id = reply["prepay_id"].as_str().unwrap();
    assert_eq!((&prepay_id[..10], prepay_id.len()), ("wx20261123", 36));
    let paid = world
        .post("/sandbox/pay", json!({ "prepay_id": prepay_id }))
        .await
        .json();
    assert_eq!(paid["payer"]["openid"], "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o");
    assert_eq!(paid["trade_type"], "JSAPI");
}

/// Each rule of the documented fields refuses what breaks it, and nothing is placed.
#[tokio::test]
async fn fields_are_checked_as_documented() {
    let world = World::start().await;
    let change = |pointer: &str, value: Value| {
        let mut body = world.order("ORDER0001", 1);
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[field] = value;
        body
    };
    let long = |count: usize| json!("票".repeat(count));
    let bad = [
        change("/out_trade_no", json!("AB123")),
        change("/out_trade_no", json!("A".repeat(33))),
        change("/out_trade_no", json!("ORDER 001")),
        change("/out_trade_no", json!("订单订单订单")),
        change("/out_trade_no", Value::Null),
        change("/description", json!("")),
        change("/description", long(128)),
        change("/description", json!("a\u{0}b")),
        change("/attach", long(129)),
        change("/amount/total", json!(0)),
        change("/amount/total", json!(-1)),
        change("/amount/total", json!(1.0)),
        change("/amount/total", json!("1")),
        change("/amount/total", json!(9_223_372_036_854_775_807_i64)),
        change("/amount/total", json!(18_446_744_073_709_551_615_u64)),
        change("/amount/currency", json!("USD")),
        change("/mchid", json!("1900000051")),
        change("/notify_url", json!("")),
        change("/notify_url", json!("ftp://127.0.0.1/x")),
        change("/notify_url", json!("http://127.0.0.1/x?a=1")),
        change("/notify_url", json!("http://user@127.0.0.1/x")),
        change("/notify_url", json!("http://example.com/x")),
        change(
            "/notify_url",
            json!(format!("http://127.0.0.1/{}", "x".repeat(255))),
        ),
        change("/time_expire", json!("2026-11-23 13:00:00")),
        change("/time_expire", json!("2026-11-23T12:00:59+08:00")),
        change("/time_expire", json!("2026-11-23T11:00:00+08:00")),
    ];
    for body in bad {
        let reply = world.call(Method::POST, NATIVE, &body.to_string()).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "PARAM_ERROR"),
            "{body}"
        );
    }
    for body in [
        "",
        "[]",
        "{",
        r#"{"mchid":"1900000050","mchid":"1900000050"}"#,
    ] {
        let reply = world.call(Method::POST, NATIVE, body).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "PARAM_ERROR"),
            "{body}"
        );
    }
    let body = change("/appid", json!("wx0000000000000000")).to_string();
    let reply = world.call(Method::POST, NATIVE, &body).await;
    assert_eq!(reply.code(), "APPID_MCHID_NOT_MATCH");
    assert_eq!(world.query("ORDER0001").await.code(), "ORDER_NOT_EXIST");
}

/// At the edges of the documented fields an order is placed; what is not known is ignored.
#[tokio::test]
async fn fields_may_reach_their_limits() {
    let world = World::start().await;
    let number = "aA0_-|*aA0_-|*aA0_-|*aA0_-|*aA0_";
    let long = |count: usize| json!("票".repeat(count));
    let mut body = world.order(number, 1);
    body["description"] = long(127);
    body["attach"] = long(128);
    body["time_expire"] = json!("2026-11-23T12:01:00+08:00");
    body["detail"] = json!({ "unknown fields": "are ignored" });
    body["amount"].as_object_mut().unwrap().remove("currency");
    let reply = world.call(Method::POST, NATIVE, &body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let encoded = number.replace('|', "%7C");
    assert_eq!(world.query(&encoded).await.json()["out_trade_no"], number);
}

/// The same order asked for twice is one order; with other content its number is used up.
#[tokio::test]
async fn a_number_is_one_order() {
    let world = World::start().await;
    let first = world.place("ORDER0001", 100).await;
    assert_eq!(world.place("ORDER0001", 100).await, first);
    let body = world.order("ORDER0001", 101).to_string();
    let reply = world.call(Method::POST, NATIVE, &body).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (403, "OUT_TRADE_NO_USED")
    );
    let mut jsapi = world.order("ORDER0001", 100);
    jsapi["payer"] = json!({ "openid": "o1" });
    let reply = world.call(Method::POST, JSAPI, &jsapi.to_string()).await;
    assert_eq!(reply.code(), "OUT_TRADE_NO_USED");

    // Merchants do not share numbers.
    let mut body = world.order("ORDER0001", 7);
    body["mchid"] = json!(world.other.mchid);
    body["appid"] = json!(world.other.appid);
    let reply = world
        .call_as(&world.other, Method::POST, NATIVE, &body.to_string())
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        world.query("ORDER0001").await.json()["amount"]["total"],
        100
    );

    let _paid = world.pay("ORDER0001").await;
    let body = world.order("ORDER0001", 100).to_string();
    assert_eq!(
        world.call(Method::POST, NATIVE, &body).await.code(),
        "ORDERPAID"
    );
    let _code_url = world.place("ORDER0002", 100).await;
    assert_eq!(close(&world, "ORDER0002").await.0, 204);
    let body = world.order("ORDER0002", 100).to_string();
    assert_eq!(
        world.call(Method::POST, NATIVE, &body).await.code(),
        "OUT_TRADE_NO_USED"
    );
}

/// Closing ends an unpaid order once and for all, and never one that is paid.
#[tokio::test]
async fn closing_is_final_and_never_for_a_paid_order() {
    let world = World::start().await;
    let code_url = world.place("ORDER0001", 100).await;
    assert_eq!(close(&world, "ORDER0001").await.0, 204);
    assert_eq!(close(&world, "ORDER0001").await.0, 204);
    assert_eq!(
        world.query("ORDER0001").await.json()["trade_state"],
        "CLOSED"
    );
    for force in [false, true] {
        let told = json!({ "code_url": code_url, "force": force });
        let reply = world.post("/sandbox/pay", told).await;
        assert_eq!((reply.status, reply.code().as_str()), (409, "ORDER_CLOSED"));
    }
    let _code_url = world.place("ORDER0002", 100).await;
    let _paid = world.pay("ORDER0002").await;
    assert_eq!(
        close(&world, "ORDER0002").await,
        (400, "ORDERPAID".to_owned())
    );
    assert_eq!(
        world.query("ORDER0002").await.json()["trade_state"],
        "SUCCESS"
    );
    assert_eq!(
        close(&world, "NOBODYS1").await,
        (404, "ORDER_NOT_EXIST".to_owned())
    );
    let target = "/v3/pay/transactions/out-trade-no/ORDER0002/close";
    let body = json!({ "mchid": "1900000051" }).to_string();
    assert_eq!(
        world.call(Method::POST, target, &body).await.code(),
        "PARAM_ERROR"
    );
}

/// An expired order stays NOTPAY, as at the provider; the payer is turned away but for the race,
/// in which a late payment is made and told.
#[tokio::test]
async fn an_expired_order_stays_unpaid_until_closed_or_paid_late() {
    let world = World::start().await;
    let mut body = world.order("ORDER0001", 100);
    body["time_expire"] = json!("2026-11-23T12:15:00+08:00");
    let reply = world.call(Method::POST, NATIVE, &body.to_string()).await;
    assert_eq!(reply.status, 200);
    world.clock.advance_ms(15 * 60_000);
    assert_eq!(
        world.query("ORDER0001").await.json()["trade_state"],
        "NOTPAY"
    );
    let told = json!({ "out_trade_no": "ORDER0001" });
    let reply = world.post("/sandbox/pay", told).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (409, "ORDER_EXPIRED")
    );
    assert_eq!(world.step().await, 0);
    let told = json!({ "out_trade_no": "ORDER0001", "force": true });
    assert_eq!(world.post("/sandbox/pay", told).await.status, 200);
    assert_eq!(world.step().await, 1);
    assert_eq!(world.receiver.take().len(), 1);
    assert_eq!(
        world.query("ORDER0001").await.json()["trade_state"],
        "SUCCESS"
    );
}

/// A code can be scanned for two hours; the same order asked for again then gets a new one.
#[tokio::test]
async fn a_code_lives_two_hours() {
    let world = World::start().await;
    let first = world.place("ORDER0001", 100).await;
    world.clock.advance_ms(2 * HOUR_MS);
    let reply = world
        .post("/sandbox/pay", json!({ "code_url": first }))
        .await;
    assert_eq!(reply.code(), "ORDER_EXPIRED");
    let second = world.place("ORDER0001", 100).await;
    assert_ne!(first, second);
    let reply = world
        .post("/sandbox/pay", json!({ "code_url": second }))
        .await;
    assert_eq!(reply.status, 200);
}

/// Two payers at once: one payment.
#[tokio::test]
async fn two_payments_at_once_are_one() {
    let world = World::start().await;
    let code_url = world.place("ORDER0001", 100).await;
    let pay = || world.post("/sandbox/pay", json!({ "code_url": code_url }));
    let (a, b) = tokio::join!(pay(), pay());
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    assert_eq!(world.step().await, 1);
}
