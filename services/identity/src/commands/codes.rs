//! Asking for a login code. The same rows are read and written, and the same is answered,
//! whether or not the phone belongs to anybody: only the due work, long after the answer, finds
//! out that there is nobody to send it to.

use chrono::TimeDelta;
use kit::access::Caller;
use kit::audit::AuditRow;
use kit::due::NewDue;
use kit::{Ctx, Result, Tx};
use uuid::Uuid;

use super::settled;
use crate::domain::code::{self, Purpose};
use crate::domain::identifier::Phone;
use crate::due;
use crate::error::Refusal;
use crate::store::codes as store;
use crate::store::limits::Counter;
use crate::store::people::Blind;
use crate::vault::Vault;

/// Asks for a code by SMS; an earlier one is void from now on. What is refused counts for the
/// address too, so that nobody asks on and on which phones were asked for.
///
/// # Errors
/// [`Refusal::TooManyCodes`] by phone (one in a minute, five in an hour, ten in a day) and by
/// the client's address (`per_address_hour_max`).
pub async fn request_login_code(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    phone: &Phone,
    per_address_hour_max: i32,
) -> Result<()> {
    let result = ctx
        .db
        .tx("request_login_code", async |tx| {
            if !may_ask(tx, vault, caller, per_address_hour_max).await? {
                return Ok(Err(Refusal::TooManyCodes));
            }
            let code = match renew(tx, Purpose::Login, &vault.blind_phone(phone)?).await? {
                Ok(code) => code,
                Err(why) => return Ok(Err(why)),
            };
            tx.audit(AuditRow::system("request_login_code", code));
            Ok(Ok(()))
        })
        .await;
    settled(result)
}

/// Counts a code that was asked for from the client's address, whatever for; whether there are not
/// too many within the hour.
pub(super) async fn may_ask(
    tx: &Tx,
    vault: &Vault,
    caller: &Caller,
    per_address_hour_max: i32,
) -> Result<bool> {
    let address = vault.blind_address(&caller.client)?;
    let asked_here = Counter {
        scope: "login_code_address",
        subject: &address,
        window: TimeDelta::hours(1),
    };
    asked_here.one_more(tx, per_address_hour_max).await
}

/// Another code for a phone and a purpose, which is sent to it; the one before for that purpose is
/// void. Its id, or [`Refusal::TooManyCodes`].
pub(super) async fn renew(
    tx: &Tx,
    purpose: Purpose,
    blind: &Blind,
) -> Result<std::result::Result<Uuid, Refusal>> {
    let mut row = store::lock_or_make(tx, purpose, blind).await?;
    row.asked_at = match code::ask(&row.asked_at, tx.now()) {
        Ok(asked_at) => asked_at,
        Err(why) => return Ok(Err(why)),
    };
    row.id = tx.uuid();
    row.created_at = tx.now();
    row.wrong = 0;
    row.used_at = None;
    store::save(tx, &row).await?;
    tx.plan(NewDue::new(due::SMS_LOGIN_CODE, row.id, tx.now()));
    Ok(Ok(row.id))
}
