//! What staff cannot do by hand without bound, and what they do not see of other companies.

use admission::commands::by_hand::{
    DENIAL_MINUTES_MAX, LOOKED_UP_MINUTES_MIN, OVERRIDES_PER_SHIFT_MAX, Overridden,
    override_admission, void_redemption,
};
use admission::commands::look_up::{Number, look_up};
use admission::commands::redeem::Scanned;
use admission::commands::shift::{SHIFT_HOURS_MAX, close_shift, open_shift};
use admission::commands::venue::create_venue;
use admission::domain::redemption::Redemption;
use async_graphql::{Request, Variables};
use chrono::TimeDelta;
use credential::rules::{Direction, Rules};
use kit::Ctx;
use kit::graphql::{GlobalId, Mode};
use kit::types::{EntitlementId, OrganisationId};
use proto::billing::{Order, OrderClosed, OrderPaid, order};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Device, World, admits, daily, details, id, record, refused};

/// A venue whose supervisor is on shift at its gate, and a pass.
pub(crate) async fn opened() -> (World, Device) {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    open_shift(world.ctx(), &world.manager, door.venue, Some(door.gate))
        .await
        .unwrap();
    (world, door)
}

pub(crate) async fn let_in(world: &World, what: Overridden) -> kit::Result<Redemption> {
    let_in_by(world.ctx(), world, what).await
}

/// By one of several processes.
async fn let_in_by(process: &Ctx, world: &World, what: Overridden) -> kit::Result<Redemption> {
    override_admission(process, &world.manager, world.uuid(), what, "r").await
}

pub(crate) fn looked_up(door: &Device, pass: u64) -> Overridden {
    let venue = door.venue;
    Overridden::LookedUp {
        venue,
        pass: id(pass),
    }
}

/// Who was denied half an hour ago no longer stands at the gate.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_denial_is_not_overridden() {
    let (world, door) = opened().await;
    world.enter(&door, &world.token(1)).await;
    let (first, second) = (
        world.enter(&door, &world.token(1)).await,
        world.enter(&door, &world.token(1)).await,
    );
    world
        .advance(TimeDelta::minutes(DENIAL_MINUTES_MAX - 1))
        .await;
    assert!(admits(
        &let_in(&world, Overridden::Denial(first.id)).await.unwrap()
    ));
    world.advance(TimeDelta::minutes(1)).await;
    let late = let_in(&world, Overridden::Denial(second.id)).await;
    assert_eq!(refused(late), "DENIAL_TOO_OLD");
    world.check().await;
}

/// A pass that is only looked up opens a venue by hand once in a while, and a void is no visit.
#[tokio::test(flavor = "multi_thread")]
async fn a_looked_up_pass_is_let_in_once_in_a_while() {
    let (world, door) = opened().await;
    let what = looked_up(&door, 1);
    let first = let_in(&world, what).await.unwrap();
    assert_eq!(refused(let_in(&world, what).await), "OVERRIDDEN_LATELY");
    void_redemption(world.ctx(), &world.manager, world.uuid(), first.id, "r")
        .await
        .unwrap();
    let_in(&world, what).await.unwrap();
    world
        .advance(TimeDelta::minutes(LOOKED_UP_MINUTES_MIN))
        .await;
    let_in(&world, what).await.unwrap();
    world.check().await;
}

/// Two processes at the same moment let a pass in that was looked up: one does, and the other is
/// told why not.
#[tokio::test(flavor = "multi_thread")]
async fn a_looked_up_pass_is_let_in_by_one_of_two() {
    let (world, door) = opened().await;
    let twin = world.db.process().await;
    let what = looked_up(&door, 1);
    for _ in 0..12 {
        let (one, other) = tokio::join!(
            let_in_by(world.ctx(), &world, what),
            let_in_by(&twin, &world, what),
        );
        let (let_in, refusal) = if one.is_ok() {
            (one, other)
        } else {
            (other, one)
        };
        assert!(admits(&let_in.unwrap()));
        assert_eq!(refused(refusal), "OVERRIDDEN_LATELY");
        world
            .advance(TimeDelta::minutes(LOOKED_UP_MINUTES_MIN))
            .await;
    }
    world.check().await;
}

/// A supervisor lets in so many times in a shift, and a new shift does not begin anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_shift_has_a_bounded_number_of_overrides() {
    let (world, door) = opened().await;
    let passes = 1..=u64::try_from(OVERRIDES_PER_SHIFT_MAX).unwrap();
    for pass in passes {
        world.grant(pass).await;
        let_in(&world, looked_up(&door, pass)).await.unwrap();
    }
    world.grant(1_000).await;
    let more = looked_up(&door, 1_000);
    assert_eq!(refused(let_in(&world, more).await), "TOO_MANY_OVERRIDES");
    close_shift(world.ctx(), &world.manager).await.unwrap();
    let reopen = async || {
        open_shift(world.ctx(), &world.manager, door.venue, Some(door.gate))
            .await
            .unwrap()
    };
    reopen().await;
    assert_eq!(refused(let_in(&world, more).await), "TOO_MANY_OVERRIDES");
    world.advance(TimeDelta::hours(SHIFT_HOURS_MAX)).await;
    reopen().await;
    let_in(&world, more).await.unwrap();
    world.check().await;
}

/// A person who taps twice opens one shift, and is told of it twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_shift_opened_twice_at_once_is_one() {
    let world = World::new().await;
    let door = world.door("博物馆").await;
    let twin = world.db.process().await;
    for _ in 0..10 {
        let (one, other) = tokio::join!(
            open_shift(world.ctx(), &world.staff, door.venue, Some(door.gate)),
            open_shift(&twin, &world.staff, door.venue, Some(door.gate)),
        );
        assert_eq!(one.unwrap().id, other.unwrap().id);
        close_shift(world.ctx(), &world.staff).await.unwrap();
    }
    let opened = world
        .count("SELECT count(*) FROM audit WHERE act = 'open_shift'")
        .await;
    assert_eq!(opened, 10);
}

/// A scan's number stands for one scan: its code, its direction and its party.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_number_with_another_direction_or_party_is_refused() {
    let (world, door) = opened().await;
    world
        .product_of(crate::world::SCOPE, 1, &Rules::unlimited())
        .await;
    let scanned = world.scan(&door, &world.token(1));
    let first = world.redeem(&door, scanned.clone()).await.unwrap();
    let exit = Scanned {
        direction: Direction::Exit,
        ..scanned.clone()
    };
    let party = Scanned {
        persons: std::num::NonZeroU16::new(2).unwrap(),
        ..scanned.clone()
    };
    for other in [&exit, &party, &exit] {
        let answer = world.redeem(&door, other.clone()).await;
        assert_eq!(refused(answer), "SCAN_ID_REUSED");
    }
    let alarms = world.count("SELECT count(*) FROM scan_alarm").await;
    assert_eq!(alarms, 2, "one for each other scan");
    assert_eq!(world.redeem(&door, scanned).await.unwrap(), first);
    world.check().await;
}

fn told(number: &str, order: u128, paid: bool) -> kit::event::Record {
    let said = Some(Order {
        id: Uuid::from_u128(order).as_bytes().to_vec(),
        version: 2,
        union: 50,
        number: number.to_owned(),
        member_id: vec![0xee; 16],
        organisation_id: Vec::new(),
        state: if paid {
            order::State::Paid
        } else {
            order::State::Closed
        }
        .into(),
        total_fen: 20_000,
        paid_fen: 20_000,
        refunded_fen: 0,
        refunds: Vec::new(),
        content_hash: Vec::new(),
        seller: "passes".to_owned(),
        paid_at: 0,
    });
    if paid {
        let event = OrderPaid { order: said };
        record("bashu.billing.v1.OrderPaid", 1, 2, &event)
    } else {
        let event = OrderClosed { order: said };
        record("bashu.billing.v1.OrderClosed", 1, 2, &event)
    }
}

/// People quote the number of their order: staff find its passes by it, and the record says what
/// they looked up.
#[tokio::test(flavor = "multi_thread")]
async fn staff_look_up_by_the_number_people_quote() {
    let (world, door) = opened().await;
    let quoted = "B50-20260401-000123-7";
    let orders = [
        told(quoted, 77, true),
        told("B50-20260401-000124-9", 78, false),
    ];
    world.hear(&orders).await.unwrap();
    world.hear(&orders).await.unwrap();
    let number = Number::parse(" b50-20260401-000123-7 ").unwrap();
    let found = look_up(world.ctx(), &world.manager, door.venue, &number)
        .await
        .unwrap();
    let ids: Vec<EntitlementId> = found.iter().map(|one| one.entitlement.id).collect();
    assert_eq!(ids, [id(1)]);
    let closed = Number::parse("B50-20260401-000124-9").unwrap();
    let none = look_up(world.ctx(), &world.manager, door.venue, &closed)
        .await
        .unwrap();
    assert!(none.is_empty(), "an order without a pass");
    for bad in [
        "B50",
        "B50-2026-000123-7",
        "C50-20260401-000123-7",
        "B50-20260401-000x23-7",
    ] {
        assert_eq!(Number::parse(bad), None, "{bad}");
    }
    let recorded = format!(
        "SELECT count(*) FROM audit WHERE act = 'look_up' AND detail->>'number' = '{quoted}'"
    );
    assert_eq!(world.count(&recorded).await, 1);
    let broken = told("", 79, true);
    let refusal = world.hear(&[broken]).await;
    assert!(
        matches!(refusal, Err(kit::Error::Permanent(_))),
        "{refusal:?}"
    );
}

/// Staff see of another company's venue when and where a pass was used, not at which gate or why
/// somebody there let it in.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_hides_other_companies_gates_and_reasons() {
    let (world, door) = opened().await;
    let own = let_in(&world, looked_up(&door, 1)).await.unwrap();
    let rival = OrganisationId(Uuid::from_u128(11));
    let key = world.uuid();
    let theirs = create_venue(world.ctx(), &world.operator, key, rival, details("动物园"))
        .await
        .unwrap();
    let their_door = world.device(theirs.id).await;
    open_shift(
        world.ctx(),
        &world.rival(),
        theirs.id,
        Some(their_door.gate),
    )
    .await
    .unwrap();
    let what = looked_up(&their_door, 1);
    let key = world.uuid();
    let foreign = override_admission(world.ctx(), &world.rival(), key, what, "their reason")
        .await
        .unwrap();
    let key = world.uuid();
    void_redemption(
        world.ctx(),
        &world.rival(),
        key,
        foreign.id,
        "their mistake",
    )
    .await
    .unwrap();
    world.consents(1, true).await;
    let query = "mutation ($input: LookUpPassInput!) { lookUpPass(input: $input) {
      passes { uses { id at venue { nameEn } gate { name } overridden overrideReason voided
        voidReason } } userErrors { code } } }";
    let input = json!({ "input": {
        "venueId": GlobalId::of_uuid("Venue", door.venue.uuid()), "number": id(1).to_string(),
    } });
    let request = Request::new(query)
        .variables(Variables::from_json(input))
        .data(world.manager.clone())
        .data(world.manager.language);
    let schema = admission::schema(&world.admission, Mode::Production);
    let response = schema.execute(request).await;
    assert!(response.errors.is_empty(), "{:?}", response.errors);
    let answer = response.data.into_json().unwrap();
    let uses = answer["lookUpPass"]["passes"][0]["uses"]
        .as_array()
        .unwrap();
    let of = |one: &Redemption| {
        let id = json!(GlobalId::of_uuid("Redemption", one.id));
        uses.iter().find(|seen| seen["id"] == id).unwrap()
    };
    let seen = of(&foreign);
    assert_eq!(seen["venue"]["nameEn"], "The 动物园");
    assert_eq!(
        (&seen["overridden"], &seen["voided"]),
        (&json!(true), &json!(true))
    );
    for hidden in ["gate", "overrideReason", "voidReason"] {
        assert_eq!(seen[hidden], Value::Null, "{hidden}");
    }
    let seen = of(&own);
    assert_eq!(
        (&seen["gate"]["name"], &seen["overrideReason"]),
        (&json!("北门"), &json!("r"))
    );
}
