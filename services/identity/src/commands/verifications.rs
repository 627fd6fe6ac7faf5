//! Verifying who somebody is: she says it, the service of the state is asked later and outside of
//! any transaction, and its answer is kept with its time and its source.
//!
//! Whatever does not match is one answer and the same work: the service is asked of every claim,
//! also of one that we could tell is wrong, and all is looked up before anything is decided.
//! Each that does not match counts with the look-ups that failed.

use chrono::TimeDelta;
use kit::access::{self, Caller};
use kit::audit::AuditRow;
use kit::due::{After, NewDue};
use kit::once::{self, Once, Request};
use kit::types::MemberId;
use kit::{Error, Result, Tx};
use uuid::Uuid;

use super::matching::{same_text, stored_name};
use super::{Failures, may_look_up};
use crate::domain::verification::{
    Answer, Claim, Facts, Holder, VERIFICATION_HOURS_MAX, VERIFICATIONS_PER_DAY_MAX, Verdict,
    verdict,
};
use crate::error::{self, Refusal};
use crate::store::limits::Counter;
use crate::store::people::{self, Blind, NewDocumentRow, PersonRow};
use crate::store::verifications::{self as store, AskedRow, NewVerification, VerificationRow};
use crate::vault::{Cell, SealingKey};
use crate::verifier::Verifier;
use crate::{Identity, due};

/// `verifyIdentity`: what the caller says she is, to be verified later.
///
/// # Errors
/// Unauthenticated; refused where nobody is asked, one still waits, or she was wrong or asked too
/// often.
pub async fn verify_identity(
    identity: &Identity,
    caller: &Caller,
    claim: &Claim,
    key: Uuid,
) -> Result<VerificationRow> {
    let verifier = Verifier::of(identity.settings.verification.as_ref());
    let source = verifier.source().ok_or(Refusal::VerificationOff)?;
    let result = identity
        .ctx
        .db
        .tx("verify_identity", async |tx| {
            let member = access::member(tx, caller).await?;
            let id = begin(identity, tx, member, (claim, source), key).await?;
            store::one(tx, member.id, id).await?.ok_or(Error::NotFound)
        })
        .await;
    result.map_err(|error| match error.constraint().as_deref() {
        Some("verification_one_asked") => waits().into(),
        _ => error,
    })
}

/// It goes away by itself, and so is recorded under no key.
fn waits() -> kit::Refusal {
    kit::Refusal::from(Refusal::VerificationWaits).transient()
}

async fn begin(
    identity: &Identity,
    tx: &Tx,
    member: access::Member,
    (claim, source): (&Claim, &'static str),
    key: Uuid,
) -> Result<Uuid> {
    let person = people::active(tx, member.id).await?;
    let person = person.ok_or(Refusal::MemberNotFound)?;
    // Her row of the count stays locked: who asks twice at once is asked one after the other.
    may_look_up(tx, member.id.0).await?;
    let request = Request {
        caller: member.id.0,
        key,
        // What is claimed is hashed under a key: alone, the hash of a number would tell it.
        hash: identity.vault.claim_hash(member.id.0, claim),
    };
    match once::begin(tx, &request).await? {
        Once::First => {}
        Once::Done(id) => {
            return Uuid::from_slice(&id).map_err(|_| Error::internal("a verification's id"));
        }
        Once::Refused(code) => {
            return error::recorded(&code);
        }
    }
    if store::waits(tx, member.id).await? {
        return Err(waits().into());
    }
    let in_day = Counter {
        scope: "verification_day",
        subject: member.id.0.as_bytes(),
        window: TimeDelta::days(1),
    };
    if in_day.add(tx, 1).await? > VERIFICATIONS_PER_DAY_MAX {
        let refusal = kit::Refusal::from(Refusal::TooManyVerifications);
        return Err(refusal.transient().into());
    }
    let id = tx.uuid();
    let data_key = identity.vault.data_key(person.member, &person.data_key)?;
    let new = NewVerification {
        id,
        member: member.id,
        kind: claim.kind().map(|kind| kind.code()),
        claim: data_key.seal(tx.ids(), claim_cell(id), claim.text().as_bytes())?,
        source,
        expires_at: tx.now() + TimeDelta::hours(VERIFICATION_HOURS_MAX),
    };
    store::insert(tx, new).await?;
    tx.plan(NewDue::new(due::VERIFICATION, id, tx.now()));
    tx.audit(member.audit("verify_identity", id));
    once::finish(tx, id.as_bytes())?;
    Ok(id)
}

/// Asks the service about a claim that waits. It is asked again, ever more rarely, while it does
/// not answer; after a day it is asked no more.
///
/// # Errors
/// When the service does not answer: the job is run again.
pub async fn ask(identity: &Identity, id: Uuid) -> Result<After> {
    let db = &identity.ctx.db;
    let asked = db
        .read("verification", async |tx| store::asked(tx, id).await)
        .await?;
    let Some(asked) = asked else {
        return Ok(After::Done);
    };
    let now = identity.ctx.clock.now();
    if now >= asked.expires_at {
        db.tx("verification_unanswered", async |tx| give_up(tx, id).await)
            .await?;
        return Ok(After::Done);
    }
    let (claim, _) = open(identity, &asked)?;
    let registered = stored_name(&identity.vault, &person_of(&asked))?;
    let verifier = Verifier::of(identity.settings.verification.as_ref());
    let question = (&claim, &registered);
    let answer = verifier.ask(&identity.http, question, now).await?;
    db.tx("verification_answered", async |tx| {
        take_in(identity, tx, id, &answer).await
    })
    .await?;
    Ok(After::Done)
}

async fn give_up(tx: &Tx, id: Uuid) -> Result<()> {
    if let Some(asked) = store::lock_asked(tx, id).await? {
        store::settle(tx, id, "unanswered").await?;
        tx.audit(audit("verification_unanswered", &asked));
        metrics::counter!("bashu_identity_verifications_total", "outcome" => "unanswered")
            .increment(1);
        tracing::error!("a verification was not answered within its day");
    }
    Ok(())
}

/// Takes the service's answer in.
async fn take_in(identity: &Identity, tx: &Tx, id: Uuid, answer: &Answer) -> Result<()> {
    let Some(seen) = store::asked(tx, id).await? else {
        return Ok(());
    };
    // The person before what is hers, as where she is forgotten or merged.
    if people::active(tx, MemberId(seen.member)).await?.is_none() {
        return Ok(());
    }
    let Some(asked) = store::lock_asked(tx, id).await? else {
        return Ok(());
    };
    let (claim, key) = open(identity, &asked)?;
    let registered = stored_name(&identity.vault, &person_of(&asked))?;
    let facts = Facts {
        belongs: matches!(answer, Answer::Match(_)),
        same_name: match &claim {
            Claim::Document { name, .. } => same_text(registered.as_str(), name),
            // The service was asked about the registered name.
            Claim::Network(_) => true,
        },
        holder: holder(identity, tx, &asked, (&claim, answer)).await?,
    };
    let outcome = verdict(facts);
    if outcome == Verdict::MatchedAnew {
        keep(identity, tx, &asked, (&claim, answer), &key).await?;
    }
    let (state, act) = match outcome {
        Verdict::Matched | Verdict::MatchedAnew => ("matched", "identity_verified"),
        Verdict::NotMatched => ("not_matched", "identity_not_verified"),
    };
    store::settle(tx, id, state).await?;
    tx.audit(audit(act, &asked));
    metrics::counter!("bashu_identity_verifications_total", "outcome" => state).increment(1);
    if outcome == Verdict::NotMatched {
        Failures(asked.member).count(tx).await?;
    }
    Ok(())
}

/// Whose what was shown is here.
async fn holder(
    identity: &Identity,
    tx: &Tx,
    asked: &AskedRow,
    (claim, answer): (&Claim, &Answer),
) -> Result<Holder> {
    let (owner, has_another) = match claim {
        Claim::Document { document, .. } => {
            let blind = identity.vault.blind_document(document)?;
            let known = people::by_documents(tx, &[blind]).await?;
            let own = people::documents(tx, MemberId(asked.member)).await?;
            let kind = i16::from(document.kind().code());
            let same_kind = own.iter().any(|one| one.kind == kind);
            (known.get(&blind).map(|person| person.member), same_kind)
        }
        Claim::Network(_) => {
            let blind = network_blind(identity, answer)?;
            (store::network_holder(tx, &blind).await?, false)
        }
    };
    Ok(match owner {
        Some(owner) if owner == asked.member => Holder::Herself,
        Some(_) => Holder::Another,
        None if has_another => Holder::HasAnother,
        None if has_no_name(claim, answer) => Holder::Another,
        None => Holder::Nobody,
    })
}

/// A 网号 was matched, and the service did not say which it is.
const fn has_no_name(claim: &Claim, answer: &Answer) -> bool {
    matches!(claim, Claim::Network(_)) && matches!(answer, Answer::Match(None))
}

/// What a 网号 is found by; of none, what nothing is found by.
fn network_blind(identity: &Identity, answer: &Answer) -> Result<Blind> {
    let id = match answer {
        Answer::Match(Some(id)) => id.as_str(),
        Answer::Match(None) | Answer::NoMatch => "",
    };
    identity.vault.blind_network(id)
}

/// What was shown is hers from now on.
async fn keep(
    identity: &Identity,
    tx: &Tx,
    asked: &AskedRow,
    (claim, answer): (&Claim, &Answer),
    key: &SealingKey,
) -> Result<()> {
    match claim {
        Claim::Document { document, .. } => {
            let id = tx.uuid();
            let cell = Cell::new("document", "number", id);
            let row = NewDocumentRow {
                id,
                kind: document.kind().code(),
                number: key.seal(tx.ids(), cell, document.number().as_bytes())?,
                blind: identity.vault.blind_document(document)?,
            };
            store::insert_document(tx, asked.member, row).await
        }
        Claim::Network(_) => {
            let blind = network_blind(identity, answer)?;
            store::insert_network(tx, asked.member, &blind).await
        }
    }
}

fn open(identity: &Identity, asked: &AskedRow) -> Result<(Claim, SealingKey)> {
    let key = identity.vault.data_key(asked.member, &asked.data_key)?;
    let text = key.open_text(claim_cell(asked.id), &asked.claim)?;
    let claim = Claim::stored(&text).ok_or_else(|| Error::internal("a claim that claims nothing"));
    Ok((claim?, key))
}

fn person_of(asked: &AskedRow) -> PersonRow {
    PersonRow {
        member: asked.member,
        data_key: asked.data_key.clone(),
        name: asked.name.clone(),
    }
}

fn audit(act: &'static str, asked: &AskedRow) -> AuditRow {
    AuditRow {
        member: Some(asked.member),
        ..AuditRow::system(act, asked.id)
    }
}

const fn claim_cell(verification: Uuid) -> Cell {
    Cell::new("verification", "claim", verification)
}
