//! Rows of `phone_setting`, of which a person has at most one that waits. What its phone is found
//! by is gone when it ends; the phone itself is kept nowhere, since both operators name it.

use chrono::{DateTime, Utc};
use kit::types::MemberId;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::people::Blind;
use crate::domain::two_operators::Asked;

/// A phone that waits for the second operator.
#[derive(Clone, Debug)]
pub struct SettingRow {
    pub id: Uuid,
    /// What the phone is found by.
    pub blind: Vec<u8>,
    pub asked: Asked,
}

/// A person's that waits, locked. Whoever calls has locked her before.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &Tx, member: MemberId) -> Result<Option<SettingRow>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        blind: Vec<u8>,
        asked_by: Uuid,
        asked_at: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    }
    let row = tx
        .one::<Row>(
            "SELECT id, blind, asked_by, asked_at, expires_at FROM phone_setting
             WHERE member = $1 AND state = 'asked' FOR UPDATE",
            [member.0.into()],
        )
        .await?;
    Ok(row.map(|row| SettingRow {
        id: row.id,
        blind: row.blind,
        asked: Asked {
            by: MemberId(row.asked_by),
            at: row.asked_at,
            expires_at: row.expires_at,
        },
    }))
}

/// Adds one that waits.
///
/// # Errors
/// When the database fails, or against `phone_setting_one_asked`.
pub async fn insert(
    tx: &Tx,
    of: MemberId,
    (id, asked): (Uuid, Asked),
    blind: &Blind,
) -> Result<()> {
    tx.execute(
        "INSERT INTO phone_setting (id, member, state, blind, asked_by, asked_at, expires_at)
         VALUES ($1, $2, 'asked', $3, $4, $5, $6)",
        [
            id.into(),
            of.0.into(),
            blind.to_vec().into(),
            asked.by.0.into(),
            asked.at.into(),
            asked.expires_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Writes that a second operator has named the phone too.
///
/// # Errors
/// When the database fails, or against `phone_setting_by_two`.
pub async fn finish(tx: &Tx, id: Uuid, by: MemberId) -> Result<()> {
    tx.execute(
        "UPDATE phone_setting SET state = 'done', blind = NULL, confirmed_by = $2 WHERE id = $1",
        [id.into(), by.0.into()],
    )
    .await?;
    Ok(())
}

#[derive(FromQueryResult)]
struct Id {
    id: Uuid,
}

/// Ends a person's that waits, whatever time it has left: she has signed in, or something else came
/// before it; its id.
///
/// # Errors
/// When the database fails.
pub async fn void(tx: &Tx, member: MemberId) -> Result<Option<Uuid>> {
    let row = tx
        .one::<Id>(
            "UPDATE phone_setting SET state = 'expired', blind = NULL
             WHERE member = $1 AND state = 'asked' RETURNING id",
            [member.0.into()],
        )
        .await?;
    Ok(row.map(|row| row.id))
}

/// Ends one that nobody else asked for in time; how many that were.
///
/// # Errors
/// When the database fails.
pub async fn expire(tx: &Tx, id: Uuid) -> Result<u64> {
    tx.execute(
        "UPDATE phone_setting SET state = 'expired', blind = NULL
         WHERE id = $1 AND state = 'asked' AND expires_at <= $2",
        [id.into(), tx.now().into()],
    )
    .await
}
