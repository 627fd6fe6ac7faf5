//! Due work: every timer and every call to the outside is a row, written in the command's
//! transaction and drained by [`step`].
//!
//! A job runs at least once, so what it does must be the same when done twice: the number of an
//! outside request derives from the row ([`Job::request_no`]). Jobs hold no transaction while
//! they run; they open their own for what they learn.

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::{Ctx, Error, Result, Tx};

/// Jobs claimed in one step, at most.
pub const JOBS_MAX: i64 = 64;
/// Jobs of one step that run at the same time.
const JOBS_AT_ONCE: usize = 8;
/// How long a claim lasts: a job whose process died is run again after it.
pub const CLAIM_SECONDS: i64 = 60;
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

pub(crate) async fn insert(tx: &Tx, rows: &[NewDue]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = rows
        .iter()
        .map(|row| due_id(row.kind, &row.subject, row.ordinal))
        .collect();
    let kinds: Vec<String> = rows.iter().map(|row| row.kind.to_owned()).collect();
    let subjects: Vec<String> = rows.iter().map(|row| row.subject.clone()).collect();
    let ordinals: Vec<i32> = rows.iter().map(|row| row.ordinal).collect();
    let payloads: Vec<String> = rows.iter().map(|row| row.payload.to_string()).collect();
    let times: Vec<DateTime<Utc>> = rows.iter().map(|row| row.at).collect();
    tx.execute(
        "INSERT INTO due (id, kind, subject, ordinal, payload, run_at, created_at)
         SELECT i, k, s, o, p::jsonb, a, $7
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::timestamptz[])
           AS t (i, k, s, o, p, a)
         ON CONFLICT (kind, subject, ordinal) DO NOTHING",
        [
            ids.into(),
            kinds.into(),
            subjects.into(),
            ordinals.into(),
            payloads.into(),
            times.into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
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

/// Claims what is due now and runs it; the number of jobs run. Two processes never claim the
/// same row.
///
/// # Errors
/// When the database fails; the errors of jobs stay in their rows.
pub async fn step<W: Work>(ctx: &Ctx, work: &W) -> Result<usize> {
    let jobs = ctx
        .db
        .tx("due_claim", async |tx| {
            tx.all::<Job>(
                "UPDATE due SET claimed_until = $2, attempts = attempts + 1
                 WHERE id IN (SELECT id FROM due
                    WHERE run_at <= $1 AND (claimed_until IS NULL OR claimed_until < $1)
                    ORDER BY run_at LIMIT $3 FOR UPDATE SKIP LOCKED)
                 RETURNING id, kind, subject, ordinal, payload, attempts, run_at, created_at",
                [
                    tx.now().into(),
                    (tx.now() + TimeDelta::seconds(CLAIM_SECONDS)).into(),
                    JOBS_MAX.into(),
                ],
            )
            .await
        })
        .await?;
    let count = jobs.len();
    let mut runs = futures::stream::iter(jobs.into_iter().map(|job| run_one(ctx, work, job)))
        .buffer_unordered(JOBS_AT_ONCE);
    while let Some(result) = runs.next().await {
        result?;
    }
    Ok(count)
}

async fn run_one<W: Work>(ctx: &Ctx, work: &W, job: Job) -> Result<()> {
    match work.run(&job).await {
        Ok(After::Done) => {
            ctx.db
                .execute("DELETE FROM due WHERE id = $1", [job.id.into()])
                .await?;
        }
        Ok(After::At(at)) => {
            ctx.db
                .execute(
                    "UPDATE due SET run_at = $2, claimed_until = NULL, attempts = 0,
                       last_error = NULL WHERE id = $1",
                    [job.id.into(), at.into()],
                )
                .await?;
        }
        Err(error) => postpone(ctx, &job, &error).await?,
    }
    Ok(())
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
