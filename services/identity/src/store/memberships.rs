//! What decisions ask of memberships. Their rows are written with those of people.

use kit::types::{MemberId, OrganisationId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;

/// Whether one of these memberships counts on a day on which another one of the same person in
/// the same organisation does.
///
/// # Errors
/// When the database fails.
pub async fn overlaps(tx: &Tx, memberships: &[Uuid]) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Found {
        found: bool,
    }
    let row = tx
        .one::<Found>(
            "SELECT EXISTS (
               SELECT 1 FROM membership a JOIN membership b
                 ON b.member = a.member AND b.organisation = a.organisation AND b.id <> a.id
               WHERE a.id = ANY ($1) AND a.since < COALESCE(b.until, 'infinity')
                 AND b.since < COALESCE(a.until, 'infinity')) AS found",
            [memberships.to_vec().into()],
        )
        .await?;
    Ok(row.is_some_and(|row| row.found))
}

/// Whether a person was in an organisation and is not in it any more.
///
/// # Errors
/// When the database fails.
pub async fn has_left(tx: &Tx, organisation: OrganisationId, member: MemberId) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Left {
        left: bool,
    }
    let row = tx
        .one::<Left>(
            "SELECT COALESCE(bool_and(until IS NOT NULL), false) AS left FROM membership
             WHERE organisation = $1 AND member = $2",
            [organisation.0.into(), member.0.into()],
        )
        .await?;
    row.map(|row| row.left).ok_or_else(|| broken("membership"))
}

/// In which organisation a membership is, and whose. That never changes, so nothing is locked.
///
/// # Errors
/// When the database fails.
pub async fn place(tx: &Tx, membership: Uuid) -> Result<Option<(OrganisationId, MemberId)>> {
    #[derive(FromQueryResult)]
    struct Row {
        organisation: Uuid,
        member: Uuid,
    }
    let row = tx
        .one::<Row>(
            "SELECT organisation, member FROM membership WHERE id = $1",
            [membership.into()],
        )
        .await?;
    Ok(row.map(|row| (OrganisationId(row.organisation), MemberId(row.member))))
}
