//! Identity's public keys for access tokens, fetched over HTTP and kept in memory. A token with
//! an unknown key asks again, at most once per floor interval; otherwise the keys are refreshed
//! on their own, so that a retired key dies here soon after it does there. While identity does
//! not answer, the keys last seen stay good for a bounded time.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::VerifyingKey;
use hive_router::http::Uri;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::token::Keys;

/// How often keys are fetched without anybody asking.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// How soon after one fetch an unknown key may cause another.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(2);
/// How long keys stay good while identity does not answer.
const KEYS_AGE_MAX: Duration = Duration::from_secs(3_600);
/// Longest that a fetch may take.
const FETCH_TIME_MAX: Duration = Duration::from_secs(2);
/// Largest answer to a fetch.
const ANSWER_BYTES_MAX: usize = 65_536;
/// Most keys of a set.
const KEYS_MAX: usize = 64;

/// The keys known now, shared by all requests.
#[derive(Debug)]
pub(crate) struct KeyStore {
    source: String,
    client: reqwest::Client,
    known: RwLock<Known>,
    /// Held while fetching, so that a thousand unknown keys cause one fetch.
    fetched: Mutex<Option<Instant>>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    keys: Arc<Keys>,
    /// When they were last seen; `None` before the first time.
    seen: Option<Instant>,
}

impl Known {
    /// The keys, if they were seen lately enough at `now`.
    fn at(self, now: Instant) -> Option<Arc<Keys>> {
        self.seen
            .filter(|seen| now.saturating_duration_since(*seen) <= KEYS_AGE_MAX)
            .map(|_| self.keys)
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    kty: String,
    crv: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    kid: Option<String>,
    x: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no answer")]
    Transport(#[source] reqwest::Error),
    #[error("answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("answer is no key set")]
    Malformed(#[source] serde_json::Error),
    #[error("key set holds no usable key")]
    Empty,
}

impl KeyStore {
    pub(crate) fn new(source: &Uri) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(FETCH_TIME_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self {
            source: source.to_string(),
            client,
            known: RwLock::default(),
            fetched: Mutex::new(None),
        })
    }

    /// The keys, or `None` while none were ever seen or those seen are too old.
    pub(crate) fn known(&self) -> Option<Arc<Keys>> {
        let known = self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        known.at(Instant::now())
    }

    /// Fetches the keys anew unless that was done a moment ago.
    pub(crate) async fn refresh(&self) {
        let mut fetched = self.fetched.lock().await;
        if fetched.is_some_and(|at| at.elapsed() < REFRESH_INTERVAL_MIN) {
            return;
        }
        let result = self.fetch().await;
        *fetched = Some(Instant::now());
        match result {
            Ok(keys) => {
                let known = Known {
                    keys: Arc::new(keys),
                    seen: Some(Instant::now()),
                };
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(target: "bashu::gateway", error, "cannot fetch identity's keys");
            }
        }
    }

    /// Keeps the keys fresh for as long as the process runs.
    pub(crate) async fn keep_fresh(&self) {
        loop {
            self.refresh().await;
            tokio::time::sleep(REFRESH_INTERVAL).await;
        }
    }

    async fn fetch(&self) -> Result<Keys, FetchError> {
        let request = self.client.get(&self.source).send();
        let mut answer = request
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(FetchError::Transport)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(FetchError::Transport)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(FetchError::TooLarge);
            }
        }
        read(&body)
    }
}

fn read(body: &[u8]) -> Result<Keys, FetchError> {
    let set: KeySet = serde_json::from_slice(body).map_err(FetchError::Malformed)?;
    let keys: Keys = set
        .keys
        .into_iter()
        .take(KEYS_MAX)
        .filter_map(usable)
        .collect();
    if keys.is_empty() {
        Err(FetchError::Empty)
    } else {
        Ok(keys)
    }
}

/// Only Ed25519 keys that say they sign with EdDSA; any other is passed over.
fn usable(key: Key) -> Option<(String, VerifyingKey)> {
    let is_signing = key.usage.as_deref().is_none_or(|usage| usage == "sig");
    if key.kty != "OKP"
        || key.crv.as_deref() != Some("Ed25519")
        || key.alg.as_deref() != Some("EdDSA")
        || !is_signing
    {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(key.x?).ok()?;
    let public = VerifyingKey::from_bytes(bytes.as_slice().try_into().ok()?).ok()?;
    if public.is_weak() {
        None
    } else {
        Some((key.kid?, public))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ed25519_dalek::SigningKey;
    use serde_json::json;

    use super::{Known, read};

    /// Keys of another kind, use or algorithm are passed over; a set of none is refused.
    #[test]
    fn only_ed25519_signing_keys_are_kept() {
        let x = URL_SAFE_NO_PAD.encode(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes());
        let key = |changes: serde_json::Value| {
            let mut key = json!({
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k", "x": x,
            });
            for (name, value) in changes.as_object().unwrap() {
                key[name] = value.clone();
            }
            key
        };
        let set = |key: serde_json::Value| read(json!({ "keys": [key] }).to_string().as_bytes());
        assert!(set(key(json!({}))).unwrap().contains_key("k"));
        for flaw in [
            json!({ "kty": "oct" }),
            json!({ "crv": "X25519" }),
            json!({ "alg": "HS256" }),
            json!({ "alg": null }),
            json!({ "use": "enc" }),
            json!({ "kid": null }),
            json!({ "x": "AAAA" }),
            json!({ "x": URL_SAFE_NO_PAD.encode([0_u8; 32]) }),
        ] {
            assert!(set(key(flaw.clone())).is_err(), "{flaw}");
        }
        assert!(read(b"{}").is_err());
    }

    /// Identity may be away for a while, not for ever: a key that it withdrew meanwhile must die.
    #[test]
    fn keys_outlive_a_short_silence_only() {
        let seen = Instant::now();
        let known = Known {
            seen: Some(seen),
            ..Known::default()
        };
        let minutes = |count: u64| seen + Duration::from_secs(count * 60);
        for (later, is_good) in [(0, true), (10, true), (60, true), (61, false)] {
            let found = known.clone().at(minutes(later));
            assert_eq!(found.is_some(), is_good, "{later} minutes");
        }
        assert!(Known::default().at(seen).is_none(), "none were ever seen");
    }
}
