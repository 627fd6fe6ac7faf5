//! Who has lost her phone claims her record from a new one: the new phone shows the code that it
//! was sent, and she says her name and document, of which the service of the state is asked later
//! and outside of any transaction. Who was verified by 网号 shows that (`network_claims`).
//!
//! To the outside each claim is one answer, and the same hashing and sealing, whether or not there
//! is such a record, its name is another, or somebody has confirmed a recovery of it already; and
//! all of them count, not only those that fail, so that no limit tells the one from the other.
//! Numbers are known to many: claims of one count for each address apart, and a later one takes the
//! place of what nobody has confirmed, so that nobody bars the owner. A phone that is somebody's is
//! sent nothing. Codes are locked before the person, as by who signs in.

use chrono::{DateTime, TimeDelta, Utc};
use kit::access::Caller;
use kit::audit::AuditRow;
use kit::due::{After, NewDue};
use kit::types::MemberId;
use kit::{Error, Result, Tx};
use uuid::Uuid;

use super::codes::{may_ask, renew};
use super::matching::{Comparisons, stored_name};
use super::phone_changes::shown;
use super::phone_recoveries::give_way;
use super::{network_claims, settled};
use crate::domain::code::{CODE_SECONDS, Purpose};
use crate::domain::identifier::{Document, Phone};
use crate::domain::name::PersonName;
use crate::domain::phone_recovery::{
    Basis, End, RECOVERIES_PER_ADDRESS_HOUR_MAX, RECOVERIES_PER_DOCUMENT_DAY_MAX,
    RECOVERY_CLAIM_HOURS, RECOVERY_CODES_PER_HOUR_MAX, State,
};
use crate::domain::verification::{Answer, Claim, NetworkToken};
use crate::error::Refusal;
use crate::store::codes::{self, CodeRow};
use crate::store::consents::lock_member;
use crate::store::limits::Counter;
use crate::store::people::{self, Blind, PersonRow};
use crate::store::phone_recoveries::{self as store, AskedRow, NewRecovery, PhoneRow};
use crate::vault::Cell;
use crate::verifier::Verifier;
use crate::{Identity, due};

/// `requestRecoveryCode`: a phone that is nobody's is sent a code; until when it is good.
///
/// # Errors
/// Refused where nobody can be verified, and when codes were asked for too often, for this purpose
/// by the phone, from the address as for signing in, or of the whole union.
pub async fn request_recovery_code(
    identity: &Identity,
    caller: &Caller,
    phone: &Phone,
) -> Result<DateTime<Utc>> {
    must_be_offered(identity)?;
    let vault = &identity.vault;
    let result = identity
        .ctx
        .db
        .tx("request_recovery_code", async |tx| {
            let per_hour = identity.settings.codes_per_address_hour_max;
            if !may_ask(tx, vault, caller, per_hour).await? || !may_be_sent(tx).await? {
                return Ok(Err(Refusal::TooManyCodes));
            }
            let blind = vault.blind_phone(phone)?;
            let id = match renew(tx, Purpose::Recovery, &blind).await? {
                Ok(id) => id,
                Err(why) => return Ok(Err(why)),
            };
            let digits = phone.as_str().as_bytes();
            let phone = vault.kek().seal(tx.ids(), asked_cell(id), digits)?;
            let expires_at = tx.now() + TimeDelta::seconds(CODE_SECONDS);
            store::put_phone(tx, &blind, PhoneRow { id, phone }, expires_at).await?;
            tx.audit(AuditRow::system("request_recovery_code", id));
            Ok(Ok(expires_at))
        })
        .await;
    settled(result)
}

/// Counts a code of the whole union's, before it is known whose the phone is; whether there are not
/// too many. Anybody may ask for one to any phone, from as many addresses as there are.
async fn may_be_sent(tx: &Tx) -> Result<bool> {
    let of_union = Counter {
        scope: "recovery_code_hour",
        subject: b"union",
        window: TimeDelta::hours(1),
    };
    let may = of_union.one_more(tx, RECOVERY_CODES_PER_HOUR_MAX).await?;
    if may && of_union.add(tx, 0).await? == RECOVERY_CODES_PER_HOUR_MAX {
        metrics::counter!("bashu_identity_recovery_codes_barred_total").increment(1);
        tracing::error!("too many codes for lost phones: none is sent for the hour");
    }
    Ok(may)
}

/// Without the service of the state nobody would say that name and document belong together.
fn must_be_offered(identity: &Identity) -> Result<()> {
    let verifier = Verifier::of(identity.settings.verification.as_ref());
    match verifier.source() {
        Some(_) => Ok(()),
        None => Err(Refusal::VerificationOff.into()),
    }
}

/// What a person says of herself who has lost her phone.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub name: PersonName,
    pub shown: Shown,
}

/// What she is known by.
#[derive(Clone, Debug)]
pub enum Shown {
    Document(Document),
    /// Who was verified by 网号 has no document that is known here.
    Network(NetworkToken),
}

/// `recoverAccount`: a claim from a phone that shows its code; until when an office may confirm it,
/// which is answered whether or not there is anything to confirm.
///
/// # Errors
/// Refused where nobody can be verified, when the code is wrong, over, used or guessed at too
/// often, and when too much was claimed from this address, in all or of this document.
pub async fn recover_account(
    identity: &Identity,
    caller: &Caller,
    (phone, code): (&Phone, &str),
    claimed: &Claimed,
) -> Result<DateTime<Utc>> {
    must_be_offered(identity)?;
    let vault = &identity.vault;
    let result = identity
        .ctx
        .db
        .tx("recover_account", async |tx| {
            let blind = vault.blind_phone(phone)?;
            let sent = store::code_of_phone(tx, &blind).await?;
            let sent = (Purpose::Recovery, phone, sent.unwrap_or_default());
            let shown = match shown(identity, tx, sent, code).await? {
                Ok(shown) => shown,
                Err(why) => return Ok(Err(why)),
            };
            let used_at = Some(tx.now());
            codes::save(tx, &CodeRow { used_at, ..shown }).await?;
            store::remove_phone(tx, &blind).await?;
            let counted = match &claimed.shown {
                Shown::Document(document) => vault.blind_document(document)?,
                // What she shows is another each time: its phone is counted.
                Shown::Network(_) => blind,
            };
            if !may_claim(identity, tx, caller, &counted).await? {
                return Ok(Err(Refusal::TooManyRecoveries));
            }
            let new = New {
                id: tx.uuid(),
                phone,
                blind,
                expires_at: tx.now() + TimeDelta::hours(RECOVERY_CLAIM_HOURS),
            };
            match &claimed.shown {
                Shown::Document(document) => {
                    begin(identity, tx, &new, (document, &claimed.name)).await?;
                }
                Shown::Network(token) => {
                    network_claims::keep(identity, tx, &new, (token, &claimed.name)).await?;
                }
            }
            tx.audit(AuditRow::system("recover_account", new.id));
            Ok(Ok(new.expires_at))
        })
        .await;
    settled(result)
}

/// Counts a claim by its address, and by its document from there; whether neither had too many. To
/// count by the document alone would let anybody who knows it bar its owner. What counts both finds
/// nobody: it outlives whoever is forgotten meanwhile.
async fn may_claim(identity: &Identity, tx: &Tx, caller: &Caller, shown: &Blind) -> Result<bool> {
    let address = identity.vault.blind_address(&caller.client)?;
    let in_hour = Counter {
        scope: "recovery_address_hour",
        subject: &address,
        window: TimeDelta::hours(1),
    };
    let today = tx.now().date_naive();
    let both = (shown, &address);
    let of_both = identity.vault.claims_hash(both, today);
    let in_day = Counter {
        scope: "recovery_document_day",
        subject: &of_both,
        window: TimeDelta::days(1),
    };
    let from_here = in_hour
        .one_more(tx, RECOVERIES_PER_ADDRESS_HOUR_MAX)
        .await?;
    // The day is in the hash: what is left of yesterday's window stands under another one.
    let yesterday = today.pred_opt().unwrap_or(today);
    let of_yesterday = identity.vault.claims_hash(both, yesterday);
    let subject = &of_yesterday;
    let before = Counter { subject, ..in_day }.add(tx, 0).await?;
    let left = (RECOVERIES_PER_DOCUMENT_DAY_MAX - before).max(0);
    let of_document = in_day.one_more(tx, left).await?;
    Ok(from_here && of_document)
}

/// A recovery to be, if there is such a person.
pub(super) struct New<'a> {
    pub(super) id: Uuid,
    pub(super) phone: &'a Phone,
    pub(super) blind: Blind,
    pub(super) expires_at: DateTime<Utc>,
}

/// Opens a recovery where the record, its name and the phone are right and nobody has confirmed
/// one, in the place of what nobody has confirmed; nothing otherwise. All of it is found out, and
/// what is kept is sealed, before anything is decided.
async fn begin(
    identity: &Identity,
    tx: &Tx,
    new: &New<'_>,
    (document, name): (&Document, &PersonName),
) -> Result<()> {
    let vault = &identity.vault;
    let by_document = vault.blind_document(document)?;
    let found = people::by_documents(tx, &[by_document]).await?;
    let person = found.get(&by_document);
    let mut comparisons = Comparisons::new(tx.ids(), vault)?;
    let same = comparisons.same(vault, person, name);
    let member = MemberId(person.map_or(Uuid::nil(), |person| person.member));
    // Read again now that nobody merges or forgets her.
    let person = claimable(tx, member, &new.blind).await?;
    let person = person.filter(|_| same);
    count(person.is_some());
    let owner = person.as_ref().unwrap_or_else(|| comparisons.nobody());
    let claim = Claim::Document {
        document: document.clone(),
        name: name.clone(),
    };
    let row = sealed(identity, tx, (owner, new), Some(&claim))?;
    if person.is_none() {
        return Ok(());
    }
    give_way(tx, member).await?;
    store::insert(tx, row).await?;
    tx.plan(NewDue::new(due::PHONE_RECOVERY, new.id, tx.now()));
    Ok(())
}

/// A record that may be claimed for this phone now, and is locked; nothing where somebody has
/// confirmed a claim of it, or the phone is somebody's. The same is read of everybody.
pub(super) async fn claimable(
    tx: &Tx,
    member: MemberId,
    blind: &Blind,
) -> Result<Option<PersonRow>> {
    let is_taken = !people::by_phones(tx, &[*blind]).await?.is_empty();
    lock_member(tx, member).await?;
    let open = store::lock_open(tx, member).await?;
    let is_open = open.is_some_and(|kept| match kept.recovery.state {
        State::Confirmed(_) | State::Approved { .. } => true,
        State::Asked | State::Claimed => false,
    });
    let person = people::active(tx, member).await?;
    Ok(person.filter(|_| !is_taken && !is_open))
}

pub(super) fn count(is_begun: bool) {
    let outcome = if is_begun { "begun" } else { "not_begun" };
    metrics::counter!("bashu_identity_recoveries_total", "outcome" => outcome).increment(1);
}

/// A recovery as it is kept; without a claim where the service of the state has answered already,
/// as it has of a 网号.
pub(super) fn sealed(
    identity: &Identity,
    tx: &Tx,
    (owner, new): (&PersonRow, &New<'_>),
    claim: Option<&Claim>,
) -> Result<NewRecovery> {
    let key = identity.vault.data_key(owner.member, &owner.data_key)?;
    let claim = claim.map(|claim| {
        let text = claim.text();
        key.seal(tx.ids(), claim_cell(new.id), text.as_bytes())
    });
    let basis = match claim {
        Some(_) => Basis::Document,
        None => Basis::NetworkIdentity,
    };
    let digits = new.phone.as_str().as_bytes();
    Ok(NewRecovery {
        id: new.id,
        member: owner.member,
        phone: key.seal(tx.ids(), phone_cell(new.id), digits)?,
        blind: new.blind,
        basis,
        claim: claim.transpose()?,
        expires_at: new.expires_at,
    })
}

/// Asks the service of the state whether what was claimed belongs together; it is asked again, ever
/// more rarely, while it does not answer.
///
/// # Errors
/// When the service does not answer: the job is run again.
pub(super) async fn verify(identity: &Identity, asked: &AskedRow) -> Result<After> {
    let key = identity.vault.data_key(asked.member, &asked.data_key)?;
    let text = key.open_text(claim_cell(asked.id), &asked.claim)?;
    let claim = Claim::stored(&text);
    let claim = claim.ok_or_else(|| Error::internal("a claim that claims nothing"))?;
    let person = PersonRow {
        member: asked.member,
        data_key: asked.data_key.clone(),
        name: asked.name.clone(),
    };
    let registered = stored_name(&identity.vault, &person)?;
    let verifier = Verifier::of(identity.settings.verification.as_ref());
    let now = identity.ctx.clock.now();
    let question = (&claim, &registered);
    let answer = verifier.ask(&identity.http, question, now).await?;
    let take_in = async |tx: &Tx| take_in(tx, asked, &answer).await;
    identity.ctx.db.tx("phone_recovery_verified", take_in).await
}

async fn take_in(tx: &Tx, asked: &AskedRow, answer: &Answer) -> Result<After> {
    let member = MemberId(asked.member);
    lock_member(tx, member).await?;
    let kept = store::lock_open(tx, member).await?;
    let Some(kept) = kept.filter(|kept| kept.recovery.id == asked.id) else {
        return Ok(After::Done);
    };
    if kept.recovery.state != State::Asked {
        return Ok(After::At(kept.recovery.next_at()));
    }
    let claimed = match answer {
        Answer::Match(_) => kept.recovery.verified(),
        Answer::NoMatch => None,
    };
    let Some(claimed) = claimed else {
        store::end(tx, asked.id, End::NotMatched, None).await?;
        tx.audit(AuditRow::system("recovery_not_verified", asked.id));
        return Ok(After::Done);
    };
    store::save(tx, &claimed).await?;
    tx.audit(AuditRow::system("recovery_verified", asked.id));
    Ok(After::At(claimed.next_at()))
}

/// What a phone is sealed as that is to be sent a code, by the code's id.
pub(crate) const fn asked_cell(code: Uuid) -> Cell {
    Cell::new("recovery_phone", "phone", code)
}

/// What the new phone of a recovery is sealed as.
pub(super) const fn phone_cell(recovery: Uuid) -> Cell {
    Cell::new("phone_recovery", "phone", recovery)
}

const fn claim_cell(recovery: Uuid) -> Cell {
    Cell::new("phone_recovery", "claim", recovery)
}
