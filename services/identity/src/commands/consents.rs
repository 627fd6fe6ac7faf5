//! Giving a consent and taking it back: one command each, with one input more for giving, which is
//! the version of the text that was read.
//!
//! What is said is told to the others in the same transaction. Who processes reads it in a
//! transaction of its own and keeps it locked (`kit::consent`), so that a withdrawal comes before
//! what is done or after it.

use kit::access::{self, Caller};
use kit::once::{self, Once, Request};
use kit::types::{EntitlementId, LoginId, MemberId, Processing};
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use crate::domain::consent::{self, Consent, Text};
use crate::error::{self, Refusal};
use crate::publish;
use crate::store::consents as store;
use crate::store::people;

/// What a person says, and under which key.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub processing: Processing,
    pub word: Saying,
    pub key: Uuid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saying {
    /// She agrees to this version, which she was shown.
    Give {
        text_version: i32,
    },
    Withdraw,
}

impl Saying {
    const fn act(self) -> &'static str {
        match self {
            Self::Give { .. } => "give_consent",
            Self::Withdraw => "withdraw_consent",
        }
    }
}

/// A person gives a consent of her own, or takes it back; who she is. Said again, it changes
/// nothing.
///
/// # Errors
/// Unauthenticated; [`Refusal::ConsentTextOutdated`] when another text is in force than the one
/// she read.
pub async fn say(ctx: &Ctx, caller: &Caller, said: Said) -> Result<MemberId> {
    let Said {
        processing,
        word,
        key,
    } = said;
    let act = word.act();
    ctx.db
        .tx(act, async |tx| {
            let member = access::member(tx, caller).await?;
            store::lock_member(tx, member.id).await?;
            people::active(tx, member.id)
                .await?
                .ok_or(Refusal::MemberNotFound)?;
            let before = store::lock(tx, member.id, processing).await?;
            let asked = format!("{processing:?} {word:?}");
            let request = Request {
                caller: member.id.0,
                key,
                hash: once::hash(act, &[&asked]),
            };
            match once::begin(tx, &request).await? {
                Once::First => {}
                Once::Done(_) => return Ok(member.id),
                Once::Refused(code) => {
                    return error::recorded(&code);
                }
            }
            let texts = store::texts(tx).await?;
            let after = decide(tx, (member.id, before), &texts, said)?;
            if let Some(after) = &after {
                let text = text_of(&texts, after)?;
                store::save(tx, after, text, member.login).await?;
                tell(tx, after, &store::entitlements_of(tx, member.id).await?);
            }
            tx.audit(
                member
                    .audit(act, processing.purpose())
                    .detail(serde_json::json!({
                        "recipient": processing.recipient(),
                        "text_version": after.as_ref().map(|it| it.text_version),
                        "changed": after.is_some(),
                    })),
            );
            once::finish(tx, member.id.0.as_bytes())?;
            Ok(member.id)
        })
        .await
}

fn text_of<'a>(texts: &'a [Text], consent: &Consent) -> Result<&'a Text> {
    let wanted = (consent.processing, consent.text_version);
    let found = texts
        .iter()
        .find(|it| (it.processing, it.version) == wanted);
    found.ok_or_else(|| Error::internal("a consent to a text that is gone"))
}

fn decide(
    tx: &Tx,
    (member, before): (MemberId, Option<Consent>),
    texts: &[Text],
    said: Said,
) -> Result<Option<Consent>> {
    match said.word {
        Saying::Withdraw => Ok(before.and_then(Consent::withdraw)),
        Saying::Give { text_version } => {
            let text = consent::in_force(texts, said.processing, tx.now())
                .ok_or_else(|| Error::internal("nothing is asked for this purpose"))?;
            let new = || (tx.uuid(), member);
            Ok(consent::give(before, new, text_version, text)?)
        }
    }
}

fn tell(tx: &Tx, consent: &Consent, entitlements: &[EntitlementId]) {
    tx.emit(publish::consent(consent));
    if consent.processing.is_of_entitlements() {
        for entitlement in entitlements {
            tx.emit(publish::entitlement_consent(*entitlement, consent));
        }
    }
}

/// Takes back all that a person still consents to, since she is being forgotten, or since her
/// record is merged into another one: what she agreed to as one does not hold for the other, and
/// as the first she cannot take it back any more. It stays on record as withdrawn by this login.
///
/// # Errors
/// When the database fails.
pub(crate) async fn withdraw_all(tx: &Tx, member: MemberId, login: LoginId) -> Result<()> {
    let texts = store::texts(tx).await?;
    let entitlements = store::entitlements_of(tx, member).await?;
    for before in store::of_member(tx, member).await? {
        let Some(after) = before.withdraw() else {
            continue;
        };
        let text = text_of(&texts, &after)?;
        store::save(tx, &after, text, login).await?;
        tell(tx, &after, &entitlements);
    }
    Ok(())
}

/// Tells of entitlements that have just arrived, what their holders said before.
///
/// # Errors
/// When the database fails.
pub(crate) async fn tell_of_holders(tx: &Tx, holders: &[(EntitlementId, MemberId)]) -> Result<()> {
    for said in store::of_holders(tx, holders).await? {
        tx.emit(publish::entitlement_consent(
            said.entitlement,
            &said.consent,
        ));
    }
    Ok(())
}

/// Tells of texts that a migration has published since.
///
/// # Errors
/// When the database fails.
pub async fn announce_texts(ctx: &Ctx) -> Result<()> {
    ctx.db
        .tx("announce_consent_texts", async |tx| {
            for text in store::announce(tx).await? {
                tx.emit(publish::consent_text(&text));
                tx.audit(
                    kit::audit::AuditRow::system("publish_consent_text", text.processing.purpose())
                        .detail(serde_json::json!({
                            "recipient": text.processing.recipient(),
                            "version": text.version,
                        })),
                );
            }
            Ok(())
        })
        .await
}
