//! A person is forgotten when she wishes so, nothing keeps her, and not before: her key, what she
//! was found by and how she signed in are gone, and every other service is told.

use identity::consumers::persons::Persons;
use identity::domain::erasure::{ANSWER_SECONDS, HELD_HOURS, SERVICES};
use identity::publish::Aggregates;
use kit::access::Caller;
use kit::consumer::Handler;
use kit::event::Record;
use kit::graphql::Language;
use kit::types::{LoginId, MemberId};
use prost::{Message, Name};
use proto::identity::erasure_changed::State;
use proto::identity::member_changed::State as MemberState;
use proto::identity::{ConsentChanged, ErasureChanged, MemberChanged, PersonErased};
use proto::v1::{PersonForgotten, PersonHeld, person_held};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::consents::{give, member};
use crate::rosters::settle;
use crate::world::{OPERATOR_PHONE, World, codes, number_of_phone, person};

pub(crate) const GRACE_SECONDS: i64 = 168 * 3_600;
const VIEW: &str =
    "{ me { erasure { state graceUntil deadline notes holds { kind count text } } } }";

pub(crate) fn record<M: Message + Name>(world: &World, message: &M, topic: &str) -> Record {
    Record {
        topic: topic.to_owned(),
        partition: 0,
        offset: 0,
        epoch: 1,
        pseq: 1,
        id: Uuid::from_u128(1),
        kind: M::full_name(),
        key: Vec::new(),
        version: 1,
        must_understand: false,
        at: world.identity.ctx.clock.now(),
        traceparent: None,
        payload: message.encode_to_vec(),
    }
}

/// Identity hears an answer, as its consumer does.
pub(crate) async fn hear<M: Message + Name>(world: &World, message: &M) {
    let record = record(world, message, "billing.v1");
    let persons: Persons = world.identity.persons();
    assert!(persons.handles(&record.kind));
    let db = &world.identity.ctx.db;
    let records = [record];
    db.tx("hear", async |tx| persons.apply(tx, &records).await)
        .await
        .unwrap();
}

fn held(member: MemberId, service: &str, version: i64, holds: &[(&str, i64)]) -> PersonHeld {
    let hold = |(kind, count): &(&str, i64)| person_held::Hold {
        kind: (*kind).to_owned(),
        count: *count,
    };
    PersonHeld {
        member_id: member.0.as_bytes().to_vec(),
        version,
        service: service.to_owned(),
        holds: holds.iter().map(hold).collect(),
    }
}

/// Nothing keeps her anywhere.
pub(crate) async fn nothing_keeps(world: &World, member: MemberId, version: i64) {
    for service in SERVICES {
        hear(world, &held(member, service, version, &[])).await;
    }
}

pub(crate) async fn erase(world: &World, who: &Caller, code: Option<&str>, key: u128) -> Value {
    let input = json!({ "code": code, "idempotencyKey": Uuid::from_u128(key) });
    let selection = "erasure { state graceUntil deadline }";
    world.mutate(who, "eraseMe", selection, input).await
}

async fn recall(world: &World, who: &Caller) -> Value {
    let query = "mutation { recallErasure { erasure { state } userErrors { code } } }";
    world.run(who, query, json!({})).await
}

async fn view(world: &World, who: &Caller) -> Value {
    world.run(who, VIEW, json!({})).await["erasure"].clone()
}

/// What was said of her being closed or open, in its order.
async fn said(world: &World) -> Vec<(i64, State)> {
    let events = world.events_of("ErasureChanged").await;
    let read = |it: &crate::world::Emitted| {
        let event: ErasureChanged = it.decode();
        (event.version, event.state())
    };
    events.iter().map(read).collect()
}

/// Her grace is over and every service was asked; the version of the question is 2.
pub(crate) async fn closing(world: &World, who: &Caller) {
    let asked = erase(world, who, None, 77).await;
    assert_eq!(codes(&asked), [""; 0], "{asked}");
    world.advance(GRACE_SECONDS);
    settle(world).await;
    assert_eq!(view(world, who).await["state"], "CLOSING");
}

/// Her grace is over and something here keeps her, so that no service was asked. She waits at
/// version 3.
pub(crate) async fn kept_here(world: &World, who: &Caller) {
    let asked = erase(world, who, None, 77).await;
    assert_eq!(codes(&asked), [""; 0], "{asked}");
    world.advance(GRACE_SECONDS);
    settle(world).await;
    assert_eq!(view(world, who).await["state"], "HELD");
    assert_eq!(said(world).await, [(3, State::Open)]);
}

async fn promises_hold(world: &World) {
    world.seal().await;
    let chassis = kit::verify::CHASSIS.iter();
    for invariant in chassis.chain(identity::verify::INVARIANTS) {
        let found = kit::verify::check(&world.identity.ctx.db, invariant).await;
        assert_eq!(found.unwrap().len(), 0, "{}", invariant.id);
    }
}

/// From the wish to the tombstone. What keeps her is told to her, and asked for anew a day later;
/// then of her nothing is left by which she could be read or found, and she may come again as
/// somebody else.
#[tokio::test]
async fn who_wishes_to_be_forgotten_is() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    give(&world, &who, "VISITS_TO_VENUES", 1).await;
    let session = world.sign_in(&number_of_phone(1)).await;
    closing(&world, &who).await;
    assert_eq!(said(&world).await, [(2, State::Closing)]);
    hear(&world, &held(member, "passes", 2, &[])).await;
    hear(&world, &held(member, "admission", 2, &[])).await;
    settle(&world).await;
    assert_eq!(
        view(&world, &who).await["state"],
        "CLOSING",
        "one is missing"
    );
    hear(&world, &held(member, "billing", 2, &[("open_order", 2)])).await;
    settle(&world).await;
    let seen = view(&world, &who).await;
    assert_eq!(seen["state"], "HELD", "{seen}");
    let hold = &seen["holds"][0];
    assert_eq!(
        (&hold["kind"], &hold["count"]),
        (&json!("OPEN_ORDER"), &json!(2))
    );
    let text = "An order is open: pay or cancel it.";
    assert_eq!(hold["text"], text);
    assert_eq!(said(&world).await[1..], [(3, State::Open)]);
    let told = "SELECT count(*) AS count FROM notice WHERE kind = 'erasure_held'";
    assert_eq!(world.count(told).await, 1);

    world.advance(HELD_HOURS * 3_600);
    settle(&world).await;
    assert_eq!(said(&world).await[2..], [(4, State::Closing)]);
    // What was answered to the question before counts no more.
    nothing_keeps(&world, member, 2).await;
    settle(&world).await;
    assert_eq!(view(&world, &who).await["state"], "CLOSING");
    nothing_keeps(&world, member, 4).await;
    settle(&world).await;
    let out = world.barred(&who, VIEW, json!({})).await;
    assert_eq!(out, Some("UNAUTHENTICATED"));
    promises_hold(&world).await;

    let events = world.events_of("PersonErased").await;
    let tombstone: PersonErased = events[0].decode();
    assert_eq!(tombstone.member_ids, [member.0.as_bytes().to_vec()]);
    let events = world.events_of("MemberChanged").await;
    let last: MemberChanged = events.last().unwrap().decode();
    assert_eq!((last.state(), last.version), (MemberState::Erased, 2));
    let consents = world.events_of(".ConsentChanged").await;
    let last: ConsentChanged = consents.last().unwrap().decode();
    assert!(!last.given);
    let withdrawn = world.events_of("LoginWithdrawn").await;
    assert_eq!(withdrawn[0].key, session.login.0.as_bytes());
    let again = person_again(&world).await;
    assert_ne!(again, member);
}

async fn person_again(world: &World) -> MemberId {
    let union = world.organisation("GRASSROOTS", "另一个工会").await;
    world.person(&union, 1).await
}

/// Each service is asked until it has forgotten her, and then no more.
#[tokio::test]
async fn every_service_is_asked_until_it_has_forgotten_her() {
    let (world, member) = member().await;
    closing(&world, &world.as_member(member)).await;
    nothing_keeps(&world, member, 2).await;
    settle(&world).await;
    let forgotten = |service: &str| PersonForgotten {
        member_id: member.0.as_bytes().to_vec(),
        version: 3,
        service: service.to_owned(),
        at: 0,
    };
    hear(&world, &forgotten("passes")).await;
    for round in 1..=2 {
        world.advance(ANSWER_SECONDS);
        settle(&world).await;
        assert_eq!(world.events_of("PersonErased").await.len(), 1 + round);
        assert_eq!(world.broken("identity.erased_everywhere").await, 0);
    }
    hear(&world, &forgotten("billing")).await;
    hear(&world, &forgotten("admission")).await;
    world.advance(ANSWER_SECONDS);
    settle(&world).await;
    world.advance(ANSWER_SECONDS);
    settle(&world).await;
    assert_eq!(world.events_of("PersonErased").await.len(), 3);
    promises_hold(&world).await;
    let owner = world.test.owner().await;
    let sql = "DELETE FROM erasure_applied WHERE service = 'billing'";
    owner.execute(sql, []).await.unwrap();
    assert_eq!(world.broken("identity.erased_everywhere").await, 1);
}

/// Who does not answer is asked again with the same question, and nobody is forgotten meanwhile.
#[tokio::test]
async fn without_every_answer_nobody_is_forgotten() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    closing(&world, &who).await;
    hear(&world, &held(member, "passes", 2, &[])).await;
    for round in 1..=2 {
        world.advance(ANSWER_SECONDS);
        settle(&world).await;
        assert_eq!(said(&world).await, vec![(2, State::Closing); 1 + round]);
    }
    assert_eq!(view(&world, &who).await["state"], "CLOSING");
    promises_hold(&world).await;
}

/// In any state until it is done the wish is taken back, and all is as if it had not been.
#[tokio::test]
async fn the_wish_can_be_recalled_until_it_is_done() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    assert_eq!(codes(&recall(&world, &who).await), ["ERASURE_NOT_FOUND"]);
    erase(&world, &who, None, 1).await;
    let back = recall(&world, &who).await;
    assert_eq!(back["erasure"]["state"], "RECALLED", "{back}");
    assert_eq!(recall(&world, &who).await, back);
    world.advance(2 * GRACE_SECONDS);
    settle(&world).await;
    assert_eq!(view(&world, &who).await["state"], "RECALLED");
    // The same request again is the same wish, which was recalled; another one is another wish.
    let same = erase(&world, &who, None, 1).await;
    assert_eq!(same["erasure"]["state"], "RECALLED", "{same}");
    closing(&world, &who).await;
    recall(&world, &who).await;
    let last = said(&world).await;
    assert_eq!(last.last(), Some(&(5, State::Open)));
    // What was on its way changes nothing any more.
    nothing_keeps(&world, member, 4).await;
    settle(&world).await;
    assert_eq!(view(&world, &who).await["state"], "RECALLED");
    promises_hold(&world).await;
}

/// A token alone erases nobody: a code that her phone was sent does, once, or a second factor.
#[tokio::test]
async fn the_wish_is_proven() {
    let (world, member) = member().await;
    let login = LoginId(Uuid::from_u128(99));
    let who = Caller::member(member, login, Language::En);
    let refused = erase(&world, &who, None, 1).await;
    assert_eq!(codes(&refused), ["STEP_UP_REQUIRED"]);
    let refused = erase(&world, &who, Some("000000"), 1).await;
    assert_eq!(codes(&refused), ["CODE_EXPIRED"], "none was asked for");
    let ask = async |phone: &str| {
        let input = json!({ "phone": phone });
        let nobody = Caller::anonymous(Language::En);
        let asked = world.mutate(&nobody, "requestLoginCode", "", input).await;
        assert_eq!(codes(&asked), [""; 0]);
        world.code(phone).await
    };
    let other = ask(OPERATOR_PHONE).await;
    let right = ask(&number_of_phone(1)).await;
    if other != right {
        let refused = erase(&world, &who, Some(&other), 1).await;
        assert_eq!(codes(&refused), ["CODE_WRONG"]);
        let wrong = "SELECT sum(wrong)::bigint AS count FROM login_code";
        assert_eq!(world.count(wrong).await, 1, "it is counted");
    }
    let done = erase(&world, &who, Some(&right), 1).await;
    assert_eq!(done["erasure"]["state"], "ASKED", "{done}");
    // While it is under way it is one wish, and proves nothing.
    world.advance(60);
    let again = erase(&world, &who, None, 2).await;
    assert_eq!(again["erasure"], done["erasure"]);
    recall(&world, &who).await;
    let used = erase(&world, &who, Some(&right), 3).await;
    assert_eq!(codes(&used), ["CODE_EXPIRED"]);
}

/// The last operator is kept as others are, and told why; services that would give back what is
/// hers are not asked.
#[tokio::test]
async fn the_last_operator_is_kept() {
    let world = World::new().await;
    let who = world.as_operator();
    kept_here(&world, &who).await;
    let seen = view(&world, &who).await;
    assert_eq!(seen["holds"].as_array().unwrap().len(), 1, "{seen}");
    assert_eq!(seen["holds"][0]["kind"], "LAST_OPERATOR");
    let told = "SELECT count(*) AS count FROM notice WHERE kind = 'erasure_held'";
    assert_eq!(world.count(told).await, 1);
    // Nor a day later.
    world.advance(HELD_HOURS * 3_600);
    settle(&world).await;
    assert_eq!(said(&world).await, [(3, State::Open), (5, State::Open)]);
    promises_hold(&world).await;
}

/// A resync says wishes as they are and tombstones as such.
#[tokio::test]
async fn wishes_and_tombstones_are_said_again() {
    let (world, member) = member().await;
    closing(&world, &world.as_member(member)).await;
    let ctx = &world.identity.ctx;
    let again = async || {
        kit::resync::run(ctx, &Aggregates(ctx.union), |_, _| ())
            .await
            .unwrap();
    };
    again().await;
    assert_eq!(said(&world).await, [(2, State::Closing); 2]);
    nothing_keeps(&world, member, 2).await;
    settle(&world).await;
    again().await;
    assert_eq!(said(&world).await.len(), 2);
    let events = world.events_of("PersonErased").await;
    let [first, second] = [&events[0], &events[1]];
    assert_eq!(first.payload, second.payload);
}

/// An invariant sees each thing that is left of a person.
#[tokio::test]
async fn what_is_left_of_a_person_is_seen() {
    let (world, member) = member().await;
    assert_eq!(person(1)["phone"], json!(number_of_phone(1)));
    let owner = world.test.owner().await;
    let sql = "UPDATE member SET state = 'erased' WHERE id = $1";
    owner.execute(sql, [member.0.into()]).await.unwrap();
    let left = world
        .names(
            "SELECT w.what AS name FROM (
               SELECT 'person' AS what, member FROM person
               UNION ALL SELECT 'document', member FROM document
               UNION ALL SELECT 'method', member FROM login_method
               UNION ALL SELECT DISTINCT 'term', member FROM search_term
               UNION ALL SELECT 'membership', member FROM membership WHERE until IS NULL) w
             JOIN member m ON m.id = w.member WHERE m.state = 'erased'",
        )
        .await;
    assert_eq!(world.broken("identity.erased_is_gone").await, left.len());
    assert_eq!(left.len(), 5);
    assert_eq!(world.broken("identity.erased_as_wished").await, 1);
}
