//! The two tokens that come in headers, a member's access token and a gate's assertion: what is
//! accepted was signed by our key and is in force, and no changed character is.

use admission::gate_key;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use ed25519_dalek::{Signer, SigningKey};
use kit::token::{self, AccessKey, AccessKeys, CLOCK_SKEW_SECONDS_MAX, LIFE_SECONDS_MAX};
use kit::types::Union;
use serde_json::Value;

use crate::{NOW_SECONDS, Verdict, drawn, now};

/// The seed of the key that signs both.
const SEED: [u8; 32] = [9; 32];
/// The access key's id.
const KEY_ID: &str = "1001";
/// The letters of a token.
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";

/// Reads `bytes` as a token, and as a line of header and claims behind it, which our key signs.
pub fn check(bytes: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Verdict::Refused;
    };
    let mut accepted = false;
    for accepts in [access as fn(&str) -> bool, gate] {
        if accepts(text) {
            assert_eq!(resigned(text).as_deref(), Some(text), "another signature");
            accepted = true;
            refused_altered(text, bytes, accepts);
        }
        let Some((header, claims)) = text.split_once('\n') else {
            continue;
        };
        let token = signed(&format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        ));
        if accepts(&token) {
            named(header, claims);
            accepted = true;
            refused_altered(&token, bytes, accepts);
        }
    }
    Verdict::of(accepted)
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&SEED)
}

fn access_keys() -> AccessKeys {
    AccessKeys::new([AccessKey {
        kid: KEY_ID.to_owned(),
        public: key().verifying_key().to_bytes(),
        not_before: now() - TimeDelta::days(1),
        not_after: now() + TimeDelta::days(1),
    }])
}

/// Whether it is an access token of Chongqing: the same when it is remembered, and in no other
/// union.
fn access(text: &str) -> bool {
    let keys = access_keys();
    let first = token::verify(text, Union::Chongqing, &keys, now()).ok();
    let again = token::verify(text, Union::Chongqing, &keys, now()).ok();
    assert_eq!(first, again, "remembered otherwise");
    let Some(said) = first else {
        return false;
    };
    assert!(token::verify(text, Union::Sichuan, &keys, now()).is_err());
    let latest = now() + TimeDelta::seconds(LIFE_SECONDS_MAX + CLOCK_SKEW_SECONDS_MAX);
    assert!(now() < said.expires_at && said.expires_at <= latest);
    assert!(said.stepped_up_until.is_none_or(|until| until <= latest));
    // Its key is not in force any more, or is another's.
    let later = now() + TimeDelta::days(2);
    assert!(token::verify(text, Union::Chongqing, &keys, later).is_err());
    keys.replace([]);
    assert!(token::verify(text, Union::Chongqing, &keys, now()).is_err());
    true
}

/// Whether it is an assertion of a gate of Chongqing; what it says is written and read again.
fn gate(text: &str) -> bool {
    let key = key();
    let public = key.verifying_key();
    let read = |text: &str, union| {
        let unverified = gate_key::read(text, union, NOW_SECONDS).ok()?;
        unverified.verify(&public).ok()
    };
    let Some(said) = read(text, Union::Chongqing) else {
        return false;
    };
    assert!(read(text, Union::Sichuan).is_none());
    assert!(said.expires_at - said.issued_at <= gate_key::LIFE_SECONDS_MAX);
    assert_eq!(
        read(&gate_key::sign(&said, &key), Union::Chongqing),
        Some(said)
    );
    true
}

fn signed(message: &str) -> String {
    let signature = key().sign(message.as_bytes()).to_bytes();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The same token with the signature that our key makes.
fn resigned(token: &str) -> Option<String> {
    let (message, _) = token.rsplit_once('.')?;
    Some(signed(message))
}

/// What was accepted names our algorithm and one of our types, and no key of its own.
fn named(header: &str, claims: &str) {
    let fields: Value = serde_json::from_str(header).expect("a header is JSON");
    let fields = fields.as_object().expect("a header has fields");
    assert_eq!(fields.get("alg"), Some(&Value::from("EdDSA")));
    for name in ["jwk", "jku", "x5u", "x5c", "crit"] {
        assert!(!fields.contains_key(name), "{name}");
    }
    let claims: Value = serde_json::from_str(claims).expect("claims are JSON");
    let aud = claims.get("aud");
    if fields.get("typ") == Some(&Value::from(token::TYPE)) {
        assert_eq!(aud, Some(&Value::from(token::AUDIENCE)));
        let issuer = token::issuer(Union::Chongqing);
        assert_eq!(claims.get("iss"), Some(&Value::from(issuer)));
    } else {
        let audience = gate_key::audience(Union::Chongqing);
        assert_eq!(aud, Some(&Value::from(audience)));
    }
}

/// With any one character replaced it is refused.
fn refused_altered(token: &str, bytes: &[u8], accepts: fn(&str) -> bool) {
    let mut altered = token.as_bytes().to_vec();
    let at = drawn(bytes, altered.len());
    let letter = LETTERS[drawn(&bytes[bytes.len() / 2..], LETTERS.len())];
    if altered[at] == letter {
        return;
    }
    altered[at] = letter;
    let altered = String::from_utf8(altered).expect("a token is ASCII");
    assert!(!accepts(&altered), "character {at} may be {letter}");
}
