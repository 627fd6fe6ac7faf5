//! What becomes of a claim of who has lost her phone: an office that has seen her confirms it, an
//! operator who is another person approves it, her phone and logins so far are told, and when they
//! have not taken it back in time the new phone is hers, as where an operator sets it.
//!
//! The person is locked before her recovery, and before all else that is hers. Once somebody has
//! seen her nothing else changes who she is: no merge, no split and no other change of her phone
//! begins before that ends; what nobody has confirmed stands in nobody's way and gives way. Who
//! holds a role, wishes to be forgotten or was merged of late has no phone recovered; but a wish
//! that came while time ran is taken back with the phone, which may have been a thief's to make.

use chrono::{DateTime, Utc};
use kit::access::{self, Caller};
use kit::audit::{AuditRow, require_sealing};
use kit::due::{self as timers, After, NewDue};
use kit::types::MemberId;
use kit::{Ctx, Error, Result, Tx};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::matching::{same_text, stored_name};
use super::phone_claims::{phone_cell, verify};
use super::{may_look_up, notices, phone_changes as changes, phone_settings, settled};
use crate::domain::erasure::Erasure;
use crate::domain::identifier::{Document, Phone};
use crate::domain::merge::undoable_since;
use crate::domain::name::PersonName;
use crate::domain::notice::Notice;
use crate::domain::phone_recovery::{Basis, End, Recovery, Step};
use crate::error::Refusal;
use crate::store::consents::lock_member;
use crate::store::people::{self, PersonRow};
use crate::store::phone_recoveries::{self as store, Kept};
use crate::store::{erasures, merges, roles};
use crate::vault::Vault;
use crate::{Identity, due};

/// What an office names of whom it has seen.
#[derive(Clone, Debug)]
pub enum Named {
    Document(Document),
    /// Of who claims by 网号 no document is known.
    Name(PersonName),
}

/// `confirmPhoneRecovery`: the caller has seen the person with her document and the new phone;
/// until when it may be approved. Confirmed before, it is that one.
///
/// # Errors
/// Officers who vouch for her and operators only, their second factor shown; refused when there is
/// no claim to confirm, document or phone are not the claim's, as `must_be_free` says, to herself,
/// and while audit rows wait for their seal.
pub async fn confirm_phone_recovery(
    identity: &Identity,
    caller: &Caller,
    member: MemberId,
    (phone, named): (&Phone, &Named),
) -> Result<DateTime<Utc>> {
    let vault = &identity.vault;
    let result = identity
        .ctx
        .db
        .tx("confirm_phone_recovery", async |tx| {
            let by = vouches_for(tx, caller, member).await?;
            access::stepped_up(tx, caller)?;
            require_sealing(tx).await?;
            let of = (member, phone, named);
            let seen = seen(tx, vault, by, of, |it| it.confirm(by.id, tx.now()));
            let confirmed = match seen.await? {
                Ok(Seen::Now(confirmed)) => confirmed,
                Ok(Seen::Before(next_at)) => return Ok(Ok(next_at)),
                Err(why) => return Ok(Err(why)),
            };
            store::save(tx, &confirmed).await?;
            tx.audit(by.audit("confirm_phone_recovery", confirmed.id));
            Ok(Ok(confirmed.expires_at))
        })
        .await;
    settled(result)
}

/// Who may say that she has seen this person, and learn how far a recovery of hers has come: an
/// operator, or an officer who vouches for her. To add a person to an organisation of one's own is
/// not enough for that, nor to add her by a name and a phone.
///
/// # Errors
/// Unauthenticated; [`Refusal::MemberNotFound`] to everybody else.
pub(crate) async fn vouches_for(
    tx: &Tx,
    caller: &Caller,
    member: MemberId,
) -> Result<access::Member> {
    match access::operator(tx, caller).await {
        Ok(operator) => Ok(operator.member),
        Err(Error::Forbidden(_)) => {
            let by = access::member(tx, caller).await?;
            let hers = roles::vouched_for(tx, by.id, &[member.0]).await?;
            if hers.is_empty() {
                return Err(Refusal::MemberNotFound.into());
            }
            Ok(by)
        }
        Err(error) => Err(error),
    }
}

/// A recovery that somebody has seen its person for.
enum Seen {
    Now(Recovery),
    /// The same one had before; when what comes next is due.
    Before(DateTime<Utc>),
}

/// The person's open recovery after `step`, where the caller has named her document and its phone;
/// who names others is counted. It is not saved yet.
async fn seen(
    tx: &Tx,
    vault: &Vault,
    by: access::Member,
    (member, phone, named): (MemberId, &Phone, &Named),
    step: impl FnOnce(Recovery) -> std::result::Result<Option<Recovery>, Refusal>,
) -> Result<std::result::Result<Seen, Refusal>> {
    let failures = may_look_up(tx, by.id.0).await?;
    lock_member(tx, member).await?;
    let person = must_be_free(tx, member).await?;
    let kept = store::lock_open(tx, member).await?;
    let kept = kept.ok_or(Refusal::RecoveryNotFound)?;
    let after = step(kept.recovery)?;
    if !matches(tx, vault, (&kept, &person), (phone, named)).await? {
        failures.count(tx).await?;
        tx.audit(by.audit("phone_recovery_not_matched", kept.recovery.id));
        return Ok(Err(Refusal::PersonNotMatched));
    }
    Ok(Ok(match after {
        Some(after) => Seen::Now(after),
        None => Seen::Before(kept.recovery.next_at()),
    }))
}

/// Whether what was named is the person's and the phone is the claim's. Her name alone is enough
/// only where she claims by 网号: the service of the state has said whose that is.
async fn matches(
    tx: &Tx,
    vault: &Vault,
    (kept, person): (&Kept, &PersonRow),
    (phone, named): (&Phone, &Named),
) -> Result<bool> {
    let blind = vault.blind_phone(phone)?;
    let same_phone: bool = kept.blind.as_slice().ct_eq(blind.as_slice()).into();
    let same_person = match (named, kept.basis) {
        (Named::Document(document), Basis::Document | Basis::NetworkIdentity) => {
            let by_document = vault.blind_document(document)?;
            let found = people::by_documents(tx, &[by_document]).await?;
            found.get(&by_document).map(|it| it.member) == Some(person.member)
        }
        (Named::Name(name), Basis::NetworkIdentity) => {
            same_text(stored_name(vault, person)?.as_str(), name)
        }
        (Named::Name(_), Basis::Document) => false,
    };
    Ok(same_phone && same_person)
}

/// Whether a person's phone may be recovered at all. Whoever calls holds her lock.
///
/// # Errors
/// [`Refusal::MemberNotFound`], [`Refusal::ErasureWaits`], and [`Refusal::MergeWaits`] also while a
/// merge can be undone. Forbidden for who holds a role, as where an operator sets a phone.
async fn must_be_free(tx: &Tx, member: MemberId) -> Result<PersonRow> {
    let person = must_be_one(tx, member).await?;
    let erasure = erasures::load(tx, member).await?;
    if erasure.as_ref().is_some_and(Erasure::is_open) {
        return Err(Refusal::ErasureWaits.into());
    }
    Ok(person)
}

/// As [`must_be_free`], whatever she wishes.
async fn must_be_one(tx: &Tx, member: MemberId) -> Result<PersonRow> {
    let person = people::active(tx, member).await?;
    let person = person.ok_or(Refusal::MemberNotFound)?;
    if roles::holds_any(tx, member).await? {
        return Err(Error::Forbidden("the phone of who holds a role"));
    }
    let undoable = undoable_since(tx.now());
    if merges::waits(tx, &[member.0]).await? || merges::done_since(tx, member, undoable).await? > 0
    {
        return Err(Refusal::MergeWaits.into());
    }
    Ok(person)
}

/// `approvePhoneRecovery`: a second person of the union agrees, who has seen document and phone as
/// the first one has; from when on the new phone is hers. Her phone and logins so far are told at
/// once. Approved before, it is that one.
///
/// # Errors
/// Operators only, their second factor shown; refused to herself and to who has confirmed it, when
/// nobody has, document or phone are not the claim's, as `must_be_free` says, and while audit rows
/// wait for their seal.
pub async fn approve_phone_recovery(
    identity: &Identity,
    caller: &Caller,
    member: MemberId,
    (phone, named): (&Phone, &Named),
) -> Result<DateTime<Utc>> {
    let vault = &identity.vault;
    let result = identity
        .ctx
        .db
        .tx("approve_phone_recovery", async |tx| {
            let by = access::operator(tx, caller).await?.member;
            access::stepped_up(tx, caller)?;
            require_sealing(tx).await?;
            let of = (member, phone, named);
            let seen = seen(tx, vault, by, of, |it| it.approve(by.id, tx.now()));
            let approved = match seen.await? {
                Ok(Seen::Now(approved)) => approved,
                Ok(Seen::Before(next_at)) => return Ok(Ok(next_at)),
                Err(why) => return Ok(Err(why)),
            };
            store::save(tx, &approved).await?;
            let due_at = approved.next_at();
            let told = Notice::PhoneToBeChanged { at: due_at };
            let about = format!("{}/told", approved.id);
            notices::tell(tx, &[notices::about(member, &about, told)]).await?;
            tx.plan(NewDue::new(due::SMS_PHONE_RECOVERY, approved.id, tx.now()));
            tx.audit(by.audit("approve_phone_recovery", approved.id));
            Ok(Ok(due_at))
        })
        .await;
    settled(result)
}

/// `recallPhoneRecovery`: whoever signs in as the person takes it back at once.
///
/// # Errors
/// Unauthenticated; [`Refusal::RecoveryNotFound`] when none is open.
pub async fn recall_phone_recovery(ctx: &Ctx, caller: &Caller) -> Result<MemberId> {
    ctx.db
        .tx("recall_phone_recovery", async |tx| {
            let by = access::member(tx, caller).await?;
            end_open(tx, by.id, (End::Recalled, by), "recall_phone_recovery").await
        })
        .await
}

/// `stopPhoneRecovery`: an office ends it, however far it has come.
///
/// # Errors
/// Operators, and officers who vouch for her; to others she is absent.
/// [`Refusal::RecoveryNotFound`] when none is open.
pub async fn stop_phone_recovery(ctx: &Ctx, caller: &Caller, member: MemberId) -> Result<MemberId> {
    ctx.db
        .tx("stop_phone_recovery", async |tx| {
            let by = vouches_for(tx, caller, member).await?;
            end_open(tx, member, (End::Stopped, by), "stop_phone_recovery").await
        })
        .await
}

async fn end_open(
    tx: &Tx,
    member: MemberId,
    (how, by): (End, access::Member),
    act: &'static str,
) -> Result<MemberId> {
    lock_member(tx, member).await?;
    let kept = store::lock_open(tx, member).await?;
    let id = kept.ok_or(Refusal::RecoveryNotFound)?.recovery.id;
    store::end(tx, id, how, Some(by.id)).await?;
    timers::cancel(tx, due::PHONE_RECOVERY, &id.to_string()).await?;
    tx.audit(by.audit(act, id));
    Ok(member)
}

/// Whether nobody has confirmed a recovery of these people that is open. Whoever calls holds their
/// locks, as who confirms one does.
///
/// # Errors
/// [`Refusal::RecoveryWaits`].
pub(super) async fn must_be_none(tx: &Tx, members: &[Uuid]) -> Result<()> {
    if store::is_confirmed(tx, members).await? {
        return Err(Refusal::RecoveryWaits.into());
    }
    Ok(())
}

/// Ends what nobody has confirmed of a person's: something else comes before it.
///
/// # Errors
/// When the database fails.
pub(super) async fn give_way(tx: &Tx, member: MemberId) -> Result<()> {
    for id in store::end_claims(tx, member).await? {
        timers::cancel(tx, due::PHONE_RECOVERY, &id.to_string()).await?;
        tx.audit(AuditRow::system("phone_recovery_gave_way", id));
    }
    Ok(())
}

/// What is due of a recovery: the service of the state is asked, it expires, or it is carried out.
///
/// # Errors
/// When the service does not answer, or the database fails: the job is run again.
pub async fn run(identity: &Identity, id: Uuid) -> Result<After> {
    let db = &identity.ctx.db;
    let asked = db
        .read("phone_recovery", async |tx| store::asked(tx, id).await)
        .await?;
    let now = identity.ctx.clock.now();
    if let Some(asked) = asked.filter(|asked| now < asked.expires_at) {
        return verify(identity, &asked).await;
    }
    let go_on = async |tx: &Tx| go_on(&identity.vault, tx, id).await;
    db.tx("phone_recovery_due", go_on).await
}

async fn go_on(vault: &Vault, tx: &Tx, id: Uuid) -> Result<After> {
    let Some(seen) = store::open(tx, id).await? else {
        return Ok(After::Done);
    };
    let member = seen.recovery.member;
    lock_member(tx, member).await?;
    // Whoever was first has ended it.
    let kept = store::lock_open(tx, member).await?;
    let Some(kept) = kept.filter(|kept| kept.recovery.id == id) else {
        return Ok(After::Done);
    };
    match kept.recovery.step(tx.now()) {
        Step::Waits(at) => Ok(After::At(at)),
        Step::Expires => {
            store::end(tx, id, End::Expired, None).await?;
            tx.audit(AuditRow::system("expire_phone_recovery", id));
            Ok(After::Done)
        }
        Step::Executes => {
            execute(vault, tx, &kept).await?;
            Ok(After::Done)
        }
    }
}

/// The new phone is hers from now on, and her only way in; every login she has ends. Where
/// something keeps it that was not there before, it ends and her phone stays.
async fn execute(vault: &Vault, tx: &Tx, kept: &Kept) -> Result<()> {
    let (id, member) = (kept.recovery.id, kept.recovery.member);
    let person = match must_be_one(tx, member).await {
        Ok(person) => person,
        Err(Error::Refused(_) | Error::Forbidden(_)) => return stop(tx, id).await,
        Err(error) => return Err(error),
    };
    let key = vault.data_key(person.member, &person.data_key)?;
    let phone = Phone::stored(key.open_text(phone_cell(id), &kept.phone)?);
    let blind = vault.blind_phone(&phone)?;
    let wish = erasures::lock(tx, member).await?;
    let is_closing = wish.as_ref().is_some_and(Erasure::is_begun);
    if is_closing || !people::by_phones(tx, &[blind]).await?.is_empty() {
        return stop(tx, id).await;
    }
    phone_settings::give_way(tx, member).await?;
    let (taken_back, logins) = changes::give(tx, vault, (member, &key, &phone), id).await?;
    store::end(tx, id, End::Done, None).await?;
    metrics::counter!("bashu_identity_recoveries_total", "outcome" => "done").increment(1);
    let detail = serde_json::json!({ "logins": logins, "wish_taken_back": taken_back });
    tx.audit(AuditRow::system("recover_phone", id).detail(detail));
    Ok(())
}

async fn stop(tx: &Tx, id: Uuid) -> Result<()> {
    store::end(tx, id, End::Stopped, None).await?;
    tx.audit(AuditRow::system("phone_recovery_kept_back", id));
    Ok(())
}

/// The phone so far of a person whose recovery is approved; `None` when it is over or she has none.
///
/// # Errors
/// When the database fails.
pub(crate) async fn old_phone(ctx: &Ctx, vault: &Vault, id: Uuid) -> Result<Option<Phone>> {
    ctx.db
        .read("phone_recovery_told", async |tx| {
            let Some(kept) = store::open(tx, id).await? else {
                return Ok(None);
            };
            changes::phone_of(tx, vault, kept.recovery.member).await
        })
        .await
}
