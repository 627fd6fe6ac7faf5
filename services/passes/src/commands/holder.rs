//! What a holder does with her pass: activate it, give it back.

use kit::access::{self, Caller, Member};
use kit::once;
use kit::types::EntitlementId;
use kit::{Error, Result, Tx};
use uuid::Uuid;

use super::{TermsBook, recorded_pass, seen, settle};
use crate::domain::Pass;
use crate::{Passes, store};

/// A pass of the caller's own, locked. Another member's reads as absent.
async fn own(tx: &Tx, member: Member, id: EntitlementId) -> Result<Pass> {
    let pass = store::lock(tx, id).await?;
    let is_hers = pass.member == member.id
        || store::persons(tx, member.id)
            .await?
            .contains(&pass.member.0);
    if is_hers {
        Ok(pass)
    } else {
        Err(Error::NotFound)
    }
}

impl Passes {
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
                let pass = own(tx, member, id).await?;
                if let Some(done) = seen(tx, member.id.0, key, hash).await? {
                    return recorded_pass(tx, &done).await;
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
