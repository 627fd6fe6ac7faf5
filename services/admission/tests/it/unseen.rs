//! A pass that is shown before its event arrives, and one whose event never does.

use admission::commands::redeem::redeem;
use chrono::TimeDelta;
use credential::rules::{Decision, Reason};
use prost::Message;
use proto::admission::{EntitlementBlocked, RedemptionChanged};
use proto::v1::{Entitlement, entitlement::State};

use crate::world::{World, admits, daily, reason};

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_used_before_its_event_is_admitted_and_stays_good() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    assert!(admits(&world.enter(&door, &world.token(1)).await));
    // The rules hold from the first moment.
    assert_eq!(
        reason(&world.enter(&door, &world.token(1)).await),
        Some(Reason::UsedToday)
    );
    world.check().await;
    world.grant(1).await;
    world.advance(TimeDelta::minutes(16)).await;
    world.run_due().await;
    assert!(world.events("EntitlementBlocked").await.is_empty());
    world.advance(TimeDelta::days(1)).await;
    assert!(admits(&world.enter(&door, &world.token(1)).await));
    assert_eq!(
        world
            .count("SELECT count(*) FROM redemption WHERE NOT payable AND decision = 'admit'")
            .await,
        0
    );
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_event_never_arrives_is_blocked_unpaid_and_reported() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    let used = world.enter(&door, &world.token(1)).await;
    assert!(admits(&used) && used.payable);
    world.advance(TimeDelta::minutes(14)).await;
    world.run_due().await;
    assert!(
        world.events("EntitlementBlocked").await.is_empty(),
        "it has a quarter of an hour"
    );
    world.advance(TimeDelta::minutes(1)).await;
    world.run_due().await;
    let events = world.events("EntitlementBlocked").await;
    let blocked = EntitlementBlocked::decode(events[0].payload.as_slice()).unwrap();
    assert_eq!(
        (blocked.entitlement_id, blocked.version, blocked.cleared),
        (1, 1, false)
    );
    let uses = world.events("RedemptionChanged").await;
    let last = RedemptionChanged::decode(uses.last().unwrap().payload.as_slice()).unwrap();
    assert_eq!((last.version, last.payable), (2, false));
    world.advance(TimeDelta::days(1)).await;
    let denied = world.enter(&door, &world.token(1)).await;
    assert_eq!(reason(&denied), Some(Reason::UnknownEntitlement));
    world.check().await;
    // Somebody answers for it after all: cleared, paid, and open again.
    world.grant(1).await;
    let events = world.events("EntitlementBlocked").await;
    let cleared = EntitlementBlocked::decode(events[1].payload.as_slice()).unwrap();
    assert_eq!((cleared.version, cleared.cleared), (2, true));
    let uses = world.events("RedemptionChanged").await;
    let last = RedemptionChanged::decode(uses.last().unwrap().payload.as_slice()).unwrap();
    assert_eq!((last.version, last.payable), (3, true));
    assert!(admits(&world.enter(&door, &world.token(1)).await));
    world.check().await;
}

/// A repeated due job, or one that comes after the grant, does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn blocking_happens_once() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    world.enter(&door, &world.token(1)).await;
    world.advance(TimeDelta::minutes(15)).await;
    let block = || admission::commands::entitlement::block_unseen(world.ctx(), crate::world::id(1));
    assert!(block().await.unwrap());
    assert!(!block().await.unwrap());
    world.grant(1).await;
    assert!(!block().await.unwrap());
    assert_eq!(world.events("EntitlementBlocked").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_admits_only_so_many_unseen_in_an_hour() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    // Two processes with lanes of their own: the budget's row alone keeps count.
    let twin = World::service(world.db.process().await).await;
    let caller = world.asserting(&door);
    let all = (1..=210).map(|pass| {
        let scanned = world.scan(&door, &world.token(pass));
        let process = if pass % 2 == 0 {
            &world.admission
        } else {
            &twin
        };
        redeem(process, &caller, scanned)
    });
    let all: Vec<_> = futures::future::join_all(all)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(all.iter().filter(|one| admits(one)).count(), 200);
    let asked = all.iter().find(|one| !admits(one)).unwrap();
    assert_eq!(
        asked.decision,
        Decision::Ask {
            reason: Reason::BudgetExhausted
        }
    );
    // A granted pass needs no budget, and the next hour has one of its own.
    world.grant(500).await;
    assert!(admits(&world.enter(&door, &world.token(500)).await));
    world.advance(TimeDelta::hours(1)).await;
    assert!(admits(&world.enter(&door, &world.token(501)).await));
    world.check().await;
}

/// Without the product's rules nobody knows what the signature allows.
#[tokio::test(flavor = "multi_thread")]
async fn an_unseen_pass_of_an_unknown_product_is_asked_about() {
    let world = World::new().await;
    let door = world.door("博物馆").await;
    let answer = world.enter(&door, &world.token(1)).await;
    assert_eq!(
        answer.decision,
        Decision::Ask {
            reason: Reason::UnknownEntitlement
        }
    );
    assert_eq!(
        world
            .count("SELECT count(*) FROM due WHERE kind = 'unseen_check'")
            .await,
        0
    );
    world.check().await;
}

/// Nothing that another union says or signs takes an id from the union that grants it.
#[tokio::test(flavor = "multi_thread")]
async fn another_union_takes_no_id() {
    let world = World::new().await;
    world.know_the_neighbour().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    let theirs = Entitlement {
        union: 51,
        ..world.word(1, 1, State::Active)
    };
    let said = world.hear(&[World::said(1, theirs.clone())]).await;
    assert!(matches!(said, Err(kit::Error::Permanent(_))), "{said:?}");
    let asked = world.enter(&door, &world.neighbours(1)).await;
    assert_eq!(
        asked.decision,
        Decision::Ask {
            reason: Reason::UnknownEntitlement
        }
    );
    world.grant(1).await;
    assert!(admits(&world.enter(&door, &world.token(1)).await));
    let denied = world.enter(&door, &world.neighbours(1)).await;
    assert_eq!(reason(&denied), Some(Reason::UnknownKey));
    let said = world.hear(&[World::said(9, theirs)]).await;
    assert!(matches!(said, Err(kit::Error::Permanent(_))), "{said:?}");
    world.check().await;
}
