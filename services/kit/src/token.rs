//! The access token: a JWT of at most ten minutes that says who is signed in, and nothing about
//! what they may do. Identity signs it; the gateway and every subgraph verify it again.
//!
//! Whether the login still counts is not decided here but by [`crate::access`], from the replica
//! of withdrawn logins. Keys come from identity's key set, already verified up to its root.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::types::{LoginId, MemberId, Union};
use crate::{Error, Result};

/// The longest life of a token, in seconds.
pub const LIFE_SECONDS_MAX: i64 = 600;
/// How long a second factor that was shown counts, in seconds.
pub const STEP_UP_SECONDS_MAX: i64 = 600;
/// What two clocks of one union may differ by, in seconds.
pub const CLOCK_SKEW_SECONDS_MAX: i64 = 5;
/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 2_048;
/// Tokens remembered, at most; beyond that the others are verified each time.
const REMEMBERED_MAX: usize = 50_000;
/// The longest key id, in bytes.
pub const KEY_ID_BYTES_MAX: usize = 32;
/// The header `typ` of an access token: an ID token is none.
pub const TYPE: &str = "at+jwt";
/// The claim `aud`.
pub const AUDIENCE: &str = "bashu";
/// The claim `kind` of a person's token: a device has none of these.
pub const KIND_MEMBER: &str = "member";

/// The claim `iss` of a union's tokens: `bashu-50` or `bashu-51`.
pub fn issuer(union: Union) -> String {
    format!("bashu-{}", union.code())
}

/// A key that verifies access tokens, as the root-signed key set lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// A [`credential::keyset::KeyId`] in text.
    pub kid: String,
    /// The Ed25519 public key.
    pub public: [u8; 32],
    pub not_before: DateTime<Utc>,
    pub not_after: DateTime<Utc>,
}

/// The access keys in force, and the tokens that they were seen to have signed: to verify a
/// signature costs more than all else that is done to a token. All clones see a refresh at once.
#[derive(Clone, Default)]
pub struct AccessKeys(Arc<Shared>);

#[derive(Default)]
struct Shared {
    keys: RwLock<Arc<[AccessKey]>>,
    /// By the token's digest. Whoever has no good token cannot put one in.
    signed: Mutex<HashMap<[u8; 32], Signed>>,
    /// When expired ones were last looked for: once a second is enough, however full it is.
    swept_at: AtomicI64,
}

/// A token whose signature is right: its times and its key are looked at on every use.
#[derive(Clone)]
struct Signed {
    union: Union,
    kid: String,
    public: [u8; 32],
    claims: Arc<Claims>,
}

impl AccessKeys {
    pub fn new(keys: impl IntoIterator<Item = AccessKey>) -> Self {
        let all = Self::default();
        all.replace(keys);
        all
    }

    /// Puts another key set in force: a key that is no longer listed is dead at once.
    pub fn replace(&self, keys: impl IntoIterator<Item = AccessKey>) {
        let mut known = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        *known = keys.into_iter().collect();
    }

    /// Whether any key has been loaded; before that nobody can be told from nobody.
    pub fn is_loaded(&self) -> bool {
        !self.all().is_empty()
    }

    pub fn all(&self) -> Arc<[AccessKey]> {
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn find(&self, kid: &str, now: DateTime<Utc>) -> Option<AccessKey> {
        let keys = self.all();
        let in_force = |key: &&AccessKey| key.not_before <= now && now < key.not_after;
        keys.iter()
            .filter(|key| key.kid == kid)
            .find(in_force)
            .cloned()
    }

    /// The token's content, when one of this union was seen under a key that is still in force.
    fn remembered(&self, digest: &[u8; 32], union: Union, now: DateTime<Utc>) -> Option<Signed> {
        let one = self.signed().get(digest).cloned()?;
        let key = self.find(&one.kid, now)?;
        (one.union == union && one.public == key.public).then_some(one)
    }

    fn remember(&self, digest: [u8; 32], one: Signed, now: DateTime<Utc>) {
        let mut all = self.signed();
        let now = now.timestamp();
        if all.len() >= REMEMBERED_MAX && self.0.swept_at.swap(now, Ordering::Relaxed) != now {
            all.retain(|_, one| one.claims.exp > now);
        }
        if all.len() < REMEMBERED_MAX {
            all.insert(digest, one);
        }
    }

    fn signed(&self) -> MutexGuard<'_, HashMap<[u8; 32], Signed>> {
        self.0.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.all();
        f.debug_list()
            .entries(keys.iter().map(|key| &key.kid))
            .finish()
    }
}

/// What a verified token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    pub member: MemberId,
    pub login: LoginId,
    pub expires_at: DateTime<Utc>,
    /// Until when the second factor counts that was shown; none was, or it is over, when absent.
    pub stepped_up_until: Option<DateTime<Utc>>,
}

/// What goes into a token.
#[derive(Clone, Copy, Debug)]
pub struct NewToken {
    pub union: Union,
    pub member: MemberId,
    pub login: LoginId,
    /// The token's own id, `jti`.
    pub id: Uuid,
    pub issued_at: DateTime<Utc>,
    /// At most [`LIFE_SECONDS_MAX`].
    pub life_seconds: i64,
    /// At most [`STEP_UP_SECONDS_MAX`] after `issued_at`.
    pub stepped_up_until: Option<DateTime<Utc>>,
}

/// The key that signs access tokens; identity alone has one.
#[derive(Clone)]
pub struct SigningKey {
    kid: String,
    key: EncodingKey,
}

impl SigningKey {
    /// # Errors
    /// When the key cannot be written in the form that signs.
    pub fn new(kid: String, key: &ed25519_dalek::SigningKey) -> Result<Self> {
        // RFC 8410: the 32 secret bytes behind a fixed prefix are the PKCS#8 form.
        const PKCS8_PREFIX: [u8; 16] = [
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
            0x04, 0x20,
        ];
        if kid.is_empty() || kid.len() > KEY_ID_BYTES_MAX {
            return Err(Error::internal("an access key without a proper id"));
        }
        let mut der = PKCS8_PREFIX.to_vec();
        der.extend_from_slice(key.as_bytes());
        Ok(Self {
            kid,
            key: EncodingKey::from_ed_der(&der),
        })
    }

    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub(crate) fn encoding(&self) -> &EncodingKey {
        &self.key
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// The three header fields, and no other: `jku`, `x5u`, `jwk` and `crit` make a token bad.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictHeader {
    alg: String,
    typ: String,
    kid: String,
}

/// Numbers are whole and no strings; a repeated claim does not parse.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    login: Uuid,
    kind: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
    /// Until when a second factor counts; a verifier that knows nothing of it reads past it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step_up: Option<i64>,
}

/// Signs a token.
///
/// # Errors
/// When the life asked for is no life of an access token, or signing fails.
pub fn sign(new: &NewToken, key: &SigningKey) -> Result<String> {
    if new.life_seconds <= 0 || new.life_seconds > LIFE_SECONDS_MAX {
        return Err(Error::internal(
            "an access token lives for at most ten minutes",
        ));
    }
    let issued_at = new.issued_at.timestamp();
    let step_up = new.stepped_up_until.map(|until| until.timestamp());
    if step_up.is_some_and(|until| until > issued_at + STEP_UP_SECONDS_MAX) {
        return Err(Error::internal("a second factor counts for ten minutes"));
    }
    let claims = Claims {
        iss: issuer(new.union),
        aud: AUDIENCE.to_owned(),
        sub: new.member.uuid(),
        login: new.login.uuid(),
        kind: KIND_MEMBER.to_owned(),
        iat: issued_at,
        nbf: issued_at,
        exp: issued_at + new.life_seconds,
        jti: new.id,
        step_up,
    };
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(key.kid.clone());
    jsonwebtoken::encode(&header, &claims, &key.key)
        .map_err(|_| Error::internal("an access token could not be signed"))
}

/// Verifies a token of this union at `now`. The reason in the error is for logs; a caller is
/// told only that they are not signed in.
///
/// # Errors
/// [`Error::Unauthenticated`] for everything that is not a token of ours in force.
pub fn verify(
    token: &str,
    union: Union,
    keys: &AccessKeys,
    now: DateTime<Utc>,
) -> Result<Verified> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Error::Unauthenticated("a token that is too long"));
    }
    let digest = Sha256::digest(token).into();
    if let Some(one) = keys.remembered(&digest, union, now) {
        return said(&one.claims, now);
    }
    let one = signature_checked(token, union, keys, now)?;
    let verified = said(&one.claims, now)?;
    keys.remember(digest, one, now);
    Ok(verified)
}

/// Everything about a token that does not change while its key is in force.
fn signature_checked(
    token: &str,
    union: Union,
    keys: &AccessKeys,
    now: DateTime<Utc>,
) -> Result<Signed> {
    let kid = checked_key_id(token)?;
    let key = keys
        .find(&kid, now)
        .ok_or(Error::Unauthenticated("an unknown or retired key"))?;
    let decoding = DecodingKey::from_ed_components(&URL_SAFE_NO_PAD.encode(key.public))
        .map_err(|_| Error::internal("an access key that is no Ed25519 key"))?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[issuer(union)]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    // The library reads the machine's clock; times are checked at every use, against the one given.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &decoding, &validation)
        .map_err(|_| Error::Unauthenticated("a token that does not verify"))?
        .claims;
    if claims.kind != KIND_MEMBER {
        return Err(Error::Unauthenticated("a token of another kind"));
    }
    Ok(Signed {
        union,
        kid,
        public: key.public,
        claims: Arc::new(claims),
    })
}

/// What a token says that is good at `now`.
fn said(claims: &Claims, now: DateTime<Utc>) -> Result<Verified> {
    check_times(claims, now.timestamp())?;
    let instant = |seconds| {
        DateTime::from_timestamp(seconds, 0)
            .ok_or(Error::Unauthenticated("an instant out of range"))
    };
    Ok(Verified {
        member: MemberId(claims.sub),
        login: LoginId(claims.login),
        expires_at: instant(claims.exp)?,
        stepped_up_until: claims.step_up.map(instant).transpose()?,
    })
}

fn checked_key_id(token: &str) -> Result<String> {
    let (encoded, _) = token
        .split_once('.')
        .ok_or(Error::Unauthenticated("no token"))?;
    let decoded = URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| Error::Unauthenticated("a header that does not decode"))?;
    let header: StrictHeader = serde_json::from_slice(&decoded)
        .map_err(|_| Error::Unauthenticated("a header with other fields than ours"))?;
    if header.alg != "EdDSA" || header.typ != TYPE || header.kid.len() > KEY_ID_BYTES_MAX {
        return Err(Error::Unauthenticated(
            "another algorithm, type or key id than ours",
        ));
    }
    Ok(header.kid)
}

fn check_times(claims: &Claims, now: i64) -> Result<()> {
    let life = claims.exp.checked_sub(claims.iat);
    if claims.iat < 0 || !life.is_some_and(|life| life > 0 && life <= LIFE_SECONDS_MAX) {
        return Err(Error::Unauthenticated("a token that lives too long"));
    }
    // A token that has ended by this clock has ended; the skew is allowed at its beginning only,
    // where the signer's clock may be ahead.
    if claims.exp <= now {
        return Err(Error::Unauthenticated("an expired token"));
    }
    let latest = now.saturating_add(CLOCK_SKEW_SECONDS_MAX);
    if claims.nbf > latest || claims.iat > latest || claims.nbf > claims.exp {
        return Err(Error::Unauthenticated("a token from the future"));
    }
    let longest = claims.iat.saturating_add(STEP_UP_SECONDS_MAX);
    if claims.step_up.is_some_and(|until| until > longest) {
        return Err(Error::Unauthenticated(
            "a second factor that counts too long",
        ));
    }
    if claims.nbf < claims.iat {
        return Err(Error::Unauthenticated(
            "a token that counts before it was signed",
        ));
    }
    Ok(())
}
