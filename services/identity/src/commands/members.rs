//! What an office changes about a person who is there: a membership's end.

use chrono::NaiveDate;
use kit::access::{self, Caller};
use kit::types::{OrganisationId, shanghai_date};
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use super::people::officer_or_operator;
use super::roles::leave_office;
use crate::domain::membership::{End, Membership};
use crate::error::Refusal;
use crate::publish;
use crate::store::memberships;
use crate::store::organisations::{self, Lock};
use crate::store::people as store;

/// Ends a membership on a Shanghai date; the roles that the person holds in that organisation end
/// at once.
///
/// # Errors
/// Officers of its organisation and operators only, their second factor shown; to all others it is
/// absent. Refused when it has ended, the date makes no sense, or it is the last operator's.
pub async fn end_membership(
    ctx: &Ctx,
    caller: &Caller,
    id: Uuid,
    how: End,
    until: NaiveDate,
) -> Result<Membership> {
    ctx.db
        .tx("end_membership", async |tx| {
            let (membership, by) = own_membership(tx, caller, id).await?;
            access::stepped_up(tx, caller)?;
            let ended = membership.end(how, until, shanghai_date(tx.now()))?;
            store::save_membership(tx, &ended).await?;
            tx.emit(publish::membership(&ended));
            let roles = leave_office(tx, ended.organisation, &[ended.member.0]).await?;
            tx.audit(
                by.audit("end_membership", id)
                    .detail(serde_json::json!({ "roles_withdrawn": roles })),
            );
            Ok(ended)
        })
        .await
}

/// A membership that the caller may change, and the caller. Its organisation is locked first, as
/// for a roster and for a grant: what is decided of one of its memberships is decided alone.
///
/// # Errors
/// Officers of its organisation and operators only; to all others it is absent.
pub(crate) async fn own_membership(
    tx: &Tx,
    caller: &Caller,
    id: Uuid,
) -> Result<(Membership, access::Member)> {
    own_membership_beside(tx, caller, id, None).await
}

/// The same, where another organisation is decided on too: both are locked in the order of their
/// ids, before anybody who is in either.
///
/// # Errors
/// As [`own_membership`]; the other organisation may be absent.
pub(crate) async fn own_membership_beside(
    tx: &Tx,
    caller: &Caller,
    id: Uuid,
    beside: Option<OrganisationId>,
) -> Result<(Membership, access::Member)> {
    access::member(tx, caller).await?;
    let absent = Refusal::MembershipNotFound;
    let (organisation, _) = memberships::place(tx, id).await?.ok_or(absent)?;
    let by = match officer_or_operator(tx, caller, organisation).await {
        Err(Error::Forbidden(_)) => return Err(absent.into()),
        other => other?,
    };
    let mut places: Vec<OrganisationId> = std::iter::once(organisation).chain(beside).collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        organisations::load(tx, place, Lock::Change).await?;
    }
    let membership = store::membership(tx, id).await?.ok_or(absent)?;
    Ok((membership, by))
}
