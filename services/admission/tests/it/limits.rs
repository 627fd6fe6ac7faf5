//! Limits, repeated requests, venues and dates that a product does not open.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use credential::dates::DateRange;
use credential::rules::{
    Decision, EVALUATOR_VERSION, Reason, Rules, VenueId as RulesVenueId, Venues,
};
use kit::types::shanghai_date;

use crate::world::{World, admits, daily, reason, refused};

#[tokio::test(flavor = "multi_thread")]
async fn a_day_has_one_entry_and_the_denial_says_when_to_come_again() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    let first = world.enter(&door, &world.token(1)).await;
    let Decision::Admit { remaining, .. } = first.decision else {
        panic!("{first:?}")
    };
    assert_eq!(remaining.today, Some(0));
    let again = world.enter(&door, &world.token(1)).await;
    let Decision::Deny {
        reason,
        next_try_at,
        ..
    } = again.decision
    else {
        panic!("{again:?}")
    };
    assert_eq!(reason, Reason::UsedToday);
    let tomorrow = shanghai_date(world.now()).succ_opt().unwrap();
    assert_eq!(next_try_at, Some(kit::types::day_start(tomorrow)));
    world.advance(next_try_at.unwrap() - world.now()).await;
    assert!(
        admits(&world.enter(&door, &world.token(1)).await),
        "the next day is another one"
    );
    assert_eq!(world.events("RedemptionChanged").await.len(), 2);
    world.check().await;
}

/// The answer was lost, the gate asks again: the same answer, whatever the limit says now.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_scan_gets_the_stored_answer() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    let scanned = world.scan(&door, &world.token(1));
    let first = world.redeem(&door, scanned.clone()).await.unwrap();
    world.advance(TimeDelta::hours(5)).await;
    let second = world.redeem(&door, scanned.clone()).await.unwrap();
    assert!(admits(&first));
    assert_eq!(first, second);
    let denied = world.scan(&door, &world.token(1));
    let first = world.redeem(&door, denied.clone()).await.unwrap();
    assert_eq!(reason(&first), Some(Reason::UsedToday));
    world.advance(TimeDelta::days(1)).await;
    let second = world.redeem(&door, denied).await.unwrap();
    assert_eq!(
        first, second,
        "a denial is an answer too, its next try and figures included"
    );
    // Twenty at once of one number: one row, one answer.
    let scanned = world.scan(&door, &world.token(1));
    let all = (0..20).map(|_| world.redeem(&door, scanned.clone()));
    let all = futures::future::join_all(all).await;
    let ids: BTreeSet<_> = all.into_iter().map(|one| one.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(world.count("SELECT count(*) FROM redemption").await, 3);
    world.check().await;
}

/// ASVS V16.3.3.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_number_with_another_code_is_refused_and_raises_one_alarm() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    world.grant(2).await;
    let door = world.door("博物馆").await;
    let scanned = world.scan(&door, &world.token(1));
    assert!(admits(&world.redeem(&door, scanned.clone()).await.unwrap()));
    let other = admission::commands::redeem::Scanned {
        text: world.token(2),
        ..scanned.clone()
    };
    for _ in 0..3 {
        let answer = world.redeem(&door, other.clone()).await;
        assert_eq!(refused(answer), "SCAN_ID_REUSED");
    }
    assert_eq!(world.events("ScanAlarmRaised").await.len(), 1);
    assert!(
        admits(&world.redeem(&door, scanned).await.unwrap()),
        "the first is unharmed"
    );
    assert_eq!(world.count("SELECT count(*) FROM redemption").await, 1);
    world.check().await;
}

/// Twenty scans of one code within a second, each with a number of its own.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_scans_of_one_code_enter_once() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    let text = world.token(1);
    let all = (0..20).map(|_| world.redeem(&door, world.scan(&door, &text)));
    let all = futures::future::join_all(all).await;
    let admitted = all
        .iter()
        .filter(|one| admits(one.as_ref().unwrap()))
        .count();
    assert_eq!(admitted, 1);
    assert_eq!(world.count("SELECT count(*) FROM redemption").await, 20);
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_venue_or_a_date_that_the_product_does_not_open_is_denied() {
    let world = World::new().await;
    let (open, closed) = (world.door("博物馆").await, world.door("动物园").await);
    let ids = BTreeSet::from([RulesVenueId(*open.venue.uuid().as_bytes())]);
    let today = shanghai_date(world.now());
    let festival = DateRange::new(today.succ_opt().unwrap(), today + chrono::Days::new(3)).unwrap();
    let rules = Rules {
        venues: Venues::Listed {
            ids,
            tags: BTreeSet::from(["station".to_owned()]),
        },
        blackouts: BTreeSet::from([festival]),
        ..daily()
    };
    world.product(&rules).await;
    world.grant(1).await;
    assert_eq!(
        reason(&world.enter(&closed, &world.token(1)).await),
        Some(Reason::WrongVenue)
    );
    assert!(admits(&world.enter(&open, &world.token(1)).await));
    world.advance(TimeDelta::days(1)).await;
    let answer = world.enter(&open, &world.token(1)).await;
    let Decision::Deny {
        reason,
        next_try_at,
        ..
    } = answer.decision
    else {
        panic!("{answer:?}")
    };
    assert_eq!(
        (reason, next_try_at),
        (Reason::Blackout, Some(festival.until()))
    );
    // A tag that the operator gives a venue opens it for those products that name the tag.
    admission::commands::venue::update_venue(world.ctx(), &world.operator, closed.venue, |it| {
        let tags = BTreeSet::from(["station".to_owned()]);
        Ok(admission::domain::venue::Details { tags, ..it })
    })
    .await
    .unwrap();
    world.advance(TimeDelta::days(3)).await;
    assert!(admits(&world.enter(&closed, &world.token(1)).await));
    world.check().await;
}

/// A pass keeps the rules of the version under which it was sold.
#[tokio::test(flavor = "multi_thread")]
async fn the_rules_are_those_of_the_version_that_was_sold() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    world
        .product_of(crate::world::SCOPE, 2, &Rules::unlimited())
        .await;
    let sold_later = proto::v1::Entitlement {
        rules_version: 2,
        ..world.word(2, 1, proto::v1::entitlement::State::Active)
    };
    world.say(sold_later).await;
    let door = world.door("博物馆").await;
    for (id, twice) in [(1, false), (2, true)] {
        assert!(admits(&world.enter(&door, &world.token(id)).await));
        assert_eq!(admits(&world.enter(&door, &world.token(id)).await), twice);
    }
    // Rules that have not arrived are a question, not an answer.
    let unheard = proto::v1::Entitlement {
        rules_version: 9,
        ..world.word(3, 1, proto::v1::entitlement::State::Active)
    };
    world.say(unheard).await;
    let answer = world.enter(&door, &world.token(3)).await;
    assert_eq!(
        answer.decision,
        Decision::Ask {
            reason: Reason::Internal
        }
    );
    world.check().await;
}

/// Rules of a later evaluator are asked about, never guessed.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_evaluators_rules_ask() {
    let world = World::new().await;
    let rules = Rules {
        evaluator_least: EVALUATOR_VERSION + 1,
        ..daily()
    };
    world.product(&rules).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    let answer = world.enter(&door, &world.token(1)).await;
    assert_eq!(
        answer.decision,
        Decision::Ask {
            reason: Reason::EvaluatorTooOld
        }
    );
    world.check().await;
}
