//! What identity tells one service about a member, through the member's own hands: sealed to that
//! service's public key (HPKE, RFC 9180, base mode), signed by an access key of the union, bound to
//! the member, to the service and to a few minutes.
//!
//! It deliberately does not say how often one may be used: who opens it knows its id and counts.
//! Sealed alone it would prove nothing, since the public key is no secret; signed alone the member
//! and all between would read it.

use std::convert::Infallible;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::token::{AccessKeys, CLOCK_SKEW_SECONDS_MAX, KEY_ID_BYTES_MAX, SigningKey, issuer};
use crate::types::{MemberId, Union};
use crate::{Error, Ids, Result};

/// The longest life of a sealed word, in seconds.
pub const SEALED_SECONDS_MAX: i64 = 600;
/// The longest one that is looked at, in bytes.
pub const SEALED_BYTES_MAX: usize = 2_048;
/// The longest text that is sealed, in bytes.
pub const TEXT_BYTES_MAX: usize = 512;
/// The header `typ`: an access token is none of these, and none of these is one.
const TYPE: &str = "sealed+jwt";
/// What both sides say before they seal or open.
const INFO: &[u8] = b"bashu sealed word v1";
const KEY_BYTES: usize = 32;

/// The public half of a service's key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(<X25519HkdfSha256 as Kem>::PublicKey);

/// A service's own key.
#[derive(Clone)]
pub struct PrivateKey(<X25519HkdfSha256 as Kem>::PrivateKey);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.text())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

impl PublicKey {
    /// From 32 bytes in base64; `None` when it is not that.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.trim()).ok()?;
        Deserializable::from_bytes(&bytes).ok().map(Self)
    }

    /// In base64, as it stands in configurations.
    pub fn text(&self) -> String {
        STANDARD.encode(self.0.to_bytes())
    }
}

impl PrivateKey {
    /// From 32 bytes in base64, which may be any; `None` when it is not that.
    pub fn parse(text: &SecretString) -> Option<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(text.expose_secret().trim()).ok()?);
        if bytes.len() != KEY_BYTES {
            return None;
        }
        Deserializable::from_bytes(&bytes).ok().map(Self)
    }

    /// What others seal to it with.
    pub fn public(&self) -> PublicKey {
        PublicKey(X25519HkdfSha256::sk_to_pk(&self.0))
    }
}

/// What is sealed, and for whom.
#[derive(Clone, Copy)]
pub struct NewSealed<'a> {
    pub union: Union,
    /// The service that is to open it.
    pub audience: &'static str,
    /// In whose hands it is.
    pub member: MemberId,
    pub id: Uuid,
    pub issued_at: DateTime<Utc>,
    /// At most [`SEALED_SECONDS_MAX`].
    pub life_seconds: i64,
    /// At most [`TEXT_BYTES_MAX`].
    pub text: &'a str,
}

impl fmt::Debug for NewSealed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSealed")
            .field("audience", &self.audience)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Who opens it, and with what.
#[derive(Clone, Copy, Debug)]
pub struct Opener<'a> {
    pub union: Union,
    /// The service that opens it.
    pub audience: &'static str,
    pub key: &'a PrivateKey,
    pub access_keys: &'a AccessKeys,
}

/// What was sealed.
#[derive(Clone)]
pub struct Opened {
    pub id: Uuid,
    pub member: MemberId,
    pub expires_at: DateTime<Utc>,
    pub text: Zeroizing<String>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Why one is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// It is none of ours, for another service, or was changed: which is nobody's business.
    #[error("it is no sealed word for this service")]
    Invalid,
    #[error("its time is over")]
    Expired,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictHeader {
    alg: String,
    typ: String,
    kid: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    iat: i64,
    exp: i64,
    jti: Uuid,
    /// The encapsulated key, then the ciphertext, in base64url.
    sealed: String,
}

impl Claims {
    /// What the ciphertext is bound to beside the signature.
    fn bound(&self) -> Vec<u8> {
        let Self {
            iss,
            aud,
            sub,
            exp,
            jti,
            ..
        } = self;
        format!("{iss}\n{aud}\n{sub}\n{exp}\n{jti}").into_bytes()
    }
}

/// Random bytes of the process's own source, as HPKE takes them.
struct Source<'a>(&'a Ids);

impl TryRng for Source<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> std::result::Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> std::result::Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> std::result::Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Source<'_> {}

/// Seals a word to a service and signs it.
///
/// # Errors
/// When it lives too long or is too long, or cannot be sealed or signed.
pub fn seal(ids: &Ids, new: NewSealed<'_>, to: &PublicKey, signing: &SigningKey) -> Result<String> {
    let lives = (1..=SEALED_SECONDS_MAX).contains(&new.life_seconds);
    if !lives || new.text.len() > TEXT_BYTES_MAX {
        return Err(Error::internal(
            "a sealed word lives too long, or is too long",
        ));
    }
    let issued_at = new.issued_at.timestamp();
    let mut claims = Claims {
        iss: issuer(new.union),
        aud: new.audience.to_owned(),
        sub: new.member.uuid(),
        iat: issued_at,
        exp: issued_at + new.life_seconds,
        jti: new.id,
        sealed: String::new(),
    };
    let (key, ciphertext) =
        hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &to.0,
            INFO,
            new.text.as_bytes(),
            &claims.bound(),
            &mut Source(ids),
        )
        .map_err(|_| Error::internal("a word could not be sealed"))?;
    let mut bytes = key.to_bytes().to_vec();
    bytes.extend_from_slice(&ciphertext);
    claims.sealed = URL_SAFE_NO_PAD.encode(bytes);
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(signing.kid().to_owned());
    jsonwebtoken::encode(&header, &claims, signing.encoding())
        .map_err(|_| Error::internal("a sealed word could not be signed"))
}

/// Opens a sealed word at `now`. Whether its member is the one who brings it, and whether it was
/// used before, is for who opens it.
///
/// # Errors
/// As [`NotOpened`].
pub fn open(
    word: &str,
    opener: Opener<'_>,
    now: DateTime<Utc>,
) -> std::result::Result<Opened, NotOpened> {
    let claims = signed(word, &opener, now).ok_or(NotOpened::Invalid)?;
    let now = now.timestamp();
    let life = claims.exp.checked_sub(claims.iat);
    let lives = life.is_some_and(|life| (1..=SEALED_SECONDS_MAX).contains(&life));
    if !lives || claims.iat > now.saturating_add(CLOCK_SKEW_SECONDS_MAX) {
        return Err(NotOpened::Invalid);
    }
    if claims.exp <= now {
        return Err(NotOpened::Expired);
    }
    opened(&claims, opener.key).ok_or(NotOpened::Invalid)
}

/// What an access key in force has signed for this service; `None` for all else.
fn signed(word: &str, opener: &Opener<'_>, now: DateTime<Utc>) -> Option<Claims> {
    if word.len() > SEALED_BYTES_MAX {
        return None;
    }
    let (head, _) = word.split_once('.')?;
    let head = URL_SAFE_NO_PAD.decode(head).ok()?;
    let head: StrictHeader = serde_json::from_slice(&head).ok()?;
    if head.alg != "EdDSA" || head.typ != TYPE || head.kid.len() > KEY_ID_BYTES_MAX {
        return None;
    }
    let key = opener.access_keys.find(&head.kid, now)?;
    let key = DecodingKey::from_ed_components(&URL_SAFE_NO_PAD.encode(key.public)).ok()?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[opener.audience]);
    validation.set_issuer(&[issuer(opener.union)]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // The library reads the machine's clock; times are checked against the one given.
    validation.validate_exp = false;
    jsonwebtoken::decode::<Claims>(word, &key, &validation)
        .ok()
        .map(|decoded| decoded.claims)
}

fn opened(claims: &Claims, key: &PrivateKey) -> Option<Opened> {
    let bytes = URL_SAFE_NO_PAD.decode(&claims.sealed).ok()?;
    let (encapsulated, ciphertext) = bytes.split_at_checked(KEY_BYTES)?;
    let encapsulated = Deserializable::from_bytes(encapsulated).ok()?;
    let plain = hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &key.0,
        &encapsulated,
        INFO,
        ciphertext,
        &claims.bound(),
    )
    .ok()?;
    Some(Opened {
        id: claims.jti,
        member: MemberId(claims.sub),
        expires_at: DateTime::from_timestamp(claims.exp, 0)?,
        text: Zeroizing::new(String::from_utf8(plain).ok()?),
    })
}

#[cfg(test)]
mod tests;
