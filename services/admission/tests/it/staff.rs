//! What staff do by hand: shifts, look-ups, overrides, voids, figures.

use admission::commands::by_hand::{Overridden, override_admission, void_redemption};
use admission::commands::look_up::{LOOK_UPS_MAX, Number, look_up};
use admission::commands::shift::{close_shift, open_shift};
use chrono::TimeDelta;
use credential::rules::{Reason, Rules};
use kit::Error;
use kit::types::shanghai_date;
use prost::Message;
use proto::admission::RedemptionChanged;
use proto::v1::{Entitlement, entitlement::State};

use crate::world::{Device, World, admits, daily, details, id, reason, refused};

async fn used() -> (World, Device) {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    assert!(admits(&world.enter(&door, &world.token(1)).await));
    (world, door)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_on_shift_lets_in_against_the_rules_once() {
    let (world, door) = used().await;
    let denied = world.enter(&door, &world.token(1)).await;
    assert_eq!(reason(&denied), Some(Reason::UsedToday));
    let what = Overridden::Denial(denied.id);
    let ctx = world.ctx();
    let key = world.uuid();
    let none = override_admission(ctx, &world.manager, key, what, "lost child").await;
    assert_eq!(refused(none), "NO_OPEN_SHIFT");
    open_shift(ctx, &world.manager, door.venue, Some(door.gate))
        .await
        .unwrap();
    // Not recorded: with a shift, the same request is looked at again.
    let let_in = override_admission(ctx, &world.manager, key, what, "lost child")
        .await
        .unwrap();
    assert!(admits(&let_in) && let_in.is_overridden());
    let again = override_admission(ctx, &world.manager, key, what, "lost child")
        .await
        .unwrap();
    assert_eq!(let_in, again, "the same request is the same admission");
    let other = override_admission(ctx, &world.manager, world.uuid(), what, "again").await;
    assert_eq!(refused(other), "ALREADY_OVERRIDDEN");
    let reused = override_admission(ctx, &world.manager, key, what, "another reason").await;
    assert_eq!(refused(reused), "IDEMPOTENCY_KEY_REUSED");
    let admitted = Overridden::Denial(let_in.id);
    let nothing = override_admission(ctx, &world.manager, world.uuid(), admitted, "r").await;
    assert_eq!(refused(nothing), "NOTHING_TO_OVERRIDE");
    let junk = world.enter(&door, "junk").await;
    let what = Overridden::Denial(junk.id);
    let nothing = override_admission(ctx, &world.manager, world.uuid(), what, "r").await;
    assert_eq!(refused(nothing), "NOTHING_TO_OVERRIDE");
    let events = world.events("RedemptionChanged").await;
    let last = RedemptionChanged::decode(events.last().unwrap().payload.as_slice()).unwrap();
    assert!(last.overridden && last.payable && last.scan_id.is_empty());
    let acts = world
        .count(
            "SELECT count(*) FROM audit WHERE act = 'override_admission'
                AND detail->>'reason' = 'lost child' AND member IS NOT NULL",
        )
        .await;
    assert_eq!(acts, 1);
    world.check().await;
}

/// The granter's word is no rule that a supervisor could set aside.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_frozen_revoked_or_unconfirmed_stays_out() {
    let (world, door) = used().await;
    open_shift(world.ctx(), &world.manager, door.venue, Some(door.gate))
        .await
        .unwrap();
    world
        .say(Entitlement {
            freeze_version: 2,
            ..world.word(1, 2, State::Frozen)
        })
        .await;
    world.say(world.word(2, 1, State::Revoked)).await;
    for pass in [1, 2] {
        let denied = world.enter(&door, &world.token(pass)).await;
        for what in [
            Overridden::Denial(denied.id),
            Overridden::LookedUp {
                venue: door.venue,
                pass: id(pass),
            },
        ] {
            let key = world.uuid();
            let refusal = override_admission(world.ctx(), &world.manager, key, what, "r").await;
            assert_eq!(refused(refusal), "OVERRIDE_NOT_ALLOWED");
        }
    }
    let unknown = Overridden::LookedUp {
        venue: door.venue,
        pass: id(404),
    };
    let refusal = override_admission(world.ctx(), &world.manager, world.uuid(), unknown, "r").await;
    assert_eq!(refused(refusal), "NOTHING_TO_OVERRIDE");
    world.check().await;
}

/// Supervisors at the same moment override one denial once.
#[tokio::test(flavor = "multi_thread")]
async fn one_denial_is_overridden_once_by_many() {
    let (world, door) = used().await;
    open_shift(world.ctx(), &world.manager, door.venue, Some(door.gate))
        .await
        .unwrap();
    let denied = world.enter(&door, &world.token(1)).await;
    let what = Overridden::Denial(denied.id);
    let twin = world.db.process().await;
    let all = (0..8).map(|at| {
        let process = if at % 2 == 0 { world.ctx() } else { &twin };
        override_admission(process, &world.manager, world.uuid(), what, "r")
    });
    let all = futures::future::join_all(all).await;
    let (let_in, refusals): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!(let_in.len(), 1);
    for refusal in refusals {
        assert_eq!(refused(refusal), "ALREADY_OVERRIDDEN");
    }
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_and_strangers_neither_override_nor_void() {
    let (world, door) = used().await;
    open_shift(world.ctx(), &world.staff, door.venue, Some(door.gate))
        .await
        .unwrap();
    let denied = world.enter(&door, &world.token(1)).await;
    let ctx = world.ctx();
    for caller in [&world.staff, &world.nobody, &world.rival(), &world.operator] {
        let what = Overridden::Denial(denied.id);
        let key = world.uuid();
        let refusal = override_admission(ctx, caller, key, what, "r").await;
        assert!(matches!(refusal, Err(Error::NotFound)), "{refusal:?}");
        let refusal = void_redemption(ctx, caller, key, denied.id, "r").await;
        assert!(matches!(refusal, Err(Error::NotFound)), "{refusal:?}");
    }
    let absent = void_redemption(ctx, &world.manager, world.uuid(), world.uuid(), "r").await;
    assert!(
        matches!(absent, Err(Error::NotFound)),
        "absent and another's look alike"
    );
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_gives_the_entry_back_once() {
    let (world, door) = used().await;
    let ctx = world.ctx();
    let first = world
        .count("SELECT count(*) FROM redemption WHERE decision = 'admit'")
        .await;
    assert_eq!(first, 1);
    let denied = world.enter(&door, &world.token(1)).await;
    let refusal = void_redemption(ctx, &world.manager, world.uuid(), denied.id, "r").await;
    assert_eq!(refused(refusal), "NO_OPEN_SHIFT", "as an override does");
    open_shift(ctx, &world.manager, door.venue, None)
        .await
        .unwrap();
    let refusal = void_redemption(ctx, &world.manager, world.uuid(), denied.id, "r").await;
    assert_eq!(refused(refusal), "NOT_ADMITTED");
    let page = kit::graphql::Page::new(Some(1), None, None, None).unwrap();
    let entry = admission::queries::redemptions(ctx, door.venue, &page)
        .await
        .unwrap()
        .remove(0);
    let key = world.uuid();
    for bad in ["", " ", "two\nlines", &"x".repeat(201)] {
        let refusal = void_redemption(ctx, &world.manager, key, entry.id, bad).await;
        assert!(
            matches!(
                refusal,
                Err(Error::BadInput {
                    field: "reason",
                    ..
                })
            ),
            "{bad}"
        );
    }
    let voided = void_redemption(ctx, &world.manager, key, entry.id, "wrong person")
        .await
        .unwrap();
    assert_eq!(voided.version, 2);
    let again = void_redemption(ctx, &world.manager, key, entry.id, "wrong person")
        .await
        .unwrap();
    assert_eq!(voided, again);
    let twice = void_redemption(ctx, &world.manager, world.uuid(), entry.id, "r").await;
    assert_eq!(refused(twice), "ALREADY_VOIDED");
    let events = world.events("RedemptionChanged").await;
    let last = RedemptionChanged::decode(events.last().unwrap().payload.as_slice()).unwrap();
    assert!(last.voided && last.version == 2);
    assert!(
        admits(&world.enter(&door, &world.token(1)).await),
        "the day has its entry back"
    );
    world.check().await;
}

/// Voids of one admission at the same moment: one takes it back, the others find it so.
#[tokio::test(flavor = "multi_thread")]
async fn many_voids_take_back_once() {
    let (world, door) = used().await;
    open_shift(world.ctx(), &world.manager, door.venue, None)
        .await
        .unwrap();
    let page = kit::graphql::Page::new(Some(1), None, None, None).unwrap();
    let found = admission::queries::redemptions(world.ctx(), door.venue, &page)
        .await
        .unwrap();
    let (one, twin) = (found[0].id, world.db.process().await);
    let all = (0..8).map(|at| {
        let process = if at % 2 == 0 { world.ctx() } else { &twin };
        void_redemption(process, &world.manager, world.uuid(), one, "r")
    });
    let all = futures::future::join_all(all).await;
    let (voided, refusals): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!(voided.len(), 1);
    for refusal in refusals {
        assert_eq!(refused(refusal), "ALREADY_VOIDED");
    }
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shift_is_one_at_a_time_and_ends_by_itself() {
    let world = World::new().await;
    let (first, second) = (world.door("博物馆").await, world.door("动物园").await);
    let ctx = world.ctx();
    let wrong = open_shift(ctx, &world.staff, first.venue, Some(second.gate)).await;
    assert_eq!(refused(wrong), "GATE_OF_ANOTHER_VENUE");
    for caller in [&world.nobody, &world.rival(), &world.operator] {
        let refusal = open_shift(ctx, caller, first.venue, None).await;
        assert!(matches!(refusal, Err(Error::Forbidden(_))), "{refusal:?}");
    }
    let here = open_shift(ctx, &world.staff, first.venue, Some(first.gate))
        .await
        .unwrap();
    let same = open_shift(ctx, &world.staff, first.venue, Some(first.gate))
        .await
        .unwrap();
    assert_eq!(here, same);
    let there = open_shift(ctx, &world.staff, second.venue, None)
        .await
        .unwrap();
    assert_ne!(here.id, there.id);
    assert_eq!(
        world
            .count("SELECT count(*) FROM shift WHERE closed_at IS NULL")
            .await,
        1
    );
    assert_eq!(
        close_shift(ctx, &world.staff).await.unwrap().unwrap().id,
        there.id
    );
    assert!(close_shift(ctx, &world.staff).await.unwrap().is_none());
    open_shift(ctx, &world.staff, first.venue, None)
        .await
        .unwrap();
    world.advance(TimeDelta::hours(14)).await;
    let over = look_up(ctx, &world.staff, first.venue, &Number::Pass(id(1))).await;
    assert_eq!(
        refused(over),
        "NO_OPEN_SHIFT",
        "over before the timer has run"
    );
    world.run_due().await;
    assert_eq!(
        world
            .count("SELECT count(*) FROM shift WHERE closed_at IS NULL")
            .await,
        0
    );
}

/// The shift at a gate stands on its redemptions.
#[tokio::test(flavor = "multi_thread")]
async fn a_redemption_names_the_shift_at_its_gate() {
    let (world, door) = used().await;
    let shift = open_shift(world.ctx(), &world.staff, door.venue, Some(door.gate))
        .await
        .unwrap();
    assert_eq!(
        world.enter(&door, &world.token(1)).await.shift,
        Some(shift.id)
    );
    close_shift(world.ctx(), &world.staff).await.unwrap();
    assert_eq!(world.enter(&door, &world.token(1)).await.shift, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_look_up_by_pass_and_order_and_not_too_often() {
    let (world, door) = used().await;
    let ctx = world.ctx();
    let order = Number::parse("00000000-0000-0000-0000-00000000004d").unwrap();
    let pass = Number::parse("0000000000000001").unwrap();
    assert_eq!(
        refused(look_up(ctx, &world.staff, door.venue, &pass).await),
        "NO_OPEN_SHIFT"
    );
    open_shift(ctx, &world.staff, door.venue, None)
        .await
        .unwrap();
    for number in [&order, &pass] {
        let found = look_up(ctx, &world.staff, door.venue, number)
            .await
            .unwrap();
        assert_eq!((found.len(), found[0].uses.len()), (1, 1));
    }
    let stranger = Number::parse("00000000deadbeef").unwrap();
    assert!(
        look_up(ctx, &world.staff, door.venue, &stranger)
            .await
            .unwrap()
            .is_empty()
    );
    for bad in ["", "1", "500103199003071239", "13800138000", "张三"] {
        assert_eq!(Number::parse(bad), None, "{bad}");
    }
    for _ in 3..LOOK_UPS_MAX {
        look_up(ctx, &world.staff, door.venue, &pass).await.unwrap();
    }
    let refusal = look_up(ctx, &world.staff, door.venue, &pass).await;
    assert_eq!(refused(refusal), "TOO_MANY_LOOK_UPS");
    let acts = world
        .count("SELECT count(*) FROM audit WHERE act = 'look_up'")
        .await;
    assert_eq!(
        acts,
        i64::from(LOOK_UPS_MAX) + 1,
        "each is recorded, the refused one too"
    );
    world.advance(TimeDelta::minutes(10)).await;
    assert!(look_up(ctx, &world.staff, door.venue, &pass).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_say_what_happened_at_each_gate_in_each_hour() {
    let (world, door) = used().await;
    let ctx = world.ctx();
    world
        .product_of(crate::world::SCOPE, 2, &Rules::unlimited())
        .await;
    world.enter(&door, &world.token(1)).await;
    world.enter(&door, "junk").await;
    world.advance(TimeDelta::hours(2)).await;
    let denied = world.enter(&door, &world.token(1)).await;
    open_shift(ctx, &world.manager, door.venue, Some(door.gate))
        .await
        .unwrap();
    let what = Overridden::Denial(denied.id);
    let let_in = override_admission(ctx, &world.manager, world.uuid(), what, "r")
        .await
        .unwrap();
    void_redemption(ctx, &world.manager, world.uuid(), let_in.id, "r")
        .await
        .unwrap();
    let today = shanghai_date(world.now());
    let tomorrow = today.succ_opt().unwrap();
    let figures = admission::queries::figures(ctx, door.venue, today, tomorrow)
        .await
        .unwrap();
    let said: Vec<_> = figures
        .iter()
        .map(|f| (f.hour, f.what.as_str(), f.times))
        .collect();
    assert_eq!(
        said,
        [
            (10, "deny:bad_format", 1),
            (10, "deny:used_today", 1),
            (10, "entry", 1),
            (12, "deny:used_today", 1),
            (12, "override", 1),
            (12, "void", 1),
        ]
    );
    let long = admission::queries::figures(ctx, door.venue, today, today + TimeDelta::days(32));
    assert!(matches!(long.await, Err(Error::BadInput { .. })));
    // Another venue of the same company has figures of its own.
    let other = world.venue(details("动物园")).await;
    let none = admission::queries::figures(ctx, other.id, today, tomorrow)
        .await
        .unwrap();
    assert!(none.is_empty());
    world.check().await;
}
