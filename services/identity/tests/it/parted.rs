//! Who was one record with another is forgotten in time, and everywhere: what others heard of both
//! together is older than what either wishes apart, and a merge that can be undone keeps nobody
//! beyond her deadline.

use chrono::TimeDelta;
use identity::commands::erasures::recall;
use identity::commands::merges::split_members;
use identity::domain::erasure::{DEADLINE_DAYS, GRACE_DAYS, HELD_HOURS, Right};
use identity::domain::merge::UNDO_DAYS;
use identity::publish;
use identity::store::erasures;
use kit::testing::overtaken;
use kit::types::MemberId;
use proto::identity::erasure_changed::State;
use proto::identity::{ErasureChanged, PersonErased};
use serde_json::json;

use crate::erasures::{GRACE_SECONDS, closing, erase, kept_here, nothing_keeps};
use crate::merges::{Cast, cast};
use crate::rosters::settle;
use crate::world::{World, codes};

const DAY_SECONDS: i64 = 86_400;

/// What was said of her under this id: by whose wish, in which version, and how.
async fn heard_of(world: &World, id: MemberId) -> Vec<(Vec<u8>, i64, State)> {
    let events = world.events_of("ErasureChanged").await;
    let events = events.iter().map(|it| it.decode::<ErasureChanged>());
    events
        .filter(|it| it.member_ids.contains(&id.0.as_bytes().to_vec()))
        .map(|it| (it.member_id.clone(), it.version, it.state()))
        .collect()
}

/// The last thing that was said of this id is newer than all before, as each service compares it.
async fn is_news(world: &World, id: MemberId) -> bool {
    let heard = heard_of(world, id).await;
    let (last, before) = heard.split_last().unwrap();
    assert!(!before.is_empty(), "something was said before");
    before.iter().all(|it| it.1 < last.1)
}

async fn state_of(world: &World, member: MemberId) -> String {
    let sql = format!("SELECT state AS name FROM member WHERE id = '{member}'");
    world.names(&sql).await.remove(0)
}

/// Two records made one, whose wish is kept by the merge.
async fn kept() -> Cast {
    let cast = cast().await;
    let world = &cast.world;
    cast.merge().await;
    kept_here(world, &world.as_member(cast.survivor)).await;
    world.seal().await;
    cast
}

/// How far others may have heard of the other record, and how far they have.
async fn floor_and_heard(cast: &Cast) -> (i64, i64) {
    let floor = format!(
        "SELECT erasure_floor AS count FROM member WHERE id = '{}'",
        cast.merged
    );
    let heard = heard_of(&cast.world, cast.merged).await;
    let heard = heard.iter().map(|it| it.1).max().unwrap();
    (cast.world.count(&floor).await, heard)
}

/// What the survivor takes back while they part is said of both before they do.
#[tokio::test]
async fn a_split_waits_for_what_is_being_said_of_both() {
    let cast = kept().await;
    let world = &cast.world;
    let other = world.test.process().await;
    let (who, operator) = (world.as_member(cast.survivor), world.as_operator());
    let recalled = recall(&world.identity.ctx, &who);
    let split = split_members(&other, &world.identity.vault, &operator, cast.merged);
    let (recalled, split) = overtaken(&world.test, recalled, split).await;
    assert_eq!(recalled.unwrap().version, 4);
    assert_eq!(split.unwrap(), cast.pair());
    assert_eq!(floor_and_heard(&cast).await, (4, 4));
}

/// Without the person's lock it is said of both after they parted, above what is known of it.
#[tokio::test]
async fn without_its_lock_more_would_be_said_than_is_known() {
    let cast = kept().await;
    let world = &cast.world;
    let other = world.test.process().await;
    let (vault, operator) = (&world.identity.vault, world.as_operator());
    let recalled = world.identity.ctx.db.tx("unlocked_recall", async |tx| {
        let wish = erasures::lock(tx, cast.survivor).await?.unwrap();
        let ids = erasures::ids_of(tx, cast.survivor).await?;
        split_members(&other, vault, &operator, cast.merged).await?;
        let wish = wish.recall(tx.now())?;
        erasures::save(tx, &wish).await?;
        tx.emit(publish::erasure(&wish, &ids));
        Ok(())
    });
    recalled.await.unwrap();
    assert_eq!(floor_and_heard(&cast).await, (3, 4));
}

/// The survivor's wish was said of both and came to a high version; then they part, and the other
/// one wishes so herself. Every service takes that as news, and she is forgotten.
#[tokio::test]
async fn who_was_split_off_is_forgotten_by_everybody() {
    let cast = kept().await;
    let world = &cast.world;
    let both = heard_of(world, cast.merged).await;
    let versions: Vec<i64> = both.iter().map(|it| it.1).collect();
    assert_eq!(versions, [3], "kept by the merge");
    let split = cast.split(&world.as_operator()).await;
    assert_eq!(codes(&split), [""; 0], "{split}");

    let wish = erase(world, &world.as_member(cast.merged), None, 9).await;
    assert_eq!(codes(&wish), [""; 0], "{wish}");
    world.advance(GRACE_SECONDS);
    settle(world).await;
    assert!(is_news(world, cast.merged).await);
    let (by, version, state) = heard_of(world, cast.merged).await.pop().unwrap();
    assert_eq!(
        (by.as_slice(), state),
        (&cast.merged.0.as_bytes()[..], State::Closing)
    );
    nothing_keeps(world, cast.merged, version).await;
    settle(world).await;
    assert_eq!(state_of(world, cast.merged).await, "erased");
    let gone = world.events_of("PersonErased").await;
    let gone: PersonErased = gone[0].decode();
    assert_eq!(gone.member_ids, [cast.merged.0.as_bytes().to_vec()]);
    assert!(gone.version > version);
    assert_eq!(state_of(world, cast.survivor).await, "active");
    cast.assert_invariants().await;
}

/// What the record that goes had wished, and taken back, is older than what she wishes as one.
#[tokio::test]
async fn who_became_one_is_asked_about_under_both_ids() {
    let cast = cast().await;
    let world = &cast.world;
    let merged = world.as_member(cast.merged);
    closing(world, &merged).await;
    let recall = "mutation { recallErasure { userErrors { code } } }";
    let _ = world.run(&merged, recall, json!({})).await;
    let before = heard_of(world, cast.merged).await;
    assert_eq!(
        before.last().map(|it| it.1),
        Some(3),
        "asked about, and taken back"
    );
    cast.merge().await;
    world.advance(UNDO_DAYS * DAY_SECONDS - GRACE_SECONDS);
    closing(world, &world.as_member(cast.survivor)).await;
    assert!(is_news(world, cast.merged).await);
    cast.assert_invariants().await;
}

/// The law's days are what the program reckons with.
#[tokio::test]
async fn the_rights_are_as_reckoned_with() {
    let world = World::new().await;
    let db = &world.identity.ctx.db;
    let right = async |name: &'static str| {
        let right = db.tx("right", async |tx| erasures::right(tx, name).await);
        right.await.unwrap()
    };
    let erasure = Right {
        deadline: TimeDelta::days(DEADLINE_DAYS),
        grace: TimeDelta::days(GRACE_DAYS),
    };
    assert_eq!(right("erasure").await, erasure);
    // Which the sentences and this invariant say in words of their own.
    assert_eq!(UNDO_DAYS, 10);
    let mut all = identity::verify::INVARIANTS.iter();
    let copies = all.find(|it| it.id == "identity.copies_name_one").unwrap();
    assert!(copies.sql.contains(&format!("'{UNDO_DAYS} days'")));
    // Who is refused a copy while a merge can be undone has it in time all the same.
    assert!(right("export").await.deadline > TimeDelta::days(UNDO_DAYS));
}

/// Who wishes to be forgotten right after a merge is kept while it can be undone, and forgotten
/// before her deadline.
#[tokio::test]
async fn a_merge_keeps_nobody_beyond_her_deadline() {
    let cast = cast().await;
    let world = &cast.world;
    cast.merge().await;
    let began = world.identity.ctx.clock.now();
    kept_here(world, &world.as_member(cast.survivor)).await;
    let last = async || heard_of(world, cast.survivor).await.pop().unwrap();
    let mut days = GRACE_DAYS;
    while last().await.2 == State::Open {
        assert!(days < UNDO_DAYS, "kept by the merge alone");
        world.advance(HELD_HOURS * 3_600);
        settle(world).await;
        days += 1;
    }
    assert_eq!(days, UNDO_DAYS, "and by nothing after it");
    let (_, version, state) = last().await;
    assert_eq!(state, State::Closing);
    nothing_keeps(world, cast.survivor, version).await;
    settle(world).await;
    assert_eq!(state_of(world, cast.survivor).await, "erased");
    let deadline = began + TimeDelta::days(DEADLINE_DAYS);
    assert!(world.identity.ctx.clock.now() < deadline);
    assert_eq!(state_of(world, cast.merged).await, "erased");
    cast.assert_invariants().await;
}
