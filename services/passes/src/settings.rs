//! The section `passes` of the configuration.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kit::config::ConfigError;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// The least length of the key, in bytes.
pub const ENTITLEMENT_KEY_BYTES_MIN: usize = 32;

/// What this service is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The key of the hash that makes a pass's id of its order line, in base64, at least 32
    /// bytes. It must never change: ids would no longer follow from their lines.
    pub entitlement_key: SecretString,
    /// How long the public catalogue may be read from Redis, in seconds; zero: never.
    #[serde(default = "default_catalogue_seconds")]
    pub catalogue_seconds: u64,
}

const fn default_catalogue_seconds() -> u64 {
    5
}

impl Settings {
    /// The key, read.
    ///
    /// # Errors
    /// When it is no base64 or too short.
    pub fn key(&self) -> Result<EntitlementKey, ConfigError> {
        let wrong = || {
            ConfigError::new(
                "passes.entitlement_key",
                "must be at least 32 bytes in base64",
            )
        };
        let bytes = STANDARD
            .decode(self.entitlement_key.expose_secret())
            .map_err(|_| wrong())?;
        if bytes.len() < ENTITLEMENT_KEY_BYTES_MIN {
            return Err(wrong());
        }
        Ok(EntitlementKey(bytes.into()))
    }
}

/// The key of the entitlement ids.
#[derive(Clone)]
pub struct EntitlementKey(Arc<[u8]>);

impl EntitlementKey {
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for EntitlementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EntitlementKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(key: &str) -> Settings {
        Settings {
            entitlement_key: key.into(),
            catalogue_seconds: 5,
        }
    }

    #[test]
    fn a_short_or_unreadable_key_is_refused() {
        assert!(settings("%%%").key().is_err());
        assert!(settings(&STANDARD.encode([1; 31])).key().is_err());
        let good = settings(&STANDARD.encode([1; 32])).key().unwrap();
        assert_eq!(format!("{good:?}"), "EntitlementKey");
    }
}
