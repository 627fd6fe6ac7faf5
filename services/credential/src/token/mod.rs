//! The CY1 token, static form: the right to enter, as a QR code that verifies without a network.
//!
//! 28 bytes big-endian, then an Ed25519 signature over `"CY1\0"` and those 28; `CY1:` and their
//! base45 text are 142 alphanumeric characters, a QR code of version 6-M.
//!
//! | Bytes | Field |
//! | --- | --- |
//! | 1 | format version (high nibble, 1) and [`Kind`] (low nibble) |
//! | 2 | [`KeyId`]: issuer nibble and 12-bit key number |
//! | 8 | entitlement id: random, never a member's |
//! | 4 | scope: pass product or show session |
//! | 3 + 3 | [`Minute`] from which and until which it is valid, half-open |
//! | 1 | [`Flags`]: bit 0 document check, bit 1 rotating required, the rest zero |
//! | 1 | generation: how often the entitlement was issued again |
//! | 4 | [`Holder`]: nothing, a 12-bit document tag, or a group's person count |
//! | 1 | home gate: the one gate that admits it, 0 = any |
//!
//! This module does not judge a token's window, generation or gate: that is
//! [`crate::rules::decide`]'s part, which has the entitlement's facts beside it.

mod holder;
mod parse;
mod verify;

use std::fmt;

use chrono::{DateTime, Utc};
use ed25519_dalek::{Signer, SigningKey};

pub use holder::{DocumentTag, GROUP_PERSONS_MAX, GroupSize, Holder, idtag};
pub use parse::{ParseError, Signed, TEXT_BYTES_MAX, parse};
pub use verify::VerifyError;

use crate::base45;
use crate::keyset::KeyId;

/// What stands before the base45 text.
pub const PREFIX: &str = "CY1:";
/// What stands before the signed bytes, so that no other signature can pass for a token's.
pub const SIGNED_CONTEXT: &[u8; 4] = b"CY1\0";
/// The signed part, in bytes.
pub const PAYLOAD_BYTES: usize = 28;
/// The whole token, in bytes.
pub const TOKEN_BYTES: usize = PAYLOAD_BYTES + 64;
/// The token's text, in characters, all of them ASCII.
pub const TEXT_CHARS: usize = 142;
/// How long a token lives at most, in minutes: 35 days, so that a revocation is forgotten after as
/// many. A printed card, which asks for a document at every entry, may live as long as its pass.
pub const LIFETIME_MINUTES_MAX: u32 = 35 * 24 * 60;

pub(crate) const FORMAT_VERSION: u8 = 1;
/// 2024-01-01T00:00+08:00 as a Unix time.
const EPOCH_SECONDS: i64 = 1_704_038_400;

/// What kind of right a token carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An annual pass.
    Pass,
    /// A seat or place in one performance.
    Ticket,
    /// A place in a course or lecture.
    Course,
    /// The door of a workers' station.
    Station,
    /// A relief grant.
    Relief,
    /// Many persons under one code; the token holds their number instead of a document tag.
    Group,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Pass,
        Self::Ticket,
        Self::Course,
        Self::Station,
        Self::Relief,
        Self::Group,
    ];

    /// The nibble in the token's first byte.
    pub const fn code(self) -> u8 {
        match self {
            Self::Pass => 1,
            Self::Ticket => 2,
            Self::Course => 3,
            Self::Station => 4,
            Self::Relief => 5,
            Self::Group => 6,
        }
    }

    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// What a token asks of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flags {
    /// The holder's document must be looked at; a printed card always says so.
    pub document_check: bool,
    /// The static form alone is not enough: the code must be a fresh rotating one.
    pub rotating_required: bool,
}

/// A minute since 2024-01-01T00:00+08:00, in 24 bits: up to November 2055.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Minute(u32);

impl Minute {
    pub const MAX: Self = Self(0x00FF_FFFF);

    /// `None` beyond [`Minute::MAX`].
    pub const fn new(minutes: u32) -> Option<Self> {
        if minutes <= Self::MAX.0 {
            Some(Self(minutes))
        } else {
            None
        }
    }

    /// The minute in which an instant lies; `None` before 2024 and after 2055.
    pub fn floor(at: DateTime<Utc>) -> Option<Self> {
        let minutes = at.timestamp().checked_sub(EPOCH_SECONDS)?.div_euclid(60);
        u32::try_from(minutes).ok().and_then(Self::new)
    }

    /// The number of minutes.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The instant at which the minute begins.
    pub fn instant(self) -> DateTime<Utc> {
        DateTime::from_timestamp(EPOCH_SECONDS + i64::from(self.0) * 60, 0)
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// What a token says, before anybody checked that it makes sense together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claims {
    pub kind: Kind,
    /// The key that signs it.
    pub kid: KeyId,
    pub entitlement_id: u64,
    /// The pass product or show session, from its service's sequence.
    pub scope: u32,
    pub valid_from: Minute,
    /// The first minute at which it is no longer valid.
    pub valid_until: Minute,
    pub flags: Flags,
    /// How often the entitlement was issued again; an older one is superseded.
    pub generation: u8,
    pub holder: Holder,
    /// The number of the one gate that admits it, 0 = any.
    pub home_gate: u8,
}

/// Why claims make no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// It would end before it begins.
    EmptyWindow,
    /// It would live longer than [`LIFETIME_MINUTES_MAX`] without a document check.
    LifetimeTooLong,
    /// A person count that is not a group's, or a group without one.
    HolderOfOtherKind,
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyWindow => "the token ends before it begins",
            Self::LifetimeTooLong => "a token without document check may live for 35 days at most",
            Self::HolderOfOtherKind => "only a group's token holds a person count",
        })
    }
}

impl std::error::Error for ClaimError {}

/// Claims that make sense together. That somebody signed them is what [`Signed::verify`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(Claims);

impl Token {
    /// # Errors
    /// When the window is empty or too long, or the holder does not fit the kind.
    pub const fn new(claims: Claims) -> Result<Self, ClaimError> {
        if claims.valid_from.0 >= claims.valid_until.0 {
            return Err(ClaimError::EmptyWindow);
        }
        let lifetime_minutes = claims.valid_until.0 - claims.valid_from.0;
        if lifetime_minutes > LIFETIME_MINUTES_MAX && !claims.flags.document_check {
            return Err(ClaimError::LifetimeTooLong);
        }
        let counts = matches!(claims.holder, Holder::Group { .. });
        if counts != matches!(claims.kind, Kind::Group) {
            return Err(ClaimError::HolderOfOtherKind);
        }
        Ok(Self(claims))
    }

    pub const fn claims(&self) -> &Claims {
        &self.0
    }

    /// The instant from which it is valid.
    pub fn valid_from(&self) -> DateTime<Utc> {
        self.0.valid_from.instant()
    }

    /// The first instant at which it is no longer valid.
    pub fn valid_until(&self) -> DateTime<Utc> {
        self.0.valid_until.instant()
    }

    /// How many persons may enter with it at once.
    pub const fn persons(&self) -> u16 {
        self.0.holder.persons()
    }

    /// The token's text, of [`TEXT_CHARS`] characters. `key` must be the one that
    /// [`Claims::kid`] names: nothing here can know.
    pub fn sign(&self, key: &SigningKey) -> String {
        self.signed(key).text()
    }

    /// The signed token, for callers that also keep its bytes.
    pub fn signed(&self, key: &SigningKey) -> Signed {
        let payload = self.payload();
        let signature = key.sign(&signed_bytes(&payload)).to_bytes();
        Signed::from_parts(*self, payload, signature)
    }

    pub(crate) fn payload(&self) -> [u8; PAYLOAD_BYTES] {
        let claims = &self.0;
        let mut bytes = [0; PAYLOAD_BYTES];
        bytes[0] = FORMAT_VERSION << 4 | claims.kind.code();
        bytes[1..3].copy_from_slice(&claims.kid.get().to_be_bytes());
        bytes[3..11].copy_from_slice(&claims.entitlement_id.to_be_bytes());
        bytes[11..15].copy_from_slice(&claims.scope.to_be_bytes());
        bytes[15..18].copy_from_slice(&claims.valid_from.0.to_be_bytes()[1..]);
        bytes[18..21].copy_from_slice(&claims.valid_until.0.to_be_bytes()[1..]);
        bytes[21] =
            u8::from(claims.flags.document_check) | u8::from(claims.flags.rotating_required) << 1;
        bytes[22] = claims.generation;
        bytes[23..27].copy_from_slice(&claims.holder.to_bits().to_be_bytes());
        bytes[27] = claims.home_gate;
        bytes
    }
}

/// What the signature covers.
pub(crate) fn signed_bytes(
    payload: &[u8; PAYLOAD_BYTES],
) -> [u8; SIGNED_CONTEXT.len() + PAYLOAD_BYTES] {
    let mut bytes = [0; SIGNED_CONTEXT.len() + PAYLOAD_BYTES];
    bytes[..SIGNED_CONTEXT.len()].copy_from_slice(SIGNED_CONTEXT);
    bytes[SIGNED_CONTEXT.len()..].copy_from_slice(payload);
    bytes
}

pub(crate) fn text_of(bytes: &[u8]) -> String {
    format!("{PREFIX}{}", base45::encode(bytes))
}
