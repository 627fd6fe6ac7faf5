//! Money that goes back.

use chrono::TimeDelta;
use kit::Error;
use prost::Message;
use proto::billing as event;
use serde_json::json;

use crate::world::{World, key};

/// Waits until the provider has taken every refund on, and lets it pay out.
pub(crate) async fn paid_out(world: &World) {
    let waiting = "refund WHERE state IN ('requested', 'abnormal')";
    world
        .until("accepted", async || world.count(waiting).await == 0)
        .await;
    world.advance(TimeDelta::seconds(3));
    world.deliver().await;
    world
        .until("done", async || {
            world.count("refund WHERE state <> 'done'").await == 0
        })
        .await;
}

/// A line comes back in part; the seller, the books and the timeline agree.
#[tokio::test]
async fn a_line_comes_back_in_part() {
    let world = World::start().await;
    let order = world.paid(&[19_900, 5_000]).await;
    let back = key();
    world
        .apply(&[world.returned(&order, 0, back, 12_345)])
        .await
        .unwrap();
    assert_eq!(world.balance("refunds_payable").await, -12_345);
    assert_eq!(world.kinds(order.id).await, ["OrderPaid"]);
    paid_out(&world).await;
    assert_eq!(world.kinds(order.id).await, ["OrderPaid", "RefundDone"]);
    let published = world.published(order.id).await;
    let done = event::RefundDone::decode(published[1].payload.as_slice()).unwrap();
    assert_eq!(
        (done.fen, done.return_id),
        (12_345, back.as_bytes().to_vec())
    );
    assert_eq!(done.line_id, order.lines[0].as_bytes().to_vec());
    let state = done.order.unwrap();
    assert_eq!(
        (state.refunded_fen, state.state()),
        (12_345, event::order::State::Paid)
    );
    assert!(state.refunds[0].done);
    assert_eq!(world.balance("wechat_clearing").await, order.total - 12_345);
    assert_eq!(world.balance("deferred").await, 12_345 - order.total);
    let steps = world.steps(order.id).await;
    let tail = [
        "RETURN_TAKEN",
        "REFUND_REQUESTED",
        "REFUND_ACCEPTED",
        "REFUND_DONE",
    ];
    assert!(steps.ends_with(&tail.map(str::to_owned)), "{steps:?}");
    world.verify().await;
}

/// The same return again changes nothing; a return beyond what is left is for a person.
#[tokio::test]
async fn never_more_goes_back_than_is_left() {
    let world = World::start().await;
    let order = world.paid(&[100, 50]).await;
    let back = world.returned(&order, 0, key(), 60);
    world.apply(&[back.clone(), back.clone()]).await.unwrap();
    world.apply(&[back]).await.unwrap();
    for (line, fen) in [(0, 41), (1, 51), (0, i64::MAX), (0, -1)] {
        let beyond = world.returned(&order, line, key(), fen);
        let refused = world.apply(&[beyond]).await;
        assert!(
            matches!(refused, Err(Error::Permanent(_))),
            "{line} {fen} {refused:?}"
        );
    }
    let mut foreign = order.clone();
    foreign.lines[0] = world.order(&[100]).await.lines[0];
    let refused = world.apply(&[world.returned(&foreign, 0, key(), 1)]).await;
    assert!(matches!(refused, Err(Error::Permanent(_))), "{refused:?}");
    world
        .apply(&[world.returned(&order, 0, key(), 40)])
        .await
        .unwrap();
    assert_eq!(world.count("refund").await, 2);
    assert_eq!(world.text("SELECT returned_fen FROM receipt").await, "100");
    world.verify().await;
    // The provider takes one refund of a payment a minute: the second is asked for again.
    world
        .until("first", async || {
            world.count("refund WHERE state = 'processing'").await == 1
        })
        .await;
    world.advance(TimeDelta::seconds(62));
    paid_out(&world).await;
    assert_eq!(
        world.text("SELECT sum(refunded_fen) FROM orders").await,
        "100"
    );
    world.verify().await;
}

/// What was sold cannot be given: all of it goes back by itself and the order ends.
#[tokio::test]
async fn an_order_that_cannot_be_given_goes_back_whole() {
    let world = World::start().await;
    let order = world.paid(&[100, 0, 50]).await;
    world
        .apply(&[world.refused(order.id), world.refused(order.id)])
        .await
        .unwrap();
    assert_eq!(world.order_state(order.id).await, "paid");
    paid_out(&world).await;
    assert_eq!(world.order_state(order.id).await, "closed");
    let kinds = world.kinds(order.id).await;
    assert_eq!(
        kinds,
        [
            "OrderPaid",
            "RefundDone",
            "RefundDone",
            "RefundDone",
            "OrderClosed"
        ]
    );
    let published = world.published(order.id).await;
    let closed = event::OrderClosed::decode(published[4].payload.as_slice()).unwrap();
    let closed = closed.order.unwrap();
    assert_eq!(
        (closed.paid_fen, closed.refunded_fen, closed.refunds.len()),
        (150, 150, 3)
    );
    assert_eq!(world.balance("deferred").await, 0);
    assert_eq!(world.balance("wechat_clearing").await, 0);
    world.verify().await;
}

/// Refused while it is open and paid in the race: paid, then given back whole.
#[tokio::test]
async fn refused_while_open_and_paid_in_the_race() {
    let world = World::start().await;
    let order = world.order(&[100]).await;
    let number = world.ready(&order).await;
    world
        .instruct(json!({ "out_trade_no": number, "action": "lose" }))
        .await;
    world.payer_pays(&number).await;
    world.apply(&[world.refused(order.id)]).await.unwrap();
    world
        .until("refunding", async || world.count("refund").await == 1)
        .await;
    paid_out(&world).await;
    assert_eq!(
        world.kinds(order.id).await,
        ["OrderPaid", "RefundDone", "OrderClosed"]
    );
    world.verify().await;
}

/// A return that comes before the payment is known waits for it.
#[tokio::test]
async fn a_return_before_the_payment_waits() {
    let world = World::start().await;
    let order = world.order(&[100]).await;
    world
        .apply(&[world.returned(&order, 0, key(), 30)])
        .await
        .unwrap();
    assert_eq!(world.count("refund").await, 0);
    let number = world.ready(&order).await;
    world.payer_pays(&number).await;
    world.deliver().await;
    assert_eq!(world.count("refund").await, 1);
    paid_out(&world).await;
    assert_eq!(world.kinds(order.id).await, ["OrderPaid", "RefundDone"]);
    world.verify().await;
}

/// Our account at the provider is empty: somebody is told, and it is asked for again until it
/// works, under the same number.
#[tokio::test]
async fn an_empty_account_delays_a_refund_and_is_noted() {
    let world = World::start().await;
    let order = world.paid(&[100]).await;
    let path = "/v3/refund";
    world
        .fault(json!({ "next": 1, "fault": "not_enough", "path_prefix": path }))
        .await;
    world
        .apply(&[world.returned(&order, 0, key(), 100)])
        .await
        .unwrap();
    world
        .until("stuck", async || {
            world.count("refund WHERE state = 'abnormal'").await == 1
        })
        .await;
    assert_eq!(
        world
            .count("discrepancy WHERE kind = 'refund_stuck' AND state = 'open'")
            .await,
        1
    );
    world.verify().await;
    world.advance(TimeDelta::seconds(62));
    paid_out(&world).await;
    assert_eq!(world.count("discrepancy WHERE state = 'open'").await, 0);
    assert_eq!(world.count("refund WHERE attempt = 1").await, 1);
    let steps = world.steps(order.id).await;
    assert!(steps.contains(&"REFUND_STUCK".to_owned()), "{steps:?}");
    world.verify().await;
}

/// The answer to the request is lost, and so is the notification: one refund is made and found.
#[tokio::test]
async fn a_lost_answer_and_a_lost_notification_make_one_refund() {
    let world = World::start().await;
    let order = world.paid(&[100]).await;
    let number = world.trade_no(order.id).await;
    let lose = json!({ "out_trade_no": number, "event_type": "REFUND.SUCCESS", "action": "lose" });
    world.instruct(lose).await;
    world
        .fault(json!({ "next": 1, "fault": "lose", "path_prefix": "/v3/refund" }))
        .await;
    world
        .apply(&[world.returned(&order, 0, key(), 100)])
        .await
        .unwrap();
    world
        .until("asked", async || {
            world
                .count("due WHERE kind = 'refund' AND last_error IS NOT NULL")
                .await
                == 1
        })
        .await;
    world.advance(TimeDelta::seconds(3));
    world
        .until("taken on", async || {
            world.count("refund WHERE accepted_at IS NOT NULL").await == 1
        })
        .await;
    world.deliver().await;
    world.advance(TimeDelta::seconds(6));
    world
        .until("done", async || {
            world.count("refund WHERE state = 'done'").await == 1
        })
        .await;
    assert_eq!(world.balance("wechat_clearing").await, 0);
    world.verify().await;
}

/// A refund's notification that comes many times, or does not fit, is done once or not at all.
#[tokio::test]
async fn a_refund_is_done_once() {
    let world = World::start().await;
    let order = world.paid(&[100]).await;
    let number = world.trade_no(order.id).await;
    let repeat = json!({ "out_trade_no": number, "event_type": "REFUND.SUCCESS",
        "action": "replay", "times": 20 });
    world.instruct(repeat).await;
    world
        .apply(&[world.returned(&order, 0, key(), 40)])
        .await
        .unwrap();
    paid_out(&world).await;
    assert_eq!(world.kinds(order.id).await, ["OrderPaid", "RefundDone"]);
    let forged = json!({ "out_trade_no": number, "event_type": "REFUND.SUCCESS",
        "forgery": "wrong_amount" });
    assert_eq!(world.resend(forged).await, [409]);
    assert_eq!(world.text("SELECT refunded_fen FROM orders").await, "40");
    world.verify().await;
}

/// What was said of an order before it was paid is looked at as what is said after: another
/// seller's word, an amount that is none, more than there is or another order's return change
/// nothing, and a person is told.
#[tokio::test]
async fn an_early_return_that_contradicts_its_order_writes_nothing() {
    let world = World::start().await;
    let other = world.paid(&[50]).await;
    let known = key();
    world
        .apply(&[world.returned(&other, 0, known, 50)])
        .await
        .unwrap();
    let order = world.order(&[100]).await;
    let early = [
        (key(), 30, "other", "another seller's order"),
        (key(), -1, "passes", "a return's amount is none"),
        (
            key(),
            101,
            "passes",
            "more would go back than the line has left",
        ),
        (known, 30, "passes", "another order's return"),
    ];
    for (id, fen, seller, _) in &early {
        let sql = format!(
            "INSERT INTO early_return (return_id, order_id, line_id, refund_fen, seller)
             VALUES ('{id}', '{}', '{}', {fen}, '{seller}')",
            order.id, order.lines[0]
        );
        world.db.ctx.db.execute(&sql, []).await.unwrap();
    }
    let number = world.ready(&order).await;
    world.payer_pays(&number).await;
    world.deliver().await;
    assert_eq!(world.order_state(order.id).await, "paid");
    assert_eq!(world.count("refund").await, 1);
    let returned = format!("SELECT returned_fen FROM orders WHERE id = '{}'", order.id);
    assert_eq!(world.text(&returned).await, "0");
    for (id, _, _, why) in &early {
        let sql = format!(
            "SELECT detail FROM discrepancy WHERE kind = 'refund_stuck' AND state = 'open'
               AND subject = '{id}'"
        );
        let detail = world.text(&sql).await;
        assert!(detail.contains(why), "{why}: {detail}");
    }
    paid_out(&world).await;
    world.verify().await;
}

/// The provider is not well when it is asked: nobody is called, and it is asked for again under
/// the same number.
#[tokio::test]
async fn a_provider_that_is_not_well_is_asked_again() {
    let world = World::start().await;
    let order = world.paid(&[100]).await;
    let fault = json!({ "next": 2, "fault": "system_error", "path_prefix": "/v3/refund" });
    world.fault(fault).await;
    let back = world.returned(&order, 0, key(), 100);
    world.apply(&[back]).await.unwrap();
    for attempt in 1..=2 {
        // Its claim is given up with its failure: only then is it known when it runs again.
        let failed = format!(
            "due WHERE kind = 'refund' AND attempts = {attempt} AND claimed_until IS NULL
               AND last_error IS NOT NULL"
        );
        world
            .until("failed", async || world.count(&failed).await == 1)
            .await;
        assert_eq!(world.text("SELECT state FROM refund").await, "requested");
        world.advance(TimeDelta::seconds(30));
    }
    paid_out(&world).await;
    assert_eq!(world.count("discrepancy").await, 0);
    assert_eq!(world.count("refund WHERE attempt = 1").await, 1);
    let steps = world.steps(order.id).await;
    assert!(!steps.contains(&"REFUND_STUCK".to_owned()), "{steps:?}");
    world.verify().await;
}

/// A return that is said again is answered once its money has gone back: its seller did not hear.
#[tokio::test]
async fn a_return_that_is_done_is_told_again() {
    let world = World::start().await;
    let order = world.paid(&[100]).await;
    let back = world.returned(&order, 0, key(), 100);
    world.apply(std::slice::from_ref(&back)).await.unwrap();
    world.apply(std::slice::from_ref(&back)).await.unwrap();
    assert_eq!(
        world.kinds(order.id).await,
        ["OrderPaid"],
        "it is on its way"
    );
    paid_out(&world).await;
    world.apply(&[back]).await.unwrap();
    let kinds = ["OrderPaid", "RefundDone", "OrderPaid"];
    assert_eq!(world.kinds(order.id).await, kinds);
    let told = world.published(order.id).await;
    let last = event::OrderPaid::decode(told[2].payload.as_slice()).unwrap();
    assert!(last.order.unwrap().refunds[0].done);
    assert_eq!(told[2].version, told[1].version);
    assert_eq!(world.count("refund").await, 1);
    // One that could not be given has ended with its money.
    let order = world.paid(&[100]).await;
    world.apply(&[world.refused(order.id)]).await.unwrap();
    paid_out(&world).await;
    world.apply(&[world.refused(order.id)]).await.unwrap();
    let kinds = ["OrderPaid", "RefundDone", "OrderClosed", "OrderClosed"];
    assert_eq!(world.kinds(order.id).await, kinds);
    world.verify().await;
}
