//! A key set as bytes, and the root's signature over them.
//!
//! Big-endian: `"CYK1"` · version u64 · issuer nibble u8 · key count u16 · for each key, in the
//! order of key ids: kid u16 · algorithm u8 (1 = Ed25519) · purpose u8 (1 entry, 2 access) ·
//! state u8 (1 active, 2 retired, 3 revoked) · not_before i64 · not_after i64 (Unix seconds) ·
//! scope count u16 · scopes u32 each, rising · public key, 32 bytes.
//! The root signs `"CYK1 root\0"` and those bytes.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::{
    Algorithm, Issuer, KEY_SCOPES_MAX, KEYS_MAX, Key, KeyId, KeySet, KeySetInvalid, KeyState,
    Purpose,
};
use crate::frame::{FrameError, Reader, Writer};

const MAGIC: &[u8; 4] = b"CYK1";
const ROOT_CONTEXT: &[u8] = b"CYK1 root\0";

/// Whether keys of the test issuer are believed. A production configuration says `Refuse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestIssuer {
    Refuse,
    Allow,
}

/// Why bytes are not a key set to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySetError {
    /// The root did not sign these bytes.
    BadSignature,
    /// The bytes are of another format, or a later one.
    UnknownFormat,
    /// The bytes are cut short, go on too long or hold what no encoder writes.
    Malformed,
    /// The test issuer's keys where they are not allowed.
    TestIssuer,
    /// Keys that make no set.
    Invalid(KeySetInvalid),
}

impl fmt::Display for KeySetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadSignature => "the root did not sign this key set",
            Self::UnknownFormat => "the key set's format is unknown",
            Self::Malformed => "the key set's bytes are malformed",
            Self::TestIssuer => "the key set is the test issuer's",
            Self::Invalid(_) => "the key set's keys contradict each other",
        })
    }
}

impl std::error::Error for KeySetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid(source) => Some(source),
            Self::BadSignature | Self::UnknownFormat | Self::Malformed | Self::TestIssuer => None,
        }
    }
}

impl From<FrameError> for KeySetError {
    fn from(_: FrameError) -> Self {
        Self::Malformed
    }
}

/// A key set's bytes with the root's signature, as published and as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedKeySet {
    pub bytes: Vec<u8>,
    pub root_signature: [u8; 64],
}

impl SignedKeySet {
    /// The key set, believed. Every reader verifies for itself, whoever handed the bytes over.
    ///
    /// # Errors
    /// When the root did not sign exactly these bytes, or they are no proper set.
    pub fn verify(
        &self,
        root: &VerifyingKey,
        test_issuer: TestIssuer,
    ) -> Result<KeySet, KeySetError> {
        let signature = Signature::from_bytes(&self.root_signature);
        root.verify_strict(&root_bytes(&self.bytes), &signature)
            .map_err(|_| KeySetError::BadSignature)?;
        let set = decode(&self.bytes)?;
        if set.issuer == Issuer::Test && test_issuer == TestIssuer::Refuse {
            return Err(KeySetError::TestIssuer);
        }
        Ok(set)
    }
}

impl KeySet {
    /// Signs the set with the issuer's offline root.
    pub fn sign(&self, root: &SigningKey) -> SignedKeySet {
        let bytes = self.to_bytes();
        let root_signature = root.sign(&root_bytes(&bytes)).to_bytes();
        SignedKeySet {
            bytes,
            root_signature,
        }
    }

    /// The canonical bytes: equal sets have equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new(MAGIC);
        out.u64(self.version);
        out.u8(self.issuer.nibble());
        // `KeySet::new` keeps both counts within their limits.
        out.u16(u16::try_from(self.keys.len()).unwrap_or(u16::MAX));
        for key in &self.keys {
            out.u16(key.kid.get());
            out.u8(match key.algorithm {
                Algorithm::Ed25519 => 1,
            });
            out.u8(match key.purpose {
                Purpose::Entry => 1,
                Purpose::Access => 2,
            });
            out.u8(match key.state {
                KeyState::Active => 1,
                KeyState::Retired => 2,
                KeyState::Revoked => 3,
            });
            out.i64(key.not_before.timestamp());
            out.i64(key.not_after.timestamp());
            out.u16(u16::try_from(key.scopes.len()).unwrap_or(u16::MAX));
            for scope in &key.scopes {
                out.u32(*scope);
            }
            out.bytes(key.public.as_bytes());
        }
        out.finish()
    }
}

fn root_bytes(bytes: &[u8]) -> Vec<u8> {
    [ROOT_CONTEXT, bytes].concat()
}

fn decode(bytes: &[u8]) -> Result<KeySet, KeySetError> {
    let mut input = Reader::new(bytes);
    if input.bytes(MAGIC.len()) != Ok(MAGIC) {
        return Err(KeySetError::UnknownFormat);
    }
    let version = input.u64()?;
    let issuer = Issuer::from_nibble(input.u8()?).ok_or(KeySetError::Malformed)?;
    let count = input.count(KEYS_MAX)?;
    let mut keys = Vec::with_capacity(count);
    for _ in 0..count {
        keys.push(decode_key(&mut input)?);
    }
    input.finish()?;
    let rising = keys.windows(2).all(|pair| pair[0].kid < pair[1].kid);
    if !rising {
        return Err(KeySetError::Malformed);
    }
    KeySet::new(version, issuer, keys).map_err(KeySetError::Invalid)
}

fn decode_key(input: &mut Reader<'_>) -> Result<Key, KeySetError> {
    let kid = KeyId::from_bits(input.u16()?);
    let algorithm = match input.u8()? {
        1 => Algorithm::Ed25519,
        _ => return Err(KeySetError::Malformed),
    };
    let purpose = match input.u8()? {
        1 => Purpose::Entry,
        2 => Purpose::Access,
        _ => return Err(KeySetError::Malformed),
    };
    let state = match input.u8()? {
        1 => KeyState::Active,
        2 => KeyState::Retired,
        3 => KeyState::Revoked,
        _ => return Err(KeySetError::Malformed),
    };
    let not_before = instant(input.i64()?)?;
    let not_after = instant(input.i64()?)?;
    let mut scopes = BTreeSet::new();
    for _ in 0..input.count(KEY_SCOPES_MAX)? {
        let scope = input.u32()?;
        if scopes.last().is_some_and(|last| *last >= scope) {
            return Err(KeySetError::Malformed);
        }
        let _ = scopes.insert(scope);
    }
    let public = VerifyingKey::from_bytes(&input.array()?).map_err(|_| KeySetError::Malformed)?;
    Ok(Key {
        kid,
        algorithm,
        public,
        purpose,
        not_before,
        not_after,
        scopes,
        state,
    })
}

fn instant(seconds: i64) -> Result<DateTime<Utc>, KeySetError> {
    DateTime::from_timestamp(seconds, 0).ok_or(KeySetError::Malformed)
}
