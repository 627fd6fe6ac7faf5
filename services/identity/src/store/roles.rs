//! Rows of `role`. One that is over by the clock is held no more, whether or not it was withdrawn.

use chrono::{DateTime, Utc};
use kit::types::{MemberId, OrganisationId};
use kit::{Db, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;
use crate::domain::role::{Of, Origin, Role, lives};
use crate::domain::two_operators::Tenure;

/// A role as it is held or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub id: Uuid,
    pub version: i64,
    pub of: Of,
    pub withdrawn: bool,
    /// From when it is held no more; `None` without an end.
    pub ends_at: Option<DateTime<Utc>>,
    pub origin: Origin,
}

impl Held {
    /// Whether it is held at this instant.
    pub fn lives(&self, now: DateTime<Utc>) -> bool {
        !self.withdrawn && lives(self.ends_at, now)
    }
}

pub(crate) const COLUMNS: &str = "id, version, member, organisation, role, \
    withdrawn_at IS NOT NULL AS withdrawn, ends_at, origin, proposal";

#[derive(Debug, FromQueryResult)]
pub(crate) struct Row {
    id: Uuid,
    version: i64,
    member: Uuid,
    organisation: Uuid,
    role: String,
    withdrawn: bool,
    ends_at: Option<DateTime<Utc>>,
    origin: String,
    proposal: Option<Uuid>,
}

impl Row {
    pub(crate) fn read(self) -> Result<Held> {
        let origin = match (self.origin.as_str(), self.proposal) {
            ("before", None) => Origin::Before,
            ("machine", None) => Origin::Machine,
            ("one", None) => Origin::One,
            ("two", Some(proposal)) => Origin::Two(proposal),
            _ => return Err(broken("role")),
        };
        Ok(Held {
            id: self.id,
            version: self.version,
            of: Of {
                member: MemberId(self.member),
                organisation: OrganisationId(self.organisation),
                role: Role::parse(&self.role).ok_or_else(|| broken("role"))?,
            },
            withdrawn: self.withdrawn,
            ends_at: self.ends_at,
            origin,
        })
    }
}

/// How an origin is stored: its name, and the proposal of two.
const fn stored(origin: Origin) -> (&'static str, Option<Uuid>) {
    match origin {
        Origin::Before => ("before", None),
        Origin::Machine => ("machine", None),
        Origin::One => ("one", None),
        Origin::Two(proposal) => ("two", Some(proposal)),
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

/// The role of this kind that the person holds there now.
///
/// # Errors
/// When the database fails.
pub async fn held(tx: &Tx, of: Of) -> Result<Option<Held>> {
    let standing = standing(tx, of, "").await?;
    Ok(standing.filter(|held| held.lives(tx.now())))
}

/// The same, locked to be changed; one that is over and was not withdrawn yet is found too.
///
/// # Errors
/// When the database fails.
pub async fn lock_standing(tx: &Tx, of: Of) -> Result<Option<Held>> {
    standing(tx, of, "FOR UPDATE").await
}

async fn standing(tx: &Tx, of: Of, lock: &str) -> Result<Option<Held>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM role
         WHERE member = $1 AND organisation = $2 AND role = $3 AND withdrawn_at IS NULL {lock}"
    );
    let values = [
        of.member.0.into(),
        of.organisation.0.into(),
        of.role.as_str().into(),
    ];
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

/// Those of these people whom an officer vouches for, so that he may give them a phone or say that
/// he has seen them: the organisation that added them first is one of the officer's, they are in it
/// still and not by a name and a phone alone, and they hold no role anywhere. Whoever adds a person
/// to a second organisation does not vouch for her by that, though it may answer for her
/// ([`super::memberships::answers_for`]) and know her ([`super::renderings::known_to`]).
///
/// # Errors
/// When the database fails.
pub async fn vouched_for(tx: &Tx, officer: MemberId, members: &[Uuid]) -> Result<Vec<Uuid>> {
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
                           AND s.organisation = f.organisation AND s.until IS NULL
                           AND s.ground <> 'name')
               AND EXISTS (SELECT 1 FROM role r WHERE r.member = $1 AND r.role = 'officer'
                           AND r.organisation = ANY (o.path)
                           AND role_held(r.withdrawn_at, r.ends_at, $3))
               AND NOT EXISTS (SELECT 1 FROM role r WHERE r.member = f.member
                               AND role_held(r.withdrawn_at, r.ends_at, $3))",
            [officer.0.into(), members.to_vec().into(), tx.now().into()],
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
            "SELECT granted_at, origin = 'machine' AS founding FROM role
             WHERE member = $1 AND role = 'operator' AND role_held(withdrawn_at, ends_at, $2)
             ORDER BY granted_at LIMIT 1 FOR SHARE",
            [member.0.into(), tx.now().into()],
        )
        .await?;
    Ok(match row {
        None => Tenure::None,
        Some(Row { founding: true, .. }) => Tenure::Founding,
        Some(Row { granted_at, .. }) => Tenure::Since(granted_at),
    })
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
    let sql = "SELECT EXISTS (SELECT 1 FROM role
         WHERE member = $1 AND role_held(withdrawn_at, ends_at, $2)) AS found";
    let row = tx
        .one::<Found>(sql, [member.0.into(), tx.now().into()])
        .await?;
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
             WHERE role_held(r.withdrawn_at, r.ends_at, now())",
            [],
        )
        .await?;
    row.map(|row| (row.holders, row.without))
        .ok_or_else(|| broken("count"))
}

/// How many operators there are now.
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
             WHERE role = 'operator' AND m.state = 'active'
               AND role_held(r.withdrawn_at, r.ends_at, $1)",
            [tx.now().into()],
        )
        .await?;
    count.map(|row| row.count).ok_or_else(|| broken("count"))
}

/// Adds a role that is held from now on.
///
/// # Errors
/// When the database fails, or against `role_held_unique`.
pub async fn insert(tx: &Tx, role: &Held) -> Result<()> {
    let (origin, proposal) = stored(role.origin);
    tx.execute(
        "INSERT INTO role (id, version, member, organisation, role, granted_at, ends_at, origin,
           proposal)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            role.id.into(),
            role.version.into(),
            role.of.member.0.into(),
            role.of.organisation.0.into(),
            role.of.role.as_str().into(),
            tx.now().into(),
            role.ends_at.into(),
            origin.into(),
            proposal.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Gives a role that is held another end; what it is afterwards.
///
/// # Errors
/// When the database fails.
pub async fn set_end(tx: &Tx, role: Held, ends_at: DateTime<Utc>, origin: Origin) -> Result<Held> {
    let role = Held {
        version: role.version + 1,
        ends_at: Some(ends_at),
        origin,
        ..role
    };
    let (origin, proposal) = stored(origin);
    tx.execute(
        "UPDATE role SET version = $2, ends_at = $3, origin = $4, proposal = $5 WHERE id = $1",
        [
            role.id.into(),
            role.version.into(),
            ends_at.into(),
            origin.into(),
            proposal.into(),
        ],
    )
    .await?;
    Ok(role)
}

/// Writes that the command line gave this role too: its holder counts at once.
///
/// # Errors
/// When the database fails.
pub async fn set_by_machine(tx: &Tx, role: Uuid) -> Result<()> {
    let sql = "UPDATE role SET origin = 'machine', proposal = NULL WHERE id = $1";
    tx.execute(sql, [role.into()]).await?;
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
