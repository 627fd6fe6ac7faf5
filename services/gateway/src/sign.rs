//! The signature by which a subgraph knows that a request came through the gateway. It covers
//! method, subgraph, time, a nonce, the body, both identities, the client's address and the
//! language. Not `traceparent`, which names a trace and decides nothing, and which the router's
//! telemetry writes anew after us. It does not hide anything: secrecy between machines is the
//! network's business.

use std::fmt;

use hive_router::http::header::{ACCEPT_LANGUAGE, AUTHORIZATION};
use hive_router::http::{HeaderMap, HeaderName, HeaderValue, Method};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// First line of what is signed; a change of form gets a new one.
const FORM: &str = "bashu-gateway-v1";

/// Bytes of the key shared with the union's subgraphs.
pub(crate) const KEY_BYTES: usize = 32;

pub(crate) const GATE: HeaderName = HeaderName::from_static("x-bashu-gate");
pub(crate) const CLIENT: HeaderName = HeaderName::from_static("x-bashu-client");
const TIMESTAMP: HeaderName = HeaderName::from_static("x-bashu-timestamp");
const NONCE: HeaderName = HeaderName::from_static("x-bashu-nonce");
const SIGNATURE: HeaderName = HeaderName::from_static("x-bashu-signature");

/// Signs with the key of one union.
pub(crate) struct Signer {
    /// Holds the key already mixed in; cloned per signature.
    keyed: Hmac<Sha256>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Signer([REDACTED])")
    }
}

/// What a signature speaks of, besides the headers it sits among.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a Method,
    pub(crate) subgraph: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) at_s: u64,
    pub(crate) nonce: &'a str,
}

impl Signer {
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Self {
        // An HMAC takes a key of any length, so this cannot fail.
        let keyed = Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!());
        Self { keyed }
    }

    /// Puts time, nonce and signature among `headers`, in place of whatever stood there.
    pub(crate) fn sign(&self, signed: Signed<'_>, headers: &mut HeaderMap) {
        let mut text = format!(
            "{FORM}\n{}\n{}\n{}\n{}\n{}",
            signed.method,
            signed.subgraph,
            signed.at_s,
            signed.nonce,
            hex::encode(Sha256::digest(signed.body)),
        );
        for name in [AUTHORIZATION, GATE, CLIENT, ACCEPT_LANGUAGE] {
            text.push('\n');
            text.push_str(&hex::encode(Sha256::digest(header_bytes(headers, &name))));
        }
        let mut mac = self.keyed.clone();
        mac.update(text.as_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        for (name, value) in [
            (TIMESTAMP, signed.at_s.to_string()),
            (NONCE, signed.nonce.to_owned()),
            (SIGNATURE, signature),
        ] {
            // Digits and hexadecimal are always a legal header value.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }
}

fn header_bytes<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a [u8] {
    headers
        .get(name)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hive_router::http::{HeaderMap, HeaderValue, Method};

    use super::{KEY_BYTES, Signed, Signer};

    /// The form is fixed: this value was computed by another implementation of HMAC-SHA256.
    #[test]
    fn the_signed_form_is_fixed() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer t"));
        headers.insert("x-bashu-client", HeaderValue::from_static("203.0.113.7"));
        headers.insert("accept-language", HeaderValue::from_static("en-GB"));
        headers.insert("x-bashu-signature", HeaderValue::from_static("forged"));
        let signed = Signed {
            method: &Method::POST,
            subgraph: "passes",
            body: b"{\"query\":\"{a}\"}",
            at_s: 1_700_000_000,
            nonce: "000102030405060708090a0b0c0d0e0f",
        };
        Signer::new(&[7; KEY_BYTES]).sign(signed, &mut headers);
        assert_eq!(headers.get_all("x-bashu-signature").iter().count(), 1);
        assert_eq!(headers["x-bashu-timestamp"], "1700000000");
        assert_eq!(headers["x-bashu-signature"], EXPECTED);
    }

    const EXPECTED: &str = "f68d9fdb60655d1cc7b87c5f9db90986b6f8c6ebe3865634dcce717869bc17a3";
}
