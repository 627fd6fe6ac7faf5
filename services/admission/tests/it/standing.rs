//! What the granter says: freezes, refunds, revocations, in any order and any number of times.

use credential::rules::Reason;
use kit::consumer::Handler;
use prost::Message;
use proto::admission::FreezeApplied;
use proto::v1::{Entitlement, entitlement::State};

use crate::world::{World, admits, daily, reason};

async fn freezes(world: &World) -> Vec<FreezeApplied> {
    let events = world.events("FreezeApplied").await;
    events
        .iter()
        .map(|one| FreezeApplied::decode(one.payload.as_slice()).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_freezes_counts_and_revokes() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    world.grant(1).await;
    assert!(admits(&world.enter(&door, &world.token(1)).await));
    let frozen = Entitlement {
        freeze_version: 2,
        ..world.word(1, 2, State::Frozen)
    };
    world.say(frozen.clone()).await;
    let applied = freezes(&world).await;
    assert_eq!(applied.len(), 1);
    assert_eq!((applied[0].uses, applied[0].freeze_version), (1, 2));
    assert_eq!(applied[0].leases_open_until, 0);
    // Said again, as a resync does: answered again, the same.
    world.say(frozen).await;
    let applied = freezes(&world).await;
    assert_eq!(applied.len(), 2);
    assert_eq!(applied[0], applied[1]);
    assert_eq!(
        reason(&world.enter(&door, &world.token(1)).await),
        Some(Reason::Frozen)
    );
    world.say(world.word(1, 3, State::Revoked)).await;
    assert_eq!(
        reason(&world.enter(&door, &world.token(1)).await),
        Some(Reason::Revoked)
    );
    // Older words come late and change nothing.
    world.say(world.word(1, 1, State::Active)).await;
    assert_eq!(
        reason(&world.enter(&door, &world.token(1)).await),
        Some(Reason::Revoked)
    );
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_of_something_never_seen_is_answered_too() {
    let world = World::new().await;
    world
        .say(Entitlement {
            freeze_version: 5,
            ..world.word(9, 5, State::Frozen)
        })
        .await;
    let applied = freezes(&world).await;
    assert_eq!((applied[0].entitlement_id, applied[0].uses), (9, 0));
    // A freeze for a while, by the holder, asks nobody to count.
    world.say(world.word(8, 2, State::Frozen)).await;
    assert_eq!(freezes(&world).await.len(), 1);
}

/// A voided use is no use: the count of the next freeze is without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_void_is_not_counted() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    world.grant(1).await;
    let used = world.enter(&door, &world.token(1)).await;
    admission::commands::shift::open_shift(world.ctx(), &world.manager, door.venue, None)
        .await
        .unwrap();
    let key = world.uuid();
    let voided = admission::commands::by_hand::void_redemption(
        world.ctx(),
        &world.manager,
        key,
        used.id,
        "wrong person",
    );
    voided.await.unwrap();
    world
        .say(Entitlement {
            freeze_version: 2,
            ..world.word(1, 2, State::Frozen)
        })
        .await;
    assert_eq!(freezes(&world).await[0].uses, 0);
    world.check().await;
}

/// The words of a batch are taken in their order, and one entitlement may come several times.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_words_is_taken_in_order() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    let records: Vec<_> = [
        world.word(1, 1, State::Active),
        Entitlement {
            freeze_version: 2,
            ..world.word(1, 2, State::Frozen)
        },
        world.word(1, 3, State::Active),
        world.word(2, 1, State::Active),
        Entitlement {
            freeze_version: 4,
            ..world.word(1, 4, State::Frozen)
        },
        world.word(1, 5, State::Active),
    ]
    .into_iter()
    .map(|word| World::said(1, word))
    .collect();
    world.hear(&records).await.unwrap();
    world.hear(&records).await.unwrap();
    let versions: Vec<i64> = freezes(&world)
        .await
        .iter()
        .map(|one| one.freeze_version)
        .collect();
    assert_eq!(
        versions,
        [2, 4],
        "answered once each: the second time both are over"
    );
    for pass in [1, 2] {
        assert!(admits(&world.enter(&door, &world.token(pass)).await));
    }
}

/// A contradiction is parked by the consumer; a freeze or a revocation is never held back.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_cannot_come_back_but_in_a_new_epoch() {
    let world = World::new().await;
    world.product(&daily()).await;
    let door = world.door("博物馆").await;
    world.say(world.word(1, 2, State::Revoked)).await;
    let back = world
        .hear(&[World::said(1, world.word(1, 3, State::Active))])
        .await;
    assert!(matches!(back, Err(kit::Error::Permanent(_))), "{back:?}");
    assert_eq!(
        reason(&world.enter(&door, &world.token(1)).await),
        Some(Reason::Revoked)
    );
    world
        .hear(&[World::said(2, world.word(1, 1, State::Active))])
        .await
        .unwrap();
    assert!(admits(&world.enter(&door, &world.token(1)).await));
    let grants = world.admission.grants();
    let monotone = |state| grants.monotone(&World::said(1, world.word(1, 1, state)));
    assert!(monotone(State::Frozen) && monotone(State::Revoked) && !monotone(State::Active));
    let union = World::said(
        3,
        Entitlement {
            union: 51,
            ..world.word(1, 9, State::Active)
        },
    );
    assert!(matches!(
        world.hear(&[union]).await,
        Err(kit::Error::Permanent(_))
    ));
    let nonsense = World::said(
        3,
        Entitlement {
            r#gen: 300,
            ..world.word(1, 9, State::Active)
        },
    );
    assert!(matches!(
        world.hear(&[nonsense]).await,
        Err(kit::Error::Permanent(_))
    ));
}

/// Nothing in this database tells whose an entitlement is.
#[tokio::test(flavor = "multi_thread")]
async fn the_holder_is_not_kept() {
    let world = World::new().await;
    world.grant(1).await;
    let found = world
        .count(
            "SELECT count(*) FROM entitlement e
             WHERE e::text LIKE '%eeeeeeee-eeee-eeee-eeee-eeeeeeeeeeee%'
                OR e::text LIKE '%eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee%'",
        )
        .await;
    assert_eq!(found, 0);
}
