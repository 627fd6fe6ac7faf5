//! How often codes may be asked for, by phone and by address; and what an hour is, in which
//! attempts are counted.

use chrono::TimeDelta;
use identity::commands::codes::request_login_code;
use identity::store::limits::Counter;
use kit::access::Caller;
use kit::graphql::Language;
use kit::testing::overtaken;
use kit::{Ctx, Error};
use serde_json::json;

use crate::people::with;
use crate::world::{World, codes, person, phone};

async fn ask(world: &World, number: &str, address: &str, per_address: i32) -> bool {
    let caller = Caller {
        client: address.to_owned(),
        ..Caller::anonymous(Language::En)
    };
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    match request_login_code(ctx, vault, &caller, &phone(number), per_address).await {
        Ok(()) => true,
        Err(Error::Refused(refusal)) => {
            assert_eq!(refusal.code, "TOO_MANY_CODES");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// One in a minute, five in an hour, ten in a day, known phone or not.
#[tokio::test]
async fn a_phone_gets_only_so_many_codes() {
    let world = World::new().await;
    let mut sent = 0;
    for second in (0..86_400).step_by(30) {
        if second > 0 {
            world.advance(30);
        }
        // Once the limit of a day is reached, hours go by faster.
        if (sent == 10 && second % 3_600 != 0) || (sent == 5 && second < 3_600 && second > 600) {
            continue;
        }
        sent += i32::from(ask(&world, "13700000000", "192.0.2.1", 1_000).await);
    }
    assert_eq!(sent, 10);
    world.advance(86_400);
    assert!(ask(&world, "13700000000", "192.0.2.1", 1_000).await);
}

/// Requests at once for one phone: one code. Each phone has its own count.
#[tokio::test]
async fn codes_asked_for_at_once_are_one() {
    let world = World::new().await;
    let asks = (0..20).map(|_| ask(&world, "13700000000", "192.0.2.1", 1_000));
    let sent = futures::future::join_all(asks).await;
    assert_eq!(sent.into_iter().filter(|sent| *sent).count(), 1);
    assert!(ask(&world, "13700000001", "192.0.2.1", 1_000).await);
}

/// What is refused counts too: an address that asks on and on for one phone has asked.
#[tokio::test]
async fn what_is_refused_counts_for_the_address() {
    let world = World::new().await;
    assert!(ask(&world, "13700000000", "192.0.2.1", 3).await);
    for _ in 0..2 {
        assert!(!ask(&world, "13700000000", "192.0.2.1", 3).await);
    }
    assert!(!ask(&world, "13700000001", "192.0.2.1", 3).await);
    assert!(ask(&world, "13700000001", "192.0.2.2", 3).await);
}

/// One address cannot go through phones without end; another address is not held up.
#[tokio::test]
async fn an_address_gets_only_so_many_codes() {
    let world = World::new().await;
    let asks = (0..12).map(|at| {
        let world = &world;
        async move { ask(world, &format!("1370000{at:04}"), "192.0.2.1", 7).await }
    });
    let sent = futures::future::join_all(asks).await;
    assert_eq!(sent.into_iter().filter(|sent| *sent).count(), 7);
    assert!(ask(&world, "13700001000", "192.0.2.2", 7).await);
    world.advance(3_600);
    assert!(ask(&world, "13700002000", "192.0.2.1", 7).await);
}

/// An hour is the one that ends now and no hour of the clock: nine wrong before it strikes and one
/// after are ten. The tenth locks for an hour, also where the nine are almost an hour old, and each
/// lock is on record.
#[tokio::test]
async fn an_hour_does_not_end_when_the_clock_strikes() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let _ = world.person(&union, 1).await;
    let input = json!({
        "organisationId": union, "person": with(person(1), "name", "别人".into()),
    });
    let wrong = async |times: usize, code: &str| {
        for _ in 0..times {
            let operator = world.as_operator();
            let answer = world.mutate(&operator, "addMembership", "", input.clone());
            assert_eq!(codes(&answer.await), [code]);
        }
    };
    world.advance(3_599);
    wrong(9, "PERSON_NOT_MATCHED").await;
    world.advance(1);
    wrong(1, "PERSON_NOT_MATCHED").await;
    wrong(1, "TOO_MANY_FAILURES").await;
    world.advance(3_599);
    wrong(1, "TOO_MANY_FAILURES").await;
    world.advance(1);
    wrong(9, "PERSON_NOT_MATCHED").await;
    world.advance(3_599);
    wrong(1, "PERSON_NOT_MATCHED").await;
    world.advance(1);
    wrong(1, "TOO_MANY_FAILURES").await;
    world.advance(3_598);
    wrong(1, "TOO_MANY_FAILURES").await;
    world.advance(2);
    wrong(1, "PERSON_NOT_MATCHED").await;
    let locked = "SELECT count(*) AS count FROM audit WHERE act = 'look_ups_locked'";
    assert_eq!(world.count(locked).await, 2);
}

/// Two who count the same wait for each other, also where time has gone on between them and each
/// has a row of its own.
#[tokio::test]
async fn two_at_once_are_counted_in_whatever_minute() {
    let world = World::new().await;
    let other = world.test.process().await;
    let counter = Counter {
        scope: "person_not_matched",
        subject: b"one who asks",
        window: TimeDelta::hours(1),
    };
    let count = async |ctx: &Ctx| {
        ctx.db
            .tx("count", async |tx| counter.add(tx, 9).await)
            .await
    };
    let later = async {
        world.advance(61);
        count(&other).await
    };
    let (one, two) = overtaken(&world.test, count(&world.identity.ctx), later).await;
    assert_eq!((one.unwrap(), two.unwrap()), (9, 18));
}

/// Who asks on and on from an address beyond what it may bars it no longer than that: what is
/// refused as too much is not counted.
#[tokio::test]
async fn asking_on_and_on_bars_nobody_for_good() {
    let world = World::new().await;
    assert!(ask(&world, "13700000000", "192.0.2.1", 1).await);
    for at in 1..=3 {
        world.advance(1_000);
        assert!(!ask(&world, &format!("1370000{at:04}"), "192.0.2.1", 1).await);
    }
    world.advance(600);
    assert!(ask(&world, "13700000009", "192.0.2.1", 1).await);
}
