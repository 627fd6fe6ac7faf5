//! What decisions ask of memberships. Their rows are written with those of people.

use kit::types::{MemberId, OrganisationId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::broken;

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

/// In which organisation a membership is. That never changes, so nothing is locked.
///
/// # Errors
/// When the database fails.
pub async fn organisation_of(tx: &Tx, membership: Uuid) -> Result<Option<OrganisationId>> {
    #[derive(FromQueryResult)]
    struct Row {
        organisation: Uuid,
    }
    let row = tx
        .one::<Row>(
            "SELECT organisation FROM membership WHERE id = $1",
            [membership.into()],
        )
        .await?;
    Ok(row.map(|row| OrganisationId(row.organisation)))
}
