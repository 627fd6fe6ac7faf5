//! Finds audit rows for somebody who asks what happened. It reads and changes nothing.

use chrono::{DateTime, Utc};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::chain::{COLUMNS, Entry};
use crate::{Db, Result};

/// Rows found at once, at most.
pub const ROWS_MAX: i64 = 1_000;

/// What is looked for: all that is said must hold.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Who acted.
    pub member: Option<Uuid>,
    /// The act, in `snake_case`.
    pub act: Option<String>,
    /// What it was done to, as the row says it.
    pub subject: Option<String>,
    /// From this instant on.
    pub since: Option<DateTime<Utc>>,
    /// Before this instant.
    pub until: Option<DateTime<Utc>>,
}

/// A row that was found.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Found {
    #[sea_orm(nested)]
    pub entry: Entry,
    /// Its place in the chain; `None` while it is not sealed.
    pub position: Option<i64>,
}

/// The newest rows that match, newest first, at most `rows_max` and [`ROWS_MAX`].
///
/// # Errors
/// When the database fails.
pub async fn search(db: &Db, wanted: &Wanted, rows_max: i64) -> Result<Vec<Found>> {
    let sql = format!(
        "SELECT {COLUMNS}, c.position FROM audit a LEFT JOIN audit_seal c ON c.audit = a.id
         WHERE ($1::uuid IS NULL OR a.member = $1) AND ($2::text IS NULL OR a.act = $2)
           AND ($3::text IS NULL OR a.subject = $3)
           AND ($4::timestamptz IS NULL OR a.at >= $4)
           AND ($5::timestamptz IS NULL OR a.at < $5)
         ORDER BY a.id DESC LIMIT $6"
    );
    let wanted = wanted.clone();
    db.all(
        &sql,
        [
            wanted.member.into(),
            wanted.act.into(),
            wanted.subject.into(),
            wanted.since.into(),
            wanted.until.into(),
            rows_max.clamp(1, ROWS_MAX).into(),
        ],
    )
    .await
}
