//! Base45 (RFC 9285): the 45 characters a QR code packs into eleven bits a pair.
//!
//! Decoding is strict, so that each byte string has exactly one text and a token cannot be
//! rewritten: no lower case, no white space, no value that overflows its bytes.

use std::fmt;

const ALPHABET: &[u8; 45] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

/// Why a text is not base45.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base45Error {
    /// A character outside the alphabet, such as a lower-case letter.
    Character,
    /// Three characters that say more than two bytes hold, or two that say more than one.
    Overflow,
    /// A length that no byte string has: one more than a multiple of three.
    Length,
}

impl fmt::Display for Base45Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Character => "a character outside the base45 alphabet",
            Self::Overflow => "a base45 group that overflows its bytes",
            Self::Length => "a length that no base45 text has",
        })
    }
}

impl std::error::Error for Base45Error {}

/// The text of `bytes`: three characters for each pair, two for a last single byte.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(2) * 3);
    for group in bytes.chunks(2) {
        match *group {
            [high, low] => push(&mut text, usize::from(u16::from_be_bytes([high, low])), 3),
            [single] => push(&mut text, usize::from(single), 2),
            _ => {}
        }
    }
    text
}

fn push(text: &mut String, mut value: usize, characters: usize) {
    for _ in 0..characters {
        text.push(char::from(ALPHABET[value % 45]));
        value /= 45;
    }
}

/// The bytes of a text.
///
/// # Errors
/// When the text is not exactly what [`encode`] writes for some bytes.
pub fn decode(text: &str) -> Result<Vec<u8>, Base45Error> {
    let characters = text.as_bytes();
    let mut bytes = Vec::with_capacity(characters.len() / 3 * 2 + 1);
    for group in characters.chunks(3) {
        match *group {
            [a, b, c] => {
                let value = digit(a)? + 45 * digit(b)? + 2025 * digit(c)?;
                let pair = u16::try_from(value).map_err(|_| Base45Error::Overflow)?;
                bytes.extend_from_slice(&pair.to_be_bytes());
            }
            [a, b] => {
                let value = digit(a)? + 45 * digit(b)?;
                bytes.push(u8::try_from(value).map_err(|_| Base45Error::Overflow)?);
            }
            _ => return Err(Base45Error::Length),
        }
    }
    Ok(bytes)
}

fn digit(character: u8) -> Result<u32, Base45Error> {
    let value = match character {
        b'0'..=b'9' => character - b'0',
        b'A'..=b'Z' => character - b'A' + 10,
        b' ' => 36,
        b'$' => 37,
        b'%' => 38,
        b'*' => 39,
        b'+' => 40,
        b'-' => 41,
        b'.' => 42,
        b'/' => 43,
        b':' => 44,
        _ => return Err(Base45Error::Character),
    };
    Ok(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 9285 §4.3 and §4.4.
    #[test]
    fn the_examples_of_the_standard_hold() {
        for (bytes, text) in [
            (&b"AB"[..], "BB8"),
            (b"Hello!!", "%69 VD92EX0"),
            (b"base-45", "UJCLQE7W581"),
            (b"ietf!", "QED8WEX0"),
            (b"", ""),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).as_deref(), Ok(bytes));
        }
        assert_eq!(
            decode("GGW"),
            Err(Base45Error::Overflow),
            "65536, RFC 9285 §6"
        );
    }

    /// Every one- and two-byte string survives, and nothing else decodes: one text, one meaning.
    #[test]
    fn the_code_is_one_to_one() {
        for pair in 0..=u16::MAX {
            let bytes = pair.to_be_bytes();
            assert_eq!(decode(&encode(&bytes)).as_deref(), Ok(&bytes[..]));
        }
        let mut decodable = 0;
        for a in ALPHABET {
            for b in ALPHABET {
                let text = String::from_utf8(vec![*a, *b]).expect("the alphabet is ASCII");
                if let Ok(bytes) = decode(&text) {
                    assert_eq!(encode(&bytes), text);
                    decodable += 1;
                }
            }
        }
        assert_eq!(decodable, 256);
    }

    /// What a scanner or an attacker may hand in besides.
    #[test]
    fn bad_text_is_refused_by_kind() {
        for (text, error) in [
            ("bb8", Base45Error::Character),
            ("BB8\n", Base45Error::Length),
            ("BB8B\n", Base45Error::Character),
            ("BB8é", Base45Error::Character),
            ("B", Base45Error::Length),
            ("BB8B", Base45Error::Length),
            (":::", Base45Error::Overflow),
            ("V5", Base45Error::Overflow),
            ("BB_", Base45Error::Character),
        ] {
            assert_eq!(decode(text), Err(error), "{text:?}");
        }
    }
}
