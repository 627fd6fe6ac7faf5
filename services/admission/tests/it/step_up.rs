//! A token alone binds no device and takes no admission back. At a door the factor is asked for
//! once in a shift, and a refusal for want of it leaves nothing behind.

use admission::commands::by_hand::{Overridden, override_admission, void_redemption};
use admission::commands::gate::{create_gate, issue_gate_code};
use admission::commands::shift::{close_shift, open_shift};
use chrono::{DateTime, TimeDelta, Utc};
use credential::rules::Rules;
use kit::access::Caller;

use crate::bounds::looked_up;
use crate::world::{Device, World, attended, caller, refused};

const STEP_UP: &str = "STEP_UP_REQUIRED";

async fn left(world: &World) -> i64 {
    world
        .count(
            "SELECT (SELECT count(*) FROM audit) + (SELECT count(*) FROM once)
               + (SELECT count(*) FROM redemption) + (SELECT count(*) FROM outbox) AS count",
        )
        .await
}

/// A venue with a gate, and passes that the rules let in as often as one likes.
async fn world() -> (World, Device) {
    let world = World::new().await;
    world.product(&Rules::unlimited()).await;
    for pass in 1..=4 {
        world.grant(pass).await;
    }
    let door = world.door("博物馆").await;
    (world, door)
}

/// Whoever has the code of a gate is the gate.
#[tokio::test(flavor = "multi_thread")]
async fn codes_of_gates_are_given_out_with_a_second_factor_alone() {
    let (world, door) = world().await;
    for plain in [caller(20), caller(21)] {
        let before = left(&world).await;
        let (key, south) = (world.uuid(), attended("南门"));
        let made = create_gate(world.ctx(), &plain, key, door.venue, south).await;
        assert_eq!(refused(made), STEP_UP);
        let issued = issue_gate_code(world.ctx(), &plain, door.gate).await;
        assert_eq!(refused(issued), STEP_UP);
        assert_eq!(left(&world).await, before);
        let shown = plain.stepped_up(DateTime::<Utc>::MAX_UTC);
        create_gate(world.ctx(), &shown, key, door.venue, south)
            .await
            .unwrap();
        issue_gate_code(world.ctx(), &shown, door.gate)
            .await
            .unwrap();
    }
    world.check().await;
}

/// An admission that was taken back is not paid for: each asks for the factor.
#[tokio::test(flavor = "multi_thread")]
async fn an_admission_is_taken_back_with_a_second_factor_alone() {
    let (world, door) = world().await;
    open_shift(world.ctx(), &world.manager, door.venue, Some(door.gate))
        .await
        .unwrap();
    let one = world.enter(&door, &world.token(1)).await;
    let (before, key) = (left(&world).await, world.uuid());
    let kept = void_redemption(world.ctx(), &caller(21), key, one.id, "r").await;
    assert_eq!(refused(kept), STEP_UP);
    assert_eq!(left(&world).await, before);
    void_redemption(world.ctx(), &world.manager, key, one.id, "r")
        .await
        .unwrap();
    world.check().await;
}

async fn lets_in(world: &World, door: &Device, by: &Caller, pass: u64) -> &'static str {
    let (key, what): (_, Overridden) = (world.uuid(), looked_up(door, pass));
    match override_admission(world.ctx(), by, key, what, "r").await {
        Ok(_) => "",
        Err(error) => refused::<()>(Err(error)),
    }
}

/// Who has shown the factor when her shift began types no code all shift long; who has not is asked
/// once, at the first guest; the next shift asks anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_at_a_door_is_asked_once_in_a_shift() {
    let (world, door) = world().await;
    let plain = caller(21);
    let begin = async |by: &Caller| {
        open_shift(world.ctx(), by, door.venue, Some(door.gate))
            .await
            .unwrap()
    };
    let soon = world.now() + TimeDelta::minutes(10);
    let shown = plain.clone().stepped_up(soon);
    assert!(begin(&shown).await.second_factor);
    world.advance(TimeDelta::hours(8)).await;
    assert_eq!(lets_in(&world, &door, &shown, 1).await, "", "hours later");
    close_shift(world.ctx(), &plain).await.unwrap();

    assert!(!begin(&plain).await.second_factor);
    let before = left(&world).await;
    assert_eq!(lets_in(&world, &door, &shown, 2).await, STEP_UP, "long ago");
    assert_eq!(left(&world).await, before);
    let now = world.now() + TimeDelta::minutes(10);
    let again = plain.clone().stepped_up(now);
    assert_eq!(lets_in(&world, &door, &again, 2).await, "");
    world.advance(TimeDelta::minutes(11)).await;
    assert_eq!(lets_in(&world, &door, &plain, 3).await, "", "asked already");
    close_shift(world.ctx(), &plain).await.unwrap();

    // The same shift asked for again, with the factor: it is remembered.
    assert!(!begin(&plain).await.second_factor);
    let now = world.now() + TimeDelta::minutes(10);
    assert!(begin(&plain.clone().stepped_up(now)).await.second_factor);
    assert_eq!(lets_in(&world, &door, &plain, 4).await, "");
    world.check().await;
}
