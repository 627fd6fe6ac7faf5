//! The unified social credit code, GB 32100-2015: ISO 7064 MOD 31-3 over eighteen characters.
//!
//! Not every union has one, and a code says nothing about what the organisation is here: those
//! of federations begin with 1, of grassroots unions with 81, of companies with 9.

use std::fmt;

use crate::error::Refusal;

/// No I, O, S, V, Z.
const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
/// 3^i modulo 31.
const WEIGHTS: [usize; 17] = [
    1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28,
];

/// A code whose check character holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uscc(String);

impl Uscc {
    /// # Errors
    /// [`Refusal::UsccInvalid`] when length, alphabet or check character are wrong.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let text = text.trim().to_ascii_uppercase();
        let values: Option<Vec<usize>> = text
            .bytes()
            .map(|byte| ALPHABET.iter().position(|&known| known == byte))
            .collect();
        let values = values
            .filter(|values| values.len() == 18)
            .ok_or(Refusal::UsccInvalid)?;
        let sum: usize = values
            .iter()
            .zip(WEIGHTS)
            .map(|(value, weight)| value * weight)
            .sum();
        if (31 - sum % 31) % 31 == values[17] {
            Ok(Self(text))
        } else {
            Err(Refusal::UsccInvalid)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uscc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_changed_character_is_noticed() {
        let good = "91110000600037341L";
        assert_eq!(Uscc::parse(good).unwrap().as_str(), good);
        for at in 0..18 {
            for other in ALPHABET {
                let mut bytes = good.as_bytes().to_vec();
                if bytes[at] != *other {
                    bytes[at] = *other;
                    let text = String::from_utf8(bytes).unwrap();
                    assert_eq!(Uscc::parse(&text), Err(Refusal::UsccInvalid), "{text}");
                }
            }
        }
    }
}
