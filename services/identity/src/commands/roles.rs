//! Who may do what, where.

use kit::access::{self, Caller};
use kit::audit::require_sealing;
use kit::types::{MemberId, OrganisationId};
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use super::notices;
use crate::domain::notice::Notice;
use crate::domain::organisation::root_id;
use crate::domain::role::Role;
use crate::error::Refusal;
use crate::publish;
use crate::store::organisations::{self, Lock};
use crate::store::roles::{self as store, Held};
use crate::store::{memberships, people};

/// Grants a role; who holds it already keeps it as it is.
///
/// # Errors
/// Operators; a venue's manager may grant staff roles of the own company; the second factor must
/// have been shown. Refused when person or organisation are not there, the role does not belong in
/// that organisation, or the person has left it. While audit rows wait for their seal, nothing is
/// granted; to withdraw goes on.
pub async fn grant_role(
    ctx: &Ctx,
    caller: &Caller,
    member: MemberId,
    organisation: OrganisationId,
    role: Role,
) -> Result<Held> {
    let result = ctx
        .db
        .tx("grant_role", async |tx| {
            let by = may_change(tx, caller, organisation, role).await?;
            access::stepped_up(tx, caller)?;
            require_sealing(tx).await?;
            let place = organisations::load(tx, organisation, Lock::Share)
                .await?
                .ok_or(Refusal::OrganisationNotFound)?;
            place.must_be_open()?;
            role.fits(place.kind, place.is_root())?;
            people::active(tx, member)
                .await?
                .ok_or(Refusal::MemberNotFound)?;
            if let Some(held) = store::held(tx, member, organisation, role).await? {
                return Ok(held);
            }
            // Staff of a company, and offices over unions above one's own, need no membership
            // there; but who has left holds nothing. The organisation's lock keeps it so.
            if memberships::has_left(tx, organisation, member).await? {
                return Err(Refusal::LeftOrganisation.into());
            }
            let held = give(tx, member, organisation, role).await?;
            tx.audit(by.audit("grant_role", held.id).detail(serde_json::json!({
                "member": member.to_string(),
                "organisation": organisation.to_string(),
                "role": role.as_str(),
            })));
            Ok(held)
        })
        .await;
    match result {
        // Another granted it at the same moment: it is held.
        Err(error) if error.constraint().as_deref() == Some("role_held_unique") => {
            ctx.db
                .tx("grant_role", async |tx| {
                    store::held(tx, member, organisation, role)
                        .await?
                        .ok_or(Error::Overloaded)
                })
                .await
        }
        other => other,
    }
}

/// Adds the role's row, and tells the others and her who holds it.
pub(crate) async fn give(
    tx: &Tx,
    member: MemberId,
    organisation: OrganisationId,
    role: Role,
) -> Result<Held> {
    let held = Held {
        id: tx.uuid(),
        version: 1,
        member,
        organisation,
        role,
        withdrawn: false,
    };
    store::insert(tx, &held).await?;
    tx.emit(publish::role(&held));
    let told = Notice::RoleGranted { organisation, role };
    notices::tell(tx, &[notices::about(member, &held.id.to_string(), told)]).await?;
    Ok(held)
}

/// Withdraws what these people hold in an organisation that they have left; how much it was. The
/// caller has locked the organisation to change it, so that nothing is granted meanwhile.
///
/// # Errors
/// [`Refusal::LastOperator`]: the last operator stays.
pub(crate) async fn leave_office(
    tx: &Tx,
    organisation: OrganisationId,
    members: &[Uuid],
) -> Result<usize> {
    let held = store::held_by(tx, organisation, members).await?;
    let (count, operates) = (held.len(), held.iter().any(|it| it.role == Role::Operator));
    for role in held {
        let role = store::withdraw(tx, role).await?;
        tx.emit(publish::role(&role));
    }
    if operates && store::operators(tx).await? == 0 {
        return Err(Refusal::LastOperator.into());
    }
    Ok(count)
}

/// Withdraws a role; other services act on it within seconds.
///
/// # Errors
/// As [`grant_role`]; to those who may not, the role is absent. The last operator stays.
pub async fn withdraw_role(ctx: &Ctx, caller: &Caller, id: Uuid) -> Result<Held> {
    ctx.db
        .tx("withdraw_role", async |tx| {
            access::member(tx, caller).await?;
            // One at a time, so that two operators cannot withdraw each other at once.
            organisations::load(tx, root_id(ctx.union), Lock::Change).await?;
            let held = store::load(tx, id).await?.ok_or(Refusal::RoleNotFound)?;
            let by = match may_change(tx, caller, held.organisation, held.role).await {
                Err(Error::Forbidden(_)) => return Err(Refusal::RoleNotFound.into()),
                other => other?,
            };
            access::stepped_up(tx, caller)?;
            if held.withdrawn {
                return Ok(held);
            }
            if held.role == Role::Operator && store::operators(tx).await? <= 1 {
                return Err(Refusal::LastOperator.into());
            }
            let held = store::withdraw(tx, held).await?;
            tx.emit(publish::role(&held));
            tx.audit(by.audit("withdraw_role", id));
            Ok(held)
        })
        .await
}

async fn may_change(
    tx: &Tx,
    caller: &Caller,
    organisation: OrganisationId,
    role: Role,
) -> Result<access::Member> {
    match access::operator(tx, caller).await {
        Err(Error::Forbidden(_)) if role == Role::VenueStaff => {
            Ok(access::venue_manager(tx, caller, organisation)
                .await?
                .member)
        }
        Err(error) => Err(error),
        Ok(operator) => Ok(operator.member),
    }
}
