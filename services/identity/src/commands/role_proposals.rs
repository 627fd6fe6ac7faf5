//! What one person alone does not grant: proposed by one operator, confirmed by another. Persons
//! count, not logins, and neither is who is to hold it; to take a proposal back one is enough.

use chrono::NaiveDate;
use kit::access::{self, Caller, Member};
use kit::audit::{AuditRow, require_sealing};
use kit::due::{After, NewDue, cancel};
use kit::{Ctx, Result, Tx};
use uuid::Uuid;

use super::roles::{detail, hold, is_race, living, may_hold};
use crate::domain::proposal::Proposal;
use crate::domain::role::{Grant, Origin};
use crate::due;
use crate::error::Refusal;
use crate::store::role_proposals as store;
use crate::store::roles::Held;

/// Proposes a role; the same that waits already is the same proposal, whoever made it. The caller
/// may grant, and the person may hold it.
///
/// # Errors
/// Refused for oneself, and while one with another end waits.
pub(super) async fn propose(
    tx: &Tx,
    by: Member,
    grant: Grant,
    until: Option<NaiveDate>,
) -> Result<Proposal> {
    let new = Proposal::new(tx.uuid(), grant, by.id, tx.now())?;
    if let Some(waits) = store::lock_undecided(tx, grant.of).await? {
        let Some(over) = waits.expire(tx.now()) else {
            return if until.is_none() || waits.grant == grant {
                Ok(waits)
            } else {
                Err(Refusal::ProposalWaits.into())
            };
        };
        end(tx, &over).await?;
    }
    store::insert(tx, &new).await?;
    tx.plan(NewDue::new(due::ROLE_PROPOSAL, new.id, new.expires_at));
    tx.audit(by.audit("propose_role", new.id).detail(detail(&grant)));
    Ok(new)
}

/// Confirms a proposal: the role is held from now on. The same person's confirmation again finds
/// what came of it.
///
/// # Errors
/// Operators only, their own second factor shown. Refused to who proposed it or is to hold it; when
/// it is over, or its proposer is no operator any more; when the person can no longer hold it.
/// While audit rows wait for their seal, nothing is confirmed.
pub async fn confirm_role(ctx: &Ctx, caller: &Caller, id: Uuid) -> Result<Held> {
    match confirmed(ctx, caller, id).await {
        Err(error) if is_race(&error) => confirmed(ctx, caller, id).await,
        other => other,
    }
}

async fn confirmed(ctx: &Ctx, caller: &Caller, id: Uuid) -> Result<Held> {
    let confirm = async |tx: &Tx| confirm(tx, caller, id).await;
    ctx.db.tx("confirm_role", confirm).await
}

async fn confirm(tx: &Tx, caller: &Caller, id: Uuid) -> Result<Held> {
    let by = access::operator(tx, caller).await?.member;
    access::stepped_up(tx, caller)?;
    require_sealing(tx).await?;
    let seen = store::load(tx, id).await?;
    let grant = seen.ok_or(Refusal::ProposalNotFound)?.grant;
    // The organisation is locked before the proposal, as in a grant.
    may_hold(tx, grant.of).await?;
    let proposal = store::lock(tx, id)
        .await?
        .ok_or(Refusal::ProposalNotFound)?;
    let Some(confirmed) = proposal.confirm(by.id, tx.now())? else {
        let held = living(tx, grant.of).await?;
        return held.ok_or_else(|| Refusal::ProposalOver.into());
    };
    if !store::may_propose(tx, proposal.by).await? {
        return Err(Refusal::ProposalOver.into());
    }
    store::save(tx, &confirmed).await?;
    cancel(tx, due::ROLE_PROPOSAL, &id.to_string()).await?;
    let held = living(tx, grant.of).await?;
    let held = hold(tx, held, grant, Origin::Two(id)).await?;
    let mut said = detail(&grant);
    said["proposal"] = id.to_string().into();
    tx.audit(by.audit("confirm_role", held.id).detail(said));
    Ok(held)
}

/// Takes a proposal back, whoever made it.
///
/// # Errors
/// Operators only, their own second factor shown; refused when it was confirmed or is over.
pub async fn withdraw_role_proposal(ctx: &Ctx, caller: &Caller, id: Uuid) -> Result<Proposal> {
    ctx.db
        .tx("withdraw_role_proposal", async |tx| {
            let by = access::operator(tx, caller).await?.member;
            access::stepped_up(tx, caller)?;
            let proposal = store::lock(tx, id)
                .await?
                .ok_or(Refusal::ProposalNotFound)?;
            let Some(withdrawn) = proposal.withdraw(by.id, tx.now())? else {
                return Ok(proposal);
            };
            end(tx, &withdrawn).await?;
            tx.audit(by.audit("withdraw_role_proposal", id));
            Ok(withdrawn)
        })
        .await
}

/// Ends a proposal that nobody confirmed in time.
///
/// # Errors
/// When the database fails.
pub async fn expire(ctx: &Ctx, id: Uuid) -> Result<After> {
    ctx.db
        .tx("expire_role_proposal", async |tx| {
            let Some(proposal) = store::lock(tx, id).await? else {
                return Ok(After::Done);
            };
            if proposal.is_open(tx.now()) {
                return Ok(After::At(proposal.expires_at));
            }
            if let Some(over) = proposal.expire(tx.now()) {
                store::save(tx, &over).await?;
                tx.audit(AuditRow::system("expire_role_proposal", id));
            }
            Ok(After::Done)
        })
        .await
}

/// Writes down that a proposal waits no longer, and takes its timer away.
async fn end(tx: &Tx, over: &Proposal) -> Result<()> {
    store::save(tx, over).await?;
    cancel(tx, due::ROLE_PROPOSAL, &over.id.to_string()).await
}
