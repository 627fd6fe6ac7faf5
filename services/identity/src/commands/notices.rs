//! Telling members what happened: here, and by SMS where they consent to it and want it. What
//! could take a person over goes by SMS in any case, and to the phones too that she had lately: a
//! thief who has changed her phone must not be the only one who is told.
//!
//! Whether an SMS goes out is decided when it goes, in one transaction that keeps the consent
//! locked and writes that the provider is given the number: a withdrawal comes before that or
//! after it. What is sent after that transaction is what it decided, seconds later at most.

use chrono::TimeDelta;
use kit::access::{self, Caller};
use kit::audit::AuditRow;
use kit::consent;
use kit::due::{After, NewDue};
use kit::types::{EntitlementId, MemberId, Processing, shanghai_date};
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use crate::domain::identifier::Phone;
use crate::domain::mint::State;
use crate::domain::notice::{self, EXPIRING_DAYS, Kind, Names, Notice, RightStep, SMS_HOURS_MAX};
use crate::due;
use crate::store::notice_products::product_of_scope;
use crate::store::notices::{self as store, NewNotice, Sms};
use crate::store::people::{self, PhoneRow};
use crate::store::{entitlements, former_phones};
use crate::vault::{Cell, SealingKey, Vault};

/// How long after it was heard that a pass is active its reminder comes at the earliest, in
/// minutes.
const REMINDER_MINUTES_MIN: i64 = 60;

/// The id of a notice: of one kind there is one about one thing.
pub fn notice_id(kind: Kind, about: &str) -> Uuid {
    let name = format!("notice/{}/{about}", kind.as_str());
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}

/// A notice to a member about one thing of hers.
pub fn about(member: MemberId, about: &str, notice: Notice) -> NewNotice {
    NewNotice {
        id: notice_id(notice.kind(), about),
        member,
        sms: notice.kind().sms_template().is_some(),
        notice,
    }
}

/// Tells members each of these once, and plans the SMS of those that may have one.
///
/// # Errors
/// When the database fails.
pub(crate) async fn tell(tx: &Tx, notices: &[NewNotice]) -> Result<()> {
    let new = store::insert(tx, notices).await?;
    for it in notices.iter().filter(|it| it.sms && new.contains(&it.id)) {
        tx.plan(NewDue::new(due::SMS_NOTICE, it.id, tx.now()));
        if it.notice.kind().protects() {
            for phone in former_phones::of(tx, it.member).await? {
                let both = format!("{}/{phone}", it.id);
                tx.plan(NewDue::new(due::SMS_FORMER_PHONE, both, tx.now()));
            }
        }
    }
    Ok(())
}

/// Tells a person that somebody who is signed in as her used one of her rights; `which` tells one
/// use from another.
///
/// # Errors
/// When the database fails.
pub(crate) async fn tell_of_right(
    tx: &Tx,
    member: MemberId,
    step: RightStep,
    which: impl std::fmt::Display,
) -> Result<()> {
    let about_it = format!("{}/{which}", step.as_str());
    let told = Notice::RightUsed { step, at: tx.now() };
    tell(tx, &[about(member, &about_it, told)]).await
}

/// Reminds the holder of a pass that ends soon, if it still opens doors.
///
/// # Errors
/// When the database fails.
pub async fn remind_of_end(ctx: &Ctx, id: EntitlementId) -> Result<After> {
    ctx.db
        .tx("remind_of_end", async |tx| {
            let Some(it) = entitlements::load(tx, id).await? else {
                return Ok(After::Done);
            };
            let end = it.valid_until.instant();
            if it.state != State::Active || end <= tx.now() {
                return Ok(After::Done);
            }
            let begins = end - TimeDelta::days(EXPIRING_DAYS);
            if tx.now() < begins {
                return Ok(After::At(begins));
            }
            let told = Notice::Expiring {
                pass: id,
                product: product_of_scope(tx, it.scope).await?,
                end: shanghai_date(end),
            };
            tell(tx, &[about(it.member, &id.to_string(), told)]).await?;
            Ok(After::Done)
        })
        .await
}

/// An SMS as the provider is given it.
pub struct Message {
    pub phone: Phone,
    pub template: &'static str,
    pub params: Vec<(&'static str, String)>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("template", &self.template)
            .finish_non_exhaustive()
    }
}

/// The SMS of a notice, written down as handed over; `None` when none is sent: she does not
/// consent any more or does not want it, where that is hers to say, has no phone, or it is too
/// late. Decided anew each time.
///
/// # Errors
/// When the database fails.
pub async fn hand_over(ctx: &Ctx, vault: &Vault, id: Uuid) -> Result<Option<Message>> {
    ctx.db
        .tx("hand_over_notice", async |tx| {
            let Some(kept) = store::lock(tx, id).await? else {
                return Ok(None);
            };
            let Some(template) = kept.notice.kind().sms_template() else {
                return Ok(None);
            };
            let member = kept.member;
            let may = wanted(tx, member, kept.notice.kind()).await? && !is_late(tx, &kept);
            let phone = if may {
                phone(tx, vault, member).await?
            } else {
                None
            };
            let Some(phone) = phone else {
                // One that was handed over before stays so: its answer may have been lost.
                if kept.sms == Sms::Planned {
                    store::set_sms(tx, id, Sms::Skipped).await?;
                }
                return Ok(None);
            };
            store::set_sms(tx, id, Sms::HandedOver { at: tx.now() }).await?;
            tx.audit(AuditRow::system("hand_over_notice", id));
            let names = store::names(tx, std::slice::from_ref(&kept)).await?;
            let names = names
                .first()
                .ok_or_else(|| Error::internal("a notice without its names"))?;
            Ok(Some(Message {
                phone,
                template,
                params: kept.notice.sms_params(names),
            }))
        })
        .await
}

/// Whether she agrees to an SMS of this kind and wants it; one that protects her is always sent.
async fn wanted(tx: &Tx, member: MemberId, kind: Kind) -> Result<bool> {
    if kind.protects() {
        return Ok(true);
    }
    let allowed = consent::consents(tx, member, Processing::NoticeSms).await?;
    let unwanted = store::without_sms(tx, member).await?;
    Ok(allowed.is_some() && !unwanted.contains(&kind))
}

fn is_late(tx: &Tx, kept: &store::Kept) -> bool {
    kept.created_at + TimeDelta::hours(SMS_HOURS_MAX) <= tx.now()
}

/// The SMS of a notice to a phone that its reader had before; `None` when none is sent: it is no
/// such notice or too late, the phone counts no more, or somebody signs in by it.
///
/// # Errors
/// When the database fails.
pub async fn hand_over_to_former(
    ctx: &Ctx,
    vault: &Vault,
    (id, former): (Uuid, Uuid),
) -> Result<Option<Message>> {
    ctx.db
        .tx("hand_over_to_former_phone", async |tx| {
            let Some(kept) = store::lock(tx, id).await? else {
                return Ok(None);
            };
            let kind = kept.notice.kind();
            let Some(template) = kind.sms_template().filter(|_| kind.protects()) else {
                return Ok(None);
            };
            if is_late(tx, &kept) {
                return Ok(None);
            }
            let Some(person) = people::active(tx, kept.member).await? else {
                return Ok(None);
            };
            let Some(row) = former_phones::find(tx, kept.member, former).await? else {
                return Ok(None);
            };
            let key = vault.data_key(person.member, &person.data_key)?;
            tx.audit(AuditRow::system("hand_over_to_former_phone", id));
            Ok(Some(Message {
                phone: opened(&key, &row)?,
                template,
                params: kept.notice.sms_params(&Names::default()),
            }))
        })
        .await
}

fn opened(key: &SealingKey, row: &PhoneRow) -> Result<Phone> {
    let cell = Cell::new("login_method", "subject", row.id);
    Ok(Phone::stored(key.open_text(cell, &row.subject)?))
}

/// The phone that a person is reached by.
pub(super) async fn phone(tx: &Tx, vault: &Vault, member: MemberId) -> Result<Option<Phone>> {
    let Some(person) = people::active(tx, member).await? else {
        return Ok(None);
    };
    let Some(row) = people::phone(tx, member).await? else {
        return Ok(None);
    };
    let key = vault.data_key(person.member, &person.data_key)?;
    Ok(Some(opened(&key, &row)?))
}

/// A member marks notices of hers as read: these, or all; how many are left. Another's are left
/// alone, as those that are not there.
///
/// # Errors
/// Unauthenticated.
pub async fn mark_read(ctx: &Ctx, caller: &Caller, ids: Option<Vec<Uuid>>) -> Result<i64> {
    ctx.db
        .tx("mark_notices_read", async |tx| {
            let member = access::member(tx, caller).await?;
            let read = store::mark_read(tx, member.id, ids.as_deref()).await?;
            tx.audit(
                member
                    .audit("mark_notices_read", member.id)
                    .detail(serde_json::json!({ "read": read })),
            );
            store::unread(tx, member.id).await
        })
        .await
}

/// A member says whether an SMS shall tell of a kind of notices too. It is no consent: without
/// one, none is sent.
///
/// # Errors
/// Unauthenticated; [`crate::error::Refusal::NoticeHasNoSms`] for kinds of which none is sent, and
/// [`crate::error::Refusal::NoticeSmsStays`] for those whose SMS protect her.
pub async fn set_preference(ctx: &Ctx, caller: &Caller, kind: Kind, sms: bool) -> Result<()> {
    ctx.db
        .tx("set_notice_preference", async |tx| {
            let member = access::member(tx, caller).await?;
            kind.must_have_sms()?;
            store::set_preference(tx, member.id, kind, sms).await?;
            tx.audit(
                member
                    .audit("set_notice_preference", kind.as_str())
                    .detail(serde_json::json!({ "sms": sms })),
            );
            Ok(())
        })
        .await
}

/// Plans the reminder of a pass with these days, where it has one; not at once, since its grant
/// may arrive a little later.
pub(crate) fn plan_reminder(
    tx: &Tx,
    pass: EntitlementId,
    (start, end): (chrono::NaiveDate, chrono::NaiveDate),
) {
    if let Some(at) = notice::reminder(start, end, tx.now()) {
        let soonest = tx.now() + TimeDelta::minutes(REMINDER_MINUTES_MIN);
        tx.plan(NewDue::new(due::NOTICE_EXPIRING, pass, at.max(soonest)));
    }
}
