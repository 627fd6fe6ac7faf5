//! What an operator does to a pass, always with a reason that is audited.

use kit::access::{self, Caller};
use kit::audit::require_sealing;
use kit::once;
use kit::types::EntitlementId;
use kit::{Refusal, Result};
use uuid::Uuid;

use super::{recorded_pass, seen, settle};
use crate::domain::{Change, Pass, VoidRefund};
use crate::{Passes, store};

/// The longest reason, in characters.
pub const REASON_CHARS_MAX: usize = 200;

/// Why something is done to a pass: not empty, not longer than it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// # Errors
    /// When it is empty or too long.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > REASON_CHARS_MAX {
            return Err(Refusal::new(
                "BAD_INPUT",
                "reason",
                "请填写原因，最长 200 个字符。".into(),
                "A reason is required, of at most 200 characters.".into(),
            )
            .into());
        }
        Ok(Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an operator asks for.
#[derive(Clone, Debug)]
pub enum Custody {
    Freeze(Reason),
    Unfreeze(Reason),
    Void(Reason, VoidRefund),
}

impl Custody {
    const fn act(&self) -> &'static str {
        match self {
            Self::Freeze(_) => "freeze_pass",
            Self::Unfreeze(_) => "unfreeze_pass",
            Self::Void(..) => "void_pass",
        }
    }

    fn reason(&self) -> &str {
        match self {
            Self::Freeze(reason) | Self::Unfreeze(reason) | Self::Void(reason, _) => &reason.0,
        }
    }

    const fn back(&self) -> &'static str {
        match self {
            Self::Void(_, VoidRefund::Full) => "full",
            Self::Void(_, VoidRefund::Nothing) | Self::Freeze(_) | Self::Unfreeze(_) => "",
        }
    }
}

impl Passes {
    /// Freezes, lets go or voids a pass.
    ///
    /// # Errors
    /// Why it cannot be done; forbidden to all but operators; without the second factor.
    pub async fn take_custody(
        &self,
        caller: &Caller,
        id: EntitlementId,
        custody: &Custody,
        key: Uuid,
    ) -> Result<Pass> {
        let act = custody.act();
        let hash = once::hash(act, &[&id.to_string(), custody.reason(), custody.back()]);
        self.ctx
            .db
            .tx(act, async |tx| {
                let operator = access::operator(tx, caller).await?.member;
                access::stepped_up(tx, caller)?;
                // To freeze a pass waits for nothing.
                if !matches!(custody, Custody::Freeze(_)) {
                    require_sealing(tx).await?;
                }
                let pass = store::lock(tx, id).await?;
                if let Some(done) = seen(tx, operator.id.0, key, hash).await? {
                    return recorded_pass(tx, &done).await;
                }
                let reason = custody.reason().to_owned();
                let change: Change = match custody {
                    Custody::Freeze(_) => pass.freeze(reason)?,
                    Custody::Unfreeze(_) => pass.unfreeze()?,
                    Custody::Void(_, back) => pass.void(reason, *back, tx.now())?,
                };
                let detail = serde_json::json!({
                    "reason": custody.reason(), "refund": custody.back(),
                });
                tx.audit(operator.audit(act, id).detail(detail));
                settle(tx, self.ctx.union, change).await
            })
            .await
    }
}
