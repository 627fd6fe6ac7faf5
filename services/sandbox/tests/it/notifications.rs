//! Notifications: genuine ones by the plan, and each way of spoiling them.

use crate::harness::{Answer, HOUR_MS, Received, World};
use serde_json::{Value, json};
use std::time::Duration;

const MINUTE_MS: i64 = 60_000;

async fn paid(world: &World, number: &str) -> Value {
    let _code_url = world.place(number, 20_000).await;
    world.pay(number).await
}

async fn tell(world: &World, told: Value) {
    let reply = world.post("/sandbox/notifications", told).await;
    assert_eq!(reply.status, 204, "{}", reply.text);
}

fn genuine(world: &World, received: &Received) -> bool {
    world.merchant.is_genuine(&received.headers, &received.body)
}

/// A payment is told at once, signed and sealed, and carries the transaction as the query does.
#[tokio::test]
async fn a_payment_is_told_signed_and_sealed() {
    let world = World::start().await;
    let transaction = paid(&world, "ORDER0001").await;
    assert_eq!(world.step().await, 1);
    let received = world.receiver.take();
    assert_eq!(received.len(), 1);
    assert!(genuine(&world, &received[0]));
    let headers = &received[0].headers;
    assert_eq!(
        headers["wechatpay-signature-type"],
        "WECHATPAY2-SHA256-RSA2048"
    );
    assert_eq!(
        headers["wechatpay-timestamp"],
        world.now_seconds().to_string().as_str()
    );
    let body: Value = serde_json::from_str(&received[0].body).unwrap();
    assert_eq!(body["event_type"], "TRANSACTION.SUCCESS");
    assert_eq!(body["resource_type"], "encrypt-resource");
    assert_eq!(body["resource"]["original_type"], "transaction");
    assert_eq!(
        world.merchant.unseal(&received[0].body).unwrap(),
        transaction
    );
    assert_eq!(world.other.unseal(&received[0].body), None);
    assert_eq!(world.step().await, 0);
    let notices = world.notices("ORDER0001").await;
    assert_eq!(notices[0]["state"], "delivered");
    assert_eq!(notices[0]["attempts"][0]["http_status"], 204);
}

/// As long as the status is not 200 or 204 it is tried again, at exactly the plan's instants,
/// freshly signed under the same id, and given up after 24 h 4 min.
#[tokio::test]
async fn a_refused_notification_follows_the_plan_to_its_end() {
    let world = World::start().await;
    let _transaction = paid(&world, "ORDER0001").await;
    let statuses = [
        500, 503, 404, 400, 401, 403, 301, 201, 202, 206, 429, 502, 504, 418, 409, 500,
    ];
    for status in statuses {
        world.receiver.answer_next(Answer::Status(status), 1);
    }
    let plan_ms = [
        15_000,
        15_000,
        30_000,
        3 * MINUTE_MS,
        10 * MINUTE_MS,
        20 * MINUTE_MS,
        30 * MINUTE_MS,
        30 * MINUTE_MS,
        30 * MINUTE_MS,
        60 * MINUTE_MS,
        3 * HOUR_MS,
        3 * HOUR_MS,
        3 * HOUR_MS,
        6 * HOUR_MS,
        6 * HOUR_MS,
    ];
    assert_eq!(world.step().await, 1);
    let first = world.receiver.take().remove(0);
    for wait_ms in plan_ms {
        world.clock.advance_ms(wait_ms - 1);
        assert_eq!(world.step().await, 0, "{wait_ms}");
        world.clock.advance_ms(1);
        assert_eq!(world.step().await, 1, "{wait_ms}");
        let received = world.receiver.take();
        assert_eq!(received.len(), 1);
        assert!(genuine(&world, &received[0]));
        let id = |body: &str| serde_json::from_str::<Value>(body).unwrap()["id"].clone();
        assert_eq!(id(&received[0].body), id(&first.body));
        let stamp = &received[0].headers["wechatpay-timestamp"];
        assert_eq!(*stamp, world.now_seconds().to_string().as_str());
    }
    world.clock.advance_ms(48 * HOUR_MS);
    assert_eq!(world.step().await, 0);
    let notices = world.notices("ORDER0001").await;
    assert_eq!(notices[0]["state"], "given_up");
    let seen: Vec<&Value> = notices[0]["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| &a["http_status"])
        .collect();
    assert_eq!(
        seen,
        statuses
            .map(|status| json!(status))
            .iter()
            .collect::<Vec<_>>()
    );
}

/// The time scale divides the plan.
#[tokio::test]
async fn the_plan_can_be_shrunk() {
    let world = World::with(|config| config.time_scale = 1_000).await;
    let _transaction = paid(&world, "ORDER0001").await;
    world.receiver.answer_next(Answer::Status(500), 1);
    assert_eq!(world.step().await, 1);
    world.clock.advance_ms(14);
    assert_eq!(world.step().await, 0);
    world.clock.advance_ms(1);
    assert_eq!(world.step().await, 1);
    assert_eq!(world.notices("ORDER0001").await[0]["state"], "delivered");
}

/// A receiver that does not answer in time, and one that is not there, count as failures.
#[tokio::test]
async fn silence_and_absence_are_failures() {
    let limit = Duration::from_millis(100);
    let world = World::with(|config| config.notification_answer_max = limit).await;
    let _transaction = paid(&world, "ORDER0001").await;
    world.receiver.answer_next(Answer::Hang, 1);
    assert_eq!(world.step().await, 1);
    let notices = world.notices("ORDER0001").await;
    assert_eq!(notices[0]["attempts"][0]["outcome"], "timed_out");
    assert_eq!(notices[0]["state"], "waiting");
    assert_eq!(notices[0]["next_at"], "2026-11-23T12:00:15+08:00");

    let mut body = world.order("ORDER0002", 1);
    // Port 1 of loopback: nobody listens there.
    body["notify_url"] = json!("http://127.0.0.1:1/notify");
    let reply = world
        .call(
            reqwest::Method::POST,
            "/v3/pay/transactions/native",
            &body.to_string(),
        )
        .await;
    assert_eq!(reply.status, 200);
    let _paid = world.pay("ORDER0002").await;
    assert_eq!(world.step().await, 1);
    let notices = world.notices("ORDER0002").await;
    assert_eq!(notices[0]["attempts"][0]["outcome"], "unreachable");
}

/// Delayed, the payment is told later; meanwhile a refund of it can be told first.
#[tokio::test]
async fn a_delayed_notification_can_be_overtaken() {
    let world = World::start().await;
    tell(
        &world,
        json!({ "out_trade_no": "ORDER0001", "action": "delay", "delay_ms": 90_000 }),
    )
    .await;
    let _transaction = paid(&world, "ORDER0001").await;
    assert_eq!(world.step().await, 0);
    let refund = json!({
        "out_trade_no": "ORDER0001",
        "out_refund_no": "R1",
        "notify_url": world.receiver.url,
        "amount": { "refund": 1, "total": 20_000, "currency": "CNY" },
    });
    let target = "/v3/refund/domestic/refunds";
    let reply = world
        .call(reqwest::Method::POST, target, &refund.to_string())
        .await;
    assert_eq!(reply.status, 200);
    world.clock.advance_ms(2_000);
    let mut events = Vec::new();
    assert_eq!(world.step().await, 2);
    events.append(&mut world.receiver.take());
    world.clock.advance_ms(88_000);
    assert_eq!(world.step().await, 1);
    events.append(&mut world.receiver.take());
    let kinds: Vec<Value> = events
        .iter()
        .map(|event| serde_json::from_str::<Value>(&event.body).unwrap()["event_type"].clone())
        .collect();
    assert_eq!(
        kinds,
        [json!("REFUND.SUCCESS"), json!("TRANSACTION.SUCCESS")]
    );
}

/// Repeated, the same notice comes in several freshly signed copies; replayed, in several copies
/// of the same bytes. An instruction for the next two is used up by two.
#[tokio::test]
async fn notifications_can_be_repeated_and_replayed() {
    let world = World::start().await;
    tell(&world, json!({ "next": 2, "action": "repeat", "times": 2 })).await;
    tell(
        &world,
        json!({ "next": 1, "action": "replay", "times": 99 }),
    )
    .await;
    for (number, copies, signatures) in [
        ("ORDER0001", 3, 3),
        ("ORDER0002", 3, 3),
        ("ORDER0003", 100, 1),
        ("ORDER0004", 1, 1),
    ] {
        let transaction = paid(&world, number).await;
        assert_eq!(world.step().await, 1);
        let received = world.receiver.take();
        assert_eq!(received.len(), copies, "{number}");
        assert!(received.iter().all(|one| genuine(&world, one)));
        let ids: Vec<Value> = received
            .iter()
            .map(|one| world.merchant.unseal(&one.body).unwrap())
            .collect();
        assert!(ids.iter().all(|content| *content == transaction));
        let mut seen: Vec<&str> = received
            .iter()
            .map(|one| one.headers["wechatpay-signature"].to_str().unwrap())
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), signatures, "{number}");
    }
}

/// Lost attempts never leave; after them, if any are left, the plan goes on.
#[tokio::test]
async fn notifications_can_be_lost() {
    let world = World::start().await;
    tell(
        &world,
        json!({ "out_trade_no": "ORDER0001", "action": "lose", "times": 2 }),
    )
    .await;
    tell(
        &world,
        json!({ "out_trade_no": "ORDER0002", "action": "lose" }),
    )
    .await;
    let _transaction = paid(&world, "ORDER0001").await;
    assert_eq!(world.step().await, 1);
    world.clock.advance_ms(15_000);
    assert_eq!(world.step().await, 1);
    assert!(world.receiver.take().is_empty());
    world.clock.advance_ms(15_000);
    assert_eq!(world.step().await, 1);
    assert_eq!(world.receiver.take().len(), 1);
    let notices = world.notices("ORDER0001").await;
    assert_eq!(notices[0]["attempts"][0]["outcome"], "lost");
    assert_eq!(notices[0]["state"], "delivered");

    let _transaction = paid(&world, "ORDER0002").await;
    for _ in 0..16 {
        assert_eq!(world.step().await, 1);
        world.clock.advance_ms(6 * HOUR_MS);
    }
    assert_eq!(world.step().await, 0);
    assert!(world.receiver.take().is_empty());
    assert_eq!(world.notices("ORDER0002").await[0]["state"], "given_up");
}

/// Each forgery is wrong in its own way only, and the true notification follows by the plan when
/// the receiver refused it.
#[tokio::test]
async fn each_forgery_is_wrong_in_its_own_way() {
    let world = World::start().await;
    let forgeries = [
        "bad_signature",
        "wrong_amount",
        "wrong_currency",
        "wrong_mchid",
        "unknown_order",
        "bad_tag",
        "other_serial",
        "stale_timestamp",
        "signtest",
    ];
    for (index, forgery) in forgeries.into_iter().enumerate() {
        let number = format!("ORDER{index:04}");
        tell(
            &world,
            json!({ "next": 1, "action": "forge", "forgery": forgery }),
        )
        .await;
        let transaction = paid(&world, &number).await;
        world.receiver.answer_next(Answer::Status(401), 1);
        assert_eq!(world.step().await, 1);
        let forged = world.receiver.take().remove(0);
        check_forgery(&world, forgery, &forged, &transaction);
        world.clock.advance_ms(15_000);
        assert_eq!(world.step().await, 1);
        let genuine_one = world.receiver.take().remove(0);
        assert!(genuine(&world, &genuine_one));
        assert_eq!(
            world.merchant.unseal(&genuine_one.body).unwrap(),
            transaction
        );
        let notices = world.notices(&number).await;
        assert_eq!(notices[0]["attempts"][0]["forgery"], forgery);
        assert_eq!(notices[0]["attempts"][1]["forgery"], Value::Null);
        assert_eq!(notices[0]["state"], "delivered");
    }
}

fn check_forgery(world: &World, forgery: &str, forged: &Received, transaction: &Value) {
    let text = |name: &str| forged.headers[name].to_str().unwrap();
    let stamp: i64 = text("wechatpay-timestamp").parse().unwrap();
    let fresh = world.now_seconds() - stamp < 300;
    let unsealed = world.merchant.unseal(&forged.body);
    let verifies = genuine(world, forged);
    let same = unsealed.as_ref() == Some(transaction);
    let expected = match forgery {
        "bad_signature" | "other_serial" | "signtest" => (false, true, true),
        "stale_timestamp" => (true, false, true),
        _ => (true, true, false),
    };
    assert_eq!((verifies, fresh, same), expected, "{forgery}");
    let content = unsealed.unwrap_or(Value::Null);
    match forgery {
        "wrong_amount" => assert_eq!(content["amount"]["total"], 19_999),
        "wrong_currency" => assert_eq!(content["amount"]["currency"], "USD"),
        "wrong_mchid" => assert_ne!(content["mchid"], "1900000050"),
        "unknown_order" => assert_ne!(content["out_trade_no"], transaction["out_trade_no"]),
        "bad_tag" => assert_eq!(content, Value::Null),
        "signtest" => assert!(text("wechatpay-signature").starts_with("WECHATPAY/SIGNTEST/")),
        _ => {}
    }
}

/// By hand a notification goes out again at once, any number of times, also forged, and even for
/// an order that nobody paid.
#[tokio::test]
async fn notifications_can_be_resent_by_hand() {
    let world = World::start().await;
    let _transaction = paid(&world, "ORDER0001").await;
    let told = json!({ "out_trade_no": "ORDER0001", "times": 3 });
    let reply = world.post("/sandbox/notifications/resend", told).await;
    assert_eq!(reply.json()["attempts"].as_array().unwrap().len(), 3);
    assert_eq!(world.receiver.take().len(), 3);
    assert_eq!(world.step().await, 0, "one that arrived ends the plan");

    let _code_url = world.place("ORDER0002", 5).await;
    let told = json!({ "out_trade_no": "ORDER0002" });
    let reply = world.post("/sandbox/notifications/resend", told).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (404, "RESOURCE_NOT_EXISTS")
    );
    let told = json!({ "out_trade_no": "ORDER0002", "forgery": "bad_signature" });
    let reply = world.post("/sandbox/notifications/resend", told).await;
    assert_eq!(reply.json()["attempts"][0]["outcome"], "accepted");
    let forged = world.receiver.take().remove(0);
    assert!(!genuine(&world, &forged));
    assert_eq!(
        world.merchant.unseal(&forged.body).unwrap()["trade_state"],
        "SUCCESS"
    );
    assert_eq!(
        world.query("ORDER0002").await.json()["trade_state"],
        "NOTPAY"
    );
    assert!(world.notices("ORDER0002").await.is_empty());
}

/// Instructions that make no sense are refused.
#[tokio::test]
async fn senseless_instructions_are_refused() {
    let world = World::start().await;
    for told in [
        json!({ "action": "lose" }),
        json!({ "next": 1, "out_trade_no": "ORDER0001", "action": "lose" }),
        json!({ "next": 0, "action": "lose" }),
        json!({ "next": 1, "action": "vanish" }),
        json!({ "next": 1, "action": "forge" }),
        json!({ "next": 1, "action": "lose", "forgery": "signtest" }),
        json!({ "next": 1, "action": "delay" }),
        json!({ "next": 1, "action": "delay", "delay_ms": -1 }),
        json!({ "next": 1, "action": "repeat", "times": 200 }),
        json!({ "next": 1, "action": "repeat", "delay_ms": 5 }),
        json!({ "next": 1, "action": "lose", "unknown": true }),
    ] {
        let reply = world.post("/sandbox/notifications", told.clone()).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "PARAM_ERROR"),
            "{told}"
        );
    }
    let reply = world
        .http
        .post(format!("{}/sandbox/notifications", world.base));
    let reply = reply
        .body(r#"{"next":1,"action":"lose"}"#)
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status().as_u16(), 415);
}
