//! Another phone, by a person herself: both phones are sent a code, and both codes are shown. Who
//! has only a token, or only one of the phones, changes nothing.
//!
//! The codes have the limits and wrong guesses of login codes: to the old phone goes one that would
//! sign in as well, to the new phone one that signs nobody in, and that takes the place of none
//! that does. A phone that is another's is sent nothing, and nobody is told so.
//!
//! Codes are locked before the person, as by who signs in, and she before all else that is hers, as
//! where an operator sets her phone: a login or a link underway is waited for and ended, and one
//! that comes later finds the old phone gone. While her record waits to be merged or can be split,
//! or she waits to be forgotten, her phone stays: what a split gives back is there still.

use chrono::{DateTime, TimeDelta, Utc};
use kit::access::{self, Caller, Member};
use kit::once::{self, Once, Request};
use kit::types::MemberId;
use kit::{Error, Result, Tx};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::codes::renew;
use super::erasures::take_back_asked;
use super::logins::{proven, withdraw_all};
use super::merged_records::must_be_final;
use super::people::seal_phone;
use super::{notices, phone_recoveries, phone_settings, settled};
use crate::Identity;
use crate::domain::code::{self, CODE_SECONDS, Guess, Purpose};
use crate::domain::erasure::Erasure;
use crate::domain::identifier::Phone;
use crate::domain::notice::Notice;
use crate::error::{self, Refusal};
use crate::store::codes::{self, CodeRow};
use crate::store::consents::lock_member;
use crate::store::limits::Counter;
use crate::store::logins::Reason;
use crate::store::people::{self, Blind};
use crate::store::phone_changes::{self as store, ChangeRow};
use crate::store::{erasures, login_methods, merges, second_factors};
use crate::vault::{Cell, SealingKey, Vault};

/// Changes of phone that one person may ask for in a day.
pub const PHONE_CHANGES_PER_DAY_MAX: i32 = 5;

/// `requestPhoneChange`: both phones are sent a code; until when they are good.
///
/// # Errors
/// Unauthenticated; refused where her second factor was not shown, the phone is the one she has,
/// codes were asked for too often, she waits to be merged or to be forgotten, or her record can be
/// split.
pub async fn request_phone_change(
    identity: &Identity,
    caller: &Caller,
    new: &Phone,
    key: Uuid,
) -> Result<DateTime<Utc>> {
    let blind = identity.vault.blind_phone(new)?;
    identity
        .ctx
        .db
        .tx("request_phone_change", async |tx| {
            let member = access::member(tx, caller).await?;
            if second_factors::confirmed(tx, member.id).await?.is_some() {
                access::stepped_up(tx, caller)?;
            }
            let (data_key, old) = own_phone(identity, tx, member.id).await?;
            must_be_settled(tx, member.id).await?;
            let request = Request {
                caller: member.id.0,
                key,
                // Of the keyed hash: the hash of a phone alone would tell it.
                hash: once::hash("request_phone_change", &[&hex::encode(blind)]),
            };
            match once::begin(tx, &request).await? {
                Once::First => {}
                Once::Done(outcome) => return expiry(&outcome),
                Once::Refused(code) => {
                    return error::recorded(&code);
                }
            }
            if old.as_str() == new.as_str() {
                return Err(Refusal::PhoneUnchanged.into());
            }
            ask(identity, tx, member, (&data_key, &old, new)).await
        })
        .await
}

async fn ask(
    identity: &Identity,
    tx: &Tx,
    member: Member,
    (data_key, old, new): (&SealingKey, &Phone, &Phone),
) -> Result<DateTime<Utc>> {
    let too_many = || kit::Refusal::from(Refusal::TooManyCodes).transient();
    let in_day = Counter {
        scope: "phone_change_day",
        subject: member.id.0.as_bytes(),
        window: TimeDelta::days(1),
    };
    if in_day.add(tx, 1).await? > PHONE_CHANGES_PER_DAY_MAX {
        return Err(too_many().into());
    }
    let blinds = [
        identity.vault.blind_phone(old)?,
        identity.vault.blind_phone(new)?,
    ];
    let mut sent = [Uuid::nil(); 2];
    let purposes = [Purpose::Login, Purpose::Change];
    for ((blind, purpose), id) in blinds.iter().zip(purposes).zip(&mut sent) {
        *id = renew(tx, purpose, blind).await?.map_err(|_| too_many())?;
    }
    let id = tx.uuid();
    let row = ChangeRow {
        id,
        member: member.id.0,
        phone: data_key.seal(tx.ids(), change_cell(id), new.as_str().as_bytes())?,
        old_code: sent[0],
        new_code: sent[1],
        expires_at: tx.now() + TimeDelta::seconds(CODE_SECONDS),
    };
    store::ask(tx, &row, &blinds[1]).await?;
    tx.audit(member.audit("request_phone_change", id));
    once::finish(tx, &row.expires_at.timestamp_millis().to_be_bytes())?;
    Ok(row.expires_at)
}

/// An outcome as it was written: until when the codes are good.
fn expiry(outcome: &[u8]) -> Result<DateTime<Utc>> {
    let millis = outcome.try_into().map(i64::from_be_bytes);
    let instant = millis.ok().and_then(DateTime::from_timestamp_millis);
    instant.ok_or_else(|| Error::internal("a change of phone has no end"))
}

/// `changePhone`: the codes of both phones are shown, and the new one is hers from now on. All her
/// other logins end.
///
/// # Errors
/// Unauthenticated; refused when a code is wrong, over, used or guessed at too often, no change was
/// asked for, the phone is another's, she waits to be merged or to be forgotten, or her record can
/// be split.
pub async fn change_phone(
    identity: &Identity,
    caller: &Caller,
    (old_code, new_code): (&str, &str),
) -> Result<MemberId> {
    let result = identity
        .ctx
        .db
        .tx("change_phone", async |tx| {
            let member = access::member(tx, caller).await?;
            store::lock_codes(tx, member.id).await?;
            lock_member(tx, member.id).await?;
            let (data_key, old) = own_phone(identity, tx, member.id).await?;
            must_be_settled(tx, member.id).await?;
            let Some(change) = store::lock(tx, member.id).await? else {
                return Ok(Err(Refusal::CodeExpired));
            };
            let digits = data_key.open_text(change_cell(change.id), &change.phone)?;
            let new = Phone::stored(digits);
            // The new one first: a wrong guess at it leaves the old one's code as it is.
            let sent = (Purpose::Change, &new, change.new_code);
            let shown = match shown(identity, tx, sent, new_code).await? {
                Ok(shown) => shown,
                Err(why) => return Ok(Err(why)),
            };
            if let Err(why) = proven(tx, &identity.vault, &old, old_code).await? {
                return Ok(Err(why));
            }
            let used_at = Some(tx.now());
            codes::save(tx, &CodeRow { used_at, ..shown }).await?;
            login_methods::remove_phone(tx, member.id).await?;
            let row = seal_phone(tx, &identity.vault, &data_key, member.id.0, &new)?;
            people::insert_phones(tx, vec![row]).await?;
            store::remove(tx, member.id).await?;
            phone_recoveries::give_way(tx, member.id).await?;
            phone_settings::give_way(tx, member.id).await?;
            end_others(tx, member, change.id).await?;
            Ok(Ok(member.id))
        })
        .await;
    match settled(result) {
        Err(error) if error.constraint().as_deref() == Some("login_method_blind_unique") => {
            Err(Refusal::PersonNotMatched.into())
        }
        other => other,
    }
}

/// Ends the other logins of who has another phone, and tells her of it.
async fn end_others(tx: &Tx, member: Member, change: Uuid) -> Result<()> {
    let kept = Some(member.login);
    let ended = withdraw_all(tx, member.id, kept, Reason::PhoneChanged).await?;
    tell(tx, member.id, change).await?;
    tx.audit(
        member
            .audit("change_phone", member.id)
            .detail(serde_json::json!({ "logins": ended })),
    );
    Ok(())
}

/// Makes a phone a person's and her only way in, as an office has decided; `because` is what made
/// it so. Every login of hers ends, with what she began herself by the phone so far, and a wish to
/// be forgotten of which nothing was done is taken back. Whether there was one, and how many logins
/// ended. Whoever calls holds her lock.
pub(super) async fn give(
    tx: &Tx,
    vault: &Vault,
    (member, key, phone): (MemberId, &SealingKey, &Phone),
    because: Uuid,
) -> Result<(bool, usize)> {
    let taken_back = take_back_asked(tx, member).await?;
    login_methods::remove_each(tx, member).await?;
    let sealed = seal_phone(tx, vault, key, member.0, phone)?;
    people::insert_phones(tx, vec![sealed]).await?;
    store::remove(tx, member).await?;
    let logins = withdraw_all(tx, member, None, Reason::PhoneChanged).await?;
    tell(tx, member, because).await?;
    Ok((taken_back, logins))
}

/// Tells a person that another phone signs her in; `change` is what made it so.
async fn tell(tx: &Tx, member: MemberId, change: Uuid) -> Result<()> {
    let told = Notice::PhoneChanged { at: tx.now() };
    notices::tell(tx, &[notices::about(member, &change.to_string(), told)]).await
}

/// Whether a person's phone can be changed now, by her or by another. Whoever calls holds the
/// person's lock, as who begins a merge or her erasure.
pub(super) async fn must_be_settled(tx: &Tx, member: MemberId) -> Result<()> {
    let erasure = erasures::load(tx, member).await?;
    if erasure.as_ref().is_some_and(Erasure::is_open) {
        return Err(Refusal::ErasureWaits.into());
    }
    must_be_one_record(tx, member).await
}

/// As [`must_be_settled`], whatever she wishes.
pub(super) async fn must_be_one_record(tx: &Tx, member: MemberId) -> Result<()> {
    if merges::waits(tx, &[member.0]).await? {
        return Err(Refusal::MergeWaits.into());
    }
    must_be_final(tx, member).await?;
    phone_recoveries::must_be_none(tx, &[member.0]).await
}

/// Whether this is the code that the new phone was sent for this purpose. It stays good until all
/// is right: what uses it up is what it was asked for.
pub(super) async fn shown(
    identity: &Identity,
    tx: &Tx,
    (purpose, phone, sent): (Purpose, &Phone, Uuid),
    given: &str,
) -> Result<std::result::Result<CodeRow, Refusal>> {
    let blind: Blind = identity.vault.blind_phone(phone)?;
    let right = code::digits(&identity.vault.code_hash(sent, &blind));
    let same = right.as_bytes().ct_eq(given.as_bytes()).into();
    let row = codes::lock(tx, purpose, &blind).await?;
    let Some(mut row) = row.filter(|row| row.id == sent) else {
        return Ok(Err(Refusal::CodeExpired));
    };
    match row.code().guess(same, tx.now()) {
        Guess::Refused(why) => Ok(Err(why)),
        Guess::Wrong(count) => {
            row.wrong = count;
            codes::save(tx, &row).await?;
            Ok(Err(Refusal::CodeWrong))
        }
        Guess::Right => Ok(Ok(row)),
    }
}

/// The phone that a person signs in with, and her data key.
async fn own_phone(identity: &Identity, tx: &Tx, member: MemberId) -> Result<(SealingKey, Phone)> {
    let person = people::active(tx, member).await?;
    let person = person.ok_or(Refusal::MemberNotFound)?;
    let phone = phone_of(tx, &identity.vault, member).await?;
    let phone = phone.ok_or(Refusal::PhoneAbsent)?;
    let key = identity.vault.data_key(person.member, &person.data_key)?;
    Ok((key, phone))
}

/// The phone that an active person signs in with; `None` where she has none.
pub(super) async fn phone_of(tx: &Tx, vault: &Vault, member: MemberId) -> Result<Option<Phone>> {
    let Some(person) = people::active(tx, member).await? else {
        return Ok(None);
    };
    let Some(phone) = people::phone(tx, member).await? else {
        return Ok(None);
    };
    let key = vault.data_key(person.member, &person.data_key)?;
    let cell = Cell::new("login_method", "subject", phone.id);
    let digits = key.open_text(cell, &phone.subject)?;
    Ok(Some(Phone::stored(digits)))
}

/// What the new phone of a change is sealed as.
pub(crate) const fn change_cell(change: Uuid) -> Cell {
    Cell::new("phone_change", "phone", change)
}
