//! Transactions: tried again after a passing conflict, all or nothing, with everything that was
//! collected.

use std::sync::atomic::{AtomicU32, Ordering};

use chrono::TimeDelta;
use kit::audit::AuditRow;
use kit::db::TX_ATTEMPTS_MAX;
use kit::due::NewDue;
use kit::migrate::KIT;
use kit::testing;
use kit::{Ctx, Error, Refusal, Result, Tx};
use sea_orm::FromQueryResult;

use crate::world::{CHANGED, THINGS, bump, change_in, event, thing};

async fn count(ctx: &Ctx, table: &str) -> i64 {
    #[derive(FromQueryResult)]
    struct Count {
        n: i64,
    }
    let sql = format!("SELECT count(*) AS n FROM {table}");
    ctx.db.one::<Count>(&sql, []).await.unwrap().unwrap().n
}

/// A process whose clock is not the database's begins nothing, ahead or behind, until it is right.
/// ASVS V16.2.2.
#[tokio::test]
async fn a_clock_that_is_off_begins_nothing() {
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let bump = async || {
        test.ctx
            .db
            .tx("bump", async |tx| {
                change_in(tx, thing(1), CHANGED, b"fine").await
            })
            .await
    };
    for (ahead, runs) in [(31, false), (30, true), (-31, false), (-30, true)] {
        test.ctx.db.note_drift(TimeDelta::seconds(ahead));
        match bump().await {
            Ok(_) => assert!(runs, "{ahead} s"),
            Err(Error::Unavailable(_)) => assert!(!runs, "{ahead} s"),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(count(&test.ctx, "outbox").await, 2);
}

/// Whatever the server's default is, a transaction is read committed: locks are what decides.
#[tokio::test]
async fn a_transaction_reads_what_is_committed() {
    #[derive(FromQueryResult)]
    struct Level {
        level: String,
    }
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let database = "SELECT current_database()::text AS level";
    let name = test.ctx.db.one::<Level>(database, []).await.unwrap();
    let name = name.unwrap().level;
    let set = format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'");
    test.superuser().await.execute(&set, []).await.unwrap();
    let ctx = test.process().await;
    let level = ctx
        .db
        .tx("level", async |tx| {
            let sql = "SELECT current_setting('transaction_isolation') AS level";
            tx.one::<Level>(sql, []).await
        })
        .await
        .unwrap();
    assert_eq!(level.unwrap().level, "read committed");
}

/// A conflict that passes is tried again from the start, and what the failed attempt collected
/// is forgotten.
#[tokio::test]
async fn a_conflict_is_tried_again() {
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let attempts = AtomicU32::new(0);
    test.ctx
        .db
        .tx("conflict", async |tx| {
            change_in(tx, thing(1), CHANGED, b"fine").await?;
            if attempts.fetch_add(1, Ordering::SeqCst) < 2 {
                tx.execute("DO $$ BEGIN RAISE serialization_failure; END $$", [])
                    .await?;
            }
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
    assert_eq!(count(&test.ctx, "outbox").await, 1);
    assert_eq!(count(&test.ctx, "thing WHERE version = 1").await, 1);
}

/// Fails as often as it is told, each time with this error of the server's.
struct Contended {
    failures: AtomicU32,
    error: &'static str,
}

impl kit::resync::Source for Contended {
    fn aggregates(&self) -> &'static [&'static str] {
        &["thing"]
    }

    async fn resync(
        &self,
        tx: &Tx,
        _aggregate: &str,
        after: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>> {
        if after.is_some() {
            return Ok(None);
        }
        tx.emit(event(thing(1), CHANGED, 1, b"fine"));
        let less = |left: u32| left.checked_sub(1);
        if self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
        {
            let raise = format!("DO $$ BEGIN RAISE {}; END $$", self.error);
            tx.execute(&raise, []).await?;
        }
        Ok(Some(vec![1]))
    }
}

/// A resync goes on after a conflict with a command, and says nothing twice; it ends at what does
/// not pass.
#[tokio::test]
async fn a_resync_survives_a_conflict() {
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let run = async |error, failures| {
        let source = Contended {
            failures: AtomicU32::new(failures),
            error,
        };
        kit::resync::run(&test.ctx, &source, |_, _| {}).await
    };
    for error in ["serialization_failure", "deadlock_detected"] {
        let before = count(&test.ctx, "outbox").await;
        assert_eq!(run(error, 2).await.unwrap(), 2, "{error}");
        assert_eq!(count(&test.ctx, "outbox").await, before + 1, "{error}");
    }
    assert!(run("deadlock_detected", TX_ATTEMPTS_MAX).await.is_err());
    assert!(run("division_by_zero", 1).await.is_err());
}

/// It is not tried for ever, and what cannot pass is not tried twice.
#[tokio::test]
async fn attempts_are_bounded() {
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    for (error, wanted) in [
        ("deadlock_detected", TX_ATTEMPTS_MAX),
        ("division_by_zero", 1),
    ] {
        let attempts = AtomicU32::new(0);
        let raise = format!("DO $$ BEGIN RAISE {error}; END $$");
        let result: Result<()> = test
            .ctx
            .db
            .tx("bounded", async |tx| {
                attempts.fetch_add(1, Ordering::SeqCst);
                tx.execute(&raise, []).await?;
                Ok(())
            })
            .await;
        assert!(result.is_err());
        assert_eq!(attempts.load(Ordering::SeqCst), wanted, "{error}");
    }
}

/// A real deadlock of two commands: both come through.
#[tokio::test]
async fn a_deadlock_is_survived() {
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let ctx = &test.ctx;
    let both = tokio::sync::Barrier::new(2);
    let first_time = AtomicU32::new(0);
    let cross = async |first: u128, second: u128| {
        ctx.db
            .tx("cross", async |tx| {
                bump(tx, thing(first)).await?;
                if first_time.fetch_add(1, Ordering::SeqCst) < 2 {
                    both.wait().await;
                }
                bump(tx, thing(second)).await
            })
            .await
    };
    let (one, other) = tokio::join!(cross(1, 2), cross(2, 1));
    one.unwrap();
    other.unwrap();
    assert!(
        first_time.load(Ordering::SeqCst) > 2,
        "nobody was the victim"
    );
    assert_eq!(count(ctx, "thing WHERE version = 2").await, 2);
}

/// Events and audit rows come with the command or not at all; a refusal leaves nothing.
/// ASVS V2.3.3.
#[tokio::test]
async fn everything_commits_together() {
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let ctx = &test.ctx;
    let run = async |outcome: Result<()>| {
        let outcome = std::sync::Mutex::new(Some(outcome));
        ctx.db
            .tx("together", async |tx| {
                change_in(tx, thing(1), CHANGED, b"fine").await?;
                tx.audit(AuditRow::system("together", thing(1)));
                outcome.lock().unwrap().take().unwrap_or(Ok(()))
            })
            .await
    };
    run(Err(Error::NotFound)).await.unwrap_err();
    let refusal = Refusal::new("NO", "", "不".into(), "no".into());
    run(Err(refusal.into())).await.unwrap_err();
    let counts = async || (count(ctx, "thing").await, count(ctx, "outbox").await);
    assert_eq!((counts().await, count(ctx, "audit").await), ((0, 0), 0));
    run(Ok(())).await.unwrap();
    assert_eq!((counts().await, count(ctx, "audit").await), ((1, 1), 1));
}

/// An event that no broker would take is refused where it is written.
#[tokio::test]
async fn too_large_events_are_refused() {
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let payload = vec![0; kit::event::EVENT_BYTES_MAX + 1];
    let refused = test
        .ctx
        .db
        .tx("large", async |tx| {
            tx.emit(event(thing(1), CHANGED, 1, &payload));
            Ok(())
        })
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("too large"), "{refused}");
}

/// The kinds of database errors: a constraint is known by its name; a row that does not fit its
/// type is not the weather.
#[tokio::test]
async fn errors_are_told_apart() {
    #[derive(FromQueryResult, Debug)]
    struct Wrong {
        #[expect(dead_code, reason = "it never comes so far")]
        n: i64,
    }
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let db = &test.ctx.db;
    let twice = "INSERT INTO thing (id, version) VALUES ($1, 1), ($1, 1)";
    let unique = db.execute(twice, [thing(1).into()]).await.unwrap_err();
    assert_eq!(unique.constraint().as_deref(), Some("thing_pkey"));
    assert!(!unique.is_transient());
    let decode = db
        .one::<Wrong>("SELECT 'x'::text AS n", [])
        .await
        .unwrap_err();
    assert!(!decode.is_transient(), "{decode:?}");
    let conflict = db
        .execute("DO $$ BEGIN RAISE lock_not_available; END $$", [])
        .await;
    assert!(conflict.unwrap_err().is_transient());
    test.ctx.db.pool().clone().close().await.unwrap();
    let closed = db.execute("SELECT 1", []).await.unwrap_err();
    assert!(closed.is_transient(), "{closed:?}");
}

/// A caller who goes away while a transaction begins leaves no connection inside an open one: what
/// is written next by somebody else is there for everybody.
#[tokio::test]
async fn a_beginning_that_is_dropped_swallows_nothing() {
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let other = test.process().await;
    // However far it had come.
    for polls in 1..=12_u8 {
        {
            let mut begun = Box::pin(
                test.ctx
                    .db
                    .tx("dropped", async |tx| bump(tx, thing(1)).await),
            );
            for _ in 0..polls {
                if futures::poll!(&mut begun).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let id = thing(100 + u128::from(polls));
        let add = "INSERT INTO thing (id, version) VALUES ($1, 1)";
        test.ctx.db.execute(add, [id.into()]).await.unwrap();
        let there = format!("thing WHERE id = '{id}'");
        assert_eq!(count(&other, &there).await, 1, "after {polls} polls");
    }
}

/// Ends every session of the database that does nothing at the moment; how many there were.
async fn end_idle_sessions(test: &testing::TestDb, superuser: &kit::Db) -> i64 {
    #[derive(FromQueryResult)]
    struct Ended {
        n: i64,
    }
    let sql = "SELECT count(pg_terminate_backend(pid, 5000))::bigint AS n FROM pg_stat_activity
               WHERE datname = $1 AND usename = 'bashu_app' AND state = 'idle'";
    let ended = superuser.one::<Ended>(sql, [test.name().into()]).await;
    ended.unwrap().unwrap().n
}

/// Connections in steady use are not asked whether they live before each use. When the server ends
/// them all, every command still runs, once, and what reads is answered.
#[tokio::test]
async fn ended_connections_cost_no_command() {
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let superuser = test.superuser().await;
    let db = &test.ctx.db;
    let change = async || {
        db.tx("change", async |tx| {
            change_in(tx, thing(1), CHANGED, b"fine").await
        })
        .await
    };
    let mut changes = 0;
    for _ in 0..10 {
        // As many at once as the pool has connections.
        let (a, b, c, d) = tokio::join!(change(), change(), change(), change());
        for done in [a, b, c, d] {
            done.unwrap();
            changes += 1;
        }
        let ended = end_idle_sessions(&test, &superuser).await;
        assert!(ended > 0, "nothing was ended");
        change().await.unwrap();
        changes += 1;
        end_idle_sessions(&test, &superuser).await;
        let read = db.all::<Count>("SELECT count(*) AS n FROM thing", []);
        assert_eq!(read.await.unwrap().len(), 1);
    }
    let version = format!("thing WHERE version = {changes}");
    let other = test.process().await;
    assert_eq!(count(&other, &version).await, 1);
    assert_eq!(count(&other, "outbox").await, changes);
}

/// What reads needs no transaction, and changes nothing: not by a statement, not by what it leaves
/// to be written at the end.
#[tokio::test]
async fn what_reads_changes_nothing() {
    let test = testing::db("alpha", &[KIT, THINGS]).await;
    let db = &test.ctx.db;
    let insert = "INSERT INTO thing (id, version) VALUES ($1, 1)";
    db.execute(insert, [thing(1).into()]).await.unwrap();
    let seen = db
        .read("see", async |tx| {
            tx.one::<Count>("SELECT count(*) AS n FROM thing", []).await
        })
        .await;
    assert!(seen.unwrap().is_some());
    let changed = db
        .read("see", async |tx| {
            tx.execute("DELETE FROM thing", []).await.map(|_| ())
        })
        .await;
    assert!(matches!(changed, Err(Error::Internal(_))), "{changed:?}");
    let planned = db
        .read("see", async |tx| {
            tx.plan(NewDue::new("ring", "bell", tx.now()));
            Ok(())
        })
        .await;
    assert!(matches!(planned, Err(Error::Internal(_))), "{planned:?}");
    assert_eq!(count(&test.ctx, "thing").await, 1);
    assert_eq!(count(&test.ctx, "due").await, 0);
}

#[derive(FromQueryResult)]
struct Count {
    #[expect(dead_code, reason = "that it was read is enough")]
    n: i64,
}
