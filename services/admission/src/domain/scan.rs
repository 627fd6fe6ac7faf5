//! One scan, as far as it can be judged without any state: its number, its direction, and what
//! the code says if its signature holds.

use std::num::NonZeroU16;

use chrono::{DateTime, Utc};
use credential::keyset::Issuer;
use credential::rules::{Direction, DocumentReading, Reason};
use credential::token::Token;
use kit::types::{EntitlementId, GateId, Union, VenueId};

/// The number a device gives a scan, once and for ever: its own id, how often it was enrolled,
/// and a count without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScanId {
    pub gate: GateId,
    pub enrolment: i32,
    pub seq: i64,
}

impl ScanId {
    /// As events carry it: sixteen bytes, four, eight.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.gate.uuid().as_bytes().to_vec();
        bytes.extend_from_slice(&self.enrolment.to_be_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes
    }
}

/// A scan that came in.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub id: ScanId,
    /// Where its gate stands.
    pub venue: VenueId,
    /// SHA-256 of the text that was scanned: what tells a repeated request from another one.
    pub token_hash: [u8; 32],
    /// The credential, if its key is known and did sign it.
    pub shown: Result<Token, Reason>,
    pub direction: Direction,
    pub persons: NonZeroU16,
    pub document: DocumentReading,
    /// The device's own clock; recorded, never believed.
    pub device_at: DateTime<Utc>,
}

impl Attempt {
    /// The entitlement that was shown, with its union and scope.
    pub fn entitlement(&self) -> Option<(EntitlementId, Union, u32)> {
        let claims = self.shown.as_ref().ok()?.claims();
        let home = match claims.kid.issuer()? {
            Issuer::Chongqing => Union::Chongqing,
            Issuer::Sichuan => Union::Sichuan,
            Issuer::Test => return None,
        };
        Some((EntitlementId(claims.entitlement_id), home, claims.scope))
    }
}
