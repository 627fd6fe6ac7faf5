//! Due work: every planned row runs, once at a time, until it is done or taken back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use kit::due::{self, After, CLAIM_SECONDS, Job, NewDue, RETRY_DELAY_SECONDS_MAX, Work};
use kit::migrate::KIT;
use kit::testing::{self, TestDb};
use kit::{Ctx, Error, Result, Tx};
use sea_orm::FromQueryResult;

pub(crate) async fn database() -> TestDb {
    testing::db("alpha", &[KIT]).await
}

pub(crate) async fn plan(ctx: &Ctx, rows: &[NewDue]) {
    ctx.db
        .tx("plan", async |tx| {
            rows.iter().cloned().for_each(|row| tx.plan(row));
            Ok(())
        })
        .await
        .unwrap();
}

pub(crate) fn after(ctx: &Ctx, seconds: i64, subject: &str) -> NewDue {
    NewDue::new(
        "ring",
        subject,
        ctx.clock.now() + TimeDelta::seconds(seconds),
    )
}

pub(crate) async fn rows(ctx: &Ctx) -> i64 {
    #[derive(FromQueryResult)]
    struct Count {
        n: i64,
    }
    ctx.db
        .one::<Count>("SELECT count(*) AS n FROM due", [])
        .await
        .unwrap()
        .unwrap()
        .n
}

/// Remembers what it ran, and fails as often as it is told.
#[derive(Default)]
struct Ringing {
    rang: Mutex<Vec<String>>,
    numbers: Mutex<Vec<String>>,
    failures: AtomicUsize,
    again: Option<DateTime<Utc>>,
}

impl Work for Ringing {
    async fn run(&self, job: &Job) -> Result<After> {
        self.numbers.lock().unwrap().push(job.request_no());
        let less = |left: usize| left.checked_sub(1);
        if self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
        {
            return Err(Error::Unavailable("a test says so"));
        }
        self.rang.lock().unwrap().push(job.subject.clone());
        Ok(self.again.map_or(After::Done, After::At))
    }
}

impl Ringing {
    fn rang(&self) -> Vec<String> {
        let mut rang = self.rang.lock().unwrap().clone();
        rang.sort();
        rang
    }
}

/// What is due runs and leaves; what is not waits for its time. The same row is planned once.
#[tokio::test]
async fn work_runs_when_it_is_due() {
    let test = database().await;
    let ctx = &test.ctx;
    plan(
        ctx,
        &[
            after(ctx, 0, "a"),
            after(ctx, 60, "b"),
            after(ctx, 60, "b").ordinal(1),
        ],
    )
    .await;
    plan(ctx, &[after(ctx, 90, "b")]).await;
    assert_eq!(rows(ctx).await, 3);
    let work = Ringing::default();
    assert_eq!(due::step(ctx, &work).await.unwrap(), 1);
    assert_eq!(due::step(ctx, &work).await.unwrap(), 0);
    ctx.clock.advance(TimeDelta::seconds(60));
    assert_eq!(due::step(ctx, &work).await.unwrap(), 2);
    assert_eq!(work.rang(), ["a", "b", "b"]);
    assert_eq!(rows(ctx).await, 0);
}

/// Work of a command that did not commit is not planned.
#[tokio::test]
async fn work_is_planned_with_its_command() {
    let test = database().await;
    let ctx = &test.ctx;
    let failed: Result<()> = ctx
        .db
        .tx("fail", async |tx| {
            tx.plan(NewDue::new("ring", "a", tx.now()));
            Err(Error::NotFound)
        })
        .await;
    assert!(failed.is_err());
    assert_eq!(rows(ctx).await, 0);
}

/// Two processes never run the same row at the same time.
#[tokio::test]
async fn two_processes_share_the_work() {
    let test = database().await;
    let ctx = &test.ctx;
    let twin = test.process().await;
    let rows: Vec<NewDue> = (0..200)
        .map(|n| after(ctx, 0, &format!("{n:03}")))
        .collect();
    plan(ctx, &rows).await;
    let work = Ringing::default();
    let drain = async |ctx: &Ctx| while due::step(ctx, &work).await.unwrap() > 0 {};
    tokio::join!(drain(ctx), drain(&twin));
    let every: Vec<String> = (0..200).map(|n| format!("{n:03}")).collect();
    assert_eq!(work.rang(), every);

    for _ in 0..10 {
        plan(ctx, &[after(ctx, 0, "one")]).await;
        let work = Ringing::default();
        let steps = (0..8).map(|n| due::step(if n % 2 == 0 { ctx } else { &twin }, &work));
        let ran = futures::future::join_all(steps).await;
        assert_eq!(ran.into_iter().map(Result::unwrap).sum::<usize>(), 1);
        assert_eq!(work.rang(), ["one"]);
    }
}

#[derive(FromQueryResult)]
struct Id {
    id: uuid::Uuid,
}

/// Whatever plan the database makes of a claim, no more than one step's jobs are claimed.
#[tokio::test]
async fn no_plan_claims_more_than_one_step_may() {
    let test = database().await;
    let owner = test.owner().await;
    for other in ["hashagg", "hashjoin", "material", "mergejoin", "sort"] {
        let sql = format!("ALTER DATABASE {} SET enable_{other} = off", test.name());
        owner.execute(&sql, []).await.unwrap();
    }
    let ctx = test.process().await;
    let two = i32::try_from(2 * due::JOBS_MAX).unwrap();
    let rows: Vec<NewDue> = (0..two)
        .map(|n| after(&ctx, 0, "bell").ordinal(n))
        .collect();
    plan(&ctx, &rows).await;
    let step = due::step(&ctx, &Ringing::default()).await.unwrap();
    assert_eq!(step, due::JOBS_MAX);
}

/// What a claim asks for. The lock is what lets another process pass over the row.
async fn unclaimed(tx: &Tx, lock: &str) -> Result<Vec<Id>> {
    let sql = format!("SELECT id FROM due WHERE run_at <= $1 AND claimed_until IS NULL {lock}");
    tx.all::<Id>(&sql, [tx.now().into()]).await
}

async fn claim(tx: &Tx, rows: Vec<Id>) -> Result<usize> {
    let ids: Vec<uuid::Uuid> = rows.iter().map(|row| row.id).collect();
    let until = tx.now() + TimeDelta::seconds(CLAIM_SECONDS);
    tx.execute(
        "UPDATE due SET claimed_until = $2 WHERE id = ANY ($1)",
        [ids.into(), until.into()],
    )
    .await?;
    Ok(rows.len())
}

/// How many claims two processes get for one row, when both look before either claims.
async fn claims_at_once(test: &TestDb, lock: &'static str) -> usize {
    let twin = test.process().await;
    plan(&test.ctx, &[after(&test.ctx, 0, "a")]).await;
    let both = async |first: &Tx| {
        let seen = unclaimed(first, lock).await?;
        let second = async |second: &Tx| {
            let seen = unclaimed(second, lock).await?;
            claim(second, seen).await
        };
        Ok(twin.db.tx("second", second).await? + claim(first, seen).await?)
    };
    test.ctx.db.tx("first", both).await.unwrap()
}

/// A row that is looked up without its lock is claimed by both who look at the same moment.
#[tokio::test]
async fn without_its_lock_a_row_is_claimed_twice() {
    let guarded = database().await;
    assert_eq!(claims_at_once(&guarded, "FOR UPDATE SKIP LOCKED").await, 1);
    assert_eq!(claims_at_once(&database().await, "").await, 2);
}

/// A failing job is tried again, later and later, as the same outside request.
#[tokio::test]
async fn failing_work_is_tried_again() {
    let test = database().await;
    let ctx = &test.ctx;
    plan(ctx, &[after(ctx, 0, "a")]).await;
    let work = Ringing {
        failures: AtomicUsize::new(12),
        ..Ringing::default()
    };
    let mut waits = Vec::new();
    while rows(ctx).await > 0 {
        if due::step(ctx, &work).await.unwrap() == 0 {
            ctx.clock.advance(TimeDelta::seconds(1));
            *waits.last_mut().unwrap() += 1;
        } else {
            waits.push(0);
        }
    }
    assert_eq!(waits[..4], [2, 4, 8, 16]);
    assert!(waits.iter().all(|wait| *wait <= RETRY_DELAY_SECONDS_MAX));
    assert_eq!(work.rang(), ["a"]);
    let mut numbers = work.numbers.lock().unwrap().clone();
    assert_eq!(numbers.len(), 13);
    numbers.dedup();
    assert_eq!(numbers.len(), 1, "a repeat was another request");
    assert_eq!(numbers[0].len(), 32);
}

/// A job whose process died runs again when its claim has ended.
#[tokio::test]
async fn a_dead_process_leaves_its_work() {
    let test = database().await;
    let ctx = &test.ctx;
    plan(ctx, &[after(ctx, 0, "a")]).await;
    ctx.db
        .execute(
            "UPDATE due SET claimed_until = $1",
            [(ctx.clock.now() + TimeDelta::seconds(CLAIM_SECONDS)).into()],
        )
        .await
        .unwrap();
    let work = Ringing::default();
    assert_eq!(due::step(ctx, &work).await.unwrap(), 0);
    ctx.clock.advance(TimeDelta::seconds(CLAIM_SECONDS + 1));
    assert_eq!(due::step(ctx, &work).await.unwrap(), 1);
}

/// A job that sees its claim put off while it runs.
struct Long(Ctx);

impl Work for Long {
    async fn run(&self, _job: &Job) -> Result<After> {
        let claimed = claimed_until(&self.0).await;
        self.0.clock.advance(TimeDelta::seconds(CLAIM_SECONDS - 1));
        while claimed_until(&self.0).await == claimed {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Ok(After::Done)
    }
}

async fn claimed_until(ctx: &Ctx) -> DateTime<Utc> {
    #[derive(FromQueryResult)]
    struct Row {
        claimed_until: DateTime<Utc>,
    }
    let row: Option<Row> = ctx
        .db
        .one("SELECT claimed_until FROM due", [])
        .await
        .unwrap();
    row.unwrap().claimed_until
}

/// However long a job takes, nobody else takes it meanwhile.
#[tokio::test]
async fn a_claim_lasts_as_long_as_its_job() {
    let test = database().await;
    let ctx = &test.ctx;
    plan(ctx, &[after(ctx, 0, "a")]).await;
    assert_eq!(due::step(ctx, &Long(ctx.clone())).await.unwrap(), 1);
    let left = due::step(ctx, &Ringing::default()).await.unwrap();
    assert_eq!(left, 0, "it is done");
}

/// Work is taken back when it is no longer needed, and goes on at another time when it says so.
#[tokio::test]
async fn work_is_cancelled_or_goes_on() {
    let test = database().await;
    let ctx = &test.ctx;
    plan(ctx, &[after(ctx, 0, "a"), after(ctx, 0, "b")]).await;
    ctx.db
        .tx("cancel", async |tx| due::cancel(tx, "ring", "a").await)
        .await
        .unwrap();
    let later = ctx.clock.now() + TimeDelta::seconds(30);
    let work = Ringing {
        again: Some(later),
        ..Ringing::default()
    };
    assert_eq!(due::step(ctx, &work).await.unwrap(), 1);
    assert_eq!(due::step(ctx, &work).await.unwrap(), 0);
    ctx.clock.advance(TimeDelta::seconds(30));
    assert_eq!(due::step(ctx, &Ringing::default()).await.unwrap(), 1);
    assert_eq!(work.rang(), ["b"]);
    assert_eq!(rows(ctx).await, 0);
}

/// Plans its own row again while it runs, the first time, as another command would.
struct AskedAgain {
    ctx: Ctx,
    runs: AtomicUsize,
}

impl Work for AskedAgain {
    async fn run(&self, job: &Job) -> Result<After> {
        if self.runs.fetch_add(1, Ordering::SeqCst) == 0 {
            plan(&self.ctx, &[after(&self.ctx, 0, &job.subject)]).await;
        }
        Ok(After::Done)
    }
}

/// What is planned while its row runs is not lost with the end of that run: the row runs once
/// more, and then it is gone.
#[tokio::test]
async fn work_planned_while_it_runs_runs_again() {
    let test = database().await;
    let work = AskedAgain {
        ctx: test.ctx.clone(),
        runs: AtomicUsize::new(0),
    };
    plan(&test.ctx, &[after(&test.ctx, 0, "a")]).await;
    assert_eq!(due::step(&test.ctx, &work).await.unwrap(), 1);
    assert_eq!(rows(&test.ctx).await, 1, "the second plan was lost");
    assert_eq!(due::step(&test.ctx, &work).await.unwrap(), 1);
    assert_eq!(work.runs.load(Ordering::SeqCst), 2);
    assert_eq!(rows(&test.ctx).await, 0);
}
