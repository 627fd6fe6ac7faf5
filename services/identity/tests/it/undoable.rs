//! While a merge can be undone, whoever signs in may be either of two people: her phone stays what
//! a split gives back, and no copy of her data is made or given out. And what a merge locks, it
//! locks in the order of all others.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::{Method, StatusCode};
use chrono::TimeDelta;
use identity::commands::applications::offer_transfer;
use identity::commands::{erasures, exports, merges, phone_settings};
use identity::domain::export::{Export, State};
use identity::domain::identifier::{Document, DocumentKind};
use identity::domain::merge::{ASK_SECONDS, Step, UNDO_DAYS, undoable_since};
use identity::domain::two_operators;
use identity::store::organisations::{self, Lock};
use identity::store::{erasures as wishes, exports as copies, login_methods, merges as store};
use kit::graphql::GlobalId;
use kit::testing::overtaken;
use kit::types::{MemberId, shanghai_date};
use kit::{Error, Result};
use proto::identity::DataRequested;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::erasures::{closing, erase};
use crate::exports::{answer_all, download, export, fetch};
use crate::merges::{Cast, PASSPORT, cast};
use crate::phone_settings::{name_phone, other_operator, set_phone};
use crate::world::{World, codes, organisation_of, phone};

const NEW: &str = "13700002222";
const DAY_SECONDS: i64 = 86_400;

/// The code of a command's refusal.
fn refused<T: std::fmt::Debug>(answer: Result<T>) -> &'static str {
    match answer {
        Err(Error::Refused(why)) => why.code,
        other => panic!("{other:?}"),
    }
}

fn phone_of(member: MemberId) -> Value {
    json!({ "memberId": GlobalId::of_uuid("Member", member.0), "phone": NEW })
}

async fn set(world: &World, member: MemberId) -> Value {
    set_phone(world, member, NEW).await
}

/// An operator gives nobody another phone who could not take one herself; why is read in both
/// languages, and by when it can be done.
#[tokio::test]
async fn an_operator_waits_as_the_person_does() {
    let cast = cast().await;
    let world = &cast.world;
    let asked = cast.ask(&world.as_operator()).await;
    assert_eq!(asked["merge"]["state"], "ASKED", "{asked}");
    for member in [cast.survivor, cast.merged] {
        assert_eq!(codes(&set(world, member).await), ["MERGE_WAITS"]);
    }
    world.advance(ASK_SECONDS);
    cast.merge().await;
    let (operator, input) = (world.as_operator(), phone_of(cast.survivor));
    let [code, zh, en] = world.answered(&operator, "setPhone", &input).await;
    assert_eq!(code, "MERGE_UNDOABLE");
    // The second of April, ten days and a minute.
    assert!(zh.contains("北京时间 2026-04-12 10:0"), "{zh}");
    assert!(en.contains("wait until 2026-04-12 10:0"), "{en}");
    let ask = json!({ "phone": NEW, "idempotencyKey": Uuid::from_u128(1) });
    let who = world.as_member(cast.survivor);
    let own = world.mutate(&who, "requestPhoneChange", "", ask).await;
    assert_eq!(codes(&own), ["MERGE_UNDOABLE"]);
    // The phone that came with the merge is there to go back.
    let phones = format!(
        "SELECT count(*) AS count FROM login_method l JOIN member_merge g ON l.id = ANY (g.methods)
         WHERE l.member = '{}' AND g.state = 'done'",
        cast.survivor
    );
    assert_eq!(world.count(&phones).await, 1);
    world.advance(UNDO_DAYS * DAY_SECONDS);
    let done = set(world, cast.survivor).await;
    assert_eq!(codes(&done), [""; 0], "{done}");
    cast.assert_invariants().await;
}

/// Whether somebody wishes to be forgotten, and how many ways to sign in are left to her.
async fn wish_and_ways(world: &World, member: MemberId) -> [i64; 2] {
    let wish = "SELECT count(*) AS count FROM erasure WHERE ended_at IS NULL";
    let ways = format!("SELECT count(*) AS count FROM login_method WHERE member = '{member}'");
    [world.count(wish).await, world.count(&ways).await]
}

/// A wish of which nothing was done yet keeps no help from her: whoever has her phone may have made
/// it, and an operator who gives her another one takes it back. Once services are asked it stays.
#[tokio::test]
async fn a_wish_that_waits_gives_way_to_an_operator() {
    let (world, member) = crate::consents::member().await;
    let who = world.as_member(member);
    let wish = erase(&world, &who, None, 1).await;
    assert_eq!(codes(&wish), [""; 0], "{wish}");
    let done = set(&world, member).await;
    assert_eq!(codes(&done), [""; 0], "{done}");
    assert_eq!(wish_and_ways(&world, member).await, [0, 1]);
    let states = "SELECT state AS name FROM erasure";
    assert_eq!(world.names(states).await, ["recalled"]);
    assert_eq!(world.events_of("ErasureChanged").await.len(), 1);
    let timers = "SELECT count(*) AS count FROM due WHERE kind = 'erasure'";
    assert_eq!(world.count(timers).await, 0);
    let on_record = "SELECT count(*) AS count FROM audit
        WHERE act = 'set_phone' AND detail->>'wish_taken_back' = 'true'";
    assert_eq!(world.count(on_record).await, 1);

    closing(&world, &who).await;
    world.seal().await;
    assert_eq!(codes(&set(&world, member).await), ["ERASURE_WAITS"]);
    assert_eq!(wish_and_ways(&world, member).await, [1, 1]);
}

/// A wish that is underway is waited for, and taken back.
#[tokio::test]
async fn a_wish_underway_is_taken_back_with_the_phone() {
    let (world, member) = crate::consents::member().await;
    world.seal().await;
    let other = world.test.process().await;
    let (who, by) = (world.as_member(member), other_operator(&world).await);
    name_phone(&world, &world.as_operator(), member, NEW).await;
    let vault = &world.identity.vault;
    let wish = erasures::erase_me(&world.identity, &who, None, Uuid::from_u128(1));
    let changed = phone_settings::set_phone(&other, vault, &by, member, phone(NEW));
    let (wish, changed) = overtaken(&world.test, wish, changed).await;
    assert!(wish.unwrap().is_open());
    assert_eq!(changed.unwrap(), two_operators::Step::Done);
    assert_eq!(wish_and_ways(&world, member).await, [0, 1]);
}

/// Without the person's lock an operator looks, she wishes, and her ways to sign in are gone.
#[tokio::test]
async fn without_its_lock_a_wish_would_lose_the_phone() {
    let (world, member) = crate::consents::member().await;
    let mut other = world.identity.clone();
    other.ctx = world.test.process().await;
    let who = world.as_member(member);
    let underway = world.identity.ctx.db.tx("unlocked_phone", async |tx| {
        assert_eq!(wishes::load(tx, member).await?, None);
        erasures::erase_me(&other, &who, None, Uuid::from_u128(1)).await?;
        login_methods::remove_each(tx, member).await
    });
    underway.await.unwrap();
    assert_eq!(wish_and_ways(&world, member).await, [1, 0]);
}

/// A copy that was ready before the merge, with an address to fetch it at, is not given out, since
/// who asks may be the other person; nor is another one begun. The two apart again, it is hers.
#[tokio::test]
async fn no_copy_is_given_out_while_she_may_be_two() {
    let cast = cast().await;
    let world = &cast.world;
    let who = world.as_member(cast.survivor);
    let made = export(world, &who, 1).await;
    let id = made["export"]["id"].clone();
    answer_all(world, cast.survivor, &id).await;
    let given = download(world, &who, (&id, "JSON"), None).await;
    assert_eq!(codes(&given), [""; 0], "{given}");
    world.advance(1);
    cast.merge().await;
    let (status, body) = fetch(world, Method::GET, &given["download"]["path"]).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(body["error"]["code"], "MERGE_UNDOABLE");
    let given = download(world, &who, (&id, "JSON"), None).await;
    assert_eq!(codes(&given), ["MERGE_UNDOABLE"]);
    world.advance(1);
    let another = export(world, &who, 2).await;
    assert_eq!(codes(&another), ["MERGE_UNDOABLE"]);
    assert_eq!(world.events_of("DataRequested").await.len(), 1);

    let split = cast.split(&world.as_operator()).await;
    assert_eq!(codes(&split), [""; 0], "{split}");
    let given = download(world, &who, (&id, "JSON"), None).await;
    let (status, file) = fetch(world, Method::GET, &given["download"]["path"]).await;
    assert_eq!(status, StatusCode::OK);
    assert!(!String::from_utf8(file).unwrap().contains(PASSPORT));
    cast.assert_invariants().await;
}

/// When a merge is final the same request makes a copy, of both records.
#[tokio::test]
async fn when_she_is_one_her_copy_names_both() {
    let cast = cast().await;
    let world = &cast.world;
    cast.merge().await;
    world.advance(UNDO_DAYS * DAY_SECONDS - 1);
    let who = world.as_member(cast.survivor);
    assert_eq!(codes(&export(world, &who, 2).await), ["MERGE_UNDOABLE"]);
    world.advance(1);
    let made = export(world, &who, 2).await;
    assert_eq!(codes(&made), [""; 0], "{made}");
    let asked = world.events_of("DataRequested").await;
    let asked: DataRequested = asked[0].decode();
    let both = [cast.survivor, cast.merged].map(|it| it.0.as_bytes().to_vec());
    assert_eq!(asked.member_ids, both);
    let id = made["export"]["id"].clone();
    answer_all(world, cast.survivor, &id).await;
    let given = download(world, &who, (&id, "JSON"), None).await;
    let (status, file) = fetch(world, Method::GET, &given["download"]["path"]).await;
    assert_eq!(status, StatusCode::OK);
    assert!(String::from_utf8(file).unwrap().contains(PASSPORT));
    cast.assert_invariants().await;
}

/// One operator has asked, and the other one is about to; with the document that both are shown.
pub(crate) async fn about_to_be_merged() -> (Cast, Document) {
    let cast = cast().await;
    let asked = cast.ask(&cast.world.as_operator()).await;
    assert_eq!(asked["merge"]["state"], "ASKED", "{asked}");
    cast.world.seal().await;
    let today = shanghai_date(cast.world.identity.ctx.clock.now());
    let document = Document::parse(DocumentKind::Passport, PASSPORT, today).unwrap();
    (cast, document)
}

/// Whichever of a merge and a copy comes first, the other one is refused.
#[tokio::test]
async fn a_copy_and_a_merge_wait_for_each_other() {
    for merge_first in [true, false] {
        let (cast, document) = about_to_be_merged().await;
        let world = &cast.world;
        let other = world.test.process().await;
        let (vault, who) = (&world.identity.vault, world.as_member(cast.survivor));
        let (first, second) = (&world.identity.ctx, &other);
        let (merging, copying) = if merge_first {
            (first, second)
        } else {
            (second, first)
        };
        let merge = merges::merge_members(merging, vault, &cast.second, cast.pair(), &document);
        let copy = exports::export_my_data(copying, vault, &who, Uuid::from_u128(1));
        if merge_first {
            let (merged, copied) = overtaken(&world.test, merge, copy).await;
            assert!(matches!(merged, Ok(Step::Done { .. })), "{merged:?}");
            assert_eq!(refused(copied), "MERGE_UNDOABLE");
        } else {
            let (copied, merged) = overtaken(&world.test, copy, merge).await;
            assert_eq!(copied.unwrap().state, State::Gathering);
            assert_eq!(refused(merged), "EXPORT_WAITS");
        }
        assert_eq!(world.broken("identity.copies_name_one").await, 0);
    }
}

/// Without the person's lock a copy is begun for whom a merge makes two in that moment.
#[tokio::test]
async fn without_its_lock_a_copy_would_name_two() {
    let (cast, document) = about_to_be_merged().await;
    let world = &cast.world;
    let other = world.test.process().await;
    let vault = &world.identity.vault;
    let copied = world.identity.ctx.db.tx("unlocked_copy", async |tx| {
        let since = undoable_since(tx.now());
        assert_eq!(store::last_since(tx, cast.survivor, since).await?, None);
        let merged = merges::merge_members(&other, vault, &cast.second, cast.pair(), &document);
        assert!(matches!(merged.await?, Step::Done { .. }));
        let asked_at = tx.now() + TimeDelta::seconds(1);
        let export = Export {
            id: tx.uuid(),
            version: 1,
            member: cast.survivor,
            state: State::Gathering,
            asked_at,
            deadline: asked_at + TimeDelta::days(15),
        };
        copies::save(tx, &export).await
    });
    copied.await.unwrap();
    assert_eq!(world.broken("identity.copies_name_one").await, 1);
}

/// How many of both records can be locked by who holds this union while `other` waits for it; and
/// what comes of that.
async fn free_meanwhile<T>(cast: &Cast, union: &str, other: impl Future<Output = T>) -> (u64, T) {
    #[derive(sea_orm::FromQueryResult)]
    struct Count {
        n: i64,
    }
    let world = &cast.world;
    let watcher = world.test.superuser().await;
    let (held, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let waits = async || {
        let sql = "SELECT count(*) AS n FROM pg_stat_activity
                   WHERE datname = $1 AND wait_event_type = 'Lock'";
        let count = watcher.one::<Count>(sql, [world.test.name().into()]).await;
        count.unwrap().unwrap().n > 0
    };
    let free = "SELECT id FROM member WHERE id = ANY ($1) FOR UPDATE SKIP LOCKED";
    let holding = world.identity.ctx.db.tx("holds_the_union", async |tx| {
        organisations::load(tx, organisation_of(union), Lock::Change).await?;
        held.store(true, Ordering::SeqCst);
        while !done.load(Ordering::SeqCst) && !waits().await {
            tokio::task::yield_now().await;
        }
        let both = vec![cast.survivor.0, cast.merged.0];
        tx.execute(free, [both.into()]).await
    });
    let waiting = async {
        while !held.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        let answer = other.await;
        done.store(true, Ordering::SeqCst);
        answer
    };
    let (free, answer) = tokio::join!(holding, waiting);
    (free.unwrap(), answer)
}

/// Who changes a membership locks its organisation first, and then whom it is of; so do those who
/// merge and split, and none of them waits for the other in a ring. The other way round they would.
#[tokio::test]
async fn organisations_are_locked_before_records() {
    let (cast, document) = about_to_be_merged().await;
    let world = &cast.world;
    let other = world.test.process().await;
    let vault = &world.identity.vault;
    let merge = merges::merge_members(&other, vault, &cast.second, cast.pair(), &document);
    let (free, merged) = free_meanwhile(&cast, &cast.union, merge).await;
    assert!(matches!(merged, Ok(Step::Done { .. })), "{merged:?}");
    assert_eq!(free, 2, "merging");

    world.seal().await;
    let operator = world.as_operator();
    let split = merges::split_members(&other, vault, &operator, cast.merged);
    let (free, split) = free_meanwhile(&cast, &cast.union, split).await;
    assert_eq!(split.unwrap(), cast.pair());
    assert_eq!(free, 2, "splitting");

    let reversed = other.db.tx("records_first", async |tx| {
        store::lock_members(tx, cast.pair()).await?;
        organisations::load(tx, organisation_of(&cast.union), Lock::Change).await
    });
    let (free, reversed) = free_meanwhile(&cast, &cast.union, reversed).await;
    assert!(reversed.unwrap().is_some());
    assert_eq!(free, 0, "a ring, were they not skipped");
    cast.assert_invariants().await;
}

/// Who lets a member go waits for the organisation that she goes to before she is locked.
#[tokio::test]
async fn a_transfer_locks_both_organisations_before_the_member() {
    let cast = cast().await;
    let world = &cast.world;
    let of = format!(
        "SELECT id::text AS name FROM membership WHERE member = '{}'",
        cast.survivor
    );
    let membership: Uuid = world.names(&of).await[0].parse().unwrap();
    let other = world.test.process().await;
    let (operator, to) = (world.as_operator(), organisation_of(&cast.other));
    let offer = offer_transfer(&other, &operator, membership, to, Uuid::from_u128(1));
    let (free, offered) = free_meanwhile(&cast, &cast.other, offer).await;
    assert_eq!(offered.unwrap().leaves, Some(membership));
    assert_eq!(free, 2);
    cast.assert_invariants().await;
}
