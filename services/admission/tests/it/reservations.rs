//! Products that admit nobody without a reservation: of this venue, for now.

use chrono::TimeDelta;
use credential::rules::{Decision, Reason, Rules};
use credential::token::Minute;
use kit::types::{day_start, shanghai_date};
use proto::v1::{Entitlement, Reservation, entitlement};

use crate::world::{Device, World, admits, reason};

const DAY: u32 = 24 * 60;

/// The day of a venue that begins so many days after today.
fn reserved(world: &World, door: &Device, after: u32) -> Reservation {
    let today = day_start(shanghai_date(world.now()));
    let from = Minute::floor(today).unwrap().get() + after * DAY;
    Reservation {
        venue_id: door.venue.uuid().as_bytes().to_vec(),
        from,
        until: from + DAY,
    }
}

fn word(world: &World, version: i64, reservations: Vec<Reservation>) -> Entitlement {
    Entitlement {
        reservations,
        ..world.word(1, version, entitlement::State::Active)
    }
}

async fn reserving() -> (World, Device, Device) {
    let world = World::new().await;
    let rules = Rules {
        reservation_required: true,
        ..Rules::unlimited()
    };
    world.product(&rules).await;
    let doors = (world.door("博物馆").await, world.door("动物园").await);
    (world, doors.0, doors.1)
}

/// Nothing reserved, another venue, another day, then this one; and no longer once it is
/// cancelled. What is said late changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_reserved_here_and_now_admits() {
    let (world, museum, zoo) = reserving().await;
    let scan = async || world.enter(&museum, &world.token(1)).await;
    assert_eq!(
        reason(&scan().await),
        Some(Reason::NoReservation),
        "no grant has come"
    );
    world.say(word(&world, 1, Vec::new())).await;
    assert_eq!(reason(&scan().await), Some(Reason::NoReservation));
    let elsewhere = vec![reserved(&world, &zoo, 0)];
    world.say(word(&world, 2, elsewhere)).await;
    assert_eq!(reason(&scan().await), Some(Reason::NoReservation));
    let tomorrow = vec![reserved(&world, &zoo, 0), reserved(&world, &museum, 1)];
    world.say(word(&world, 3, tomorrow)).await;
    let early = scan().await;
    let Decision::Deny {
        reason: Reason::WrongSlot,
        next_try_at,
        ..
    } = early.decision
    else {
        panic!("{early:?}")
    };
    let begins = day_start(shanghai_date(world.now()).succ_opt().unwrap());
    assert_eq!(next_try_at, Some(begins));
    world
        .say(word(&world, 2, vec![reserved(&world, &museum, 0)]))
        .await;
    assert_eq!(
        reason(&scan().await),
        Some(Reason::WrongSlot),
        "an older word counts no more"
    );
    world.advance(begins - world.now()).await;
    assert!(admits(&scan().await));
    assert!(admits(&scan().await), "the rules limit nothing else");
    world.say(word(&world, 4, Vec::new())).await;
    assert_eq!(reason(&scan().await), Some(Reason::NoReservation));
    world.advance(TimeDelta::days(1)).await;
    assert_eq!(reason(&scan().await), Some(Reason::NoReservation));
    world.check().await;
}

/// A word about what cannot be reserved is not applied in part.
#[tokio::test(flavor = "multi_thread")]
async fn a_senseless_reservation_is_not_heard() {
    let (world, museum, _) = reserving().await;
    let good = reserved(&world, &museum, 0);
    let backwards = Reservation {
        until: good.from,
        ..good.clone()
    };
    let nowhere = Reservation {
        venue_id: vec![1; 15],
        ..good.clone()
    };
    for bad in [vec![backwards], vec![nowhere], vec![good.clone(); 65]] {
        let record = World::said(1, word(&world, 1, bad));
        let heard = world.hear(&[record]).await;
        assert!(matches!(heard, Err(kit::Error::Permanent(_))), "{heard:?}");
    }
    world.say(word(&world, 1, vec![good; 64])).await;
    assert!(admits(&world.enter(&museum, &world.token(1)).await));
    world.check().await;
}
