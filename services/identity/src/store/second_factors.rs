//! Rows of `second_factor`, `recovery_code` and `second_factor_reset`.

use chrono::{DateTime, Utc};
use kit::types::MemberId;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;
use super::people::Blind;
use crate::domain::second_factor::Factor;
use crate::domain::two_operators::Asked;

/// A person's second factor, its secret sealed.
#[derive(Clone, Debug)]
pub struct FactorRow {
    pub id: Uuid,
    pub secret: Vec<u8>,
    pub factor: Factor,
    pub confirmed_at: Option<DateTime<Utc>>,
}

#[derive(FromQueryResult)]
struct Found {
    id: Uuid,
    secret: Vec<u8>,
    created_at: DateTime<Utc>,
    confirmed_at: Option<DateTime<Utc>>,
    last_step: Option<i64>,
}

impl Found {
    fn read(self) -> FactorRow {
        let factor = match self.last_step {
            Some(last_step) => Factor::Confirmed { last_step },
            None => Factor::Pending {
                since: self.created_at,
            },
        };
        FactorRow {
            id: self.id,
            secret: self.secret,
            factor,
            confirmed_at: self.confirmed_at,
        }
    }
}

const COLUMNS: &str = "id, secret, created_at, confirmed_at, last_step";

/// The factor that a person has, locked: codes that come at once are looked at one by one.
///
/// # Errors
/// When the database fails.
pub async fn lock_confirmed(tx: &Tx, member: MemberId) -> Result<Option<FactorRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM second_factor
         WHERE member = $1 AND confirmed_at IS NOT NULL FOR UPDATE"
    );
    let found = tx.one::<Found>(&sql, [member.0.into()]).await?;
    Ok(found.map(Found::read))
}

/// The factor that a person has, to be looked at.
///
/// # Errors
/// When the database fails.
pub async fn confirmed(tx: &Tx, member: MemberId) -> Result<Option<FactorRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM second_factor WHERE member = $1 AND confirmed_at IS NOT NULL"
    );
    let found = tx.one::<Found>(&sql, [member.0.into()]).await?;
    Ok(found.map(Found::read))
}

/// The factor that a person is setting up, locked.
///
/// # Errors
/// When the database fails.
pub async fn lock_pending(tx: &Tx, member: MemberId) -> Result<Option<FactorRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM second_factor
         WHERE member = $1 AND confirmed_at IS NULL FOR UPDATE"
    );
    let found = tx.one::<Found>(&sql, [member.0.into()]).await?;
    Ok(found.map(Found::read))
}

/// Begins a factor; one that was begun before and not confirmed is forgotten.
///
/// # Errors
/// When the database fails.
pub async fn begin(tx: &Tx, id: Uuid, member: MemberId, secret: Vec<u8>) -> Result<()> {
    tx.execute(
        "INSERT INTO second_factor (id, member, secret, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (member) WHERE confirmed_at IS NULL
         DO UPDATE SET id = EXCLUDED.id, secret = EXCLUDED.secret,
           created_at = EXCLUDED.created_at",
        [id.into(), member.0.into(), secret.into(), tx.now().into()],
    )
    .await?;
    Ok(())
}

/// Forgets a factor that was begun and not confirmed.
///
/// # Errors
/// When the database fails.
pub async fn forget_pending(tx: &Tx, id: Uuid) -> Result<u64> {
    tx.execute(
        "DELETE FROM second_factor WHERE id = $1 AND confirmed_at IS NULL",
        [id.into()],
    )
    .await
}

/// Confirms the factor that was begun; it takes the place of the one before.
///
/// # Errors
/// When the database fails.
pub async fn confirm(tx: &Tx, id: Uuid, member: MemberId, last_step: i64) -> Result<()> {
    tx.execute(
        "DELETE FROM second_factor WHERE member = $1 AND confirmed_at IS NOT NULL",
        [member.0.into()],
    )
    .await?;
    tx.execute(
        "UPDATE second_factor SET confirmed_at = $2, last_step = $3 WHERE id = $1",
        [id.into(), tx.now().into(), last_step.into()],
    )
    .await?;
    Ok(())
}

/// Writes which code was taken last. Whoever holds the factor's lock calls this.
///
/// # Errors
/// When the database fails.
pub async fn save_step(tx: &Tx, id: Uuid, last_step: i64) -> Result<()> {
    tx.execute(
        "UPDATE second_factor SET last_step = $2 WHERE id = $1",
        [id.into(), last_step.into()],
    )
    .await?;
    Ok(())
}

/// Forgets the factor that a person set up after this time, and with it her recovery codes.
///
/// # Errors
/// When the database fails.
pub async fn remove_since(tx: &Tx, member: MemberId, since: DateTime<Utc>) -> Result<()> {
    tx.execute(
        "WITH gone AS (DELETE FROM second_factor WHERE member = $1 AND created_at > $2
           RETURNING id)
         DELETE FROM recovery_code WHERE member = $1 AND EXISTS (SELECT 1 FROM gone)",
        [member.0.into(), since.into()],
    )
    .await?;
    Ok(())
}

/// Forgets all factors and recovery codes of a person.
///
/// # Errors
/// When the database fails.
pub async fn remove(tx: &Tx, member: MemberId) -> Result<()> {
    for sql in [
        "DELETE FROM recovery_code WHERE member = $1",
        "DELETE FROM second_factor WHERE member = $1",
    ] {
        tx.execute(sql, [member.0.into()]).await?;
    }
    Ok(())
}

/// Puts a person's recovery codes, by their hashes, in the place of those before.
///
/// # Errors
/// When the database fails.
pub async fn replace_recovery(tx: &Tx, member: MemberId, hashes: &[Blind]) -> Result<()> {
    tx.execute(
        "DELETE FROM recovery_code WHERE member = $1",
        [member.0.into()],
    )
    .await?;
    let hashes: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.to_vec()).collect();
    tx.execute(
        "INSERT INTO recovery_code (member, hash) SELECT $1, h FROM UNNEST($2::bytea[]) AS t (h)",
        [member.0.into(), hashes.into()],
    )
    .await?;
    Ok(())
}

/// Uses a recovery code up; whether there was one. Who comes second waits for the first one's
/// transaction and then finds it used.
///
/// # Errors
/// When the database fails.
pub async fn use_recovery(tx: &Tx, member: MemberId, hash: &Blind) -> Result<bool> {
    let used = tx
        .execute(
            "UPDATE recovery_code SET used_at = $3
             WHERE member = $1 AND hash = $2 AND used_at IS NULL",
            [member.0.into(), hash.to_vec().into(), tx.now().into()],
        )
        .await?;
    Ok(used == 1)
}

/// Recovery codes that a person has left.
///
/// # Errors
/// When the database fails.
pub async fn recovery_left(tx: &Tx, member: MemberId) -> Result<i32> {
    #[derive(FromQueryResult)]
    struct Row {
        count: i32,
    }
    let row = tx
        .one::<Row>(
            "SELECT count(*)::int AS count FROM recovery_code
             WHERE member = $1 AND used_at IS NULL",
            [member.0.into()],
        )
        .await?;
    row.map(|row| row.count).ok_or_else(|| broken("count"))
}

/// A reset that waits for the second operator.
#[derive(Clone, Copy, Debug)]
pub struct ResetRow {
    pub id: Uuid,
    pub asked: Asked,
}

/// The reset of a person's factor that waits, locked.
///
/// # Errors
/// When the database fails.
pub async fn lock_reset(tx: &Tx, member: MemberId) -> Result<Option<ResetRow>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        asked_by: Uuid,
        asked_at: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    }
    let row = tx
        .one::<Row>(
            "SELECT id, asked_by, asked_at, expires_at FROM second_factor_reset
             WHERE member = $1 AND state = 'asked' FOR UPDATE",
            [member.0.into()],
        )
        .await?;
    Ok(row.map(|row| ResetRow {
        id: row.id,
        asked: Asked {
            by: MemberId(row.asked_by),
            at: row.asked_at,
            expires_at: row.expires_at,
        },
    }))
}

/// Adds a reset that waits.
///
/// # Errors
/// When the database fails, or against `second_factor_reset_one_asked`.
pub async fn insert_reset(tx: &Tx, of: MemberId, row: &ResetRow) -> Result<()> {
    tx.execute(
        "INSERT INTO second_factor_reset (id, member, state, asked_by, asked_at, expires_at)
         VALUES ($1, $2, 'asked', $3, $4, $5)",
        [
            row.id.into(),
            of.0.into(),
            row.asked.by.0.into(),
            row.asked.at.into(),
            row.asked.expires_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Writes that a second operator asked for a reset too.
///
/// # Errors
/// When the database fails, or against `second_factor_reset_by_two`.
pub async fn finish_reset(tx: &Tx, id: Uuid, by: MemberId) -> Result<()> {
    tx.execute(
        "UPDATE second_factor_reset SET state = 'done', confirmed_by = $2 WHERE id = $1",
        [id.into(), by.0.into()],
    )
    .await?;
    Ok(())
}

/// Ends a reset of a person's factor that waits, whatever time it has left: she has shown that she
/// has the factor, or it is asked for anew. How many that were.
///
/// # Errors
/// When the database fails.
pub async fn void_reset(tx: &Tx, member: MemberId) -> Result<u64> {
    tx.execute(
        "UPDATE second_factor_reset SET state = 'expired'
         WHERE member = $1 AND state = 'asked'",
        [member.0.into()],
    )
    .await
}

/// Ends a reset that nobody else asked for in time; how many that were.
///
/// # Errors
/// When the database fails.
pub async fn expire_reset(tx: &Tx, id: Uuid) -> Result<u64> {
    tx.execute(
        "UPDATE second_factor_reset SET state = 'expired'
         WHERE id = $1 AND state = 'asked' AND expires_at <= $2",
        [id.into(), tx.now().into()],
    )
    .await
}
