//! Messages that services ask for: worded here with the name that they do not know, in the language
//! she signed in with, sent once, for their purpose and in their time.

use std::sync::atomic::Ordering;

use chrono::TimeDelta;
use identity::commands::merges;
use identity::commands::messages::hand_over;
use identity::consumers::renders::Renders;
use identity::domain::merge::Step;
use identity::domain::message::MESSAGE_DAYS;
use kit::Error;
use kit::access::Caller;
use kit::consumer::Handler;
use kit::graphql::Language;
use kit::testing::overtaken;
use kit::types::MemberId;
use proto::v1::message_requested::{Purpose, Template};
use proto::v1::{MessageRequested, MessageWithdrawn, RenderRequested};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::consents::{give, withdraw};
use crate::erasures::record;
use crate::merges::cast;
use crate::notices_sms::reachable;
use crate::rosters::settle;
use crate::undoable::about_to_be_merged;
use crate::world::{World, codes, name, number_of_phone};

/// How long a message of the tests may wait, in hours.
const VALID_HOURS: i64 = 48;

pub(crate) fn message(
    world: &World,
    member: MemberId,
    (id, purpose): (u128, Purpose),
) -> MessageRequested {
    let until = world.identity.ctx.clock.now() + TimeDelta::hours(VALID_HOURS);
    MessageRequested {
        id: Uuid::from_u128(id).as_bytes().to_vec(),
        service: "passes".to_owned(),
        template: Template::PassToActivate.into(),
        about_id: Uuid::from_u128(7).as_bytes().to_vec(),
        member_id: member.0.as_bytes().to_vec(),
        purpose: purpose.into(),
        values: ["巴蜀年票", "Bashu Pass", "2026-05-01"]
            .map(str::to_owned)
            .to_vec(),
        valid_until: until.timestamp_millis(),
    }
}

async fn heard(world: &World, message: &MessageRequested) -> kit::Result<()> {
    let records = [record(world, message, "passes.v1")];
    assert!(Renders.handles(&records[0].kind));
    let db = &world.identity.ctx.db;
    db.tx("hear", async |tx| Renders.apply(tx, &records).await)
        .await
}

pub(crate) async fn hear(world: &World, message: &MessageRequested) {
    heard(world, message).await.unwrap();
}

/// What became of a message, and why.
pub(crate) async fn state(world: &World, id: u128) -> String {
    for state in [
        "planned",
        "handed_over",
        "no_consent",
        "no_phone",
        "too_late",
    ] {
        let sql = format!(
            "SELECT count(*) AS count FROM sms_message
             WHERE id = '{}' AND COALESCE(why, state) = '{state}'",
            Uuid::from_u128(id)
        );
        if world.count(&sql).await == 1 {
            return state.to_owned();
        }
    }
    String::new()
}

async fn sign_in_in_english(world: &World) {
    let caller = Caller::anonymous(Language::En);
    let phone = number_of_phone(1);
    let asked = json!({ "phone": phone });
    world.mutate(&caller, "requestLoginCode", "", asked).await;
    let input = json!({ "phone": phone, "code": world.code(&phone).await });
    let answer = world.mutate(&caller, "login", "tokens { loginId }", input);
    assert_eq!(codes(&answer.await), [""; 0]);
}

/// What the contract needs goes without a consent, with her name, once; in the language of the
/// device that she used last. The name stands in no row, and her copy says what she was sent.
#[tokio::test]
async fn a_message_has_her_name_and_goes_once() {
    let (world, member, provider) = reachable().await;
    for _ in 0..2 {
        let asked = message(&world, member, (1, Purpose::Contract));
        hear(&world, &asked).await;
        settle(&world).await;
    }
    sign_in_in_english(&world).await;
    let before = provider.sent().await.len();
    hear(&world, &message(&world, member, (2, Purpose::Contract))).await;
    settle(&world).await;
    let mut sent = provider.sent().await;
    let english = sent.split_off(before);
    let params = json!({
        "name": name(1), "product": "巴蜀年票", "product_en": "Bashu Pass", "date": "2026-05-01",
    });
    let worded = |sent: &[Value]| -> Vec<(Value, Value)> {
        let all = sent.iter().filter(|it| it["template"] != "login_code");
        all.map(|it| (it["template"].clone(), it["params"].clone()))
            .collect()
    };
    let expected = [(json!("pass_to_activate"), params.clone())];
    assert_eq!(worded(&sent), expected);
    let expected = [(json!("pass_to_activate_en"), params)];
    assert_eq!(worded(&english), expected);
    assert!(sent.iter().all(|it| it["phone"] == number_of_phone(1)));
    let named = format!(
        "SELECT count(*) AS count FROM sms_message WHERE sms_message::text LIKE '%{}%'",
        name(1)
    );
    assert_eq!(world.count(&named).await, 0);
    let audited = "SELECT count(*) AS count FROM audit
        WHERE act IN ('take_message', 'hand_over_message')";
    assert_eq!(world.count(audited).await, 4);
    let rows = world.identity.ctx.db.tx("own_rows", async |tx| {
        identity::store::exports::own_rows(tx, &[member.0], 99).await
    });
    let rows = rows.await.unwrap();
    let told = rows.iter().filter(|it| it.section == "message");
    assert_eq!(told.count(), 2);
    assert_eq!(world.broken("identity.messages_as_they_may").await, 0);
}

/// To be told something she must consent to that; what is planned does not go after a withdrawal.
#[tokio::test]
async fn a_notice_needs_her_consent() {
    let (world, member, provider) = reachable().await;
    let who = world.as_member(member);
    hear(&world, &message(&world, member, (1, Purpose::Notice))).await;
    settle(&world).await;
    assert_eq!(state(&world, 1).await, "no_consent");
    give(&world, &who, "NOTICE_SMS", 1).await;
    hear(&world, &message(&world, member, (2, Purpose::Notice))).await;
    settle(&world).await;
    assert_eq!(state(&world, 2).await, "handed_over");
    hear(&world, &message(&world, member, (3, Purpose::Notice))).await;
    withdraw(&world, &who, "NOTICE_SMS", 2).await;
    settle(&world).await;
    assert_eq!(state(&world, 3).await, "no_consent");
    assert_eq!(provider.sent().await.len(), 1);
    assert_eq!(world.broken("identity.messages_as_they_may").await, 0);
    let owner = world.test.owner().await;
    let sql = "UPDATE sms_message SET state = 'handed_over', handed_over_at = valid_until,
        why = NULL WHERE state = 'skipped'";
    owner.execute(sql, []).await.unwrap();
    assert_eq!(world.broken("identity.messages_as_they_may").await, 2);
}

/// A provider that was away gets it when it is back, the same request; one whose time is over goes
/// no more, and it is forgotten after a while.
#[tokio::test]
async fn a_message_goes_in_its_time_or_not_at_all() {
    let (world, member, provider) = reachable().await;
    provider.away.store(true, Ordering::SeqCst);
    hear(&world, &message(&world, member, (1, Purpose::Contract))).await;
    settle(&world).await;
    assert_eq!(state(&world, 1).await, "handed_over");
    provider.away.store(false, Ordering::SeqCst);
    world.advance(600);
    settle(&world).await;
    assert_eq!(provider.sent().await.len(), 1);

    let late = message(&world, member, (2, Purpose::Contract));
    world.advance(VALID_HOURS * 3_600);
    hear(&world, &late).await;
    settle(&world).await;
    assert_eq!(state(&world, 2).await, "too_late");
    assert_eq!(provider.sent().await.len(), 1);
    world.advance((MESSAGE_DAYS + 1) * 86_400);
    let db = &world.identity.ctx.db;
    let swept = db.tx("sweep", async |tx| {
        let before = tx.now() - TimeDelta::days(MESSAGE_DAYS);
        identity::store::messages::sweep(tx, before).await
    });
    assert_eq!(swept.await.unwrap(), 2);
    let left = "SELECT count(*) AS count FROM sms_message";
    assert_eq!(world.count(left).await, 0);
}

/// What a service takes back: a message of its own.
async fn take_back(world: &World, id: u128, service: &str) -> kit::Result<()> {
    let told = MessageWithdrawn {
        id: Uuid::from_u128(id).as_bytes().to_vec(),
        service: service.to_owned(),
    };
    let records = [record(world, &told, "passes.v1")];
    assert!(Renders.handles(&records[0].kind));
    let db = &world.identity.ctx.db;
    db.tx("hear", async |tx| Renders.apply(tx, &records).await)
        .await
}

/// She has done meanwhile what a message would tell her to do: asked as it goes, it is known to be
/// taken back and does not go, nor again where the provider was away. Another service's stays.
#[tokio::test]
async fn a_message_that_was_taken_back_does_not_go() {
    let (world, member, provider) = reachable().await;
    hear(&world, &message(&world, member, (1, Purpose::Contract))).await;
    take_back(&world, 1, "billing").await.unwrap();
    settle(&world).await;
    assert_eq!(
        provider.sent().await.len(),
        1,
        "another service says nothing of it"
    );

    hear(&world, &message(&world, member, (2, Purpose::Contract))).await;
    for _ in 0..2 {
        take_back(&world, 2, "passes").await.unwrap();
    }
    settle(&world).await;
    assert_eq!(state(&world, 2).await, "too_late");
    provider.away.store(true, Ordering::SeqCst);
    hear(&world, &message(&world, member, (3, Purpose::Contract))).await;
    settle(&world).await;
    assert_eq!(state(&world, 3).await, "handed_over");
    world.advance(60);
    take_back(&world, 3, "passes").await.unwrap();
    provider.away.store(false, Ordering::SeqCst);
    world.advance(600);
    settle(&world).await;
    assert_eq!(provider.sent().await.len(), 1);
    take_back(&world, 99, "passes").await.unwrap();
    let audited = "SELECT count(*) AS count FROM audit WHERE act = 'withdraw_message'";
    assert_eq!(world.count(audited).await, 2);
    assert_eq!(world.broken("identity.messages_as_they_may").await, 0);
}

/// It is taken back at the very moment at which it is handed over, in another process: whoever
/// hands it over waits for that, and sees it.
#[tokio::test]
async fn a_message_waits_for_who_takes_it_back() {
    let (world, member, _provider) = reachable().await;
    hear(&world, &message(&world, member, (1, Purpose::Contract))).await;
    let other = world.test.process().await;
    let (vault, id) = (&world.identity.vault, Uuid::from_u128(1));
    let back = take_back(&world, 1, "passes");
    let (back, given) = overtaken(&world.test, back, hand_over(&other, vault, id)).await;
    back.unwrap();
    assert!(given.unwrap().is_none());
    assert_eq!(state(&world, 1).await, "too_late");
}

/// What no template takes is no message, and nobody is asked twice.
#[tokio::test]
async fn what_cannot_be_worded_is_refused() {
    let (world, member, _provider) = reachable().await;
    let good = message(&world, member, (1, Purpose::Contract));
    for wrong in [
        MessageRequested {
            values: vec!["巴蜀年票".to_owned()],
            ..good.clone()
        },
        MessageRequested {
            template: Template::Unspecified.into(),
            ..good.clone()
        },
        MessageRequested {
            purpose: Purpose::Unspecified.into(),
            ..good.clone()
        },
    ] {
        assert!(heard(&world, &wrong).await.is_err(), "{wrong:?}");
    }
    let nobody = MessageRequested {
        member_id: Uuid::from_u128(99).as_bytes().to_vec(),
        ..good
    };
    hear(&world, &nobody).await;
    let kept = "SELECT count(*) AS count FROM sms_message";
    assert_eq!(world.count(kept).await, 0);
    let other = record(&world, &RenderRequested::default(), "passes.v1");
    assert!(Renders.handles(&other.kind));
}

/// A message to a record that is merged then is for who she is: it goes to the phone that came with
/// that record, and no promise is broken meanwhile or after.
#[tokio::test]
async fn who_is_merged_is_sent_what_was_asked_for_her() {
    let cast = cast().await;
    let world = &cast.world;
    hear(world, &message(world, cast.merged, (1, Purpose::Contract))).await;
    cast.merge().await;
    cast.assert_invariants().await;
    settle(world).await;
    assert_eq!(state(world, 1).await, "handed_over");
    cast.assert_invariants().await;
}

/// She is made one with another while a message of hers is handed over: it is not taken for one to
/// somebody without a phone, but tried again, and goes.
#[tokio::test]
async fn a_message_waits_for_a_merge() {
    let (cast, document) = about_to_be_merged().await;
    let world = &cast.world;
    hear(world, &message(world, cast.merged, (1, Purpose::Contract))).await;
    world.seal().await;
    let other = world.test.process().await;
    let vault = &world.identity.vault;
    let (ctx, id) = (&world.identity.ctx, Uuid::from_u128(1));
    let merge = merges::merge_members(ctx, vault, &cast.second, cast.pair(), &document);
    let (merged, early) = overtaken(&world.test, merge, hand_over(&other, vault, id)).await;
    assert!(matches!(merged, Ok(Step::Done { .. })), "{merged:?}");
    assert!(matches!(early, Err(Error::Unavailable(_))));
    assert_eq!(state(world, 1).await, "planned");
    let given = hand_over(&other, vault, id).await.unwrap();
    let to: Option<String> = given.map(|it| it.phone.as_str().to_owned());
    assert_eq!(to, Some(number_of_phone(72)));
    assert_eq!(state(world, 1).await, "handed_over");
}

/// What is asked for while two records are one, and has not gone when they are two again, goes to
/// whom it was asked for and not to who she was meanwhile.
#[tokio::test]
async fn who_is_split_off_is_sent_what_is_hers() {
    let cast = cast().await;
    let world = &cast.world;
    cast.merge().await;
    world.advance(1);
    hear(world, &message(world, cast.merged, (1, Purpose::Contract))).await;
    hear(
        world,
        &message(world, cast.survivor, (2, Purpose::Contract)),
    )
    .await;
    let split = cast.split(&world.as_operator()).await;
    assert_eq!(codes(&split), [""; 0], "{split}");
    settle(world).await;
    assert_eq!(state(world, 1).await, "handed_over");
    assert_eq!(state(world, 2).await, "no_phone", "the survivor has none");
    cast.assert_invariants().await;
}

/// Two records are made two again while a message for the one is handed over: it does not go to
/// the other one, but is tried again.
#[tokio::test]
async fn a_message_waits_for_a_split() {
    let cast = cast().await;
    let world = &cast.world;
    cast.merge().await;
    hear(world, &message(world, cast.merged, (1, Purpose::Contract))).await;
    world.seal().await;
    let other = world.test.process().await;
    let (vault, operator) = (&world.identity.vault, world.as_operator());
    let (ctx, id) = (&world.identity.ctx, Uuid::from_u128(1));
    let split = merges::split_members(ctx, vault, &operator, cast.merged);
    let (split, early) = overtaken(&world.test, split, hand_over(&other, vault, id)).await;
    assert_eq!(split.unwrap(), cast.pair());
    assert!(matches!(early, Err(Error::Unavailable(_))));
    assert_eq!(state(world, 1).await, "planned");
    let given = hand_over(&other, vault, id).await.unwrap();
    let to: Option<String> = given.map(|it| it.phone.as_str().to_owned());
    assert_eq!(to, Some(number_of_phone(72)));
}
