//! What must hold of every input that a stranger may send, whatever its bytes are: beyond that
//! nothing panics, that what was accepted is what was meant, and that nothing altered is.
//!
//! Each module is one target of `make fuzz`; the same functions run over `corpus/` and `found/` in
//! `tests/replay.rs`. Keys here are made up, and no database, clock or network is asked.

pub mod cy1;
pub mod envelope;
pub mod graphql;
pub mod jwt;
mod message;
pub mod notification;
mod roster;
pub mod roster_csv;
pub mod roster_xlsx;
pub mod rules;

use chrono::{DateTime, Utc};

/// When all inputs are read, in seconds since the Unix epoch: 2026-04-01T10:00:00+08:00.
pub const NOW_SECONDS: i64 = 1_775_008_800;

/// Everything that reads bytes of strangers and is fuzzed.
pub const TARGETS: [Target; 8] = [
    Target::new("roster_csv", roster_csv::check),
    Target::new("roster_xlsx", roster_xlsx::check),
    Target::new("cy1", cy1::check),
    Target::new("rules", rules::check),
    Target::new("jwt", jwt::check),
    Target::new("notification", notification::check),
    Target::new("envelope", envelope::check),
    Target::new("graphql", graphql::check),
];

/// What became of an input of which everything holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    Refused,
}

impl Verdict {
    /// The verdict on an input that was accepted, or was not.
    const fn of(accepted: bool) -> Self {
        if accepted {
            Self::Accepted
        } else {
            Self::Refused
        }
    }
}

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its program, and its folders below `corpus/` and `found/`.
    pub name: &'static str,
    /// Panics where something does not hold.
    pub check: fn(&[u8]) -> Verdict,
}

impl Target {
    const fn new(name: &'static str, check: fn(&[u8]) -> Verdict) -> Self {
        Self { name, check }
    }
}

/// [`NOW_SECONDS`] as an instant.
fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW_SECONDS, 0).unwrap_or_default()
}

/// A number below `below` that follows from the input alone: which of its bytes to alter.
fn drawn(bytes: &[u8], below: usize) -> usize {
    let sum = bytes.iter().fold(bytes.len(), |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
    });
    sum % below.max(1)
}
