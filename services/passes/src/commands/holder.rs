//! What a holder does with her pass: activate it, have its code replaced, give it back.

use chrono::TimeDelta;
use kit::access::{self, Caller, Member};
use kit::once;
use kit::person;
use kit::types::{EntitlementId, MemberId};
use kit::{Error, Result, Tx};
use uuid::Uuid;

use super::{Reason, TermsBook, recorded_pass, seen, settle};
use crate::domain::Pass;
use crate::error::Refusal;
use crate::{Passes, store};

pub(super) async fn is_hers(tx: &Tx, member: Member, pass: &Pass) -> Result<bool> {
    Ok(pass.member == member.id
        || store::persons(tx, member.id)
            .await?
            .contains(&pass.member.0))
}

/// A pass of the caller's own, locked. Another member's reads as absent.
pub(super) async fn own(tx: &Tx, member: Member, id: EntitlementId) -> Result<Pass> {
    let pass = store::lock(tx, id).await?;
    if is_hers(tx, member, &pass).await? {
        Ok(pass)
    } else {
        Err(Error::NotFound)
    }
}

/// A pass that is the caller's own, or any for an operator who says why; locked. Who is neither
/// hears the same of a pass that is another's and of one that is not there.
async fn own_or_any(
    tx: &Tx,
    (caller, member): (&Caller, Member),
    id: EntitlementId,
    reason: Option<&Reason>,
) -> Result<Pass> {
    let found = match store::lock(tx, id).await {
        Ok(pass) if is_hers(tx, member, &pass).await? => return Ok(pass),
        Ok(pass) => Some(pass),
        Err(Error::NotFound) => None,
        Err(error) => return Err(error),
    };
    match access::operator(tx, caller).await {
        Ok(_) => {}
        Err(Error::Forbidden(_)) => return Err(Error::NotFound),
        Err(error) => return Err(error),
    }
    let found = found.ok_or(Error::NotFound)?;
    match reason {
        Some(_) => Ok(found),
        None => Reason::parse("").map(|_| found),
    }
}

impl Passes {
    /// Issues the code of a pass again: those of before open nothing from then on. For its holder,
    /// and for operators, who say why.
    ///
    /// # Errors
    /// Why it cannot be done; not found, when it is not hers.
    pub async fn reissue(
        &self,
        caller: &Caller,
        id: EntitlementId,
        reason: Option<&Reason>,
        key: Uuid,
    ) -> Result<Pass> {
        let said = reason.map_or("", Reason::as_str);
        let hash = once::hash("reissue_pass", &[&id.to_string(), said]);
        self.ctx
            .db
            .tx("reissue_pass", async |tx| {
                let member = access::member(tx, caller).await?;
                let pass = own_or_any(tx, (caller, member), id, reason).await?;
                if let Some(done) = seen(tx, member.id.0, key, hash).await? {
                    return recorded_pass(tx, &done).await;
                }
                let lately = store::reissued_since(tx, id, tx.now() - TimeDelta::days(1)).await?;
                let change = pass.reissue(lately)?;
                store::add_reissue(tx, &change.pass).await?;
                // The words of an operator who acts for another; a member's own may name her.
                let hers = change.pass.member == member.id;
                let reason = if hers { "" } else { said };
                let detail = serde_json::json!({
                    "generation": change.pass.generation, "reason": reason,
                });
                tx.audit(member.audit("reissue_pass", id).detail(detail));
                settle(tx, self.ctx.union, change).await
            })
            .await
    }

    /// Activates a pass of the caller's own.
    ///
    /// # Errors
    /// Why it cannot be activated; not found, when it is not hers.
    pub async fn activate(&self, caller: &Caller, id: EntitlementId, key: Uuid) -> Result<Pass> {
        let hash = once::hash("activate_pass", &[&id.to_string()]);
        self.ctx
            .db
            .tx("activate_pass", async |tx| {
                let member = access::member(tx, caller).await?;
                let pass = own(tx, member, id).await?;
                if let Some(done) = seen(tx, member.id.0, key, hash).await? {
                    return recorded_pass(tx, &done).await;
                }
                let mut book = TermsBook::default();
                let terms = book.of(tx, &pass).await?;
                let change = pass.activate(tx.now(), terms)?;
                tx.audit(member.audit("activate_pass", id));
                settle(tx, self.ctx.union, change).await
            })
            .await
    }

    /// Asks for the refund of a pass of the caller's own.
    ///
    /// # Errors
    /// Why it cannot be refunded; not found, when it is not hers.
    pub async fn request_refund(
        &self,
        caller: &Caller,
        id: EntitlementId,
        key: Uuid,
    ) -> Result<Pass> {
        let hash = once::hash("request_pass_refund", &[&id.to_string()]);
        self.ctx
            .db
            .tx("request_pass_refund", async |tx| {
                let member = access::member(tx, caller).await?;
                // All ids she has, and before the pass: who forgets her locks them in that order.
                let hers = store::persons(tx, member.id).await?;
                let hers: Vec<MemberId> = hers.into_iter().map(MemberId).collect();
                let barred = person::barred(tx, &hers).await?;
                let pass = own(tx, member, id).await?;
                if let Some(done) = seen(tx, member.id.0, key, hash).await? {
                    return recorded_pass(tx, &done).await;
                }
                if !barred.is_empty() {
                    return Err(Refusal::ErasureUnderWay.into());
                }
                let uses = store::uses_counted(tx, id).await?;
                let mut book = TermsBook::default();
                let terms = book.of(tx, &pass).await?;
                let change = pass.request_refund(tx.now(), terms, uses)?;
                tx.audit(member.audit("request_pass_refund", id));
                settle(tx, self.ctx.union, change).await
            })
            .await
    }
}
