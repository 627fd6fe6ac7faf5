//! The cipher suites: which cipher seals and which hash is keyed, by the number that each
//! ciphertext carries in its first byte. One so far; SM4 with SM3 would be the next variant, and
//! the compiler names every place that must know it.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

pub(super) const NONCE_BYTES: usize = 12;

/// A cipher with authentication and a keyed hash that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// AES-256-GCM (NIST SP 800-38D) and HMAC-SHA-256 (RFC 2104).
    AesGcmSha256,
}

impl Suite {
    /// What new ciphertexts are made with.
    pub const CURRENT: Self = Self::AesGcmSha256;

    /// The first byte of its ciphertexts.
    pub const fn code(self) -> u8 {
        match self {
            Self::AesGcmSha256 => 1,
        }
    }

    /// The suite of a ciphertext's first byte.
    pub const fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::AesGcmSha256),
            _ => None,
        }
    }

    /// Its cipher under a key; the key's schedule is wiped when it is dropped.
    pub(super) fn cipher(self, key: &[u8; 32]) -> Cipher {
        match self {
            Self::AesGcmSha256 => Cipher::AesGcm(Box::new(Aes256Gcm::new(key.into()))),
        }
    }

    /// Its keyed hash over the parts, one after the other.
    pub(crate) fn mac(self, key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        match self {
            Self::AesGcmSha256 => {
                let mut mac =
                    <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes any key length");
                for part in parts {
                    mac.update(part);
                }
                mac.finalize().into_bytes().into()
            }
        }
    }
}

/// Holds only as long as the cipher wipes its round keys when it is dropped.
const fn is_wiped<T: zeroize::ZeroizeOnDrop>() {}
const _: () = is_wiped::<aes::Aes256>();

/// A suite's cipher with a key in it.
#[derive(Clone)]
pub(super) enum Cipher {
    AesGcm(Box<Aes256Gcm>),
}

impl Cipher {
    pub(super) const fn suite(&self) -> Suite {
        match self {
            Self::AesGcm(_) => Suite::AesGcmSha256,
        }
    }

    /// The ciphertext with its tag; `None` when the plain text is longer than the cipher takes.
    pub(super) fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        msg: &[u8],
    ) -> Option<Vec<u8>> {
        match self {
            Self::AesGcm(cipher) => cipher
                .encrypt(Nonce::from_slice(nonce), Payload { msg, aad })
                .ok(),
        }
    }

    /// The plain text; `None` when any of it is not what was sealed.
    pub(super) fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        msg: &[u8],
    ) -> Option<Vec<u8>> {
        match self {
            Self::AesGcm(cipher) => cipher
                .decrypt(Nonce::from_slice(nonce), Payload { msg, aad })
                .ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ciphertext's first byte names the suite that opens it, and no other byte names one.
    #[test]
    fn each_suite_has_its_code() {
        for code in 0..=u8::MAX {
            let known = Suite::of(code);
            assert_eq!(known.map_or(code, Suite::code), code);
            assert_eq!(known.is_some(), code == 1, "{code}");
        }
        assert_eq!(Suite::CURRENT.cipher(&[1; 32]).suite(), Suite::CURRENT);
    }

    /// RFC 4231, test case 2: the hash that the database's blind index is made of.
    #[test]
    fn the_keyed_hash_is_the_published_one() {
        let mac = Suite::AesGcmSha256.mac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        let published = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(mac), published);
    }
}
