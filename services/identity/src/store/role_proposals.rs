//! Rows of `role_proposal`.

use chrono::{DateTime, Utc};
use kit::types::{MemberId, OrganisationId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;
use crate::domain::proposal::{Proposal, State};
use crate::domain::role::{Grant, Of, Role};

pub(crate) const COLUMNS: &str = "id, member, organisation, role, ends_at, proposed_by, \
    created_at, expires_at, state, decided_by, decided_at";

#[derive(Debug, FromQueryResult)]
pub(crate) struct Row {
    id: Uuid,
    member: Uuid,
    organisation: Uuid,
    role: String,
    ends_at: DateTime<Utc>,
    proposed_by: Uuid,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    state: String,
    decided_by: Option<Uuid>,
    decided_at: Option<DateTime<Utc>>,
}

impl Row {
    pub(crate) fn read(self) -> Result<Proposal> {
        let decided = self.decided_by.map(MemberId).zip(self.decided_at);
        let state = match (self.state.as_str(), decided) {
            ("open", None) => State::Open,
            ("confirmed", Some((by, at))) => State::Confirmed { by, at },
            ("withdrawn", Some((by, at))) => State::Withdrawn { by, at },
            ("expired", None) => State::Expired,
            _ => return Err(broken("role_proposal")),
        };
        Ok(Proposal {
            id: self.id,
            grant: Grant {
                of: Of {
                    member: MemberId(self.member),
                    organisation: OrganisationId(self.organisation),
                    role: Role::parse(&self.role).ok_or_else(|| broken("role_proposal"))?,
                },
                ends_at: self.ends_at,
            },
            by: MemberId(self.proposed_by),
            created_at: self.created_at,
            expires_at: self.expires_at,
            state,
        })
    }
}

/// One proposal as it is now.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: Uuid) -> Result<Option<Proposal>> {
    found(tx, id, "").await
}

/// One proposal, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &Tx, id: Uuid) -> Result<Option<Proposal>> {
    found(tx, id, "FOR UPDATE").await
}

async fn found(tx: &Tx, id: Uuid, lock: &str) -> Result<Option<Proposal>> {
    let sql = format!("SELECT {COLUMNS} FROM role_proposal WHERE id = $1 {lock}");
    tx.one::<Row>(&sql, [id.into()])
        .await?
        .map(Row::read)
        .transpose()
}

/// The proposal of this role that nobody has decided, locked; one that is over by the clock is
/// found too.
///
/// # Errors
/// When the database fails.
pub async fn lock_undecided(tx: &Tx, of: Of) -> Result<Option<Proposal>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM role_proposal
         WHERE member = $1 AND organisation = $2 AND role = $3 AND state = 'open' FOR UPDATE"
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

/// Whether a person may still propose such a role: an active person who is an operator now.
///
/// # Errors
/// When the database fails.
pub async fn may_propose(tx: &Tx, person: MemberId) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Found {
        found: bool,
    }
    let row = tx
        .one::<Found>(
            "SELECT EXISTS (
               SELECT 1 FROM role r JOIN member m ON m.id = r.member AND m.state = 'active'
               WHERE r.member = $1 AND r.role = 'operator'
                 AND role_held(r.withdrawn_at, r.ends_at, $2)) AS found",
            [person.0.into(), tx.now().into()],
        )
        .await?;
    Ok(row.is_some_and(|row| row.found))
}

/// Adds a proposal that is open.
///
/// # Errors
/// When the database fails, or against `role_proposal_one_open`.
pub async fn insert(tx: &Tx, proposal: &Proposal) -> Result<()> {
    let of = proposal.grant.of;
    tx.execute(
        "INSERT INTO role_proposal (id, member, organisation, role, ends_at, proposed_by,
           created_at, expires_at, state)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'open')",
        [
            proposal.id.into(),
            of.member.0.into(),
            of.organisation.0.into(),
            of.role.as_str().into(),
            proposal.grant.ends_at.into(),
            proposal.by.0.into(),
            proposal.created_at.into(),
            proposal.expires_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Writes what can change: what became of it, and by whom.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, proposal: &Proposal) -> Result<()> {
    let (state, decided) = match proposal.state {
        State::Open => ("open", None),
        State::Confirmed { by, at } => ("confirmed", Some((by.0, at))),
        State::Withdrawn { by, at } => ("withdrawn", Some((by.0, at))),
        State::Expired => ("expired", None),
    };
    let (by, at) = decided.unzip();
    tx.execute(
        "UPDATE role_proposal SET state = $2, decided_by = $3, decided_at = $4 WHERE id = $1",
        [proposal.id.into(), state.into(), by.into(), at.into()],
    )
    .await?;
    Ok(())
}

/// Takes back every proposal of a role for a person that nobody has decided; their ids.
///
/// # Errors
/// When the database fails.
pub async fn withdraw_about(tx: &Tx, person: MemberId, by: MemberId) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Id {
        id: Uuid,
    }
    let rows = tx
        .all::<Id>(
            "UPDATE role_proposal SET state = 'withdrawn', decided_by = $2, decided_at = $3
             WHERE member = $1 AND state = 'open' RETURNING id",
            [person.0.into(), by.0.into(), tx.now().into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}
