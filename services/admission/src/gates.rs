//! Which gate asks: its assertion is verified once and remembered for the rest of its minute.
//!
//! What is remembered is that a key signed; whether the gate is still in service is looked at in
//! the transaction of each scan, so that disabling a gate bites at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ed25519_dalek::VerifyingKey;
use kit::types::{GateId, VenueId};
use kit::{Ctx, Result};
use sha2::{Digest, Sha256};

use crate::error::Refusal;
use crate::gate_key;
use crate::store;

/// Assertions remembered, at most: some for each gate of a union in a minute.
const REMEMBERED_MAX: usize = 20_000;

/// A gate whose assertion holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asserted {
    pub(crate) gate: GateId,
    pub(crate) venue: VenueId,
    pub(crate) enrolment: i32,
    /// Seconds since the Unix epoch.
    expires_at: i64,
}

/// The assertions of the last minute.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gates(Arc<Mutex<HashMap<[u8; 32], Asserted>>>);

impl Gates {
    /// The gate that signed this.
    ///
    /// # Errors
    /// [`Refusal::GateNotRecognised`] for everything that no key of an enrolled gate of this union
    /// signed for this minute.
    pub(crate) async fn verify(&self, ctx: &Ctx, assertion: Option<&str>) -> Result<Asserted> {
        let text = assertion.ok_or(Refusal::GateNotRecognised)?;
        let hash: [u8; 32] = Sha256::digest(text).into();
        let now = ctx.clock.now().timestamp();
        if let Some(asserted) = self.remembered(&hash, now) {
            return Ok(asserted);
        }
        let refused = |reason: gate_key::Invalid| {
            tracing::info!(%reason, "a gate's assertion was refused");
            Refusal::GateNotRecognised
        };
        let unverified = gate_key::read(text, ctx.union, now).map_err(refused)?;
        let (venue, key) = store::gate::key(&ctx.db, unverified.gate())
            .await?
            .ok_or(Refusal::GateNotRecognised)?;
        let public =
            VerifyingKey::from_bytes(&key.public).map_err(|_| Refusal::GateNotRecognised)?;
        let assertion = unverified.verify(&public).map_err(refused)?;
        if assertion.enrolment != key.enrolment {
            return Err(Refusal::GateNotRecognised.into());
        }
        let asserted = Asserted {
            gate: assertion.gate,
            venue,
            enrolment: assertion.enrolment,
            expires_at: assertion.expires_at + gate_key::CLOCK_SKEW_SECONDS_MAX,
        };
        self.remember(hash, asserted, now);
        Ok(asserted)
    }

    fn remembered(&self, hash: &[u8; 32], now: i64) -> Option<Asserted> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(hash)
            .copied()
            .filter(|asserted| now < asserted.expires_at)
    }

    fn remember(&self, hash: [u8; 32], asserted: Asserted, now: i64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED_MAX {
            all.retain(|_, asserted| now < asserted.expires_at);
        }
        if all.len() < REMEMBERED_MAX {
            all.insert(hash, asserted);
        }
    }
}
