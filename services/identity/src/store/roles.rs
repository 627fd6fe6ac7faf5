//! Rows of `role`.

use chrono::{DateTime, Utc};
use kit::types::{MemberId, OrganisationId};
use kit::{Db, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;
use crate::domain::role::Role;
use crate::domain::second_factor::Tenure;

/// A role as it is held or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub id: Uuid,
    pub version: i64,
    pub member: MemberId,
    pub organisation: OrganisationId,
    pub role: Role,
    pub withdrawn: bool,
}

pub(crate) const COLUMNS: &str =
    "id, version, member, organisation, role, withdrawn_at IS NOT NULL AS withdrawn";

#[derive(Debug, FromQueryResult)]
pub(crate) struct Row {
    id: Uuid,
    version: i64,
    member: Uuid,
    organisation: Uuid,
    role: String,
    withdrawn: bool,
}

impl Row {
    pub(crate) fn read(self) -> Result<Held> {
        Ok(Held {
            id: self.id,
            version: self.version,
            member: MemberId(self.member),
            organisation: OrganisationId(self.organisation),
            role: Role::parse(&self.role).ok_or_else(|| broken("role"))?,
            withdrawn: self.withdrawn,
        })
    }
}

/// One role, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: Uuid) -> Result<Option<Held>> {
    let sql = format!("SELECT {COLUMNS} FROM role WHERE id = $1 FOR UPDATE");
    tx.one::<Row>(&sql, [id.into()])
        .await?
        .map(Row::read)
        .transpose()
}

/// The same role held by the same person in the same place.
///
/// # Errors
/// When the database fails.
pub async fn held(
    tx: &Tx,
    member: MemberId,
    organisation: OrganisationId,
    role: Role,
) -> Result<Option<Held>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM role
         WHERE member = $1 AND organisation = $2 AND role = $3 AND withdrawn_at IS NULL"
    );
    let values = [member.0.into(), organisation.0.into(), role.as_str().into()];
    tx.one::<Row>(&sql, values)
        .await?
        .map(Row::read)
        .transpose()
}

/// All roles held in an organisation, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn held_in(tx: &Tx, organisation: OrganisationId) -> Result<Vec<Held>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM role WHERE organisation = $1 AND withdrawn_at IS NULL
         ORDER BY id FOR UPDATE"
    );
    let rows = tx.all::<Row>(&sql, [organisation.0.into()]).await?;
    rows.into_iter().map(Row::read).collect()
}

/// What these people hold in an organisation, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn held_by(tx: &Tx, organisation: OrganisationId, members: &[Uuid]) -> Result<Vec<Held>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM role
         WHERE organisation = $1 AND member = ANY ($2) AND withdrawn_at IS NULL
         ORDER BY id FOR UPDATE"
    );
    let values = [organisation.0.into(), members.to_vec().into()];
    let rows = tx.all::<Row>(&sql, values).await?;
    rows.into_iter().map(Row::read).collect()
}

/// Those of these people whom an officer answers for: the organisation that added them first is
/// one of the officer's, they are in it still, and they hold no role anywhere. Whoever adds a
/// person to a second organisation does not come to answer for her by that.
///
/// # Errors
/// When the database fails.
pub async fn answered_for(tx: &Tx, officer: MemberId, members: &[Uuid]) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Row {
        member: Uuid,
    }
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let rows = tx
        .all::<Row>(
            "WITH first AS (
               SELECT DISTINCT ON (member) member, organisation FROM membership
               WHERE member = ANY ($2) ORDER BY member, created_at, id
             )
             SELECT f.member FROM first f JOIN organisation o ON o.id = f.organisation
             WHERE EXISTS (SELECT 1 FROM membership s WHERE s.member = f.member
                           AND s.organisation = f.organisation AND s.until IS NULL)
               AND EXISTS (SELECT 1 FROM role r WHERE r.member = $1 AND r.role = 'officer'
                           AND r.withdrawn_at IS NULL AND r.organisation = ANY (o.path))
               AND NOT EXISTS (SELECT 1 FROM role r WHERE r.member = f.member
                               AND r.withdrawn_at IS NULL)",
            [officer.0.into(), members.to_vec().into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.member).collect())
}

/// Since when somebody is an operator, who stays one until the end of the transaction.
///
/// # Errors
/// When the database fails.
pub async fn tenure(tx: &Tx, member: MemberId) -> Result<Tenure> {
    #[derive(FromQueryResult)]
    struct Row {
        granted_at: DateTime<Utc>,
        founding: bool,
    }
    let row = tx
        .one::<Row>(
            "SELECT granted_at, founding FROM role
             WHERE member = $1 AND role = 'operator' AND withdrawn_at IS NULL
             ORDER BY granted_at LIMIT 1 FOR SHARE",
            [member.0.into()],
        )
        .await?;
    Ok(match row {
        None => Tenure::None,
        Some(Row { founding: true, .. }) => Tenure::Founding,
        Some(Row { granted_at, .. }) => Tenure::Since(granted_at),
    })
}

/// Writes that a role was given on the command line.
///
/// # Errors
/// When the database fails.
pub async fn set_founding(tx: &Tx, role: Uuid) -> Result<()> {
    tx.execute(
        "UPDATE role SET founding = true WHERE id = $1",
        [role.into()],
    )
    .await?;
    Ok(())
}

/// Whether somebody holds any role anywhere.
///
/// # Errors
/// When the database fails.
pub async fn holds_any(tx: &Tx, member: MemberId) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Found {
        found: bool,
    }
    let sql = "SELECT EXISTS
        (SELECT 1 FROM role WHERE member = $1 AND withdrawn_at IS NULL) AS found";
    let row = tx.one::<Found>(sql, [member.0.into()]).await?;
    Ok(row.is_some_and(|row| row.found))
}

/// How many people hold a role, and how many of them have no second factor.
///
/// # Errors
/// When the database fails.
pub async fn without_factor(db: &Db) -> Result<(i64, i64)> {
    #[derive(FromQueryResult)]
    struct Count {
        holders: i64,
        without: i64,
    }
    let row = db
        .one::<Count>(
            "SELECT count(DISTINCT r.member) AS holders,
               count(DISTINCT r.member) FILTER (WHERE f.id IS NULL) AS without
             FROM role r JOIN member m ON m.id = r.member AND m.state = 'active'
             LEFT JOIN second_factor f ON f.member = r.member AND f.confirmed_at IS NOT NULL
             WHERE r.withdrawn_at IS NULL",
            [],
        )
        .await?;
    row.map(|row| (row.holders, row.without))
        .ok_or_else(|| broken("count"))
}

/// How many operators there are.
///
/// # Errors
/// When the database fails.
pub async fn operators(tx: &Tx) -> Result<i64> {
    #[derive(FromQueryResult)]
    struct Count {
        count: i64,
    }
    let count = tx
        .one::<Count>(
            "SELECT count(DISTINCT member) AS count FROM role r JOIN member m ON m.id = r.member
             WHERE role = 'operator' AND withdrawn_at IS NULL AND m.state = 'active'",
            [],
        )
        .await?;
    count.map(|row| row.count).ok_or_else(|| broken("count"))
}

/// Adds a role that is held from now on.
///
/// # Errors
/// When the database fails, or against `role_held_unique`.
pub async fn insert(tx: &Tx, role: &Held) -> Result<()> {
    tx.execute(
        "INSERT INTO role (id, version, member, organisation, role, granted_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        [
            role.id.into(),
            role.version.into(),
            role.member.0.into(),
            role.organisation.0.into(),
            role.role.as_str().into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Withdraws a role; what it is afterwards.
///
/// # Errors
/// When the database fails.
pub async fn withdraw(tx: &Tx, role: Held) -> Result<Held> {
    let role = Held {
        version: role.version + 1,
        withdrawn: true,
        ..role
    };
    tx.execute(
        "UPDATE role SET version = $2, withdrawn_at = $3 WHERE id = $1",
        [role.id.into(), role.version.into(), tx.now().into()],
    )
    .await?;
    Ok(role)
}
