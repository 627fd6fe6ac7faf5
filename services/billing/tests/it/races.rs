//! Two at once, with the guard and without it.

use std::sync::Arc;

use billing::domain::{CloseReason, OrderState, Received};
use kit::types::Fen;
use sea_orm::FromQueryResult;
use serde_json::json;
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::world::{World, key, pay, payer};

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
        .map(Result::unwrap)
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(world.count("payment").await, 1);
}

/// Without the order's lock and the constraint, both find no open payment and both begin one.
#[tokio::test]
async fn without_the_lock_two_payments_begin() {
    let world = World::still().await;
    let order = world.order(&[100]).await;
    let owner = world.db.owner().await;
    owner
        .execute("DROP INDEX payment_open_once", [])
        .await
        .unwrap();
    let looked = Arc::new(Barrier::new(2));
    let begin = |number: i32| {
        let (db, looked) = (world.db.ctx.db.clone(), Arc::clone(&looked));
        async move {
            db.tx("unguarded", async |tx| {
                let open = format!(
                    "INSERT INTO payment (id, order_id, payer, method, fen, out_trade_no, state,
                       created_at, expires_at)
                     SELECT gen_random_uuid(), '{}', gen_random_uuid(), 'wechat_native', 100,
                       'unguarded-{number}', 'preparing', now(), now()
                     WHERE NOT EXISTS (SELECT 1 FROM payment WHERE order_id = '{}')",
                    order.id, order.id
                );
                let rows = tx.execute(&open, []).await?;
                looked.wait().await;
                Ok(rows)
            })
            .await
            .unwrap()
        }
    };
    let (one, two) = tokio::join!(begin(1), begin(2));
    assert_eq!(
        (one, two),
        (1, 1),
        "the race is there to be guarded against"
    );
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
        .unwrap();
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
        .unwrap();
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

/// A payer scans while the order is closed: it ends paid or closed, never both and never neither.
#[tokio::test]
async fn a_close_races_a_payment() {
    let world = World::still().await;
    let mut ends = Vec::new();
    for _ in 0..12 {
        let order = world.order(&[100]).await;
        let _id = billing::commands::pay_order(&world.billing, &payer(), pay(order.id, key()))
            .await
            .unwrap();
        world.work().await;
        let number = world.trade_no(order.id).await;
        world.apply(&[world.lapsed(order.id)]).await.unwrap();
        let scan = world.control(
            "/sandbox/pay",
            json!({ "out_trade_no": number, "force": true }),
        );
        let close = billing::commands::close_order(&world.billing, order.id.into());
        let ((status, _), closed) = tokio::join!(scan, close);
        closed.unwrap();
        world.deliver().await;
        let end = world.order_state(order.id).await;
        let expected = if status == 200 { "paid" } else { "closed" };
        assert_eq!(end, expected);
        assert_eq!(world.kinds(order.id).await.len(), 1);
        ends.push(end);
    }
    world.work().await;
    world.verify().await;
}

#[derive(FromQueryResult)]
struct State {
    state: String,
}

/// Reads an order that is open, waits until the other has read it too, and ends it. `guarded`: by
/// the lock and the version, as the program does; otherwise by neither.
async fn end(world: &World, order: Uuid, paid: bool, both: Option<&Barrier>) -> bool {
    let ended = world.db.ctx.db.tx("end", async |tx| {
        let Some(both) = both else {
            let locked = billing::store::lock_order(tx, order.into()).await?;
            let held = locked.ok_or(kit::Error::NotFound)?;
            let was = held.version;
            if !matches!(held.state, OrderState::Open { .. }) {
                return Ok(false);
            }
            let ended = if paid {
                match held.receive(tx.now()) {
                    Received::ForOrder(order) => order,
                    Received::Late(_) => return Ok(false),
                }
            } else {
                let closing = held.begin_closing(CloseReason::Expired).unwrap();
                closing.close(tx.now()).unwrap()
            };
            billing::store::save_order(tx, &ended, was).await?;
            return Ok(true);
        };
        let seen = "SELECT state FROM orders WHERE id = $1";
        let seen = tx.one::<State>(seen, [order.into()]).await?;
        both.wait().await;
        if seen.is_none_or(|seen| seen.state != "open") {
            return Ok(false);
        }
        let end = if paid {
            "UPDATE orders SET state = 'paid', paid_at = $2, paid_fen = total_fen, closing = NULL,
               closed_at = NULL WHERE id = $1"
        } else {
            "UPDATE orders SET state = 'closed', closing = 'expired', closed_at = $2,
               paid_fen = 0, paid_at = NULL WHERE id = $1"
        };
        Ok(tx.execute(end, [order.into(), tx.now().into()]).await? == 1)
    });
    ended.await.unwrap()
}

/// Under the lock one of a payment and a close ends the order; without lock and version both do,
/// and one of them is lost.
#[tokio::test]
async fn without_the_lock_a_close_overwrites_a_payment() {
    let world = World::still().await;
    for _ in 0..12 {
        let order = world.order(&[100]).await;
        let (paid, closed) = tokio::join!(
            end(&world, order.id, true, None),
            end(&world, order.id, false, None)
        );
        assert!(paid != closed, "the lock lets one through");
        let expected = if paid { "paid" } else { "closed" };
        assert_eq!(world.order_state(order.id).await, expected);
    }
    let order = world.order(&[100]).await;
    let both = Barrier::new(2);
    let (paid, closed) = tokio::join!(
        end(&world, order.id, true, Some(&both)),
        end(&world, order.id, false, Some(&both))
    );
    assert!(paid && closed, "the race is there to be guarded against");
}

/// Looks whether a cause is booked and books it if not, as a careless program would.
async fn book(world: &World, number: i32, before: &Barrier, after: &Barrier) -> u64 {
    let sql = format!(
        "INSERT INTO transfer (cause, debit, credit, fen, at)
         SELECT 'receipt/{number}', 'wechat_clearing', 'prepaid', 100, now()
         WHERE NOT EXISTS (SELECT 1 FROM transfer WHERE cause = 'receipt/{number}')"
    );
    let booked = world.db.ctx.db.tx("careless", async |tx| {
        before.wait().await;
        let rows = tx.execute(&sql, []).await?;
        after.wait().await;
        Ok(rows)
    });
    booked.await.unwrap_or(0)
}

/// Without the constraint on a transfer's cause, two that look and then book do so twice.
#[tokio::test]
async fn without_the_constraint_money_is_booked_twice() {
    let world = World::still().await;
    let (two, alone) = (Barrier::new(2), Barrier::new(1));
    for number in 0..20 {
        let (one, other) = tokio::join!(
            book(&world, number, &two, &alone),
            book(&world, number, &two, &alone)
        );
        assert_eq!(one + other, 1, "the constraint lets one through");
    }
    let owner = world.db.owner().await;
    let sql = "ALTER TABLE transfer DROP CONSTRAINT transfer_cause_once";
    owner.execute(sql, []).await.unwrap();
    let (one, other) = tokio::join!(book(&world, 99, &two, &two), book(&world, 99, &two, &two));
    assert_eq!(one + other, 2, "the race is there to be guarded against");
}
