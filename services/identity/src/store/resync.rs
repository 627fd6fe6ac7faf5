//! The next rows of each aggregate, locked, in the order of their ids: for saying everything
//! again.

use chrono::{DateTime, Utc};
use kit::resync::RESYNC_ROWS_MAX;
use kit::types::MemberId;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::consents;
use super::erasures::{COLUMNS as ERASURE_COLUMNS, Row as ErasureRow};
use super::organisations::{COLUMNS, Row as OrganisationRow};
use super::people::{MEMBERSHIP_COLUMNS, MembershipRow};
use super::roles::{self, Held};
use super::roster_people::{self, RosterMembers};
use super::{broken, keys};
use crate::domain::consent::Consent;
use crate::domain::erasure::Erasure;
use crate::domain::membership::Membership;
use crate::domain::organisation::Organisation;
use crate::publish::MemberState;

fn select(columns: &str, table: &str) -> String {
    format!("SELECT {columns} FROM {table} WHERE id > $1 ORDER BY id LIMIT $2 FOR SHARE")
}

/// # Errors
/// When the database fails.
pub async fn organisations(tx: &Tx, after: Uuid) -> Result<Vec<Organisation>> {
    let sql = select(COLUMNS, "organisation");
    let rows = tx
        .all::<OrganisationRow>(&sql, [after.into(), RESYNC_ROWS_MAX.into()])
        .await?;
    rows.into_iter().map(OrganisationRow::read).collect()
}

/// A member as it is now.
#[derive(Clone, Copy, Debug)]
pub struct MemberRow {
    pub id: MemberId,
    pub version: i64,
    pub state: MemberState,
}

/// # Errors
/// When the database fails.
pub async fn members(tx: &Tx, after: Uuid) -> Result<Vec<MemberRow>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        version: i64,
        state: String,
        merged_into: Option<Uuid>,
    }
    let sql = select("id, version, state, merged_into", "member");
    let rows = tx
        .all::<Row>(&sql, [after.into(), RESYNC_ROWS_MAX.into()])
        .await?;
    let read = |row: Row| {
        let state = match (row.state.as_str(), row.merged_into) {
            ("active", None) => MemberState::Active,
            ("merged", Some(into)) => MemberState::Merged {
                into: MemberId(into),
            },
            ("erased", None) => MemberState::Erased,
            _ => return Err(broken("member")),
        };
        Ok(MemberRow {
            id: MemberId(row.id),
            version: row.version,
            state,
        })
    };
    rows.into_iter().map(read).collect()
}

/// # Errors
/// When the database fails.
pub async fn memberships(tx: &Tx, after: Uuid) -> Result<Vec<Membership>> {
    let sql = select(MEMBERSHIP_COLUMNS, "membership");
    let rows = tx
        .all::<MembershipRow>(&sql, [after.into(), RESYNC_ROWS_MAX.into()])
        .await?;
    rows.into_iter().map(MembershipRow::read).collect()
}

/// # Errors
/// When the database fails.
pub async fn roles(tx: &Tx, after: Uuid) -> Result<Vec<Held>> {
    let sql = select(roles::COLUMNS, "role");
    let rows = tx
        .all::<roles::Row>(&sql, [after.into(), RESYNC_ROWS_MAX.into()])
        .await?;
    rows.into_iter().map(roles::Row::read).collect()
}

/// A withdrawn login.
#[derive(Clone, Copy, Debug, FromQueryResult)]
pub struct WithdrawnRow {
    pub id: Uuid,
    pub member: Uuid,
    pub withdrawn_at: DateTime<Utc>,
}

/// # Errors
/// When the database fails.
pub async fn withdrawn_logins(tx: &Tx, after: Uuid) -> Result<Vec<WithdrawnRow>> {
    tx.all(
        "SELECT id, member, withdrawn_at FROM login
         WHERE id > $1 AND withdrawn_at IS NOT NULL ORDER BY id LIMIT $2 FOR SHARE",
        [after.into(), RESYNC_ROWS_MAX.into()],
    )
    .await
}

/// The newest key set; keys stay as they are while it is said.
///
/// # Errors
/// When the database fails.
pub async fn key_set(tx: &Tx) -> Result<Option<keys::SetRow>> {
    keys::lock(tx).await?;
    keys::newest_set(tx).await
}

/// Rosters said again at once, at most: each may name some thousand people.
const ROSTERS_MAX: i64 = 20;

/// The next rosters that were committed, with whom they name.
///
/// # Errors
/// When the database fails.
pub async fn rosters(tx: &Tx, after: Uuid) -> Result<Vec<RosterMembers>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
    }
    let rows = tx
        .all::<Row>(
            "SELECT id FROM roster WHERE id > $1 AND state = 'committed'
             ORDER BY id LIMIT $2 FOR SHARE",
            [after.into(), ROSTERS_MAX.into()],
        )
        .await?;
    let mut rosters = Vec::with_capacity(rows.len());
    for row in rows {
        rosters.extend(roster_people::committed(tx, row.id).await?);
    }
    Ok(rosters)
}

/// # Errors
/// When the database fails.
pub async fn consents(tx: &Tx, after: Uuid) -> Result<Vec<Consent>> {
    let sql = select(consents::COLUMNS, "consent");
    let rows = tx
        .all::<consents::Row>(&sql, [after.into(), RESYNC_ROWS_MAX.into()])
        .await?;
    rows.into_iter().map(consents::Row::read).collect()
}

/// # Errors
/// When the database fails.
pub async fn erasures(tx: &Tx, after: Uuid) -> Result<Vec<Erasure>> {
    let sql = format!(
        "SELECT {ERASURE_COLUMNS} FROM erasure WHERE member > $1 ORDER BY member LIMIT $2 FOR SHARE"
    );
    let rows = tx
        .all::<ErasureRow>(&sql, [after.into(), RESYNC_ROWS_MAX.into()])
        .await?;
    rows.into_iter().map(ErasureRow::read).collect()
}
