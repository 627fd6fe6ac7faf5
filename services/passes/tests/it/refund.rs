//! Giving a pass back: freeze, count, decide, money.

use chrono::TimeDelta;
use proto::passes::LineReturned;
use proto::v1::{EntitlementChanged, entitlement::State};
use serde_json::{Value, json};

use crate::unguarded::{broken, owner};
use crate::world::{World, caller, code, key};

async fn ask(world: &World, pass: &str) -> Value {
    let input = json!({ "passId": pass, "idempotencyKey": key() });
    world.mutate(&caller(1), "requestPassRefund", input).await
}

/// The freeze that admission answers on.
async fn freeze(world: &World) -> i64 {
    let right = world
        .last::<EntitlementChanged>()
        .await
        .entitlement
        .unwrap();
    assert_eq!(right.state(), State::Frozen);
    assert!(right.freeze_version > 0);
    right.freeze_version
}

/// Unused, within seven days: all of it goes back, and the right is revoked in the end.
#[tokio::test]
async fn an_unused_pass_goes_back_whole() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    let asked = ask(&world, &id).await;
    assert_eq!(asked["pass"]["state"], "REFUNDING");
    assert_eq!(asked["pass"]["refund"]["state"], "COUNTING");
    let version = freeze(&world).await;
    world
        .tell(&[world.counted(&id, version, 0, 0)])
        .await
        .unwrap();
    let told: LineReturned = world.last().await;
    assert_eq!((told.refund_fen, told.reason.as_str()), (20_000, "HOLDER"));
    let pass = world.pass(&caller(1), &id).await;
    assert_eq!(pass["refund"]["state"], "RETURNED");
    world
        .tell(&[world.counted(&id, version, 0, 0)])
        .await
        .unwrap();
    assert!(
        world.emitted().await.is_empty(),
        "a second answer says nothing new"
    );
    let done = world.refunded(&pass, &told.return_id, 20_000, 3);
    world.tell(&[done.clone(), done]).await.unwrap();
    let right = world
        .last::<EntitlementChanged>()
        .await
        .entitlement
        .unwrap();
    assert_eq!(right.state(), State::Revoked);
    let pass = world.pass(&caller(1), &id).await;
    assert_eq!(
        (&pass["state"], &pass["refund"]["state"]),
        (&json!("REFUNDED"), &json!("DONE"))
    );
    let stock = "SELECT sold AS count FROM product_stock";
    assert_eq!(world.count(stock).await, 1, "a refund brings no stock back");
    world.verify().await;
}

/// A scan that was before the freeze is counted: nothing goes back, the pass is hers again, and
/// she reads why. So a refund and a scan have one order.
#[tokio::test]
async fn a_scan_before_the_freeze_wins() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    let _ = ask(&world, &id).await;
    let version = freeze(&world).await;
    world
        .tell(&[world.counted(&id, version, 1, 0)])
        .await
        .unwrap();
    let right = world
        .last::<EntitlementChanged>()
        .await
        .entitlement
        .unwrap();
    assert_eq!((right.state(), right.freeze_version), (State::Active, 0));
    let pass = world.pass(&caller(1), &id).await;
    assert_eq!(pass["state"], "ACTIVE");
    assert_eq!(pass["refund"]["state"], "REFUSED");
    assert!(
        pass["refund"]["reason"]
            .as_str()
            .unwrap()
            .contains("has been used")
    );
    world.tell(&[world.used(&id, (1, 1), false)]).await.unwrap();
    assert_eq!(
        code(&ask(&world, &id).await),
        "REFUND_USED",
        "known uses refuse at once"
    );
    world.verify().await;
}

/// While a gate may still be letting people in offline, the decision waits; what the lease
/// brought is counted.
#[tokio::test]
async fn a_refund_waits_for_leases() {
    let world = World::new().await;
    let ladder = json!([
        { "days": 7, "feePercent": 0, "unusedOnly": true },
        { "days": 30, "feePercent": 30, "unusedOnly": false }
    ]);
    let product = world
        .product(json!({ "refundLadder": ladder, "priceFen": 9_999 }))
        .await;
    let id = world.bought(&caller(1), &product).await;
    let _ = ask(&world, &id).await;
    let version = freeze(&world).await;
    let until = world.ctx().clock.now() + TimeDelta::hours(2);
    let answer = world.counted(&id, version, 0, until.timestamp_millis());
    world.tell(&[answer.clone(), answer]).await.unwrap();
    world.due().await;
    assert_eq!(
        world.pass(&caller(1), &id).await["refund"]["state"],
        "COUNTING"
    );
    world.tell(&[world.used(&id, (1, 1), false)]).await.unwrap();
    world.ctx().clock.advance(TimeDelta::hours(3));
    world.due().await;
    let told: LineReturned = world.last().await;
    assert_eq!(told.refund_fen, 6_999, "30 % of 9,999 fen is kept, half-up");
    let pass = world.pass(&caller(1), &id).await;
    assert_eq!(
        (&pass["refund"]["uses"], &pass["state"]),
        (&json!(1), &json!("REFUNDING"))
    );
    world.verify().await;
}

/// Admission does not answer: nothing goes back without its count, however long it takes. After
/// the deadline an alarm is raised and the freeze said again, each hour.
#[tokio::test]
async fn no_refund_settles_without_the_count() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    let _ = ask(&world, &id).await;
    let version = freeze(&world).await;
    let alarms = "SELECT count(*) AS count FROM audit WHERE act = 'count_overdue'";
    world.ctx().clock.advance(TimeDelta::hours(7));
    world.due().await;
    let refund = &world.pass(&caller(1), &id).await["refund"];
    assert_eq!(
        (&refund["state"], &refund["overdue"]),
        (&json!("COUNTING"), &json!(false))
    );
    assert_eq!(world.count(alarms).await, 0);
    for hours in [1, 1, 40] {
        world.ctx().clock.advance(TimeDelta::hours(hours));
        world.due().await;
        assert_eq!(freeze(&world).await, version, "the same freeze, said again");
        let refund = &world.pass(&caller(1), &id).await["refund"];
        assert_eq!(
            (&refund["state"], &refund["overdue"]),
            (&json!("COUNTING"), &json!(true))
        );
    }
    assert_eq!(world.count(alarms).await, 3);
    world.verify().await;
    // It was scanned while the freeze was not heard of: the count decides, and nothing goes back.
    world
        .tell(&[world.counted(&id, version, 1, 0)])
        .await
        .unwrap();
    let pass = world.pass(&caller(1), &id).await;
    assert_eq!(
        (&pass["state"], &pass["refund"]["state"]),
        (&json!("ACTIVE"), &json!("REFUSED"))
    );
    let _ = world.emitted().await;
    world.ctx().clock.advance(TimeDelta::hours(2));
    world.due().await;
    assert!(world.emitted().await.is_empty(), "nobody waits any longer");
    world.verify().await;
}

/// Another union's admission counts its own gates: its answer settles nothing here.
#[tokio::test]
async fn another_unions_count_is_no_answer() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    let _ = ask(&world, &id).await;
    let version = freeze(&world).await;
    let theirs = world.counted_by(51, &id, version, 0);
    world.tell(&[theirs]).await.unwrap();
    let state = async || world.pass(&caller(1), &id).await["refund"]["state"].clone();
    assert_eq!(state().await, "COUNTING");
    let ours = world.counted_by(50, &id, version, 0);
    world.tell(&[ours]).await.unwrap();
    assert_eq!(state().await, "RETURNED");
}

/// Billing does not answer: it is told again until it does, of the same return.
#[tokio::test]
async fn billing_is_told_until_it_answers() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    let _ = ask(&world, &id).await;
    let version = freeze(&world).await;
    world
        .tell(&[world.counted(&id, version, 0, 0)])
        .await
        .unwrap();
    let first: LineReturned = world.last().await;
    world.ctx().clock.advance(TimeDelta::hours(25));
    world.due().await;
    let again: LineReturned = world.last().await;
    assert_eq!(first, again, "the same return, so the same money");
    let pass = world.pass(&caller(1), &id).await;
    world
        .tell(&[world.refunded(&pass, &again.return_id, 20_000, 3)])
        .await
        .unwrap();
    world.ctx().clock.advance(TimeDelta::hours(25));
    let _ = world.emitted().await;
    world.due().await;
    assert!(world.emitted().await.is_empty());
    world.verify().await;
}

/// A key asks once: the second answer is the first one's, also when things have moved on.
#[tokio::test]
async fn a_key_asks_once() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    let input = json!({ "passId": id, "idempotencyKey": key() });
    let first = world
        .mutate(&caller(1), "requestPassRefund", input.clone())
        .await;
    let version = freeze(&world).await;
    world
        .tell(&[world.counted(&id, version, 0, 0)])
        .await
        .unwrap();
    let again = world.mutate(&caller(1), "requestPassRefund", input).await;
    assert_eq!(first["pass"]["id"], again["pass"]["id"]);
    assert_eq!(again["userErrors"], json!([]));
    assert_eq!(code(&ask(&world, &id).await), "REFUND_IN_PROGRESS");
    assert_eq!(world.count("SELECT count(*) AS count FROM refund").await, 1);
}

/// What would break the promises of sale, count and code is seen.
#[tokio::test]
async fn broken_promises_are_seen() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    let _ = ask(&world, &id).await;
    let version = freeze(&world).await;
    world
        .tell(&[world.counted(&id, version, 0, 0)])
        .await
        .unwrap();
    for (sql, promise) in [
        (
            "UPDATE refund SET freeze_version = NULL",
            "passes.counted_before_refund",
        ),
        (
            "UPDATE pass SET generation = 2",
            "passes.generations_counted",
        ),
        (
            "UPDATE replica_membership SET state = 'applied'",
            "passes.sold_to_members",
        ),
    ] {
        assert_eq!(broken(&world, promise).await, 0, "{promise}");
        owner(&world, sql).await;
        assert_eq!(broken(&world, promise).await, 1, "{promise}");
    }
}
