//! From an order's request to its payment.

use chrono::TimeDelta;
use kit::graphql::{GlobalId, Language};
use prost::Message;
use proto::billing as event;
use serde_json::json;

use crate::world::{World, caller, key, payer, speaking};

/// The thin thread: asked for, begun, scanned, notified, paid, published, in the books.
#[tokio::test]
async fn an_order_is_paid() {
    let world = World::start().await;
    let order = world.order(&[19_900]).await;
    let paying = world.pay_order(&payer(), order.id, key()).await;
    let payment = &paying["payment"];
    assert_eq!(payment["state"], "WAITING");
    assert!(
        payment["codeUrl"]
            .as_str()
            .unwrap()
            .starts_with("weixin://")
    );
    assert_eq!(
        payment["amount"],
        json!({"amountFen": 19_900, "currency": "CNY"})
    );
    assert_eq!(paying["order"]["state"], "OPEN");
    let code = payment["codeUrl"].as_str().unwrap();
    let (status, _) = world
        .control("/sandbox/pay", json!({ "code_url": code }))
        .await;
    assert_eq!(status, 200);
    assert_eq!(world.order_state(order.id).await, "open");
    world.deliver().await;
    assert_eq!(world.order_state(order.id).await, "paid");
    let published = world.published(order.id).await;
    assert_eq!(published.len(), 1);
    let paid = event::OrderPaid::decode(published[0].payload.as_slice()).unwrap();
    let paid = paid.order.unwrap();
    assert_eq!(
        (paid.total_fen, paid.paid_fen, paid.refunded_fen),
        (19_900, 19_900, 0)
    );
    assert_eq!(paid.state(), event::order::State::Paid);
    assert_eq!(paid.version, published[0].version);
    assert_eq!(paid.paid_at, world.db.ctx.clock.now().timestamp_millis());
    assert!(
        paid.number.starts_with("B50-20260401-000001-"),
        "{}",
        paid.number
    );
    assert_eq!(world.balance("wechat_clearing").await, 19_900);
    assert_eq!(world.balance("deferred").await, -19_900);
    assert_eq!(world.balance("prepaid").await, 0);
    let steps = world.steps(order.id).await;
    assert_eq!(
        steps,
        ["REQUESTED", "PAYMENT_STARTED", "PAYMENT_READY", "PAID"]
    );
    world.verify().await;
}

/// The same key is the same payment; with another request it is refused; another key finds the
/// payment that is open.
#[tokio::test]
async fn a_key_is_one_payment() {
    let world = World::start().await;
    let (order, other) = (world.order(&[100]).await, world.order(&[100]).await);
    let once = key();
    let first = world.pay_order(&payer(), order.id, once).await;
    let again = world.pay_order(&payer(), order.id, once).await;
    assert_eq!(first["payment"]["id"], again["payment"]["id"]);
    let joined = world.pay_order(&payer(), order.id, key()).await;
    assert_eq!(first["payment"]["id"], joined["payment"]["id"]);
    for (language, text) in [
        (Language::Zh, "这个幂等键已用于另一个请求，请换一个新的。"),
        (
            Language::En,
            "This idempotency key was used for another request; use a new one.",
        ),
    ] {
        let misused = world
            .pay_order(&speaking(payer(), language), other.id, once)
            .await;
        let error = &misused["userErrors"][0];
        assert_eq!(error["code"], "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(error["message"], text);
        assert_eq!(misused["payment"], json!(null));
    }
    assert_eq!(world.count("payment").await, 1);
    world.verify().await;
}

/// Another member's order and one that never was are answered alike, in words and in time.
#[tokio::test]
async fn anothers_order_looks_absent() {
    let world = World::start().await;
    let order = world.order(&[100]).await;
    for (language, text) in [
        (Language::Zh, "没有找到该订单；如刚刚下单，请稍后重试。"),
        (
            Language::En,
            "There is no such order; if you have just placed it, please try again shortly.",
        ),
    ] {
        let who = speaking(caller(2), language);
        let (foreign, absent) = tokio::join!(
            world.pay_order(&who, order.id, key()),
            world.pay_order(&who, key(), key())
        );
        assert_eq!(foreign, absent);
        let error = &foreign["userErrors"][0];
        assert_eq!(error["code"], "ORDER_NOT_SEEN_YET");
        assert_eq!(error["field"], json!(["orderId"]));
        assert_eq!(error["message"], text);
    }
    let query = "query ($id: ID!) { order(id: $id) { number } }";
    let id = json!({ "id": GlobalId::of_uuid("Order", order.id).0 });
    assert_eq!(
        world.graph(&caller(2), query, id.clone()).await["data"]["order"],
        json!(null)
    );
    assert_ne!(
        world.graph(&payer(), query, id).await["data"]["order"],
        json!(null)
    );
    assert_eq!(world.count("payment").await, 0);
    // The refusal is not kept: the same key pays once the order is there.
    assert_eq!(world.count("once").await, 0);
}

/// A payment that is asked for before its order has arrived waits for it.
#[tokio::test]
async fn an_order_that_is_on_its_way_is_waited_for() {
    let world = World::start().await;
    let request = world.request(&[100], 15);
    let id = uuid::Uuid::from_slice(&request.order_id).unwrap();
    let record = [world.requested(&request)];
    let payer = payer();
    let arrives = async {
        tokio::task::yield_now().await;
        world.apply(&record).await.unwrap();
    };
    let (paying, ()) = tokio::join!(world.pay_order(&payer, id, key()), arrives);
    assert_eq!(paying["payment"]["state"], "WAITING", "{paying}");
}

/// What cannot be paid says why, in both languages.
#[tokio::test]
async fn what_cannot_be_paid_says_why() {
    let world = World::start().await;
    let paid = world.paid(&[100]).await;
    let answer = world.pay_order(&payer(), paid.id, key()).await;
    assert_eq!(answer["userErrors"][0]["code"], "ALREADY_PAID");
    let chinese = kit::access::Caller {
        language: Language::Zh,
        ..payer()
    };
    let answer = world.pay_order(&chinese, paid.id, key()).await;
    assert_eq!(answer["userErrors"][0]["message"], "该订单已支付。");
    let order = world.order(&[100]).await;
    let jsapi = world
        .graph(
            &payer(),
            "mutation ($input: PayOrderInput!) { payOrder(input: $input) {
               payment { id } userErrors { code field } } }",
            json!({ "input": {
                "orderId": GlobalId::of_uuid("Order", order.id).0,
                "method": "WECHAT_JSAPI", "idempotencyKey": key(),
            }}),
        )
        .await;
    let error = &jsapi["data"]["payOrder"]["userErrors"][0];
    assert_eq!(error["code"], "PAYER_TOKEN_INVALID", "who pays is not said");
    world.advance(TimeDelta::minutes(16));
    world
        .until("closed", async || {
            world.order_state(order.id).await == "closed"
        })
        .await;
    let answer = world.pay_order(&payer(), order.id, key()).await;
    assert_eq!(answer["userErrors"][0]["code"], "ORDER_CLOSED");
    let anonymous = kit::access::Caller::anonymous(Language::En);
    let answer = world
        .graph(
            &anonymous,
            "{ myOrders(first: 1) { nodes { id } } }",
            json!({}),
        )
        .await;
    assert!(answer["errors"][0].is_object());
}

/// The provider is away, then answers with what cannot be believed: nothing is lost, and the
/// payment comes to be when the provider is itself again.
#[tokio::test]
async fn a_provider_that_fails_is_asked_again() {
    let world = World::start().await;
    for fault in [
        "lose",
        "system_error",
        "frequency_limited",
        "bad_signature",
        "other_serial",
        "stale_timestamp",
        "signtest",
    ] {
        let native = "/v3/pay/transactions/native";
        world
            .fault(json!({ "next": 1, "fault": fault, "path_prefix": native }))
            .await;
        let order = world.order(&[100]).await;
        let asked = crate::world::pay(order.id, key());
        let id = billing::commands::pay_order(&world.billing, &payer(), asked)
            .await
            .unwrap()
            .payment;
        let failed = format!("due WHERE subject = '{id}' AND last_error IS NOT NULL");
        world
            .until(fault, async || world.count(&failed).await == 1)
            .await;
        let state = format!("SELECT state FROM payment WHERE id = '{id}'");
        assert_eq!(world.text(&state).await, "preparing", "{fault}");
        world.advance(TimeDelta::seconds(3));
        world
            .until(fault, async || world.text(&state).await == "waiting")
            .await;
    }
    world.verify().await;
}

/// A "no" of the provider ends the payment, and the next one begins anew.
#[tokio::test]
async fn a_refused_payment_makes_room_for_another() {
    let world = World::start().await;
    world
        .fault(json!({ "next": 1, "fault": "not_enough" }))
        .await;
    let order = world.order(&[100]).await;
    let failed = world.pay_order(&payer(), order.id, key()).await;
    assert_eq!(failed["payment"]["state"], "FAILED");
    let next = world.pay_order(&payer(), order.id, key()).await;
    assert_eq!(next["payment"]["state"], "WAITING");
    assert_ne!(failed["payment"]["id"], next["payment"]["id"]);
    world.verify().await;
}

/// When the notification is lost the provider is asked, and the money is found.
#[tokio::test]
async fn a_lost_notification_is_made_up_for_by_asking() {
    let world = World::start().await;
    let order = world.order(&[19_900]).await;
    let number = world.ready(&order).await;
    world
        .instruct(json!({ "out_trade_no": number, "action": "lose" }))
        .await;
    world.payer_pays(&number).await;
    world.deliver().await;
    assert_eq!(world.order_state(order.id).await, "open");
    world.advance(TimeDelta::seconds(10));
    world
        .until("found", async || {
            world.order_state(order.id).await == "paid"
        })
        .await;
    assert!(
        world
            .steps(order.id)
            .await
            .contains(&"FOUND_BY_QUERY".to_owned())
    );
    assert_eq!(world.text("SELECT learnt_by FROM receipt").await, "query");
    world.verify().await;
}
