//! What an office changes about a person who is there: a membership's end, a phone.

use chrono::NaiveDate;
use kit::access::{self, Caller};
use kit::audit::require_sealing;
use kit::types::{MemberId, OrganisationId, shanghai_date};
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use super::erasures::take_back_asked;
use super::logins::withdraw_all;
use super::people::{officer_or_operator, seal_phone};
use super::phone_changes::{must_be_settled, tell};
use super::phone_recoveries;
use super::roles::leave_office;
use crate::domain::identifier::Phone;
use crate::domain::membership::{End, Membership};
use crate::error::Refusal;
use crate::publish;
use crate::store::consents::lock_member;
use crate::store::logins::Reason;
use crate::store::memberships;
use crate::store::organisations::{self, Lock};
use crate::store::people as store;
use crate::store::{login_methods, phone_changes, roles};
use crate::vault::Vault;

/// Ends a membership on a Shanghai date; the roles that the person holds in that organisation end
/// at once.
///
/// # Errors
/// Officers of its organisation and operators only; to all others it is absent. Refused when it
/// has ended, the date makes no sense, or it is the last operator's.
pub async fn end_membership(
    ctx: &Ctx,
    caller: &Caller,
    id: Uuid,
    how: End,
    until: NaiveDate,
) -> Result<Membership> {
    ctx.db
        .tx("end_membership", async |tx| {
            let (membership, by) = own_membership(tx, caller, id).await?;
            let ended = membership.end(how, until, shanghai_date(tx.now()))?;
            store::save_membership(tx, &ended).await?;
            tx.emit(publish::membership(&ended));
            let roles = leave_office(tx, ended.organisation, &[ended.member.0]).await?;
            tx.audit(
                by.audit("end_membership", id)
                    .detail(serde_json::json!({ "roles_withdrawn": roles })),
            );
            Ok(ended)
        })
        .await
}

/// A membership that the caller may change, and the caller. Its organisation is locked first, as
/// for a roster and for a grant: what is decided of one of its memberships is decided alone.
///
/// # Errors
/// Officers of its organisation and operators only; to all others it is absent.
pub(crate) async fn own_membership(
    tx: &Tx,
    caller: &Caller,
    id: Uuid,
) -> Result<(Membership, access::Member)> {
    own_membership_beside(tx, caller, id, None).await
}

/// The same, where another organisation is decided on too: both are locked in the order of their
/// ids, before anybody who is in either.
///
/// # Errors
/// As [`own_membership`]; the other organisation may be absent.
pub(crate) async fn own_membership_beside(
    tx: &Tx,
    caller: &Caller,
    id: Uuid,
    beside: Option<OrganisationId>,
) -> Result<(Membership, access::Member)> {
    access::member(tx, caller).await?;
    let absent = Refusal::MembershipNotFound;
    let (organisation, _) = memberships::place(tx, id).await?.ok_or(absent)?;
    let by = match officer_or_operator(tx, caller, organisation).await {
        Err(Error::Forbidden(_)) => return Err(absent.into()),
        other => other?,
    };
    let mut places: Vec<OrganisationId> = std::iter::once(organisation).chain(beside).collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        organisations::load(tx, place, Lock::Change).await?;
    }
    let membership = store::membership(tx, id).await?.ok_or(absent)?;
    Ok((membership, by))
}

/// Gives a person another phone to sign in with, which is then her only way in; every login she has
/// ends. A wish to be forgotten of which nothing was done yet is taken back: a thief with her phone
/// would keep every help from her by it. Not for officers: who changes a person's phone can become
/// that person.
///
/// # Errors
/// Operators only, their second factor shown; refused when there is no such person, or the phone is
/// another's, she waits to be merged or is being forgotten, a recovery of hers is confirmed, or her
/// record can be split, as where she changes her phone herself; and while audit rows wait for their
/// seal. Forbidden for who holds a role: one operator alone could become another one, so her roles
/// are withdrawn before and granted anew.
pub async fn set_phone(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    member: MemberId,
    phone: Phone,
) -> Result<MemberId> {
    let result = ctx
        .db
        .tx("set_phone", async |tx| {
            let by = access::operator(tx, caller).await?.member;
            access::stepped_up(tx, caller)?;
            require_sealing(tx).await?;
            // First of all that is hers: a login or a link underway is waited for and ended, and
            // one that comes later finds the old phone gone.
            lock_member(tx, member).await?;
            let row = store::active(tx, member)
                .await?
                .ok_or(Refusal::MemberNotFound)?;
            if roles::holds_any(tx, member).await? {
                return Err(Error::Forbidden("the phone of who holds a role"));
            }
            // Whoever has the phone so far may have made it; hers she makes anew.
            let taken_back = take_back_asked(tx, member).await?;
            must_be_settled(tx, member).await?;
            phone_recoveries::give_way(tx, member).await?;
            let key = vault.data_key(member.0, &row.data_key)?;
            login_methods::remove_each(tx, member).await?;
            let sealed = seal_phone(tx, vault, &key, member.0, &phone)?;
            store::insert_phones(tx, vec![sealed]).await?;
            // One that she has asked for herself began with a phone that is not hers any more.
            phone_changes::remove(tx, member).await?;
            withdraw_all(tx, member, None, Reason::PhoneChanged).await?;
            tell(tx, member, tx.uuid()).await?;
            let detail = serde_json::json!({ "wish_taken_back": taken_back });
            tx.audit(by.audit("set_phone", member).detail(detail));
            Ok(member)
        })
        .await;
    result.map_err(|error| match error.constraint().as_deref() {
        Some("login_method_blind_unique" | "login_method_one_phone") => {
            Refusal::PersonNotMatched.into()
        }
        _ => error,
    })
}
