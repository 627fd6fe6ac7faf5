//! Whether an issuer's key really signed a token, and might.

use std::fmt;

use chrono::{DateTime, Utc};
use ed25519_dalek::Signature;

use super::{Signed, Token, signed_bytes};
use crate::keyset::{KeySet, KeyState, Purpose};
use crate::rules::Reason;

/// Why a token is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyError {
    /// The key id names another issuer than the key set's.
    OtherIssuer,
    /// The key set has no such key.
    UnknownKey,
    /// The key signs access tokens, not entry.
    OtherPurpose,
    /// The key was withdrawn.
    KeyRevoked,
    /// The key is not valid yet.
    KeyTooEarly,
    /// The key is no longer valid.
    KeyTooLate,
    /// The key may not sign for this product or session.
    ScopeNotAllowed,
    /// The key did not sign these bytes.
    BadSignature,
}

impl VerifyError {
    /// What the gate answers.
    pub const fn reason(self) -> Reason {
        match self {
            Self::BadSignature => Reason::BadSignature,
            Self::OtherIssuer
            | Self::UnknownKey
            | Self::OtherPurpose
            | Self::KeyRevoked
            | Self::KeyTooEarly
            | Self::KeyTooLate
            | Self::ScopeNotAllowed => Reason::UnknownKey,
        }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherIssuer => "the token's key belongs to another issuer",
            Self::UnknownKey => "the token's key is not in the key set",
            Self::OtherPurpose => "the token's key does not sign for entry",
            Self::KeyRevoked => "the token's key was revoked",
            Self::KeyTooEarly => "the token's key is not valid yet",
            Self::KeyTooLate => "the token's key is no longer valid",
            Self::ScopeNotAllowed => "the token's key may not sign for this scope",
            Self::BadSignature => "the token's signature does not hold",
        })
    }
}

impl std::error::Error for VerifyError {}

impl Signed {
    /// The token, believed. `now` is held against the key's validity only: the token's own window
    /// is a rule, judged by [`crate::rules::decide`] with all others.
    ///
    /// # Errors
    /// When the key is not one that may sign this token now, or did not.
    pub fn verify(&self, keys: &KeySet, now: DateTime<Utc>) -> Result<Token, VerifyError> {
        let kid = self.kid();
        if kid.issuer() != Some(keys.issuer()) {
            return Err(VerifyError::OtherIssuer);
        }
        let key = keys.key(kid).ok_or(VerifyError::UnknownKey)?;
        if key.purpose != Purpose::Entry {
            return Err(VerifyError::OtherPurpose);
        }
        if key.state == KeyState::Revoked {
            return Err(VerifyError::KeyRevoked);
        }
        if now < key.not_before {
            return Err(VerifyError::KeyTooEarly);
        }
        if now >= key.not_after {
            return Err(VerifyError::KeyTooLate);
        }
        if !key.signs_for(self.unverified().claims().scope) {
            return Err(VerifyError::ScopeNotAllowed);
        }
        let signature = Signature::from_bytes(self.signature());
        key.public
            .verify_strict(&signed_bytes(self.payload()), &signature)
            .map_err(|_| VerifyError::BadSignature)?;
        Ok(*self.unverified())
    }
}
