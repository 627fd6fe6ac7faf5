//! Minting at a desk, for a phone that is dead: what staff may look up, and how often.

use credential::token;
use kit::types::MemberId;
use serde_json::{Value, json};

use crate::credentials::{Holder, apply, granted, holder};
use crate::world::{World, codes, name, number};

pub(crate) async fn desk(
    world: &World,
    staff: MemberId,
    partner: &str,
    who: (&str, &str),
) -> Value {
    let input = json!({
        "venueOrganisationId": partner, "documentType": "RESIDENT_ID",
        "name": who.0, "documentNumber": who.1,
    });
    let selection = "credentials { text documentCheck }";
    world
        .mutate(
            &world.as_member(staff),
            "mintDeskCredentials",
            selection,
            input,
        )
        .await
}

/// Staff show a code of ten minutes with document check for a person whose phone is dead.
#[tokio::test]
async fn a_dead_phone_is_no_closed_door() {
    let Holder {
        world,
        partner,
        member,
        staff,
        ..
    } = holder().await;
    let (named, numbered) = (name(1), number(1));
    let who = (named.as_str(), numbered.as_str());
    assert_eq!(
        codes(&desk(&world, staff, &partner, who).await),
        ["NOTHING_USABLE"]
    );
    apply(&world, granted(&world, member, 1)).await;
    let shown = desk(&world, staff, &partner, who).await;
    assert_eq!(shown["credentials"].as_array().unwrap().len(), 1);
    assert_eq!(shown["credentials"][0]["documentCheck"], true);
    let ctx = &world.identity.ctx;
    world.identity.keys.load(&ctx.db).await.unwrap();
    let set = world
        .identity
        .keys
        .of(identity::signing::issuer(ctx.union))
        .unwrap();
    let signed = token::parse(shown["credentials"][0]["text"].as_str().unwrap()).unwrap();
    let token = signed.verify(&set, ctx.clock.now()).unwrap();
    assert_eq!(
        token.valid_until() - token.valid_from(),
        chrono::TimeDelta::minutes(10)
    );
    let audited = "SELECT count(*) AS count FROM audit WHERE act = 'mint_desk_credentials'";
    assert_eq!(world.count(audited).await, 2);
}

/// A wrong name and a wrong number are one answer; only staff of that company may ask.
#[tokio::test]
async fn a_desk_does_not_tell_who_is_there() {
    let Holder {
        world,
        partner,
        member,
        other,
        staff,
    } = holder().await;
    apply(&world, granted(&world, member, 1)).await;
    let (right, absent) = (number(1), number(77));
    let wrong_name = desk(&world, staff, &partner, ("别人", &right)).await;
    let wrong_number = desk(&world, staff, &partner, (&name(1), &absent)).await;
    assert_eq!(wrong_name, wrong_number);
    assert_eq!(codes(&wrong_name), ["PERSON_NOT_MATCHED"]);
    for stranger in [other, member, world.operator] {
        let answer = desk(&world, stranger, &partner, (&name(1), &right)).await;
        assert_eq!(codes(&answer), ["FORBIDDEN"]);
    }
    let elsewhere = world.organisation("PARTNER", "另一家公司").await;
    let answer = desk(&world, staff, &elsewhere, (&name(1), &right)).await;
    assert_eq!(codes(&answer), ["FORBIDDEN"]);
}

/// Sixty look-ups in an hour and three hundred in a day, also when all succeed and come at once;
/// a colleague is not held up.
#[tokio::test]
async fn a_desk_cannot_walk_through_the_members() {
    let Holder {
        world,
        partner,
        member,
        other,
        staff,
    } = holder().await;
    apply(&world, granted(&world, member, 1)).await;
    let (named, numbered) = (name(1), number(1));
    let who = (named.as_str(), numbered.as_str());
    let look_up = async |count: usize| {
        let asks = (0..count).map(|_| desk(&world, staff, &partner, who));
        let answers = futures::future::join_all(asks).await;
        let of = |want: &[&str]| answers.iter().filter(|it| codes(it) == want).count();
        (of(&[]), of(&["TOO_MANY_LOOK_UPS"]))
    };
    assert_eq!(look_up(63).await, (60, 3));
    for _ in 1..5 {
        world.advance(3_600);
        assert_eq!(look_up(60).await, (60, 0));
    }
    world.advance(3_600);
    assert_eq!(look_up(2).await, (0, 2));
    let _ = world.grant(other, &partner, "VENUE_STAFF").await;
    assert_eq!(codes(&desk(&world, other, &partner, who).await), [""; 0]);
    world.advance(86_400);
    assert_eq!(look_up(1).await, (1, 0));
}

/// Ten failures in an hour, also all at once, and the staff member waits; the hundredth look-up
/// of a day raises an alarm.
#[tokio::test]
async fn a_desk_cannot_try_numbers_out() {
    let Holder {
        world,
        partner,
        member,
        staff,
        ..
    } = holder().await;
    apply(&world, granted(&world, member, 1)).await;
    let right = number(1);
    let tries = (0..15).map(|_| desk(&world, staff, &partner, ("别人", &right)));
    let answers = futures::future::join_all(tries).await;
    let failed = answers
        .iter()
        .filter(|it| codes(it) == ["PERSON_NOT_MATCHED"])
        .count();
    assert_eq!(failed, 10);
    let named = name(1);
    let who = (named.as_str(), right.as_str());
    assert_eq!(
        codes(&desk(&world, staff, &partner, who).await),
        ["TOO_MANY_FAILURES"]
    );
    for _ in 0..2 {
        world.advance(3_600);
        for _ in 0..45 {
            assert_eq!(codes(&desk(&world, staff, &partner, who).await), [""; 0]);
        }
    }
    let alarms = "SELECT count(*) AS count FROM audit WHERE act = 'desk_look_ups_alarm'";
    assert_eq!(world.count(alarms).await, 1);
}
