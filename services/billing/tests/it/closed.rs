//! Refunds that the provider closes again and again.

use chrono::TimeDelta;
use kit::graphql::GlobalId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bills::{bill, change, compare, outcome};
use crate::books::{compared, next_morning};
use crate::explaining::broken;
use crate::provider::Provider;
use crate::world::{Asked, World, key, payer};

/// A refund of one fen of an order that was paid.
struct Back {
    order: Asked,
    id: Uuid,
    out_trade_no: String,
    transaction_id: String,
}

async fn back(world: &World) -> Back {
    let order = world.paid(&[100]).await;
    let id = key();
    world
        .apply(&[world.returned(&order, 0, id, 1)])
        .await
        .unwrap();
    let out_trade_no = world.trade_no(order.id).await;
    let transaction_id = world.text("SELECT transaction_id FROM receipt").await;
    Back {
        order,
        id,
        out_trade_no,
        transaction_id,
    }
}

/// Waits until the provider has taken this attempt on.
async fn taken_on(world: &World, attempt: i32) {
    let taken = format!("refund WHERE state = 'processing' AND attempt = {attempt}");
    world
        .until("taken on", async || world.count(&taken).await == 1)
        .await;
}

/// The provider says that it closed what was asked for last.
async fn close(world: &World, back: &Back) {
    let number = world.text("SELECT out_refund_no FROM refund").await;
    let payment = (back.out_trade_no.as_str(), back.transaction_id.as_str());
    let told = Provider::of(world).refund(world, payment, &number, "CLOSED");
    assert_eq!(told.to(world, "refund").await.0, 204);
}

/// Seconds until it is asked for again.
async fn pause(world: &World) -> i64 {
    let now = world.db.ctx.clock.now().timestamp();
    let sql = format!(
        "SELECT extract(epoch FROM run_at)::bigint - {now} FROM due
        WHERE kind = 'refund'"
    );
    world.text(&sql).await.parse().unwrap()
}

pub(crate) async fn retry(
    world: &World,
    caller: &kit::access::Caller,
    id: Uuid,
    key: Uuid,
) -> Value {
    world
        .graph(
            caller,
            "mutation ($input: RetryRefundInput!) { retryRefund(input: $input) {
               refund { id state amount { amountFen } } userErrors { code field } } }",
            json!({ "input": {
                "refundId": GlobalId::of_uuid("Refund", id).0, "idempotencyKey": key,
            }}),
        )
        .await
}

const OPEN: &str = "discrepancy WHERE kind = 'refund_stuck' AND state = 'open'";

/// It is asked for again ever more rarely, somebody is told at the second time, at the tenth it is
/// left to an operator, and what the operator has tried again is paid out.
#[tokio::test]
async fn a_refund_that_is_closed_without_end_is_left_to_a_person() {
    let world = World::start().await;
    let back = back(&world).await;
    for attempt in 1..10 {
        taken_on(&world, attempt).await;
        close(&world, &back).await;
        assert_eq!(pause(&world).await, 61 << (attempt - 1), "{attempt}");
        let told = i64::from(attempt > 1);
        assert_eq!(world.count(OPEN).await, told, "{attempt}");
        world.verify().await;
        world.advance(TimeDelta::seconds(61 << (attempt - 1)));
    }
    taken_on(&world, 10).await;
    close(&world, &back).await;
    let state = "SELECT concat_ws(' ', state, attempt, problem) FROM refund";
    assert_eq!(world.text(state).await, "given_up 10 CLOSED");
    world.verify().await;
    // Told again, and hours later, it rests.
    close(&world, &back).await;
    world.advance(TimeDelta::hours(6));
    world
        .until("nothing asks", async || {
            world.count("due WHERE kind LIKE 'refund%'").await == 0
        })
        .await;
    assert_eq!(world.text(state).await, "given_up 10 CLOSED");
    assert_eq!(world.count(OPEN).await, 1);
    operator_has_it_tried(&world, &back).await;
    assert_eq!(world.text(state).await, "done 11");
    assert_eq!(world.count(OPEN).await, 0);
    assert_eq!(
        world.kinds(back.order.id).await,
        ["OrderPaid", "RefundDone"]
    );
    let steps = world.steps(back.order.id).await;
    let again = steps.iter().filter(|step| *step == "REFUND_ASKED_AGAIN");
    assert_eq!(again.count(), 10);
    world.verify().await;
}

async fn operator_has_it_tried(world: &World, back: &Back) {
    let operator = world.operator().await;
    let stuck = world
        .graph(
            &operator,
            "{ discrepancies(first: 1) { nodes { kind refundId detail } } }",
            json!({}),
        )
        .await;
    let stuck = &stuck["data"]["discrepancies"]["nodes"][0];
    assert_eq!(stuck["refundId"], GlobalId::of_uuid("Refund", back.id).0);
    assert!(stuck["detail"].as_str().unwrap().contains("10 times"));
    let refused = retry(world, &payer(), back.id, key()).await;
    let code = &refused["data"]["retryRefund"]["userErrors"][0]["code"];
    assert_eq!(code, "FORBIDDEN", "{refused}");
    let once = key();
    for _ in 0..2 {
        let answer = retry(world, &operator, back.id, once).await;
        let payload = &answer["data"]["retryRefund"];
        assert_eq!(payload["userErrors"], json!([]), "{answer}");
        assert_eq!(payload["refund"]["amount"]["amountFen"], 1);
    }
    taken_on(world, 11).await;
    world.advance(TimeDelta::seconds(3));
    world.deliver().await;
    world
        .until("done", async || {
            world.count("refund WHERE state = 'done'").await == 1
        })
        .await;
    let late = retry(world, &operator, back.id, key()).await;
    let error = &late["data"]["retryRefund"]["userErrors"][0];
    assert_eq!(
        error,
        &json!({ "code": "ALREADY_REFUNDED", "field": ["refundId"] }),
        "{late}"
    );
}

/// Closed after the operator had it tried again, it rests again and is asked for no more.
#[tokio::test]
async fn what_is_closed_after_a_retry_rests_again() {
    let world = World::start().await;
    let back = back(&world).await;
    taken_on(&world, 1).await;
    let forward = "UPDATE refund SET attempt = 10";
    world.db.ctx.db.execute(forward, []).await.unwrap();
    close(&world, &back).await;
    world.advance(TimeDelta::seconds(61));
    let operator = world.operator().await;
    let answer = retry(&world, &operator, back.id, key()).await;
    assert_eq!(answer["data"]["retryRefund"]["userErrors"], json!([]));
    taken_on(&world, 11).await;
    close(&world, &back).await;
    assert_eq!(
        world
            .text("SELECT concat_ws(' ', state, attempt) FROM refund")
            .await,
        "given_up 11"
    );
    assert_eq!(world.count(OPEN).await, 1);
    world.verify().await;
}

/// An operator who has filled the account need not wait for the hour to pass.
#[tokio::test]
async fn an_operator_has_what_waits_tried_now() {
    let world = World::start().await;
    let fault = json!({ "next": 1, "fault": "not_enough", "path_prefix": "/v3/refund" });
    world.fault(fault).await;
    let back = back(&world).await;
    world
        .until("stuck", async || {
            world
                .count("due WHERE kind = 'refund' AND last_error IS NULL")
                .await
                == 1
                && world.count(OPEN).await == 1
        })
        .await;
    let operator = world.operator().await;
    let answer = retry(&world, &operator, back.id, key()).await;
    assert_eq!(
        answer["data"]["retryRefund"]["userErrors"],
        json!([]),
        "{answer}"
    );
    // No time passes: it is not the pause that ends.
    taken_on(&world, 1).await;
    world.verify().await;
}

/// A refund that was closed once and then made: the day's bill lists both numbers or only the
/// last, and either way the books agree; the closed one as paid out does not.
#[tokio::test]
async fn a_closed_attempt_is_no_lasting_difference() {
    let world = World::start().await;
    let back = back(&world).await;
    taken_on(&world, 1).await;
    let closed = world.text("SELECT out_refund_no FROM refund").await;
    close(&world, &back).await;
    world.advance(TimeDelta::seconds(62));
    taken_on(&world, 2).await;
    world.advance(TimeDelta::seconds(3));
    world.deliver().await;
    // Said again of the closed one, it changes nothing and is not wrong.
    let payment = (back.out_trade_no.as_str(), back.transaction_id.as_str());
    let told = Provider::of(&world).refund(&world, payment, &closed, "CLOSED");
    assert_eq!(told.to(&world, "refund").await.0, 204);
    assert_eq!(world.text("SELECT state FROM refund").await, "done");
    // Of another payment's money it is.
    let strange = (back.out_trade_no.as_str(), "t-unknown");
    let told = Provider::of(&world).refund(&world, strange, &closed, "CLOSED");
    assert_eq!(told.to(&world, "refund").await.0, 409);
    next_morning(&world).await;
    compared(&world, 1).await;
    // The sandbox did not close it: its bill says that it was paid out twice.
    let whole = bill(&world).await;
    let differs = "discrepancy WHERE kind = 'state_differs' AND state = 'open'";
    assert_eq!(world.count(differs).await, 1);
    let listed = change(&whole, &format!("`{closed},"), "`SUCCESS,`", "`CLOSED,`");
    let _after = compare(&world, &listed).await.unwrap();
    assert!(outcome(&world).await.starts_with("clean 3 3 0"));
    let lines = whole.split("\r\n");
    let without: Vec<&str> = lines
        .filter(|line| !line.contains(&format!("`{closed},")))
        .collect();
    let _after = compare(&world, &without.join("\r\n")).await.unwrap();
    let missing = "discrepancy WHERE kind LIKE 'missing%'";
    assert_eq!(world.count(missing).await, 0);
    world.verify().await;
    let forget = "UPDATE refund SET attempt = 4";
    world.db.ctx.db.execute(forget, []).await.unwrap();
    assert_eq!(broken(&world, "billing.closed_attempts_are_kept").await, 1);
}

/// The same close told of by many at once closes one attempt, and none of them is wrong: who comes
/// second finds the refund under another number than the one it was looked up by.
#[tokio::test]
async fn a_close_told_of_by_many_at_once_is_one() {
    let world = World::start().await;
    let back = back(&world).await;
    taken_on(&world, 1).await;
    let number = world.text("SELECT out_refund_no FROM refund").await;
    let payment = (back.out_trade_no.as_str(), back.transaction_id.as_str());
    let provider = Provider::of(&world);
    let all = (0..8).map(|_| async {
        let told = provider.refund(&world, payment, &number, "CLOSED");
        told.to(&world, "refund").await.0
    });
    assert_eq!(futures::future::join_all(all).await, [204; 8]);
    assert_eq!(world.text("SELECT attempt FROM refund").await, "2");
    assert_eq!(world.count("closed_attempt").await, 1);
    assert_eq!(world.count("discrepancy").await, 0);
    world.verify().await;
}

/// Two operators have the same refund tried at once: it is asked for again once.
#[tokio::test]
async fn a_refund_tried_again_twice_at_once_is_one() {
    let world = World::start().await;
    let back = back(&world).await;
    taken_on(&world, 1).await;
    let forward = "UPDATE refund SET attempt = 10";
    world.db.ctx.db.execute(forward, []).await.unwrap();
    close(&world, &back).await;
    world.advance(TimeDelta::seconds(61));
    let operator = world.operator().await;
    let retries = (0..6).map(|_| retry(&world, &operator, back.id, key()));
    for answer in futures::future::join_all(retries).await {
        let refused = &answer["data"]["retryRefund"]["userErrors"];
        assert_eq!(refused, &json!([]), "{answer}");
    }
    taken_on(&world, 11).await;
    world.advance(TimeDelta::seconds(3));
    world.deliver().await;
    world
        .until("done", async || {
            world.count("refund WHERE state = 'done'").await == 1
        })
        .await;
    let steps = world.steps(back.order.id).await;
    let again = steps.iter().filter(|step| *step == "REFUND_ASKED_AGAIN");
    assert_eq!(again.count(), 1);
    assert_eq!(world.text("SELECT attempt FROM refund").await, "11");
    assert_eq!(world.text("SELECT refunded_fen FROM receipt").await, "1");
    world.verify().await;
}
