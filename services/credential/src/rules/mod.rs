//! The entry rules of a product and their one evaluator, [`decide`].
//!
//! Server and gate run this same code, so both give the same answer from the same facts. Rules
//! travel as bytes ([`Rules::to_bytes`]) from the service that sells the product to everybody
//! that admits with it. Nothing here reads a clock, stores a use or knows who the holder is.

mod codec;
mod decide;
mod facts;
mod hours;
mod next;
mod reason;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use codec::{FORM_VERSION, RulesError};
pub use decide::{Decision, Explanation, Hints, Remaining, decide};
pub use facts::{
    DayUses, Direction, DocumentReading, EntitlementFacts, Form, History, Mode, Presence,
    Presented, Reservation, Scan, Standing, Use, VenueFacts,
};
pub use hours::{BadHours, Hours, OpeningHours};
pub use reason::Reason;
pub use text::Language;

use crate::dates::DateRange;

/// The evaluator's version. It rises when a rule is added that an older one would overlook; rules
/// name the least they need, and an older evaluator then asks and never admits. Version 2 asks at
/// unattended gates where version 1 admits with a hint.
pub const EVALUATOR_VERSION: u16 = 2;
/// How long after midnight the day before still counts for who could have entered then, in
/// minutes: queues and clocks are not exact.
pub const GRACE_MINUTES: u16 = 15;
/// The longest grace that rules may ask for, in minutes.
pub const GRACE_MINUTES_MAX: u16 = 120;
/// The most venues, tags, blackouts and suspensions that rules may list.
pub const VENUES_MAX: usize = 4096;
pub const TAGS_MAX: usize = 64;
pub const TAG_BYTES_MAX: usize = 64;
pub const BLACKOUTS_MAX: usize = 64;
pub const SUSPENSIONS_MAX: usize = 1024;

/// A venue's id: the sixteen bytes of its UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VenueId(pub [u8; 16]);

impl fmt::Display for VenueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The province a venue lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Province {
    /// GB/T 2260 code 50.
    Chongqing,
    /// GB/T 2260 code 51.
    Sichuan,
}

impl Province {
    pub const fn code(self) -> u8 {
        match self {
            Self::Chongqing => 50,
            Self::Sichuan => 51,
        }
    }

    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            50 => Some(Self::Chongqing),
            51 => Some(Self::Sichuan),
            _ => None,
        }
    }
}

/// Who may enter where, when and how often with one product. Every limit counts persons, and
/// `None` means without limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The least [`EVALUATOR_VERSION`] that understands these rules.
    pub evaluator_least: u16,
    /// The product's version they belong to, for the record of a decision.
    pub product_version: u32,
    /// Which venues the product opens.
    pub venues: Venues,
    /// The limits at each venue that [`Rules::venue_limits`] does not name.
    pub per_venue: VenueLimits,
    /// The limits of single venues, instead of [`Rules::per_venue`].
    pub venue_limits: BTreeMap<VenueId, VenueLimits>,
    /// Over all venues, on one Shanghai day.
    pub daily: Option<u32>,
    /// Over all venues and the whole window.
    pub total: Option<u32>,
    /// Over the venues of one province and the whole window: what each union can keep without
    /// asking the other.
    pub province_totals: ProvinceTotals,
    /// Shanghai dates on which nobody enters.
    pub blackouts: BTreeSet<DateRange>,
    /// Venues that do not take part for a time.
    pub suspensions: BTreeSet<Suspension>,
    /// Whether a reservation of the venue and the time is needed.
    pub reservation_required: bool,
    /// Whether the holder's document is to be looked at: a real-name product.
    pub document_check: bool,
    /// Whether the holder is to be compared with the photo.
    pub photo_check: bool,
    /// See [`GRACE_MINUTES`]; at most [`GRACE_MINUTES_MAX`].
    pub grace_minutes: u16,
}

impl Rules {
    /// Rules that open every venue at any time without limits; a product states what it restricts
    /// with struct update syntax.
    pub const fn unlimited() -> Self {
        Self {
            evaluator_least: EVALUATOR_VERSION,
            product_version: 1,
            venues: Venues::All,
            per_venue: VenueLimits {
                daily: None,
                total: None,
            },
            venue_limits: BTreeMap::new(),
            daily: None,
            total: None,
            province_totals: ProvinceTotals {
                chongqing: None,
                sichuan: None,
            },
            blackouts: BTreeSet::new(),
            suspensions: BTreeSet::new(),
            reservation_required: false,
            document_check: false,
            photo_check: false,
            grace_minutes: GRACE_MINUTES,
        }
    }

    /// The limits at a venue.
    pub fn limits_at(&self, venue: VenueId) -> VenueLimits {
        self.venue_limits
            .get(&venue)
            .copied()
            .unwrap_or(self.per_venue)
    }
}

/// Which venues a product opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Venues {
    All,
    /// Those listed, and those with at least one of the tags.
    Listed {
        ids: BTreeSet<VenueId>,
        tags: BTreeSet<String>,
    },
}

impl Venues {
    /// Whether a venue with these tags is among them.
    pub fn open(&self, venue: VenueId, venue_tags: &BTreeSet<String>) -> bool {
        match self {
            Self::All => true,
            Self::Listed { ids, tags } => ids.contains(&venue) || !tags.is_disjoint(venue_tags),
        }
    }
}

/// How many persons at one venue, on one Shanghai day and in the whole window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VenueLimits {
    pub daily: Option<u32>,
    pub total: Option<u32>,
}

/// How many persons at the venues of each province in the whole window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProvinceTotals {
    pub chongqing: Option<u32>,
    pub sichuan: Option<u32>,
}

impl ProvinceTotals {
    pub const fn of(self, province: Province) -> Option<u32> {
        match province {
            Province::Chongqing => self.chongqing,
            Province::Sichuan => self.sichuan,
        }
    }
}

/// A venue that does not take part for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Suspension {
    pub venue: VenueId,
    /// `None` until further notice.
    pub dates: Option<DateRange>,
}
