//! Key sets: what the root signs, what a reader believes, and that a set never goes back.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use credential::keyset::{
    Algorithm, Issuer, Key, KeyId, KeySet, KeySetError, KeySetInvalid, KeyState, Purpose,
    SignedKeySet, TestIssuer, Update, UpdateError, update,
};
use ed25519_dalek::{SigningKey, VerifyingKey};

fn signing(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn start() -> DateTime<Utc> {
    "2026-04-01T00:00:00+08:00".parse().expect("an instant")
}

fn key(issuer: Issuer, number: u16) -> Key {
    Key {
        kid: KeyId::new(issuer, number).expect("twelve bits"),
        algorithm: Algorithm::Ed25519,
        public: signing(u8::try_from(number).expect("a small number")).verifying_key(),
        purpose: if number.is_multiple_of(2) {
            Purpose::Access
        } else {
            Purpose::Entry
        },
        not_before: start(),
        not_after: start() + TimeDelta::days(120),
        scopes: BTreeSet::from([7, 9]),
        state: KeyState::Active,
    }
}

fn set(version: u64, numbers: &[u16]) -> KeySet {
    let keys = numbers
        .iter()
        .map(|number| key(Issuer::Sichuan, *number))
        .collect();
    KeySet::new(version, Issuer::Sichuan, keys).expect("a set")
}

/// What the root signed reads back, equal sets have equal bytes, and no flipped bit, missing byte
/// or other root passes.
#[test]
fn only_what_the_root_signed_is_believed() {
    let root = signing(200);
    let public = root.verifying_key();
    let signed = set(3, &[2, 1]).sign(&root);
    assert_eq!(signed.bytes, set(3, &[1, 2]).to_bytes());
    assert_eq!(
        signed.verify(&public, TestIssuer::Refuse),
        Ok(set(3, &[1, 2]))
    );

    for bit in 0..signed.bytes.len() * 8 {
        let mut other = signed.clone();
        other.bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            other.verify(&public, TestIssuer::Refuse),
            Err(KeySetError::BadSignature),
            "bit {bit}"
        );
    }
    let other = signing(201).verifying_key();
    assert_eq!(
        signed.verify(&other, TestIssuer::Refuse),
        Err(KeySetError::BadSignature)
    );
}

/// A weak root, for which a signature of zeros holds over anything, is no root.
/// ASVS V11.6.1.
#[test]
fn a_weak_root_signs_nothing() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let weak = VerifyingKey::from_bytes(&identity).expect("a point of small order");
    let mut root_signature = [0; 64];
    root_signature[0] = 1;
    let forged = SignedKeySet {
        bytes: set(1, &[1]).to_bytes(),
        root_signature,
    };
    assert_eq!(
        forged.verify(&weak, TestIssuer::Refuse),
        Err(KeySetError::BadSignature)
    );
    let weak_key = Key {
        public: weak,
        ..key(Issuer::Sichuan, 1)
    };
    let kid = weak_key.kid;
    assert_eq!(
        KeySet::new(1, Issuer::Sichuan, vec![weak_key]),
        Err(KeySetInvalid::WeakKey(kid))
    );
}

/// Bytes that no encoder writes are refused even when the root signed them.
#[test]
fn bytes_are_canonical() {
    let root = signing(200);
    let sign = |bytes: Vec<u8>| {
        // The root's signature over arbitrary bytes, made as `KeySet::sign` makes it.
        use ed25519_dalek::Signer as _;
        let message = [b"CYK1 root\0", bytes.as_slice()].concat();
        SignedKeySet {
            root_signature: root.sign(&message).to_bytes(),
            bytes,
        }
    };
    let verify = |bytes: Vec<u8>| sign(bytes).verify(&root.verifying_key(), TestIssuer::Refuse);
    let good = set(3, &[1, 2]).to_bytes();
    assert_eq!(verify(good.clone()), Ok(set(3, &[1, 2])));
    for length in 0..good.len() {
        let error = if length < 4 {
            KeySetError::UnknownFormat
        } else {
            KeySetError::Malformed
        };
        assert_eq!(
            verify(good[..length].to_vec()),
            Err(error),
            "{length} bytes"
        );
    }
    assert_eq!(
        verify([good.as_slice(), &[0]].concat()),
        Err(KeySetError::Malformed)
    );
    assert_eq!(verify(b"CYK2".to_vec()), Err(KeySetError::UnknownFormat));

    // Both keys once more, in falling order.
    let (head, keys) = good.split_at(4 + 8 + 1 + 2);
    let (one, two) = keys.split_at(keys.len() / 2);
    assert_eq!(
        verify([head, two, one].concat()),
        Err(KeySetError::Malformed)
    );
    assert_eq!(
        verify([head, one, one].concat()),
        Err(KeySetError::Malformed)
    );
    // A sixteenth issuer, a second algorithm, a third purpose, a fourth state.
    for (index, value) in [(12, 3), (17, 2), (18, 3), (19, 4)] {
        let mut bytes = good.clone();
        bytes[index] = value;
        assert_eq!(verify(bytes), Err(KeySetError::Malformed), "byte {index}");
    }
}

/// Keys of the test issuer count only where a configuration says so.
#[test]
fn the_test_issuer_is_refused() {
    let root = signing(200);
    let set = KeySet::new(1, Issuer::Test, vec![key(Issuer::Test, 1)]).expect("a set");
    let signed = set.sign(&root);
    let public = root.verifying_key();
    assert_eq!(
        signed.verify(&public, TestIssuer::Refuse),
        Err(KeySetError::TestIssuer)
    );
    assert_eq!(signed.verify(&public, TestIssuer::Allow), Ok(set));
}

/// Keys that make no set.
#[test]
fn contradictions_are_refused() {
    let invalid = |keys: Vec<Key>| KeySet::new(1, Issuer::Sichuan, keys).expect_err("no set");
    let good = || key(Issuer::Sichuan, 1);
    let kid = good().kid;
    assert_eq!(
        invalid(vec![good(), good()]),
        KeySetInvalid::RepeatedKey(kid)
    );
    let foreign = key(Issuer::Chongqing, 1);
    assert_eq!(
        invalid(vec![foreign.clone()]),
        KeySetInvalid::OtherIssuer(foreign.kid)
    );
    let never = Key {
        not_after: start(),
        ..good()
    };
    assert_eq!(invalid(vec![never]), KeySetInvalid::BadValidity(kid));
    let fraction = Key {
        not_before: start() + TimeDelta::milliseconds(1),
        ..good()
    };
    assert_eq!(invalid(vec![fraction]), KeySetInvalid::BadValidity(kid));
    let scopes = Key {
        scopes: (0..=1024).collect(),
        ..good()
    };
    assert_eq!(invalid(vec![scopes]), KeySetInvalid::TooManyScopes(kid));
}

/// An older set never replaces a newer one, and a newer one neither drops, reuses nor revives a
/// key.
#[test]
fn a_set_never_goes_back() {
    let changed = |change: fn(&mut Key)| {
        let mut one = key(Issuer::Sichuan, 1);
        change(&mut one);
        let two = key(Issuer::Sichuan, 2);
        KeySet::new(4, Issuer::Sichuan, vec![one, two]).expect("a set")
    };
    let kid = KeyId::new(Issuer::Sichuan, 1).expect("twelve bits");
    let held = set(3, &[1, 2]);
    let replace = |set: KeySet| Ok(Update::Replace(set));

    assert_eq!(update(None, set(1, &[1])), replace(set(1, &[1])));
    assert_eq!(
        update(Some(&held), set(4, &[1, 2, 3])),
        replace(set(4, &[1, 2, 3]))
    );
    assert_eq!(update(Some(&held), set(3, &[1, 2])), Ok(Update::Keep));
    assert_eq!(update(Some(&held), set(2, &[1])), Ok(Update::Keep));
    assert_eq!(
        update(Some(&held), set(3, &[1])),
        Err(UpdateError::SameVersion)
    );
    assert_eq!(
        update(Some(&held), set(4, &[2])),
        Err(UpdateError::KeyDropped(kid))
    );
    let other = KeySet::new(4, Issuer::Chongqing, vec![]).expect("a set");
    assert_eq!(update(Some(&held), other), Err(UpdateError::OtherIssuer));

    let reused = changed(|key| key.public = signing(99).verifying_key());
    assert_eq!(
        update(Some(&held), reused),
        Err(UpdateError::KeyReused(kid))
    );
    let repurposed = changed(|key| key.purpose = Purpose::Access);
    assert_eq!(
        update(Some(&held), repurposed),
        Err(UpdateError::KeyReused(kid))
    );
    let revoked = changed(|key| key.state = KeyState::Revoked);
    assert_eq!(
        update(Some(&held), revoked.clone()),
        replace(revoked.clone())
    );
    let revived = set(5, &[1, 2]);
    assert_eq!(
        update(Some(&revoked), revived),
        Err(UpdateError::KeyRevived(kid))
    );
}
