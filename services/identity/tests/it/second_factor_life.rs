//! The life of a second factor: set up by whom, replaced, forgotten, taken away by its person or
//! by two operators.

use identity::commands::logins::refresh_login;
use identity::commands::second_factor::expire;
use identity::commands::second_factor_reset;
use identity::domain::second_factor::step_of;
use kit::access::Caller;
use kit::graphql::GlobalId;
use kit::types::MemberId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::second_factor::{confirm, enrol, holder, keeps_its_promises, show, signed_in};
use crate::world::{OPERATOR_PHONE, World, codes, number_of_phone, settings};

/// A device that was left open does not get its finder a second factor; who has one needs it to
/// get another, and keeps it until the other is confirmed.
/// ASVS V7.5.1.
#[tokio::test]
async fn who_finds_an_open_device_gets_no_factor() {
    let world = World::new().await;
    let session = world.sign_in(OPERATOR_PHONE).await;
    let caller = signed_in(&world, &session).await;
    world.advance(900);
    let (answer, _) = enrol(&world, &caller).await;
    assert_eq!(codes(&answer), ["LOGIN_NOT_FRESH"]);
    assert_eq!(
        answer["userErrors"][0]["message"],
        "Please sign in anew and set the second factor up within 15 minutes."
    );
    let nobody = confirm(&world, &caller, "123456").await;
    assert_eq!(codes(&nobody), ["SECOND_FACTOR_ABSENT"]);

    let old = holder(&world, OPERATOR_PHONE).await;
    world.advance(61);
    let fresh = world.sign_in(OPERATOR_PHONE).await;
    let (answer, _) = enrol(&world, &signed_in(&world, &fresh).await).await;
    assert_eq!(codes(&answer), ["STEP_UP_REQUIRED"]);
    let (_, secret) = enrol(&world, &old.caller).await;
    let secret = secret.unwrap();
    world.advance(30);
    let caller = old.plain();
    assert_eq!(
        codes(&show(&world, &caller, &old.code(&world)).await),
        [""; 0]
    );
    let code = secret.code(step_of(world.identity.ctx.clock.now()));
    let plain = confirm(&world, &caller, &code).await;
    assert_eq!(codes(&plain), ["STEP_UP_REQUIRED"], "not by a token alone");
    let shown = "SELECT count(*) AS count FROM login WHERE stepped_up_at IS NOT NULL";
    let elsewhere = signed_in(&world, &fresh).await;
    world.advance(30);
    let own = show(&world, &elsewhere, &old.code(&world)).await;
    assert_eq!(codes(&own), [""; 0]);
    assert_eq!(world.count(shown).await, 2);
    let code = secret.code(step_of(world.identity.ctx.clock.now()));
    let confirmed = confirm(&world, &old.caller, &code).await;
    assert_eq!(codes(&confirmed), [""; 0]);
    assert_eq!(
        world.count(shown).await,
        1,
        "what another device showed is over"
    );
    world.advance(30);
    let answer = show(&world, &caller, &old.code(&world)).await;
    assert_eq!(
        codes(&answer),
        ["SECOND_FACTOR_WRONG"],
        "the old one is gone"
    );
    let answer = show(&world, &caller, &old.recovery[0]).await;
    assert_eq!(codes(&answer), ["SECOND_FACTOR_WRONG"], "so are its codes");
    keeps_its_promises(&world).await;
}

/// A secret waits for ten minutes, and is then forgotten by a timer of its own.
#[tokio::test]
async fn a_secret_that_is_not_confirmed_is_forgotten() {
    let world = World::new().await;
    let session = world.sign_in(OPERATOR_PHONE).await;
    let caller = signed_in(&world, &session).await;
    let (_, first) = enrol(&world, &caller).await;
    let (_, second) = enrol(&world, &caller).await;
    let step = step_of(world.identity.ctx.clock.now());
    let code = first.unwrap().code(step);
    let answer = confirm(&world, &caller, &code).await;
    assert_eq!(codes(&answer), ["SECOND_FACTOR_WRONG"], "begun anew");
    keeps_its_promises(&world).await;
    world.advance(600);
    let code = second
        .unwrap()
        .code(step_of(world.identity.ctx.clock.now()));
    let answer = confirm(&world, &caller, &code).await;
    assert_eq!(codes(&answer), ["SECOND_FACTOR_ABSENT"]);
    let planned = "SELECT subject AS name FROM due WHERE kind = 'second_factor'";
    for id in world.names(planned).await {
        let id: Uuid = id.parse().unwrap();
        expire(&world.identity.ctx, id).await.unwrap();
    }
    assert_eq!(
        world
            .count("SELECT count(*) AS count FROM second_factor")
            .await,
        0
    );
    let told = "SELECT count(*) AS count FROM audit WHERE act = 'expire_second_factor'";
    assert_eq!(world.count(told).await, 1);
}

/// It goes with the token of who has shown it: whoever has a copy of the refresh token and uses it
/// just after gets none of it, and a new login has shown nothing.
#[tokio::test]
async fn it_travels_with_its_token_alone() {
    let world = World::new().await;
    let holder = holder(&world, OPERATOR_PHONE).await;
    let identity = &world.identity;
    let shown = "SELECT count(*) AS count FROM login WHERE stepped_up_at IS NOT NULL";
    assert_eq!(world.count(shown).await, 1);
    world.advance(1);
    let renewed = refresh_login(identity, &holder.session.refresh_token)
        .await
        .unwrap();
    assert_eq!(renewed.access.stepped_up_until, None);
    let caller = signed_in(&world, &renewed).await;
    let remove = "mutation { removeSecondFactor { memberId userErrors { code } } }";
    let removed = world.run(&caller, remove, json!({})).await;
    assert_eq!(codes(&removed), ["STEP_UP_REQUIRED"]);
    assert_eq!(world.count(shown).await, 0);
    world.advance(61);
    let answer = show(&world, &caller, &holder.code(&world)).await;
    assert_eq!(codes(&answer), [""; 0], "shown anew it counts again");
    let other = world.sign_in(OPERATOR_PHONE).await;
    assert_eq!(other.access.stepped_up_until, None);
}

/// Taken away by its person, it signs out her other devices and opens nothing more.
#[tokio::test]
async fn its_person_takes_it_away() {
    let world = World::new().await;
    let elsewhere = world.sign_in(OPERATOR_PHONE).await;
    let holder = holder(&world, OPERATOR_PHONE).await;
    let remove = "mutation { removeSecondFactor { memberId userErrors { code } } }";
    let removed = world.run(&holder.caller, remove, json!({})).await;
    assert_eq!(codes(&removed), [""; 0]);
    let events = world.events_of("LoginWithdrawn").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].key, elsewhere.login.0.as_bytes());
    world.advance(30);
    let caller = holder.plain();
    let answer = show(&world, &caller, &holder.code(&world)).await;
    assert_eq!(codes(&answer), ["SECOND_FACTOR_ABSENT"]);
    let renewed = refresh_login(&world.identity, &holder.session.refresh_token);
    let renewed = renewed.await.unwrap();
    assert_eq!(renewed.access.stepped_up_until, None);
    let again = world.run(&holder.caller, remove, json!({})).await;
    assert_eq!(codes(&again), ["SECOND_FACTOR_ABSENT"]);
    keeps_its_promises(&world).await;
}

/// Where it is optional, who has none is as one who has shown it; who has one must show it.
#[tokio::test]
async fn a_development_world_does_without() {
    let world = World::with(identity::Settings {
        second_factor_optional: true,
        ..settings("http://127.0.0.1:9")
    })
    .await;
    let session = world.sign_in(OPERATOR_PHONE).await;
    let until = world.identity.ctx.clock.now() + chrono::TimeDelta::seconds(600);
    assert_eq!(session.access.stepped_up_until, Some(until));
    let _ = holder(&world, OPERATOR_PHONE).await;
    world.advance(61);
    let session = world.sign_in(OPERATOR_PHONE).await;
    assert_eq!(session.access.stepped_up_until, None);
}

/// A second operator, the first person of the world.
pub(crate) async fn second_operator(world: &World) -> MemberId {
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let second = world.person(&union, 1).await;
    let root = GlobalId::of_uuid("Organisation", world.root_id().0).to_string();
    let _ = world.grant(second, &root, "OPERATOR").await;
    a_week_passes(world).await;
    second
}

/// Who is an operator now has been one for a week.
pub(crate) async fn a_week_passes(world: &World) {
    let earlier = "UPDATE role SET granted_at = granted_at - interval '7 days'";
    world.test.ctx.db.execute(earlier, []).await.unwrap();
}

pub(crate) async fn reset(world: &World, by: &Caller, of: MemberId) -> Value {
    let input = json!({ "memberId": GlobalId::of_uuid("Member", of.0) });
    let selection = "reset { memberId state expiresAt }";
    world
        .mutate(by, "resetSecondFactor", selection, input)
        .await
}

/// Who has lost it all gets it taken away by two operators, neither of whom she is; all her logins
/// end, and she may set up another.
/// ASVS V6.4.4.
#[tokio::test]
async fn two_operators_take_it_away() {
    let world = World::new().await;
    let second = second_operator(&world).await;
    let union = world.organisation("GRASSROOTS", "别的工会").await;
    let member = world.person(&union, 2).await;
    let (one, two) = (world.as_operator(), world.as_member(second));
    let none = reset(&world, &one, member).await;
    assert_eq!(codes(&none), ["SECOND_FACTOR_ABSENT"]);
    let lost = holder(&world, &number_of_phone(2)).await;

    let own = reset(&world, &world.as_member(second), second).await;
    assert_eq!(codes(&own), ["RESET_OF_OWN"]);
    assert_eq!(
        own["userErrors"][0]["message"],
        "One's own second factor is reset by two other operators."
    );
    let asked = reset(&world, &one, member).await;
    assert_eq!(asked["reset"]["state"], "ASKED", "{asked}");
    world.advance(10);
    let again = reset(&world, &one, member).await;
    assert_eq!(again, asked, "one operator is one, however often");
    assert_eq!(world.events_of("LoginWithdrawn").await.len(), 0);
    keeps_its_promises(&world).await;

    let done = reset(&world, &two, member).await;
    assert_eq!(done["reset"]["state"], "DONE", "{done}");
    assert_eq!(done["reset"]["expiresAt"], Value::Null);
    let ended = world.events_of("LoginWithdrawn").await;
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].key, lost.session.login.0.as_bytes());
    let by = "SELECT count(*) AS count FROM second_factor_reset
        WHERE state = 'done' AND asked_by <> confirmed_by";
    assert_eq!(world.count(by).await, 1);
    keeps_its_promises(&world).await;
    let _ = holder(&world, &number_of_phone(2)).await;
}

/// A reset that nobody else asked for ends by itself after a day; the second operator is then the
/// first one.
#[tokio::test]
async fn a_reset_waits_for_a_day() {
    let world = World::new().await;
    let second = second_operator(&world).await;
    let _ = holder(&world, OPERATOR_PHONE).await;
    let third = world.organisation("GRASSROOTS", "别的工会").await;
    let third = world.person(&third, 3).await;
    let root = GlobalId::of_uuid("Organisation", world.root_id().0).to_string();
    let _ = world.grant(third, &root, "OPERATOR").await;
    a_week_passes(&world).await;
    let (two, three) = (world.as_member(second), world.as_member(third));
    let asked = reset(&world, &two, world.operator).await;
    assert_eq!(asked["reset"]["state"], "ASKED");
    world.advance(86_400);
    let late = reset(&world, &three, world.operator).await;
    assert_eq!(late["reset"]["state"], "ASKED", "the first was over");
    let states = "SELECT state AS name FROM second_factor_reset ORDER BY asked_at";
    assert_eq!(world.names(states).await, ["expired", "asked"]);
    world.advance(86_400);
    let planned = "SELECT subject AS name FROM due WHERE kind = 'second_factor_reset'";
    for id in world.names(planned).await {
        let id: Uuid = id.parse().unwrap();
        second_factor_reset::expire(&world.identity.ctx, id)
            .await
            .unwrap();
    }
    assert_eq!(world.names(states).await, ["expired", "expired"]);
    let factors = "SELECT count(*) AS count FROM second_factor";
    assert_eq!(world.count(factors).await, 1);
}

/// Two operators who ask at the same moment are one after the other: it is done.
#[tokio::test]
async fn two_at_once_are_two() {
    let world = World::new().await;
    let second = second_operator(&world).await;
    let union = world.organisation("GRASSROOTS", "别的工会").await;
    let member = world.person(&union, 2).await;
    let _ = holder(&world, &number_of_phone(2)).await;
    let (one, two) = (world.as_operator(), world.as_member(second));
    let (first, other) = tokio::join!(reset(&world, &one, member), reset(&world, &two, member));
    let mut states = [&first, &other].map(|answer| answer["reset"]["state"].as_str().unwrap());
    states.sort_unstable();
    assert_eq!(states, ["ASKED", "DONE"]);
}
