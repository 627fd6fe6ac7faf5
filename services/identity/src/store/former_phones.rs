//! Rows of `former_phone`: the phones that people signed in by until lately.

use chrono::{DateTime, TimeDelta, Utc};
use kit::types::MemberId;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::people::PhoneRow;

/// How long a phone that a person had is told what could take her over, in days. Longer than it
/// takes to be forgotten, shorter than a number rests before somebody else gets it.
pub const FORMER_PHONE_DAYS: i64 = 30;

/// Keeps the phone that a person is about to lose, if she has one, as it is sealed.
///
/// # Errors
/// When the database fails.
pub async fn keep(tx: &Tx, member: MemberId) -> Result<()> {
    let until = tx.now() + TimeDelta::days(FORMER_PHONE_DAYS);
    tx.execute(
        "INSERT INTO former_phone (id, member, subject, blind, until)
         SELECT id, member, subject, blind, $2 FROM login_method
         WHERE member = $1 AND kind = 'phone' ON CONFLICT (id) DO NOTHING",
        [member.0.into(), until.into()],
    )
    .await?;
    Ok(())
}

#[derive(FromQueryResult)]
struct Id {
    id: Uuid,
}

/// The phones that a person had lately, by their ids, the oldest first.
///
/// # Errors
/// When the database fails.
pub async fn of(tx: &Tx, member: MemberId) -> Result<Vec<Uuid>> {
    let sql = "SELECT id FROM former_phone WHERE member = $1 AND until > $2 ORDER BY until, id";
    let rows = tx
        .all::<Id>(sql, [member.0.into(), tx.now().into()])
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// One of them, while it counts and nobody signs in by it: it may be another's by now, or hers
/// again, who is told there anyhow.
///
/// # Errors
/// When the database fails.
pub async fn find(tx: &Tx, member: MemberId, id: Uuid) -> Result<Option<PhoneRow>> {
    tx.one(
        "SELECT id, member, subject FROM former_phone f
         WHERE f.id = $1 AND f.member = $2 AND f.until > $3
           AND NOT EXISTS (SELECT 1 FROM login_method l WHERE l.blind = f.blind)",
        [id.into(), member.0.into(), tx.now().into()],
    )
    .await
}

/// Forgets these of a person's: they were another's.
///
/// # Errors
/// When the database fails.
pub async fn forget(tx: &Tx, member: MemberId, ids: &[Uuid]) -> Result<()> {
    tx.execute(
        "DELETE FROM former_phone WHERE member = $1 AND id = ANY ($2)",
        [member.0.into(), ids.to_vec().into()],
    )
    .await?;
    Ok(())
}

/// Removes those that are told no more.
///
/// # Errors
/// When the database fails.
pub async fn sweep(tx: &Tx, before: DateTime<Utc>) -> Result<u64> {
    tx.execute("DELETE FROM former_phone WHERE until < $1", [before.into()])
        .await
}
