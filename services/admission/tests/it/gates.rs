//! Which device may scan: enrolment, another venue's gate, a disabled one, another union's.

use admission::commands::gate::{create_gate, enrol_gate, issue_gate_code, switch_gate};
use admission::commands::redeem::{Scanned, redeem};
use admission::domain::scan::ScanId;
use admission::gate_key::{self, Assertion};
use chrono::TimeDelta;
use ed25519_dalek::SigningKey;
use kit::Error;
use kit::access::Caller;
use kit::graphql::Language;
use kit::types::Union;

use crate::world::{Device, World, admits, attended, caller, daily, refused};

async fn world_with_door() -> (World, Device) {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    (world, door)
}

fn gate_caller(text: String) -> Caller {
    Caller {
        gate_assertion: Some(text),
        ..Caller::anonymous(Language::Zh)
    }
}

fn assertion(world: &World, door: &Device) -> Assertion {
    let now = world.now().timestamp();
    Assertion {
        gate: door.gate,
        union: Union::Chongqing,
        enrolment: door.enrolment,
        id: world.uuid(),
        issued_at: now,
        expires_at: now + 60,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_enrolled_gate_of_this_union_is_heard() {
    let (world, door) = world_with_door().await;
    let good = assertion(&world, &door);
    let text = |it: &Assertion| gate_key::sign(it, &door.key);
    let sichuan = Assertion {
        union: Union::Sichuan,
        ..good
    };
    let stale = Assertion {
        issued_at: good.issued_at - 70,
        expires_at: good.issued_at - 10,
        ..good
    };
    let next = Assertion {
        enrolment: 2,
        ..good
    };
    let stranger = Assertion {
        gate: kit::types::GateId(world.uuid()),
        ..good
    };
    let forged = gate_key::sign(&good, &SigningKey::from_bytes(&[5; 32]));
    let callers = [
        Caller::anonymous(Language::Zh),
        world.operator.clone(),
        gate_caller(String::new()),
        gate_caller("a.b.c".to_owned()),
        gate_caller(text(&sichuan)),
        gate_caller(text(&stale)),
        gate_caller(text(&next)),
        gate_caller(text(&stranger)),
        gate_caller(forged),
    ];
    for (at, caller) in callers.into_iter().enumerate() {
        let scanned = world.scan(&door, &world.token(1));
        let answer = redeem(&world.admission, &caller, scanned).await;
        assert_eq!(refused(answer), "GATE_NOT_RECOGNISED", "{at}");
    }
    assert_eq!(world.count("SELECT count(*) FROM redemption").await, 0);
    let scanned = world.scan(&door, &world.token(1));
    let answer = redeem(&world.admission, &gate_caller(text(&good)), scanned).await;
    assert!(admits(&answer.unwrap()));
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_speaks_for_itself_and_its_own_venue_only() {
    let (world, door) = world_with_door().await;
    let other = world.door("动物园").await;
    let scanned = world.scan(&other, &world.token(1));
    assert_eq!(refused(world.redeem(&door, scanned).await), "GATE_MISMATCH");
    let scanned = world.scan(&door, &world.token(1));
    let id = ScanId {
        enrolment: 2,
        ..scanned.id
    };
    assert_eq!(
        refused(world.redeem(&door, Scanned { id, ..scanned }).await),
        "GATE_MISMATCH"
    );
    let elsewhere = Scanned {
        venue: Some(other.venue),
        ..world.scan(&door, &world.token(1))
    };
    assert_eq!(
        refused(world.redeem(&door, elsewhere).await),
        "GATE_OF_ANOTHER_VENUE"
    );
    let here = Scanned {
        venue: Some(door.venue),
        ..world.scan(&door, &world.token(1))
    };
    assert!(admits(&world.redeem(&door, here).await.unwrap()));
    world.check().await;
}

/// Disabling bites at once, though the assertion was verified a moment ago.
#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_gate_is_refused_at_once() {
    let (world, door) = world_with_door().await;
    let caller = world.asserting(&door);
    let scan = || {
        redeem(
            &world.admission,
            &caller,
            world.scan(&door, &world.token(1)),
        )
    };
    assert!(admits(&scan().await.unwrap()));
    switch_gate(world.ctx(), &world.manager, door.gate, true)
        .await
        .unwrap();
    assert_eq!(refused(scan().await), "GATE_DISABLED");
    switch_gate(world.ctx(), &world.operator, door.gate, false)
        .await
        .unwrap();
    assert!(scan().await.is_ok());
    assert_eq!(world.count("SELECT count(*) FROM redemption").await, 2);
    world.check().await;
}

/// The device that is bound next ends the one before at once, and counts anew.
#[tokio::test(flavor = "multi_thread")]
async fn another_enrolment_ends_the_old_key() {
    let (world, door) = world_with_door().await;
    let old = world.asserting(&door);
    let scanned = world.scan(&door, &world.token(1));
    assert!(admits(
        &redeem(&world.admission, &old, scanned.clone())
            .await
            .unwrap()
    ));
    let code = issue_gate_code(world.ctx(), &world.manager, door.gate)
        .await
        .unwrap()
        .code
        .unwrap();
    let new = world.enrol(door.venue, &code).await;
    assert_eq!((new.gate, new.enrolment), (door.gate, 2));
    let answer = redeem(&world.admission, &old, world.scan(&door, &world.token(1))).await;
    assert_eq!(refused(answer), "GATE_NOT_RECOGNISED");
    let same_number = world.scan(&new, &world.token(1));
    assert_eq!(
        same_number.id.seq, 1,
        "the same number under another enrolment is another scan"
    );
    world.redeem(&new, same_number).await.unwrap();
    assert_eq!(world.count("SELECT count(*) FROM redemption").await, 2);
    world.check().await;
}

/// ASVS V11.5.1.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
async fn a_code_is_tried_a_few_times_and_for_half_an_hour() {
    let world = World::new().await;
    let venue = world.venue(crate::world::details("博物馆")).await;
    let key = world.uuid();
    let new = create_gate(world.ctx(), &world.manager, key, venue.id, attended("南门"))
        .await
        .unwrap();
    let code = new.code.unwrap();
    let public = SigningKey::from_bytes(&[6; 32]).verifying_key().to_bytes();
    // The same request again shows the gate and no code.
    let again = create_gate(world.ctx(), &world.manager, key, venue.id, attended("南门"))
        .await
        .unwrap();
    assert_eq!((again.gate.id, again.code), (new.gate.id, None));
    let other = create_gate(world.ctx(), &world.manager, key, venue.id, attended("东门")).await;
    assert_eq!(refused(other), "IDEMPOTENCY_KEY_REUSED");
    let selector = code.split_once('-').unwrap().0;
    let wrong = format!("{selector}-000000000000");
    for bad in ["", "nonsense", "00000000-000000000000"] {
        assert_eq!(
            refused(enrol_gate(world.ctx(), bad, public).await),
            "ENROLMENT_CODE_WRONG"
        );
    }
    for _ in 0..5 {
        assert_eq!(
            refused(enrol_gate(world.ctx(), &wrong, public).await),
            "ENROLMENT_CODE_WRONG"
        );
    }
    assert_eq!(
        refused(enrol_gate(world.ctx(), &code, public).await),
        "ENROLMENT_CODE_EXPIRED"
    );
    let issued = issue_gate_code(world.ctx(), &world.manager, new.gate.id)
        .await
        .unwrap();
    let code = issued.code.unwrap();
    let weak = enrol_gate(world.ctx(), &code, [0; 32]).await;
    assert!(
        matches!(
            weak,
            Err(Error::BadInput {
                field: "publicKey",
                ..
            })
        ),
        "{weak:?}"
    );
    world.advance(TimeDelta::minutes(30)).await;
    assert_eq!(
        refused(enrol_gate(world.ctx(), &code, public).await),
        "ENROLMENT_CODE_EXPIRED"
    );
    let code = issue_gate_code(world.ctx(), &world.manager, new.gate.id)
        .await
        .unwrap()
        .code;
    let code = code.unwrap();
    let bound = enrol_gate(world.ctx(), &code, public).await.unwrap();
    // The answer was lost: the same device asks again. Another device does not get in.
    assert_eq!(enrol_gate(world.ctx(), &code, public).await.unwrap(), bound);
    let thief = SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes();
    assert_eq!(
        refused(enrol_gate(world.ctx(), &code, thief).await),
        "ENROLMENT_CODE_EXPIRED"
    );
    // No code stands in the database or in an event.
    let (_, secret) = code.split_once('-').unwrap();
    let leaked = world
        .count(&format!(
            "SELECT count(*) FROM gate g WHERE g::text LIKE '%{secret}%'"
        ))
        .await;
    assert_eq!(leaked, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn gates_are_made_and_switched_by_those_who_run_the_venue() {
    let (world, door) = world_with_door().await;
    let ctx = world.ctx();
    for caller in [&world.staff, &world.nobody, &world.rival()] {
        let key = world.uuid();
        let made = create_gate(ctx, caller, key, door.venue, attended("南门")).await;
        assert!(matches!(made, Err(Error::Forbidden(_))), "{made:?}");
        let switched = switch_gate(ctx, caller, door.gate, true).await;
        assert!(matches!(switched, Err(Error::NotFound)), "{switched:?}");
        let code = issue_gate_code(ctx, caller, door.gate).await;
        assert!(matches!(code, Err(Error::NotFound)), "{code:?}");
    }
    let anonymous = Caller::anonymous(Language::Zh);
    let made = create_gate(ctx, &anonymous, world.uuid(), door.venue, attended("南门")).await;
    assert!(matches!(made, Err(Error::Unauthenticated(_))), "{made:?}");
    // What needs an office refuses when identity has not been heard of for a minute.
    ctx.clock.advance(TimeDelta::seconds(61));
    let late = switch_gate(ctx, &caller(21), door.gate, true).await;
    assert!(matches!(late, Err(Error::Unavailable(_))), "{late:?}");
    // A gate does not: it is a key, not an office.
    assert!(admits(&world.enter(&door, &world.token(1)).await));
}
