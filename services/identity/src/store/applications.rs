//! Rows of `membership_application`.

use chrono::{DateTime, Utc};
use kit::types::{MemberId, OrganisationId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;
use crate::domain::application::{Application, State};

pub(crate) const COLUMNS: &str = "id, member, organisation, leaves, asked_by, asked_at, state, \
    decided_by, decided_at, membership";

#[derive(Debug, FromQueryResult)]
pub(crate) struct Row {
    id: Uuid,
    member: Uuid,
    organisation: Uuid,
    leaves: Option<Uuid>,
    asked_by: Uuid,
    asked_at: DateTime<Utc>,
    state: String,
    decided_by: Option<Uuid>,
    decided_at: Option<DateTime<Utc>>,
    membership: Option<Uuid>,
}

impl Row {
    pub(crate) fn read(self) -> Result<Application> {
        let decided = self.decided_by.map(MemberId).zip(self.decided_at);
        let state = match (self.state.as_str(), decided, self.membership) {
            ("waiting", None, None) => Some(State::Waiting),
            ("approved", Some((by, at)), Some(membership)) => {
                Some(State::Approved { by, at, membership })
            }
            ("refused", Some((by, at)), None) => Some(State::Refused { by, at }),
            ("withdrawn", Some((by, at)), None) => Some(State::Withdrawn { by, at }),
            ("expired", None, None) => Some(State::Expired),
            _ => None,
        };
        Ok(Application {
            id: self.id,
            member: MemberId(self.member),
            organisation: OrganisationId(self.organisation),
            leaves: self.leaves,
            asked_by: MemberId(self.asked_by),
            asked_at: self.asked_at,
            state: state.ok_or_else(|| broken("application"))?,
        })
    }
}

/// An application as it is, nothing locked.
///
/// # Errors
/// When the database fails.
pub async fn find(tx: &Tx, id: Uuid) -> Result<Option<Application>> {
    one(tx, id, "").await
}

/// An application, locked to be decided.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &Tx, id: Uuid) -> Result<Option<Application>> {
    one(tx, id, "FOR UPDATE").await
}

async fn one(tx: &Tx, id: Uuid, lock: &str) -> Result<Option<Application>> {
    let sql = format!("SELECT {COLUMNS} FROM membership_application WHERE id = $1 {lock}");
    let row = tx.one::<Row>(&sql, [id.into()]).await?;
    row.map(Row::read).transpose()
}

/// The application of a person to an organisation that waits.
///
/// # Errors
/// When the database fails.
pub async fn waiting(
    tx: &Tx,
    member: MemberId,
    organisation: OrganisationId,
) -> Result<Option<Application>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM membership_application
         WHERE member = $1 AND organisation = $2 AND state = 'waiting'"
    );
    let values = [member.0.into(), organisation.0.into()];
    let row = tx.one::<Row>(&sql, values).await?;
    row.map(Row::read).transpose()
}

/// How many applications of a person wait.
///
/// # Errors
/// When the database fails.
pub async fn count_waiting(tx: &Tx, member: MemberId) -> Result<i64> {
    #[derive(FromQueryResult)]
    struct Count {
        count: i64,
    }
    let row = tx
        .one::<Count>(
            "SELECT count(*) AS count FROM membership_application
             WHERE member = $1 AND state = 'waiting'",
            [member.0.into()],
        )
        .await?;
    Ok(row.map_or(0, |row| row.count))
}

/// Adds an application that waits.
///
/// # Errors
/// When the database fails, or against `membership_application_one_waiting`.
pub async fn insert(tx: &Tx, it: &Application) -> Result<()> {
    tx.execute(
        "INSERT INTO membership_application
           (id, member, organisation, leaves, asked_by, asked_at, state)
         VALUES ($1, $2, $3, $4, $5, $6, 'waiting')",
        [
            it.id.into(),
            it.member.0.into(),
            it.organisation.0.into(),
            it.leaves.into(),
            it.asked_by.0.into(),
            it.asked_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Writes what can change: how it stands.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, it: &Application) -> Result<()> {
    let (by, at, membership) = match it.state {
        State::Waiting | State::Expired => (None, None, None),
        State::Approved { by, at, membership } => (Some(by.0), Some(at), Some(membership)),
        State::Refused { by, at } | State::Withdrawn { by, at } => (Some(by.0), Some(at), None),
    };
    tx.execute(
        "UPDATE membership_application SET state = $2, decided_by = $3, decided_at = $4,
           membership = $5 WHERE id = $1",
        [
            it.id.into(),
            it.state.as_str().into(),
            by.into(),
            at.into(),
            membership.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Takes back every application of a person that waits; their ids.
///
/// # Errors
/// When the database fails.
pub async fn withdraw_of(tx: &Tx, member: MemberId, by: MemberId) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Id {
        id: Uuid,
    }
    let rows = tx
        .all::<Id>(
            "UPDATE membership_application
             SET state = 'withdrawn', decided_by = $2, decided_at = $3
             WHERE member = $1 AND state = 'waiting' RETURNING id",
            [member.0.into(), by.0.into(), tx.now().into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}
