//! Random texts from the operating system's generator: keys, serials, nonces, numbers.

use aes_gcm::aead::OsRng;
use aes_gcm::aead::rand_core::RngCore;

pub(crate) const DIGITS: &[u8] = b"0123456789";
pub(crate) const UPPER_HEX: &[u8] = b"0123456789ABCDEF";
pub(crate) const LOWER_HEX: &[u8] = b"0123456789abcdef";
pub(crate) const ALPHANUMERIC: &[u8] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `length` characters of `alphabet` (at most 256), each equally likely.
pub(crate) fn text(alphabet: &[u8], length: usize) -> String {
    // Bytes beyond the last whole multiple of the alphabet are thrown away, else the first
    // characters would be likelier.
    let fair = 256 - 256 % alphabet.len();
    let mut out = String::with_capacity(length);
    let mut bytes = [0_u8; 64];
    while out.len() < length {
        OsRng.fill_bytes(&mut bytes);
        for byte in bytes {
            let byte = usize::from(byte);
            if byte < fair && out.len() < length {
                out.push(char::from(alphabet[byte % alphabet.len()]));
            }
        }
    }
    out
}

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0_u8; N];
    OsRng.fill_bytes(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every character of the alphabet appears, nothing else does, and the length is exact.
    #[test]
    fn texts_use_the_whole_alphabet_and_nothing_else() {
        let text = text(ALPHANUMERIC, 10_000);
        assert_eq!(text.len(), 10_000);
        assert!(ALPHANUMERIC.iter().all(|c| text.contains(char::from(*c))));
        assert!(text.bytes().all(|c| ALPHANUMERIC.contains(&c)));
    }
}
