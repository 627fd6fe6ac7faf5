//! Orders that nobody pays, and money that is faster than their end.

use chrono::TimeDelta;
use kit::graphql::{GlobalId, Language};
use prost::Message;
use proto::billing as event;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, caller, key, payer, speaking};

pub(crate) async fn cancel(
    world: &World,
    caller: &kit::access::Caller,
    order: Uuid,
    key: Uuid,
) -> Value {
    let answer = world
        .graph(
            caller,
            "mutation ($input: CancelOrderInput!) { cancelOrder(input: $input) {
               order { state closeReason } userErrors { code field message } } }",
            json!({ "input": {
                "orderId": GlobalId::of_uuid("Order", order).0, "idempotencyKey": key } }),
        )
        .await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    answer["data"]["cancelOrder"].clone()
}

/// The time to pay is over: the provider closes, then the order does, and says so.
#[tokio::test]
async fn an_unpaid_order_is_closed_at_the_provider_and_here() {
    let world = World::start().await;
    let order = world.order(&[19_900]).await;
    let number = world.ready(&order).await;
    world.advance(TimeDelta::minutes(15));
    world
        .until("closed", async || {
            world.order_state(order.id).await == "closed"
        })
        .await;
    let (status, answer) = world
        .control(
            "/sandbox/pay",
            json!({ "out_trade_no": number, "force": true }),
        )
        .await;
    assert_eq!((status, &answer["code"]), (409, &json!("ORDER_CLOSED")));
    let published = world.published(order.id).await;
    assert_eq!(published.len(), 1);
    let closed = event::OrderClosed::decode(published[0].payload.as_slice()).unwrap();
    let closed = closed.order.unwrap();
    assert_eq!(
        (closed.state(), closed.paid_fen),
        (event::order::State::Closed, 0)
    );
    assert_eq!(world.count("due WHERE kind <> 'reconcile'").await, 0);
    world.verify().await;
}

/// An order that nobody began to pay closes without the provider.
#[tokio::test]
async fn an_order_without_payment_closes() {
    let world = World::start().await;
    let order = world.order(&[100]).await;
    world.advance(TimeDelta::minutes(14));
    assert_eq!(world.order_state(order.id).await, "open");
    world.advance(TimeDelta::minutes(1));
    world
        .until("closed", async || {
            world.order_state(order.id).await == "closed"
        })
        .await;
    world.verify().await;
}

/// Paid a moment before the end, and the notification lost: asking first finds the money.
#[tokio::test]
async fn money_that_was_faster_wins() {
    let world = World::still().await;
    let order = world.order(&[19_900]).await;
    let id =
        billing::commands::pay_order(&world.billing, &payer(), crate::world::pay(order.id, key()))
            .await
            .unwrap()
            .payment;
    world.work().await;
    let number = world.trade_no(order.id).await;
    world
        .instruct(json!({ "out_trade_no": number, "action": "lose" }))
        .await;
    world.payer_pays(&number).await;
    world.deliver().await;
    world
        .db
        .ctx
        .db
        .execute("DELETE FROM due WHERE kind = 'query'", [])
        .await
        .unwrap();
    world.advance(TimeDelta::minutes(15));
    world.work().await;
    assert_eq!(world.order_state(order.id).await, "paid");
    let state = world
        .text(&format!("SELECT state FROM payment WHERE id = '{id}'"))
        .await;
    assert_eq!(state, "succeeded");
    assert_eq!(world.kinds(order.id).await, ["OrderPaid"]);
    world.verify().await;
}

/// Money that does not fit what was asked, first seen when the order is to be closed: it goes back,
/// and the order is closed all the same, so that the seller has its stock again.
#[tokio::test]
async fn money_of_another_amount_does_not_keep_an_order_open() {
    let world = World::still().await;
    let order = world.order(&[19_900]).await;
    let id =
        billing::commands::pay_order(&world.billing, &payer(), crate::world::pay(order.id, key()))
            .await
            .unwrap()
            .payment;
    world.work().await;
    let number = world.trade_no(order.id).await;
    world
        .instruct(json!({ "out_trade_no": number, "action": "lose" }))
        .await;
    world.payer_pays(&number).await;
    world.deliver().await;
    for statement in [
        "DELETE FROM due WHERE kind = 'query'".to_owned(),
        format!("UPDATE payment SET fen = 19800 WHERE id = '{id}'"),
    ] {
        world.db.ctx.db.execute(&statement, []).await.unwrap();
    }
    world.advance(TimeDelta::minutes(15));
    world.work().await;
    assert_eq!(world.order_state(order.id).await, "closed");
    assert_eq!(world.kinds(order.id).await, ["OrderClosed"]);
    assert_eq!(world.count("due WHERE kind = 'close'").await, 0);
    assert_eq!(world.count("refund").await, 1, "the money does not go back");
}

/// The provider is away when the order is to be closed: it stays open until the provider has
/// spoken, for only then is it known that nothing was paid.
#[tokio::test]
async fn nothing_closes_while_the_provider_is_silent() {
    let world = World::still().await;
    let order = world.order(&[100]).await;
    let _id =
        billing::commands::pay_order(&world.billing, &payer(), crate::world::pay(order.id, key()))
            .await
            .unwrap()
            .payment;
    world.work().await;
    world
        .db
        .ctx
        .db
        .execute("DELETE FROM due WHERE kind = 'query'", [])
        .await
        .unwrap();
    world.fault(json!({ "next": 1, "fault": "lose" })).await;
    world.advance(TimeDelta::minutes(15));
    world.work().await;
    assert_eq!(world.order_state(order.id).await, "open");
    let closing = crate::world::pay(order.id, key());
    let refused = billing::commands::pay_order(&world.billing, &payer(), closing).await;
    assert!(format!("{:?}", refused.unwrap_err()).contains("ORDER_CLOSING"));
    // The answer to the close is lost: the act is done, and asking again finds it so.
    world
        .fault(json!({ "next": 1, "fault": "lose", "path_prefix": "/v3/pay/transactions/out" }))
        .await;
    world.advance(TimeDelta::seconds(10));
    world.work().await;
    world.advance(TimeDelta::seconds(10));
    world.work().await;
    assert_eq!(world.order_state(order.id).await, "closed");
    world.verify().await;
}

/// The payer gives it up; another may not, and once is once.
#[tokio::test]
async fn the_payer_gives_it_up() {
    let world = World::start().await;
    let order = world.order(&[100]).await;
    let _number = world.ready(&order).await;
    for (language, text) in [
        (Language::Zh, "没有找到。"),
        (Language::En, "There is no such thing."),
    ] {
        let who = speaking(caller(2), language);
        let foreign = cancel(&world, &who, order.id, key()).await;
        let absent = cancel(&world, &who, key(), key()).await;
        assert_eq!(foreign, absent);
        assert_eq!(foreign["userErrors"][0]["code"], "NOT_FOUND");
        assert_eq!(foreign["userErrors"][0]["message"], text);
    }
    assert_eq!(world.order_state(order.id).await, "open");
    let once = key();
    let cancelled = cancel(&world, &payer(), order.id, once).await;
    assert_eq!(
        cancelled["order"],
        json!({"state": "CLOSED", "closeReason": "CANCELLED"})
    );
    assert_eq!(cancel(&world, &payer(), order.id, once).await, cancelled);
    let again = cancel(&world, &payer(), order.id, key()).await;
    assert_eq!(again["userErrors"][0]["code"], "ORDER_CLOSED");
    let paid = world.paid(&[100]).await;
    let late = cancel(&world, &payer(), paid.id, key()).await;
    assert_eq!(late["userErrors"][0]["code"], "ALREADY_PAID");
    assert_eq!(world.count("audit WHERE act = 'cancel_order'").await, 1);
    world.verify().await;
}

/// The seller's hold lapsed: the order ends, unless it was paid.
#[tokio::test]
async fn a_lapsed_hold_ends_an_open_order_alone() {
    let world = World::start().await;
    let (open, paid) = (world.order(&[100]).await, world.paid(&[100]).await);
    let events = [
        world.lapsed(open.id),
        world.lapsed(paid.id),
        world.lapsed(open.id),
    ];
    world.apply(&events).await.unwrap();
    world
        .until("closed", async || {
            world.order_state(open.id).await == "closed"
        })
        .await;
    assert_eq!(
        world
            .text(&format!(
                "SELECT closing FROM orders WHERE id = '{}'",
                open.id
            ))
            .await,
        "hold_lapsed"
    );
    assert_eq!(world.order_state(paid.id).await, "paid");
    assert_eq!(world.kinds(open.id).await, ["OrderClosed"]);
    world.verify().await;
}

/// A seller that says again what is long over has not heard of it: it is told again how the order
/// stands, in the same version, and nothing else happens.
#[tokio::test]
async fn a_seller_that_did_not_hear_is_told_again() {
    let world = World::start().await;
    let (closed, paid) = (world.order(&[100]).await, world.paid(&[100]).await);
    world.apply(&[world.lapsed(closed.id)]).await.unwrap();
    world
        .until("closed", async || {
            world.order_state(closed.id).await == "closed"
        })
        .await;
    let steps = world.count("order_step").await;
    for record in [
        world.lapsed(closed.id),
        world.refused(closed.id),
        world.lapsed(paid.id),
    ] {
        world.apply(&[record]).await.unwrap();
    }
    assert_eq!(world.kinds(closed.id).await, ["OrderClosed"; 3]);
    assert_eq!(world.kinds(paid.id).await, ["OrderPaid"; 2]);
    for order in [closed.id, paid.id] {
        let told = world.published(order).await;
        assert!(told.iter().all(|one| one.version == told[0].version));
        assert!(told.iter().all(|one| one.payload == told[0].payload));
    }
    assert_eq!(world.count("order_step").await, steps);
    world.verify().await;
}

/// A code that outlives its two hours is closed, and the order can be paid by another.
#[tokio::test]
async fn an_expired_code_makes_room_for_another() {
    let world = World::start().await;
    let order = world.order_for(&[100], 600).await;
    let first = world.ready(&order).await;
    world.advance(TimeDelta::minutes(110));
    world
        .until("expired", async || {
            world.count("payment WHERE state = 'closed'").await == 1
        })
        .await;
    assert_eq!(world.order_state(order.id).await, "open");
    let second = world.ready(&order).await;
    assert_ne!(first, second);
    world.payer_pays(&second).await;
    world.deliver().await;
    assert_eq!(world.order_state(order.id).await, "paid");
    world.verify().await;
}
