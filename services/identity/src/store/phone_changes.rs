//! Rows of `phone_change`: at most one for each person.

use chrono::{DateTime, Utc};
use kit::types::MemberId;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::people::Blind;

/// A change that was asked for.
#[derive(Clone, Debug, FromQueryResult)]
pub struct ChangeRow {
    pub id: Uuid,
    pub member: Uuid,
    /// The new phone, sealed under the person's data key.
    pub phone: Vec<u8>,
    /// The code that the new phone was sent.
    pub new_code: Uuid,
    /// The code that the old one was sent.
    pub old_code: Uuid,
    pub expires_at: DateTime<Utc>,
}

/// A change to whose new or old phone a code belongs.
#[derive(Clone, Debug, FromQueryResult)]
pub struct CodeOwnerRow {
    pub id: Uuid,
    pub member: Uuid,
    pub data_key: Vec<u8>,
    pub phone: Vec<u8>,
}

/// Asks for a change; one that was asked for before is forgotten.
///
/// # Errors
/// When the database fails.
pub async fn ask(tx: &Tx, row: &ChangeRow, blind: &Blind) -> Result<()> {
    tx.execute(
        "INSERT INTO phone_change (member, id, phone, blind, new_code, old_code, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (member) DO UPDATE SET id = EXCLUDED.id, phone = EXCLUDED.phone,
           blind = EXCLUDED.blind, new_code = EXCLUDED.new_code, old_code = EXCLUDED.old_code,
           expires_at = EXCLUDED.expires_at",
        [
            row.member.into(),
            row.id.into(),
            row.phone.clone().into(),
            blind.to_vec().into(),
            row.new_code.into(),
            row.old_code.into(),
            row.expires_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// A person's change, locked.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &Tx, member: MemberId) -> Result<Option<ChangeRow>> {
    tx.one(
        "SELECT id, member, phone, new_code, old_code, expires_at FROM phone_change
         WHERE member = $1 FOR UPDATE",
        [member.0.into()],
    )
    .await
}

/// Locks the codes that a person's phones were sent, the one she has and the one she asks for, in
/// the order of [`super::codes::lock_all`]; before the person, as who signs in does.
///
/// # Errors
/// When the database fails.
pub async fn lock_codes(tx: &Tx, member: MemberId) -> Result<()> {
    for sql in [
        "SELECT id FROM login_code WHERE phone IN
           (SELECT blind FROM login_method WHERE member = $1 AND kind = 'phone') FOR UPDATE",
        "SELECT id FROM phone_code WHERE purpose = 'change' AND phone IN
           (SELECT blind FROM phone_change WHERE member = $1) FOR UPDATE",
    ] {
        tx.execute(sql, [member.0.into()]).await?;
    }
    Ok(())
}

/// The change that a code was sent for.
///
/// # Errors
/// When the database fails.
pub async fn by_code(tx: &Tx, code: Uuid) -> Result<Option<CodeOwnerRow>> {
    tx.one(
        "SELECT c.id, c.member, p.data_key, c.phone
         FROM phone_change c JOIN person p USING (member) JOIN member m ON m.id = c.member
         WHERE (c.new_code = $1 OR c.old_code = $1) AND m.state = 'active'",
        [code.into()],
    )
    .await
}

/// Forgets a person's change.
///
/// # Errors
/// When the database fails.
pub async fn remove(tx: &Tx, member: MemberId) -> Result<()> {
    let sql = "DELETE FROM phone_change WHERE member = $1";
    tx.execute(sql, [member.0.into()]).await?;
    Ok(())
}

/// Removes what was over before `before`.
///
/// # Errors
/// When the database fails.
pub async fn sweep(tx: &Tx, before: DateTime<Utc>) -> Result<u64> {
    let sql = "DELETE FROM phone_change WHERE expires_at < $1";
    tx.execute(sql, [before.into()]).await
}
