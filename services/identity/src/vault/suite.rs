//! The cipher suites: which cipher seals and which hash is keyed, by the number that each
//! ciphertext carries in its first byte. One so far; SM4 with SM3 would be the next variant, and
//! the compiler names every place that must know it. With [`Suite::CURRENT`] another one, what is
//! sealed from then on is its; what was sealed before opens as ever. Tests have a second one to
//! show that.

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
    /// What could follow: AES-128-GCM with half the key, and HMAC-SHA-512 cut short.
    #[cfg(test)]
    Next,
}

impl Suite {
    /// What new ciphertexts are made with.
    pub const CURRENT: Self = Self::AesGcmSha256;
    /// What names keys. It stays whatever is current, or no key in use would be known again.
    pub const OF_KEY_IDS: Self = Self::AesGcmSha256;
    /// What people are found by, and codes, claims and tags are known by. It stays whatever is
    /// current, or nobody would be found: another one takes a new index.
    pub const OF_INDEX: Self = Self::AesGcmSha256;

    /// The first byte of its ciphertexts.
    pub const fn code(self) -> u8 {
        match self {
            Self::AesGcmSha256 => 1,
            #[cfg(test)]
            Self::Next => 2,
        }
    }

    /// The suite of a ciphertext's first byte.
    pub const fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::AesGcmSha256),
            #[cfg(test)]
            2 => Some(Self::Next),
            _ => None,
        }
    }

    /// Its cipher under a key; the key's schedule is wiped when it is dropped.
    pub(super) fn cipher(self, key: &[u8; 32]) -> Cipher {
        match self {
            Self::AesGcmSha256 => Cipher::AesGcm(Box::new(Aes256Gcm::new(key.into()))),
            #[cfg(test)]
            Self::Next => Cipher::Next(Box::new(tests::half(key))),
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
            #[cfg(test)]
            Self::Next => tests::long_mac(key, parts),
        }
    }
}

/// Holds only as long as the cipher wipes its round keys when it is dropped.
const fn is_wiped<T: zeroize::ZeroizeOnDrop>() {}
const _: () = is_wiped::<aes::Aes256>();

/// A suite's cipher with a key in it.
pub(super) enum Cipher {
    AesGcm(Box<Aes256Gcm>),
    #[cfg(test)]
    Next(Box<aes_gcm::Aes128Gcm>),
}

impl Cipher {
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
            #[cfg(test)]
            Self::Next(cipher) => cipher
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
            #[cfg(test)]
            Self::Next(cipher) => cipher
                .decrypt(Nonce::from_slice(nonce), Payload { msg, aad })
                .ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use aes_gcm::Aes128Gcm;
    use kit::Ids;
    use sha2::Sha512;
    use uuid::Uuid;
    use zeroize::Zeroizing;

    use super::super::blind::{BlindIndex, Sought};
    use super::super::{Cell, SealingKey};
    use super::*;
    use crate::domain::identifier::Phone;

    pub(super) fn half(key: &[u8; 32]) -> Aes128Gcm {
        Aes128Gcm::new_from_slice(&key[..16]).unwrap()
    }

    pub(super) fn long_mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = <Hmac<Sha512> as Mac>::new_from_slice(key).unwrap();
        for part in parts {
            mac.update(part);
        }
        let mut cut = [0; 32];
        cut.copy_from_slice(&mac.finalize().into_bytes()[..32]);
        cut
    }

    /// A ciphertext's first byte names the suite that opens it, and no other byte names one.
    #[test]
    fn each_suite_has_its_code() {
        for code in 0..=u8::MAX {
            let known = Suite::of(code);
            assert_eq!(known.map_or(code, Suite::code), code);
            assert_eq!(known.is_some(), matches!(code, 1 | 2), "{code}");
        }
    }

    /// With another suite current, what was sealed before opens, what is sealed is the other one's,
    /// and a process that runs on with the old one opens that too.
    #[test]
    fn one_suite_follows_another() {
        let ids = Ids::seeded(1);
        let old = SealingKey::new(&[9; 32]);
        let new = old.clone().sealing_by(Suite::Next);
        let cell = Cell::new("person", "name", Uuid::from_u128(1));
        let sealed = [&old, &new].map(|key| key.seal(&ids, cell, "张三".as_bytes()).unwrap());
        let suites = sealed.each_ref().map(|it| Suite::of(it[0]));
        assert_eq!(suites, [Some(Suite::CURRENT), Some(Suite::Next)]);
        for key in [&old, &new] {
            for sealed in &sealed {
                assert_eq!(key.open_text(cell, sealed).unwrap().as_str(), "张三");
            }
        }
        let mut renamed = sealed[0].clone();
        renamed[0] = Suite::Next.code();
        assert!(
            new.open(cell, &renamed).is_err(),
            "the other one's it is not"
        );
        renamed[0] = 0;
        assert!(new.open(cell, &renamed).is_err(), "nobody's");
    }

    /// A key is known by the same id, and a person found by the same hash, whatever is current:
    /// HMAC-SHA-256 over the key and over what is looked for.
    #[test]
    fn what_keys_and_people_are_known_by_stays() {
        assert_eq!(SealingKey::new(&[9; 32]).id().to_string(), "0a570a56");
        let phone = Phone::parse("13800000001").unwrap();
        let found_by = Suite::AesGcmSha256.mac(&[2; 32], &[b"phone\0", b"13800000001"]);
        let index = BlindIndex::new(Zeroizing::new([2; 32]));
        assert_eq!(index.hash(Sought::Phone(&phone)).unwrap(), found_by);
    }

    /// RFC 4231, test case 2: the hash that the database's blind index is made of.
    #[test]
    fn the_keyed_hash_is_the_published_one() {
        let mac = Suite::AesGcmSha256.mac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        let published = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(mac), published);
    }
}
