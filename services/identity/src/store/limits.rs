//! Counted attempts: how often someone did something in a window of time that ends now, and not
//! with the hour of the clock: nobody gets two limits' worth by waiting for that. Those who count
//! the same thing wait for each other, so no race passes a limit.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use kit::types::MemberId;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;

use super::broken;

/// Parts of a window: a row for each. What fell in a part counts until the part's end is a window
/// ago: for a window at least, and a part longer at most.
const PARTS: i32 = 60;
/// What the lock of a count is called by.
const LOCK_SEED: i64 = 0x0041_5454_454D_5054;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub struct Counter<'a> {
    pub scope: &'static str,
    pub subject: &'a [u8],
    pub window: TimeDelta,
}

impl Counter<'_> {
    /// When the part ends that `now` falls in.
    fn window_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now.duration_round_up(self.window / PARTS).unwrap_or(now)
    }

    /// The count of the window that ends now, after `more` are added; nobody else counts the same
    /// until the transaction ends.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add(&self, tx: &Tx, more: i32) -> Result<i32> {
        #[derive(FromQueryResult)]
        struct Row {
            count: i32,
        }
        let (scope, subject) = (self.scope, self.subject.to_vec());
        // A statement of its own: what the lock waited for is seen by the next.
        tx.execute(
            "SELECT pg_advisory_xact_lock(
               hashtextextended($1::text || encode($2::bytea, 'hex'), $3))",
            [scope.into(), subject.clone().into(), LOCK_SEED.into()],
        )
        .await?;
        let row = tx
            .one::<Row>(
                "WITH added AS (
                   INSERT INTO attempt AS a (scope, subject, window_at, count)
                   SELECT $1, $2, $3, $4 WHERE $4 <> 0
                   ON CONFLICT (scope, subject, window_at)
                   DO UPDATE SET count = a.count + EXCLUDED.count)
                 SELECT COALESCE(sum(count), 0)::int + $4 AS count FROM attempt
                 WHERE scope = $1 AND subject = $2 AND window_at > $5",
                [
                    scope.into(),
                    subject.into(),
                    self.window_at(tx.now()).into(),
                    more.into(),
                    (tx.now() - self.window).into(),
                ],
            )
            .await?;
        row.map(|row| row.count).ok_or_else(|| broken("count"))
    }

    /// Counts one more, unless there were `most` in the window already; whether it did. What is
    /// refused is not counted, or who asks on and on would bar for good whoever shares the count.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn one_more(&self, tx: &Tx, most: i32) -> Result<bool> {
        let is_within = self.add(tx, 1).await? <= most;
        if !is_within {
            self.add(tx, -1).await?;
        }
        Ok(is_within)
    }
}

/// A count within the hour and within the day.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    pub in_hour: i32,
    pub in_day: i32,
}

/// Adds `more` to what one person does under these scopes, of the hour and of the day; how often
/// it was now. Nobody else counts hers until the end, so that two at once are counted.
///
/// # Errors
/// When the database fails.
pub async fn count(
    tx: &Tx,
    (hour, day): (&'static str, &'static str),
    member: MemberId,
    more: i32,
) -> Result<Counts> {
    let counter = |scope, window| Counter {
        scope,
        subject: member.0.as_bytes(),
        window,
    };
    Ok(Counts {
        in_hour: counter(hour, TimeDelta::hours(1)).add(tx, more).await?,
        in_day: counter(day, TimeDelta::days(1)).add(tx, more).await?,
    })
}

/// Removes parts of windows that ended before `before`.
///
/// # Errors
/// When the database fails.
pub async fn sweep(tx: &Tx, before: DateTime<Utc>) -> Result<u64> {
    tx.execute("DELETE FROM attempt WHERE window_at < $1", [before.into()])
        .await
}
