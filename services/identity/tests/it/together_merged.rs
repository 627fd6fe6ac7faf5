//! Two records made one, beside everything else that can be under way for either: what goes over
//! and comes back, what ends, what must be over first, and that both are forgotten together.

use identity::domain::erasure::HELD_HOURS;
use identity::domain::merge::UNDO_DAYS;
use identity::domain::subject::{Kind, Subject};
use identity::store::login_methods::{self, NewMethodRow};
use identity::store::people;
use identity::vault::Cell;
use kit::types::MemberId;
use prost::Message;
use proto::identity::erasure_changed::State as Said;
use proto::identity::member_changed::State;
use proto::identity::{ErasureChanged, PersonErased};
use proto::v1::message_requested::Purpose;
use serde_json::json;
use uuid::Uuid;

use crate::devices::sign_in_by;
use crate::erasures::{GRACE_SECONDS, closing, erase, kept_here, nothing_keeps};
use crate::exports::{answer_all, export};
use crate::merges::{Cast, cast};
use crate::messages::{hear as hear_message, message};
use crate::notices::hear_paid;
use crate::rosters::settle;
use crate::second_factor::holder;
use crate::world::{World, codes, number_of_phone, organisation_of};

const DAY_SECONDS: i64 = 86_400;

/// Changes rows past the service, as it may itself.
async fn plant(world: &World, sql: &str) {
    world.test.ctx.db.execute(sql, []).await.unwrap();
}

/// What this member has of what was verified.
async fn verified(world: &World, member: MemberId) -> Vec<String> {
    let sql = format!(
        "SELECT 'verification ' || state AS name FROM verification WHERE member = '{member}'
         UNION ALL SELECT 'network identity' FROM network_identity WHERE member = '{member}'
         ORDER BY name"
    );
    world.names(&sql).await
}

/// The record that goes was verified, and one more verification of it waits.
async fn verify_merged(cast: &Cast) {
    let merged = cast.merged;
    let verification = "INSERT INTO verification
        (id, member, kind, claim, state, source, asked_at, expires_at, answered_at) VALUES";
    plant(
        &cast.world,
        &format!(
            "{verification} (gen_random_uuid(), '{merged}', 3, NULL, 'matched', 'national',
               '2026-04-01', '2026-04-02', '2026-04-01')"
        ),
    )
    .await;
    plant(
        &cast.world,
        &format!(
            "{verification} (gen_random_uuid(), '{merged}', 3, 'sealed', 'asked', 'national',
               '2026-04-01', '2099-01-01', NULL)"
        ),
    )
    .await;
    plant(
        &cast.world,
        &format!(
            "INSERT INTO network_identity (blind, member, since)
             VALUES (decode(repeat('07', 32), 'hex'), '{merged}', '2026-04-01')"
        ),
    )
    .await;
}

/// The openid of a person, as she signs in by it.
async fn wechat_of(world: &World, member: MemberId) -> Vec<String> {
    let vault = &world.identity.vault;
    let db = &world.identity.ctx.db;
    let rows = db.tx("wechat", async |tx| {
        login_methods::wechat_of(tx, member, 9).await
    });
    let open = |row: &login_methods::WechatRow| {
        let key = vault.data_key(member.0, &row.data_key).unwrap();
        let cell = Cell::new("login_method", "subject", row.id);
        key.open_text(cell, &row.subject).unwrap().to_string()
    };
    rows.await.unwrap().iter().map(open).collect()
}

pub(crate) async fn link_wechat(world: &World, member: MemberId, openid: &str) -> String {
    let subject = Subject::new(Kind::Wechat, "wx50", openid).unwrap();
    let vault = &world.identity.vault;
    let linked = world.identity.ctx.db.tx("link", async |tx| {
        let person = people::active(tx, member).await?.unwrap();
        let key = vault.data_key(person.member, &person.data_key)?;
        let id = tx.uuid();
        let cell = Cell::new("login_method", "subject", id);
        let row = NewMethodRow {
            id,
            member: member.0,
            kind: Kind::Wechat,
            subject: key.seal(tx.ids(), cell, subject.text().as_bytes())?,
            blind: vault.blind_subject(&subject)?,
        };
        login_methods::insert(tx, row).await
    });
    linked.await.unwrap();
    subject.text().to_string()
}

/// What was verified and every way to sign in is the survivor's, opens under her key, and goes
/// back.
#[tokio::test]
async fn what_was_verified_goes_over_and_comes_back() {
    let cast = cast().await;
    let world = &cast.world;
    verify_merged(&cast).await;
    let openid = link_wechat(world, cast.merged, "one").await;
    cast.merge().await;
    let hers = ["network identity", "verification matched"];
    assert_eq!(verified(world, cast.survivor).await, hers);
    assert_eq!(
        verified(world, cast.merged).await,
        ["verification unanswered"]
    );
    let claims = "SELECT count(*) AS count FROM verification WHERE claim IS NOT NULL";
    assert_eq!(world.count(claims).await, 0);
    assert_eq!(
        wechat_of(world, cast.survivor).await,
        std::slice::from_ref(&openid)
    );
    assert_eq!(wechat_of(world, cast.merged).await, [""; 0]);
    cast.assert_invariants().await;
    // What is linked from now on may be either's.
    world.advance(1);
    let _ = link_wechat(world, cast.survivor, "two").await;
    let split = cast.split(&world.as_operator()).await;
    assert_eq!(codes(&split), [""; 0], "{split}");
    assert_eq!(verified(world, cast.survivor).await, [""; 0]);
    assert_eq!(wechat_of(world, cast.survivor).await, [""; 0]);
    assert_eq!(
        verified(world, cast.merged).await,
        [
            "network identity",
            "verification matched",
            "verification unanswered"
        ]
    );
    assert_eq!(wechat_of(world, cast.merged).await, [openid]);
    cast.assert_invariants().await;
}

/// While two records are one, what the other one buys is told and sent to who she is then, and her
/// devices are the survivor's; apart again, the survivor keeps none of that, nor is told it anew.
#[tokio::test]
async fn a_split_leaves_no_trace_of_the_other_one() {
    let cast = cast().await;
    let world = &cast.world;
    let survivor = cast.survivor;
    let kept = async || {
        let sql = format!(
            "SELECT 'notice' AS name FROM notice WHERE member = '{survivor}' AND kind = 'bought'
             UNION ALL SELECT 'message' FROM sms_message
             UNION ALL SELECT 'device' FROM login WHERE member = '{survivor}'
               AND (device IS NOT NULL OR network IS NOT NULL) ORDER BY name"
        );
        world.names(&sql).await
    };
    cast.merge().await;
    world.advance(1);
    hear_paid(world, cast.merged).await;
    let contract = message(world, cast.merged, (1, Purpose::Contract));
    hear_message(world, &contract).await;
    settle(world).await;
    let device = (json!("她的手机"), "198.51.100.7");
    let signed_in = sign_in_by(world, &number_of_phone(72), device).await;
    assert_eq!(codes(&signed_in), [""; 0], "{signed_in}");
    assert_eq!(kept().await, ["device", "message", "notice"]);
    let split = cast.split(&world.as_operator()).await;
    assert_eq!(codes(&split), [""; 0], "{split}");
    assert_eq!(kept().await, [""; 0]);
    // Said again, as by a resync, it is told to neither.
    hear_paid(world, cast.merged).await;
    let told = "SELECT count(*) AS count FROM notice WHERE kind = 'bought'";
    assert_eq!(world.count(told).await, 0);
    cast.assert_invariants().await;
}

/// What the record that goes has asked for, was proposed for or proves by ends with it.
#[tokio::test]
async fn what_is_asked_ends_with_the_record() {
    let cast = cast().await;
    let world = &cast.world;
    let (merged, operator) = (cast.merged, world.operator);
    let factor = holder(world, &number_of_phone(72)).await;
    let made = export(world, &factor.caller, 1).await;
    answer_all(world, merged, &made["export"]["id"]).await;
    let third = world.organisation("GRASSROOTS", "丙基层工会").await;
    let apply = json!({ "organisationId": third, "idempotencyKey": Uuid::from_u128(3) });
    let applied = world
        .mutate(&factor.caller, "applyForMembership", "", apply)
        .await;
    assert_eq!(codes(&applied), [""; 0], "{applied}");
    let union = organisation_of(&cast.other);
    plant(
        world,
        &format!(
            "INSERT INTO role_proposal (id, member, organisation, role, ends_at, proposed_by,
               created_at, expires_at, state)
             VALUES (gen_random_uuid(), '{merged}', '{union}', 'approver', '2099-01-01',
               '{operator}', '2026-04-01', '2099-01-01', 'open')"
        ),
    )
    .await;
    plant(
        world,
        &format!(
            "INSERT INTO second_factor_reset (id, member, state, asked_by, asked_at, expires_at)
             VALUES (gen_random_uuid(), '{merged}', 'asked', '{operator}', '2026-04-01',
               '2099-01-01')"
        ),
    )
    .await;
    cast.merge().await;
    let left = "SELECT 'factor' AS name FROM second_factor
        UNION ALL SELECT 'code' FROM recovery_code UNION ALL SELECT 'copy' FROM export
        UNION ALL SELECT 'proposal ' || state FROM role_proposal
        UNION ALL SELECT 'reset ' || state FROM second_factor_reset
        UNION ALL SELECT 'application ' || state FROM membership_application
        UNION ALL SELECT 'timer ' || kind FROM due WHERE kind IN ('export', 'second_factor',
          'second_factor_reset', 'role_proposal', 'membership_application')
        ORDER BY name";
    let ended = [
        "application withdrawn",
        "proposal withdrawn",
        "reset expired",
    ];
    assert_eq!(world.names(left).await, ended);
    let by = format!(
        "SELECT count(*) AS count FROM role_proposal WHERE decided_by = '{}'",
        match cast.second.who {
            kit::access::Who::Member { member, .. } => member,
            kit::access::Who::Anonymous => panic!("an operator"),
        }
    );
    assert_eq!(world.count(&by).await, 1, "who made the merge");
    cast.assert_invariants().await;
}

/// The invariant sees each thing that a merged record would have of its own.
#[tokio::test]
async fn what_a_merged_record_has_of_its_own_is_seen() {
    let cast = cast().await;
    cast.merge().await;
    assert_eq!(cast.world.broken("identity.merged_alone").await, 0);
    verify_merged(&cast).await;
    assert_eq!(cast.world.broken("identity.merged_alone").await, 3);
}

/// Who wishes to be forgotten, or whose data is being gathered, stays the records she is; and
/// either operator reads why, in both languages.
#[tokio::test]
async fn a_wish_and_a_copy_under_way_come_first() {
    let cast = cast().await;
    let world = &cast.world;
    let operator = world.as_operator();
    for member in [cast.survivor, cast.merged] {
        let who = world.as_member(member);
        let wish = erase(world, &who, None, 1).await;
        assert_eq!(codes(&wish), [""; 0], "{wish}");
        assert_eq!(codes(&cast.ask(&operator).await), ["ERASURE_WAITS"]);
        let recall = "mutation { recallErasure { userErrors { code } } }";
        let _ = world.run(&who, recall, json!({})).await;
        let made = export(world, &who, 2).await;
        assert_eq!(codes(&cast.ask(&operator).await), ["EXPORT_WAITS"]);
        answer_all(world, member, &made["export"]["id"]).await;
    }
    // Between the two operators' words too.
    let asked = cast.ask(&operator).await;
    assert_eq!(asked["merge"]["state"], "ASKED", "{asked}");
    let who = world.as_member(cast.merged);
    let _ = erase(world, &who, None, 3).await;
    assert_eq!(codes(&cast.ask(&cast.second).await), ["ERASURE_WAITS"]);
    cast.assert_invariants().await;
}

/// While the merge can be undone the person is kept, and can be two again; services are not asked
/// meanwhile under ids that part.
#[tokio::test]
async fn a_merge_that_can_be_undone_keeps_her() {
    let cast = cast().await;
    let world = &cast.world;
    cast.merge().await;
    let who = world.as_member(cast.survivor);
    // As a program of before has begun one.
    plant(
        world,
        "INSERT INTO export (id, version, member, state, asked_at, deadline, ready_at, expires_at)
         SELECT gen_random_uuid(), 1, survivor, 'ready', done_at, done_at + interval '15 days',
           done_at, done_at + interval '7 days' FROM member_merge",
    )
    .await;
    kept_here(world, &who).await;
    let query = "{ me { erasure { state holds { kind count text } } } }";
    let seen = world.run(&who, query, json!({})).await;
    let text = "Two records were made yours, and can be two again for ten days: it goes on \
                when these are over.";
    let hold = json!({ "kind": "RECENT_MERGE", "count": 1, "text": text });
    assert_eq!(seen["erasure"]["holds"], json!([hold]), "{seen}");
    let operator = world.as_operator();
    // As a program of before has asked about her.
    plant(world, "UPDATE erasure SET state = 'closing'").await;
    assert_eq!(codes(&cast.split(&operator).await), ["ERASURE_WAITS"]);
    plant(world, "UPDATE erasure SET state = 'held'").await;
    let split = cast.split(&operator).await;
    assert_eq!(codes(&split), [""; 0], "{split}");
    // The copy named both records.
    let copies = "SELECT count(*) AS count FROM export";
    assert_eq!(world.count(copies).await, 0);
    // Her wish goes on for her alone.
    world.advance(HELD_HOURS * 3_600);
    settle(world).await;
    let asked = world.events_of("ErasureChanged").await;
    let asked: ErasureChanged = asked.last().unwrap().decode();
    assert_eq!((asked.version, asked.state()), (4, Said::Closing));
    assert_eq!(asked.member_ids, [cast.survivor.0.as_bytes().to_vec()]);
    nothing_keeps(world, cast.survivor, 4).await;
    settle(world).await;
    let states = format!(
        "SELECT state AS name FROM member WHERE id IN ('{}', '{}') ORDER BY id = '{}'",
        cast.survivor, cast.merged, cast.merged
    );
    assert_eq!(world.names(&states).await, ["erased", "active"]);
    cast.assert_invariants().await;
}

/// When the window is over both records are forgotten at once, under all ids, for ever.
#[tokio::test]
async fn both_records_are_forgotten_together() {
    let cast = cast().await;
    let world = &cast.world;
    verify_merged(&cast).await;
    cast.merge().await;
    let who = world.as_member(cast.survivor);
    world.advance(UNDO_DAYS * DAY_SECONDS - GRACE_SECONDS);
    closing(world, &who).await;
    nothing_keeps(world, cast.survivor, 2).await;
    settle(world).await;
    let erased = "SELECT count(*) AS count FROM member WHERE state = 'erased'
                  AND merged_into IS NULL";
    assert_eq!(world.count(erased).await, 2);
    cast.assert_invariants().await;
    let heard = world.events_of("MemberChanged").await;
    let heard: Vec<proto::identity::MemberChanged> = heard.iter().map(|it| it.decode()).collect();
    let mut gone: Vec<&[u8]> = heard
        .iter()
        .filter(|it| it.state() == State::Erased)
        .map(|it| it.id.as_slice())
        .collect();
    gone.sort_unstable();
    let mut both = [cast.survivor.0, cast.merged.0];
    both.sort_unstable();
    assert_eq!(gone, both.iter().map(Uuid::as_bytes).collect::<Vec<_>>());
    // Said again, it names both still.
    world.advance(identity::domain::erasure::ANSWER_SECONDS);
    settle(world).await;
    let events = world.events_of("PersonErased").await;
    assert_eq!(events.len(), 2);
    let said: PersonErased = events[1].decode();
    let both = [cast.survivor, cast.merged].map(|it| it.0.as_bytes().to_vec());
    assert_eq!(said.member_ids, both);
    assert_eq!(said.encode_to_vec(), events[0].payload);
    // Nothing is there to be split any more.
    let split = cast.split(&world.as_operator()).await;
    assert_eq!(codes(&split), ["UNDO_OVER"]);
}
