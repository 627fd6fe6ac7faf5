//! That who asks is the person herself, for what a stolen phone or a leaked token must not do: to
//! read all that is kept of her, and to have it erased.
//!
//! Most members have no second factor: of them a fresh code by SMS to the phone they sign in with
//! is taken. Who has one shows it.

use kit::access::{self, Caller};
use kit::{Result, Tx};

use super::logins::proven_by;
use crate::error::Refusal;
use crate::store::erasures::phone_of;
use crate::store::second_factors;
use crate::vault::Vault;

/// Whether `code` is the one that her phone was sent, which is used up by that; without a code, or
/// where she has a second factor, whether she has just shown that. Who calls commits a refusal
/// too: a wrong guess is counted.
///
/// # Errors
/// `STEP_UP_REQUIRED` where no second factor was shown.
pub(crate) async fn prove(
    tx: &Tx,
    vault: &Vault,
    (caller, member): (&Caller, access::Member),
    code: Option<&str>,
) -> Result<std::result::Result<(), Refusal>> {
    let has_factor = second_factors::confirmed(tx, member.id).await?.is_some();
    let Some(code) = code.filter(|_| !has_factor) else {
        access::stepped_up(tx, caller)?;
        return Ok(Ok(()));
    };
    let Some(phone) = phone_of(tx, member.id).await? else {
        return Ok(Err(Refusal::CodeExpired));
    };
    match proven_by(tx, vault, &phone, code).await? {
        Ok(found) if found.member == member.id.0 => Ok(Ok(())),
        Ok(_) => Ok(Err(Refusal::CodeWrong)),
        Err(why) => Ok(Err(why)),
    }
}
