//! Who may do what, where, and until when. What one person alone does not grant becomes a proposal:
//! see `role_proposals`.

use chrono::{DateTime, NaiveDate, Utc};
use kit::access::{self, Caller};
use kit::audit::{AuditRow, require_sealing};
use kit::due::{After, NewDue, cancel};
use kit::types::OrganisationId;
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use super::{notices, role_proposals};
use crate::domain::notice::Notice;
use crate::domain::organisation::root_id;
use crate::domain::proposal::Proposal;
use crate::domain::role::{Grant, Of, Origin, Role, term};
use crate::error::Refusal;
use crate::store::organisations::{self, Lock};
use crate::store::roles::{self as store, Held};
use crate::store::{memberships, people};
use crate::{due, publish};

/// Who is to hold what, where, and until when.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub of: Of,
    /// The first Shanghai day without it; the longest term when absent.
    pub until: Option<NaiveDate>,
}

/// What became of a grant.
#[derive(Clone, Debug)]
pub enum Granted {
    Held(Held),
    /// It waits for a second person.
    Proposed(Proposal),
}

impl Granted {
    /// The id of the role, or of the proposal.
    pub const fn id(&self) -> Uuid {
        match self {
            Self::Held(held) => held.id,
            Self::Proposed(proposal) => proposal.id,
        }
    }
}

/// Grants a role, or proposes one that takes two persons. Who holds it already keeps it as it is,
/// unless another end was asked for.
///
/// # Errors
/// Operators; a venue's manager may grant staff roles of the own company; the second factor must
/// have been shown. Refused when person or organisation are not there, the role does not belong in
/// that organisation, the end is none, or the person has left it; where it takes two, to oneself.
/// While audit rows wait for their seal, nothing is granted; to withdraw goes on.
pub async fn grant_role(ctx: &Ctx, caller: &Caller, asked: Asked) -> Result<Granted> {
    match granted(ctx, caller, asked).await {
        Err(error) if is_race(&error) => granted(ctx, caller, asked).await,
        other => other,
    }
}

async fn granted(ctx: &Ctx, caller: &Caller, asked: Asked) -> Result<Granted> {
    let grant = async |tx: &Tx| grant(tx, caller, asked).await;
    ctx.db.tx("grant_role", grant).await
}

/// Whether another granted or proposed the same at the same moment: it is there when one looks
/// again.
pub(super) fn is_race(error: &Error) -> bool {
    matches!(
        error.constraint().as_deref(),
        Some("role_held_unique" | "role_proposal_one_open")
    )
}

async fn grant(tx: &Tx, caller: &Caller, Asked { of, until }: Asked) -> Result<Granted> {
    let by = may_change(tx, caller, of.organisation, of.role).await?;
    access::stepped_up(tx, caller)?;
    require_sealing(tx).await?;
    may_hold(tx, of).await?;
    let held = living(tx, of).await?;
    let ends_at = term(until, tx.now())?;
    let grant = Grant { of, ends_at };
    match held {
        Some(held) if until.is_none() || held.ends_at == Some(ends_at) => Ok(Granted::Held(held)),
        Some(_) | None if of.role.is_powerful() => {
            let proposal = role_proposals::propose(tx, by, grant, until).await?;
            Ok(Granted::Proposed(proposal))
        }
        held => {
            let held = hold(tx, held, grant, Origin::One).await?;
            tx.audit(by.audit("grant_role", held.id).detail(detail(&grant)));
            Ok(Granted::Held(held))
        }
    }
}

/// What an audit row says of a grant.
pub(super) fn detail(grant: &Grant) -> serde_json::Value {
    serde_json::json!({
        "member": grant.of.member.to_string(),
        "organisation": grant.of.organisation.to_string(),
        "role": grant.of.role.as_str(),
        "ends_at": grant.ends_at,
    })
}

/// Whether a person can hold a role in an organisation, which is locked.
///
/// # Errors
/// As [`grant_role`].
pub(super) async fn may_hold(tx: &Tx, of: Of) -> Result<()> {
    let place = organisations::load(tx, of.organisation, Lock::Share)
        .await?
        .ok_or(Refusal::OrganisationNotFound)?;
    place.must_be_open()?;
    of.role.fits(place.kind, place.is_root())?;
    people::active(tx, of.member)
        .await?
        .ok_or(Refusal::MemberNotFound)?;
    // Staff of a company, and offices over unions above one's own, need no membership there; but
    // who has left holds nothing. The organisation's lock keeps it so.
    if memberships::has_left(tx, of.organisation, of.member).await? {
        return Err(Refusal::LeftOrganisation.into());
    }
    Ok(())
}

/// The role that the person holds there now, locked. One that is over makes room for another.
pub(super) async fn living(tx: &Tx, of: Of) -> Result<Option<Held>> {
    let Some(held) = store::lock_standing(tx, of).await? else {
        return Ok(None);
    };
    if held.lives(tx.now()) {
        return Ok(Some(held));
    }
    let over = withdraw(tx, held).await?;
    tx.audit(AuditRow::system("end_role", over.id));
    Ok(None)
}

/// Gives what is held already the granted end, or adds it.
pub(super) async fn hold(
    tx: &Tx,
    held: Option<Held>,
    grant: Grant,
    origin: Origin,
) -> Result<Held> {
    let Some(held) = held else {
        return give(tx, grant.of, Some(grant.ends_at), origin).await;
    };
    let held = store::set_end(tx, held, grant.ends_at, origin).await?;
    tx.emit(publish::role(&held));
    tx.plan(NewDue::new(due::ROLE_END, held.id, grant.ends_at));
    Ok(held)
}

/// Adds the role's row, and tells the others and her who holds it.
pub(crate) async fn give(
    tx: &Tx,
    of: Of,
    ends_at: Option<DateTime<Utc>>,
    origin: Origin,
) -> Result<Held> {
    let held = Held {
        id: tx.uuid(),
        version: 1,
        of,
        withdrawn: false,
        ends_at,
        origin,
    };
    store::insert(tx, &held).await?;
    tx.emit(publish::role(&held));
    if let Some(at) = ends_at {
        tx.plan(NewDue::new(due::ROLE_END, held.id, at));
    }
    let (organisation, role) = (of.organisation, of.role);
    let told = Notice::RoleGranted { organisation, role };
    let told = notices::about(of.member, &held.id.to_string(), told);
    notices::tell(tx, &[told]).await?;
    Ok(held)
}

/// Takes a role away: its row, its timer, and what the others know of it.
pub(crate) async fn withdraw(tx: &Tx, held: Held) -> Result<Held> {
    let held = store::withdraw(tx, held).await?;
    cancel(tx, due::ROLE_END, &held.id.to_string()).await?;
    tx.emit(publish::role(&held));
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
    let operates = held.iter().any(|it| it.of.role == Role::Operator);
    let count = held.len();
    for role in held {
        withdraw(tx, role).await?;
    }
    if operates && store::operators(tx).await? == 0 {
        return Err(Refusal::LastOperator.into());
    }
    Ok(count)
}

/// Withdraws a role, for which one person is enough; other services act on it within seconds.
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
            let by = match may_change(tx, caller, held.of.organisation, held.of.role).await {
                Err(Error::Forbidden(_)) => return Err(Refusal::RoleNotFound.into()),
                other => other?,
            };
            access::stepped_up(tx, caller)?;
            if held.withdrawn {
                return Ok(held);
            }
            let operates = held.of.role == Role::Operator && held.lives(tx.now());
            if operates && store::operators(tx).await? <= 1 {
                return Err(Refusal::LastOperator.into());
            }
            let held = withdraw(tx, held).await?;
            tx.audit(by.audit("withdraw_role", id));
            Ok(held)
        })
        .await
}

/// Withdraws a role whose end has come. Nobody could use it since: this is for the record, and for
/// those who only look at what is withdrawn.
///
/// # Errors
/// When the database fails.
pub async fn end_role(ctx: &Ctx, id: Uuid) -> Result<After> {
    ctx.db
        .tx("end_role", async |tx| {
            let Some(held) = store::load(tx, id).await? else {
                return Ok(After::Done);
            };
            match held.ends_at.filter(|_| !held.withdrawn) {
                Some(at) if held.lives(tx.now()) => Ok(After::At(at)),
                Some(_) => {
                    let held = store::withdraw(tx, held).await?;
                    tx.emit(publish::role(&held));
                    tx.audit(AuditRow::system("end_role", id));
                    Ok(After::Done)
                }
                None => Ok(After::Done),
            }
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
