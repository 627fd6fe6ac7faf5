//! Where ids and random bytes come from, so that a seed can decide them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use uuid::Uuid;

/// A source of ids and random bytes.
#[derive(Clone)]
pub struct Ids(Arc<Mutex<ChaCha20Rng>>);

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}

impl Ids {
    /// Seeded by the operating system: unpredictable.
    pub fn random() -> Self {
        Self(Arc::new(Mutex::new(ChaCha20Rng::from_os_rng())))
    }

    /// The same ids for the same seed; for tests, simulation and the demonstration world only.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(ChaCha20Rng::seed_from_u64(seed))))
    }

    /// Begins anew as [`Ids::seeded`] would, for all who share this source.
    #[cfg(feature = "testing")]
    pub fn reseed(&self, seed: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ChaCha20Rng::seed_from_u64(seed);
    }

    /// A UUID version 7: ids made later sort later.
    pub fn uuid(&self, now: DateTime<Utc>) -> Uuid {
        let mut random = [0u8; 10];
        self.fill(&mut random);
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// Fills `bytes` with random ones, fit for keys and one-time codes.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(bytes);
    }

    /// Sixteen random bytes.
    pub fn bytes16(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes
    }

    /// Thirty-two random bytes.
    pub fn bytes32(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        bytes
    }

    /// A number below `bound`, without bias. `bound` must not be zero.
    pub fn below(&self, bound: u32) -> u32 {
        let zone = u32::MAX - u32::MAX % bound;
        loop {
            let mut bytes = [0u8; 4];
            self.fill(&mut bytes);
            let value = u32::from_be_bytes(bytes);
            if value < zone {
                return value % bound;
            }
        }
    }

    /// The id a consumer gives to what follows from `cause`: the same cause, purpose and ordinal
    /// give the same id, so a replay makes the same thing and not another one.
    pub fn derive(cause: Uuid, purpose: &str, ordinal: u32) -> Uuid {
        Uuid::new_v5(&cause, format!("{purpose}/{ordinal}").as_bytes())
    }
}
