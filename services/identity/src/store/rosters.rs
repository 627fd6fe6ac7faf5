//! Rows of `roster` and `roster_address`. Files are stored sealed only.

use chrono::{DateTime, Utc};
use kit::types::{LoginId, MemberId, OrganisationId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::addresses::{self, Of};
use super::broken;
use super::people::Blind;
use crate::domain::roster::{Purpose, Roster, State};
use crate::roster::Problem;

pub(crate) const COLUMNS: &str = "id, organisation, officer, login, purpose, complete, state, \
    problem, correcting, data_key, told, basis, created_at, expires_at, committed_at";

#[derive(Debug, FromQueryResult)]
pub(crate) struct Row {
    id: Uuid,
    organisation: Uuid,
    officer: Uuid,
    login: Uuid,
    purpose: String,
    complete: bool,
    state: String,
    problem: Option<String>,
    correcting: bool,
    data_key: Option<Vec<u8>>,
    told: Option<Vec<u8>>,
    basis: Option<Vec<u8>>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    committed_at: Option<DateTime<Utc>>,
}

/// A roster with what is kept beside it.
#[derive(Clone, Debug)]
pub struct Kept {
    pub roster: Roster,
    /// Why its newest file could not be used.
    pub problem: Option<Problem>,
    /// Wrapped by the key-encryption key; none before the first file and after the end.
    pub data_key: Option<Vec<u8>>,
    pub told: Option<Vec<u8>>,
    /// The memberships that it was compared with.
    pub basis: Option<Vec<u8>>,
}

impl Row {
    pub(crate) fn read(self) -> Result<Kept> {
        let broken = || broken("roster");
        let state = match (self.state.as_str(), self.committed_at) {
            ("awaiting", None) => State::Awaiting,
            ("reading", None) => State::Reading {
                correcting: self.correcting,
            },
            ("matching", None) => State::Matching,
            ("ready", None) => State::Ready,
            ("committed", Some(at)) => State::Committed { at },
            ("failed", None) => State::Failed,
            ("expired", None) => State::Expired,
            _ => return Err(broken()),
        };
        let problem = match &self.problem {
            None => None,
            Some(code) => Some(Problem::from_code(code).ok_or_else(broken)?),
        };
        Ok(Kept {
            roster: Roster {
                id: self.id,
                organisation: OrganisationId(self.organisation),
                officer: MemberId(self.officer),
                login: LoginId(self.login),
                purpose: Purpose::parse(&self.purpose, self.complete).ok_or_else(broken)?,
                state,
                created_at: self.created_at,
                expires_at: self.expires_at,
            },
            problem,
            data_key: self.data_key,
            told: self.told,
            basis: self.basis,
        })
    }
}

/// One roster as it is at the moment.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: Uuid) -> Result<Option<Kept>> {
    let sql = format!("SELECT {COLUMNS} FROM roster WHERE id = $1");
    tx.one::<Row>(&sql, [id.into()])
        .await?
        .map(Row::read)
        .transpose()
}

/// One roster, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &Tx, id: Uuid) -> Result<Option<Kept>> {
    let sql = format!("SELECT {COLUMNS} FROM roster WHERE id = $1 FOR UPDATE");
    tx.one::<Row>(&sql, [id.into()])
        .await?
        .map(Row::read)
        .transpose()
}

/// Adds a roster that waits for its file.
///
/// # Errors
/// When the database fails.
pub async fn insert(tx: &Tx, roster: &Roster) -> Result<()> {
    tx.execute(
        "INSERT INTO roster (id, organisation, officer, login, purpose, complete, state,
           created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            roster.id.into(),
            roster.organisation.0.into(),
            roster.officer.0.into(),
            roster.login.0.into(),
            roster.purpose.as_str().into(),
            roster.purpose.complete().into(),
            roster.state.as_str().into(),
            roster.created_at.into(),
            roster.expires_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Writes the state, and why the newest file could not be used. What is over is forgotten.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, roster: &Roster, problem: Option<Problem>) -> Result<()> {
    let committed_at = match roster.state {
        State::Committed { at } => Some(at),
        State::Awaiting
        | State::Reading { .. }
        | State::Matching
        | State::Ready
        | State::Failed
        | State::Expired => None,
    };
    let correcting = roster.state == State::Reading { correcting: true };
    tx.execute(
        "UPDATE roster SET state = $2, correcting = $3, problem = $4, committed_at = $5,
           file = CASE WHEN $2 = 'reading' THEN file END,
           data_key = CASE WHEN $6 THEN NULL ELSE data_key END,
           told = CASE WHEN $6 THEN NULL ELSE told END,
           basis = CASE WHEN $6 THEN NULL ELSE basis END
         WHERE id = $1",
        [
            roster.id.into(),
            roster.state.as_str().into(),
            correcting.into(),
            problem.map(|it| it.code().to_owned()).into(),
            committed_at.into(),
            roster.state.is_over().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Keeps a sealed file and the roster's wrapped key.
///
/// # Errors
/// When the database fails.
pub async fn keep_file(tx: &Tx, id: Uuid, data_key: Vec<u8>, file: Vec<u8>) -> Result<()> {
    tx.execute(
        "UPDATE roster SET data_key = $2, file = $3 WHERE id = $1",
        [id.into(), data_key.into(), file.into()],
    )
    .await?;
    Ok(())
}

/// The sealed file that waits to be read.
///
/// # Errors
/// When the database fails.
pub async fn file(tx: &Tx, id: Uuid) -> Result<Option<Vec<u8>>> {
    #[derive(FromQueryResult)]
    struct File {
        file: Option<Vec<u8>>,
    }
    let row = tx
        .one::<File>("SELECT file FROM roster WHERE id = $1", [id.into()])
        .await?;
    Ok(row.and_then(|row| row.file))
}

/// Writes what is told of the file beside its rows, sealed.
///
/// # Errors
/// When the database fails.
pub async fn save_told(tx: &Tx, id: Uuid, told: Vec<u8>) -> Result<()> {
    tx.execute(
        "UPDATE roster SET told = $2 WHERE id = $1",
        [id.into(), told.into()],
    )
    .await?;
    Ok(())
}

/// Writes which memberships it was compared with.
///
/// # Errors
/// When the database fails.
pub async fn save_basis(tx: &Tx, id: Uuid, basis: [u8; 32]) -> Result<()> {
    tx.execute(
        "UPDATE roster SET basis = $2 WHERE id = $1",
        [id.into(), basis.to_vec().into()],
    )
    .await?;
    Ok(())
}

/// What an address is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPurpose {
    Upload,
    Correct,
    Download,
}

impl AddressPurpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Correct => "correct",
            Self::Download => "download",
        }
    }
}

/// An address, bound to one roster and to who asked for it.
#[derive(Clone, Debug)]
pub struct Address {
    pub hash: Blind,
    pub roster: Uuid,
    pub officer: MemberId,
    pub login: LoginId,
    pub purpose: AddressPurpose,
    pub expires_at: DateTime<Utc>,
}

/// Adds an address; those of the same roster and purpose count no more.
///
/// # Errors
/// When the database fails.
pub async fn insert_address(tx: &Tx, address: &Address) -> Result<()> {
    let same = vec![
        ("roster", address.roster.into()),
        ("purpose", address.purpose.as_str().into()),
    ];
    let more = vec![
        ("officer", address.officer.0.into()),
        ("login", address.login.0.into()),
        ("expires_at", address.expires_at.into()),
    ];
    addresses::insert(tx, Of::Roster, &address.hash, (same, more)).await
}

/// Uses an address up: see [`addresses::use_up`].
///
/// # Errors
/// When the database fails.
pub async fn use_address(tx: &Tx, hash: &Blind) -> Result<Option<Address>> {
    #[derive(FromQueryResult)]
    struct Found {
        roster: Uuid,
        officer: Uuid,
        login: Uuid,
        purpose: String,
        expires_at: DateTime<Utc>,
    }
    let columns = "roster, officer, login, purpose, expires_at";
    let row = addresses::use_up::<Found>(tx, Of::Roster, hash, columns).await?;
    let Some(row) = row else { return Ok(None) };
    let purpose = match row.purpose.as_str() {
        "upload" => AddressPurpose::Upload,
        "correct" => AddressPurpose::Correct,
        "download" => AddressPurpose::Download,
        _ => return Err(broken("address")),
    };
    Ok(Some(Address {
        hash: *hash,
        roster: row.roster,
        officer: MemberId(row.officer),
        login: LoginId(row.login),
        purpose,
        expires_at: row.expires_at,
    }))
}
