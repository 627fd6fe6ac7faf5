//! The keys an issuer signs with, as one versioned set signed by the issuer's offline root.
//!
//! A key id is never used twice: a newer set holds every key of the older one, retired and revoked
//! ones included, with the same public half. This module holds public keys only; it neither
//! stores sets nor fetches them, and private halves live in identity alone.

mod codec;
mod id;
mod update;

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};
use ed25519_dalek::VerifyingKey;

pub use codec::{KeySetError, SignedKeySet, TestIssuer};
pub use id::{BadKeyId, Issuer, KeyId};
pub use update::{Update, UpdateError, update};

/// The most keys a set holds: two purposes, one key each a quarter, for a century and more.
pub const KEYS_MAX: usize = 1024;
/// The most scopes a key is restricted to.
pub const KEY_SCOPES_MAX: usize = 1024;

/// How a key signs. A national algorithm would be a second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Ed25519,
}

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// CY1 tokens, shown at gates.
    Entry,
    /// Access tokens, shown to services.
    Access,
}

/// Whether a key still signs and still verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyState {
    /// Signs and verifies.
    Active,
    /// Signs no more; what it signed verifies until the key's end.
    Retired,
    /// Neither signs nor verifies.
    Revoked,
}

/// One public key and what it is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub kid: KeyId,
    pub algorithm: Algorithm,
    pub public: VerifyingKey,
    pub purpose: Purpose,
    /// The instant from which it is valid, in whole seconds.
    pub not_before: DateTime<Utc>,
    /// The first instant at which it is not, in whole seconds: beyond the end of the longest-lived
    /// token it signed.
    pub not_after: DateTime<Utc>,
    /// The products and sessions it may sign for; empty = any.
    pub scopes: BTreeSet<u32>,
    pub state: KeyState,
}

impl Key {
    /// Whether it may sign for this product or session.
    pub fn signs_for(&self, scope: u32) -> bool {
        self.scopes.is_empty() || self.scopes.contains(&scope)
    }

    /// Whether what it signed is to be believed at this instant.
    pub fn verifies_at(&self, now: DateTime<Utc>) -> bool {
        self.state != KeyState::Revoked && self.not_before <= now && now < self.not_after
    }
}

/// All keys of one issuer, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    version: u64,
    issuer: Issuer,
    keys: Vec<Key>,
}

/// Why keys make no set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySetInvalid {
    TooManyKeys,
    /// A key id of another issuer.
    OtherIssuer(KeyId),
    /// Two keys with one id.
    RepeatedKey(KeyId),
    /// A key that ends before it begins, or not at whole seconds.
    BadValidity(KeyId),
    /// A public key of small order, which would accept a signature nobody made.
    WeakKey(KeyId),
    TooManyScopes(KeyId),
}

impl fmt::Display for KeySetInvalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyKeys => write!(f, "a key set holds {KEYS_MAX} keys at most"),
            Self::OtherIssuer(kid) => write!(f, "key {kid} belongs to another issuer"),
            Self::RepeatedKey(kid) => write!(f, "key {kid} stands in the set twice"),
            Self::BadValidity(kid) => write!(f, "key {kid} has no proper validity"),
            Self::WeakKey(kid) => write!(f, "key {kid} is weak"),
            Self::TooManyScopes(kid) => {
                write!(f, "key {kid} names more than {KEY_SCOPES_MAX} scopes")
            }
        }
    }
}

impl std::error::Error for KeySetInvalid {}

impl KeySet {
    /// # Errors
    /// When a key is another issuer's, stands there twice, is weak or never valid, or there are
    /// too many.
    pub fn new(version: u64, issuer: Issuer, mut keys: Vec<Key>) -> Result<Self, KeySetInvalid> {
        if keys.len() > KEYS_MAX {
            return Err(KeySetInvalid::TooManyKeys);
        }
        keys.sort_by_key(|key| key.kid);
        let mut before = None;
        for key in &keys {
            check_key(key, issuer)?;
            if before == Some(key.kid) {
                return Err(KeySetInvalid::RepeatedKey(key.kid));
            }
            before = Some(key.kid);
        }
        Ok(Self {
            version,
            issuer,
            keys,
        })
    }

    /// Rises with every change.
    pub const fn version(&self) -> u64 {
        self.version
    }

    pub const fn issuer(&self) -> Issuer {
        self.issuer
    }

    /// In the order of their ids.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub fn key(&self, kid: KeyId) -> Option<&Key> {
        let index = self.keys.binary_search_by_key(&kid, |key| key.kid).ok()?;
        self.keys.get(index)
    }
}

fn check_key(key: &Key, issuer: Issuer) -> Result<(), KeySetInvalid> {
    if key.kid.issuer() != Some(issuer) {
        return Err(KeySetInvalid::OtherIssuer(key.kid));
    }
    let whole = |at: DateTime<Utc>| at.timestamp_subsec_nanos() == 0;
    if key.not_before >= key.not_after || !whole(key.not_before) || !whole(key.not_after) {
        return Err(KeySetInvalid::BadValidity(key.kid));
    }
    if key.public.is_weak() {
        return Err(KeySetInvalid::WeakKey(key.kid));
    }
    if key.scopes.len() > KEY_SCOPES_MAX {
        return Err(KeySetInvalid::TooManyScopes(key.kid));
    }
    Ok(())
}
