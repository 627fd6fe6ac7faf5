//! The gateway's signature on a request to a subgraph: who comes here directly gains nothing.
//!
//! It covers the method, the subgraph, the time, a nonce, the body, the member's token, the gate's
//! assertion, the client's address and the language. It says nothing about the member: the token
//! is verified on its own. `traceparent` is not covered: it names a trace and decides nothing, and
//! the gateway's telemetry writes it anew after the signature was made.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, Method, header};
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// How old a signature may be, in seconds.
pub const SIGNATURE_AGE_SECONDS_MAX: i64 = 30;
/// How far the gateway's clock may be ahead, in seconds.
const SIGNATURE_AHEAD_SECONDS_MAX: i64 = 5;
/// Nonces remembered for each generation; beyond them requests are refused, never let through.
const NONCES_MAX: usize = 500_000;

const DOMAIN: &str = "bashu-gateway-v1";
pub(crate) const TIMESTAMP: &str = "x-bashu-timestamp";
pub(crate) const NONCE: &str = "x-bashu-nonce";
pub(crate) const SIGNATURE: &str = "x-bashu-signature";
/// The header of a gate's assertion.
pub(crate) const GATE: &str = "x-bashu-gate";
/// The header of the client's address.
pub(crate) const CLIENT: &str = "x-bashu-client";

/// The key that the gateway and the subgraphs of one union share.
#[derive(Clone)]
pub struct GatewayKey([u8; 32]);

impl GatewayKey {
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// From 64 hexadecimal digits; `None` for anything else.
    pub fn from_hex(text: &SecretString) -> Option<Self> {
        let mut key = [0; 32];
        hex::decode_to_slice(text.expose_secret().trim(), &mut key).ok()?;
        Some(Self(key))
    }
}

impl fmt::Debug for GatewayKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayKey")
    }
}

/// What a signature is made over.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    pub method: &'a str,
    pub subgraph: &'a str,
    /// Seconds since the Unix epoch, as written in the header.
    pub timestamp: &'a str,
    /// 32 hexadecimal digits.
    pub nonce: &'a str,
    pub body: &'a [u8],
    /// The value of `Authorization`, or empty.
    pub authorization: &'a [u8],
    /// The value of `x-bashu-gate`, or empty.
    pub gate: &'a [u8],
    /// The value of `x-bashu-client`, or empty.
    pub client: &'a [u8],
    /// The value of `Accept-Language`, or empty.
    pub language: &'a [u8],
}

/// The signature in lower-case hexadecimal digits.
pub fn sign(key: &GatewayKey, signed: &Signed<'_>) -> String {
    let digest = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let text = [
        DOMAIN,
        signed.method,
        signed.subgraph,
        signed.timestamp,
        signed.nonce,
        &digest(signed.body),
        &digest(signed.authorization),
        &digest(signed.gate),
        &digest(signed.client),
        &digest(signed.language),
    ]
    .join("\n");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsigned {
    Absent,
    Repeated,
    Aged,
    Wrong,
    Replayed,
    /// More nonces came in one age than are remembered.
    Full,
}

impl Unsigned {
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Repeated => "repeated_header",
            Self::Aged => "aged",
            Self::Wrong => "wrong",
            Self::Replayed => "replayed",
            Self::Full => "full",
        }
    }
}

/// Checks signatures and remembers their nonces.
#[derive(Debug)]
pub(crate) struct Verifier {
    key: GatewayKey,
    subgraph: &'static str,
    nonces: Mutex<Nonces>,
}

impl Verifier {
    pub(crate) fn new(key: GatewayKey, subgraph: &'static str) -> Self {
        Self {
            key,
            subgraph,
            nonces: Mutex::default(),
        }
    }

    pub(crate) fn verify(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: &[u8],
        now: i64,
    ) -> Result<(), Unsigned> {
        for name in [
            TIMESTAMP,
            NONCE,
            SIGNATURE,
            GATE,
            CLIENT,
            header::AUTHORIZATION.as_str(),
            header::ACCEPT_LANGUAGE.as_str(),
        ] {
            if headers.get_all(name).iter().count() > 1 {
                return Err(Unsigned::Repeated);
            }
        }
        let text = |name| {
            headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .ok_or(Unsigned::Absent)
        };
        let bytes = |name: &str| headers.get(name).map(|v| v.as_bytes()).unwrap_or_default();
        let (timestamp, nonce) = (text(TIMESTAMP)?, text(NONCE)?);
        let signature = text(SIGNATURE)?;
        let mut nonce_bytes = [0u8; 16];
        hex::decode_to_slice(nonce, &mut nonce_bytes).map_err(|_| Unsigned::Wrong)?;
        let expected = sign(
            &self.key,
            &Signed {
                method: method.as_str(),
                subgraph: self.subgraph,
                timestamp,
                nonce,
                body,
                authorization: bytes(header::AUTHORIZATION.as_str()),
                gate: bytes(GATE),
                client: bytes(CLIENT),
                language: bytes(header::ACCEPT_LANGUAGE.as_str()),
            },
        );
        if !bool::from(expected.as_bytes().ct_eq(signature.as_bytes())) {
            return Err(Unsigned::Wrong);
        }
        let at: i64 = timestamp.parse().map_err(|_| Unsigned::Wrong)?;
        let age = now.checked_sub(at).ok_or(Unsigned::Aged)?;
        if !(-SIGNATURE_AHEAD_SECONDS_MAX..=SIGNATURE_AGE_SECONDS_MAX).contains(&age) {
            return Err(Unsigned::Aged);
        }
        self.nonces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(nonce_bytes, now)
    }
}

/// Two generations of nonces: one lives for at least as long as a signature is accepted.
#[derive(Debug, Default)]
struct Nonces {
    young: HashSet<[u8; 16]>,
    old: HashSet<[u8; 16]>,
    turned_at: i64,
}

impl Nonces {
    const GENERATION_SECONDS: i64 = SIGNATURE_AGE_SECONDS_MAX + SIGNATURE_AHEAD_SECONDS_MAX + 1;

    fn insert(&mut self, nonce: [u8; 16], now: i64) -> Result<(), Unsigned> {
        if now - self.turned_at >= Self::GENERATION_SECONDS {
            self.old = std::mem::take(&mut self.young);
            self.turned_at = now;
        }
        if self.old.contains(&nonce) {
            return Err(Unsigned::Replayed);
        }
        if self.young.len() >= NONCES_MAX {
            return Err(Unsigned::Full);
        }
        if self.young.insert(nonce) {
            Ok(())
        } else {
            Err(Unsigned::Replayed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_remembered_for_as_long_as_its_signature_counts() {
        let mut nonces = Nonces::default();
        for start in [1_000, 1_017, 1_035] {
            let nonce = [u8::try_from(start % 251).unwrap(); 16];
            nonces.insert(nonce, start).unwrap();
            // Signed five seconds ahead, it could be shown again for 35 seconds.
            for later in 0..=SIGNATURE_AGE_SECONDS_MAX + SIGNATURE_AHEAD_SECONDS_MAX {
                let again = nonces.insert(nonce, start + later);
                assert_eq!(again, Err(Unsigned::Replayed), "{start} + {later}");
            }
        }
    }

    #[test]
    fn nonces_are_bounded() {
        let mut nonces = Nonces::default();
        for n in 0..NONCES_MAX {
            nonces.insert((n as u128).to_be_bytes(), 1_000).unwrap();
        }
        assert_eq!(nonces.insert([0xff; 16], 1_000), Err(Unsigned::Full));
        assert_eq!(nonces.insert([0xff; 16], 1_036), Ok(()));
    }
}
