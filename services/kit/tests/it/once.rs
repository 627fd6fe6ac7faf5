//! The idempotency record: whatever comes twice, at once or later, acts once.

use chrono::TimeDelta;
use kit::migrate::KIT;
use kit::once::{self, BatchOnce, BatchOutcome, KEEP_DAYS, Once, Request};
use kit::testing::{self, TestDb};
use kit::{Ctx, Error, Refusal, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::world::{THINGS, bump, thing};

async fn database() -> TestDb {
    testing::db("alpha", &[KIT, THINGS]).await
}

fn request(key: u128, what: &str) -> Request {
    Request {
        caller: thing(900),
        key: thing(key),
        hash: once::hash("bump", &[what]),
    }
}

/// A command that bumps a thing once for each key; its version as the outcome.
async fn command(ctx: &Ctx, request: &Request, refuse: Option<&Refusal>) -> Result<Vec<u8>> {
    ctx.db
        .tx("bump", async |tx| match once::begin(tx, request).await? {
            Once::Done(outcome) => Ok(outcome),
            Once::Refused(code) => Err(Error::permanent(code)),
            Once::First => {
                let version = bump(tx, thing(1)).await?;
                if let Some(refusal) = refuse {
                    return Err(refusal.clone().into());
                }
                once::finish(tx, &version.to_be_bytes())?;
                Ok(version.to_be_bytes().to_vec())
            }
        })
        .await
}

#[derive(FromQueryResult)]
struct Count {
    n: i64,
}

async fn version(ctx: &Ctx) -> i64 {
    let sql = "SELECT COALESCE(max(version), 0) AS n FROM thing";
    ctx.db.one::<Count>(sql, []).await.unwrap().unwrap().n
}

fn sold_out() -> Refusal {
    Refusal::new("SOLD_OUT", "", "售罄".into(), "sold out".into())
}

/// Twins that run at the same moment, in one process and in two, act once and hear the same.
#[tokio::test]
async fn twins_act_once() {
    let test = database().await;
    let twin = test.process().await;
    for key in 0..10 {
        let asked = request(key, "a");
        let tries = (0..8).map(|n| {
            let ctx = if n % 2 == 0 { &test.ctx } else { &twin };
            command(ctx, &asked, None)
        });
        let mut answers: Vec<Vec<u8>> = futures::future::join_all(tries)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        answers.dedup();
        assert_eq!(answers.len(), 1, "twins heard different answers");
        let acts = i64::try_from(key).unwrap() + 1;
        assert_eq!(version(&test.ctx).await, acts);
    }
}

/// Twins that each look the request up, act, and write the record after: the guard is off.
async fn twins_without_guard(test: &TestDb) -> Result<()> {
    let twin = test.process().await;
    let asked = request(1, "a");
    let key = || [asked.caller.into(), asked.key.into()];
    let is_first = async |tx: &Tx| -> Result<()> {
        let sql = "SELECT count(*) AS n FROM once WHERE caller = $1 AND key = $2";
        let seen = tx.one::<Count>(sql, key()).await?;
        assert_eq!(seen.map(|row| row.n), Some(0), "not at the same moment");
        Ok(())
    };
    let act = async |tx: &Tx| {
        bump(tx, thing(1)).await?;
        let sql = "INSERT INTO once (caller, key, request_hash, outcome, created_at)
                   VALUES ($1, $2, '', '', now())";
        tx.execute(sql, key()).await
    };
    let db = &test.ctx.db;
    db.tx("first", async |first| {
        is_first(first).await?;
        let second = async |second: &Tx| {
            is_first(second).await?;
            act(second).await
        };
        twin.db.tx("second", second).await?;
        act(first).await
    })
    .await?;
    Ok(())
}

/// Looking first and writing after, both twins find nothing: then it is the record's key alone
/// that lets one of them through, and without the key both act.
#[tokio::test]
async fn without_the_records_key_twins_act_twice() {
    let test = database().await;
    let error = twins_without_guard(&test).await.unwrap_err();
    assert_eq!(error.constraint().as_deref(), Some("once_pkey"));
    assert_eq!(version(&test.ctx).await, 1);

    let test = database().await;
    let owner = test.owner().await;
    let unguard = "ALTER TABLE once DROP CONSTRAINT once_pkey";
    owner.execute(unguard, []).await.unwrap();
    twins_without_guard(&test).await.unwrap();
    assert_eq!(version(&test.ctx).await, 2);
}

/// The same key with another request is refused, also under another twin's nose; the same key of
/// another caller is another key.
#[tokio::test]
async fn a_key_belongs_to_its_request() {
    let test = database().await;
    command(&test.ctx, &request(1, "a"), None).await.unwrap();
    let reused = command(&test.ctx, &request(1, "b"), None)
        .await
        .unwrap_err();
    assert!(matches!(&reused, Error::Refused(r) if r.code == "IDEMPOTENCY_KEY_REUSED"));
    assert_eq!(version(&test.ctx).await, 1);
    let other = Request {
        caller: thing(901),
        ..request(1, "b")
    };
    command(&test.ctx, &other, None).await.unwrap();
    assert_eq!(version(&test.ctx).await, 2);
}

/// A lasting refusal undoes what the command wrote, is recorded, and is what a replay hears even
/// if the reason is gone.
#[tokio::test]
async fn a_refusal_is_recorded() {
    let test = database().await;
    let asked = request(1, "a");
    let refused = command(&test.ctx, &asked, Some(&sold_out()))
        .await
        .unwrap_err();
    assert!(matches!(&refused, Error::Refused(r) if r.code == "SOLD_OUT"));
    assert_eq!(
        version(&test.ctx).await,
        0,
        "a refused command left something behind"
    );
    let again = command(&test.ctx, &asked, None).await.unwrap_err();
    assert_eq!(again.to_string(), "permanent: SOLD_OUT");
    assert_eq!(version(&test.ctx).await, 0);
}

/// "Not seen yet" and "busy" are not recorded, and a failure is not either: the same request may
/// come again.
#[tokio::test]
async fn what_passes_is_not_recorded() {
    let test = database().await;
    let asked = request(1, "a");
    let busy = sold_out().transient();
    assert!(command(&test.ctx, &asked, Some(&busy)).await.is_err());
    let failed: Result<()> = test
        .ctx
        .db
        .tx("fail", async |tx| {
            once::begin(tx, &asked).await?;
            Err(Error::internal("a bug"))
        })
        .await;
    assert!(failed.is_err());
    command(&test.ctx, &asked, None).await.unwrap();
    assert_eq!(version(&test.ctx).await, 1);
}

/// A command that forgets to record its outcome does not commit.
#[tokio::test]
async fn an_outcome_cannot_be_forgotten() {
    let test = database().await;
    let forgot = test
        .ctx
        .db
        .tx("forget", async |tx| {
            once::begin(tx, &request(1, "a")).await?;
            bump(tx, thing(1)).await
        })
        .await;
    assert!(forgot.is_err());
    assert_eq!(version(&test.ctx).await, 0);
}

/// A batch tells apart first, twin, reused and done, in the order of its requests.
#[tokio::test]
async fn a_batch_shares_one_answer() {
    let test = database().await;
    let done = command(&test.ctx, &request(5, "a"), None).await.unwrap();
    assert!(
        command(&test.ctx, &request(6, "a"), Some(&sold_out()))
            .await
            .is_err()
    );
    let asked = [
        request(1, "a"),
        request(5, "a"),
        request(1, "a"),
        request(1, "b"),
        request(6, "a"),
        request(2, "a"),
    ];
    let found = test
        .ctx
        .db
        .tx("batch", async |tx| batch(tx, &asked).await)
        .await
        .unwrap();
    assert_eq!(
        found,
        [
            BatchOnce::First,
            BatchOnce::Done(done),
            BatchOnce::Twin(0),
            BatchOnce::KeyReused,
            BatchOnce::Refused("SOLD_OUT".to_owned()),
            BatchOnce::First,
        ]
    );
    let again = test
        .ctx
        .db
        .tx("batch", async |tx| batch(tx, &asked).await)
        .await
        .unwrap();
    assert_eq!(again[0], BatchOnce::Done(vec![7]));
    assert_eq!(again[2], BatchOnce::Done(vec![7]));
    assert_eq!(
        again[5],
        BatchOnce::First,
        "a transient refusal was recorded"
    );
}

/// The first key is done, the last one is refused for the moment.
async fn batch(tx: &Tx, asked: &[Request]) -> Result<Vec<BatchOnce>> {
    let found = once::begin_batch(tx, asked).await?;
    let outcome = BatchOutcome {
        caller: asked[0].caller,
        key: asked[0].key,
        outcome: Ok(vec![7]),
    };
    if found[0] == BatchOnce::First {
        once::finish_batch(tx, &[outcome]);
    }
    once::forget_batch(tx, &asked[5..]).await?;
    Ok(found)
}

/// Two batches with the same keys in another order do not lock each other out.
#[tokio::test]
async fn batches_in_any_order_do_not_deadlock() {
    let test = database().await;
    let twin = test.process().await;
    let asked: Vec<Request> = (0..200).map(|key| request(key, "a")).collect();
    let reversed: Vec<Request> = asked.iter().rev().cloned().collect();
    let run = async |ctx: &Ctx, asked: &[Request]| {
        ctx.db
            .tx("batch", async |tx| {
                let found = once::begin_batch(tx, asked).await?;
                let outcomes: Vec<BatchOutcome> = asked
                    .iter()
                    .zip(&found)
                    .filter(|(_, once)| **once == BatchOnce::First)
                    .map(|(r, _)| BatchOutcome {
                        caller: r.caller,
                        key: r.key,
                        outcome: Ok(vec![1]),
                    })
                    .collect();
                once::finish_batch(tx, &outcomes);
                Ok(outcomes.len())
            })
            .await
            .unwrap()
    };
    let (one, other) = tokio::join!(run(&test.ctx, &asked), run(&twin, &reversed));
    assert_eq!(one + other, 200);
}

/// A record is forgotten after a week and not before.
#[tokio::test]
async fn records_are_swept_after_a_week() {
    let test = database().await;
    let ctx = &test.ctx;
    command(ctx, &request(1, "a"), None).await.unwrap();
    ctx.clock.advance(TimeDelta::days(KEEP_DAYS));
    let sweep = async || {
        ctx.db
            .tx("sweep", async |tx| once::sweep(tx).await)
            .await
            .unwrap()
    };
    assert_eq!(sweep().await, 0);
    ctx.clock.advance(TimeDelta::seconds(1));
    assert_eq!(sweep().await, 1);
    command(ctx, &request(1, "a"), None).await.unwrap();
    assert_eq!(version(ctx).await, 2);
    assert_ne!(once::hash("a", &["bc"]), once::hash("a", &["b", "c"]));
    assert_ne!(Uuid::nil(), thing(0));
}
