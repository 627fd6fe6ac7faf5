//! AEAD_AES_256_GCM, which seals the resource of a notification.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The length of the API v3 key. A shorter one would silently be AES-128.
pub const API_V3_KEY_BYTES: usize = 32;

/// The merchant's symmetric key at the provider.
pub struct ApiV3Key(LessSafeKey);

impl fmt::Debug for ApiV3Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiV3Key")
    }
}

/// A sealed resource as it came.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    pub algorithm: &'a str,
    /// Ciphertext and tag, in base64.
    pub ciphertext: &'a str,
    pub associated_data: &'a str,
    pub nonce: &'a str,
}

impl ApiV3Key {
    /// `None` unless it is exactly 32 bytes.
    pub fn new(key: &[u8]) -> Option<Self> {
        if key.len() != API_V3_KEY_BYTES {
            return None;
        }
        UnboundKey::new(&AES_256_GCM, key)
            .ok()
            .map(|key| Self(LessSafeKey::new(key)))
    }

    /// The plain bytes; `None` when anything about it is not right.
    pub fn open(&self, sealed: &Sealed<'_>) -> Option<Vec<u8>> {
        if sealed.algorithm != "AEAD_AES_256_GCM" {
            return None;
        }
        let nonce: [u8; NONCE_LEN] = sealed.nonce.as_bytes().try_into().ok()?;
        let mut bytes = STANDARD.decode(sealed.ciphertext).ok()?;
        let aad = Aad::from(sealed.associated_data.as_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = self.0.open_in_place(nonce, aad, &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        let path = format!(
            "{}/../../proto/vectors/wechatpay/wechatpay.json",
            env!("CARGO_MANIFEST_DIR")
        );
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// The published resource opens, and none in which a byte differs.
    #[test]
    fn a_resource_opens_only_as_it_was_sealed() {
        for one in vectors()["resources"].as_array().unwrap() {
            let text = |name: &str| one[name].as_str().unwrap();
            let key = ApiV3Key::new(text("api_v3_key").as_bytes()).unwrap();
            let sealed = Sealed {
                algorithm: "AEAD_AES_256_GCM",
                ciphertext: text("ciphertext"),
                associated_data: text("associated_data"),
                nonce: text("nonce"),
            };
            assert_eq!(key.open(&sealed).unwrap(), text("plaintext").as_bytes());
            assert!(
                key.open(&Sealed {
                    associated_data: "refund",
                    ..sealed
                })
                .is_none()
            );
            assert!(
                key.open(&Sealed {
                    algorithm: "AEAD_SM4_GCM",
                    ..sealed
                })
                .is_none()
            );
            assert!(
                key.open(&Sealed {
                    nonce: "fdasflkja485",
                    ..sealed
                })
                .is_none()
            );
            assert!(
                key.open(&Sealed {
                    nonce: "short",
                    ..sealed
                })
                .is_none()
            );
            assert!(
                key.open(&Sealed {
                    ciphertext: "",
                    ..sealed
                })
                .is_none()
            );
            let mut bytes = STANDARD.decode(sealed.ciphertext).unwrap();
            bytes[0] ^= 1;
            let altered = STANDARD.encode(bytes);
            assert!(
                key.open(&Sealed {
                    ciphertext: &altered,
                    ..sealed
                })
                .is_none()
            );
        }
    }

    /// The published notification is sealed by a key of 16 bytes: such a key is refused.
    #[test]
    fn a_key_of_another_length_is_refused() {
        for length in [0, 16, 24, 31, 33, 64] {
            assert!(ApiV3Key::new(&vec![b'k'; length]).is_none(), "{length}");
        }
        assert!(ApiV3Key::new(&[b'k'; API_V3_KEY_BYTES]).is_some());
    }
}
