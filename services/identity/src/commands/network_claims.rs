//! A record claimed from a new phone by 网号 (network identity), by who was verified so and has no
//! document that is known here. Whose a 网号 is the service of the state alone says, so that until
//! it has answered the claim is nobody's, and sealed by the key-encryption key. What it then comes
//! to is a recovery as any other, which an office confirms by her name.

use chrono::TimeDelta;
use kit::audit::AuditRow;
use kit::due::{After, NewDue};
use kit::types::MemberId;
use kit::{Error, Result, Tx};
use uuid::Uuid;

use super::matching::{same_text, stored_name};
use super::phone_claims::{New, claimable, count, sealed};
use super::phone_recoveries::give_way;
use crate::domain::identifier::Phone;
use crate::domain::name::PersonName;
use crate::domain::phone_recovery::{NETWORK_CLAIM_MINUTES, RECOVERY_CLAIM_HOURS, Recovery, State};
use crate::domain::verification::{Answer, Claim, NetworkToken};
use crate::store::network_claims::{self as store, NetworkClaimRow};
use crate::store::people::{Blind, PersonRow};
use crate::store::{phone_recoveries, verifications};
use crate::vault::Cell;
use crate::verifier::Verifier;
use crate::{Identity, due};

/// Keeps a claim until it is answered.
pub(super) async fn keep(
    identity: &Identity,
    tx: &Tx,
    new: &New<'_>,
    (token, name): (&NetworkToken, &PersonName),
) -> Result<()> {
    let claim = Claim::Network(token.clone()).text();
    let text = format!("{}\n{}\n{claim}", new.phone.as_str(), name.as_str());
    let cell = claim_cell(new.id);
    let row = NetworkClaimRow {
        id: new.id,
        claim: identity.vault.kek().seal(tx.ids(), cell, text.as_bytes())?,
        expires_at: tx.now() + TimeDelta::minutes(NETWORK_CLAIM_MINUTES),
    };
    store::insert(tx, row).await?;
    tx.plan(NewDue::new(due::NETWORK_CLAIM, new.id, tx.now()));
    Ok(())
}

/// What was claimed.
struct Opened {
    phone: Phone,
    name: PersonName,
    claim: Claim,
}

fn open(identity: &Identity, row: &NetworkClaimRow) -> Result<Opened> {
    let broken = || Error::internal("a claim by 网号 that claims nothing");
    let text = identity
        .vault
        .kek()
        .open_text(claim_cell(row.id), &row.claim)?;
    let (phone, rest) = text.split_once('\n').ok_or_else(broken)?;
    let (name, claim) = rest.split_once('\n').ok_or_else(broken)?;
    Ok(Opened {
        phone: Phone::stored(phone.to_owned().into()),
        name: PersonName::stored(name.to_owned().into()),
        claim: Claim::stored(claim).ok_or_else(broken)?,
    })
}

/// Asks the service of the state whose a 网号 is; it is asked again, ever more rarely, while it does
/// not answer, and after [`NETWORK_CLAIM_MINUTES`] no more.
///
/// # Errors
/// When the service does not answer: the job is run again.
pub async fn run(identity: &Identity, id: Uuid) -> Result<After> {
    let db = &identity.ctx.db;
    let row = db
        .read("network_claim", async |tx| store::find(tx, id).await)
        .await?;
    let Some(row) = row else {
        return Ok(After::Done);
    };
    let now = identity.ctx.clock.now();
    if now >= row.expires_at {
        db.tx("network_claim_over", async |tx| end(tx, id).await)
            .await?;
        return Ok(After::Done);
    }
    let opened = open(identity, &row)?;
    let verifier = Verifier::of(identity.settings.verification.as_ref());
    let question = (&opened.claim, &opened.name);
    let answer = verifier.ask(&identity.http, question, now).await?;
    db.tx("network_claim_answered", async |tx| {
        take_in(identity, tx, (id, &opened), &answer).await
    })
    .await?;
    Ok(After::Done)
}

/// It comes to nothing.
async fn end(tx: &Tx, id: Uuid) -> Result<()> {
    if store::remove(tx, id).await? {
        count(false);
        tx.audit(AuditRow::system("recovery_not_verified", id));
    }
    Ok(())
}

/// Opens a recovery that is verified already, where the holder is a person here and all is right.
async fn take_in(
    identity: &Identity,
    tx: &Tx,
    (id, opened): (Uuid, &Opened),
    answer: &Answer,
) -> Result<()> {
    let blind = identity.vault.blind_phone(&opened.phone)?;
    let Some(person) = holder(identity, tx, (opened, &blind), answer).await? else {
        return end(tx, id).await;
    };
    // Whoever was first has opened it.
    if !store::remove(tx, id).await? {
        return Ok(());
    }
    count(true);
    let member = MemberId(person.member);
    let new = New {
        id,
        phone: &opened.phone,
        blind,
        expires_at: tx.now() + TimeDelta::hours(RECOVERY_CLAIM_HOURS),
    };
    let row = sealed(identity, tx, (&person, &new), None)?;
    give_way(tx, member).await?;
    phone_recoveries::insert(tx, row).await?;
    let asked = Recovery {
        id,
        member,
        state: State::Asked,
        expires_at: new.expires_at,
    };
    let claimed = asked.verified();
    let claimed = claimed.ok_or_else(|| Error::internal("what was asked is not verified"))?;
    phone_recoveries::save(tx, &claimed).await?;
    tx.plan(NewDue::new(due::PHONE_RECOVERY, id, claimed.next_at()));
    tx.audit(AuditRow::system("recovery_verified", id));
    Ok(())
}

/// Whose record may be claimed so, locked.
async fn holder(
    identity: &Identity,
    tx: &Tx,
    (opened, blind): (&Opened, &Blind),
    answer: &Answer,
) -> Result<Option<PersonRow>> {
    let vault = &identity.vault;
    let holder = match answer {
        Answer::Match(Some(network)) => {
            let by_network = vault.blind_network(network.as_str())?;
            verifications::network_holder(tx, &by_network).await?
        }
        Answer::Match(None) | Answer::NoMatch => None,
    };
    let Some(holder) = holder else {
        return Ok(None);
    };
    let Some(person) = claimable(tx, MemberId(holder), blind).await? else {
        return Ok(None);
    };
    let registered = stored_name(vault, &person)?;
    Ok(same_text(registered.as_str(), &opened.name).then_some(person))
}

/// What a claim is sealed as.
pub(crate) const fn claim_cell(claim: Uuid) -> Cell {
    Cell::new("network_claim", "claim", claim)
}
