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
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::token::AccessKey;

    const LIFE: i64 = 300;

    struct Parties {
        ids: Ids,
        now: DateTime<Utc>,
        private: PrivateKey,
        signing: SigningKey,
        keys: AccessKeys,
    }

    fn private(byte: u8) -> PrivateKey {
        PrivateKey::parse(&STANDARD.encode([byte; KEY_BYTES]).into()).unwrap()
    }

    fn parties() -> Parties {
        let now = DateTime::from_timestamp(1_775_008_800, 0).unwrap();
        let signing = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
        let keys = AccessKeys::new([AccessKey {
            kid: "k1".to_owned(),
            public: signing.verifying_key().to_bytes(),
            not_before: now - TimeDelta::days(1),
            not_after: now + TimeDelta::days(1),
        }]);
        Parties {
            ids: Ids::seeded(1),
            now,
            private: private(7),
            signing: SigningKey::new("k1".to_owned(), &signing).unwrap(),
            keys,
        }
    }

    impl Parties {
        fn fresh(&self) -> NewSealed<'static> {
            NewSealed {
                union: Union::Chongqing,
                audience: "billing",
                member: MemberId(Uuid::from_u128(3)),
                id: Uuid::from_u128(4),
                issued_at: self.now,
                life_seconds: LIFE,
                text: "wx1\noUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
            }
        }

        fn seal(&self) -> String {
            seal(
                &self.ids,
                self.fresh(),
                &self.private.public(),
                &self.signing,
            )
            .unwrap()
        }

        fn opener(&self) -> Opener<'_> {
            Opener {
                union: Union::Chongqing,
                audience: "billing",
                key: &self.private,
                access_keys: &self.keys,
            }
        }
    }

    /// It opens for its service, until its time is over, and shows nothing before.
    #[test]
    fn a_word_opens_for_its_service_in_time() {
        let parties = parties();
        let word = parties.seal();
        let opened = open(&word, parties.opener(), parties.now).unwrap();
        assert_eq!(opened.text.as_str(), parties.fresh().text);
        assert_eq!(opened.member, parties.fresh().member);
        assert_eq!(opened.id, parties.fresh().id);
        assert_eq!(opened.expires_at, parties.now + TimeDelta::seconds(LIFE));
        for part in word.split('.') {
            let shown = URL_SAFE_NO_PAD.decode(part).unwrap();
            assert!(!String::from_utf8_lossy(&shown).contains("oUpF8"));
        }
        assert!(!format!("{opened:?} {:?}", parties.fresh()).contains("oUpF8"));
        assert_ne!(word, parties.seal(), "sealed anew, it is another");
        let last = parties.now + TimeDelta::seconds(LIFE - 1);
        assert!(open(&word, parties.opener(), last).is_ok());
        let over = parties.now + TimeDelta::seconds(LIFE);
        assert_eq!(
            open(&word, parties.opener(), over).unwrap_err(),
            NotOpened::Expired
        );
        let early = parties.now - TimeDelta::seconds(CLOCK_SKEW_SECONDS_MAX + 1);
        assert_eq!(
            open(&word, parties.opener(), early).unwrap_err(),
            NotOpened::Invalid
        );
    }

    /// Another service, another union, another key and a changed word open nothing.
    #[test]
    fn nothing_else_opens() {
        let parties = parties();
        let word = parties.seal();
        let refused = |word: &str, opener: Opener<'_>| {
            open(word, opener, parties.now).unwrap_err() == NotOpened::Invalid
        };
        let other = private(8);
        let none = AccessKeys::default();
        for opener in [
            Opener {
                audience: "passes",
                ..parties.opener()
            },
            Opener {
                union: Union::Sichuan,
                ..parties.opener()
            },
            Opener {
                key: &other,
                ..parties.opener()
            },
            Opener {
                access_keys: &none,
                ..parties.opener()
            },
        ] {
            assert!(refused(&word, opener), "{opener:?}");
        }
        let parts: Vec<&str> = word.split('.').collect();
        let mut claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
        claims["sub"] = serde_json::json!(Uuid::from_u128(9));
        let forged = URL_SAFE_NO_PAD.encode(claims.to_string());
        let forged = format!("{}.{forged}.{}", parts[0], parts[2]);
        for bad in [
            "",
            ".",
            "a.b.c",
            &word[1..],
            &forged,
            &"a".repeat(SEALED_BYTES_MAX + 1),
        ] {
            assert!(refused(bad, parties.opener()), "{bad:.40}");
        }
        // Whoever knows the public key can seal, and not sign: another's key is not in force.
        let stranger = ed25519_dalek::SigningKey::from_bytes(&[6; 32]);
        let stranger = SigningKey::new("k1".to_owned(), &stranger).unwrap();
        let public = parties.private.public();
        let word = seal(&parties.ids, parties.fresh(), &public, &stranger).unwrap();
        assert!(refused(&word, parties.opener()));
    }

    /// An access token is no sealed word, though the same key signs both; nor the other way round.
    #[test]
    fn it_is_no_access_token() {
        let parties = parties();
        let verified = crate::token::verify(
            &parties.seal(),
            Union::Chongqing,
            &parties.keys,
            parties.now,
        );
        assert!(verified.is_err());
        let token = crate::token::NewToken {
            union: Union::Chongqing,
            member: MemberId(Uuid::from_u128(3)),
            login: crate::types::LoginId(Uuid::from_u128(1)),
            id: Uuid::from_u128(4),
            issued_at: parties.now,
            life_seconds: LIFE,
            stepped_up_until: None,
        };
        let token = crate::token::sign(&token, &parties.signing).unwrap();
        let opened = open(&token, parties.opener(), parties.now);
        assert_eq!(opened.unwrap_err(), NotOpened::Invalid);
    }

    #[test]
    fn what_is_no_key_or_no_word_is_refused() {
        let parties = parties();
        for bad in ["", "AAAA", "not base64", &STANDARD.encode([1; 33])] {
            assert!(PublicKey::parse(bad).is_none(), "{bad}");
            assert!(PrivateKey::parse(&bad.into()).is_none(), "{bad}");
        }
        let public = parties.private.public();
        assert_eq!(PublicKey::parse(&public.text()), Some(public.clone()));
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        for new in [
            NewSealed {
                life_seconds: 0,
                ..parties.fresh()
            },
            NewSealed {
                life_seconds: SEALED_SECONDS_MAX + 1,
                ..parties.fresh()
            },
            NewSealed {
                text: &long,
                ..parties.fresh()
            },
        ] {
            assert!(
                seal(&parties.ids, new, &public, &parties.signing).is_err(),
                "{new:?}"
            );
        }
    }
}
