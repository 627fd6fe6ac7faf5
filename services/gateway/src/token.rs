//! Access tokens: strict reading and checking of one compact JWS against known keys; the answer
//! follows from token, keys and time alone. It knows no roles and no withdrawn logins: every
//! subgraph checks the token again against its own replicas.
//!
//! Nothing here is negotiable: one algorithm, one type, one issuer, one audience. A header field
//! that is not expected (`jku`, `x5u`, `jwk`, `crit`) refuses the token, and so does a number that
//! is no plain integer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::config::Union;

/// Longest token.
const TOKEN_BYTES_MAX: usize = 4_096;
/// Tokens whose signature is remembered, at most; beyond that the others are verified each time.
const TOKENS_MAX: usize = 50_000;
/// Longest key id.
const KEY_ID_BYTES_MAX: usize = 128;
/// Longest that a token may still be valid.
const LIFETIME_S_MAX: u64 = 600;
/// How far the issuer's clock may be ahead of ours. An expiry is never stretched.
const CLOCK_AHEAD_S_MAX: u64 = 5;

const ALGORITHM: &str = "EdDSA";
const TYPE: &str = "at+jwt";
const AUDIENCE: &str = "bashu";

/// Public keys by key id.
pub(crate) type Keys = HashMap<String, VerifyingKey>;

/// Whom a good token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The signed-in device; the member where the token names no login.
    pub(crate) login: String,
}

/// Why a token is bad. For the log alone: the client learns only that it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenFlaw {
    #[error("malformed")]
    Malformed,
    #[error("other algorithm or type")]
    Header,
    #[error("unknown key")]
    UnknownKey,
    #[error("wrong signature")]
    Signature,
    #[error("other issuer or audience")]
    Purpose,
    #[error("not valid now")]
    Time,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    exp: u64,
    nbf: Option<u64>,
    iat: Option<u64>,
    login: Option<String>,
}

/// A token whose signature is right: what else it says must be checked at every use.
#[derive(Debug)]
struct Signed {
    /// Whose signature it is.
    key: VerifyingKey,
    key_id: String,
    claims: Claims,
}

/// Checks tokens as one union's, and remembers of the good ones that their signature is right:
/// to verify it costs more than all else that is done to a usual request. Time and keys are
/// looked at every time.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// The union's, as its tokens name it.
    issuer: String,
    /// By the token's digest. Whoever has no good token cannot put one in.
    signed: Mutex<HashMap<[u8; 32], Arc<Signed>>>,
    /// When expired ones were last looked for: once a second is enough, however full it is.
    swept_at_s: AtomicU64,
}

impl Tokens {
    pub(crate) fn new(union: Union) -> Self {
        Self {
            issuer: format!("bashu-{}", union.number()),
            signed: Mutex::default(),
            swept_at_s: AtomicU64::new(0),
        }
    }

    /// Whom `token` speaks for at `now_s`.
    pub(crate) fn check(&self, token: &str, keys: &Keys, now_s: u64) -> Result<Caller, TokenFlaw> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenFlaw::Malformed);
        }
        let digest = Sha256::digest(token).into();
        let known = self.all().get(&digest).cloned();
        // A key that was withdrawn, or given to another id, takes its tokens with it.
        let known = known.filter(|one| keys.get(&one.key_id) == Some(&one.key));
        if let Some(one) = known {
            return check_claims(&one.claims, &self.issuer, now_s);
        }
        let one = verify(token, keys)?;
        let caller = check_claims(&one.claims, &self.issuer, now_s)?;
        let mut all = self.all();
        if all.len() >= TOKENS_MAX && self.swept_at_s.swap(now_s, Ordering::Relaxed) != now_s {
            all.retain(|_, one| one.claims.exp > now_s);
        }
        if all.len() < TOKENS_MAX {
            all.insert(digest, Arc::new(one));
        }
        Ok(caller)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<Signed>>> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn verify(token: &str, keys: &Keys) -> Result<Signed, TokenFlaw> {
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenFlaw::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenFlaw::Malformed)?;
    let header: Header = read(header)?;
    if header.alg != ALGORITHM || header.typ != TYPE {
        return Err(TokenFlaw::Header);
    }
    if header.kid.is_empty() || header.kid.len() > KEY_ID_BYTES_MAX {
        return Err(TokenFlaw::Malformed);
    }
    let key = keys.get(&header.kid).ok_or(TokenFlaw::UnknownKey)?;
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| TokenFlaw::Malformed)?;
    let signature = Signature::from_slice(&signature).map_err(|_| TokenFlaw::Signature)?;
    key.verify_strict(signed.as_bytes(), &signature)
        .map_err(|_| TokenFlaw::Signature)?;
    Ok(Signed {
        key: *key,
        key_id: header.kid,
        claims: read(claims)?,
    })
}

fn check_claims(claims: &Claims, issuer: &str, now_s: u64) -> Result<Caller, TokenFlaw> {
    if claims.iss != issuer || claims.aud != AUDIENCE || claims.sub.is_empty() {
        return Err(TokenFlaw::Purpose);
    }
    let latest = now_s.saturating_add(CLOCK_AHEAD_S_MAX);
    let is_current = claims.exp > now_s
        && claims.exp <= latest.saturating_add(LIFETIME_S_MAX)
        && claims.nbf.is_none_or(|from| from <= latest)
        && claims.iat.is_none_or(|at| at <= latest);
    if is_current {
        Ok(Caller {
            login: claims.login.as_ref().unwrap_or(&claims.sub).clone(),
        })
    } else {
        Err(TokenFlaw::Time)
    }
}

fn read<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, TokenFlaw> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenFlaw::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenFlaw::Malformed)
}

#[cfg(test)]
mod tests;
