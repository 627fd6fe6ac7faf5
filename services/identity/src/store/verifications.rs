//! Rows of `verification` and `network_identity`.

use chrono::{DateTime, Utc};
use kit::types::MemberId;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;
use super::people::{Blind, NewDocumentRow};

/// A verification that is to be asked.
#[derive(Clone, Debug)]
pub struct NewVerification {
    pub id: Uuid,
    pub member: MemberId,
    /// The kind of document; none for 网号.
    pub kind: Option<u8>,
    /// Sealed under the person's data key.
    pub claim: Vec<u8>,
    pub source: &'static str,
    pub expires_at: DateTime<Utc>,
}

/// A verification that waits for its answer, and whose it is.
#[derive(Clone, Debug, FromQueryResult)]
pub struct AskedRow {
    pub id: Uuid,
    pub member: Uuid,
    pub claim: Vec<u8>,
    pub expires_at: DateTime<Utc>,
    pub data_key: Vec<u8>,
    pub name: Vec<u8>,
}

/// Adds one.
///
/// # Errors
/// When the database fails, or against `verification_one_asked`.
pub async fn insert(tx: &Tx, new: NewVerification) -> Result<()> {
    tx.execute(
        "INSERT INTO verification (id, member, kind, claim, state, source, asked_at, expires_at)
         VALUES ($1, $2, $3, $4, 'asked', $5, $6, $7)",
        [
            new.id.into(),
            new.member.0.into(),
            new.kind.map(i16::from).into(),
            new.claim.into(),
            new.source.into(),
            tx.now().into(),
            new.expires_at.into(),
        ],
    )
    .await?;
    Ok(())
}

const ASKED: &str = "SELECT v.id, v.member, v.claim, v.expires_at, p.data_key, p.name
    FROM verification v JOIN person p USING (member)
    WHERE v.id = $1 AND v.state = 'asked'";

/// One that waits, not locked.
///
/// # Errors
/// When the database fails.
pub async fn asked(tx: &Tx, id: Uuid) -> Result<Option<AskedRow>> {
    tx.one(ASKED, [id.into()]).await
}

/// One that waits, locked.
///
/// # Errors
/// When the database fails.
pub async fn lock_asked(tx: &Tx, id: Uuid) -> Result<Option<AskedRow>> {
    tx.one(&format!("{ASKED} FOR UPDATE OF v"), [id.into()])
        .await
}

/// Whether one of this person's waits.
///
/// # Errors
/// When the database fails.
pub async fn waits(tx: &Tx, member: MemberId) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Row {
        waits: bool,
    }
    let row = tx
        .one::<Row>(
            "SELECT EXISTS (SELECT 1 FROM verification WHERE member = $1 AND state = 'asked')
               AS waits",
            [member.0.into()],
        )
        .await?;
    row.map(|row| row.waits)
        .ok_or_else(|| broken("an existence"))
}

/// Writes how one ended, and forgets what was claimed.
///
/// # Errors
/// When the database fails.
pub async fn settle(tx: &Tx, id: Uuid, state: &'static str) -> Result<()> {
    tx.execute(
        "UPDATE verification SET state = $2, answered_at = $3, claim = NULL WHERE id = $1",
        [id.into(), state.into(), tx.now().into()],
    )
    .await?;
    Ok(())
}

/// Ends one of a person's that waits without an answer, and forgets what was claimed; its id.
///
/// # Errors
/// When the database fails.
pub async fn end_asked(tx: &Tx, member: MemberId) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Id {
        id: Uuid,
    }
    let rows = tx
        .all::<Id>(
            "UPDATE verification SET state = 'unanswered', answered_at = $2, claim = NULL
             WHERE member = $1 AND state = 'asked' RETURNING id",
            [member.0.into(), tx.now().into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Adds a document to a person.
///
/// # Errors
/// When the database fails, or against `document_blind_unique`.
pub async fn insert_document(tx: &Tx, member: Uuid, row: NewDocumentRow) -> Result<()> {
    tx.execute(
        "INSERT INTO document (id, member, kind, number, blind, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        [
            row.id.into(),
            member.into(),
            i16::from(row.kind).into(),
            row.number.into(),
            row.blind.to_vec().into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Whose a 网号 is.
///
/// # Errors
/// When the database fails.
pub async fn network_holder(tx: &Tx, blind: &Blind) -> Result<Option<Uuid>> {
    #[derive(FromQueryResult)]
    struct Row {
        member: Uuid,
    }
    let sql = "SELECT member FROM network_identity WHERE blind = $1";
    let row = tx.one::<Row>(sql, [blind.to_vec().into()]).await?;
    Ok(row.map(|row| row.member))
}

/// Makes a 网号 a person's.
///
/// # Errors
/// When the database fails, or against `network_identity_pkey`.
pub async fn insert_network(tx: &Tx, member: Uuid, blind: &Blind) -> Result<()> {
    tx.execute(
        "INSERT INTO network_identity (blind, member, since) VALUES ($1, $2, $3)",
        [blind.to_vec().into(), member.into(), tx.now().into()],
    )
    .await?;
    Ok(())
}

/// A verification as its person reads it.
#[derive(Clone, Debug, FromQueryResult)]
pub struct VerificationRow {
    pub id: Uuid,
    pub kind: Option<i16>,
    pub state: String,
    pub source: String,
    pub asked_at: DateTime<Utc>,
    pub answered_at: Option<DateTime<Utc>>,
}

const READ: &str = "SELECT id, kind, state, source, asked_at, answered_at FROM verification";

/// One of a person's own.
///
/// # Errors
/// When the database fails.
pub async fn one(tx: &Tx, member: MemberId, id: Uuid) -> Result<Option<VerificationRow>> {
    let sql = format!("{READ} WHERE member = $1 AND id = $2");
    tx.one(&sql, [member.0.into(), id.into()]).await
}

/// A person's last one.
///
/// # Errors
/// When the database fails.
pub async fn last(tx: &Tx, member: MemberId) -> Result<Option<VerificationRow>> {
    let sql = format!("{READ} WHERE member = $1 ORDER BY asked_at DESC, id DESC LIMIT 1");
    tx.one(&sql, [member.0.into()]).await
}

/// Since when a person counts as verified: her last that matched.
///
/// # Errors
/// When the database fails.
pub async fn matched(tx: &Tx, member: MemberId) -> Result<Option<VerificationRow>> {
    let sql = format!(
        "{READ} WHERE member = $1 AND state = 'matched' ORDER BY answered_at DESC, id DESC LIMIT 1"
    );
    tx.one(&sql, [member.0.into()]).await
}

/// Removes what did not match, or was not answered, before `before`.
///
/// # Errors
/// When the database fails.
pub async fn sweep(tx: &Tx, before: DateTime<Utc>) -> Result<u64> {
    tx.execute(
        "DELETE FROM verification
         WHERE state IN ('not_matched', 'unanswered') AND answered_at < $1",
        [before.into()],
    )
    .await
}
