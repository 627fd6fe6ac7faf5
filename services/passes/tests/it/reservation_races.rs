//! Visits that are reserved at the same moment, with two processes on one database; keys, hands,
//! and the race for the last place with its guards off.

use chrono::TimeDelta;
use futures::future::join_all;
use passes::Passes;
use passes::commands::VisitRequest;
use passes::domain::{CANCELLATIONS_PER_DAY_MAX, Pass, Slot};
use passes::store;
use serde_json::json;
use tokio::sync::Barrier;

use crate::races::{Count, refusal, twin};
use crate::reservations::{left, open, pass, reserve, slot, visit};
use crate::unguarded::{broken, owner};
use crate::world::{World, caller, code, entitlement, key};

/// One key at once in two processes is one reservation, and no key is of two; nobody gives back
/// what is another's, and nobody for ever.
#[tokio::test]
async fn keys_and_hands() {
    let world = World::new().await;
    let id = pass(&world, 1, json!({})).await;
    open(&world, 1, (0, 9, 5)).await;
    let other = twin(&world).await;
    let (at, same) = (slot(&world, 1, 1), key());
    let request = VisitRequest {
        pass: entitlement(&id),
        key: same,
    };
    let who = caller(1);
    let wishes = (0..12).map(|n| {
        let process = if n % 2 == 0 { &world.passes } else { &other };
        process.reserve(&who, at, request)
    });
    assert!(join_all(wishes).await.iter().all(Result::is_ok));
    assert_eq!(left(&world, 1, 1).await, 4);
    let reused = world
        .passes
        .reserve(&who, slot(&world, 1, 2), request)
        .await;
    assert_eq!(refusal(&reused), "IDEMPOTENCY_KEY_REUSED");
    let input = visit(&world, &id, (1, 1));
    assert_eq!(
        code(&world.mutate(&caller(2), "cancelVisit", input).await),
        "NOT_FOUND"
    );
    for n in 0..CANCELLATIONS_PER_DAY_MAX {
        let done = world
            .mutate(&who, "cancelVisit", visit(&world, &id, (1, 1)))
            .await;
        assert_eq!(done["userErrors"], json!([]), "{n}: {done:#}");
        assert_eq!(
            reserve(&world, 1, &id, (1, 1)).await["userErrors"],
            json!([])
        );
    }
    let input = visit(&world, &id, (1, 1));
    let again = world.mutate(&who, "cancelVisit", input.clone()).await;
    assert_eq!(code(&again), "CANCELLED_TOO_OFTEN");
    // The same request is asked again the next morning; the visit was meant for a later day.
    let later = visit(&world, &id, (1, 3));
    reserve(&world, 1, &id, (1, 3)).await;
    world
        .ctx()
        .clock
        .advance(TimeDelta::days(1) + TimeDelta::seconds(1));
    world.heartbeat().await;
    let done = world.mutate(&who, "cancelVisit", later).await;
    assert_eq!(done["userErrors"], json!([]), "{done:#}");
    world.verify().await;
}

async fn wish(passes: &Passes, who: u128, pass: &str, slot: Slot) -> kit::Result<Pass> {
    let request = VisitRequest {
        pass: entitlement(pass),
        key: key(),
    };
    passes.reserve(&caller(who), slot, request).await
}

/// Forty members in two processes want the last three places.
#[tokio::test]
async fn the_last_places_are_taken_once() {
    let world = World::new().await;
    let mut passes = Vec::new();
    let product = json!({ "rules": { "reservationRequired": true } });
    let product = world.product(product).await;
    world.tell(&[world.venue(1, 1, |_| {})]).await.unwrap();
    for who in 1..=40 {
        passes.push((who, world.bought(&caller(who), &product).await));
    }
    open(&world, 1, (1, 1, 3)).await;
    let other = twin(&world).await;
    let at = slot(&world, 1, 1);
    let wishes = passes.iter().map(|(who, pass)| {
        let process = if who % 2 == 0 { &world.passes } else { &other };
        wish(process, *who, pass, at)
    });
    let results = join_all(wishes).await;
    assert_eq!(results.iter().filter(|one| one.is_ok()).count(), 3);
    let refused = |one: &kit::Result<Pass>| ["", "NO_PLACES_LEFT"].contains(&refusal(one));
    assert!(results.iter().all(refused));
    assert_eq!(left(&world, 1, 1).await, 0);
    world.verify().await;
}

/// One pass, one visit, asked for at once under many keys: it takes one place.
#[tokio::test]
async fn a_visit_is_reserved_once() {
    let world = World::new().await;
    let id = pass(&world, 1, json!({})).await;
    open(&world, 1, (1, 1, 9)).await;
    let other = twin(&world).await;
    let at = slot(&world, 1, 1);
    let wishes = (0..12).map(|n| {
        let process = if n % 2 == 0 { &world.passes } else { &other };
        wish(process, 1, &id, at)
    });
    let results = join_all(wishes).await;
    assert_eq!(results.iter().filter(|one| one.is_ok()).count(), 1);
    let refused = |one: &kit::Result<Pass>| ["", "ALREADY_RESERVED"].contains(&refusal(one));
    assert!(results.iter().all(refused));
    assert_eq!(left(&world, 1, 1).await, 8);
    world.verify().await;
}

/// Both read that one place is left, then both take it: so it goes without the lock. With the
/// constraint the second one fails, without it the day is overfull and the promise is broken.
#[tokio::test]
async fn without_its_guards_the_last_place_is_taken_twice() {
    let world = World::new().await;
    let product = json!({ "rules": { "reservationRequired": true } });
    let product = world.product(product).await;
    world.tell(&[world.venue(1, 1, |_| {})]).await.unwrap();
    let mut passes = Vec::new();
    for who in 1..=4 {
        passes.push(entitlement(&world.bought(&caller(who), &product).await));
    }
    open(&world, 1, (1, 2, 1)).await;
    let take = async |after: u64, takers: [kit::types::EntitlementId; 2]| {
        let at = slot(&world, 1, after);
        let both_read = Barrier::new(2);
        let processes = [world.db.process().await, world.db.process().await];
        let one = async |ctx: &kit::Ctx, pass| {
            ctx.db
                .tx("unlocked_visit", async |tx| {
                    let taken = "SELECT taken::bigint AS count FROM visit_day
                                 WHERE venue = $1 AND date = $2";
                    let read = tx
                        .one::<Count>(taken, [at.venue.into(), at.date.into()])
                        .await?;
                    both_read.wait().await;
                    assert_eq!(read.unwrap().count, 0, "both see a free place");
                    store::reserve(tx, at, &[pass]).await
                })
                .await
        };
        let (first, second) =
            tokio::join!(one(&processes[0], takers[0]), one(&processes[1], takers[1]));
        usize::from(first.is_ok()) + usize::from(second.is_ok())
    };
    assert_eq!(
        take(1, [passes[0], passes[1]]).await,
        1,
        "the constraint carries it"
    );
    world.verify().await;
    owner(
        &world,
        "ALTER TABLE visit_day DROP CONSTRAINT visit_day_within_places",
    )
    .await;
    assert_eq!(
        take(2, [passes[2], passes[3]]).await,
        2,
        "the race is there"
    );
    assert_eq!(broken(&world, "passes.places_hold").await, 1);
}
