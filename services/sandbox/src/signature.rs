//! The provider's side of the protocol's cryptography: verify requests, sign answers, seal
//! notifications (WeChat Pay API v3, `WECHATPAY2-SHA256-RSA2048` and `AEAD_AES_256_GCM`).
//!
//! Written on other crates than the client's, so that a shared mistake cannot hide: `ring` signs,
//! and the tests hold it against the documentation's examples and `rsa`.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use rsa::pkcs1::EncodeRsaPublicKey;
use rsa::pkcs8::EncodePrivateKey;
use rsa::{RsaPrivateKey, RsaPublicKey};
use std::collections::{HashSet, VecDeque};

pub(crate) const SCHEME: &str = "WECHATPAY2-SHA256-RSA2048";
/// A request or notification further than this from the clock is refused.
pub(crate) const TIMESTAMP_SKEW_SECONDS_MAX: i64 = 300;
/// Nonces remembered at once; beyond it requests are refused rather than replays let through.
const NONCES_MAX: usize = 500_000;

/// The fields of an `Authorization` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorization {
    pub(crate) mchid: String,
    pub(crate) nonce: String,
    pub(crate) signature: String,
    pub(crate) timestamp: i64,
    pub(crate) serial: String,
}

impl Authorization {
    /// Reads `WECHATPAY2-SHA256-RSA2048 mchid="…",nonce_str="…",…` in any order of fields;
    /// `None` for another scheme, a field missing, unknown or there twice.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let mut fields: [Option<&str>; 5] = [None; 5];
        for part in header.strip_prefix(SCHEME)?.strip_prefix(' ')?.split(',') {
            let (name, value) = part.trim().split_once('=')?;
            let value = value.strip_prefix('"')?.strip_suffix('"')?;
            let place = match name {
                "mchid" => 0,
                "nonce_str" => 1,
                "signature" => 2,
                "timestamp" => 3,
                "serial_no" => 4,
                _ => return None,
            };
            if value.is_empty() || fields[place].replace(value).is_some() {
                return None;
            }
        }
        let [mchid, nonce, signature, timestamp, serial] = fields;
        let timestamp = timestamp?;
        if !timestamp.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self {
            mchid: mchid?.to_owned(),
            nonce: nonce?.to_owned(),
            signature: signature?.to_owned(),
            timestamp: timestamp.parse().ok()?,
            serial: serial?.to_owned(),
        })
    }
}

/// What a merchant signs: five lines, each ended.
pub(crate) fn request_message(
    method: &str,
    target: &str,
    authorization: &Authorization,
    body: &[u8],
) -> Vec<u8> {
    let Authorization {
        timestamp, nonce, ..
    } = authorization;
    let mut message = format!("{method}\n{target}\n{timestamp}\n{nonce}\n").into_bytes();
    message.extend_from_slice(body);
    message.push(b'\n');
    message
}

/// What the provider signs: three lines, each ended.
pub(crate) fn answer_message(timestamp: i64, nonce: &str, body: &[u8]) -> Vec<u8> {
    let mut message = format!("{timestamp}\n{nonce}\n").into_bytes();
    message.extend_from_slice(body);
    message.push(b'\n');
    message
}

/// What the provider signs with.
pub(crate) struct Signing(RsaKeyPair);

impl Signing {
    /// `None` for a key that is too short or not sound.
    pub(crate) fn new(key: &RsaPrivateKey) -> Option<Self> {
        let der = key.to_pkcs8_der().ok()?;
        RsaKeyPair::from_pkcs8(der.as_bytes()).ok().map(Self)
    }

    /// SHA256withRSA (PKCS#1 v1.5), base64.
    pub(crate) fn sign(&self, message: &[u8]) -> String {
        let mut signature = vec![0; self.0.public().modulus_len()];
        let random = SystemRandom::new();
        let signed = self
            .0
            .sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
        // Nobody believes what is empty.
        signed.map_or_else(|_| String::new(), |()| STANDARD.encode(signature))
    }
}

/// What a merchant's signatures are verified with.
pub(crate) struct Verifying(UnparsedPublicKey<Vec<u8>>);

impl Verifying {
    /// `None` for a key that cannot be written down.
    pub(crate) fn new(key: &RsaPublicKey) -> Option<Self> {
        let der = key.to_pkcs1_der().ok()?;
        let der = der.as_bytes().to_vec();
        Some(Self(UnparsedPublicKey::new(
            &RSA_PKCS1_2048_8192_SHA256,
            der,
        )))
    }

    /// Whether `signature` (base64) is the key's over `message`.
    pub(crate) fn verify(&self, message: &[u8], signature: &str) -> bool {
        STANDARD
            .decode(signature)
            .is_ok_and(|bytes| self.0.verify(message, &bytes).is_ok())
    }
}

/// AES-256-GCM; the answer is base64 of the ciphertext with its 16-byte tag at the end.
/// `nonce` must have 12 bytes, else `None`.
pub(crate) fn seal(
    key: &[u8; 32],
    nonce: &str,
    associated_data: &str,
    plaintext: &str,
) -> Option<String> {
    if nonce.len() != 12 {
        return None;
    }
    let payload = Payload {
        msg: plaintext.as_bytes(),
        aad: associated_data.as_bytes(),
    };
    let sealed = Aes256Gcm::new(key.into()).encrypt(Nonce::from_slice(nonce.as_bytes()), payload);
    sealed.ok().map(|bytes| STANDARD.encode(bytes))
}

/// Nonces seen within the time in which their request would still be accepted.
#[derive(Debug, Default)]
pub(crate) struct NonceBook {
    seen: HashSet<(String, String)>,
    by_age: VecDeque<(i64, (String, String))>,
}

impl NonceBook {
    /// Remembers a nonce of a merchant; false when it was seen before or the book is full.
    pub(crate) fn remember(&mut self, mchid: &str, nonce: &str, now_seconds: i64) -> bool {
        // Twice the skew: a request may carry a time that far ahead and come back that far late.
        let oldest = now_seconds - 2 * TIMESTAMP_SKEW_SECONDS_MAX;
        while self.by_age.front().is_some_and(|(at, _)| *at < oldest) {
            if let Some((_, key)) = self.by_age.pop_front() {
                let _was = self.seen.remove(&key);
            }
        }
        let key = (mchid.to_owned(), nonce.to_owned());
        if self.seen.len() >= NONCES_MAX || !self.seen.insert(key.clone()) {
            return false;
        }
        self.by_age.push_back((now_seconds, key));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsa::pkcs1::DecodeRsaPrivateKey;
    use rsa::pkcs1v15::SigningKey;
    use rsa::pkcs8::DecodePublicKey;
    use rsa::sha2::Sha256;
    use rsa::signature::{SignatureEncoding, Signer};
    use serde_json::Value;

    const VECTORS: &str = include_str!("../tests/vectors/wechatpay.json");
    const MERCHANT: &str = include_str!("../tests/vectors/merchant_sample_key.pem");
    const PLATFORM: &str = include_str!("../tests/vectors/platform_sample_public_key.pem");
    const NOTIFIER: &str = include_str!("../tests/vectors/notification_sample_public_key.pem");

    fn vectors(kind: &str) -> Vec<Value> {
        let all: Value = serde_json::from_str(VECTORS).unwrap();
        all[kind].as_array().unwrap().clone()
    }

    fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
        vector[field].as_str().unwrap()
    }

    fn merchant() -> RsaPrivateKey {
        RsaPrivateKey::from_pkcs1_pem(MERCHANT).unwrap()
    }

    /// The documentation's request examples verify, byte for byte, and stop verifying when any
    /// part of the message differs.
    #[test]
    fn request_signatures_of_the_documentation_verify() {
        let private = merchant();
        let (public, signing) = (
            Verifying::new(&RsaPublicKey::from(&private)).unwrap(),
            Signing::new(&private).unwrap(),
        );
        for vector in vectors("requests") {
            let authorization = Authorization {
                mchid: "1900007291".to_owned(),
                nonce: text(&vector, "nonce").to_owned(),
                signature: text(&vector, "signature").to_owned(),
                timestamp: text(&vector, "timestamp").parse().unwrap(),
                serial: "408B07E79B8269FEC3D5D3E6AB8ED163A6A380DB".to_owned(),
            };
            let message = |method: &str, target: &str, body: &str| {
                request_message(method, target, &authorization, body.as_bytes())
            };
            let (method, target) = (text(&vector, "method"), text(&vector, "target"));
            let (body, signature) = (text(&vector, "body"), text(&vector, "signature"));
            let whole = message(method, target, body);
            assert!(public.verify(&whole, signature), "{vector}");
            assert_eq!(signing.sign(&whole), signature);
            let other = SigningKey::<Sha256>::new(private.clone()).sign(&whole);
            assert_eq!(STANDARD.encode(other.to_bytes()), signature);
            for changed in [
                message("PUT", target, body),
                message(method, &format!("{target}?"), body),
                message(method, target, &format!("{body} ")),
            ] {
                assert!(!public.verify(&changed, signature));
            }
        }
    }

    /// The call-up example of the documentation comes out the same.
    #[test]
    fn pay_sign_of_the_documentation_comes_out() {
        for vector in vectors("pay_sign") {
            let message = format!(
                "{}\n{}\n{}\n{}\n",
                text(&vector, "app_id"),
                text(&vector, "timestamp"),
                text(&vector, "nonce"),
                text(&vector, "package"),
            );
            let signature = Signing::new(&merchant()).unwrap().sign(message.as_bytes());
            assert_eq!(signature, text(&vector, "signature"));
        }
    }

    /// What the provider signed verifies with the same message layout as ours.
    #[test]
    fn answers_and_notifications_of_the_provider_verify() {
        for (kind, pem) in [("answers", PLATFORM), ("notifications", NOTIFIER)] {
            let key = Verifying::new(&RsaPublicKey::from_public_key_pem(pem).unwrap()).unwrap();
            for vector in vectors(kind) {
                let timestamp = text(&vector, "timestamp").parse().unwrap();
                let body = text(&vector, "body");
                let message = answer_message(timestamp, text(&vector, "nonce"), body.as_bytes());
                assert!(key.verify(&message, text(&vector, "signature")), "{vector}");
                let later = answer_message(timestamp + 1, text(&vector, "nonce"), body.as_bytes());
                assert!(!key.verify(&later, text(&vector, "signature")));
            }
        }
    }

    /// Sealing gives the known ciphertext, and a nonce of another length is not sealed at all.
    #[test]
    fn resources_are_sealed_as_known() {
        for vector in vectors("resources") {
            let key = <&[u8; 32]>::try_from(text(&vector, "api_v3_key").as_bytes()).unwrap();
            let aad = text(&vector, "associated_data");
            let plaintext = text(&vector, "plaintext");
            let sealed = seal(key, text(&vector, "nonce"), aad, plaintext).unwrap();
            assert_eq!(sealed, text(&vector, "ciphertext"));
            assert_eq!(seal(key, "short", aad, plaintext), None);
        }
    }

    /// The header is read in any order of its fields; everything else about it is exact.
    #[test]
    fn authorization_headers_are_read_strictly() {
        let good = format!(
            r#"{SCHEME} mchid="1",nonce_str="N",signature="a+/=",timestamp="17",serial_no="S""#
        );
        let parsed = Authorization::parse(&good).unwrap();
        assert_eq!((parsed.timestamp, parsed.signature.as_str()), (17, "a+/="));
        let reordered = format!(
            r#"{SCHEME} serial_no="S", timestamp="17",signature="a+/=",nonce_str="N",mchid="1""#
        );
        assert_eq!(Authorization::parse(&reordered), Some(parsed));
        for bad in [
            "",
            SCHEME,
            "Bearer x",
            &good.replace(SCHEME, "WECHATPAY2-SM2-WITH-SM3"),
            &good.replace("mchid", "merchant"),
            &good.replace(r#"mchid="1","#, ""),
            &good.replace(r#"mchid="1""#, r#"mchid="1",mchid="2""#),
            &good.replace(r#""17""#, r#""-17""#),
            &good.replace(r#""17""#, r#""+17""#),
            &good.replace(r#""17""#, r#""99999999999999999999""#),
            &good.replace(r#""N""#, r#""""#),
            &good.replace(r#""N""#, "N"),
        ] {
            assert_eq!(Authorization::parse(bad), None, "{bad}");
        }
    }

    /// A nonce counts once per merchant, and is forgotten only when its request is too old anyway.
    #[test]
    fn nonces_count_once_while_their_request_would_be_accepted() {
        let mut book = NonceBook::default();
        assert!(book.remember("1", "N", 1_000));
        assert!(!book.remember("1", "N", 1_000));
        assert!(book.remember("2", "N", 1_000));
        assert!(!book.remember("1", "N", 1_600));
        assert!(book.remember("1", "N", 1_601));
    }
}
