//! Visits that are reserved, and the days that are opened for them.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::Result as KitResult;
use kit::graphql::{Date, GlobalId};
use uuid::Uuid;

use super::pass::Pass;
use super::stub::Venue;
use super::{caller, language, service};
use crate::commands::{OpenDays, VisitRequest};
use crate::domain::Slot;
use crate::queries::VisitDayView;

/// A visit that is reserved.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub(super) struct PassReservation {
    /// Where.
    venue: Venue,
    /// The Shanghai date.
    date: Date,
    /// Whether there is still time to cancel it.
    can_be_cancelled: bool,
}

impl PassReservation {
    pub(super) fn of(slot: Slot, now: DateTime<Utc>) -> Self {
        Self {
            venue: Venue(slot.venue),
            date: slot.date.into(),
            can_be_cancelled: slot.can_be_given_back(now),
        }
    }
}

/// A day of a venue on which visits can be reserved.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub(super) struct VisitDay {
    /// The Shanghai date.
    date: Date,
    /// How many visits can be reserved in all.
    places: i32,
    /// How many are left.
    left: i32,
}

impl From<VisitDayView> for VisitDay {
    fn from(day: VisitDayView) -> Self {
        Self {
            date: day.date.into(),
            places: day.open,
            left: day.open - day.taken,
        }
    }
}

/// Names a visit to reserve or to cancel.
#[derive(Clone, Debug, InputObject)]
pub(super) struct VisitInput {
    /// A pass of the caller's own.
    pub(super) pass_id: ID,
    /// The venue.
    pub(super) venue_id: ID,
    /// The Shanghai date.
    pub(super) date: Date,
    /// Minted by the client: the same key acts once.
    pub(super) idempotency_key: Uuid,
}

/// How many visits of a venue can be reserved on each of some days.
#[derive(Clone, Debug, InputObject)]
pub(super) struct OpenVisitDaysInput {
    /// The venue.
    pub(super) venue_id: ID,
    /// The first Shanghai date.
    pub(super) first: Date,
    /// How many days, 1 to 366.
    #[graphql(default = 1)]
    pub(super) days: u32,
    /// The places of each; where more are taken, as many as are taken. 0 takes no more
    /// reservations.
    pub(super) places: u32,
    /// Minted by the client: the same key acts once.
    pub(super) idempotency_key: Uuid,
}

kit::payload! {
    /// What became of a visit that was to be reserved.
    pub(super) struct ReserveVisitPayload / ReserveVisitUserError / ReserveVisitErrorCode {
        /// The pass, with the reservation.
        pass: Pass,
    }
    refuses {
        /// It has not been paid for.
        AwaitingPayment,
        /// It is not active.
        NotActive,
        /// It is frozen.
        PassFrozen,
        /// It is being refunded.
        RefundInProgress,
        /// It was refunded, voided or has lapsed.
        PassEnded,
        /// Its visits need no reservation.
        NotReservable,
        /// It does not open this venue.
        VenueNotOpened,
        /// The venue takes no reservations for that day.
        DayNotOpen,
        /// No places are left.
        NoPlacesLeft,
        /// The day is over, or outside the days of the pass.
        OutsidePass,
        /// The venue is closed, or does not take the pass on that day.
        VisitNotAdmitted,
        /// What is used and reserved is all that the pass admits.
        VisitsUsedUp,
        /// The visit is reserved already.
        AlreadyReserved,
        /// Too many visits are reserved at once.
        TooManyReservations,
    }
}

kit::payload! {
    /// What became of a reserved visit that was to be cancelled.
    pub(super) struct CancelVisitPayload / CancelVisitUserError / CancelVisitErrorCode {
        /// The pass, without the reservation.
        pass: Pass,
    }
    refuses {
        /// No such visit is reserved.
        NotReserved,
        /// The day is too near.
        CancelTooLate,
        /// That was done too often lately.
        CancelledTooOften,
    }
}

kit::payload! {
    /// What became of days that were to be opened.
    pub(super) struct OpenVisitDaysPayload / OpenVisitDaysUserError / OpenVisitDaysErrorCode {
        /// The venue, with its days.
        venue: Venue,
    }
    refuses {}
}

fn visit_of(input: &VisitInput) -> KitResult<(Slot, VisitRequest)> {
    let slot = Slot {
        venue: GlobalId::uuid(&input.venue_id, "Venue")?,
        date: input.date.0,
    };
    let request = VisitRequest {
        pass: GlobalId::entitlement(&input.pass_id, "Pass")?,
        key: input.idempotency_key,
    };
    Ok((slot, request))
}

/// What is done to visits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct VisitMutation;

#[Object]
impl VisitMutation {
    /// Reserves a visit with a pass whose rules need it. Its gate knows of it a moment later.
    async fn reserve_visit(
        &self,
        ctx: &Context<'_>,
        input: VisitInput,
    ) -> Result<ReserveVisitPayload> {
        let (passes, caller) = (service(ctx)?, caller(ctx)?);
        let done = async {
            let (slot, request) = visit_of(&input)?;
            let pass = passes.reserve(caller, slot, request).await?;
            Ok(ReserveVisitPayload::done(Pass(pass)))
        };
        ReserveVisitPayload::from_result(language(ctx), done.await)
    }

    /// Gives the place of a reserved visit back, until 18:00 on the day before.
    async fn cancel_visit(
        &self,
        ctx: &Context<'_>,
        input: VisitInput,
    ) -> Result<CancelVisitPayload> {
        let (passes, caller) = (service(ctx)?, caller(ctx)?);
        let done = async {
            let (slot, request) = visit_of(&input)?;
            let pass = passes.cancel_visit(caller, slot, request).await?;
            Ok(CancelVisitPayload::done(Pass(pass)))
        };
        CancelVisitPayload::from_result(language(ctx), done.await)
    }

    /// Sets how many visits of a venue can be reserved on each of some days. Operators only.
    async fn open_visit_days(
        &self,
        ctx: &Context<'_>,
        input: OpenVisitDaysInput,
    ) -> Result<OpenVisitDaysPayload> {
        let (passes, caller) = (service(ctx)?, caller(ctx)?);
        let done = async {
            let venue = GlobalId::uuid(&input.venue_id, "Venue")?;
            let first = Slot {
                venue,
                date: input.first.0,
            };
            let open = OpenDays::parse(first, input.days.into(), input.places)?;
            passes
                .open_visit_days(caller, open, input.idempotency_key)
                .await?;
            Ok(OpenVisitDaysPayload::done(Venue(venue)))
        };
        OpenVisitDaysPayload::from_result(language(ctx), done.await)
    }
}
