//! Due work: every timer and every call to the outside is a row, written in the command's
//! transaction and drained by [`step`].
//!
//! A job runs at least once, so what it does must be the same when done twice: the number of an
//! outside request derives from the row ([`Job::request_no`]). Jobs hold no transaction while
//! they run; they open their own for what they learn. What is planned again while its row runs
//! makes the row run once more.
//!
//! What a process has just planned for now has slots of its own and goes newest first: after an
//! outage somebody who waits on the phone is not behind all who have left. Everything else goes
//! oldest first, so that nothing waits for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use sea_orm::{FromQueryResult, Value};
use uuid::Uuid;

use crate::bus::is_crash;
use crate::tx::Write;
use crate::{Ctx, Error, Result, Tx};

mod asked;
mod run;

pub use asked::Asked;
pub use run::run;

/// Jobs claimed in one step, at most.
pub const JOBS_MAX: usize = 64;
/// Jobs of one process and service that run at the same time, of those that waited.
pub const JOBS_AT_ONCE: usize = 16;
/// And beside them, of those just planned: most of a job is waiting for others, and the more so the
/// more there is to do.
pub const ASKED_AT_ONCE: usize = 64;
/// How long a claim lasts: a job whose process died is run again after it. It is renewed while the
/// job runs; one that was not renewed in time may run twice at once, which each job bears.
pub const CLAIM_SECONDS: i64 = 30;
const CLAIM_RENEWED_EVERY: Duration = Duration::from_secs(10);
/// The longest pause between two attempts of a failing job.
pub const RETRY_DELAY_SECONDS_MAX: i64 = 300;
const ERROR_CHARS_MAX: usize = 300;

/// Work to be planned with [`Tx::plan`]. The same (kind, subject, ordinal) is planned once.
#[derive(Clone, Debug)]
pub struct NewDue {
    pub kind: &'static str,
    /// What it is about: an aggregate's id as text.
    pub subject: String,
    /// Tells apart several rows of one kind for one subject.
    pub ordinal: i32,
    pub at: DateTime<Utc>,
    pub payload: serde_json::Value,
}

impl NewDue {
    pub fn new(kind: &'static str, subject: impl ToString, at: DateTime<Utc>) -> Self {
        Self {
            kind,
            subject: subject.to_string(),
            ordinal: 0,
            at,
            payload: serde_json::json!({}),
        }
    }

    #[must_use]
    pub fn ordinal(self, ordinal: i32) -> Self {
        Self { ordinal, ..self }
    }

    #[must_use]
    pub fn payload(self, payload: serde_json::Value) -> Self {
        Self { payload, ..self }
    }
}

/// A claimed row.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Job {
    pub id: Uuid,
    pub kind: String,
    pub subject: String,
    pub ordinal: i32,
    pub payload: serde_json::Value,
    /// Attempts including this one.
    pub attempts: i32,
    pub run_at: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
}

impl Job {
    /// The number of the outside request this row stands for: 32 hexadecimal digits, the same
    /// at each attempt.
    pub fn request_no(&self) -> String {
        self.id.simple().to_string()
    }
}

/// A claimed row, and how often it had been planned when it was claimed.
#[derive(Clone, Debug, FromQueryResult)]
pub(crate) struct Claimed {
    #[sea_orm(nested)]
    job: Job,
    asked: i32,
}

/// What becomes of the row after a job ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The row is removed.
    Done,
    /// The job runs again then; attempts count from zero.
    At(DateTime<Utc>),
}

/// A service's jobs.
pub trait Work: Send + Sync {
    /// Runs one job. An error leaves the row to be tried again with a growing pause, for ever:
    /// a job that should give up decides so itself.
    fn run(&self, job: &Job) -> impl Future<Output = Result<After>> + Send;
}

/// What plans the rows.
pub(crate) fn insert(tx: &Tx, rows: &[NewDue]) -> Option<Write> {
    if rows.is_empty() {
        return None;
    }
    // One row each, and always in the same order: two transactions never wait for each other.
    let rows: BTreeMap<Uuid, &NewDue> = rows
        .iter()
        .map(|row| (due_id(row.kind, &row.subject, row.ordinal), row))
        .collect();
    let ids: Vec<Uuid> = rows.keys().copied().collect();
    let kinds: Vec<String> = rows.values().map(|row| row.kind.to_owned()).collect();
    let subjects: Vec<String> = rows.values().map(|row| row.subject.clone()).collect();
    let ordinals: Vec<i32> = rows.values().map(|row| row.ordinal).collect();
    let payloads: Vec<String> = rows.values().map(|row| row.payload.to_string()).collect();
    let times: Vec<DateTime<Utc>> = rows.values().map(|row| row.at).collect();
    Some(Write::new(
        "INSERT INTO due (id, kind, subject, ordinal, payload, run_at, created_at)
         SELECT i, k, s, o, p::jsonb, a, $7
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::timestamptz[])
           WITH ORDINALITY AS t (i, k, s, o, p, a, n) ORDER BY n
         ON CONFLICT (kind, subject, ordinal) DO UPDATE SET asked = due.asked + 1,
           run_at = LEAST(due.run_at, EXCLUDED.run_at)",
        [
            ids.into(),
            kinds.into(),
            subjects.into(),
            ordinals.into(),
            payloads.into(),
            times.into(),
            tx.now().into(),
        ],
    ))
}

/// The rows that may run as soon as they are committed.
pub(crate) fn for_now(tx: &Tx, rows: &[NewDue]) -> Vec<Uuid> {
    let for_now = rows.iter().filter(|row| row.at <= tx.now());
    for_now
        .map(|row| due_id(row.kind, &row.subject, row.ordinal))
        .collect()
}

fn due_id(kind: &str, subject: &str, ordinal: i32) -> Uuid {
    Uuid::new_v5(
        &Uuid::NAMESPACE_OID,
        format!("due/{kind}/{subject}/{ordinal}").as_bytes(),
    )
}

/// Takes planned work back: what it was for has been settled.
///
/// # Errors
/// When the database fails.
pub async fn cancel(tx: &Tx, kind: &str, subject: &str) -> Result<()> {
    tx.execute(
        "DELETE FROM due WHERE kind = $1 AND subject = $2",
        [kind.into(), subject.into()],
    )
    .await?;
    Ok(())
}

/// Which rows are claimed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    /// Those that have been due longest, up to a number.
    Oldest(usize),
    /// These, if they are still there and nobody has them.
    These(&'a [Uuid]),
}

/// Claims rows that are due now, in one statement. Two processes never claim the same row. What was
/// claimed by a statement whose answer was lost, is due again when the claim has run out.
///
/// # Errors
/// When the database fails, or this machine's clock differs from the database's.
pub(crate) async fn claim(ctx: &Ctx, which: Which<'_>) -> Result<Vec<Claimed>> {
    ctx.db.drift.check()?;
    let (among, value): (&str, Value) = match which {
        Which::Oldest(jobs_max) => (
            "ORDER BY run_at, id LIMIT $3",
            i64::try_from(jobs_max).unwrap_or(i64::MAX).into(),
        ),
        Which::These(ids) => ("AND id = ANY ($3)", ids.to_vec().into()),
    };
    // An array is selected once. `IN` may be planned as a loop that selects anew for each row, and
    // each time finds other rows unlocked: more than the limit.
    let sql = format!(
        "UPDATE due SET claimed_until = $2, attempts = attempts + 1
         WHERE id = ANY (ARRAY(SELECT id FROM due
            WHERE run_at <= $1 AND (claimed_until IS NULL OR claimed_until < $1)
            {among} FOR UPDATE SKIP LOCKED))
         RETURNING id, kind, subject, ordinal, payload, attempts, run_at, created_at, asked"
    );
    let now = ctx.clock.now();
    let until = now + TimeDelta::seconds(CLAIM_SECONDS);
    ctx.db.all(&sql, [now.into(), until.into(), value]).await
}

/// Claims what is due now, runs it, and waits for all of it; the number of jobs run. A process
/// runs [`run`] instead, in which a slow job holds up no other.
///
/// # Errors
/// When the database fails; the errors of jobs stay in their rows.
pub async fn step<W: Work>(ctx: &Ctx, work: &W) -> Result<usize> {
    let jobs = claim(ctx, Which::Oldest(JOBS_MAX)).await?;
    let count = jobs.len();
    futures::stream::iter(jobs)
        .for_each_concurrent(JOBS_AT_ONCE, |claimed| run_one(ctx, work, claimed))
        .await;
    Ok(count)
}

/// [`step`] with one job only, so that a seed alone decides what comes after what.
///
/// # Errors
/// As [`step`], and when a job died at a point where a test wanted it to.
pub async fn step_one<W: Work>(ctx: &Ctx, work: &W) -> Result<usize> {
    let jobs = claim(ctx, Which::Oldest(1)).await?;
    for claimed in &jobs {
        run_and_settle(ctx, work, claimed).await?;
    }
    Ok(jobs.len())
}

/// Runs a claimed job. What cannot be written about its end is logged: the claim runs out and
/// the job runs again.
pub(crate) async fn run_one<W: Work>(ctx: &Ctx, work: &W, claimed: Claimed) {
    if let Err(error) = run_and_settle(ctx, work, &claimed).await {
        tracing::warn!(kind = claimed.job.kind, %error, "the end of due work is not on record");
    }
}

async fn run_and_settle<W: Work>(ctx: &Ctx, work: &W, claimed: &Claimed) -> Result<()> {
    let (id, asked) = (claimed.job.id, claimed.asked);
    let faults = ctx.db.faults();
    faults.point("due.claimed").await?;
    let ran = run_renewing(ctx, work, &claimed.job).await;
    faults.point("due.ran").await?;
    let settled = match ran {
        Ok(After::Done) => {
            let done = "DELETE FROM due WHERE id = $1 AND asked = $2";
            ctx.db.execute(done, [id.into(), asked.into()]).await?
        }
        Ok(After::At(at)) => {
            ctx.db
                .execute(
                    "UPDATE due SET run_at = $3, claimed_until = NULL, attempts = 0,
                       last_error = NULL WHERE id = $1 AND asked = $2",
                    [id.into(), asked.into(), at.into()],
                )
                .await?
        }
        // Nobody is left to write anything down: the claim runs out.
        Err(error) if is_crash(&error) => return Err(error),
        Err(error) => return postpone(ctx, &claimed.job, &error).await,
    };
    if settled == 0 {
        // It was planned again while it ran: once more, now.
        let again = "UPDATE due SET run_at = LEAST(run_at, $2), claimed_until = NULL, attempts = 0
                     WHERE id = $1";
        ctx.db
            .execute(again, [id.into(), ctx.clock.now().into()])
            .await?;
        ctx.wake.asked.push([id]);
    }
    Ok(())
}

/// Runs a job, and meanwhile keeps its claim.
async fn run_renewing<W: Work>(ctx: &Ctx, work: &W, job: &Job) -> Result<After> {
    let renewing = async {
        loop {
            tokio::time::sleep(CLAIM_RENEWED_EVERY).await;
            let until = ctx.clock.now() + TimeDelta::seconds(CLAIM_SECONDS);
            let renew = "UPDATE due SET claimed_until = $2 WHERE id = $1 AND claimed_until < $2";
            let renewed = ctx.db.execute(renew, [job.id.into(), until.into()]).await;
            if let Err(error) = renewed {
                tracing::warn!(kind = job.kind, %error, "a claim on due work was not renewed");
            }
        }
    };
    // Both go on side by side: a job may hold the connection that the other waits for.
    tokio::select! {
        ran = work.run(job) => ran,
        () = renewing => Err(Error::internal("a claim was renewed for ever")),
    }
}

async fn postpone(ctx: &Ctx, job: &Job, error: &Error) -> Result<()> {
    let exponent = u32::try_from(job.attempts.clamp(0, 16)).unwrap_or(16);
    let delay = 2_i64.saturating_pow(exponent).min(RETRY_DELAY_SECONDS_MAX);
    tracing::warn!(kind = job.kind, attempts = job.attempts, delay, %error, "due work failed");
    metrics::counter!("bashu_due_failures_total", "kind" => job.kind.clone()).increment(1);
    let text: String = error.to_string().chars().take(ERROR_CHARS_MAX).collect();
    ctx.db
        .execute(
            "UPDATE due SET run_at = $2, claimed_until = NULL, last_error = $3 WHERE id = $1",
            [
                job.id.into(),
                (ctx.clock.now() + TimeDelta::seconds(delay)).into(),
                text.into(),
            ],
        )
        .await?;
    Ok(())
}
