//! A person is forgotten while a roster brings her: whichever comes first, she is not in a union
//! and forgotten at once. With the lock left out she is.

use axum::http::StatusCode;
use identity::commands::erasures;
use identity::consumers::renders::Renders;
use identity::domain::membership::{Membership, Standing};
use identity::store::people::{self, Blind};
use kit::consumer::Handler;
use kit::testing::overtaken;
use kit::types::{MemberId, shanghai_date};
use proto::v1::message_requested::Purpose;
use uuid::Uuid;

use crate::consents::member;
use crate::erasures::{closing, nothing_keeps, record};
use crate::messages::message;
use crate::rosters::{begin, commit, compared, csv, line, officer_of, put, settle, view};
use crate::world::{World, codes, number, organisation_of};

fn blind(world: &World) -> Blind {
    use identity::domain::identifier::{Document, DocumentKind};
    let today = shanghai_date(world.identity.ctx.clock.now());
    let document = Document::parse(DocumentKind::ResidentId, &number(1), today).unwrap();
    world.identity.vault.blind_document(&document).unwrap()
}

/// Every service has answered, and what is due forgets her.
async fn about_to_be_forgotten() -> (World, MemberId) {
    let (world, member) = member().await;
    closing(&world, &world.as_member(member)).await;
    nothing_keeps(&world, member, 2).await;
    (world, member)
}

/// The roster of another union names her while she is being forgotten: she joins it and leaves it,
/// or comes as a new person.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roster_and_an_erasure_wait_for_each_other() {
    for round in 0..4 {
        let (world, member) = about_to_be_forgotten().await;
        let (union, officer) = officer_of(&world, "另一个工会", 50).await;
        let file = csv(&[line(50), line(1)]);
        // The wish waits while the roster is compared.
        let hold = "UPDATE due SET run_at = run_at + interval '1 hour' WHERE kind = 'erasure'";
        world.test.owner().await.execute(hold, []).await.unwrap();
        let id = compared(&world, &officer, (&union, "MEMBERSHIP"), file).await;
        let other = world.test.process().await;
        let erased = async {
            let run = erasures::run(&other, member).await;
            // She joined at this very moment: it is tried again, as due work is.
            if run.is_err() {
                erasures::run(&other, member).await.unwrap();
            }
        };
        let (done, ()) = tokio::join!(commit(&world, &officer, &id, round), erased);
        for promise in ["identity.erased_is_gone", "identity.erased_as_wished"] {
            assert_eq!(world.broken(promise).await, 0, "{promise}: {done}");
        }
        let gone = format!(
            "SELECT count(*) AS count FROM member WHERE id = '{}' AND state = 'erased'",
            member.0
        );
        assert_eq!(world.count(&gone).await, 1);
        settle(&world).await;
        assert_eq!(world.broken("identity.person_has_vault").await, 0);
    }
}

/// A file that was uploaded before somebody was forgotten and is compared after names somebody new,
/// as one that is uploaded later does: nothing is left by which it could be known to be she. The
/// officer is shown that, and decides; who was forgotten stays so.
#[tokio::test]
async fn a_roster_on_its_way_names_somebody_new() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 50).await;
    let member = world.person(&union, 1).await;
    closing(&world, &world.as_member(member)).await;
    nothing_keeps(&world, member, 2).await;
    let begun = begin(&world, &officer, &union, "MEMBERSHIP").await;
    let file = csv(&[line(50), line(1)]);
    let taken = put(&world, &begun["upload"]["path"], file).await;
    assert_eq!(taken, StatusCode::ACCEPTED);
    let _then = erasures::run(&world.identity.ctx, member).await.unwrap();
    settle(&world).await;
    let id = &begun["rosterImport"]["id"];
    let seen = view(&world, &officer, id).await;
    let counts = ["newCount", "unchangedCount", "badCount"].map(|it| seen[it].as_i64());
    assert_eq!(counts, [Some(1), Some(1), Some(0)], "{seen}");
    let people = "SELECT count(*) AS count FROM member";
    let before = world.count(people).await;
    assert_eq!(codes(&commit(&world, &officer, id, 1).await), [""; 0]);
    assert_eq!(world.count(people).await, before + 1);
    for promise in ["identity.erased_is_gone", "identity.erased_as_wished"] {
        assert_eq!(world.broken(promise).await, 0, "{promise}");
    }
    let erased = "SELECT id::text AS name FROM member WHERE state = 'erased'";
    assert_eq!(world.names(erased).await, [member.to_string()]);
}

/// Who was found by her document and is kept cannot be forgotten before the transaction ends.
#[tokio::test]
async fn who_is_decided_on_is_kept() {
    let (world, member) = about_to_be_forgotten().await;
    let (other, blind) = (world.test.process().await, blind(&world));
    let free = "SELECT id FROM member WHERE id = $1 FOR UPDATE SKIP LOCKED";
    for (keeps, expected) in [(true, 0), (false, 1)] {
        let db = &world.identity.ctx.db;
        let left = db.tx("decide", async |tx| {
            let found = if keeps {
                people::keep_by_documents(tx, &[blind]).await?
            } else {
                people::by_documents(tx, &[blind]).await?
            };
            assert_eq!(found[&blind].member, member.0);
            let take = async |tx: &kit::Tx| tx.execute(free, [member.0.into()]).await;
            other.db.tx("take", take).await
        });
        assert_eq!(left.await.unwrap(), expected, "kept: {keeps}");
    }
}

/// Without the lock a roster finds her, she is forgotten, and the roster then has her join.
#[tokio::test]
async fn without_the_lock_a_roster_brings_back_who_was_forgotten() {
    let (world, member) = about_to_be_forgotten().await;
    let union = world.organisation("GRASSROOTS", "另一个工会").await;
    let (other, blind) = (world.test.process().await, blind(&world));
    let db = &world.identity.ctx.db;
    let joined = db.tx("unlocked_roster", async |tx| {
        let found = people::by_documents(tx, &[blind]).await?;
        let found = found[&blind].member;
        erasures::run(&other, member).await?;
        let joins = Membership {
            id: Uuid::from_u128(0x77),
            version: 1,
            member: MemberId(found),
            organisation: organisation_of(&union),
            standing: Standing::Full,
            since: shanghai_date(tx.now()),
            created_at: tx.now(),
        };
        people::insert_memberships(tx, &[joins]).await
    });
    joined.await.unwrap();
    assert_eq!(world.broken("identity.erased_is_gone").await, 1);
}

/// What a service asks to be sent to her while she is being forgotten waits for that, and is not
/// kept.
#[tokio::test]
async fn a_message_that_comes_meanwhile_is_not_kept() {
    let (world, member) = about_to_be_forgotten().await;
    let other = world.test.process().await;
    let asked = message(&world, member, (1, Purpose::Contract));
    let records = [record(&world, &asked, "passes.v1")];
    let asked = other
        .db
        .tx("hear", async |tx| Renders.apply(tx, &records).await);
    let erased = erasures::run(&world.identity.ctx, member);
    let (erased, asked) = overtaken(&world.test, erased, asked).await;
    assert!(erased.is_ok() && asked.is_ok(), "{erased:?} {asked:?}");
    let kept = "SELECT count(*) AS count FROM sms_message";
    assert_eq!(world.count(kept).await, 0);
    assert_eq!(world.broken("identity.erased_is_gone").await, 0);
}

/// Without its lock it finds her there, waits for the reference alone, and is kept of nobody.
#[tokio::test]
async fn without_its_lock_a_message_would_be_of_nobody() {
    let (world, member) = about_to_be_forgotten().await;
    let other = world.test.process().await;
    let unlocked = format!(
        "INSERT INTO sms_message (id, service, template, about, member, purpose, content,
           asked_at, valid_until, state)
         SELECT gen_random_uuid(), 'passes', 'pass_to_activate', gen_random_uuid(), m.id,
           'contract', '[]', '2026-04-01', '2099-01-01', 'planned'
         FROM member m WHERE m.id = '{member}' AND m.state = 'active'"
    );
    let asked = other.db.execute(&unlocked, []);
    let erased = erasures::run(&world.identity.ctx, member);
    let (erased, asked) = overtaken(&world.test, erased, asked).await;
    assert!(erased.is_ok(), "{erased:?}");
    assert_eq!(asked.unwrap(), 1);
    assert_eq!(world.broken("identity.erased_is_gone").await, 1);
}
