//! Rows of `membership_review`.

use chrono::{DateTime, NaiveDate, Utc};
use kit::types::MemberId;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;
use crate::domain::review::{Dates, Reason, Review, State};

pub(crate) const COLUMNS: &str = "id, membership, version, reason, since_before, until_before, \
    since_after, until_after, corrected_by, created_at, closed_by, closed_at";

#[derive(Debug, FromQueryResult)]
pub(crate) struct Row {
    id: Uuid,
    membership: Uuid,
    version: i64,
    reason: String,
    since_before: NaiveDate,
    until_before: Option<NaiveDate>,
    since_after: NaiveDate,
    until_after: Option<NaiveDate>,
    corrected_by: Uuid,
    created_at: DateTime<Utc>,
    closed_by: Option<Uuid>,
    closed_at: Option<DateTime<Utc>>,
}

impl Row {
    pub(crate) fn read(self) -> Result<Review> {
        let state = match self.closed_by.zip(self.closed_at) {
            None => State::Open,
            Some((by, at)) => State::Closed {
                by: MemberId(by),
                at,
            },
        };
        Ok(Review {
            id: self.id,
            membership: self.membership,
            version: self.version,
            reason: Reason::parse(&self.reason).ok_or_else(|| broken("review"))?,
            before: Dates {
                since: self.since_before,
                until: self.until_before,
            },
            after: Dates {
                since: self.since_after,
                until: self.until_after,
            },
            corrected_by: MemberId(self.corrected_by),
            created_at: self.created_at,
            state,
        })
    }
}

/// One review, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: Uuid) -> Result<Option<Review>> {
    let sql = format!("SELECT {COLUMNS} FROM membership_review WHERE id = $1 FOR UPDATE");
    tx.one::<Row>(&sql, [id.into()])
        .await?
        .map(Row::read)
        .transpose()
}

/// Adds a review that is open.
///
/// # Errors
/// When the database fails.
pub async fn insert(tx: &Tx, review: &Review) -> Result<()> {
    tx.execute(
        "INSERT INTO membership_review (id, membership, version, reason, since_before,
           until_before, since_after, until_after, corrected_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        [
            review.id.into(),
            review.membership.into(),
            review.version.into(),
            review.reason.as_str().into(),
            review.before.since.into(),
            review.before.until.into(),
            review.after.since.into(),
            review.after.until.into(),
            review.corrected_by.0.into(),
            review.created_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Writes what can change: who closed it, and when.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, review: &Review) -> Result<()> {
    let (by, at) = match review.state {
        State::Open => (None, None),
        State::Closed { by, at } => (Some(by.0), Some(at)),
    };
    tx.execute(
        "UPDATE membership_review SET closed_by = $2, closed_at = $3 WHERE id = $1",
        [review.id.into(), by.into(), at.into()],
    )
    .await?;
    Ok(())
}
