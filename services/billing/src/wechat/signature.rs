//! SHA256withRSA over the provider's messages: signing ours, verifying its own on the raw bytes.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A message whose time is this far from ours, or farther, is not believed, in seconds.
pub const SKEW_SECONDS_MAX: i64 = 300;
/// The provider sends signatures that begin so, and that must fail, to see whether we look.
const PROBE_PREFIX: &str = "WECHATPAY/SIGNTEST/";
/// The longest signature header, in characters: RSA of 8192 bits in base64.
const SIGNATURE_CHARS_MAX: usize = 1_368;
const HEADER_CHARS_MAX: usize = 128;

/// Why a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    #[error("a signature header is missing, doubled or malformed")]
    Headers,
    #[error("the time is too far off")]
    Stale,
    #[error("the key is not one we know")]
    UnknownSerial,
    #[error("a signature probe")]
    Probe,
    #[error("the signature does not verify")]
    Signature,
}

impl Untrusted {
    /// For metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Stale => "stale",
            Self::UnknownSerial => "unknown_serial",
            Self::Probe => "probe",
            Self::Signature => "signature",
        }
    }
}

/// What a request of ours is signed over.
pub fn request_message(
    method: &str,
    target: &str,
    timestamp: i64,
    nonce: &str,
    body: &str,
) -> String {
    format!("{method}\n{target}\n{timestamp}\n{nonce}\n{body}\n")
}

/// What a JSAPI call-up is signed over; `package` is `prepay_id=…`.
pub fn pay_sign_message(app_id: &str, timestamp: &str, nonce: &str, package: &str) -> String {
    format!("{app_id}\n{timestamp}\n{nonce}\n{package}\n")
}

/// Our own key at the provider.
pub struct PrivateKey(KeyPair);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

impl PrivateKey {
    /// From PEM, PKCS#8 or PKCS#1; `None` when it is no RSA key of at least 2048 bits.
    pub fn from_pem(pem: &str) -> Option<Self> {
        let (label, der) = pem_block(pem)?;
        let key = match label {
            "PRIVATE KEY" => KeyPair::from_pkcs8(&der).ok()?,
            "RSA PRIVATE KEY" => KeyPair::from_der(&der).ok()?,
            _ => return None,
        };
        (key.public_modulus_len() >= 256).then_some(Self(key))
    }

    /// The signature in base64; `None` only when the machine has no memory for it.
    pub fn sign(&self, message: &str) -> Option<String> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = SystemRandom::new();
        self.0
            .sign(
                &RSA_PKCS1_SHA256,
                &random,
                message.as_bytes(),
                &mut signature,
            )
            .ok()?;
        Some(STANDARD.encode(signature))
    }

    /// Whether it is the other half of `public`.
    pub fn matches(&self, public: &PlatformKey) -> bool {
        public.der == self.0.public_key().as_ref()
    }
}

/// A public key of the provider's and the serial that chooses it.
#[derive(Clone)]
pub struct PlatformKey {
    serial: String,
    der: Vec<u8>,
}

impl fmt::Debug for PlatformKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlatformKey")
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

impl PlatformKey {
    /// From the PEM of a public key; `None` when it is none or the serial is empty.
    pub fn from_pem(serial: &str, pem: &str) -> Option<Self> {
        let (label, der) = pem_block(pem)?;
        let known = aws_lc_rs::rsa::PublicKey::from_der(&der).is_ok();
        (label == "PUBLIC KEY" && known && !serial.is_empty()).then(|| Self {
            serial: serial.to_owned(),
            der,
        })
    }
}

/// The four headers that prove a message of the provider's.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    pub timestamp: &'a str,
    pub nonce: &'a str,
    pub signature: &'a str,
    pub serial: &'a str,
}

impl<'a> Proof<'a> {
    /// Reads them; each must stand exactly once.
    ///
    /// # Errors
    /// When one is missing, doubled or unreadable.
    pub fn from_headers(headers: &'a axum::http::HeaderMap) -> Result<Self, Untrusted> {
        let one = |name: &str, chars_max: usize| {
            let mut values = headers.get_all(name).iter();
            let (Some(value), None) = (values.next(), values.next()) else {
                return Err(Untrusted::Headers);
            };
            let text = value.to_str().map_err(|_| Untrusted::Headers)?;
            let fits = !text.is_empty() && text.len() <= chars_max;
            if fits {
                Ok(text)
            } else {
                Err(Untrusted::Headers)
            }
        };
        Ok(Self {
            timestamp: one("wechatpay-timestamp", HEADER_CHARS_MAX)?,
            nonce: one("wechatpay-nonce", HEADER_CHARS_MAX)?,
            signature: one("wechatpay-signature", SIGNATURE_CHARS_MAX)?,
            serial: one("wechatpay-serial", HEADER_CHARS_MAX)?,
        })
    }

    /// Believes `body`, or says why not. `now` in seconds since the Unix epoch.
    ///
    /// # Errors
    /// As [`Untrusted`].
    pub fn verify(&self, keys: &[PlatformKey], body: &[u8], now: i64) -> Result<(), Untrusted> {
        let digits = self.timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let timestamp: i64 = self
            .timestamp
            .parse()
            .ok()
            .filter(|_| digits)
            .ok_or(Untrusted::Headers)?;
        if (now - timestamp).abs() >= SKEW_SECONDS_MAX {
            return Err(Untrusted::Stale);
        }
        if self.signature.starts_with(PROBE_PREFIX) {
            return Err(Untrusted::Probe);
        }
        let key = keys
            .iter()
            .find(|key| key.serial == self.serial)
            .ok_or(Untrusted::UnknownSerial)?;
        let signature = STANDARD
            .decode(self.signature)
            .map_err(|_| Untrusted::Signature)?;
        let mut message = format!("{}\n{}\n", self.timestamp, self.nonce).into_bytes();
        message.extend_from_slice(body);
        message.push(b'\n');
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.der)
            .verify(&message, &signature)
            .map_err(|_| Untrusted::Signature)
    }
}

/// The label and the bytes of the first PEM block.
fn pem_block(pem: &str) -> Option<(&str, Vec<u8>)> {
    let (_, rest) = pem.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let body: String = body.split_ascii_whitespace().collect();
    Some((label, STANDARD.decode(body).ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn folder(file: &str) -> String {
        let path = format!(
            "{}/../../proto/vectors/wechatpay/{file}",
            env!("CARGO_MANIFEST_DIR")
        );
        std::fs::read_to_string(path).unwrap()
    }

    fn vectors() -> Value {
        serde_json::from_str(&folder("wechatpay.json")).unwrap()
    }

    fn text<'a>(of: &'a Value, name: &str) -> &'a str {
        of[name].as_str().unwrap()
    }

    /// Every request signature that the provider's documentation prints is what we make.
    /// ASVS V11.4.1.
    #[test]
    fn requests_are_signed_as_documented() {
        let vectors = vectors();
        let key = PrivateKey::from_pem(&folder(text(&vectors["merchant_key"], "file"))).unwrap();
        let requests = vectors["requests"].as_array().unwrap();
        assert!(requests.len() >= 4);
        for one in requests {
            let message = request_message(
                text(one, "method"),
                text(one, "target"),
                text(one, "timestamp").parse().unwrap(),
                text(one, "nonce"),
                text(one, "body"),
            );
            assert_eq!(
                key.sign(&message).unwrap(),
                text(one, "signature"),
                "{}",
                one["name"]
            );
        }
        for one in vectors["pay_sign"].as_array().unwrap() {
            let message = pay_sign_message(
                text(one, "app_id"),
                text(one, "timestamp"),
                text(one, "nonce"),
                text(one, "package"),
            );
            assert_eq!(
                key.sign(&message).unwrap(),
                text(one, "signature"),
                "{}",
                one["name"]
            );
        }
    }

    /// Documented answers and notifications verify as they stand, and not when anything differs.
    #[test]
    fn documented_messages_verify_and_altered_ones_do_not() {
        let vectors = vectors();
        for one in ["answers", "notifications"]
            .iter()
            .flat_map(|k| vectors[k].as_array().unwrap())
        {
            let key = PlatformKey::from_pem(text(one, "serial"), &folder(text(one, "public_key")));
            let keys = [key.unwrap()];
            let proof = Proof {
                timestamp: text(one, "timestamp"),
                nonce: text(one, "nonce"),
                signature: text(one, "signature"),
                serial: text(one, "serial"),
            };
            let body = text(one, "body").as_bytes();
            let at: i64 = proof.timestamp.parse().unwrap();
            for skew in [-299, 0, 299] {
                assert_eq!(proof.verify(&keys, body, at + skew), Ok(()));
            }
            for skew in [-300, 300, 86_400] {
                assert_eq!(proof.verify(&keys, body, at + skew), Err(Untrusted::Stale));
            }
            // The same JSON written out again is another message.
            let parsed: Value = serde_json::from_slice(body).unwrap();
            let again = serde_json::to_string_pretty(&parsed).unwrap();
            assert_eq!(
                proof.verify(&keys, again.as_bytes(), at),
                Err(Untrusted::Signature)
            );
            let other = Proof {
                nonce: "other",
                ..proof
            };
            assert_eq!(other.verify(&keys, body, at), Err(Untrusted::Signature));
            let other = Proof {
                serial: "other",
                ..proof
            };
            assert_eq!(other.verify(&keys, body, at), Err(Untrusted::UnknownSerial));
            let probe = format!("WECHATPAY/SIGNTEST/{}", proof.signature);
            let other = Proof {
                signature: &probe,
                ..proof
            };
            assert_eq!(other.verify(&keys, body, at), Err(Untrusted::Probe));
            for timestamp in ["", "+1", "1e9", "-5", "99999999999999999999"] {
                let other = Proof { timestamp, ..proof };
                assert_eq!(other.verify(&keys, body, at), Err(Untrusted::Headers));
            }
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let public = folder("platform_sample_public_key.pem");
        let private = folder("merchant_sample_key.pem");
        assert!(PrivateKey::from_pem(&public).is_none());
        assert!(PlatformKey::from_pem("1", &private).is_none());
        assert!(PlatformKey::from_pem("", &public).is_none());
        assert!(PrivateKey::from_pem("-----BEGIN PRIVATE KEY-----\nAA==\n-----END").is_none());
        assert!(PrivateKey::from_pem("").is_none());
    }
}
