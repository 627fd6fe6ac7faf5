//! A chain that is walked since the last head that others witnessed: what stands behind that head
//! is hashed, what stands before is compared with the heads alone, and how much that is is said.

use chrono::TimeDelta;
use kit::audit::AuditRow;
use kit::audit::chain::Head;
use kit::audit::seal::HEAD_SECONDS;
use kit::audit::walk::{Broken, Fault, Restored, Walked, heads, restored, walk, walk_since};
use kit::testing::TestDb;
use kit::verify::{CHASSIS, check, check_whole};

use crate::audit::{act, database, seal_all, walked};

/// Nine rows, and heads at the fourth and at the seventh.
async fn two_heads() -> (TestDb, Vec<Head>) {
    let test = database().await;
    let ctx = &test.ctx;
    for n in 1..=9 {
        act(ctx, &n.to_string()).await;
        if [4, 7].contains(&n) {
            seal_all(ctx).await;
            ctx.clock.advance(TimeDelta::seconds(HEAD_SECONDS));
        }
    }
    let known = heads(&ctx.db).await.unwrap();
    let places: Vec<i64> = known.iter().map(|head| head.position).collect();
    assert_eq!(places, [4, 7]);
    // The last two are sealed, and no head says so yet.
    ctx.clock.advance(-TimeDelta::seconds(HEAD_SECONDS));
    seal_all(ctx).await;
    assert_eq!(heads(&ctx.db).await.unwrap(), known);
    (test, known)
}

async fn since(test: &TestDb, witnessed: &[Head]) -> Walked {
    let db = &test.ctx.db;
    let remembered = heads(db).await.unwrap();
    walk_since(db, (witnessed, &remembered[..]), |_| {})
        .await
        .unwrap()
}

/// How many seals the promise finds, as `bashu verify` looks and as it does with `--whole`.
async fn promised(test: &TestDb) -> (usize, usize) {
    let one = CHASSIS.iter().find(|one| one.id == "kit.audit_chain_hash");
    let (db, one) = (&test.ctx.db, one.unwrap());
    let quick = check(db, one).await.unwrap().len();
    (quick, check_whole(db, one).await.unwrap().len())
}

async fn plant(test: &TestDb, sql: &str) {
    test.owner().await.execute(sql, []).await.unwrap();
}

fn at(position: i64, audit: Option<i64>, fault: Fault) -> Option<Broken> {
    Some(Broken {
        position,
        audit,
        fault,
    })
}

/// A row that was changed before the last head is found in the whole chain; who looked since that
/// head says that nobody looked at it. Behind the head it is found at once.
#[tokio::test]
async fn what_was_not_looked_at_is_said() {
    let (test, known) = two_heads().await;
    let sound = since(&test, &known).await;
    assert_eq!((sound.unseen, sound.broken), (7, None));
    assert_eq!(sound.head.position, 9);
    assert_eq!(promised(&test).await, (0, 0));

    plant(&test, "UPDATE audit SET subject = '3x' WHERE subject = '3'").await;
    let quick = since(&test, &known[..1]).await;
    assert_eq!((quick.unseen, quick.broken), (4, None));
    let whole = walked(&test.ctx).await;
    assert_eq!(whole.unseen, 0);
    assert_eq!(whole.broken, at(3, Some(3), Fault::HashDiffers));
    assert_eq!(promised(&test).await, (0, 1));
    // Where nobody witnessed a head the chain is walked from its first row.
    assert_eq!(since(&test, &[]).await, whole);

    plant(&test, "UPDATE audit SET subject = '8x' WHERE subject = '8'").await;
    let quick = since(&test, &known).await;
    assert_eq!((quick.unseen, quick.head.position), (7, 7));
    assert_eq!(quick.broken, at(8, Some(8), Fault::HashDiffers));
    assert_eq!(promised(&test).await, (1, 2));
}

/// Whatever of a head itself was touched is found, however little is hashed: another seal at one
/// before, none, and an end before one.
#[tokio::test]
async fn every_head_is_compared() {
    let damages = [
        (
            "UPDATE audit_seal SET hash = sha256(hash) WHERE position = 4",
            at(4, Some(4), Fault::HeadDiffers),
        ),
        (
            "DELETE FROM audit_seal WHERE position = 4",
            at(4, None, Fault::SealMissing),
        ),
        (
            "UPDATE audit_seal SET hash = sha256(hash) WHERE position >= 4",
            at(4, Some(4), Fault::HeadDiffers),
        ),
        (
            "DELETE FROM audit_seal WHERE position > 5",
            at(6, None, Fault::CutShort),
        ),
    ];
    for (damage, wanted) in damages {
        let (test, known) = two_heads().await;
        plant(&test, damage).await;
        assert_eq!(since(&test, &known).await.broken, wanted, "{damage}");
    }
}

/// That a database was restored, when, and where its chain went on is known from the chain.
#[tokio::test]
async fn a_chain_says_where_it_went_on() {
    let (test, _) = two_heads().await;
    let ctx = &test.ctx;
    assert_eq!(restored(&ctx.db).await.unwrap(), None);
    let goes_on = ctx.db.tx("restored", async |tx| {
        tx.audit(AuditRow::system("restored", "alpha.v1"));
        Ok(tx.now())
    });
    let when = goes_on.await.unwrap();
    let said = |position| Some(Restored { at: when, position });
    assert_eq!(restored(&ctx.db).await.unwrap(), said(None));
    seal_all(ctx).await;
    assert_eq!(restored(&ctx.db).await.unwrap(), said(Some(10)));
    assert_eq!(walk(&ctx.db, &[], |_| {}).await.unwrap().broken, None);
}
