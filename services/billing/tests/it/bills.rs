//! Bills that are not as they should be: what can be compared is compared, the rest is a
//! difference, and no day stops the next.

use billing::commands;
use chrono::{NaiveDate, TimeDelta};
use kit::Error;
use kit::due::After;
use serde_json::json;

use crate::books::{again, compared, next_morning};
use crate::world::World;

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 4, 1).unwrap()
}

/// The day's true bill, as the provider wrote it.
pub(crate) async fn bill(world: &World) -> String {
    let (bytes, _sha1) = world
        .billing
        .wechat
        .trade_bill(day())
        .await
        .unwrap()
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Changes the row in which `mark` stands.
pub(crate) fn change(bill: &str, mark: &str, from: &str, to: &str) -> String {
    let lines = bill.split("\r\n").map(|line| {
        if line.contains(mark) {
            assert!(line.contains(from), "{line}");
            line.replacen(from, to, 1)
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\r\n")
}

pub(crate) async fn compare(world: &World, bill: &str) -> kit::Result<After> {
    let fetched = (bill.as_bytes().to_vec(), "0".repeat(40));
    commands::compare_day(&world.billing, day(), Some(fetched)).await
}

/// State, rows, matched, differences and sums of the day.
pub(crate) async fn outcome(world: &World) -> String {
    let sql = "SELECT concat_ws(' ', state, rows, matched, differences, paid_fen, refunded_fen)
        FROM reconciliation WHERE date = '2026-04-01'";
    world.text(sql).await
}

const OPEN: &str = "SELECT string_agg(concat_ws(' ', kind, ours_fen, theirs_fen), ', '
    ORDER BY kind, ours_fen) FROM discrepancy WHERE state = 'open'";

/// A row in another currency, of an unknown state, another merchant's, or with an amount that is
/// none is a difference with its line and text; the other rows are compared.
#[tokio::test]
async fn rows_that_cannot_be_read_are_differences() {
    let world = World::start().await;
    for fen in [100, 200, 300, 400, 500] {
        let _order = world.paid(&[fen]).await;
    }
    next_morning(&world).await;
    compared(&world, 1).await;
    let whole = bill(&world).await;
    let mut spoilt = change(&whole, "`1.00", "`CNY", "`USD");
    spoilt = change(&spoilt, "`2.00", "`SUCCESS", "`ACCEPTED");
    spoilt = change(&spoilt, "`3.00", "`1900000050", "`1900000051");
    spoilt = spoilt.replace("`4.00", "`four");
    assert_eq!(compare(&world, &spoilt).await.unwrap(), After::Done);
    assert_eq!(outcome(&world).await, "differences 5 1 4 500 0");
    assert_eq!(
        world.text(OPEN).await,
        "bill_row_unreadable 200, bill_row_unreadable 400, currency_differs 100, \
         merchant_differs 300"
    );
    let number = world
        .text("SELECT out_trade_no FROM receipt WHERE fen = 100")
        .await;
    let detail = world
        .text("SELECT detail FROM discrepancy WHERE kind = 'currency_differs'")
        .await;
    for part in ["line ", "another currency", "USD", "1.00", &number] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    let kept = world
        .text("SELECT string_agg(d::text, '') FROM discrepancy d")
        .await;
    assert!(!kept.contains("oSandboxPayer"), "no payer is kept");
    // The true bill explains them.
    let clean = again(&world).await;
    assert_eq!(clean["state"], "CLEAN");
    let told = clean["differences"].as_array().unwrap();
    assert!(told.iter().all(|one| one["explained"] == true));
    assert!(
        told.iter()
            .any(|one| one["detail"].as_str() == Some(&detail))
    );
    world.verify().await;
}

/// A summary that does not agree with the rows is a difference of its own.
#[tokio::test]
async fn a_summary_that_does_not_agree_is_a_difference() {
    let world = World::start().await;
    let _order = world.paid(&[100]).await;
    next_morning(&world).await;
    compared(&world, 1).await;
    let whole = bill(&world).await;
    let count = whole.trim_end().rfind("\r\n").unwrap() + 2;
    let spoilt = format!(
        "{}{}",
        &whole[..count],
        whole[count..].replacen("`1", "`2", 1)
    );
    assert_eq!(compare(&world, &spoilt).await.unwrap(), After::Done);
    assert_eq!(outcome(&world).await, "differences 1 1 1 100 0");
    assert_eq!(world.text(OPEN).await, "bill_summary_differs");
    assert_eq!(again(&world).await["state"], "CLEAN");
}

/// A file that is no bill at all is noted, and the day is asked for again.
#[tokio::test]
async fn a_file_that_is_no_bill_is_noted() {
    let world = World::start().await;
    let _order = world.paid(&[100]).await;
    next_morning(&world).await;
    compared(&world, 1).await;
    let refused = compare(&world, "<html>\r\n<p>\r\n</p>\r\n</html>").await;
    assert!(matches!(refused, Err(Error::Internal(_))), "{refused:?}");
    assert_eq!(world.text(OPEN).await, "bill_unreadable");
    assert_eq!(again(&world).await["state"], "CLEAN");
    assert_eq!(world.count("discrepancy WHERE state = 'open'").await, 0);
}

/// Payments of which nothing was heard, as the bill alone knows them.
async fn unheard(world: &World, count: usize) -> Vec<crate::world::Asked> {
    let mut orders = Vec::new();
    for _ in 0..count {
        let order = world.order_for(&[100], 3_000).await;
        let number = world.ready(&order).await;
        world
            .instruct(json!({ "out_trade_no": number, "action": "lose" }))
            .await;
        world.payer_pays(&number).await;
        orders.push(order);
    }
    let forget = "DELETE FROM due WHERE kind IN ('query', 'expire')";
    world.db.ctx.db.execute(forget, []).await.unwrap();
    orders
}

const FAILED: &str = "due WHERE kind = 'reconcile' AND subject = '2026-04-01'
    AND last_error IS NOT NULL";
const NEXT: &str = "due WHERE kind = 'reconcile' AND subject = '2026-04-02'";

/// A question the provider does not answer stops no other: what was learnt is on record, and the
/// rest is asked later.
#[tokio::test]
async fn one_unanswered_question_stops_no_other() {
    let world = World::start().await;
    let _orders = unheard(&world, 3).await;
    let fault = json!({ "next": 1, "fault": "system_error",
        "path_prefix": "/v3/pay/transactions/out-trade-no" });
    world.fault(fault).await;
    next_morning(&world).await;
    world
        .until("reported", async || world.count(FAILED).await == 1)
        .await;
    assert_eq!(outcome(&world).await, "differences 3 2 1 300 0");
    assert_eq!(world.count("orders WHERE state = 'paid'").await, 2);
    let detail = world.text("SELECT detail FROM discrepancy").await;
    assert!(detail.contains("could not be asked about"), "{detail}");
    assert_eq!(world.count(NEXT).await, 1);
    world.advance(TimeDelta::seconds(3));
    compared(&world, 2).await;
    assert_eq!(outcome(&world).await, "clean 3 3 0 300 0");
    assert_eq!(world.count("orders WHERE state = 'paid'").await, 3);
    world.verify().await;
}

/// What can never be booked stays a difference that says why; the others are healed and the day is
/// done.
#[tokio::test]
async fn what_cannot_be_healed_stops_nothing() {
    let world = World::start().await;
    let orders = unheard(&world, 2).await;
    let raise = |by: i64| {
        format!(
            "UPDATE orders SET total_fen = total_fen + {by} WHERE id = '{}'",
            orders[0].id
        )
    };
    let db = &world.db.ctx.db;
    db.execute(&raise(1), []).await.unwrap();
    next_morning(&world).await;
    compared(&world, 1).await;
    assert_eq!(outcome(&world).await, "differences 2 1 1 200 0");
    assert_eq!(world.order_state(orders[1].id).await, "paid");
    let detail = world.text("SELECT detail FROM discrepancy").await;
    assert!(detail.contains("a payment of a part"), "{detail}");
    let day = "due WHERE kind = 'reconcile' AND subject = '2026-04-01'";
    world
        .until("done", async || world.count(day).await == 0)
        .await;
    db.execute(&raise(-1), []).await.unwrap();
    assert_eq!(again(&world).await["state"], "CLEAN");
    world.verify().await;
}

/// The next day is planned whatever becomes of this one, and a day that is compared again drags
/// none along.
#[tokio::test]
async fn no_day_waits_for_another() {
    let world = World::start().await;
    let _order = world.paid(&[100]).await;
    // The day before is asked for as well, and is no better off.
    let fault = json!({ "next": 2, "fault": "system_error", "path_prefix": "/v3/bill" });
    world.fault(fault).await;
    next_morning(&world).await;
    world
        .until("failed", async || world.count(FAILED).await == 1)
        .await;
    assert_eq!(world.count(NEXT).await, 1);
    let at = "SELECT concat_ws(' ', run_at, asked) FROM due WHERE subject = '2026-04-02'";
    let planned = world.text(at).await;
    assert!(planned.starts_with("2026-04-03"), "{planned}");
    world.advance(TimeDelta::seconds(3));
    compared(&world, 1).await;
    let _again = again(&world).await;
    assert_eq!(world.text(at).await, planned);
    world.advance(TimeDelta::hours(24));
    let next = "reconciliation WHERE date = '2026-04-02' AND runs = 1";
    world
        .until("next", async || world.count(next).await == 1)
        .await;
    let _again = again(&world).await;
    assert_eq!(world.count(next).await, 1);
    assert_eq!(world.count(NEXT).await, 0);
}

/// A corrected bill's other fees are followed by a transfer of the difference, either way, and are
/// on record.
#[tokio::test]
async fn corrected_fees_are_followed() {
    let world = World::start().await;
    let _order = world.paid(&[100]).await;
    next_morning(&world).await;
    compared(&world, 1).await;
    let whole = bill(&world).await;
    let transfers = world.count("transfer").await;
    for (fee, fen, more) in [("0.60000", 60, 1), ("0.60000", 60, 1), ("0.45000", 45, 2)] {
        let bill = change(&whole, "`1.00", "`0.00000", &format!("`{fee}"));
        assert_eq!(compare(&world, &bill).await.unwrap(), After::Done);
        assert_eq!(world.balance("provider_fees").await, fen);
        assert_eq!(world.balance("wechat_clearing").await, 100 - fen);
        assert_eq!(world.count("transfer").await, transfers + more);
    }
    assert_eq!(
        world
            .text("SELECT concat_ws(' ', kind, ours_fen, theirs_fen, state) FROM discrepancy")
            .await,
        "fee_differs 60 45 explained"
    );
    assert!(outcome(&world).await.starts_with("clean"));
    world.verify().await;
}

/// The books show what is more than any one order can be, and do not lose a fen of it.
#[tokio::test]
async fn the_books_show_great_sums() {
    let world = World::start().await;
    for sql in [
        "INSERT INTO transfer (cause, debit, credit, fen, at)
         SELECT 'great/' || n, 'wechat_clearing', 'deferred', 10000000000, now()
         FROM generate_series(1, 3) n",
        "INSERT INTO reconciliation (date, state, paid_fen, refunded_fen, asked_at, ran_at)
         VALUES ('2026-03-01', 'clean', 30000000005, -5, now(), now())",
        "INSERT INTO discrepancy (id, kind, subject, theirs_fen, detail, found_at)
         VALUES (gen_random_uuid(), 'amount_differs', 'x', 20000000000, '', now())",
    ] {
        world.db.ctx.db.execute(sql, []).await.unwrap();
    }
    let operator = world.operator().await;
    let answer = world
        .graph(
            &operator,
            "{ ledgerAccounts { code debits { fen yuan } }
               reconciliations(first: 1) { nodes { paid { fen yuan currency }
                 refunded { yuan } } }
               discrepancies(first: 1) { nodes { ours { fen } theirs { fen } } } }",
            json!({}),
        )
        .await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    let accounts = answer["data"]["ledgerAccounts"].as_array().unwrap();
    let clearing = accounts.iter().find(|one| one["code"] == "wechat_clearing");
    assert_eq!(
        clearing.unwrap()["debits"],
        json!({ "fen": "30000000000", "yuan": "300000000.00" })
    );
    assert_eq!(
        answer["data"]["reconciliations"]["nodes"][0],
        json!({
            "paid": { "fen": "30000000005", "yuan": "300000000.05", "currency": "CNY" },
            "refunded": { "yuan": "-0.05" },
        })
    );
    assert_eq!(
        answer["data"]["discrepancies"]["nodes"][0],
        json!({ "ours": null, "theirs": { "fen": "20000000000" } })
    );
}
