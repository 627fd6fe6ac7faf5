//! Who is inside, where exits are scanned.

use admission::commands::by_hand::void_redemption;
use admission::commands::redeem::{Scanned, redeem};
use admission::commands::shift::open_shift;
use admission::commands::venue::{suspend_venue, update_venue};
use admission::domain::opening::Opening;
use admission::domain::venue::Details;
use chrono::TimeDelta;
use credential::rules::{Decision, Direction, Hours, Reason, Rules};
use credential::token::{Claims, GroupSize, Holder, Kind};
use proto::v1::entitlement::State;

use crate::world::{Device, World, admits, details, reason};

async fn tracked(world: &World, capacity: Option<u32>) -> Device {
    world.product(&Rules::unlimited()).await;
    let details = Details {
        tracks_exits: true,
        capacity,
        ..details("博物馆")
    };
    let venue = world.venue(details).await;
    world.device(venue.id).await
}

async fn inside(world: &World, door: &Device) -> u32 {
    let found = admission::queries::inside_of(world.ctx(), &[door.venue]).await;
    found.unwrap().get(&door.venue).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_inside_cannot_enter_again_and_one_outside_cannot_leave() {
    let world = World::new().await;
    let door = tracked(&world, None).await;
    world.grant(1).await;
    let text = world.token(1);
    assert_eq!(
        reason(&world.leave(&door, &text).await),
        Some(Reason::NotInside)
    );
    assert!(admits(&world.enter(&door, &text).await));
    assert_eq!(inside(&world, &door).await, 1);
    assert_eq!(
        reason(&world.enter(&door, &text).await),
        Some(Reason::AlreadyInside)
    );
    world.check().await;
    assert!(admits(&world.leave(&door, &text).await));
    assert_eq!(inside(&world, &door).await, 0);
    assert!(admits(&world.enter(&door, &text).await));
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_house_takes_nobody_until_somebody_leaves() {
    let world = World::new().await;
    let door = tracked(&world, Some(2)).await;
    for pass in 1..=3 {
        world.grant(pass).await;
    }
    let all = (1..=3).map(|pass| {
        let scanned = world.scan(&door, &world.token(pass));
        world.redeem(&door, scanned)
    });
    let all: Vec<_> = futures::future::join_all(all)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(all.iter().filter(|one| admits(one)).count(), 2);
    let turned_away = all.iter().find(|one| !admits(one)).unwrap();
    assert_eq!(reason(turned_away), Some(Reason::VenueFull));
    let somebody = all
        .iter()
        .find(|one| admits(one))
        .unwrap()
        .entitlement
        .unwrap()
        .0;
    assert!(admits(&world.leave(&door, &world.token(somebody)).await));
    let next = turned_away.entitlement.unwrap().0;
    assert!(admits(&world.enter(&door, &world.token(next)).await));
    world.check().await;
}

/// Two processes scan at the same moment, round by round: never are more inside than there is room
/// for, and nobody is turned away while there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_house_is_full_for_every_process() {
    let world = World::new().await;
    let door = tracked(&world, Some(2)).await;
    let twin = World::service(world.db.process().await).await;
    let caller = world.asserting(&door);
    for pass in 1..=6 {
        world.grant(pass).await;
    }
    for round in 0..8 {
        let all = (1..=6).map(|pass| {
            let scanned = world.scan(&door, &world.token(pass));
            let process = if pass % 2 == 0 {
                &world.admission
            } else {
                &twin
            };
            redeem(process, &caller, scanned)
        });
        let all = futures::future::join_all(all).await;
        let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
        let (entered, turned_away): (Vec<_>, Vec<_>) = all.iter().partition(|one| admits(one));
        assert_eq!(entered.len(), 2, "round {round}");
        for one in turned_away {
            assert_eq!(reason(one), Some(Reason::VenueFull));
        }
        assert_eq!(inside(&world, &door).await, 2);
        for one in entered {
            let pass = one.entitlement.unwrap().0;
            assert!(admits(&world.leave(&door, &world.token(pass)).await));
        }
    }
    world.check().await;
}

/// Whoever was not seen to leave does not keep out the next day, and can still leave.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_day_begins_empty() {
    let world = World::new().await;
    let door = tracked(&world, None).await;
    for pass in [1, 2] {
        world.grant(pass).await;
        assert!(admits(&world.enter(&door, &world.token(pass)).await));
    }
    world.advance(TimeDelta::days(1)).await;
    assert_eq!(inside(&world, &door).await, 0);
    assert!(
        admits(&world.leave(&door, &world.token(2)).await),
        "nobody is kept inside"
    );
    assert_eq!(inside(&world, &door).await, 0);
    world.check().await;
    assert!(admits(&world.enter(&door, &world.token(1)).await));
    assert_eq!(inside(&world, &door).await, 1);
    world.check().await;
}

/// A void takes back who is still inside, and nobody who has left.
#[tokio::test(flavor = "multi_thread")]
async fn a_void_corrects_the_number_inside_and_never_below_zero() {
    let world = World::new().await;
    let door = tracked(&world, None).await;
    for pass in [1, 2] {
        world.grant(pass).await;
    }
    let stays = world.enter(&door, &world.token(1)).await;
    let leaves = world.enter(&door, &world.token(2)).await;
    let exit = world.leave(&door, &world.token(2)).await;
    open_shift(world.ctx(), &world.manager, door.venue, None)
        .await
        .unwrap();
    for (one, left) in [(&leaves, 1), (&stays, 0), (&exit, 1)] {
        let key = world.uuid();
        void_redemption(world.ctx(), &world.manager, key, one.id, "mistake")
            .await
            .unwrap();
        assert_eq!(inside(&world, &door).await, left);
        world.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_or_closed_venue_denies() {
    let world = World::new().await;
    let door = tracked(&world, None).await;
    world.grant(1).await;
    suspend_venue(world.ctx(), &world.operator, door.venue, true)
        .await
        .unwrap();
    let text = world.token(1);
    assert_eq!(
        reason(&world.enter(&door, &text).await),
        Some(Reason::VenueSuspended)
    );
    suspend_venue(world.ctx(), &world.operator, door.venue, false)
        .await
        .unwrap();
    // The clock stands at ten; 2026-04-01 is a Wednesday.
    let hours = |from, until| Some(Hours::new(from, until).unwrap());
    let mut opening = Opening {
        week: [hours(11 * 60, 17 * 60); 7],
        exceptions: [].into(),
    };
    let open = async |opening: Opening| {
        update_venue(world.ctx(), &world.operator, door.venue, |it| {
            Ok(Details {
                opening: Some(opening.clone()),
                ..it
            })
        })
        .await
        .unwrap();
    };
    open(opening.clone()).await;
    let answer = world.enter(&door, &text).await;
    let Decision::Deny {
        reason: why,
        next_try_at,
        ..
    } = answer.decision
    else {
        panic!("{answer:?}")
    };
    assert_eq!(
        (why, next_try_at),
        (Reason::VenueClosed, Some(world.now() + TimeDelta::hours(1)))
    );
    // Today has hours of its own.
    let today = kit::types::shanghai_date(world.now());
    opening.exceptions.insert(today, hours(9 * 60, 17 * 60));
    open(opening.clone()).await;
    assert!(admits(&world.enter(&door, &text).await));
    opening.exceptions.insert(today, None);
    open(opening).await;
    world.grant(2).await;
    let late = world.enter(&door, &world.token(2)).await;
    assert_eq!(reason(&late), Some(Reason::VenueClosed));
    assert!(
        admits(&world.leave(&door, &text).await),
        "nobody is kept inside"
    );
    world.check().await;
}

/// A group enters in parts, and never more of it than there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_counted_by_heads() {
    let world = World::new().await;
    let door = tracked(&world, None).await;
    let word = proto::v1::Entitlement {
        persons: 5,
        ..world.word(1, 1, State::Active)
    };
    world.say(word).await;
    let holder = Holder::Group {
        persons: GroupSize::new(5).unwrap(),
    };
    let text = world.sign(Claims {
        kind: Kind::Group,
        holder,
        ..world.claims(1)
    });
    let go = async |direction, persons| {
        let persons = std::num::NonZeroU16::new(persons).unwrap();
        let scanned = Scanned {
            direction,
            persons,
            ..world.scan(&door, &text)
        };
        let one = world.redeem(&door, scanned).await.unwrap();
        assert!(one.payable == (admits(&one) && direction == Direction::Entry));
        reason(&one)
    };
    assert_eq!(go(Direction::Entry, 6).await, Some(Reason::TooManyPersons));
    assert_eq!(go(Direction::Entry, 3).await, None);
    assert_eq!(inside(&world, &door).await, 3);
    assert_eq!(go(Direction::Entry, 2).await, None);
    assert_eq!(go(Direction::Entry, 1).await, Some(Reason::AlreadyInside));
    assert_eq!(go(Direction::Exit, 9).await, None);
    assert_eq!(
        inside(&world, &door).await,
        0,
        "more cannot leave than are inside"
    );
    assert_eq!(go(Direction::Exit, 1).await, Some(Reason::NotInside));
    world.check().await;
}

/// A transaction that began before midnight and got its locks after it leaves the new day alone.
#[tokio::test(flavor = "multi_thread")]
async fn yesterdays_late_scan_leaves_todays_count_alone() {
    let world = World::new().await;
    let door = tracked(&world, None).await;
    for pass in [1, 2] {
        world.grant(pass).await;
    }
    world.advance(TimeDelta::days(1)).await;
    assert!(admits(&world.enter(&door, &world.token(1)).await));
    world.ctx().clock.advance(TimeDelta::hours(-11));
    assert!(admits(&world.enter(&door, &world.token(2)).await));
    world.ctx().clock.advance(TimeDelta::hours(11));
    assert_eq!(inside(&world, &door).await, 1);
    world.check().await;
}
