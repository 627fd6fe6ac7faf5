//! Signing in by what another party says somebody is.
//!
//! Whoever it names first is nobody's: she gets a ticket, and with it and a code that her phone was
//! sent she is linked to the person that the phone belongs to. From then on the other party's word
//! signs her in. The party is asked before a transaction begins, and never twice with one code: it
//! is good once.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use kit::access::{self, Caller};
use kit::audit::AuditRow;
use kit::{Ctx, Result, Tx};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::logins::{Opened, Session, open, proven};
use super::{notices, settled};
use crate::domain::identifier::Phone;
use crate::domain::notice::Notice;
use crate::domain::origin::Origin;
use crate::domain::subject::{METHODS_MAX, OutsideCode, Subject, TICKET_SECONDS};
use crate::error::Refusal;
use crate::store::limits::Counter;
use crate::store::login_methods::{self as store, NewMethodRow, Ticket};
use crate::store::people::{Blind, PersonRow};
use crate::vault::{Cell, Vault};
use crate::{Identity, wechat};

/// The longest ticket that is looked at, in bytes.
const TICKET_BYTES_MAX: usize = 64;
/// The shortest secret of a client that counts, in bytes: 256 bits in base64.
pub const SECRET_BYTES_MIN: usize = 43;
/// The longest secret of a client that is looked at, in bytes.
pub const SECRET_BYTES_MAX: usize = 128;

/// What a person's phone is linked by; good once.
#[derive(Clone)]
pub struct Link {
    pub ticket: String,
    pub expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}

/// What comes of another party's word.
#[derive(Clone, Debug)]
pub enum Entered {
    /// It is somebody's, who is signed in.
    In(Session),
    /// It is nobody's yet.
    Unknown(Link),
}

/// Signs in by the code that `wx.login` gave a mini-program.
///
/// # Errors
/// Refused where there is no mini-program, the code is not good, WeChat bars the person, or it was
/// asked too often; unavailable when WeChat does not answer.
pub async fn login_with_wechat(
    identity: &Identity,
    caller: &Caller,
    code: &OutsideCode,
    origin: &Origin,
) -> Result<Entered> {
    let settings = identity.settings.wechat.as_ref();
    let settings = settings.ok_or(Refusal::LoginKindOff)?;
    count(identity, caller).await?;
    let subject = wechat::subject_of(&identity.http, settings, code).await?;
    enter(identity, (&subject, None), origin).await
}

/// Counts who asks other parties, by the address: their own limits are the whole union's.
pub(crate) async fn count(identity: &Identity, caller: &Caller) -> Result<()> {
    let address = identity.vault.blind_address(&caller.client)?;
    let asked_here = Counter {
        scope: "outside_login_address",
        subject: &address,
        window: TimeDelta::hours(1),
    };
    let most = identity.settings.codes_per_address_hour_max;
    identity
        .ctx
        .db
        .tx("count_outside_login", async |tx| {
            if asked_here.add(tx, 1).await? > most {
                return Err(kit::Refusal::from(Refusal::TooManyLogins)
                    .transient()
                    .into());
            }
            Ok(())
        })
        .await
}

/// Signs in whom another party has named, or gives her a ticket; that is good for the client alone
/// that has the secret of the challenge, where there is one.
pub(crate) async fn enter(
    identity: &Identity,
    (subject, challenge): (&Subject, Option<Blind>),
    origin: &Origin,
) -> Result<Entered> {
    let vault = &identity.vault;
    identity
        .ctx
        .db
        .tx("outside_login", async |tx| {
            let blind = vault.blind_subject(subject)?;
            if let Some(person) = store::by_subject(tx, &blind).await? {
                let by = (Opened::ByWord, origin);
                return Ok(Entered::In(open(identity, tx, &person, by).await?));
            }
            let ticket = URL_SAFE_NO_PAD.encode(tx.ids().bytes32());
            let (id, expires_at) = (tx.uuid(), tx.now() + TimeDelta::seconds(TICKET_SECONDS));
            let text = subject.text();
            let sealed = vault
                .kek()
                .seal(tx.ids(), ticket_cell(id), text.as_bytes())?;
            let row = Ticket {
                hash: hash(&ticket),
                id,
                kind: subject.kind(),
                blind,
                subject: sealed,
                challenge,
                expires_at,
            };
            store::insert_ticket(tx, row).await?;
            tx.audit(AuditRow::system("outside_login_unknown", id));
            Ok(Entered::Unknown(Link { ticket, expires_at }))
        })
        .await
}

/// Links whom another party has named to the person whose phone was sent this code, and signs her
/// in. A ticket of an OIDC login needs the secret of the client that began it. She is told of the
/// link, wherever it was made.
///
/// # Errors
/// [`Refusal::LinkExpired`] for a ticket that is unknown, over, used or another client's;
/// [`Refusal::LoginMethodsFull`] for who has linked as many as there can be; as for a login
/// otherwise.
pub async fn link_login(
    identity: &Identity,
    (ticket, secret): (&str, Option<&str>),
    (phone, given): (&Phone, &str),
    origin: &Origin,
) -> Result<Session> {
    if ticket.len() > TICKET_BYTES_MAX {
        return Err(Refusal::LinkExpired.into());
    }
    let challenge = secret.and_then(challenge_of);
    let hash = hash(ticket);
    let result = identity
        .ctx
        .db
        .tx("link_login", async |tx| {
            let Some(ticket) = store::lock_ticket(tx, &hash, challenge.as_ref()).await? else {
                return Ok(Err(Refusal::LinkExpired));
            };
            let person = match proven(tx, &identity.vault, phone, given).await? {
                Ok(person) => person,
                Err(why) => return Ok(Err(why)),
            };
            // Her code's row is locked, so that she links one at a time.
            if store::count_of(tx, person.member).await? >= METHODS_MAX {
                return Ok(Err(Refusal::LoginMethodsFull));
            }
            store::use_ticket(tx, &hash).await?;
            let id = link(tx, &identity.vault, &person, &ticket).await?;
            let by = (Opened::ByPhone, origin);
            let session = open(identity, tx, &person, by).await?;
            let told = Notice::LoginLinked {
                login: session.login.0,
                kind: ticket.kind,
                at: tx.now(),
            };
            let told = notices::about(session.member, &id.to_string(), told);
            notices::tell(tx, &[told]).await?;
            Ok(Ok(session))
        })
        .await;
    match settled(result) {
        // Two tickets of one subject, and the other one was first.
        Err(error) if error.constraint().as_deref() == Some("login_method_blind_unique") => {
            Err(Refusal::LinkExpired.into())
        }
        other => other,
    }
}

/// Writes that what a ticket stands for signs this person in from now on; the new way's id.
async fn link(tx: &Tx, vault: &Vault, person: &PersonRow, ticket: &Ticket) -> Result<Uuid> {
    let key = vault.data_key(person.member, &person.data_key)?;
    let subject = subject_of(vault, ticket)?;
    let id = tx.uuid();
    let sealed = key.seal(tx.ids(), method_cell(id), subject.text().as_bytes())?;
    let row = NewMethodRow {
        id,
        member: person.member,
        kind: ticket.kind,
        subject: sealed,
        blind: ticket.blind,
    };
    store::insert(tx, row).await?;
    tx.audit(
        AuditRow {
            member: Some(person.member),
            ..AuditRow::system("link_login", id)
        }
        .detail(serde_json::json!({ "kind": ticket.kind.as_str() })),
    );
    Ok(id)
}

/// Takes a way to sign in away that is one's own and no phone.
///
/// # Errors
/// Unauthenticated; refused when there is no such way.
pub async fn unlink_login_method(ctx: &Ctx, caller: &Caller, id: Uuid) -> Result<Uuid> {
    ctx.db
        .tx("unlink_login_method", async |tx| {
            let member = access::member(tx, caller).await?;
            if !store::remove(tx, member.id, id).await? {
                return Err(Refusal::LoginMethodNotFound.into());
            }
            tx.audit(member.audit("unlink_login_method", id));
            Ok(id)
        })
        .await
}

fn subject_of(vault: &Vault, ticket: &Ticket) -> Result<Subject> {
    let text = vault
        .kek()
        .open_text(ticket_cell(ticket.id), &ticket.subject)?;
    Subject::stored(ticket.kind, &text).ok_or_else(|| kit::Error::internal("a ticket names nobody"))
}

const fn ticket_cell(ticket: Uuid) -> Cell {
    Cell::new("login_ticket", "subject", ticket)
}

const fn method_cell(method: Uuid) -> Cell {
    Cell::new("login_method", "subject", method)
}

/// What the secret of a client answers; `None` for one that is too short to be a secret (RFC 7636
/// §4.1 has the same lengths), or too long to be looked at.
pub(crate) fn challenge_of(secret: &str) -> Option<Blind> {
    (SECRET_BYTES_MIN..=SECRET_BYTES_MAX)
        .contains(&secret.len())
        .then(|| hash(secret))
}

/// 256 random bits: a plain hash keeps them as well as a slow one would.
pub(crate) fn hash(secret: &str) -> Blind {
    Sha256::digest(secret.as_bytes()).into()
}
