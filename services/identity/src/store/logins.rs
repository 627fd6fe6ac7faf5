//! Rows of `login` and `refresh_token`.

use chrono::{DateTime, Utc};
use kit::types::{LoginId, MemberId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;
use super::people::Blind;
use crate::domain::origin::Speech;

/// Why a login no longer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Logout,
    Withdrawn,
    /// A refresh token came a second time: somebody has a copy.
    Reuse,
    PhoneChanged,
    /// Its person signed out on all her devices.
    Everywhere,
    /// Her second factor was taken away.
    SecondFactor,
    /// Its person was forgotten.
    Erased,
}

impl Reason {
    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::Withdrawn => "withdrawn",
            Self::Reuse => "reuse",
            Self::PhoneChanged => "phone_changed",
            Self::Everywhere => "everywhere",
            Self::SecondFactor => "second_factor",
            Self::Erased => "erased",
        }
    }
}

/// One signed-in device.
#[derive(Clone, Debug, FromQueryResult)]
pub struct LoginRow {
    pub id: Uuid,
    pub member: Uuid,
    pub created_at: DateTime<Utc>,
    pub used_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub withdrawn_at: Option<DateTime<Utc>>,
    /// When a second factor was last shown with it.
    pub stepped_up_at: Option<DateTime<Utc>>,
    /// What the device calls itself, sealed.
    pub device: Option<Vec<u8>>,
    /// The network it was signed in from, sealed.
    pub network: Option<Vec<u8>>,
    /// Whether a code that her phone was sent opened it.
    pub by_phone: bool,
}

pub(crate) const LOGIN_COLUMNS: &str = "id, member, created_at, used_at, expires_at, \
    withdrawn_at, stepped_up_at, device, network, by_phone";

/// One login, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn lock_login(tx: &Tx, id: LoginId) -> Result<Option<LoginRow>> {
    let sql = format!("SELECT {LOGIN_COLUMNS} FROM login WHERE id = $1 FOR UPDATE");
    tx.one(&sql, [id.0.into()]).await
}

/// A person's logins that still count, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn lock_logins_of(tx: &Tx, member: MemberId) -> Result<Vec<LoginRow>> {
    let sql = format!(
        "SELECT {LOGIN_COLUMNS} FROM login
         WHERE member = $1 AND withdrawn_at IS NULL AND expires_at > $2 ORDER BY id FOR UPDATE"
    );
    tx.all(&sql, [member.0.into(), tx.now().into()]).await
}

/// A login as a person's copy of her data tells it.
#[derive(Clone, Debug, FromQueryResult)]
pub struct ToldRow {
    pub id: Uuid,
    pub created_at: DateTime<Utc>,
    pub used_at: DateTime<Utc>,
    pub withdrawn_at: Option<DateTime<Utc>>,
    /// Why it ended, as it is stored.
    pub reason: Option<String>,
    /// What the device calls itself, sealed.
    pub device: Option<Vec<u8>>,
    /// The network it was signed in from, sealed.
    pub network: Option<Vec<u8>>,
    /// In which language, as it is stored.
    pub language: String,
}

/// All logins of a record that are kept, so many at most, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn told_of(tx: &Tx, member: MemberId, rows_max: i64) -> Result<Vec<ToldRow>> {
    tx.all(
        "SELECT id, created_at, used_at, withdrawn_at, reason, device, network, language
         FROM login WHERE member = $1 ORDER BY created_at DESC, id DESC LIMIT $2",
        [member.0.into(), rows_max.into()],
    )
    .await
}

/// Whoever has a login that counts, in order, after this one.
///
/// # Errors
/// When the database fails.
pub async fn signed_in_after(tx: &Tx, after: Uuid, rows_max: i64) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Row {
        member: Uuid,
    }
    let sql = "SELECT DISTINCT member FROM login
               WHERE member > $1 AND withdrawn_at IS NULL AND expires_at > $2
               ORDER BY member LIMIT $3";
    let values = [after.into(), tx.now().into(), rows_max.into()];
    let rows = tx.all::<Row>(sql, values).await?;
    Ok(rows.into_iter().map(|row| row.member).collect())
}

/// Whether a person was signed in before, as far back as logins are kept.
///
/// # Errors
/// When the database fails.
pub async fn has_login(tx: &Tx, member: MemberId) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Found {
        found: bool,
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM login WHERE member = $1) AS found";
    let row = tx.one::<Found>(sql, [member.0.into()]).await?;
    Ok(row.is_some_and(|row| row.found))
}

/// Adds a login.
///
/// # Errors
/// When the database fails.
pub async fn insert_login(tx: &Tx, login: &LoginRow) -> Result<()> {
    tx.execute(
        "INSERT INTO login (id, member, created_at, used_at, expires_at, device, network,
           by_phone)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        [
            login.id.into(),
            login.member.into(),
            login.created_at.into(),
            login.used_at.into(),
            login.expires_at.into(),
            login.device.clone().into(),
            login.network.clone().into(),
            login.by_phone.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Writes the language that a login was opened with.
///
/// # Errors
/// When the database fails.
pub async fn set_speech(tx: &Tx, id: Uuid, speech: Speech) -> Result<()> {
    tx.execute(
        "UPDATE login SET language = $2 WHERE id = $1 AND language <> $2",
        [id.into(), speech.as_str().into()],
    )
    .await?;
    Ok(())
}

/// The language of the device that a person used last, as far back as logins are kept.
///
/// # Errors
/// When the database fails.
pub async fn speech_of(tx: &Tx, member: MemberId) -> Result<Speech> {
    #[derive(FromQueryResult)]
    struct Row {
        language: String,
    }
    let sql = "SELECT language FROM login WHERE member = $1 ORDER BY used_at DESC, id LIMIT 1";
    let row = tx.one::<Row>(sql, [member.0.into()]).await?;
    match row {
        Some(row) => Speech::parse(&row.language).ok_or_else(|| broken("language")),
        None => Ok(Speech::default()),
    }
}

/// Writes when a second factor was shown with a login; `None` where it counts no more.
///
/// # Errors
/// When the database fails.
pub async fn step_up(tx: &Tx, id: Uuid, at: Option<DateTime<Utc>>) -> Result<()> {
    tx.execute(
        "UPDATE login SET stepped_up_at = $2 WHERE id = $1",
        [id.into(), at.into()],
    )
    .await?;
    Ok(())
}

/// Ends what a second factor opened with a person's logins but for `kept`.
///
/// # Errors
/// When the database fails.
pub async fn end_step_ups(tx: &Tx, member: MemberId, kept: LoginId) -> Result<()> {
    tx.execute(
        "UPDATE login SET stepped_up_at = NULL
         WHERE member = $1 AND id <> $2 AND stepped_up_at IS NOT NULL",
        [member.0.into(), kept.0.into()],
    )
    .await?;
    Ok(())
}

/// Forgets with which devices and from where a person has signed in since then.
///
/// # Errors
/// When the database fails.
pub async fn forget_origins_since(tx: &Tx, member: MemberId, since: DateTime<Utc>) -> Result<u64> {
    tx.execute(
        "UPDATE login SET device = NULL, network = NULL WHERE member = $1 AND created_at > $2",
        [member.0.into(), since.into()],
    )
    .await
}

/// Writes that a login was used again, and when a second factor was last shown with it.
///
/// # Errors
/// When the database fails.
pub async fn save_login(tx: &Tx, login: &LoginRow) -> Result<()> {
    tx.execute(
        "UPDATE login SET used_at = $2, expires_at = $3, stepped_up_at = $4 WHERE id = $1",
        [
            login.id.into(),
            login.used_at.into(),
            login.expires_at.into(),
            login.stepped_up_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Withdraws a login.
///
/// # Errors
/// When the database fails.
pub async fn withdraw_login(tx: &Tx, id: Uuid, reason: Reason) -> Result<()> {
    tx.execute(
        "UPDATE login SET withdrawn_at = $2, reason = $3 WHERE id = $1",
        [id.into(), tx.now().into(), reason.as_str().into()],
    )
    .await?;
    Ok(())
}

/// A refresh token, by its hash.
#[derive(Clone, Debug, FromQueryResult)]
pub struct RefreshRow {
    pub login: Uuid,
    pub member: Uuid,
    pub used_at: Option<DateTime<Utc>>,
}

/// The refresh token with this hash.
///
/// # Errors
/// When the database fails.
pub async fn refresh(tx: &Tx, hash: &Blind) -> Result<Option<RefreshRow>> {
    let sql = "SELECT t.login, l.member, t.used_at
               FROM refresh_token t JOIN login l ON l.id = t.login WHERE t.hash = $1";
    tx.one(sql, [hash.to_vec().into()]).await
}

/// Marks a refresh token as used. Whoever holds the login's lock calls this.
///
/// # Errors
/// When the database fails.
pub async fn use_refresh(tx: &Tx, hash: &Blind) -> Result<()> {
    tx.execute(
        "UPDATE refresh_token SET used_at = $2 WHERE hash = $1",
        [hash.to_vec().into(), tx.now().into()],
    )
    .await?;
    Ok(())
}

/// Adds a refresh token.
///
/// # Errors
/// When the database fails, or against `refresh_token_one_unused`.
pub async fn insert_refresh(tx: &Tx, hash: &Blind, login: Uuid) -> Result<()> {
    tx.execute(
        "INSERT INTO refresh_token (hash, login, issued_at) VALUES ($1, $2, $3)",
        [hash.to_vec().into(), login.into(), tx.now().into()],
    )
    .await?;
    Ok(())
}

/// Removes logins that ended before `before`, some thousand at a time.
///
/// # Errors
/// When the database fails.
pub async fn sweep(tx: &Tx, before: DateTime<Utc>) -> Result<u64> {
    tx.execute(
        "DELETE FROM login WHERE id IN
           (SELECT id FROM login WHERE expires_at < $1 LIMIT 5000)",
        [before.into()],
    )
    .await
}
