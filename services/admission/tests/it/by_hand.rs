//! How many a supervisor lets in, and who sees what was done by hand and by whom.

use std::num::NonZeroU16;

use admission::commands::by_hand::{Overridden, void_redemption};
use admission::commands::redeem::Scanned;
use admission::commands::shift::{SHIFT_HOURS_MAX, close_shift, open_shift};
use admission::domain::redemption::Redemption;
use admission::domain::venue::Details;
use chrono::TimeDelta;
use credential::rules::{Reason, Rules};
use credential::token::{Claims, GROUP_PERSONS_MAX, GroupSize, Holder, Kind};
use kit::access::Caller;
use kit::graphql::GlobalId;
use proto::v1::{Entitlement, entitlement::State};
use serde_json::{Value, json};

use crate::bad_input::{REDEEM, refused as refused_through, respond, scan};
use crate::bounds::{let_in, looked_up, opened};
use crate::world::{Device, World, admits, details, id, reason, refused};

/// A party of so many at the gate, under one code.
async fn party(world: &World, door: &Device, text: &str, persons: u16) -> Redemption {
    let scanned = Scanned {
        persons: NonZeroU16::new(persons).unwrap(),
        ..world.scan(door, text)
    };
    world.redeem(door, scanned).await.unwrap()
}

/// A pass for one lets one in by hand, and a group as many as it is for: whatever the gate said
/// that stood there, nobody enters, is counted inside or paid for beyond it.
#[tokio::test(flavor = "multi_thread")]
async fn an_override_lets_in_no_more_than_the_entitlement_is_for() {
    let world = World::new().await;
    world.product(&Rules::unlimited()).await;
    let small = Details {
        tracks_exits: true,
        capacity: Some(9),
        ..details("博物馆")
    };
    let venue = world.venue(small).await;
    let door = world.device(venue.id).await;
    open_shift(world.ctx(), &world.manager, door.venue, Some(door.gate))
        .await
        .unwrap();
    world.grant(1).await;
    let text = world.token(1);
    for persons in [2, GROUP_PERSONS_MAX, u16::MAX] {
        let denied = party(&world, &door, &text, persons).await;
        assert_eq!(reason(&denied), Some(Reason::TooManyPersons));
        let refusal = let_in(&world, Overridden::Denial(denied.id)).await;
        assert_eq!(refused(refusal), "TOO_MANY_PERSONS", "{persons}");
    }
    let group = Entitlement {
        persons: 5,
        ..world.word(2, 1, State::Active)
    };
    world.say(group).await;
    let holder = Holder::Group {
        persons: GroupSize::new(5).unwrap(),
    };
    let text = world.sign(Claims {
        kind: Kind::Group,
        holder,
        ..world.claims(2)
    });
    assert!(admits(&party(&world, &door, &text, 5).await));
    for (persons, fits) in [(5, true), (6, false)] {
        let denied = party(&world, &door, &text, persons).await;
        let answer = let_in(&world, Overridden::Denial(denied.id)).await;
        match fits {
            true => assert_eq!(answer.unwrap().persons, 5),
            false => assert_eq!(refused(answer), "TOO_MANY_PERSONS"),
        }
    }
    let inside = admission::queries::inside_of(world.ctx(), &[door.venue]).await;
    assert_eq!(
        inside.unwrap()[&door.venue],
        10,
        "a supervisor may fill a house beyond its limit"
    );
    assert_eq!(world.events("RedemptionChanged").await.len(), 2);
    world.check().await;
}

/// The table refuses such a row whoever writes it, and the promise finds one that is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_party_beyond_its_entitlement_is_refused_and_found() {
    let (world, door) = opened().await;
    let one = let_in(&world, looked_up(&door, 1)).await.unwrap();
    let owner = world.db.owner().await;
    let more = format!("UPDATE redemption SET persons = 2 WHERE id = '{}'", one.id);
    let refusal = owner.execute(&more, []).await;
    assert!(
        format!("{refusal:?}").contains("redemption_persons_allowed"),
        "{refusal:?}"
    );
    // One from before the number was kept is held against the entitlement.
    let older = format!(
        "UPDATE redemption SET persons = 2, persons_allowed = NULL WHERE id = '{}'",
        one.id
    );
    owner.execute(&older, []).await.unwrap();
    let mut all = admission::verify::INVARIANTS.iter();
    let promise = all.find(|one| one.id == "admission.parties_within_entitlements");
    let found = kit::verify::check(&world.ctx().db, promise.unwrap()).await;
    assert_eq!(found.unwrap().len(), 1);
}

/// What no credential can name is not even scanned, and said in both languages.
#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_no_code_can_name_is_bad_input() {
    let (world, door) = opened().await;
    for persons in [0, GROUP_PERSONS_MAX + 1, u16::MAX] {
        let mut input = scan(&world, &door, &world.token(1));
        input["persons"] = json!(persons);
        let answer = refused_through(&world, &world.asserting(&door), REDEEM, &input).await;
        assert_eq!(answer[0], "BAD_INPUT", "{persons}");
        assert_ne!(answer[1], answer[2]);
    }
    assert_eq!(world.count("SELECT count(*) FROM redemption").await, 0);
    // A granter's word of such a party is no word of ours.
    let word = Entitlement {
        persons: u32::from(GROUP_PERSONS_MAX) + 1,
        ..world.word(9, 1, State::Active)
    };
    let said = world.hear(&[World::said(1, word)]).await;
    assert!(matches!(said, Err(kit::Error::Permanent(_))), "{said:?}");
}

const MY_SHIFT: &str = "{ myShift { id venueId gateId closedAt } }";
const ACTS: &str = "query ($id: ID!) { redemption(id: $id) {
  shiftId overridden overriddenBy { id } voided voidedBy { id } } }";

async fn data(world: &World, caller: &Caller, query: &str, variables: Value) -> Value {
    let response = respond(world, caller, query, variables).await;
    assert!(response.get("errors").is_none(), "{response:#}");
    response["data"].clone()
}

/// A person sees her own open shift, and nobody else's.
#[tokio::test(flavor = "multi_thread")]
async fn one_sees_ones_own_shift_while_it_is_open() {
    let (world, door) = opened().await;
    let none = json!({ "myShift": null });
    assert_eq!(data(&world, &world.staff, MY_SHIFT, json!({})).await, none);
    let seen = data(&world, &world.manager, MY_SHIFT, json!({})).await;
    let shift = &seen["myShift"];
    assert_eq!(
        shift["gateId"],
        json!(GlobalId::of_uuid("Gate", door.gate.uuid()))
    );
    assert_eq!(shift["closedAt"], Value::Null);
    close_shift(world.ctx(), &world.manager).await.unwrap();
    assert_eq!(
        data(&world, &world.manager, MY_SHIFT, json!({})).await,
        none
    );
    open_shift(world.ctx(), &world.manager, door.venue, None)
        .await
        .unwrap();
    world.advance(TimeDelta::hours(SHIFT_HOURS_MAX)).await;
    let over = data(&world, &world.manager, MY_SHIFT, json!({})).await;
    assert_eq!(over, none, "over before the timer has run");
    let nobody = Caller::anonymous(kit::graphql::Language::En);
    let answer = respond(&world, &nobody, MY_SHIFT, json!({})).await;
    assert_eq!(answer["data"]["myShift"], Value::Null);
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1);
}

/// The own company sees in whose shift a scan fell, who let in by hand and who took it back;
/// another one does not, even of a pass that it looks up.
#[tokio::test(flavor = "multi_thread")]
async fn acts_by_hand_name_their_people_to_the_own_company() {
    let (world, door) = opened().await;
    let one = let_in(&world, looked_up(&door, 1)).await.unwrap();
    let shift = one.shift.map(|id| GlobalId::of_uuid("Shift", id));
    void_redemption(world.ctx(), &world.manager, world.uuid(), one.id, "r")
        .await
        .unwrap();
    let asked = json!({ "id": GlobalId::of_uuid("Redemption", one.id) });
    let supervisor = json!({ "id": GlobalId::of_uuid("Member", uuid::Uuid::from_u128(21)) });
    for insider in [&world.staff, &world.manager, &world.operator] {
        let seen = data(&world, insider, ACTS, asked.clone()).await;
        let seen = &seen["redemption"];
        assert_eq!(seen["shiftId"], json!(shift));
        assert_eq!(
            (&seen["overriddenBy"], &seen["voidedBy"]),
            (&supervisor, &supervisor)
        );
    }
    let unseen = data(&world, &world.rival(), ACTS, asked).await;
    assert_eq!(unseen["redemption"], Value::Null);
    let theirs = admission::commands::venue::create_venue(
        world.ctx(),
        &world.operator,
        world.uuid(),
        kit::types::OrganisationId(uuid::Uuid::from_u128(11)),
        details("动物园"),
    );
    let theirs = theirs.await.unwrap();
    open_shift(world.ctx(), &world.rival(), theirs.id, None)
        .await
        .unwrap();
    world.consents(1, true).await;
    let query = "mutation ($input: LookUpPassInput!) { lookUpPass(input: $input) { passes { uses {
      overridden shiftId overriddenBy { id } voided voidedBy { id } } } userErrors { code } } }";
    let input = json!({ "input": {
        "venueId": GlobalId::of_uuid("Venue", theirs.id.uuid()), "number": id(1).to_string(),
    } });
    let seen = data(&world, &world.rival(), query, input).await;
    let used = &seen["lookUpPass"]["passes"][0]["uses"][0];
    let hidden = json!({ "overridden": true, "shiftId": null, "overriddenBy": null,
        "voided": true, "voidedBy": null });
    assert_eq!(*used, hidden);
}
