//! Counted attempts: how often someone did something in a window of time. The row's lock makes
//! those who count the same thing wait for each other, so no race passes a limit.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use kit::types::MemberId;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;

use super::broken;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub struct Counter<'a> {
    pub scope: &'static str,
    pub subject: &'a [u8],
    pub window: TimeDelta,
}

impl Counter<'_> {
    fn window_at(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now.duration_trunc(self.window).unwrap_or(now)
    }

    /// The count in this window after `more` are added; locks the row until the end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add(&self, tx: &Tx, more: i32) -> Result<i32> {
        #[derive(FromQueryResult)]
        struct Row {
            count: i32,
        }
        let row = tx
            .one::<Row>(
                "INSERT INTO attempt AS a (scope, subject, window_at, count)
                 VALUES ($1, $2, $3, $4)
                 ON CONFLICT (scope, subject, window_at)
                 DO UPDATE SET count = a.count + EXCLUDED.count RETURNING count",
                [
                    self.scope.into(),
                    self.subject.to_vec().into(),
                    self.window_at(tx.now()).into(),
                    more.into(),
                ],
            )
            .await?;
        row.map(|row| row.count).ok_or_else(|| broken("count"))
    }
}

/// A count within the hour and within the day.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    pub in_hour: i32,
    pub in_day: i32,
}

/// Adds `more` to what one person does under these scopes, of the hour and of the day; how often
/// it was now. Her rows stay locked, so that two at once are counted.
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

/// Removes windows that ended before `before`.
///
/// # Errors
/// When the database fails.
pub async fn sweep(tx: &Tx, before: DateTime<Utc>) -> Result<u64> {
    tx.execute("DELETE FROM attempt WHERE window_at < $1", [before.into()])
        .await
}
