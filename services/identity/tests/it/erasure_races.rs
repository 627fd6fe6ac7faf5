//! A person is forgotten while a roster brings her: whichever comes first, she is not in a union
//! and forgotten at once. With the lock left out she is.

use identity::commands::erasures;
use identity::domain::membership::{Membership, Standing};
use identity::store::people::{self, Blind};
use kit::types::{MemberId, shanghai_date};
use uuid::Uuid;

use crate::consents::member;
use crate::erasures::{closing, nothing_keeps};
use crate::rosters::{commit, compared, csv, line, officer_of, settle};
use crate::world::{World, number, organisation_of};

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
