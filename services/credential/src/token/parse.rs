//! From the text a scanner read to the bytes that may be a token. Strict: one token has one
//! text, and whatever differs by a character is refused with the reason why.

use std::fmt;

use super::{
    ClaimError, Claims, FORMAT_VERSION, Flags, Holder, Kind, Minute, PAYLOAD_BYTES, PREFIX,
    TOKEN_BYTES, Token, text_of,
};
use crate::base45::{self, Base45Error};
use crate::keyset::KeyId;
use crate::rules::Reason;

/// The longest text that is looked at at all, in bytes: the rotating form's 160 characters. A
/// scanner that hands in more has not seen one of our codes.
pub const TEXT_BYTES_MAX: usize = 160;
/// The rotating form: the static one, a time step and eight bytes of a MAC.
const ROTATING_BYTES: usize = TOKEN_BYTES + 12;

/// Why a text is not a token this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Longer than [`TEXT_BYTES_MAX`].
    TooLong,
    /// Does not begin with `CY1:`: a code of something else.
    OtherCode,
    /// A later format: `CY2:` … `CY9:`, another version nibble, or the rotating form.
    UnknownVersion,
    /// Not base45.
    Base45(Base45Error),
    /// Not 92 bytes: cut short, or with something behind it.
    Length(usize),
    /// A kind nibble without a meaning.
    UnknownKind(u8),
    /// A flag without a meaning.
    UnknownFlag,
    /// Holder bits without a meaning.
    UnknownHolder,
    /// Fields that make no sense together.
    Claims(ClaimError),
}

impl ParseError {
    /// What the gate answers.
    pub const fn reason(self) -> Reason {
        match self {
            Self::UnknownVersion => Reason::UnknownVersion,
            Self::TooLong
            | Self::OtherCode
            | Self::Base45(_)
            | Self::Length(_)
            | Self::UnknownKind(_)
            | Self::UnknownFlag
            | Self::UnknownHolder
            | Self::Claims(_) => Reason::BadFormat,
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the code is longer than {TEXT_BYTES_MAX} bytes"),
            Self::OtherCode => f.write_str("the code does not begin with CY1:"),
            Self::UnknownVersion => f.write_str("the code's format is newer than this reader"),
            Self::Base45(_) => f.write_str("the code is not base45"),
            Self::Length(bytes) => {
                write!(f, "the code holds {bytes} bytes instead of {TOKEN_BYTES}")
            }
            Self::UnknownKind(kind) => write!(f, "the code is of unknown kind {kind}"),
            Self::UnknownFlag => f.write_str("the code sets an unknown flag"),
            Self::UnknownHolder => f.write_str("the code's holder field has no meaning"),
            Self::Claims(_) => f.write_str("the code's fields contradict each other"),
        }
    }
}

impl std::error::Error for ParseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Base45(source) => Some(source),
            Self::Claims(source) => Some(source),
            Self::TooLong
            | Self::OtherCode
            | Self::UnknownVersion
            | Self::Length(_)
            | Self::UnknownKind(_)
            | Self::UnknownFlag
            | Self::UnknownHolder => None,
        }
    }
}

/// A token with a signature that nobody checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    token: Token,
    payload: [u8; PAYLOAD_BYTES],
    signature: [u8; 64],
}

impl Signed {
    pub(crate) const fn from_parts(
        token: Token,
        payload: [u8; PAYLOAD_BYTES],
        signature: [u8; 64],
    ) -> Self {
        Self {
            token,
            payload,
            signature,
        }
    }

    /// The key it claims: its issuer says which key set to verify it with.
    pub const fn kid(&self) -> KeyId {
        self.token.claims().kid
    }

    /// What the token would say if its signature holds. For choosing rules and rows to load; a
    /// decision takes the token that [`Signed::verify`] returns.
    pub const fn unverified(&self) -> &Token {
        &self.token
    }

    pub(crate) const fn payload(&self) -> &[u8; PAYLOAD_BYTES] {
        &self.payload
    }

    pub(crate) const fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// The exact bytes, for a redemption that must prove its use to the issuer.
    pub fn bytes(&self) -> [u8; TOKEN_BYTES] {
        let mut bytes = [0; TOKEN_BYTES];
        bytes[..PAYLOAD_BYTES].copy_from_slice(&self.payload);
        bytes[PAYLOAD_BYTES..].copy_from_slice(&self.signature);
        bytes
    }

    /// The exact text.
    pub fn text(&self) -> String {
        text_of(&self.bytes())
    }

    /// Reads the bytes that [`Signed::bytes`] gave.
    ///
    /// # Errors
    /// As [`parse`], save those about text.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ParseError> {
        let version = bytes.first().ok_or(ParseError::Length(0))? >> 4;
        if version != FORMAT_VERSION || bytes.len() == ROTATING_BYTES {
            return Err(ParseError::UnknownVersion);
        }
        let whole: &[u8; TOKEN_BYTES] = bytes
            .try_into()
            .map_err(|_| ParseError::Length(bytes.len()))?;
        let (payload, signature) = whole.split_at(PAYLOAD_BYTES);
        let payload: [u8; PAYLOAD_BYTES] = payload
            .try_into()
            .map_err(|_| ParseError::Length(bytes.len()))?;
        let signature: [u8; 64] = signature
            .try_into()
            .map_err(|_| ParseError::Length(bytes.len()))?;
        let token = token_of(&payload)?;
        Ok(Self {
            token,
            payload,
            signature,
        })
    }
}

/// Reads the text of a QR code.
///
/// # Errors
/// When it is not exactly the text of a CY1 token in its static form. The caller must not trim or
/// change the case of what the scanner read.
pub fn parse(text: &str) -> Result<Signed, ParseError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(ParseError::TooLong);
    }
    let Some(body) = text.strip_prefix(PREFIX) else {
        return Err(match text.as_bytes() {
            [b'C', b'Y', b'2'..=b'9', b':', ..] => ParseError::UnknownVersion,
            _ => ParseError::OtherCode,
        });
    };
    let bytes = base45::decode(body).map_err(ParseError::Base45)?;
    Signed::from_bytes(&bytes)
}

fn token_of(payload: &[u8; PAYLOAD_BYTES]) -> Result<Token, ParseError> {
    let [
        head,
        k0,
        k1,
        id @ ..,
        s0,
        s1,
        s2,
        s3,
        f0,
        f1,
        f2,
        u0,
        u1,
        u2,
        flags,
        generation,
        h0,
        h1,
        h2,
        h3,
        home_gate,
    ] = *payload;
    let kind = Kind::from_code(head & 0x0F).ok_or(ParseError::UnknownKind(head & 0x0F))?;
    if flags & !0b11 != 0 {
        return Err(ParseError::UnknownFlag);
    }
    let holder =
        Holder::from_bits(u32::from_be_bytes([h0, h1, h2, h3])).ok_or(ParseError::UnknownHolder)?;
    Token::new(Claims {
        kind,
        kid: KeyId::from_bits(u16::from_be_bytes([k0, k1])),
        entitlement_id: u64::from_be_bytes(id),
        scope: u32::from_be_bytes([s0, s1, s2, s3]),
        valid_from: minute([f0, f1, f2]),
        valid_until: minute([u0, u1, u2]),
        flags: Flags {
            document_check: flags & 1 != 0,
            rotating_required: flags & 2 != 0,
        },
        generation,
        holder,
        home_gate,
    })
    .map_err(ParseError::Claims)
}

fn minute([a, b, c]: [u8; 3]) -> Minute {
    Minute::new(u32::from_be_bytes([0, a, b, c])).unwrap_or(Minute::MAX)
}
