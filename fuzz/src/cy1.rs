//! The code on a phone, as a gate reads it: what is read is exactly the text of what it means, and
//! nothing is believed but what our key has signed.

use std::sync::LazyLock;

use chrono::TimeDelta;
use credential::keyset::{Algorithm, Issuer, Key, KeyId, KeySet, KeyState, Purpose};
use credential::token::{PREFIX, Signed, parse};
use ed25519_dalek::SigningKey;

use crate::{Verdict, drawn, now};

/// The seed of the key that signs: as in `proto/vectors/cy1.json`.
const SEED: [u8; 32] = [1; 32];
const KEY_NUMBER: u16 = 1;

static KEYS: LazyLock<(SigningKey, KeySet)> = LazyLock::new(|| {
    let key = SigningKey::from_bytes(&SEED);
    let entry = Key {
        kid: KeyId::new(Issuer::Chongqing, KEY_NUMBER).expect("it has twelve bits"),
        algorithm: Algorithm::Ed25519,
        public: key.verifying_key(),
        purpose: Purpose::Entry,
        not_before: now() - TimeDelta::days(1),
        not_after: now() + TimeDelta::days(120),
        scopes: std::collections::BTreeSet::new(),
        state: KeyState::Active,
    };
    let set = KeySet::new(1, Issuer::Chongqing, vec![entry]).expect("one proper key is a set");
    (key, set)
});

/// Reads `bytes` as a token's bytes, as the text of a code, and as what follows `CY1:` in one.
pub fn check(bytes: &[u8]) -> Verdict {
    let mut accepted = false;
    if let Ok(signed) = Signed::from_bytes(bytes) {
        assert_eq!(signed.bytes().as_slice(), bytes);
        assert_eq!(parse(&signed.text()), Ok(signed));
        believed(&signed, bytes);
        accepted = true;
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Verdict::of(accepted);
    };
    // Most of what is made up is no code for its first letters alone.
    for text in [text.to_owned(), format!("{PREFIX}{text}")] {
        if let Ok(signed) = parse(&text) {
            assert_eq!(signed.text(), text);
            assert_eq!(Signed::from_bytes(&signed.bytes()), Ok(signed));
            believed(&signed, bytes);
            accepted = true;
        }
    }
    Verdict::of(accepted)
}

/// It is believed when it is what our key makes of the same claims, and not with a bit changed.
fn believed(signed: &Signed, bytes: &[u8]) {
    let (key, keys) = &*KEYS;
    let ours = signed.unverified().signed(key);
    if let Ok(token) = signed.verify(keys, now()) {
        assert_eq!(token, *signed.unverified());
        assert_eq!(*signed, ours, "believed without our signature");
    }
    let names_our_key = keys.key(signed.kid()).is_some();
    assert_eq!(ours.verify(keys, now()).is_ok(), names_our_key);
    let mut altered = ours.bytes();
    let bit = drawn(bytes, altered.len() * 8);
    altered[bit / 8] ^= 1 << (bit % 8);
    if let Ok(altered) = Signed::from_bytes(&altered) {
        assert!(altered.verify(keys, now()).is_err(), "bit {bit} is free");
    }
}
