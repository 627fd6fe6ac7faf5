//! Two at once, with the guard and without it.

use std::sync::Arc;

use billing::domain::{Method, Order, Payment, PaymentState, Received, receipt_booked};
use chrono::{DateTime, Utc};
use kit::types::{Fen, MemberId};
use sea_orm::FromQueryResult;
use serde_json::json;
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::world::{World, key, member, pay, payer};

/// Two devices begin to pay the same order at once: one payment.
#[tokio::test]
async fn two_begin_to_pay_at_once() {
    let world = World::still().await;
    let order = world.order(&[100]).await;
    let both = (0..8).map(|_| {
        let billing = world.billing.clone();
        async move { billing::commands::pay_order(&billing, &payer(), pay(order.id, key())).await }
    });
    let ids: Vec<_> = futures::future::join_all(both)
        .await
        .into_iter()
        .map(|paying| paying.unwrap().payment)
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(world.count("payment").await, 1);
}

/// Finds no open payment and begins one, as the program does, but for the order's lock.
async fn begin_unlocked(world: &World, order: Uuid, number: u8, looked: &Barrier) -> bool {
    let begun = world.db.ctx.db.tx("unguarded", async |tx| {
        let open = billing::store::lock_open_payment(tx, order.into()).await?;
        looked.wait().await;
        if open.is_some() {
            return Ok(false);
        }
        let payment = Payment {
            id: tx.uuid(),
            order: order.into(),
            payer: MemberId(member(1)),
            method: Method::WechatNative,
            amount: Fen::new(100).unwrap(),
            out_trade_no: format!("unguarded-{number}"),
            state: PaymentState::Preparing,
            created_at: tx.now(),
            expires_at: tx.now(),
        };
        billing::store::insert_payment(tx, &payment).await?;
        Ok(true)
    });
    begun.await.unwrap_or_else(|error| {
        assert_eq!(error.constraint().as_deref(), Some("payment_open_once"));
        false
    })
}

/// Without the order's lock both find no open payment: the constraint lets one through, and
/// without it both begin one.
#[tokio::test]
async fn without_the_lock_two_payments_begin() {
    let world = World::still().await;
    let looked = Barrier::new(2);
    let order = world.order(&[100]).await.id;
    let (one, two) = tokio::join!(
        begin_unlocked(&world, order, 1, &looked),
        begin_unlocked(&world, order, 2, &looked)
    );
    assert!(one != two, "the constraint lets one through");
    let owner = world.db.owner().await;
    owner
        .execute("DROP INDEX payment_open_once", [])
        .await
        .unwrap();
    let order = world.order(&[100]).await.id;
    let (one, two) = tokio::join!(
        begin_unlocked(&world, order, 3, &looked),
        begin_unlocked(&world, order, 4, &looked)
    );
    assert!(one && two, "the race is there to be guarded against");
}

/// Two returns of the whole at the same moment: one goes back, the other is for a person.
#[tokio::test]
async fn two_returns_of_the_whole_at_once() {
    let world = World::start().await;
    let order = world.paid(&[100]).await;
    let records: Vec<_> = (0..6)
        .map(|_| world.returned(&order, 0, key(), 100))
        .collect();
    let all = records
        .iter()
        .map(|one| world.apply(std::slice::from_ref(one)));
    let taken = futures::future::join_all(all)
        .await
        .into_iter()
        .filter(|result| result.is_ok())
        .count();
    assert_eq!(taken, 1);
    assert_eq!(world.count("refund").await, 1);
    assert_eq!(world.text("SELECT returned_fen FROM receipt").await, "100");
    world.verify().await;
}

/// The guarded statement alone lets one of two through; without its condition and the CHECK both
/// take the whole.
#[tokio::test]
async fn without_the_guard_twice_the_money_goes_back() {
    let world = World::start().await;
    let order = world.paid(&[100]).await;
    let transaction = world.text("SELECT transaction_id FROM receipt").await;
    let take = || async {
        world
            .db
            .ctx
            .db
            .tx("take", async |tx| {
                let fen = Fen::new(100).unwrap();
                billing::store::take_from_receipt(tx, &transaction, fen).await
            })
            .await
            .unwrap()
    };
    let (one, two) = tokio::join!(take(), take());
    assert!(one != two, "exactly one");
    let owner = world.db.owner().await;
    for sql in [
        "UPDATE receipt SET returned_fen = 0",
        "ALTER TABLE receipt DROP CONSTRAINT receipt_returned_within_fen",
    ] {
        owner.execute(sql, []).await.unwrap();
    }
    let looked = Arc::new(Barrier::new(2));
    let take = || async {
        world
            .db
            .ctx
            .db
            .tx("unguarded", async |tx| {
                let enough = "UPDATE receipt SET learnt_by = learnt_by WHERE false";
                tx.execute(enough, []).await?;
                let left: i64 = world
                    .text("SELECT fen - returned_fen FROM receipt")
                    .await
                    .parse()
                    .unwrap();
                looked.wait().await;
                assert!(left >= 100);
                tx.execute("UPDATE receipt SET returned_fen = returned_fen + 100", [])
                    .await
            })
            .await
            .unwrap()
    };
    let _both = tokio::join!(take(), take());
    assert_eq!(
        world.text("SELECT returned_fen FROM receipt").await,
        "200",
        "the race is there"
    );
    let _order = order;
}

/// The same money told of by two at once, over a notification and a question, is booked once.
#[tokio::test]
async fn two_tell_of_the_same_money_at_once() {
    let world = World::still().await;
    let order = world.order(&[100]).await;
    let id = billing::commands::pay_order(&world.billing, &payer(), pay(order.id, key()))
        .await
        .unwrap()
        .payment;
    world.work().await;
    let number = world.trade_no(order.id).await;
    world.payer_pays(&number).await;
    let told = json!({ "out_trade_no": number, "times": 4 });
    let query = || billing::commands::query_payment(&world.billing, id);
    let close = billing::commands::expire_payment(&world.billing, id);
    let (statuses, one, two, three) = tokio::join!(world.resend(told), query(), query(), close);
    assert_eq!(statuses, [204, 204, 204, 204]);
    for result in [one, two, three] {
        result.unwrap();
    }
    assert_eq!(world.kinds(order.id).await, ["OrderPaid"]);
    assert_eq!(world.count("receipt").await, 1);
    world.deliver().await;
    world.verify().await;
}

/// Looks whether a transaction was written down and writes it if not, as a careless program would.
async fn tell(world: &World, order: Uuid, transaction: i32, looked: &Barrier) -> bool {
    let sql = format!(
        "INSERT INTO receipt (transaction_id, out_trade_no, payment, order_id, kind, fen,
           learnt_by, paid_at, booked_at)
         SELECT '{transaction}', p.out_trade_no, p.id, p.order_id, 'order', p.fen, 'query',
           now(), now()
         FROM payment p WHERE p.order_id = '{order}'
           AND NOT EXISTS (SELECT 1 FROM receipt WHERE transaction_id = '{transaction}')"
    );
    let told = world.db.ctx.db.tx("careless", async |tx| {
        let state = "SELECT state FROM orders WHERE id = $1";
        let seen = tx.one::<State>(state, [order.into()]).await?;
        looked.wait().await;
        if seen.is_none_or(|seen| seen.state != "open") {
            return Ok(false);
        }
        let rows = tx.execute(&sql, []).await?;
        // Neither has committed when the other looks, however fast it is.
        looked.wait().await;
        Ok(rows == 1)
    });
    told.await.unwrap_or(false)
}

/// Without the order's lock and the keys of a receipt, the same money is written down twice.
#[tokio::test]
async fn without_the_keys_the_same_money_is_told_twice() {
    let world = World::still().await;
    let order = world.order(&[100]).await;
    let _id = billing::commands::pay_order(&world.billing, &payer(), pay(order.id, key()))
        .await
        .unwrap()
        .payment;
    world.work().await;
    let alone = Barrier::new(1);
    let (one, two) = tokio::join!(
        tell(&world, order.id, 41, &alone),
        tell(&world, order.id, 41, &alone)
    );
    assert!(one != two, "the keys let one through");
    let owner = world.db.owner().await;
    for sql in [
        "DELETE FROM receipt",
        "ALTER TABLE receipt DROP CONSTRAINT receipt_pkey CASCADE",
        "DROP INDEX receipt_for_order_once",
    ] {
        owner.execute(sql, []).await.unwrap();
    }
    let both = Barrier::new(2);
    let (one, two) = tokio::join!(
        tell(&world, order.id, 42, &both),
        tell(&world, order.id, 42, &both)
    );
    assert!(one && two, "the race is there to be guarded against");
    assert_eq!(world.count("receipt").await, 2);
}

/// Who is first, where the race is left to nobody.
#[derive(Clone, Copy)]
enum First {
    Scan,
    Close,
    Nobody,
}

/// An order whose close has begun while its payer scans; how it ended.
async fn scanned_and_closed(world: &World, first: First) -> String {
    let order = world.order(&[100]).await;
    let _id = billing::commands::pay_order(&world.billing, &payer(), pay(order.id, key()))
        .await
        .unwrap()
        .payment;
    world.work().await;
    let number = world.trade_no(order.id).await;
    world.apply(&[world.lapsed(order.id)]).await.unwrap();
    let scan = async || {
        let told = json!({ "out_trade_no": number, "force": true });
        world.control("/sandbox/pay", told).await.0
    };
    let close = async || {
        let closed = billing::commands::close_order(&world.billing, order.id.into());
        closed.await.unwrap();
    };
    let status = match first {
        First::Scan => {
            let status = scan().await;
            close().await;
            status
        }
        First::Close => {
            close().await;
            scan().await
        }
        First::Nobody => tokio::join!(scan(), close()).0,
    };
    world.deliver().await;
    let end = world.order_state(order.id).await;
    let expected = if status == 200 { "paid" } else { "closed" };
    assert_eq!(end, expected);
    assert_eq!(world.kinds(order.id).await.len(), 1);
    end
}

/// A payer scans while the order is closed: it ends paid or closed, never both and never neither.
#[tokio::test]
async fn a_close_races_a_payment() {
    let world = World::still().await;
    assert_eq!(scanned_and_closed(&world, First::Scan).await, "paid");
    assert_eq!(scanned_and_closed(&world, First::Close).await, "closed");
    for _ in 0..12 {
        let _either = scanned_and_closed(&world, First::Nobody).await;
    }
    world.work().await;
    world.verify().await;
}

#[derive(FromQueryResult)]
struct State {
    state: String,
}

/// What stands behind the order's lock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    Lock,
    /// An order is only written over the version that was read.
    Version,
    Nothing,
}

fn ended(order: Order, paid: bool, now: DateTime<Utc>) -> Option<Order> {
    if !paid {
        return order.close(now).ok();
    }
    match order.receive(now) {
        Received::ForOrder(order) => Some(order),
        Received::Late(_) => None,
    }
}

/// Reads an order, waits until the other side has read it too unless the lock is there, and ends
/// it. Without any guard the side that closes writes last.
async fn end(world: &World, id: Uuid, paid: bool, (guard, both): (Guard, &Barrier)) -> bool {
    let done = world.db.ctx.db.tx("end", async |tx| {
        let read = if guard == Guard::Lock {
            billing::store::lock_order(tx, id.into()).await?
        } else {
            let read = billing::queries::order(tx, &payer(), id.into()).await?;
            both.wait().await;
            read
        };
        let read = read.ok_or(kit::Error::NotFound)?;
        let was = read.version;
        let Some(mut order) = ended(read, paid, tx.now()) else {
            return Ok(false);
        };
        let last = guard == Guard::Nothing && !paid;
        let was = was + i64::from(last);
        order.version += i64::from(last);
        if last {
            both.wait().await;
        }
        billing::store::save_order(tx, &order, was).await?;
        Ok(true)
    });
    let done = done.await.unwrap_or(false);
    if guard == Guard::Nothing && paid {
        both.wait().await;
    }
    done
}

/// Under the lock one of a payment and a close ends the order, and the version alone lets one
/// through; without both the close overwrites the payment.
#[tokio::test]
async fn without_the_lock_a_close_overwrites_a_payment() {
    let world = World::still().await;
    let both = Barrier::new(2);
    for guard in [Guard::Lock, Guard::Version].repeat(6) {
        let order = world.order(&[100]).await;
        let (paid, closed) = tokio::join!(
            end(&world, order.id, true, (guard, &both)),
            end(&world, order.id, false, (guard, &both))
        );
        assert!(paid != closed, "one is let through");
        let expected = if paid { "paid" } else { "closed" };
        assert_eq!(world.order_state(order.id).await, expected);
    }
    let order = world.order(&[100]).await;
    let (paid, closed) = tokio::join!(
        end(&world, order.id, true, (Guard::Nothing, &both)),
        end(&world, order.id, false, (Guard::Nothing, &both))
    );
    assert!(paid && closed, "the race is there to be guarded against");
    assert_eq!(
        world.order_state(order.id).await,
        "closed",
        "and money is lost"
    );
}

/// Books what came, as the program does, once the other side is about to as well.
async fn book(world: &World, number: i32, before: &Barrier) -> bool {
    let booked = world.db.ctx.db.tx("unguarded", async |tx| {
        before.wait().await;
        let fen = Fen::new(100).unwrap();
        let transfers = receipt_booked(&number.to_string(), fen, None, false);
        billing::store::book_transfers(tx, &transfers).await
    });
    booked.await.is_ok()
}

/// A cause is booked once, by its constraint alone: without it two that learn of the same money
/// at once book it twice.
#[tokio::test]
async fn without_the_constraint_money_is_booked_twice() {
    let world = World::still().await;
    let both = Barrier::new(2);
    for number in 0..20 {
        let (one, other) = tokio::join!(book(&world, number, &both), book(&world, number, &both));
        assert!(one != other, "the constraint lets one through");
    }
    let owner = world.db.owner().await;
    let sql = "ALTER TABLE transfer DROP CONSTRAINT transfer_cause_once";
    owner.execute(sql, []).await.unwrap();
    let (one, other) = tokio::join!(book(&world, 99, &both), book(&world, 99, &both));
    assert!(one && other, "the race is there to be guarded against");
}
