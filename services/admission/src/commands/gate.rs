//! Gates: made by people, bound to devices by a one-time code, switched off and on.

use ed25519_dalek::VerifyingKey;
use kit::access::{self, Caller};
use kit::audit::{AuditRow, require_sealing};
use kit::once::{self, Once, Request};
use kit::types::{GateId, VenueId};
use kit::{Ctx, Error, Result, Tx};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{as_absent, operator_or_manager};
use crate::domain::gate::{CODE_BYTES, Code, Details, Enrolled, Gate, new_code, split_code};
use crate::domain::venue::{NAME_CHARS_MAX, is_line};
use crate::error::{Refusal, recorded};
use crate::{publish, store};

/// A gate and the code that binds a device to it, readable only this once; `None` when the same
/// request was answered before.
#[derive(Clone, Debug)]
pub struct NewGate {
    pub gate: Gate,
    pub code: Option<String>,
}

/// Makes a gate of a venue and gives out its first code.
///
/// # Errors
/// When the caller may not or has not shown the second factor, the name is at fault or the venue is
/// full of gates.
pub async fn create_gate(
    ctx: &Ctx,
    caller: &Caller,
    key: Uuid,
    venue: VenueId,
    details: Details<'_>,
) -> Result<NewGate> {
    let Details { name, unattended } = details;
    if !is_line(name, NAME_CHARS_MAX) {
        return Err(Error::bad_input(
            "name",
            "须为一行 1 到 60 个字符",
            "must be 1 to 60 characters on one line",
        ));
    }
    let at = venue.to_string();
    let said: &[&str] = if unattended {
        &[&at, name, "unattended"]
    } else {
        &[&at, name]
    };
    let hash = once::hash("create_gate", said);
    ctx.db
        .tx("create_gate", async |tx| {
            let at = store::venue::lock(tx, venue).await?;
            let member = operator_or_manager(tx, caller, at.organisation).await?;
            access::stepped_up(tx, caller)?;
            match once::begin(
                tx,
                &Request {
                    caller: member.id.uuid(),
                    key,
                    hash,
                },
            )
            .await?
            {
                Once::First => {}
                Once::Done(id) => {
                    let id = Uuid::from_slice(&id).map_err(|_| Error::internal("no gate id"))?;
                    let gate = store::gate::load(tx, GateId(id)).await?;
                    return Ok(NewGate { gate, code: None });
                }
                Once::Refused(code) => return Err(recorded(&code)),
            }
            let gate = Gate {
                id: GateId(tx.uuid()),
                version: 0,
                venue,
                number: store::gate::next_number(tx, venue).await?,
                name: name.to_owned(),
                unattended,
                disabled: false,
                key: None,
                code: None,
            };
            let new = give_code(tx, gate).await?;
            tx.audit(member.audit("create_gate", new.gate.id));
            tx.emit(publish::gate(&new.gate));
            once::finish(tx, new.gate.id.uuid().as_bytes())?;
            Ok(new)
        })
        .await
}

/// Gives out another code for a gate: the device that uses it takes the place of the present one.
///
/// # Errors
/// When the caller may not or has not shown the second factor, or there is no such gate.
pub async fn issue_gate_code(ctx: &Ctx, caller: &Caller, id: GateId) -> Result<NewGate> {
    ctx.db
        .tx("issue_gate_code", async |tx| {
            let gate = store::gate::lock(tx, id).await?;
            let venue = store::venue::load(tx, gate.venue).await?;
            let member = operator_or_manager(tx, caller, venue.organisation)
                .await
                .map_err(as_absent)?;
            access::stepped_up(tx, caller)?;
            let new = give_code(tx, gate).await?;
            tx.audit(member.audit("issue_gate_code", new.gate.id));
            tx.emit(publish::gate(&new.gate));
            Ok(new)
        })
        .await
}

/// Whoever has the code is the gate: none is given while audit rows wait for their seal.
async fn give_code(tx: &Tx, gate: Gate) -> Result<NewGate> {
    require_sealing(tx).await?;
    let mut random = [0; CODE_BYTES];
    tx.ids().fill(&mut random);
    let (selector, secret) = new_code(random);
    let code = Code {
        secret_hash: hash_secret(&selector, &secret),
        selector,
    };
    let text = format!("{}-{secret}", code.selector);
    let gate = gate.with_code(&code, tx.now());
    store::gate::save(tx, &gate).await?;
    Ok(NewGate {
        gate,
        code: Some(text),
    })
}

fn hash_secret(selector: &str, secret: &str) -> [u8; 32] {
    Sha256::digest(format!("gate-code/{selector}/{secret}")).into()
}

/// Binds a device's own key to the gate that its code names. Nobody is signed in: the code is the
/// right to do so. The same code and key again are answered the same.
///
/// # Errors
/// When the code is wrong or has expired, or the key is none.
pub async fn enrol_gate(ctx: &Ctx, typed: &str, public: [u8; 32]) -> Result<Gate> {
    let strong = VerifyingKey::from_bytes(&public).is_ok_and(|key| !key.is_weak());
    if !strong {
        return Err(Error::bad_input(
            "publicKey",
            "须为 Ed25519 公钥",
            "must be an Ed25519 public key",
        ));
    }
    let (selector, secret) = split_code(typed).ok_or(Refusal::EnrolmentCodeWrong)?;
    let code = Code {
        secret_hash: hash_secret(&selector, &secret),
        selector,
    };
    let enrolled = ctx
        .db
        .tx("enrol_gate", async |tx| {
            let gate = store::gate::lock_by_selector(tx, &code.selector)
                .await?
                .ok_or(Refusal::EnrolmentCodeWrong)?;
            let enrolled = gate.enrol(&code, public, tx.now())?;
            match &enrolled {
                Enrolled::Bound(gate) => {
                    store::gate::save(tx, gate).await?;
                    tx.audit(AuditRow::system("enrol_gate", gate.id));
                    tx.emit(publish::gate(gate));
                }
                Enrolled::Already(_) => {}
                // The wrong try is kept, so it is no error in here.
                Enrolled::Wrong(gate) => store::gate::save(tx, gate).await?,
            }
            Ok(enrolled)
        })
        .await?;
    match enrolled {
        Enrolled::Bound(gate) | Enrolled::Already(gate) => Ok(gate),
        Enrolled::Wrong(_) => Err(Refusal::EnrolmentCodeWrong.into()),
    }
}

/// Switches a gate off, or on again.
///
/// # Errors
/// When the caller may not, or there is no such gate.
pub async fn switch_gate(ctx: &Ctx, caller: &Caller, id: GateId, disabled: bool) -> Result<Gate> {
    ctx.db
        .tx("switch_gate", async |tx| {
            let gate = store::gate::lock(tx, id).await?;
            let venue = store::venue::load(tx, gate.venue).await?;
            let member = operator_or_manager(tx, caller, venue.organisation)
                .await
                .map_err(as_absent)?;
            let Some(gate) = gate.clone().switched(disabled) else {
                return Ok(gate);
            };
            store::gate::save(tx, &gate).await?;
            let act = if disabled {
                "disable_gate"
            } else {
                "enable_gate"
            };
            tx.audit(member.audit(act, gate.id));
            tx.emit(publish::gate(&gate));
            Ok(gate)
        })
        .await
}
