//! The daily comparison with the provider's bill.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::world::{World, key};

/// The day of the tests, and the morning after it.
pub(crate) const DAY: &str = "2026-04-01";

pub(crate) async fn next_morning(world: &World) {
    world.advance(TimeDelta::hours(24) + TimeDelta::minutes(6));
}

pub(crate) async fn compared(world: &World, runs: i32) {
    let done =
        format!("reconciliation WHERE date = '{DAY}' AND state <> 'running' AND runs >= {runs}");
    world
        .until("compared", async || world.count(&done).await == 1)
        .await;
}

pub(crate) async fn again(world: &World) -> Value {
    let operator = world.operator().await;
    let answer = world
        .graph(
            &operator,
            "mutation ($input: ReconcileInput!) { reconcile(input: $input) {
               reconciliation { state runs rows matched paid { fen }
                 refunded { fen } differences { kind detail explained ours { fen }
                   theirs { fen } } }
               userErrors { code } } }",
            json!({ "input": { "date": DAY } }),
        )
        .await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    answer["data"]["reconcile"]["reconciliation"].clone()
}

/// A day of payments and refunds agrees with the bill, by itself, the morning after; once more
/// changes nothing.
#[tokio::test]
async fn a_day_agrees_with_its_bill() {
    let world = World::start().await;
    let order = world.paid(&[19_900]).await;
    let _other = world.paid(&[5_005]).await;
    world
        .apply(&[world.returned(&order, 0, key(), 9_905)])
        .await
        .unwrap();
    let taken = "refund WHERE state = 'processing'";
    world
        .until("accepted", async || world.count(taken).await == 1)
        .await;
    world.advance(TimeDelta::seconds(3));
    world.deliver().await;
    next_morning(&world).await;
    compared(&world, 1).await;
    let first = world
        .text(
            "SELECT concat_ws(' ', state, rows, matched, paid_fen, refunded_fen)
        FROM reconciliation WHERE date = '2026-04-01'",
        )
        .await;
    assert_eq!(first, "clean 3 3 24905 9905");
    let transfers = world.count("transfer").await;
    let second = again(&world).await;
    assert_eq!(
        (&second["state"], &second["runs"]),
        (&json!("CLEAN"), &json!(2))
    );
    assert_eq!(world.count("transfer").await, transfers);
    assert_eq!(world.count("discrepancy").await, 0);
    world.verify().await;
}

/// A payment of which nothing was ever heard is found in the bill and healed.
#[tokio::test]
async fn the_bill_heals_what_was_never_heard() {
    let world = World::start().await;
    let order = world.order_for(&[19_900], 3_000).await;
    let number = world.ready(&order).await;
    world
        .instruct(json!({ "out_trade_no": number, "action": "lose" }))
        .await;
    world.payer_pays(&number).await;
    let forget = "DELETE FROM due WHERE kind IN ('query', 'expire')";
    world.db.ctx.db.execute(forget, []).await.unwrap();
    next_morning(&world).await;
    compared(&world, 1).await;
    assert_eq!(world.order_state(order.id).await, "paid");
    assert_eq!(world.text("SELECT learnt_by FROM receipt").await, "bill");
    assert_eq!(
        world
            .text("SELECT state FROM reconciliation WHERE date = '2026-04-01'")
            .await,
        "clean"
    );
    assert!(
        world
            .steps(order.id)
            .await
            .contains(&"FOUND_BY_BILL".to_owned())
    );
    world.verify().await;
}

/// What only our book has, or has otherwise, is a difference until it is no more.
#[tokio::test]
async fn differences_are_named_and_explained() {
    let world = World::start().await;
    let _order = world.paid(&[19_900]).await;
    let db = &world.db.ctx.db;
    db.execute(
        "INSERT INTO receipt (transaction_id, out_trade_no, payment, order_id, kind, fen,
           learnt_by, paid_at, booked_at)
         SELECT 'made-up', out_trade_no, payment, order_id, 'late', 7, 'query', paid_at, booked_at
         FROM receipt",
        [],
    )
    .await
    .unwrap();
    db.execute("UPDATE receipt SET fen = 19901 WHERE kind = 'order'", [])
        .await
        .unwrap();
    next_morning(&world).await;
    compared(&world, 1).await;
    let found = "SELECT string_agg(concat_ws(' ', kind, ours_fen, theirs_fen, state), ', '
        ORDER BY kind) FROM discrepancy";
    assert_eq!(
        world.text(found).await,
        "amount_differs 19901 19900 open, missing_there 7 open"
    );
    let same = again(&world).await;
    assert_eq!(same["state"], "DIFFERENCES");
    assert_eq!(world.count("discrepancy").await, 2);
    db.execute("DELETE FROM receipt WHERE transaction_id = 'made-up'", [])
        .await
        .unwrap();
    db.execute("UPDATE receipt SET fen = 19900", [])
        .await
        .unwrap();
    let clean = again(&world).await;
    assert_eq!(
        (&clean["state"], &clean["runs"]),
        (&json!("CLEAN"), &json!(3))
    );
    assert_eq!(world.count("discrepancy WHERE state = 'open'").await, 0);
    let explained = clean["differences"].as_array().unwrap().iter();
    assert!(explained.clone().all(|one| one["explained"] == true) && explained.count() == 2);
    world.verify().await;
}

/// A day without movements agrees; a day that is not over, or long ago, has no bill.
#[tokio::test]
async fn a_quiet_day_and_a_day_without_a_bill() {
    let world = World::start().await;
    next_morning(&world).await;
    let quiet = again(&world).await;
    assert_eq!(
        (&quiet["state"], &quiet["rows"]),
        (&json!("CLEAN"), &json!(0))
    );
    let operator = world.operator().await;
    for date in ["2026-04-02", "2027-01-01", "2025-04-01"] {
        let answer = world
            .graph(
                &operator,
                "mutation ($input: ReconcileInput!) { reconcile(input: $input) {
                   userErrors { code } } }",
                json!({ "input": { "date": date } }),
            )
            .await;
        let code = &answer["data"]["reconcile"]["userErrors"][0]["code"];
        assert_eq!(code, "NO_BILL_FOR_DATE", "{answer}");
    }
}
