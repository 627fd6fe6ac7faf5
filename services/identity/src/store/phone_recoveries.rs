//! Rows of `phone_recovery`, of which a person has at most one that is open, and of
//! `recovery_phone`. What a recovery has sealed is gone when it ends.

use chrono::{DateTime, Utc};
use kit::types::MemberId;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;
use super::people::Blind;
use crate::domain::phone_recovery::{Basis, End, Recovery, Said, State};

/// A recovery that is asked for.
#[derive(Clone, Debug)]
pub struct NewRecovery {
    pub id: Uuid,
    pub member: Uuid,
    /// The new phone, sealed under the person's data key.
    pub phone: Vec<u8>,
    pub blind: Blind,
    pub basis: Basis,
    /// Name and document, sealed under the person's data key, where the service of the state is to
    /// be asked.
    pub claim: Option<Vec<u8>>,
    pub expires_at: DateTime<Utc>,
}

/// A recovery of which the service of the state is to be asked, and whose it is.
#[derive(Clone, Debug, FromQueryResult)]
pub struct AskedRow {
    pub id: Uuid,
    pub member: Uuid,
    pub claim: Vec<u8>,
    pub expires_at: DateTime<Utc>,
    pub data_key: Vec<u8>,
    pub name: Vec<u8>,
}

/// One that is open, with its new phone.
#[derive(Clone, Debug)]
pub struct Kept {
    pub recovery: Recovery,
    pub basis: Basis,
    /// Sealed under the person's data key.
    pub phone: Vec<u8>,
    /// What it is found by.
    pub blind: Vec<u8>,
}

#[derive(FromQueryResult)]
struct Row {
    id: Uuid,
    member: Uuid,
    state: String,
    basis: String,
    phone: Vec<u8>,
    blind: Vec<u8>,
    expires_at: DateTime<Utc>,
    confirmed_by: Option<Uuid>,
    confirmed_at: Option<DateTime<Utc>>,
    approved_by: Option<Uuid>,
    approved_at: Option<DateTime<Utc>>,
    due_at: Option<DateTime<Utc>>,
}

const COLUMNS: &str = "id, member, state, basis, phone, blind, expires_at, confirmed_by, \
    confirmed_at, approved_by, approved_at, due_at";

impl Row {
    fn read(self) -> Result<Kept> {
        let said = |by: Option<Uuid>, at: Option<DateTime<Utc>>| {
            let (by, at) = by.zip(at)?;
            Some(Said {
                by: MemberId(by),
                at,
            })
        };
        let confirmed = said(self.confirmed_by, self.confirmed_at);
        let approved = said(self.approved_by, self.approved_at).zip(self.due_at);
        let state = match (self.state.as_str(), confirmed, approved) {
            ("asked", None, None) => State::Asked,
            ("claimed", None, None) => State::Claimed,
            ("confirmed", Some(said), None) => State::Confirmed(said),
            ("approved", Some(confirmed), Some((approved, due_at))) => State::Approved {
                confirmed,
                approved,
                due_at,
            },
            _ => return Err(broken("recovery of a phone")),
        };
        Ok(Kept {
            recovery: Recovery {
                id: self.id,
                member: MemberId(self.member),
                state,
                expires_at: self.expires_at,
            },
            basis: Basis::parse(&self.basis).ok_or_else(|| broken("basis of a recovery"))?,
            phone: self.phone,
            blind: self.blind,
        })
    }
}

/// Adds one.
///
/// # Errors
/// When the database fails, or against `phone_recovery_one_open`.
pub async fn insert(tx: &Tx, new: NewRecovery) -> Result<()> {
    tx.execute(
        "INSERT INTO phone_recovery (id, member, state, phone, blind, claim, asked_at, expires_at,
           basis)
         VALUES ($1, $2, 'asked', $3, $4, $5, $6, $7, $8)",
        [
            new.id.into(),
            new.member.into(),
            new.phone.into(),
            new.blind.to_vec().into(),
            new.claim.into(),
            tx.now().into(),
            new.expires_at.into(),
            new.basis.as_str().into(),
        ],
    )
    .await?;
    Ok(())
}

/// One of which the service of the state is to be asked, not locked.
///
/// # Errors
/// When the database fails.
pub async fn asked(tx: &Tx, id: Uuid) -> Result<Option<AskedRow>> {
    tx.one(
        "SELECT r.id, r.member, r.claim, r.expires_at, p.data_key, p.name
         FROM phone_recovery r JOIN person p USING (member)
         WHERE r.id = $1 AND r.state = 'asked'",
        [id.into()],
    )
    .await
}

/// One that is open, not locked.
///
/// # Errors
/// When the database fails.
pub async fn open(tx: &Tx, id: Uuid) -> Result<Option<Kept>> {
    let sql = format!("SELECT {COLUMNS} FROM phone_recovery WHERE id = $1 AND ended_at IS NULL");
    let row = tx.one::<Row>(&sql, [id.into()]).await?;
    row.map(Row::read).transpose()
}

/// A person's that is open, not locked.
///
/// # Errors
/// When the database fails.
pub async fn open_of(tx: &Tx, member: MemberId) -> Result<Option<Recovery>> {
    let sql =
        format!("SELECT {COLUMNS} FROM phone_recovery WHERE member = $1 AND ended_at IS NULL");
    let row = tx.one::<Row>(&sql, [member.0.into()]).await?;
    let kept = row.map(Row::read).transpose()?;
    Ok(kept.map(|kept| kept.recovery))
}

/// A person's that is open, locked. Whoever calls has locked her before.
///
/// # Errors
/// When the database fails.
pub async fn lock_open(tx: &Tx, member: MemberId) -> Result<Option<Kept>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM phone_recovery WHERE member = $1 AND ended_at IS NULL FOR UPDATE"
    );
    let row = tx.one::<Row>(&sql, [member.0.into()]).await?;
    row.map(Row::read).transpose()
}

/// Whether somebody has confirmed a recovery of one of these people that is open.
///
/// # Errors
/// When the database fails.
pub async fn is_confirmed(tx: &Tx, members: &[Uuid]) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Found {
        found: bool,
    }
    let row = tx
        .one::<Found>(
            "SELECT EXISTS (SELECT 1 FROM phone_recovery WHERE member = ANY ($1)
               AND state IN ('confirmed', 'approved')) AS found",
            [members.to_vec().into()],
        )
        .await?;
    Ok(row.is_some_and(|row| row.found))
}

/// Writes how far one has come, and forgets what was claimed: the service has answered.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, it: &Recovery) -> Result<()> {
    let (state, confirmed, approved) = match it.state {
        State::Asked => ("asked", None, None),
        State::Claimed => ("claimed", None, None),
        State::Confirmed(said) => ("confirmed", Some(said), None),
        State::Approved {
            confirmed,
            approved,
            due_at,
        } => ("approved", Some(confirmed), Some((approved, due_at))),
    };
    tx.execute(
        "UPDATE phone_recovery SET state = $2, expires_at = $3, claim = NULL, confirmed_by = $4,
           confirmed_at = $5, approved_by = $6, approved_at = $7, due_at = $8 WHERE id = $1",
        [
            it.id.into(),
            state.into(),
            it.expires_at.into(),
            confirmed.map(|said| said.by.0).into(),
            confirmed.map(|said| said.at).into(),
            approved.map(|(said, _)| said.by.0).into(),
            approved.map(|(said, _)| said.at).into(),
            approved.map(|(_, due_at)| due_at).into(),
        ],
    )
    .await?;
    Ok(())
}

/// Ends one, and forgets what it has sealed; `by` whom, where a person has ended it.
///
/// # Errors
/// When the database fails.
pub async fn end(tx: &Tx, id: Uuid, how: End, by: Option<MemberId>) -> Result<()> {
    tx.execute(
        "UPDATE phone_recovery SET state = $2, ended_at = $3, ended_by = $4, phone = NULL,
           blind = NULL, claim = NULL WHERE id = $1 AND ended_at IS NULL",
        [
            id.into(),
            how.as_str().into(),
            tx.now().into(),
            by.map(|by| by.0).into(),
        ],
    )
    .await?;
    Ok(())
}

/// Ends a person's that nobody has confirmed: something else comes before it; its id.
///
/// # Errors
/// When the database fails.
pub async fn end_claims(tx: &Tx, member: MemberId) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Id {
        id: Uuid,
    }
    let rows = tx
        .all::<Id>(
            "UPDATE phone_recovery SET state = 'stopped', ended_at = $2, phone = NULL,
               blind = NULL, claim = NULL
             WHERE member = $1 AND state IN ('asked', 'claimed') RETURNING id",
            [member.0.into(), tx.now().into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// A phone that is to be sent a code, sealed by the key-encryption key.
#[derive(Clone, Debug, FromQueryResult)]
pub struct PhoneRow {
    /// The code's.
    pub id: Uuid,
    pub phone: Vec<u8>,
}

/// Keeps a phone until its code is over; an earlier code of it is forgotten.
///
/// # Errors
/// When the database fails.
pub async fn put_phone(
    tx: &Tx,
    blind: &Blind,
    row: PhoneRow,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    tx.execute(
        "INSERT INTO recovery_phone (blind, id, phone, expires_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (blind) DO UPDATE SET id = EXCLUDED.id, phone = EXCLUDED.phone,
           expires_at = EXCLUDED.expires_at",
        [
            blind.to_vec().into(),
            row.id.into(),
            row.phone.into(),
            expires_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// The phone that this code is for.
///
/// # Errors
/// When the database fails.
pub async fn phone_of_code(tx: &Tx, code: Uuid) -> Result<Option<PhoneRow>> {
    let sql = "SELECT id, phone FROM recovery_phone WHERE id = $1";
    tx.one(sql, [code.into()]).await
}

/// The code that a phone was sent for a recovery.
///
/// # Errors
/// When the database fails.
pub async fn code_of_phone(tx: &Tx, blind: &Blind) -> Result<Option<Uuid>> {
    let sql = "SELECT id, phone FROM recovery_phone WHERE blind = $1";
    let row = tx.one::<PhoneRow>(sql, [blind.to_vec().into()]).await?;
    Ok(row.map(|row| row.id))
}

/// Forgets a phone whose code was shown.
///
/// # Errors
/// When the database fails.
pub async fn remove_phone(tx: &Tx, blind: &Blind) -> Result<()> {
    let sql = "DELETE FROM recovery_phone WHERE blind = $1";
    tx.execute(sql, [blind.to_vec().into()]).await?;
    Ok(())
}

/// Removes phones whose code was over before `phones`, and recoveries that ended before `ended`
/// without that anybody had confirmed them.
///
/// # Errors
/// When the database fails.
pub async fn sweep(tx: &Tx, phones: DateTime<Utc>, ended: DateTime<Utc>) -> Result<u64> {
    let sql = "DELETE FROM recovery_phone WHERE expires_at < $1";
    let removed = tx.execute(sql, [phones.into()]).await?;
    let sql = "DELETE FROM phone_recovery WHERE confirmed_by IS NULL AND ended_at < $1";
    Ok(removed + tx.execute(sql, [ended.into()]).await?)
}
