//! How far the recovery of a person's phone has come, as she and her offices read it.

use kit::types::MemberId;
use kit::{Ctx, Result};

use crate::domain::phone_recovery::Recovery;
use crate::store::phone_recoveries as store;

/// The one of hers that is open.
///
/// # Errors
/// When the database fails.
pub async fn open(ctx: &Ctx, member: MemberId) -> Result<Option<Recovery>> {
    let read = async |tx: &kit::Tx| store::open_of(tx, member).await;
    ctx.db.read("phone_recovery_of", read).await
}
