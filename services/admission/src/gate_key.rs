//! How a gate says who it is: a compact JWS (RFC 7515) signed with the device's own Ed25519 key,
//! sent in the header `x-bashu-gate` and good for at most a minute. Pure: the device's program
//! signs with it, this service reads and verifies with it, and neither clock nor database is here.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use kit::types::{GateId, Union};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The header that carries it.
pub const HEADER: &str = "x-bashu-gate";
/// The longest life of an assertion, in seconds.
pub const LIFE_SECONDS_MAX: i64 = 60;
/// What the gate's clock may differ by, in seconds.
pub const CLOCK_SKEW_SECONDS_MAX: i64 = 5;
/// The longest assertion that is looked at, in bytes.
pub const ASSERTION_BYTES_MAX: usize = 1_024;
const ALGORITHM: &str = "EdDSA";
const TYPE: &str = "gate+jwt";

/// What a gate asserts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assertion {
    pub gate: GateId,
    /// The union whose gate it is, 50 or 51.
    pub union: Union,
    /// How often the gate was enrolled.
    pub enrolment: i32,
    /// The assertion's own id, `jti`.
    pub id: Uuid,
    /// Seconds since the Unix epoch.
    pub issued_at: i64,
    /// Seconds since the Unix epoch, at most [`LIFE_SECONDS_MAX`] later.
    pub expires_at: i64,
}

/// Why an assertion is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("the assertion is malformed")]
    Malformed,
    #[error("the assertion is for another union")]
    OtherUnion,
    #[error("the assertion lives too long")]
    LivesTooLong,
    #[error("the assertion has expired")]
    Expired,
    #[error("the assertion is from the future")]
    TooEarly,
    #[error("the assertion's signature does not hold")]
    BadSignature,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: Uuid,
    aud: String,
    enr: i32,
    iat: i64,
    exp: i64,
    jti: Uuid,
}

/// Read, and not yet believed: see [`Unverified::verify`].
#[derive(Clone, Debug)]
pub struct Unverified {
    assertion: Assertion,
    signed: String,
    signature: Signature,
}

/// The claim `aud` of a union's gates: `bashu-50` or `bashu-51`.
pub fn audience(union: Union) -> String {
    format!("bashu-{}", union.code())
}

/// Signs an assertion with the gate's own key.
pub fn sign(assertion: &Assertion, key: &SigningKey) -> String {
    let claims = Claims {
        iss: assertion.gate.uuid(),
        aud: audience(assertion.union),
        enr: assertion.enrolment,
        iat: assertion.issued_at,
        exp: assertion.expires_at,
        jti: assertion.id,
    };
    let header = serde_json::json!({ "alg": ALGORITHM, "typ": TYPE }).to_string();
    // A struct of ids, numbers and text always becomes JSON.
    let claims = serde_json::to_string(&claims).unwrap_or_default();
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

/// Reads an assertion of this union that is in force at `now`, in seconds since the Unix epoch.
///
/// # Errors
/// When it is none, another union's, or not of this minute.
pub fn read(text: &str, union: Union, now: i64) -> Result<Unverified, Invalid> {
    if text.len() > ASSERTION_BYTES_MAX {
        return Err(Invalid::Malformed);
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(Invalid::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(Invalid::Malformed)?;
    check_header(header)?;
    let claims = decode(claims)?;
    // A list of the same values would read as well, and no other reader would take it for claims.
    if !claims.starts_with(b"{") {
        return Err(Invalid::Malformed);
    }
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| Invalid::Malformed)?;
    let signature = Signature::from_slice(&decode(signature)?).map_err(|_| Invalid::Malformed)?;
    if claims.aud != audience(union) {
        return Err(Invalid::OtherUnion);
    }
    let life = claims
        .exp
        .checked_sub(claims.iat)
        .ok_or(Invalid::Malformed)?;
    if life <= 0 || life > LIFE_SECONDS_MAX || claims.iat < 0 {
        return Err(Invalid::LivesTooLong);
    }
    if claims.exp.saturating_add(CLOCK_SKEW_SECONDS_MAX) <= now {
        return Err(Invalid::Expired);
    }
    if claims.iat > now.saturating_add(CLOCK_SKEW_SECONDS_MAX) {
        return Err(Invalid::TooEarly);
    }
    let assertion = Assertion {
        gate: GateId(claims.iss),
        union,
        enrolment: claims.enr,
        id: claims.jti,
        issued_at: claims.iat,
        expires_at: claims.exp,
    };
    Ok(Unverified {
        assertion,
        signed: signed.to_owned(),
        signature,
    })
}

/// Exactly the two fields: `kid`, `jku`, `x5u`, `jwk` and `crit` make it none.
fn check_header(encoded: &str) -> Result<(), Invalid> {
    let fields: BTreeMap<String, String> =
        serde_json::from_slice(&decode(encoded)?).map_err(|_| Invalid::Malformed)?;
    let is = |name: &str, value: &str| fields.get(name).is_some_and(|found| found == value);
    if fields.len() == 2 && is("alg", ALGORITHM) && is("typ", TYPE) {
        Ok(())
    } else {
        Err(Invalid::Malformed)
    }
}

fn decode(encoded: &str) -> Result<Vec<u8>, Invalid> {
    URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| Invalid::Malformed)
}

impl Unverified {
    /// Whose key is to be looked up. Nothing else of it may be used before it is verified.
    pub const fn gate(&self) -> GateId {
        self.assertion.gate
    }

    /// The assertion, believed.
    ///
    /// # Errors
    /// When this key did not sign it.
    pub fn verify(&self, key: &VerifyingKey) -> Result<Assertion, Invalid> {
        key.verify_strict(self.signed.as_bytes(), &self.signature)
            .map_err(|_| Invalid::BadSignature)?;
        Ok(self.assertion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_775_008_800;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn assertion() -> Assertion {
        Assertion {
            gate: GateId(Uuid::from_u128(1)),
            union: Union::Chongqing,
            enrolment: 1,
            id: Uuid::from_u128(2),
            issued_at: NOW,
            expires_at: NOW + 60,
        }
    }

    fn invalid(text: &str, now: i64) -> Option<Invalid> {
        read(text, Union::Chongqing, now)
            .and_then(|read| read.verify(&key().verifying_key()))
            .err()
    }

    fn with_header(header: &str) -> String {
        let text = sign(&assertion(), &key());
        let (_, claims) = text.rsplit_once('.').unwrap().0.split_once('.').unwrap();
        let signed = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header));
        let signature = key().sign(signed.as_bytes()).to_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn an_assertion_reads_back_while_its_minute_lasts() {
        let text = sign(&assertion(), &key());
        for now in [NOW - 5, NOW, NOW + 64] {
            let read = read(&text, Union::Chongqing, now).unwrap();
            assert_eq!(
                read.verify(&key().verifying_key()),
                Ok(assertion()),
                "{now}"
            );
        }
        assert_eq!(invalid(&text, NOW + 65), Some(Invalid::Expired));
        assert_eq!(invalid(&text, NOW - 6), Some(Invalid::TooEarly));
    }

    #[test]
    fn what_is_no_assertion_of_ours_is_refused() {
        let other = read(&sign(&assertion(), &key()), Union::Sichuan, NOW);
        assert_eq!(other.err(), Some(Invalid::OtherUnion));
        let long = Assertion {
            expires_at: NOW + 61,
            ..assertion()
        };
        assert_eq!(
            invalid(&sign(&long, &key()), NOW),
            Some(Invalid::LivesTooLong)
        );
        let text = sign(&assertion(), &SigningKey::from_bytes(&[8; 32]));
        assert_eq!(invalid(&text, NOW), Some(Invalid::BadSignature));
        for header in [
            r#"{"alg":"none","typ":"gate+jwt"}"#,
            r#"{"alg":"HS256","typ":"gate+jwt"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt"}"#,
            r#"{"alg":"EdDSA","typ":"gate+jwt","jwk":"x"}"#,
            r#"{"alg":"EdDSA"}"#,
        ] {
            assert_eq!(
                invalid(&with_header(header), NOW),
                Some(Invalid::Malformed),
                "{header}"
            );
        }
        assert_eq!(
            invalid(&with_header(r#"{"alg":"EdDSA","typ":"gate+jwt"}"#), NOW),
            None
        );
        for text in ["", ".", "..", "a.b.c", &"a".repeat(2_000)] {
            assert_eq!(invalid(text, NOW), Some(Invalid::Malformed), "{text}");
        }
    }

    /// Claims have names: their values alone, in order, are none.
    #[test]
    fn a_list_of_claims_is_refused() {
        let text = sign(&assertion(), &key());
        let (header, _) = text.split_once('.').unwrap();
        let claims = serde_json::json!([
            assertion().gate.uuid(),
            audience(Union::Chongqing),
            1,
            NOW,
            NOW + 60,
            assertion().id
        ]);
        assert!(serde_json::from_value::<Claims>(claims.clone()).is_ok());
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = key().sign(signed.as_bytes()).to_bytes();
        let listed = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        assert_eq!(invalid(&listed, NOW), Some(Invalid::Malformed));
    }

    /// Every bit of a signed assertion matters.
    #[test]
    fn no_flipped_character_verifies() {
        let text = sign(&assertion(), &key());
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let flipped = String::from_utf8(bytes).unwrap();
            assert!(invalid(&flipped, NOW).is_some(), "{at}");
        }
    }
}
