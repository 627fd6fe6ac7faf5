//! How far the recovery of a person's phone has come, as she and who vouches for her read it.

use kit::access::Caller;
use kit::types::MemberId;
use kit::{Ctx, Error, Result};

use crate::commands::phone_recoveries::vouches_for;
use crate::domain::phone_recovery::Recovery;
use crate::store::phone_recoveries as store;

/// The one of hers that is open. To others there is none, also where they may see her: who has
/// added her by a name and a phone learns nothing of it.
///
/// # Errors
/// When the database fails, or identity is not heard of.
pub async fn open(
    ctx: &Ctx,
    caller: &Caller,
    (member, is_self): (MemberId, bool),
) -> Result<Option<Recovery>> {
    ctx.db
        .read("phone_recovery_of", async |tx| {
            if !is_self {
                match vouches_for(tx, caller, member).await {
                    Ok(_) => {}
                    Err(Error::Refused(_) | Error::Unauthenticated(_)) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
            store::open_of(tx, member).await
        })
        .await
}
