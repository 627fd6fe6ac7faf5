//! Who a person was verified to be, as she reads it herself.

use kit::types::MemberId;
use kit::{Ctx, Result};

use crate::store::verifications::{self as store, VerificationRow};

/// Her last verification that matched.
///
/// # Errors
/// When the database fails.
pub async fn matched(ctx: &Ctx, member: MemberId) -> Result<Option<VerificationRow>> {
    let read = async |tx: &kit::Tx| store::matched(tx, member).await;
    ctx.db.read("verified_identity", read).await
}

/// Her last one, whatever came of it.
///
/// # Errors
/// When the database fails.
pub async fn last(ctx: &Ctx, member: MemberId) -> Result<Option<VerificationRow>> {
    let read = async |tx: &kit::Tx| store::last(tx, member).await;
    ctx.db.read("last_verification", read).await
}
