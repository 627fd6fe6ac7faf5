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

use crate::hexadecimal::hexadecimal;

/// First line of what is signed; a change of form gets a new one.
const FORM: &str = "bashu-gateway-v1";

/// Headers that are put on a request; room for all is made at once.
const HEADERS_MAX: usize = 7;

/// Bytes of the key shared with the union's subgraphs.
pub(crate) const KEY_BYTES: usize = 32;

const GATE: HeaderName = HeaderName::from_static("x-bashu-gate");
const CLIENT: HeaderName = HeaderName::from_static("x-bashu-client");
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

/// What a signature speaks of, besides the covered headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a Method,
    pub(crate) subgraph: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) at_s: u64,
    pub(crate) nonce: &'a str,
}

/// The values of the covered headers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) gate: Option<HeaderValue>,
    pub(crate) client: Option<HeaderValue>,
    pub(crate) language: Option<HeaderValue>,
}

/// Those values, and what a signature says of them: the same in every subgraph request that one
/// request of a client leads to, so it is made once.
pub(crate) struct Covered {
    said: Said,
    lines: String,
}

impl fmt::Debug for Covered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Covered([REDACTED])")
    }
}

impl Covered {
    pub(crate) fn new(said: Said) -> Self {
        let mut lines = String::with_capacity(4 * 65);
        for value in [
            &said.authorization,
            &said.gate,
            &said.client,
            &said.language,
        ] {
            lines.push('\n');
            let bytes = value.as_ref().map(HeaderValue::as_bytes);
            lines.push_str(&hash(bytes.unwrap_or_default()));
        }
        Self { said, lines }
    }

    /// Puts the values among `headers`, in place of whatever stood there.
    fn put(&self, headers: &mut HeaderMap) {
        for (name, value) in [
            (AUTHORIZATION, &self.said.authorization),
            (GATE, &self.said.gate),
            (CLIENT, &self.said.client),
            (ACCEPT_LANGUAGE, &self.said.language),
        ] {
            match value {
                Some(value) => {
                    headers.insert(name, value.clone());
                }
                None => {
                    headers.remove(name);
                }
            }
        }
    }
}

impl Signer {
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Self {
        // An HMAC takes a key of any length, so this cannot fail.
        let keyed = Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!());
        Self { keyed }
    }

    /// Puts the covered headers, time, nonce and signature among `headers`, in place of whatever
    /// stood there.
    pub(crate) fn sign(&self, signed: Signed<'_>, covered: &Covered, headers: &mut HeaderMap) {
        headers.reserve(HEADERS_MAX);
        covered.put(headers);
        let at_s = signed.at_s.to_string();
        let body = hash(signed.body);
        let mut mac = self.keyed.clone();
        mac.update(FORM.as_bytes());
        for line in [
            signed.method.as_str(),
            signed.subgraph,
            &at_s,
            signed.nonce,
            &body,
        ] {
            mac.update(b"\n");
            mac.update(line.as_bytes());
        }
        mac.update(covered.lines.as_bytes());
        let signature = hexadecimal(&mac.finalize().into_bytes());
        for (name, value) in [
            (TIMESTAMP, at_s.as_str()),
            (NONCE, signed.nonce),
            (SIGNATURE, &signature),
        ] {
            // Digits and hexadecimal are always a legal header value.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
    }
}

fn hash(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use hive_router::http::{HeaderMap, HeaderValue, Method};

    use super::{Covered, KEY_BYTES, Said, Signed, Signer};

    /// The form is fixed: this value was computed by another implementation of HMAC-SHA256.
    #[test]
    fn the_signed_form_is_fixed() {
        let mut headers = HeaderMap::new();
        for forged in ["authorization", "x-bashu-gate", "x-bashu-signature"] {
            headers.insert(forged, HeaderValue::from_static("forged"));
        }
        let covered = Covered::new(Said {
            authorization: Some(HeaderValue::from_static("Bearer t")),
            gate: None,
            client: Some(HeaderValue::from_static("203.0.113.7")),
            language: Some(HeaderValue::from_static("en-GB")),
        });
        let signed = Signed {
            method: &Method::POST,
            subgraph: "passes",
            body: b"{\"query\":\"{a}\"}",
            at_s: 1_700_000_000,
            nonce: "000102030405060708090a0b0c0d0e0f",
        };
        Signer::new(&[7; KEY_BYTES]).sign(signed, &covered, &mut headers);
        assert_eq!(headers["authorization"], "Bearer t");
        assert!(!headers.contains_key("x-bashu-gate"));
        assert_eq!(headers.get_all("x-bashu-signature").iter().count(), 1);
        assert_eq!(headers["x-bashu-timestamp"], "1700000000");
        assert_eq!(headers["x-bashu-signature"], EXPECTED);
    }

    const EXPECTED: &str = "f68d9fdb60655d1cc7b87c5f9db90986b6f8c6ebe3865634dcce717869bc17a3";
}
