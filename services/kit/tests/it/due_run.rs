//! How a process runs its due work: what holds up what.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use kit::due::{self, After, Job, Work};
use kit::testing;
use kit::{Db, Result, Tx};
use sea_orm::FromQueryResult;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::due::{after, database, plan, rows};

/// One job waits until another has run.
struct SlowAndQuick {
    quick_ran: Notify,
    slow_ended: Notify,
}

impl Work for SlowAndQuick {
    async fn run(&self, job: &Job) -> Result<After> {
        if job.subject == "slow" {
            self.quick_ran.notified().await;
            self.slow_ended.notify_one();
        } else {
            self.quick_ran.notify_one();
        }
        Ok(After::Done)
    }
}

/// A job that takes long holds up nothing that becomes due after it was claimed.
#[tokio::test]
async fn a_slow_job_holds_up_no_other() {
    let test = database().await;
    let work = Arc::new(SlowAndQuick {
        quick_ran: Notify::new(),
        slow_ended: Notify::new(),
    });
    plan(&test.ctx, &[after(&test.ctx, 0, "slow")]).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(due::run(test.ctx.clone(), work.clone(), stop.clone()));
    let claimed = async {
        while test
            .ctx
            .db
            .one::<Claim>(CLAIMED, [])
            .await
            .unwrap()
            .unwrap()
            .n
            == 0
        {
            tokio::task::yield_now().await;
        }
        plan(&test.ctx, &[after(&test.ctx, 0, "quick")]).await;
        work.slow_ended.notified().await;
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), claimed).await;
    assert!(waited.is_ok(), "the quick job waited for the slow one");
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(rows(&test.ctx).await, 0);
}

/// Work that waits for a test to say go, but for one.
#[derive(Default)]
struct Stuck {
    begun: AtomicUsize,
    go: CancellationToken,
    asked_ran: Notify,
}

impl Work for Stuck {
    async fn run(&self, job: &Job) -> Result<After> {
        if job.subject == "asked" {
            self.asked_ran.notify_one();
        } else {
            self.begun.fetch_add(1, Ordering::SeqCst);
            self.go.cancelled().await;
        }
        Ok(After::Done)
    }
}

/// A backlog that takes all the room there is holds up nothing that is asked for now.
#[tokio::test]
async fn what_is_asked_for_now_does_not_wait_behind_a_backlog() {
    let test = database().await;
    let ctx = &test.ctx;
    let work = Arc::new(Stuck::default());
    let backlog: Vec<_> = (0..due::JOBS_AT_ONCE + 1)
        .map(|at| after(ctx, 60, &at.to_string()))
        .collect();
    plan(ctx, &backlog).await;
    ctx.clock.advance(TimeDelta::seconds(60));
    let stop = CancellationToken::new();
    let looping = due::run(ctx.clone(), work.clone(), stop.clone());
    let asked = async {
        while work.begun.load(Ordering::SeqCst) < due::JOBS_AT_ONCE {
            tokio::task::yield_now().await;
        }
        plan(ctx, &[after(ctx, 0, "asked")]).await;
        work.asked_ran.notified().await;
        assert_eq!(work.begun.load(Ordering::SeqCst), due::JOBS_AT_ONCE);
        work.go.cancel();
        while rows(ctx).await > 0 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(looping, asked) };
    let waited = tokio::time::timeout(Duration::from_secs(20), both).await;
    let (looped, ()) = waited.expect("it waited behind the backlog, or the backlog for ever");
    looped.unwrap();
}

const CLAIMED: &str = "SELECT count(*) AS n FROM due WHERE claimed_until IS NOT NULL";

#[derive(FromQueryResult)]
struct Claim {
    n: i64,
}

/// Jobs that hold a connection each while they wait.
struct Holding {
    db: Db,
    ended: AtomicUsize,
}

impl Work for Holding {
    async fn run(&self, _job: &Job) -> Result<After> {
        let hold = async |tx: &Tx| tx.execute("SELECT pg_sleep(0.02)", []).await;
        let _rows = self.db.tx("hold", hold).await?;
        let _rows = self.db.tx("hold", hold).await?;
        self.ended.fetch_add(1, Ordering::SeqCst);
        Ok(After::Done)
    }
}

/// More jobs at once than there are connections: the next claim waits for one with them, and holds
/// none of them up.
#[tokio::test]
async fn jobs_that_fill_the_pool_do_not_stop_the_loop() {
    const JOBS: usize = 40;
    let test = database().await;
    let work = Arc::new(Holding {
        db: test.ctx.db.clone(),
        ended: AtomicUsize::new(0),
    });
    assert!(due::JOBS_AT_ONCE > usize::try_from(testing::CONNECTIONS_MAX).unwrap());
    let jobs: Vec<_> = (0..JOBS)
        .map(|at| after(&test.ctx, 0, &at.to_string()))
        .collect();
    plan(&test.ctx, &jobs).await;
    let stop = CancellationToken::new();
    let looping = due::run(test.ctx.clone(), work.clone(), stop.clone());
    let ended = async {
        while work.ended.load(Ordering::SeqCst) < JOBS {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(looping, ended) };
    let waited = tokio::time::timeout(Duration::from_secs(6), both).await;
    let (looped, ()) = waited.expect("the loop stands still for want of a connection");
    looped.unwrap();
    assert_eq!(rows(&test.ctx).await, 0);
}
