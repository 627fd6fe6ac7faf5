//! A redemption: one scan and what it was answered, for ever; or a supervisor's override. A void
//! is a later version of the same fact, and happens once.

use chrono::{DateTime, NaiveDate, Utc};
use credential::rules::{Decision, Direction};
use kit::types::{EntitlementId, GateId, MemberId, VenueId};
use uuid::Uuid;

use super::scan::ScanId;
use crate::error::Refusal;

/// Characters of a reason that staff give, at most.
pub const REASON_CHARS_MAX: usize = 200;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redemption {
    pub id: Uuid,
    pub version: i64,
    pub venue: VenueId,
    pub gate: GateId,
    pub origin: Origin,
    /// `None` when the code could not be read or believed.
    pub entitlement: Option<EntitlementId>,
    /// The generation of the credential that was shown.
    pub generation: u8,
    pub scope: u32,
    pub direction: Direction,
    pub persons: u16,
    pub decision: Decision,
    pub at: DateTime<Utc>,
    /// The device's own clock.
    pub device_at: Option<DateTime<Utc>>,
    /// The Shanghai date of `at`.
    pub scanned_on: NaiveDate,
    /// The Shanghai date on which the use counts.
    pub counted_on: NaiveDate,
    /// By how much it still changes the number of people inside on `scanned_on`.
    pub inside_delta: i32,
    /// False for an exit, and for an entry whose grant never arrived.
    pub payable: bool,
    /// The open shift at the gate.
    pub shift: Option<Uuid>,
    pub limits: Limits,
    pub void: Option<Void>,
}

/// Where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A device.
    Scan {
        id: ScanId,
        /// SHA-256 of the text that was scanned.
        token_hash: [u8; 32],
    },
    /// A supervisor, against the rules.
    Override {
        /// The denial; `None` when staff looked the entitlement up.
        of: Option<Uuid>,
        by: MemberId,
        reason: String,
    },
}

/// The rules at that moment, for whoever checks them later. `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub rules_version: Option<i64>,
    /// How many persons the entitlement is for; `None` where nobody knew.
    pub persons: Option<u16>,
    /// At the venue on one day.
    pub day_here: Option<u32>,
    /// At all venues on one day.
    pub day: Option<u32>,
    /// At the venue.
    pub here: Option<u32>,
    /// In this province and over all, whichever is less.
    pub total: Option<u32>,
}

/// Why an admission does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Void {
    pub at: DateTime<Utc>,
    pub by: MemberId,
    pub reason: String,
}

impl Redemption {
    pub const fn is_admitted(&self) -> bool {
        matches!(self.decision, Decision::Admit { .. })
    }

    pub const fn is_overridden(&self) -> bool {
        matches!(self.origin, Origin::Override { .. })
    }

    /// Takes an admission back. `inside` is how many of the entitlement are inside the venue
    /// today by its count; the second part is by how much that number changes.
    ///
    /// # Errors
    /// When it admitted nobody, or was voided before.
    pub fn voided(self, void: Void, inside: i32, today: NaiveDate) -> Result<(Self, i32), Refusal> {
        if !self.is_admitted() {
            return Err(Refusal::NotAdmitted);
        }
        if self.void.is_some() {
            return Err(Refusal::AlreadyVoided);
        }
        // Who entered and left again is not inside: then the exit keeps its entry, and the sum of
        // all is still the number of people inside. Another day's count is over.
        let back = match self.direction {
            _ if self.scanned_on != today => 0,
            Direction::Entry => self.inside_delta.min(inside),
            Direction::Exit => self.inside_delta,
        };
        let voided = Self {
            version: self.version + 1,
            inside_delta: self.inside_delta - back,
            void: Some(void),
            ..self
        };
        Ok((voided, -back))
    }

    /// Whether anybody is paid for it; `None` when that is so already. Nobody is for an exit.
    #[must_use]
    pub fn with_payable(self, payable: bool) -> Option<Self> {
        let changes = self.payable != payable && self.direction == Direction::Entry;
        changes.then(|| Self {
            payable,
            version: self.version + 1,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use credential::rules::{Hints, Reason, Remaining};

    use super::*;

    fn today() -> NaiveDate {
        "2026-04-01".parse().unwrap()
    }

    fn admitted(direction: Direction, inside_delta: i32) -> Redemption {
        let none = Remaining {
            today: None,
            venue: None,
            total: None,
        };
        Redemption {
            id: Uuid::from_u128(1),
            version: 1,
            venue: VenueId(Uuid::from_u128(2)),
            gate: GateId(Uuid::from_u128(3)),
            origin: Origin::Override {
                of: None,
                by: MemberId(Uuid::from_u128(4)),
                reason: "r".to_owned(),
            },
            entitlement: Some(EntitlementId(5)),
            generation: 0,
            scope: 7,
            direction,
            persons: 1,
            decision: Decision::Admit {
                remaining: none,
                hints: Hints {
                    document_check: false,
                    photo: false,
                },
                counted_on: today(),
            },
            at: DateTime::<Utc>::UNIX_EPOCH,
            device_at: None,
            scanned_on: today(),
            counted_on: today(),
            inside_delta,
            payable: true,
            shift: None,
            limits: Limits::default(),
            void: None,
        }
    }

    fn void() -> Void {
        let by = MemberId(Uuid::from_u128(4));
        Void {
            at: DateTime::<Utc>::UNIX_EPOCH,
            by,
            reason: "mistake".to_owned(),
        }
    }

    #[test]
    fn an_admission_is_voided_once_and_a_denial_never() {
        let (voided, change) = admitted(Direction::Entry, 1)
            .voided(void(), 1, today())
            .unwrap();
        assert_eq!((voided.version, voided.inside_delta, change), (2, 0, -1));
        assert_eq!(
            voided.voided(void(), 0, today()),
            Err(Refusal::AlreadyVoided)
        );
        let decision = Decision::Ask {
            reason: Reason::Internal,
        };
        let asked = Redemption {
            decision,
            ..admitted(Direction::Entry, 0)
        };
        assert_eq!(asked.voided(void(), 0, today()), Err(Refusal::NotAdmitted));
    }

    /// The number inside never turns negative: an entry whose person has left takes nothing back.
    #[test]
    fn a_void_changes_the_count_only_by_who_is_still_inside() {
        let change = |one: Redemption, inside, day| one.voided(void(), inside, day).unwrap().1;
        assert_eq!(change(admitted(Direction::Entry, 1), 0, today()), 0);
        assert_eq!(change(admitted(Direction::Entry, 3), 2, today()), -2);
        assert_eq!(change(admitted(Direction::Exit, -1), 0, today()), 1);
        let tomorrow = today().succ_opt().unwrap();
        assert_eq!(change(admitted(Direction::Entry, 1), 1, tomorrow), 0);
    }

    #[test]
    fn paying_changes_the_version_only_when_it_changes() {
        let one = admitted(Direction::Entry, 0);
        assert_eq!(one.clone().with_payable(true), None);
        assert_eq!(one.with_payable(false).map(|one| one.version), Some(2));
    }
}
