//! People and memberships as a roster is compared with them and changes them, many at once; and
//! whom a committed roster names.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use kit::types::OrganisationId;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;
use super::organisations::Lock;
use super::people::{Blind, MEMBERSHIP_COLUMNS, MembershipRow, PersonRow};
use crate::domain::membership::Membership;
use crate::domain::roster::Purpose;

/// The open memberships of an organisation in the order of their ids, locked.
///
/// # Errors
/// When the database fails.
pub async fn open_memberships(
    tx: &Tx,
    organisation: OrganisationId,
    lock: Lock,
) -> Result<Vec<Membership>> {
    let lock = match lock {
        Lock::Share => "FOR SHARE",
        Lock::Change => "FOR UPDATE",
    };
    let sql = format!(
        "SELECT {MEMBERSHIP_COLUMNS} FROM membership
         WHERE organisation = $1 AND until IS NULL ORDER BY id {lock}"
    );
    let rows = tx
        .all::<MembershipRow>(&sql, [organisation.0.into()])
        .await?;
    rows.into_iter().map(MembershipRow::read).collect()
}

/// Writes memberships that have ended.
///
/// # Errors
/// When the database fails.
pub async fn end_memberships(tx: &Tx, ended: &[Membership]) -> Result<()> {
    let rows: Vec<(&Membership, NaiveDate)> = ended
        .iter()
        .filter_map(|it| it.standing.until().map(|until| (it, until)))
        .collect();
    tx.execute(
        "UPDATE membership SET version = t.v, state = t.s, until = t.u
         FROM UNNEST($1::uuid[], $2::bigint[], $3::text[], $4::date[]) AS t (i, v, s, u)
         WHERE id = t.i",
        [
            rows.iter().map(|(it, _)| it.id).collect::<Vec<_>>().into(),
            rows.iter()
                .map(|(it, _)| it.version)
                .collect::<Vec<_>>()
                .into(),
            rows.iter()
                .map(|(it, _)| it.standing.as_str().to_owned())
                .collect::<Vec<_>>()
                .into(),
            rows.iter()
                .map(|(_, until)| *until)
                .collect::<Vec<_>>()
                .into(),
        ],
    )
    .await?;
    Ok(())
}

/// The active persons who sign in with these phones.
///
/// # Errors
/// When the database fails.
pub async fn by_phones(tx: &Tx, blinds: &[Blind]) -> Result<HashMap<Blind, PersonRow>> {
    #[derive(FromQueryResult)]
    struct Found {
        blind: Vec<u8>,
        member: Uuid,
        data_key: Vec<u8>,
        name: Vec<u8>,
    }
    let wanted: Vec<Vec<u8>> = blinds.iter().map(|blind| blind.to_vec()).collect();
    let rows = tx
        .all::<Found>(
            "SELECT l.blind, p.member, p.data_key, p.name
             FROM login_method l JOIN member o ON o.id = l.member
             JOIN member m ON m.id = COALESCE(o.merged_into, o.id)
             JOIN person p ON p.member = m.id
             WHERE l.kind = 'phone' AND l.blind = ANY ($1) AND m.state = 'active'",
            [wanted.into()],
        )
        .await?;
    let mut people = HashMap::with_capacity(rows.len());
    for row in rows {
        let blind = Blind::try_from(row.blind).map_err(|_| broken("keyed hash"))?;
        let person = PersonRow {
            member: row.member,
            data_key: row.data_key,
            name: row.name,
        };
        people.insert(blind, person);
    }
    Ok(people)
}

/// Those of these people who are in the organisation or in one below it.
///
/// # Errors
/// When the database fails.
pub async fn members_within(
    tx: &Tx,
    organisation: OrganisationId,
    members: &[Uuid],
) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Found {
        member: Uuid,
    }
    let rows = tx
        .all::<Found>(
            "SELECT DISTINCT m.member FROM membership m JOIN organisation o ON o.id = m.organisation
             WHERE m.member = ANY ($2) AND m.until IS NULL AND m.state <> 'applied'
               AND $1 = ANY (o.path)",
            [organisation.0.into(), members.to_vec().into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.member).collect())
}

/// Those who joined an organisation by a roster that was committed.
///
/// # Errors
/// When the database fails.
pub async fn joined(tx: &Tx, roster: Uuid) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Joined {
        member: Uuid,
    }
    let rows = tx
        .all::<Joined>(
            "SELECT DISTINCT member FROM roster_row
             WHERE roster = $1 AND change = 'new' AND member IS NOT NULL",
            [roster.into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.member).collect())
}

/// A committed roster and whom it names, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterMembers {
    pub id: Uuid,
    pub organisation: OrganisationId,
    pub purpose: Purpose,
    pub committed_at: DateTime<Utc>,
    pub members: Vec<Uuid>,
}

/// # Errors
/// When the database fails.
pub async fn committed(tx: &Tx, roster: Uuid) -> Result<Option<RosterMembers>> {
    #[derive(FromQueryResult)]
    struct Row {
        organisation: Uuid,
        purpose: String,
        complete: bool,
        committed_at: DateTime<Utc>,
        members: Vec<Uuid>,
    }
    let row = tx
        .one::<Row>(
            "SELECT organisation, purpose, complete, committed_at,
               ARRAY (SELECT w.member FROM roster_row w
                      WHERE w.roster = r.id AND w.change IN ('new', 'changed', 'unchanged')
                        AND w.member IS NOT NULL
                      GROUP BY w.member ORDER BY min(w.place)) AS members
             FROM roster r WHERE id = $1 AND committed_at IS NOT NULL",
            [roster.into()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(RosterMembers {
        id: roster,
        organisation: OrganisationId(row.organisation),
        purpose: Purpose::parse(&row.purpose, row.complete).ok_or_else(|| broken("roster"))?,
        committed_at: row.committed_at,
        members: row.members,
    }))
}
