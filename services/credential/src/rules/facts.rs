//! What the evaluator is told: about the entitlement, its uses, the venue and the scan. Each is a
//! plain value that the caller loads; none is looked up here.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use chrono::{DateTime, NaiveDate, Utc};

use super::{OpeningHours, Province, VenueId};
use crate::dates::{DateRange, date_of};
use crate::token::Token;

/// How the entitlement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    Granted,
    /// Granted, and not paid for.
    Unpaid,
    /// Held back for a time, such as during a refund.
    Frozen,
    /// Withdrawn for good.
    Revoked,
    /// Its event has not arrived: the signature speaks for it, within a budget. The number is how
    /// many more persons the scope's budget of this hour admits.
    Unseen {
        budget_left: u32,
    },
    /// It was admitted unseen and no grant followed in time: nobody answers for it.
    Unknown,
}

/// What is known of an entitlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntitlementFacts {
    pub standing: Standing,
    /// The instant from which it is valid.
    pub from: DateTime<Utc>,
    /// The first instant at which it is no longer valid.
    pub until: DateTime<Utc>,
    /// How often it was issued again; a token of an older generation is superseded.
    pub generation: u8,
    /// How many persons may enter at once: 1, or a group's size.
    pub persons: u16,
    /// All reservations it holds, at any venue.
    pub reservations: Vec<Reservation>,
}

impl EntitlementFacts {
    /// What a token alone says, while the entitlement's event has not arrived.
    pub fn from_token(token: &Token, budget_left: u32) -> Self {
        Self {
            standing: Standing::Unseen { budget_left },
            from: token.valid_from(),
            until: token.valid_until(),
            generation: token.claims().generation,
            persons: token.persons(),
            reservations: Vec::new(),
        }
    }
}

/// A time reserved at a venue, half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reservation {
    pub venue: VenueId,
    pub from: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

/// Admissions of one entitlement on one Shanghai day, in persons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DayUses {
    /// At the venue of the scan.
    pub here: u32,
    /// At all venues, that one included.
    pub everywhere: u32,
}

impl DayUses {
    pub const NONE: Self = Self {
        here: 0,
        everywhere: 0,
    };
}

/// Whether the holder is inside the venue of the scan, as far as exits tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    Outside,
    Inside,
}

/// The entitlement's accepted, not voided admissions so far, in persons. `today` is the Shanghai
/// date of the instant handed to [`super::decide`]; a use belongs to the day that its admission's
/// `counted_on` named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct History {
    pub today: DayUses,
    /// Needed for the grace after midnight only.
    pub yesterday: DayUses,
    /// At the venue of the scan.
    pub here: u32,
    /// At venues of that venue's province.
    pub province: u32,
    /// At all venues.
    pub total: u32,
    pub presence: Presence,
}

/// One admission, as [`History::of`] counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Use {
    pub venue: VenueId,
    pub province: Province,
    pub counted_on: NaiveDate,
    pub persons: u16,
}

impl History {
    /// Nobody entered yet.
    pub const fn none() -> Self {
        Self {
            today: DayUses::NONE,
            yesterday: DayUses::NONE,
            here: 0,
            province: 0,
            total: 0,
            presence: Presence::Outside,
        }
    }

    /// Counted from a list of admissions, for a scan at `venue` at `now`. The presence is the
    /// caller's to set where the venue tracks exits.
    pub fn of(uses: &[Use], venue: &VenueFacts, now: DateTime<Utc>) -> Self {
        let today = date_of(now);
        let yesterday = today.pred_opt();
        let mut history = Self::none();
        for one in uses {
            let persons = u32::from(one.persons);
            let here = one.venue == venue.id;
            add(&mut history.total, persons);
            if one.province == venue.province {
                add(&mut history.province, persons);
            }
            if here {
                add(&mut history.here, persons);
            }
            let day = if one.counted_on == today {
                &mut history.today
            } else if Some(one.counted_on) == yesterday {
                &mut history.yesterday
            } else {
                continue;
            };
            add(&mut day.everywhere, persons);
            if here {
                add(&mut day.here, persons);
            }
        }
        history
    }
}

/// A sum that saturates reaches every limit, so an overflow never admits.
fn add(sum: &mut u32, persons: u32) {
    *sum = sum.saturating_add(persons);
}

/// What is known of the venue of the scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VenueFacts {
    pub id: VenueId,
    pub province: Province,
    pub tags: BTreeSet<String>,
    /// Whether its operator took it out of service.
    pub suspended: bool,
    /// `None` when the gate does not judge by the clock.
    pub opening: Option<OpeningHours>,
    /// Dates on which it is closed whatever its hours.
    pub closed: Vec<DateRange>,
    /// Whether it scans exits: only then is anybody inside or not.
    pub tracks_exits: bool,
    /// How many more persons it takes now; `None` without a limit.
    pub vacancies: Option<u32>,
}

impl VenueFacts {
    /// A venue that is always open, tracks no exits and has no limit.
    pub const fn new(id: VenueId, province: Province) -> Self {
        Self {
            id,
            province,
            tags: BTreeSet::new(),
            suspended: false,
            opening: None,
            closed: Vec::new(),
            tracks_exits: false,
            vacancies: None,
        }
    }
}

/// Which way the person goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Entry,
    Exit,
}

/// The form of the code that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    Static,
    /// Rotating, of the current step.
    Fresh,
    /// Rotating, of a step gone by: a screenshot.
    Stale,
}

/// What the person showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presented {
    /// A token whose signature holds.
    Token { token: Token, form: Form },
    /// A document, or a number that staff looked up.
    LookedUp,
}

/// What a document reader or staff found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DocumentReading {
    NotRead,
    /// The document's tag is the token's.
    Same,
    Other,
}

/// Whether the gate has the server behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    Online,
    /// Offline, under a lease that the server signed.
    Lease {
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        /// How many more persons the lease admits.
        persons_left: u32,
    },
}

/// One scan at one gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scan {
    pub direction: Direction,
    pub persons: NonZeroU16,
    pub presented: Presented,
    /// The gate's number within the venue, 1–255.
    pub gate: u8,
    /// Nobody stands at it: what staff should look at is looked at by nobody.
    pub unattended: bool,
    pub mode: Mode,
    /// Whether the gate's clock was set recently enough and did not step back.
    pub clock_trusted: bool,
    pub document: DocumentReading,
}
