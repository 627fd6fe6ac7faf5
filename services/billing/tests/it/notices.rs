//! The provider's notifications, true and false.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::explaining::broken;
use crate::provider::{Posted, Provider};
use crate::refunds::paid_out;
use crate::world::{World, key};

/// What was found; each forgery is a kind of its own.
const KINDS: &str = "SELECT string_agg(kind, ' ' ORDER BY kind) FROM discrepancy";

/// No forged notification of the sandbox's pays an order, whatever is forged; each is refused,
/// and what was signed is looked into and explained.
#[tokio::test]
async fn a_forged_notification_pays_nothing() {
    let world = World::start().await;
    let (mut signed, mut found) = (0, Vec::new());
    for (at, (forgery, status, kind)) in [
        ("bad_signature", 401, ""),
        ("other_serial", 401, ""),
        ("stale_timestamp", 401, ""),
        ("signtest", 401, ""),
        ("bad_tag", 400, ""),
        ("wrong_mchid", 409, "merchant_differs"),
        ("wrong_amount", 409, "amount_differs"),
        ("wrong_currency", 409, "currency_differs"),
        ("unknown_order", 409, "unknown_order"),
    ]
    .into_iter()
    .enumerate()
    {
        let paid_before = i64::try_from(at).unwrap();
        let order = world.order(&[19_900]).await;
        let number = world.ready(&order).await;
        let told = json!({ "out_trade_no": number, "forgery": forgery });
        assert_eq!(world.resend(told).await, [status], "{forgery}");
        let investigating = "due WHERE kind = 'investigate'";
        world
            .until(forgery, async || world.count(investigating).await == 0)
            .await;
        assert_eq!(world.order_state(order.id).await, "open", "{forgery}");
        assert_eq!(world.count("receipt").await, paid_before, "{forgery}");
        assert_eq!(world.count("transfer").await, 2 * paid_before, "{forgery}");
        signed += i64::from(status == 409);
        assert_eq!(world.count("discrepancy").await, signed, "{forgery}");
        found.extend((!kind.is_empty()).then_some(kind));
        found.sort_unstable();
        assert_eq!(world.text(KINDS).await, found.join(" "), "{forgery}");
        let open = world.count("discrepancy WHERE state = 'open'").await;
        assert_eq!(open, 0, "{forgery}");
        assert_eq!(
            world.count("notice").await,
            paid_before + signed,
            "{forgery}"
        );
        // The true one still pays.
        world.payer_pays(&number).await;
        world.deliver().await;
        assert_eq!(world.order_state(order.id).await, "paid", "{forgery}");
    }
    world.verify().await;
}

/// The same notification a hundred times, all at once, pays once; freshly signed copies too.
#[tokio::test]
async fn a_replayed_notification_pays_once() {
    let world = World::start().await;
    let order = world.order(&[19_900]).await;
    let number = world.ready(&order).await;
    let provider = Provider::of(&world);
    let paid = provider.transaction(&world, &number, 19_900);
    let posted = provider.seal(&world, "TRANSACTION.SUCCESS", &paid);
    let posts = (0..100).map(|_| posted.to(&world, "payment"));
    for (status, _) in futures::future::join_all(posts).await {
        // The one that waits too long for the row comes again by the provider's plan.
        assert!(status == 204 || status == 503, "{status}");
    }
    assert_eq!(world.order_state(order.id).await, "paid");
    assert_eq!(world.kinds(order.id).await, ["OrderPaid"]);
    assert_eq!(world.count("receipt").await, 1);
    assert_eq!(world.balance("wechat_clearing").await, 19_900);
    assert_eq!(world.count("notice").await, 1);
    assert!(
        !world
            .text("SELECT string_agg(n::text, '') FROM notice n")
            .await
            .contains("oUpF8")
    );
    world.verify().await;
    let world = World::start().await;
    let order = world.order(&[100]).await;
    let number = world.ready(&order).await;
    let told = json!({ "out_trade_no": number, "action": "repeat", "times": 20 });
    world.instruct(told).await;
    world.payer_pays(&number).await;
    world.deliver().await;
    assert_eq!(world.kinds(order.id).await, ["OrderPaid"]);
    world.verify().await;
}

/// Only the bytes that were signed are believed, within five minutes, under the key they name.
#[tokio::test]
async fn only_the_signed_bytes_are_believed() {
    let world = World::start().await;
    let order = world.order(&[19_900]).await;
    let number = world.ready(&order).await;
    let provider = Provider::of(&world);
    let paid = provider.transaction(&world, &number, 19_900);
    let good = provider.seal(&world, "TRANSACTION.SUCCESS", &paid);
    let value: Value = serde_json::from_str(&good.body).unwrap();
    let again = serde_json::to_string_pretty(&value).unwrap();
    let now = world.db.ctx.clock.now().timestamp();
    let unbelieved = [
        Posted {
            body: again,
            ..good.clone()
        },
        Posted {
            body: format!("{} ", good.body),
            ..good.clone()
        },
        Posted {
            serial: "PUB_KEY_ID_0000".to_owned(),
            ..good.clone()
        },
        Posted {
            nonce: "other".to_owned(),
            ..good.clone()
        },
        Posted {
            signature: String::new(),
            ..good.clone()
        },
        Posted {
            signature: format!("WECHATPAY/SIGNTEST/{}", good.signature),
            ..good.clone()
        },
        provider.sign(now - 300, good.body.clone()),
        provider.sign(now + 300, good.body.clone()),
    ];
    for (at, posted) in unbelieved.iter().enumerate() {
        let (status, answer) = posted.to(&world, "payment").await;
        assert_eq!((status, &answer["code"]), (401, &json!("FAIL")), "{at}");
    }
    // A payment told as a refund, and nonsense that is rightly signed.
    assert_eq!(good.to(&world, "refund").await.0, 400);
    for body in ["", "null", "[]", "{}", "\u{0}", r#"{"id":1}"#] {
        let posted = provider.sign(now, body.to_owned());
        assert_eq!(posted.to(&world, "payment").await.0, 400, "{body:?}");
    }
    let large = provider.sign(now, "x".repeat(billing::rest::NOTIFICATION_BYTES_MAX + 1));
    let routes_limit = large.to(&world, "payment").await.0;
    assert!(routes_limit == 413 || routes_limit == 400, "{routes_limit}");
    assert_eq!(world.count("notice").await, 0);
    assert_eq!(world.order_state(order.id).await, "open");
    for skew in [-299, 299] {
        assert_eq!(
            provider
                .sign(now + skew, good.body.clone())
                .to(&world, "payment")
                .await
                .0,
            204
        );
    }
    assert_eq!(world.order_state(order.id).await, "paid");
    world.verify().await;
}

/// A transaction id that pays one order cannot pay another.
#[tokio::test]
async fn a_transaction_pays_one_order() {
    let world = World::start().await;
    let (first, second) = (world.order(&[100]).await, world.order(&[100]).await);
    let (one, two) = (world.ready(&first).await, world.ready(&second).await);
    let provider = Provider::of(&world);
    for (number, status) in [(&one, 204), (&two, 409)] {
        let paid = provider.transaction(&world, number, 100);
        let posted = provider.seal(&world, "TRANSACTION.SUCCESS", &paid);
        assert_eq!(posted.to(&world, "payment").await.0, status);
    }
    assert_eq!(world.order_state(second.id).await, "open");
    assert_eq!(
        world
            .count("discrepancy WHERE kind = 'transaction_reused'")
            .await,
        1
    );
    world.verify().await;
}

/// Money for an order nobody here knows is kept apart and given back.
#[tokio::test]
async fn money_for_an_unknown_order_goes_back() {
    let world = World::start().await;
    let order = world.order(&[19_900]).await;
    let number = world.ready(&order).await;
    // As after a restore of the database to the minute before.
    world
        .db
        .ctx
        .db
        .execute("DELETE FROM due WHERE kind = 'query'", [])
        .await
        .unwrap();
    world
        .db
        .ctx
        .db
        .execute("DELETE FROM payment", [])
        .await
        .unwrap();
    world.payer_pays(&number).await;
    world.deliver().await;
    world
        .until("refund asked", async || {
            world.count("refund WHERE state = 'processing'").await == 1
        })
        .await;
    assert_eq!(world.text("SELECT kind FROM receipt").await, "unknown");
    assert_eq!(world.balance("refunds_payable").await, -19_900);
    world.advance(TimeDelta::seconds(3));
    world.deliver().await;
    world
        .until("refund done", async || {
            world.count("refund WHERE state = 'done'").await == 1
        })
        .await;
    assert_eq!(world.balance("wechat_clearing").await, 0);
    assert_eq!(world.balance("suspense").await, 0);
    assert_eq!(world.order_state(order.id).await, "open");
    let looked_at = "SELECT concat_ws(' ', kind, state, explanation) FROM discrepancy";
    let explained = "unknown_order explained all of the money has gone back";
    assert_eq!(world.text(looked_at).await, explained);
    world.verify().await;
}

/// Money of another amount than was asked for does not pay the order, and goes back.
#[tokio::test]
async fn another_amount_goes_back() {
    let world = World::start().await;
    let order = world.order(&[19_900]).await;
    let number = world.ready(&order).await;
    world
        .db
        .ctx
        .db
        .execute("UPDATE payment SET fen = 19901", [])
        .await
        .unwrap();
    world.payer_pays(&number).await;
    world.deliver().await;
    world
        .until("refund asked", async || {
            world.count("refund WHERE state = 'processing'").await == 1
        })
        .await;
    assert_eq!(world.order_state(order.id).await, "open");
    assert_eq!(world.kinds(order.id).await, Vec::<String>::new());
    world.advance(TimeDelta::seconds(3));
    world.deliver().await;
    world
        .until("refund done", async || {
            world.count("refund WHERE state = 'done'").await == 1
        })
        .await;
    assert_eq!(world.text("SELECT cause FROM refund").await, "mismatch");
    assert_eq!(world.balance("wechat_clearing").await, 0);
    // Nobody need look at it any longer; the order can be paid by another payment.
    let looked_at = "SELECT concat_ws(' ', kind, state, explanation) FROM discrepancy";
    let explained = "amount_differs explained all of the money has gone back";
    assert_eq!(world.text(looked_at).await, explained);
    let again = "UPDATE discrepancy SET state = 'open', explanation = NULL, explained_at = NULL";
    world.db.ctx.db.execute(again, []).await.unwrap();
    let promise = "billing.returned_money_is_explained";
    assert_eq!(broken(&world, promise).await, 1);
    let over = "UPDATE discrepancy SET state = 'explained', explanation = '', explained_at = now()";
    world.db.ctx.db.execute(over, []).await.unwrap();
    let number = world.ready(&order).await;
    world.payer_pays(&number).await;
    world.deliver().await;
    assert_eq!(world.order_state(order.id).await, "paid");
    world.verify().await;
}

/// Money that comes when the order is closed is booked apart and given back in full.
#[tokio::test]
async fn a_late_payment_goes_back() {
    let world = World::start().await;
    let order = world.order(&[19_900]).await;
    let number = world.ready(&order).await;
    // As if the provider had taken the money after it had said that the order is closed.
    for sql in [
        "UPDATE payment SET state = 'closed', ended_at = created_at",
        "UPDATE orders SET state = 'closed', closing = 'expired', closed_at = close_at",
        "UPDATE line_share SET state = 'released'",
        "DELETE FROM due",
    ] {
        world.db.ctx.db.execute(sql, []).await.unwrap();
    }
    world.advance(TimeDelta::hours(3));
    world.payer_pays(&number).await;
    world.deliver().await;
    world
        .until("refund asked", async || {
            world.count("refund WHERE state = 'processing'").await == 1
        })
        .await;
    assert_eq!(world.text("SELECT state FROM payment").await, "late");
    assert_eq!(world.order_state(order.id).await, "closed");
    world.advance(TimeDelta::seconds(3));
    world.deliver().await;
    world
        .until("refund done", async || {
            world.count("refund WHERE state = 'done'").await == 1
        })
        .await;
    assert_eq!(world.balance("wechat_clearing").await, 0);
    assert_eq!(world.balance("suspense").await, 0);
    assert_eq!(world.text("SELECT paid_fen FROM orders").await, "0");
    let steps = world.steps(order.id).await;
    assert!(
        steps.ends_with(
            &[
                "LATE_PAYMENT",
                "REFUND_REQUESTED",
                "REFUND_ACCEPTED",
                "REFUND_DONE"
            ]
            .map(str::to_owned)
        ),
        "{steps:?}"
    );
    world.verify().await;
}

/// What was found by asking is told of later, and a delayed notification changes nothing.
#[tokio::test]
async fn a_notification_that_comes_after_the_answer_changes_nothing() {
    let world = World::start().await;
    let order = world.order(&[19_900]).await;
    let number = world.ready(&order).await;
    let delay = json!({ "out_trade_no": number, "action": "delay", "delay_ms": 60_000 });
    world.instruct(delay).await;
    world.payer_pays(&number).await;
    world.advance(TimeDelta::seconds(10));
    world
        .until("asked", async || {
            world.order_state(order.id).await == "paid"
        })
        .await;
    world.advance(TimeDelta::seconds(60));
    world.deliver().await;
    assert_eq!(world.text("SELECT outcome FROM notice").await, "known");
    assert_eq!(world.kinds(order.id).await, ["OrderPaid"]);
    world.verify().await;
}

/// A signed notification of other money for an order that is paid books nothing unasked.
#[tokio::test]
async fn talk_of_more_money_is_asked_about() {
    let world = World::start().await;
    let order = world.paid(&[19_900]).await;
    let number = world.trade_no(order.id).await;
    let provider = Provider::of(&world);
    let mut paid = provider.transaction(&world, &number, 19_900);
    paid["transaction_id"] = json!("4200000000000000099");
    let posted = provider.seal(&world, "TRANSACTION.SUCCESS", &paid);
    assert_eq!(posted.to(&world, "payment").await.0, 204);
    let open = "due WHERE kind = 'investigate'";
    world
        .until("asked", async || world.count(open).await == 0)
        .await;
    assert_eq!(world.count("receipt").await, 1);
    assert_eq!(world.count("refund").await, 0);
    world.verify().await;
}

/// Refunds are told of in any order: of money nobody here has heard of nothing is believed, and a
/// payment's notification that comes after its refund is done changes nothing.
#[tokio::test]
async fn a_refund_is_told_of_before_its_payment() {
    let world = World::start().await;
    let order = world.order(&[100]).await;
    let number = world.ready(&order).await;
    let delay = json!({ "out_trade_no": number, "action": "delay", "delay_ms": 60_000 });
    world.instruct(delay).await;
    world.payer_pays(&number).await;
    let provider = Provider::of(&world);
    let early = provider.refund(&world, (&number, "42"), "R1", "SUCCESS");
    assert_eq!(early.to(&world, "refund").await.0, 409);
    assert_eq!(world.count("receipt").await, 0);
    assert_eq!(world.count("refund").await, 0);
    assert_eq!(world.order_state(order.id).await, "open");
    world.advance(TimeDelta::seconds(10));
    world
        .until("asked", async || {
            world.order_state(order.id).await == "paid"
        })
        .await;
    world
        .apply(&[world.returned(&order, 0, key(), 30)])
        .await
        .unwrap();
    paid_out(&world).await;
    let heard = "SELECT string_agg(event_type || ' ' || outcome, ', ' ORDER BY first_at, outcome)
        FROM notice";
    assert_eq!(
        world.text(heard).await,
        "REFUND.SUCCESS doubtful, REFUND.SUCCESS refund"
    );
    world.advance(TimeDelta::seconds(60));
    world.deliver().await;
    let last = "SELECT outcome FROM notice WHERE event_type = 'TRANSACTION.SUCCESS'";
    assert_eq!(world.text(last).await, "known");
    assert_eq!(world.kinds(order.id).await, ["OrderPaid", "RefundDone"]);
    assert_eq!(world.text("SELECT refunded_fen FROM orders").await, "30");
    world.verify().await;
}
