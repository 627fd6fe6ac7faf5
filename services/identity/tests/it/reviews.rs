//! What reminds of a correction that nobody else has looked at.

use identity::MIGRATIONS;
use identity::domain::review::OVERDUE_DAYS;
use identity::due::Jobs;
use kit::access::Caller;
use serde_json::json;

use crate::memberships::{add, joining, officer_above, queue};
use crate::rosters::officer_of;
use crate::world::{World, codes};

const REMIND: &str = "identity.reviews_remind";
const ALARMS: &str = "SELECT count(*) AS count FROM audit a
    JOIN membership_review r ON r.id::text = a.subject WHERE a.act = 'review_overdue'";
const TIMERS: &str = "SELECT count(*) AS count FROM due WHERE kind = 'review'";
const DAY_SECONDS: i64 = 86_400;

/// A world with an open review, and who may close it.
async fn opened() -> (World, Caller) {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let above = officer_above(&world).await;
    let id = add(&world, &officer, joining(&union, 1, "2026-04-01")).await;
    let correct = json!({ "membershipId": id, "since": "2018-05-04", "reason": "ENTRY_ERROR" });
    let done = world.mutate(&officer, "correctMembership", "", correct);
    assert_eq!(codes(&done.await), [""; 0]);
    (world, above)
}

/// Alarms so far, after some time and what is due after it.
async fn alarms_after(world: &World, seconds: i64) -> i64 {
    world.advance(seconds);
    let jobs = Jobs(world.identity.clone());
    while kit::due::step(&world.identity.ctx, &jobs).await.unwrap() > 0 {}
    world.count(ALARMS).await
}

/// An open review alarms when it is overdue, and again after as long; it ends with the review.
#[tokio::test]
async fn an_open_review_alarms_until_it_is_closed() {
    let (world, above) = opened().await;
    let overdue = OVERDUE_DAYS * DAY_SECONDS;
    for (seconds, alarms) in [(overdue - 1, 0), (1, 1), (overdue - 1, 1), (1, 2)] {
        assert_eq!(alarms_after(&world, seconds).await, alarms);
    }
    assert_eq!(world.broken(REMIND).await, 0);
    let close = json!({ "reviewId": queue(&world, &above).await[0]["id"] });
    let closed = world.mutate(&above, "closeMembershipReview", "", close);
    assert_eq!(codes(&closed.await), [""; 0]);
    assert_eq!(world.count(TIMERS).await, 0);
    assert_eq!(world.broken(REMIND).await, 0);
    assert_eq!(alarms_after(&world, overdue).await, 2);
}

/// A timer that is left over, say because a program that knew none closed the review, ends by
/// itself.
#[tokio::test]
async fn a_timer_of_a_closed_review_ends() {
    let (world, _) = opened().await;
    let close = "UPDATE membership_review SET closed_at = now(), closed_by = m.member
        FROM membership m WHERE m.id = membership";
    let closed = world.test.owner().await.execute(close, []).await;
    closed.unwrap();
    assert_eq!(world.count(TIMERS).await, 1);
    assert_eq!(alarms_after(&world, OVERDUE_DAYS * DAY_SECONDS).await, 0);
    assert_eq!(world.count(TIMERS).await, 0);
}

/// A review from before there were timers is found by `bashu verify` until the migration gives it
/// one; one that has a timer keeps it.
#[tokio::test]
async fn a_review_from_before_gets_its_timer() {
    let (world, _) = opened().await;
    let owner = world.test.owner().await;
    owner
        .execute("DELETE FROM due WHERE kind = 'review'", [])
        .await
        .unwrap();
    assert_eq!(world.broken(REMIND).await, 1);
    let migration = MIGRATIONS
        .iter()
        .find(|it| it.sql.contains("INSERT INTO due"));
    for _ in 0..2 {
        owner.execute(migration.unwrap().sql, []).await.unwrap();
        assert_eq!(world.broken(REMIND).await, 0);
        assert_eq!(world.count(TIMERS).await, 1);
    }
    let overdue = OVERDUE_DAYS * DAY_SECONDS;
    for (seconds, alarms) in [(overdue - 1, 0), (1, 1)] {
        assert_eq!(alarms_after(&world, seconds).await, alarms);
    }
}
