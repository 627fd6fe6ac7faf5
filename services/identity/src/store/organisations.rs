//! Rows of `organisation`.

use chrono::{DateTime, Utc};
use kit::types::OrganisationId;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;
use crate::domain::organisation::{Kind, Organisation, Standing};
use crate::domain::uscc::Uscc;

pub(crate) const COLUMNS: &str = "id, version, kind, path, industrial_parent, name, uscc, \
    division, created_at, closed_at";

#[derive(Debug, FromQueryResult)]
pub(crate) struct Row {
    id: Uuid,
    version: i64,
    kind: String,
    path: Vec<Uuid>,
    industrial_parent: Option<Uuid>,
    name: String,
    uscc: Option<String>,
    division: String,
    created_at: DateTime<Utc>,
    closed_at: Option<DateTime<Utc>>,
}

impl Row {
    pub(crate) fn read(self) -> Result<Organisation> {
        let uscc = self.uscc.map(|text| Uscc::parse(&text)).transpose();
        Ok(Organisation {
            id: OrganisationId(self.id),
            version: self.version,
            kind: Kind::parse(&self.kind).ok_or_else(|| broken("organisation"))?,
            path: self.path.into_iter().map(OrganisationId).collect(),
            industrial_parent: self.industrial_parent.map(OrganisationId),
            name: self.name,
            uscc: uscc.map_err(|_| broken("credit code"))?,
            division: self.division,
            created_at: self.created_at,
            standing: self
                .closed_at
                .map_or(Standing::Open, |at| Standing::Closed { at }),
        })
    }
}

/// How a row is locked while it is decided on.
#[derive(Clone, Copy, Debug)]
pub enum Lock {
    /// It must stay as it is: what is made depends on it.
    Share,
    /// It will be changed.
    Change,
}

/// One organisation, locked.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: OrganisationId, lock: Lock) -> Result<Option<Organisation>> {
    let lock = match lock {
        Lock::Share => "FOR SHARE",
        Lock::Change => "FOR UPDATE",
    };
    let sql = format!("SELECT {COLUMNS} FROM organisation WHERE id = $1 {lock}");
    tx.one::<Row>(&sql, [id.0.into()])
        .await?
        .map(Row::read)
        .transpose()
}

/// The open organisation of this name right below `parent`.
///
/// # Errors
/// When the database fails.
pub async fn named(tx: &Tx, parent: OrganisationId, name: &str) -> Result<Option<Organisation>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM organisation
         WHERE parent = $1 AND name = $2 AND closed_at IS NULL"
    );
    tx.one::<Row>(&sql, [parent.0.into(), name.into()])
        .await?
        .map(Row::read)
        .transpose()
}

/// Adds an organisation.
///
/// # Errors
/// When the database fails, or against `organisation_uscc_unique` and
/// `organisation_name_unique`.
pub async fn insert(tx: &Tx, organisation: &Organisation) -> Result<()> {
    let path: Vec<Uuid> = organisation.path.iter().map(|id| id.0).collect();
    tx.execute(
        "INSERT INTO organisation (id, version, kind, parent, industrial_parent, path, name,
           uscc, division, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        [
            organisation.id.0.into(),
            organisation.version.into(),
            organisation.kind.as_str().into(),
            organisation.parent().map(|id| id.0).into(),
            organisation.industrial_parent.map(|id| id.0).into(),
            path.into(),
            organisation.name.as_str().into(),
            organisation
                .uscc
                .as_ref()
                .map(|uscc| uscc.as_str().to_owned())
                .into(),
            organisation.division.as_str().into(),
            organisation.created_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Writes what can change: its version and standing.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, organisation: &Organisation) -> Result<()> {
    let closed_at = match organisation.standing {
        Standing::Open => None,
        Standing::Closed { at } => Some(at),
    };
    tx.execute(
        "UPDATE organisation SET version = $2, closed_at = $3 WHERE id = $1",
        [
            organisation.id.0.into(),
            organisation.version.into(),
            closed_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// What keeps an organisation open: its open branches and memberships.
///
/// # Errors
/// When the database fails.
pub async fn contents(tx: &Tx, id: OrganisationId) -> Result<(i64, i64)> {
    #[derive(FromQueryResult)]
    struct Counts {
        branches: i64,
        members: i64,
    }
    let counts = tx
        .one::<Counts>(
            "SELECT
               (SELECT count(*) FROM organisation
                WHERE (parent = $1 OR industrial_parent = $1) AND closed_at IS NULL) AS branches,
               (SELECT count(*) FROM membership
                WHERE organisation = $1 AND until IS NULL) AS members",
            [id.0.into()],
        )
        .await?
        .ok_or_else(|| broken("count"))?;
    Ok((counts.branches, counts.members))
}
