//! Visits that are reserved: one pass, one venue, one Shanghai day. A product whose rules need it
//! admits nobody without; the places of a day are what an operator opened.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use credential::dates::{DateRange, start_of_day};
use credential::rules::{Decision, Province, Reason};
use kit::types::shanghai_date;
use uuid::Uuid;

use super::pass::{Change, Entitlement, EntitlementState, Life, Pass, State, Usable};
use super::terms::Terms;
use super::venue::{Today, Venue, Visit};
use crate::error::Refusal;

/// How many visits of one pass may be reserved at once, that day's included: enough for a journey,
/// too few to keep places from others.
pub const OPEN_RESERVATIONS_MAX: usize = 10;
/// A place can be given back until so many hours before its day begins: the longest lease of a
/// gate without a network, 4 hours, and two for the news to arrive.
pub const CANCEL_HOURS_BEFORE: i64 = 6;
/// How often places of one pass are given back within a day: each time others hear of it.
pub const CANCELLATIONS_PER_DAY_MAX: u32 = 10;
/// The most places of one venue's day.
pub const PLACES_MAX: u32 = 1_000_000;
/// How many days one command opens at most.
pub const OPENED_DAYS_MAX: i64 = 366;

/// What one lane decides: a venue on a Shanghai day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    pub venue: Uuid,
    pub date: NaiveDate,
}

impl Slot {
    /// Whether a place can still be given back.
    pub fn can_be_given_back(self, now: DateTime<Utc>) -> bool {
        now < start_of_day(self.date) - TimeDelta::hours(CANCEL_HOURS_BEFORE)
    }
}

/// A visit that is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    pub slot: Slot,
    pub province: Province,
}

impl Reservation {
    /// Its day, half-open.
    pub fn instants(self) -> (DateTime<Utc>, DateTime<Utc>) {
        let start = start_of_day(self.slot.date);
        (start, start + TimeDelta::days(1))
    }

    /// What it will be once it is used.
    const fn visit(self) -> Visit {
        Visit {
            venue: self.slot.venue,
            province: self.province,
            date: self.slot.date,
            persons: 1,
        }
    }

    fn was_used(self, visits: &[Visit]) -> bool {
        let here = |visit: &Visit| (visit.venue, visit.date) == (self.slot.venue, self.slot.date);
        visits.iter().any(here)
    }
}

/// The places of one venue's day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    pub open: u32,
    pub taken: u32,
}

/// A visit that somebody wants to reserve, and what it is decided on.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub venue: &'a Venue,
    pub date: NaiveDate,
    pub terms: &'a Terms,
    /// What the pass has reserved for today and later.
    pub held: &'a [Reservation],
    /// Its uses that count.
    pub visits: &'a [Visit],
    pub now: DateTime<Utc>,
}

impl Wanted<'_> {
    /// The reservation itself.
    pub const fn reservation(&self) -> Reservation {
        Reservation {
            slot: Slot {
                venue: self.venue.id,
                date: self.date,
            },
            province: self.venue.province,
        }
    }

    /// What a gate would answer on that day, were all that is reserved used: a place is not given
    /// to who could not enter with it.
    fn would_admit(&self, window: DateRange) -> Result<(), Refusal> {
        let still_to_come = self.held.iter().filter(|one| !one.was_used(self.visits));
        let visits: Vec<Visit> = self
            .visits
            .iter()
            .copied()
            .chain(still_to_come.map(|one| one.visit()))
            .collect();
        let today = Today {
            right: Entitlement {
                state: EntitlementState::Active,
                window,
                freeze_version: 0,
            },
            rules: &self.terms.rules,
            visits: &visits,
            reservations: &[self.reservation()],
            now: self.venue.first_moment(self.date).max(self.now),
        };
        match today.at(self.venue) {
            // Who must look at a document is known at the gate only.
            Decision::Admit { .. } | Decision::Ask { .. } => Ok(()),
            Decision::Deny { reason, .. } => Err(refusal_of(reason)),
        }
    }
}

const fn refusal_of(reason: Reason) -> Refusal {
    match reason {
        Reason::WrongVenue => Refusal::VenueNotOpened,
        Reason::UsedToday | Reason::UsedHere | Reason::UsedUp | Reason::TooManyPersons => {
            Refusal::VisitsUsedUp
        }
        Reason::NotYetValid | Reason::Expired => Refusal::OutsidePass,
        Reason::Blackout
        | Reason::VenueSuspended
        | Reason::VenueClosed
        | Reason::VenueFull
        | Reason::BadFormat
        | Reason::UnknownVersion
        | Reason::UnknownKey
        | Reason::BadSignature
        | Reason::StaleCode
        | Reason::Revoked
        | Reason::Superseded
        | Reason::Frozen
        | Reason::WrongGate
        | Reason::WrongSlot
        | Reason::NoReservation
        | Reason::AlreadyInside
        | Reason::NotInside
        | Reason::IdMismatch
        | Reason::Unpaid
        | Reason::OutsideLease
        | Reason::ClockUntrusted
        | Reason::UnknownEntitlement
        | Reason::BudgetExhausted
        | Reason::EvaluatorTooOld
        | Reason::Unattended
        | Reason::Internal => Refusal::VisitNotAdmitted,
    }
}

impl Pass {
    /// Reserves a visit and takes its place.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn reserve(self, wanted: &Wanted<'_>, places: &mut Places) -> Result<Change, Refusal> {
        let window = self.opens_on()?;
        if !wanted.terms.rules.reservation_required {
            return Err(Refusal::NotReservable);
        }
        if wanted.date < shanghai_date(wanted.now) || !window.contains(wanted.date) {
            return Err(Refusal::OutsidePass);
        }
        let slot = wanted.reservation().slot;
        if wanted.held.iter().any(|one| one.slot == slot) {
            return Err(Refusal::AlreadyReserved);
        }
        if wanted.held.len() >= OPEN_RESERVATIONS_MAX {
            return Err(Refusal::TooManyReservations);
        }
        wanted.would_admit(window)?;
        if places.taken >= places.open {
            return Err(Refusal::NoPlacesLeft);
        }
        places.taken += 1;
        Ok(self.reserved_anew())
    }

    /// Gives the place of a visit back. `held` is what the pass has reserved, `lately` how often
    /// that was done within the last day.
    ///
    /// # Errors
    /// When it is not reserved, the day is too near, or this is done too often.
    pub fn cancel_reservation(
        self,
        slot: Slot,
        (held, lately): (&[Reservation], u32),
        now: DateTime<Utc>,
    ) -> Result<Change, Refusal> {
        if !held.iter().any(|one| one.slot == slot) {
            return Err(Refusal::NotReserved);
        }
        if !slot.can_be_given_back(now) {
            return Err(Refusal::CancelTooLate);
        }
        if lately >= CANCELLATIONS_PER_DAY_MAX {
            return Err(Refusal::CancelledTooOften);
        }
        Ok(self.reserved_anew())
    }

    fn reserved_anew(self) -> Change {
        let state = self.state.clone();
        self.become_state(state, Vec::new())
    }

    /// The days of a pass with which a visit can be reserved.
    fn opens_on(&self) -> Result<DateRange, Refusal> {
        match &self.state {
            State::AwaitingPayment(_) => Err(Refusal::AwaitingPayment),
            State::Lapsed => Err(Refusal::PassEnded),
            State::Paid { life, .. } => match life {
                Life::Usable(Usable::Active { window }) => Ok(*window),
                Life::Usable(Usable::Ready { .. }) => Err(Refusal::NotActive),
                Life::Frozen { .. } => Err(Refusal::PassFrozen),
                Life::Refunding { .. } | Life::Voiding { .. } => Err(Refusal::RefundInProgress),
                Life::Refunded { .. } | Life::Voided { .. } | Life::Forfeited { .. } => {
                    Err(Refusal::PassEnded)
                }
            },
        }
    }
}
