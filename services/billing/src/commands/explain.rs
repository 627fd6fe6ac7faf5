//! An operator has looked at a discrepancy and says what came of it.

use kit::access::{self, Caller};
use kit::audit::require_sealing;
use kit::once::{self, Once};
use kit::{Error, Refusal as KitRefusal, Result, Tx};
use uuid::Uuid;

use super::refunding::lock;
use crate::Billing;
use crate::domain::RefundState;
use crate::error::{Refusal, recorded};
use crate::queries::{self, DiscrepancyRow};
use crate::store;

/// The longest explanation, in characters.
pub const REASON_CHARS_MAX: usize = 200;

/// What came of a discrepancy, in a person's own words: not empty, not longer than it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// # Errors
    /// When it is empty or too long.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > REASON_CHARS_MAX {
            return Err(KitRefusal::new(
                "BAD_INPUT",
                "reason",
                "请填写说明，最长 200 个字符。".into(),
                "A reason is required, of at most 200 characters.".into(),
            )
            .into());
        }
        Ok(Self(text.to_owned()))
    }
}

/// `explainDiscrepancy`: it is looked at no longer.
///
/// # Errors
/// A refusal, when it was explained before or its refund still waits; not found;
/// unauthenticated, forbidden; without the second factor; while audit rows wait for their seal.
pub async fn explain_discrepancy(
    billing: &Billing,
    caller: &Caller,
    (id, reason): (Uuid, &Reason),
    key: Uuid,
) -> Result<DiscrepancyRow> {
    billing
        .ctx
        .db
        .tx("explain_discrepancy", async |tx| {
            explain(tx, caller, (id, reason), key).await
        })
        .await
}

async fn explain(
    tx: &Tx,
    caller: &Caller,
    (id, Reason(reason)): (Uuid, &Reason),
    key: Uuid,
) -> Result<DiscrepancyRow> {
    let operator = access::operator(tx, caller).await?;
    access::stepped_up(tx, caller)?;
    require_sealing(tx).await?;
    let refund = match store::refund_looked_at(tx, id).await? {
        Some(refund) => Some(lock(tx, refund).await?.1),
        None => None,
    };
    let looked_at = store::lock_discrepancy(tx, id).await?;
    let request = once::Request {
        caller: operator.member.id.0,
        key,
        hash: once::hash("explain_discrepancy", &[&id.to_string(), reason]),
    };
    match once::begin(tx, &request).await? {
        Once::Done(_) => return shown(tx, id).await,
        Once::Refused(code) => return recorded(&code),
        Once::First => {}
    }
    if looked_at.state != "open" {
        return Err(Refusal::AlreadyExplained.into());
    }
    // As long as its money has not gone back somebody must go on looking at it.
    if refund.is_some_and(|refund| refund.state != RefundState::Done) {
        return Err(Refusal::RefundStillStuck.into());
    }
    store::explain_by_hand(tx, id, reason).await?;
    let detail = serde_json::json!({
        "kind": looked_at.kind, "subject": looked_at.subject, "reason": reason,
    });
    let audit = operator.member.audit("explain_discrepancy", id);
    tx.audit(audit.detail(detail));
    once::finish(tx, id.as_bytes())?;
    shown(tx, id).await
}

async fn shown(tx: &Tx, id: Uuid) -> Result<DiscrepancyRow> {
    let row = queries::discrepancy(tx, id).await?;
    row.ok_or(Error::NotFound)
}
