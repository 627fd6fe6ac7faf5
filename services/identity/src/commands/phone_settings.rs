//! Another phone for a person who has no use of hers, and can claim nothing by her document: one
//! operator names it, and another one names the same within a day. Neither is that person, both
//! were operators for a week before, and her phones so far are told when it is asked for and when
//! it is done. Whoever signs in as her meanwhile ends it: who has a person's phone is her to
//! everybody else, so that no operator gives one away alone.
//!
//! The person is locked before all else that is hers: a login or a link underway is waited for and
//! ended, and one that comes later finds the old phone gone.

use kit::access::{self, Caller, Member};
use kit::audit::{AuditRow, require_sealing};
use kit::due::{self as timers, NewDue};
use kit::types::MemberId;
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use super::phone_changes::{give, must_be_one_record};
use super::{Failures, may_look_up, notices, phone_recoveries, settled};
use crate::domain::erasure::Erasure;
use crate::domain::identifier::Phone;
use crate::domain::notice::Notice;
use crate::domain::phone_setting::{self as domain, Waiting};
use crate::domain::two_operators::{Asked, Step};
use crate::due;
use crate::error::Refusal;
use crate::store::consents::lock_member;
use crate::store::people::{self, Blind, PersonRow};
use crate::store::phone_settings::{self as store, SettingRow};
use crate::store::{erasures, roles};
use crate::vault::Vault;

/// Names another phone for a person to sign in with, or, as the second operator who names it, makes
/// it hers and her only way in; every login she has ends. A wish to be forgotten of which nothing
/// was done yet is taken back with that: a thief with her phone would keep every help from her by
/// it. Not for officers: who changes a person's phone can become that person.
///
/// # Errors
/// Operators only, their second factor shown; refused for oneself, for who has not been an operator
/// long enough, while another operator's word for another phone waits, when there is no such
/// person, or the phone is another's, she waits to be merged or is being forgotten, a recovery of
/// hers is confirmed, or her record can be split, as where she changes her phone herself; while
/// audit rows wait for their seal; and when too many look-ups of the operator's failed, as one for
/// a phone that is another's does. Forbidden for who holds a role: her roles are withdrawn before
/// and granted anew.
pub async fn set_phone(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    member: MemberId,
    phone: Phone,
) -> Result<Step> {
    let blind = vault.blind_phone(&phone)?;
    let result = ctx
        .db
        .tx("set_phone", async |tx| {
            let by = access::operator(tx, caller).await?.member;
            access::stepped_up(tx, caller)?;
            require_sealing(tx).await?;
            let failures = may_look_up(tx, by.id.0).await?;
            lock_member(tx, member).await?;
            let asked = store::lock(tx, member).await?;
            let waiting = match &asked {
                Some(row) => Some(Waiting {
                    asked: row.asked,
                    tenure: roles::tenure(tx, row.asked.by).await?,
                    // Both are keyed hashes: what their bytes tell takes the key.
                    is_same_phone: row.blind == blind,
                }),
                None => None,
            };
            let tenure = roles::tenure(tx, by.id).await?;
            let step = domain::ask(member, (by.id, tenure), waiting, tx.now())?;
            let row = must_be_free(tx, member).await?;
            if let Some(refusal) = taken(tx, &failures, (by, member), &blind).await? {
                return Ok(Err(refusal));
            }
            match step {
                Step::Waits { .. } => {}
                Step::Begins { expires_at } => {
                    let at = tx.now();
                    let by_whom = Asked {
                        by: by.id,
                        at,
                        expires_at,
                    };
                    begin(tx, member, by, (by_whom, &blind)).await?;
                }
                Step::Done => {
                    let asked = asked.ok_or_else(|| Error::internal("what waits is gone"))?;
                    carry_out(tx, vault, (&row, &phone), (&asked, by)).await?;
                }
            }
            Ok(Ok(step))
        })
        .await;
    // Somebody else signs in by it since this moment.
    settled(result).map_err(|error| match error.constraint().as_deref() {
        Some("login_method_blind_unique" | "login_method_one_phone") => {
            Refusal::PersonNotMatched.into()
        }
        _ => error,
    })
}

/// Whether a person's phone may be set at all. Whoever calls holds her lock.
async fn must_be_free(tx: &Tx, member: MemberId) -> Result<PersonRow> {
    let person = people::active(tx, member).await?;
    let person = person.ok_or(Refusal::MemberNotFound)?;
    if roles::holds_any(tx, member).await? {
        return Err(Error::Forbidden("the phone of who holds a role"));
    }
    // One of which nothing was done yet gives way: whoever has her phone may have made it; hers she
    // makes anew.
    let wish = erasures::load(tx, member).await?;
    if wish.as_ref().is_some_and(Erasure::is_begun) {
        return Err(Refusal::ErasureWaits.into());
    }
    must_be_one_record(tx, member).await?;
    Ok(person)
}

/// Why a phone that somebody signs in by is not set, hers too. Whose it is the operator knows then:
/// that is counted as any look-up that failed, and stands in the trail, so that nobody tries out
/// unseen who signs in by what.
async fn taken(
    tx: &Tx,
    failures: &Failures,
    (by, member): (Member, MemberId),
    blind: &Blind,
) -> Result<Option<Refusal>> {
    let found = people::by_phones(tx, &[*blind]).await?;
    let (act, refusal) = match found.get(blind) {
        None => return Ok(None),
        Some(owner) if *owner == member.0 => ("set_phone_unchanged", Refusal::PhoneUnchanged),
        Some(_) => ("set_phone_not_matched", Refusal::PersonNotMatched),
    };
    failures.count(tx).await?;
    tx.audit(by.audit(act, member));
    Ok(Some(refusal))
}

/// It waits for another operator, in the place of what waited before.
async fn begin(
    tx: &Tx,
    member: MemberId,
    by: Member,
    (asked, blind): (Asked, &Blind),
) -> Result<()> {
    if let Some(over) = store::void(tx, member).await? {
        timers::cancel(tx, due::PHONE_SETTING, &over.to_string()).await?;
    }
    let id = tx.uuid();
    store::insert(tx, member, (id, asked), blind).await?;
    tx.plan(NewDue::new(due::PHONE_SETTING, id, asked.expires_at));
    metrics::counter!("bashu_identity_phone_settings_asked_total").increment(1);
    let told = Notice::PhoneToBeSet {
        at: asked.expires_at,
    };
    let about = format!("{id}/asked");
    notices::tell(tx, &[notices::about(member, &about, told)]).await?;
    tx.audit(by.audit("ask_phone_setting", member));
    Ok(())
}

/// The phone is hers from now on.
async fn carry_out(
    tx: &Tx,
    vault: &Vault,
    (person, phone): (&PersonRow, &Phone),
    (asked, by): (&SettingRow, Member),
) -> Result<()> {
    let member = MemberId(person.member);
    phone_recoveries::give_way(tx, member).await?;
    let key = vault.data_key(person.member, &person.data_key)?;
    let (taken_back, logins) = give(tx, vault, (member, &key, phone), asked.id).await?;
    store::finish(tx, asked.id, by.id).await?;
    timers::cancel(tx, due::PHONE_SETTING, &asked.id.to_string()).await?;
    let detail = serde_json::json!({
        "wish_taken_back": taken_back, "logins": logins, "asked_by": asked.asked.by.to_string(),
    });
    tx.audit(by.audit("set_phone", member).detail(detail));
    Ok(())
}

/// Ends what waits of a person's: she has signed in, or something else came before it. Whoever
/// calls holds a lock of hers.
///
/// # Errors
/// When the database fails.
pub(super) async fn give_way(tx: &Tx, member: MemberId) -> Result<()> {
    if let Some(id) = store::void(tx, member).await? {
        timers::cancel(tx, due::PHONE_SETTING, &id.to_string()).await?;
        tx.audit(AuditRow::system("phone_setting_gave_way", id));
    }
    Ok(())
}

/// Ends one that no second operator asked for in time.
///
/// # Errors
/// When the database fails.
pub async fn expire(ctx: &Ctx, id: Uuid) -> Result<()> {
    ctx.db
        .tx("expire_phone_setting", async |tx| {
            if store::expire(tx, id).await? > 0 {
                tx.audit(AuditRow::system("expire_phone_setting", id));
            }
            Ok(())
        })
        .await
}
