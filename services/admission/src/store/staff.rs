//! What staff may not do too often, counted in windows of time.

use chrono::{DateTime, Utc};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;

/// Counts one more act of this subject in the window that began then; how many it is now.
pub(crate) async fn count_attempt(
    tx: &Tx,
    scope: &str,
    subject: &[u8],
    window_at: DateTime<Utc>,
) -> Result<i32> {
    #[derive(FromQueryResult)]
    struct Row {
        count: i32,
    }
    // Windows that are over decide nothing any more.
    tx.execute(
        "DELETE FROM attempt WHERE scope = $1 AND subject = $2 AND window_at < $3",
        [scope.into(), subject.to_vec().into(), window_at.into()],
    )
    .await?;
    let row = tx
        .one::<Row>(
            "INSERT INTO attempt AS a (scope, subject, window_at, count) VALUES ($1, $2, $3, 1)
             ON CONFLICT (scope, subject, window_at) DO UPDATE SET count = a.count + 1
             RETURNING count",
            [scope.into(), subject.to_vec().into(), window_at.into()],
        )
        .await?;
    Ok(row.map_or(i32::MAX, |row| row.count))
}
