//! Signing in by an OIDC issuer: a person is sent there, and comes back once within ten minutes, to
//! the client that sent her.
//!
//! What comes back stands in an address, which others may see or make: a client that begins a login
//! keeps a secret of its own, sends its hash, and is believed only with the secret itself.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use kit::access::Caller;
use kit::audit::AuditRow;
use kit::{Error, Result};
use uuid::Uuid;

use super::outside_logins::{Entered, challenge_of, count, enter, hash};
use crate::Identity;
use crate::domain::origin::Origin;
use crate::domain::subject::{OIDC_SECONDS, OutsideCode};
use crate::error::Refusal;
use crate::oidc::{self, IssuerSettings, Secrets};
use crate::store::login_methods::{self as store, OidcRequest};
use crate::store::people::Blind;
use crate::vault::Cell;

/// The longest state that is looked at, in bytes.
const STATE_BYTES_MAX: usize = 64;
/// A challenge as it is sent, in bytes.
const CHALLENGE_BYTES: usize = 43;

/// Where a person is sent, and what her client must see come back.
#[derive(Clone)]
pub struct Sent {
    pub url: String,
    /// The client compares it with what comes back: another one is another person's login.
    pub state: String,
    pub expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sent")
    }
}

/// The SHA-256 of a secret that the client keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge(Blind);

impl Challenge {
    /// Reads base64url without padding, 43 characters.
    ///
    /// # Errors
    /// [`Refusal::ChallengeInvalid`] for anything else.
    pub fn parse(text: &str) -> std::result::Result<Self, Refusal> {
        let invalid = Refusal::ChallengeInvalid;
        if text.len() != CHALLENGE_BYTES {
            return Err(invalid);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid)?;
        Blind::try_from(bytes).map(Self).map_err(|_| invalid)
    }
}

/// Sends a person to an issuer, to come back to who has the secret of this challenge.
///
/// # Errors
/// Refused where there is no such issuer, or it was asked too often; unavailable when the issuer
/// does not answer.
pub async fn begin(
    identity: &Identity,
    caller: &Caller,
    issuer: &str,
    Challenge(challenge): Challenge,
) -> Result<Sent> {
    let settings = known(identity, issuer)?;
    count(identity, caller).await?;
    let metadata = oidc::discover(&identity.http, settings).await?;
    identity
        .ctx
        .db
        .tx("begin_oidc_login", async |tx| {
            let random = || URL_SAFE_NO_PAD.encode(tx.ids().bytes32());
            let secrets = Secrets {
                state: random(),
                nonce: random(),
                verifier: random(),
            };
            let (id, expires_at) = (tx.uuid(), tx.now() + TimeDelta::seconds(OIDC_SECONDS));
            let text = format!("{}\n{}", secrets.nonce, secrets.verifier);
            let kek = identity.vault.kek();
            let request = OidcRequest {
                id,
                issuer: settings.name.clone(),
                sealed: kek.seal(tx.ids(), cell(id), text.as_bytes())?,
                challenge: challenge.to_vec(),
                expires_at,
            };
            store::insert_request(tx, &hash(&secrets.state), request).await?;
            tx.audit(AuditRow::system("begin_oidc_login", id));
            Ok(Sent {
                url: oidc::authorization_url(&metadata, settings, &secrets)?,
                state: secrets.state,
                expires_at,
            })
        })
        .await
}

/// Signs in whom an issuer has sent back. What was kept of her going is used up first: she comes
/// back once, whatever becomes of it. Who has not the secret uses nothing up.
///
/// # Errors
/// [`Refusal::OidcStateExpired`] for a state that is unknown, over, used or another client's;
/// [`Refusal::OutsideCodeInvalid`] when the issuer or its token is not to be believed; unavailable
/// when it does not answer.
pub async fn finish(
    identity: &Identity,
    (state, secret): (&str, &str),
    code: &OutsideCode,
    origin: &Origin,
) -> Result<Entered> {
    if state.len() > STATE_BYTES_MAX {
        return Err(Refusal::OidcStateExpired.into());
    }
    let challenge = challenge_of(secret).ok_or(Refusal::OidcStateExpired)?;
    let ctx = &identity.ctx;
    let request = ctx
        .db
        .tx("take_oidc_login", async |tx| {
            store::take_request(tx, &hash(state), &challenge).await
        })
        .await?;
    let request = request.ok_or(Refusal::OidcStateExpired)?;
    let settings = known(identity, &request.issuer)?;
    let kek = identity.vault.kek();
    let text = kek.open_text(cell(request.id), &request.sealed)?;
    let (nonce, verifier) = text
        .split_once('\n')
        .ok_or_else(|| Error::internal("a stored OIDC login makes no sense"))?;
    let secrets = Secrets {
        state: state.to_owned(),
        nonce: nonce.to_owned(),
        verifier: verifier.to_owned(),
    };
    let now = ctx.clock.now();
    let subject = oidc::subject_of(&identity.http, settings, (&secrets, code), now).await?;
    enter(identity, (&subject, Some(challenge)), origin).await
}

fn known<'a>(identity: &'a Identity, name: &str) -> Result<&'a IssuerSettings> {
    let known = identity.settings.oidc.iter().find(|it| it.name == name);
    Ok(known.ok_or(Refusal::LoginKindOff)?)
}

const fn cell(request: Uuid) -> Cell {
    Cell::new("oidc_request", "sealed", request)
}
