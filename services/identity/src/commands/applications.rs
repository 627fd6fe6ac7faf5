//! Memberships that are asked for: a person applies to an organisation, or an office lets her go to
//! another one, and somebody else decides. An approval begins the membership the same day; where
//! she was let go, the old one ends on it.

use kit::access::{self, Caller};
use kit::audit::AuditRow;
use kit::due::{self as timers, NewDue};
use kit::once::{self, Once, Request};
use kit::types::{MemberId, OrganisationId, shanghai_date};
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use super::joining::join;
use super::members::own_membership_beside;
use super::people::{Joining, officer_or_operator};
use super::roles::leave_office;
use crate::domain::application::{Application, Decision, State, WAITING_MAX, must_have_members};
use crate::domain::membership::End;
use crate::due::APPLICATION;
use crate::error::{self, Refusal};
use crate::publish;
use crate::store::memberships::Ground;
use crate::store::organisations::{self, Lock};
use crate::store::{applications as store, consents, memberships, people};

/// Whether a request is the first of its key; the outcome's id where it is not.
async fn first(tx: &Tx, caller: MemberId, key: Uuid, hash: [u8; 32]) -> Result<Option<Uuid>> {
    let request = Request {
        caller: caller.0,
        key,
        hash,
    };
    match once::begin(tx, &request).await? {
        Once::First => Ok(None),
        Once::Done(id) => Uuid::from_slice(&id)
            .map(Some)
            .map_err(|_| Error::internal("the outcome of an application is no id")),
        Once::Refused(code) => error::recorded(&code),
    }
}

/// A person asks to be in an organisation; her application, also when it waits already.
///
/// # Errors
/// Unauthenticated; refused when the organisation is not there, closed or has no members of its
/// own, she is in it, or too many applications of hers wait.
pub async fn apply(
    ctx: &Ctx,
    caller: &Caller,
    organisation: OrganisationId,
    key: Uuid,
) -> Result<Application> {
    ctx.db
        .tx("apply_for_membership", async |tx| {
            let by = access::member(tx, caller).await?;
            must_take_members(tx, organisation, Lock::Share).await?;
            // One application of a person after the other, so that they are counted.
            consents::lock_member(tx, by.id).await?;
            let hash = once::hash("apply_for_membership", &[&organisation.to_string()]);
            if let Some(id) = first(tx, by.id, key, hash).await? {
                return known(tx, id).await;
            }
            let made = ask(tx, (by, by.id), organisation, None).await?;
            tx.audit(
                by.audit("apply_for_membership", made.id)
                    .detail(serde_json::json!({ "organisation": organisation.to_string() })),
            );
            once::finish(tx, made.id.as_bytes())?;
            Ok(made)
        })
        .await
}

/// An office lets a member go to another organisation: its officers decide, or she does.
///
/// # Errors
/// Officers of the membership's organisation and operators, their second factor shown; to all
/// others it is absent. Refused when it has ended, the other organisation is not there, closed, has
/// no members of its own or is the same, or she is in it.
pub async fn offer_transfer(
    ctx: &Ctx,
    caller: &Caller,
    membership: Uuid,
    organisation: OrganisationId,
    key: Uuid,
) -> Result<Application> {
    ctx.db
        .tx("offer_transfer", async |tx| {
            let (leaves, by) =
                own_membership_beside(tx, caller, membership, Some(organisation)).await?;
            access::stepped_up(tx, caller)?;
            consents::lock_member(tx, leaves.member).await?;
            let asked = [membership.to_string(), organisation.to_string()];
            let hash = once::hash("offer_transfer", &[&asked[0], &asked[1]]);
            if let Some(id) = first(tx, by.id, key, hash).await? {
                return known(tx, id).await;
            }
            if leaves.standing.until().is_some() {
                return Err(Refusal::MembershipEnded.into());
            }
            must_take_members(tx, organisation, Lock::Share).await?;
            let made = ask(tx, (by, leaves.member), organisation, Some(membership)).await?;
            tx.audit(
                by.audit("offer_transfer", made.id)
                    .detail(serde_json::json!({
                        "membership": membership, "organisation": organisation.to_string(),
                    })),
            );
            once::finish(tx, made.id.as_bytes())?;
            Ok(made)
        })
        .await
}

async fn known(tx: &Tx, id: Uuid) -> Result<Application> {
    let found = store::find(tx, id).await?;
    found.ok_or_else(|| Error::internal("an application that was made is gone"))
}

async fn must_take_members(tx: &Tx, id: OrganisationId, lock: Lock) -> Result<()> {
    let organisation = organisations::load(tx, id, lock).await?;
    let organisation = organisation.ok_or(Refusal::OrganisationNotFound)?;
    organisation.must_be_open()?;
    Ok(must_have_members(organisation.kind)?)
}

async fn ask(
    tx: &Tx,
    (by, member): (access::Member, MemberId),
    organisation: OrganisationId,
    leaves: Option<Uuid>,
) -> Result<Application> {
    if let Some(waits) = store::waiting(tx, member, organisation).await? {
        return if waits.leaves == leaves && tx.now() < waits.expires_at() {
            Ok(waits)
        } else {
            Err(Refusal::ApplicationWaits.into())
        };
    }
    let open = people::open_memberships(tx, organisation, &[member.0]).await?;
    if !open.is_empty() {
        return Err(Refusal::AlreadyMember.into());
    }
    if store::count_waiting(tx, member).await? >= WAITING_MAX {
        return Err(Refusal::TooManyApplications.into());
    }
    let made = Application {
        id: tx.uuid(),
        member,
        organisation,
        leaves,
        asked_by: by.id,
        asked_at: tx.now(),
        state: State::Waiting,
    };
    store::insert(tx, &made).await?;
    tx.plan(NewDue::new(APPLICATION, made.id, made.expires_at()));
    Ok(made)
}

/// Approves an application or refuses it.
///
/// # Errors
/// Officers of its organisation and operators, their second factor shown, and who was let go for
/// herself, without; to all others it is absent. Never who asked for it. Refused when it is decided
/// or over; an approval also when the organisation is closed, or the membership that she leaves has
/// ended.
pub async fn decide(
    ctx: &Ctx,
    caller: &Caller,
    id: Uuid,
    decision: Decision,
    key: Uuid,
) -> Result<Application> {
    ctx.db
        .tx("decide_application", async |tx| {
            access::member(tx, caller).await?;
            let absent = Refusal::ApplicationNotFound;
            let seen = store::find(tx, id).await?.ok_or(absent)?;
            let by = decider(tx, caller, &seen).await?;
            // An office that decides adds people to a union, or turns them away.
            if by.id != seen.member {
                access::stepped_up(tx, caller)?;
            }
            lock_places(tx, &seen).await?;
            let application = store::load(tx, id).await?.ok_or(absent)?;
            let asked = [id.to_string(), format!("{decision:?}")];
            let hash = once::hash("decide_application", &[&asked[0], &asked[1]]);
            if first(tx, by.id, key, hash).await?.is_some() {
                return Ok(application);
            }
            application.must_be_decidable(by.id, tx.now())?;
            let membership = match decision {
                Decision::Approve => Some(admit(tx, &application, by.id).await?),
                Decision::Refuse => None,
            };
            let decided = application.decided(by.id, tx.now(), membership);
            store::save(tx, &decided).await?;
            timers::cancel(tx, APPLICATION, &id.to_string()).await?;
            tx.audit(
                by.audit("decide_application", id)
                    .detail(serde_json::json!({ "state": decided.state.as_str() })),
            );
            once::finish(tx, id.as_bytes())?;
            Ok(decided)
        })
        .await
}

/// Who decides: an officer over the organisation, an operator, or who was let go.
async fn decider(tx: &Tx, caller: &Caller, it: &Application) -> Result<access::Member> {
    match officer_or_operator(tx, caller, it.organisation).await {
        Err(Error::Forbidden(_)) => {
            let member = access::member(tx, caller).await?;
            if member.id == it.member {
                Ok(member)
            } else {
                Err(Refusal::ApplicationNotFound.into())
            }
        }
        other => other,
    }
}

/// The organisations that a decision is about, locked in the order of their ids: what is decided
/// of one of their memberships is decided alone.
async fn lock_places(tx: &Tx, it: &Application) -> Result<()> {
    let mut places = vec![it.organisation];
    if let Some(leaves) = it.leaves {
        places.extend(
            memberships::place(tx, leaves)
                .await?
                .map(|(place, _)| place),
        );
    }
    places.sort_unstable();
    places.dedup();
    for place in places {
        organisations::load(tx, place, Lock::Change).await?;
    }
    Ok(())
}

/// Begins the membership, and ends the one that she leaves. It rests on her own word where she has
/// asked or decided, and otherwise on what the other one did.
async fn admit(tx: &Tx, it: &Application, by: MemberId) -> Result<Uuid> {
    must_take_members(tx, it.organisation, Lock::Change).await?;
    let found = people::active(tx, it.member).await?;
    found.ok_or(Refusal::MemberNotFound)?;
    if let Some(leaves) = it.leaves {
        let ended = Refusal::MembershipEnded;
        let old = people::membership(tx, leaves).await?.ok_or(ended)?;
        // Since two records were made one, or one two, it may be somebody else's.
        if old.member != it.member {
            return Err(ended.into());
        }
        let today = shanghai_date(tx.now());
        let old = old.end(End::Left, today, today)?;
        people::save_membership(tx, &old).await?;
        tx.emit(publish::membership(&old));
        leave_office(tx, old.organisation, &[it.member.0]).await?;
    }
    let made = join(tx, Joining::from(it.organisation), &[it.member.0]).await?;
    let made = made.first().map(|it| it.id);
    let made = made.ok_or_else(|| Error::internal("nobody joined"))?;
    match it.leaves {
        Some(before) if ![it.asked_by, by].contains(&it.member) => {
            memberships::rest_as(tx, made, before).await?;
        }
        Some(_) | None => memberships::rest_on(tx, &[made], Ground::Herself).await?,
    }
    Ok(made)
}

/// Takes an application back: who asked for it, and where an office let her go its other officers.
///
/// # Errors
/// To all others it is absent. Refused when it is decided or over.
pub async fn withdraw(ctx: &Ctx, caller: &Caller, id: Uuid, key: Uuid) -> Result<Application> {
    ctx.db
        .tx("withdraw_application", async |tx| {
            let mut by = access::member(tx, caller).await?;
            let absent = Refusal::ApplicationNotFound;
            let application = store::load(tx, id).await?.ok_or(absent)?;
            if by.id != application.asked_by {
                let leaves = application.leaves.ok_or(absent)?;
                let (place, _) = memberships::place(tx, leaves).await?.ok_or(absent)?;
                by = match officer_or_operator(tx, caller, place).await {
                    Err(Error::Forbidden(_)) => return Err(absent.into()),
                    other => other?,
                };
            }
            let hash = once::hash("withdraw_application", &[&id.to_string()]);
            if first(tx, by.id, key, hash).await?.is_some() {
                return Ok(application);
            }
            let withdrawn = application.withdraw(by.id, tx.now())?;
            store::save(tx, &withdrawn).await?;
            timers::cancel(tx, APPLICATION, &id.to_string()).await?;
            tx.audit(by.audit("withdraw_application", id));
            once::finish(tx, id.as_bytes())?;
            Ok(withdrawn)
        })
        .await
}

/// Ends an application that nobody decided in time.
///
/// # Errors
/// When the database fails.
pub async fn expire(ctx: &Ctx, id: Uuid) -> Result<()> {
    ctx.db
        .tx("expire_application", async |tx| {
            let Some(application) = store::load(tx, id).await? else {
                return Ok(());
            };
            if application.state == State::Waiting && tx.now() >= application.expires_at() {
                let expired = Application {
                    state: State::Expired,
                    ..application
                };
                store::save(tx, &expired).await?;
                tx.audit(AuditRow::system("expire_application", id));
            }
            Ok(())
        })
        .await
}
