//! Key ids: who issued the key, and its number.

use std::fmt;
use std::str::FromStr;

/// Who issues tokens: one of the two unions, or a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Issuer {
    /// 渝, province code 50.
    Chongqing,
    /// 川, province code 51.
    Sichuan,
    /// Nobody real: refused wherever it is not explicitly allowed.
    Test,
}

impl Issuer {
    /// The high nibble of a key id.
    pub const fn nibble(self) -> u8 {
        match self {
            Self::Chongqing => 1,
            Self::Sichuan => 2,
            Self::Test => 15,
        }
    }

    pub const fn from_nibble(nibble: u8) -> Option<Self> {
        match nibble {
            1 => Some(Self::Chongqing),
            2 => Some(Self::Sichuan),
            15 => Some(Self::Test),
            _ => None,
        }
    }
}

/// An issuer nibble and a 12-bit number. Written as four hexadecimal digits, `1001`, also as the
/// `kid` of access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(u16);

impl KeyId {
    /// The highest key number of an issuer.
    pub const NUMBER_MAX: u16 = 0x0FFF;

    /// `None` above [`KeyId::NUMBER_MAX`].
    pub fn new(issuer: Issuer, number: u16) -> Option<Self> {
        (number <= Self::NUMBER_MAX).then(|| Self(u16::from(issuer.nibble()) << 12 | number))
    }

    /// As it stands in a token, which may name an issuer that does not exist.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    pub const fn get(self) -> u16 {
        self.0
    }

    /// `None` for a nibble that no issuer has.
    pub const fn issuer(self) -> Option<Issuer> {
        let [high, _] = self.0.to_be_bytes();
        Issuer::from_nibble(high >> 4)
    }

    pub const fn number(self) -> u16 {
        self.0 & Self::NUMBER_MAX
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

/// The text is not four lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadKeyId;

impl fmt::Display for BadKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key id is four lower-case hexadecimal digits")
    }
}

impl std::error::Error for BadKeyId {}

impl FromStr for KeyId {
    type Err = BadKeyId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let exact = text.len() == 4
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !exact {
            return Err(BadKeyId);
        }
        u16::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| BadKeyId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The issuer is the high nibble, the text reads back, and nothing else is a key id.
    #[test]
    fn a_key_id_names_its_issuer() {
        let kid = KeyId::new(Issuer::Sichuan, 0x0FFF).expect("twelve bits");
        assert_eq!(kid.to_string(), "2fff");
        assert_eq!(kid.issuer(), Some(Issuer::Sichuan));
        assert_eq!(kid.number(), 0x0FFF);
        assert_eq!("2fff".parse(), Ok(kid));
        assert_eq!(KeyId::new(Issuer::Test, 0x1000), None);
        assert_eq!(KeyId::from_bits(0x3001).issuer(), None);
        for text in ["", "2FFF", "+fff", "2fff0", "02fff", "2ff"] {
            assert_eq!(text.parse::<KeyId>(), Err(BadKeyId), "{text:?}");
        }
    }
}
