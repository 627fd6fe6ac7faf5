//! The second factor of a person who has lost all of it, taken away by two operators: one asks, and
//! another one asks the same within a day. Neither is that person, both were operators for a week
//! before, and she is told when it is asked for and when it is done.

use kit::access::{self, Caller};
use kit::audit::{AuditRow, require_sealing};
use kit::due::NewDue;
use kit::types::MemberId;
use kit::{Ctx, Result};
use uuid::Uuid;

use super::logins::withdraw_all;
use super::second_factor::tell;
use crate::domain::second_factor::{self as domain, Change};
use crate::domain::two_operators::{Asked, Step};
use crate::due;
use crate::error::Refusal;
use crate::store::logins::Reason;
use crate::store::roles;
use crate::store::second_factors::{self as store, ResetRow};

/// Asks for the reset of a person's second factor, or, as the second operator, does it: the factor
/// and its recovery codes are gone, and every login of the person ends.
///
/// # Errors
/// Operators only, their own second factor shown; refused for oneself, for who has not been an
/// operator long enough, when the person has none, and while audit rows wait for their seal.
pub async fn reset(ctx: &Ctx, caller: &Caller, of: MemberId) -> Result<Step> {
    ctx.db
        .tx("reset_second_factor", async |tx| {
            let by = access::operator(tx, caller).await?.member;
            access::stepped_up(tx, caller)?;
            require_sealing(tx).await?;
            // Locked first: two operators at once are one after the other.
            let factor = store::lock_confirmed(tx, of).await?;
            let asked = store::lock_reset(tx, of).await?;
            let before = match asked {
                Some(row) => Some((row.asked, roles::tenure(tx, row.asked.by).await?)),
                None => None,
            };
            let second = (by.id, roles::tenure(tx, by.id).await?);
            let reset = domain::reset(of, second, before, tx.now())?;
            if factor.is_none() {
                return Err(Refusal::SecondFactorAbsent.into());
            }
            match reset {
                Step::Waits { .. } => return Ok(reset),
                Step::Begins { expires_at } => {
                    store::void_reset(tx, of).await?;
                    let row = ResetRow {
                        id: tx.uuid(),
                        asked: Asked {
                            by: by.id,
                            at: tx.now(),
                            expires_at,
                        },
                    };
                    store::insert_reset(tx, of, &row).await?;
                    tx.plan(NewDue::new(due::SECOND_FACTOR_RESET, row.id, expires_at));
                    metrics::counter!("bashu_identity_second_factor_resets_asked_total")
                        .increment(1);
                    tell(tx, of, row.id, Change::ResetAsked).await?;
                    tx.audit(by.audit("ask_second_factor_reset", of));
                }
                Step::Done => {
                    if let Some(row) = asked {
                        store::finish_reset(tx, row.id, by.id).await?;
                        tell(tx, of, row.id, Change::ResetDone).await?;
                    }
                    store::remove(tx, of).await?;
                    let ended = withdraw_all(tx, of, None, Reason::SecondFactor).await?;
                    tx.audit(
                        by.audit("reset_second_factor", of)
                            .detail(serde_json::json!({ "logins": ended })),
                    );
                }
            }
            Ok(reset)
        })
        .await
}

/// Ends a reset that no second operator asked for in time.
///
/// # Errors
/// When the database fails.
pub async fn expire(ctx: &Ctx, id: Uuid) -> Result<()> {
    ctx.db
        .tx("expire_second_factor_reset", async |tx| {
            if store::expire_reset(tx, id).await? > 0 {
                tx.audit(AuditRow::system("expire_second_factor_reset", id));
            }
            Ok(())
        })
        .await
}
