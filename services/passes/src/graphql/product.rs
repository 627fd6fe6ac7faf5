//! An annual pass as it is shown.

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use credential::dates::{DateRange, Span};
use credential::rules::{Rules, VenueLimits, Venues};
use kit::graphql::{Date, GlobalId, Money};
use uuid::Uuid;

use super::stub::Venue;
use super::{caller, language, service};
use crate::domain::{Activation, AfterDeadline, ProductState};
use crate::queries::ProductView;

/// An annual pass that can be bought.
#[derive(Clone, Debug)]
pub(super) struct PassProduct(pub(super) ProductView);

/// Where a product is in the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum PassProductState {
    /// Never published.
    Draft,
    /// Published; its sale window decides when it can be bought.
    OnSale,
    /// Its sale was stopped.
    Stopped,
}

/// When a paid pass begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum PassActivationMode {
    /// On the day it is paid.
    AtPayment,
    /// When its holder activates it, or by itself when the time to do so is over.
    Auto,
    /// When its holder activates it; forfeited when the time to do so is over.
    Forfeit,
    /// When its holder activates it; refunded when the time to do so is over.
    Refund,
}

/// A unit of calendar time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum PassTimeUnit {
    /// Days, the first one counted.
    Days,
    /// Calendar months; a shorter month ends on its last day.
    Months,
}

/// A number of days or calendar months.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub(super) struct PassSpan {
    /// Days or months.
    unit: PassTimeUnit,
    /// How many.
    count: u32,
}

impl From<Span> for PassSpan {
    fn from(span: Span) -> Self {
        match span {
            Span::Days(count) => Self {
                unit: PassTimeUnit::Days,
                count,
            },
            Span::Months(count) => Self {
                unit: PassTimeUnit::Months,
                count,
            },
        }
    }
}

/// How a pass begins.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub(super) struct PassActivation {
    /// By payment, by its holder, by time.
    mode: PassActivationMode,
    /// The time to activate, which begins with the day of payment; null for `AT_PAYMENT`.
    within: Option<PassSpan>,
}

/// One step of the refund ladder.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub(super) struct PassRefundStep {
    /// Holds on the day of payment and until this many days later, that day excluded.
    days: u32,
    /// What is kept, in percent of the price, half-up to the fen.
    fee_percent: u32,
    /// Only for a pass that was never used.
    unused_only: bool,
}

/// Dates in Shanghai, half-open.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub(super) struct PassDates {
    /// The first date.
    start: Date,
    /// The first date after it.
    end: Date,
}

impl From<DateRange> for PassDates {
    fn from(range: DateRange) -> Self {
        Self {
            start: range.start().into(),
            end: range.end().into(),
        }
    }
}

/// How many may enter at one venue; null means without limit.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub(super) struct PassVenueLimit {
    /// The venue.
    venue: Venue,
    /// On one Shanghai day.
    daily: Option<u32>,
    /// In the whole window.
    total: Option<u32>,
}

/// A venue that does not take part for a time.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub(super) struct PassSuspension {
    /// The venue.
    venue: Venue,
    /// When; null until further notice.
    dates: Option<PassDates>,
}

/// Where, when and how often a pass opens doors. Null means without limit.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct PassRules {
    /// Whether it opens every venue; otherwise those listed and those with one of the tags.
    all_venues: bool,
    /// The venues listed.
    venues: Vec<Venue>,
    /// Tags of venues.
    venue_tags: Vec<String>,
    /// Entries at one venue on one day.
    per_venue_daily: Option<u32>,
    /// Entries at one venue in all.
    per_venue_total: Option<u32>,
    /// Venues with limits of their own.
    venue_limits: Vec<PassVenueLimit>,
    /// Entries on one day, over all venues.
    daily: Option<u32>,
    /// Entries in all.
    total: Option<u32>,
    /// Entries in all at venues in Chongqing.
    total_chongqing: Option<u32>,
    /// Entries in all at venues in Sichuan.
    total_sichuan: Option<u32>,
    /// Dates on which nobody enters.
    blackouts: Vec<PassDates>,
    /// Venues that do not take part for a time.
    suspensions: Vec<PassSuspension>,
    /// Whether a visit must be reserved.
    reservation_required: bool,
    /// Whether the holder's document is looked at: a real-name pass.
    document_check: bool,
    /// Whether the holder is compared with the photo.
    photo_check: bool,
    /// How long after midnight the day before still counts, in minutes.
    grace_minutes: u16,
}

fn venue(id: credential::rules::VenueId) -> Venue {
    Venue(Uuid::from_bytes(id.0))
}

impl From<&Rules> for PassRules {
    fn from(rules: &Rules) -> Self {
        let (all_venues, venues, venue_tags) = match &rules.venues {
            Venues::All => (true, Vec::new(), Vec::new()),
            Venues::Listed { ids, tags } => (
                false,
                ids.iter().copied().map(venue).collect(),
                tags.iter().cloned().collect(),
            ),
        };
        let limit = |(id, limits): (&credential::rules::VenueId, &VenueLimits)| PassVenueLimit {
            venue: venue(*id),
            daily: limits.daily,
            total: limits.total,
        };
        Self {
            all_venues,
            venues,
            venue_tags,
            per_venue_daily: rules.per_venue.daily,
            per_venue_total: rules.per_venue.total,
            venue_limits: rules.venue_limits.iter().map(limit).collect(),
            daily: rules.daily,
            total: rules.total,
            total_chongqing: rules.province_totals.chongqing,
            total_sichuan: rules.province_totals.sichuan,
            blackouts: rules
                .blackouts
                .iter()
                .copied()
                .map(PassDates::from)
                .collect(),
            suspensions: rules
                .suspensions
                .iter()
                .map(|one| PassSuspension {
                    venue: venue(one.venue),
                    dates: one.dates.map(PassDates::from),
                })
                .collect(),
            reservation_required: rules.reservation_required,
            document_check: rules.document_check,
            photo_check: rules.photo_check,
            grace_minutes: rules.grace_minutes,
        }
    }
}

/// An annual pass that can be bought.
#[Object]
impl PassProduct {
    /// The product's id.
    async fn id(&self) -> ID {
        GlobalId::of_uuid("PassProduct", self.0.product.id.0)
    }

    /// The version of the terms shown. A pass keeps the version it was sold under.
    async fn version(&self) -> u32 {
        self.0.number
    }

    /// The number that credentials of this product carry.
    async fn scope(&self) -> u32 {
        self.0.product.scope
    }

    /// The name, in the language of the request.
    async fn name(&self, ctx: &Context<'_>) -> &str {
        let names = &self.0.terms.names;
        language(ctx).choose(&names.name_zh, &names.name_en)
    }

    /// The description, in the language of the request.
    async fn description(&self, ctx: &Context<'_>) -> &str {
        let names = &self.0.terms.names;
        language(ctx).choose(&names.description_zh, &names.description_en)
    }

    /// The price of one.
    async fn price(&self) -> Money {
        self.0.terms.price.into()
    }

    /// Where it is in the shop.
    async fn state(&self) -> PassProductState {
        match self.0.product.state {
            ProductState::Draft => PassProductState::Draft,
            ProductState::OnSale { .. } => PassProductState::OnSale,
            ProductState::Stopped { .. } => PassProductState::Stopped,
        }
    }

    /// From when it can be bought; null without a beginning.
    async fn sale_from(&self) -> Option<DateTime<Utc>> {
        self.0.terms.sale_from
    }

    /// The first instant at which it can no longer be bought; null without an end.
    async fn sale_until(&self) -> Option<DateTime<Utc>> {
        self.0.terms.sale_until
    }

    /// How many are sold in all; null without limit.
    async fn sale_limit(&self) -> Option<u32> {
        self.0.terms.sale_limit
    }

    /// How many can still be bought, some seconds ago; null without limit. Purchases decide by
    /// the present number.
    async fn available(&self) -> Option<u64> {
        self.0.stock.left()
    }

    /// How many one member can buy, renewals apart; null without limit.
    async fn member_limit(&self) -> Option<u32> {
        self.0.terms.member_limit
    }

    /// When a paid pass begins.
    async fn activation(&self) -> PassActivation {
        let mode = |then| match then {
            AfterDeadline::Auto => PassActivationMode::Auto,
            AfterDeadline::Forfeit => PassActivationMode::Forfeit,
            AfterDeadline::Refund => PassActivationMode::Refund,
        };
        match self.0.terms.activation {
            Activation::AtPayment => PassActivation {
                mode: PassActivationMode::AtPayment,
                within: None,
            },
            Activation::Within { span, then } => PassActivation {
                mode: mode(then),
                within: Some(span.into()),
            },
        }
    }

    /// Days between activation and the first day of use.
    async fn start_delay_days(&self) -> u32 {
        self.0.terms.start_delay_days
    }

    /// How long it lasts.
    async fn duration(&self) -> PassSpan {
        self.0.terms.duration.into()
    }

    /// What is given back, by rising days; empty when nothing is.
    async fn refund_ladder(&self) -> Vec<PassRefundStep> {
        let steps = self.0.terms.ladder.0.iter();
        steps
            .map(|step| PassRefundStep {
                days: step.days,
                fee_percent: step.fee_percent,
                unused_only: step.unused_only,
            })
            .collect()
    }

    /// How many days before its end a pass can be renewed; null when it cannot.
    async fn renewal_days(&self) -> Option<u32> {
        self.0.terms.renewal_days
    }

    /// Where, when and how often it opens doors.
    async fn rules(&self) -> PassRules {
        PassRules::from(&self.0.terms.rules)
    }

    /// The version being written, for operators; null when none is.
    async fn draft(&self, ctx: &Context<'_>) -> Result<Option<Self>> {
        let draft = service(ctx)?.draft(caller(ctx)?, self.0.product.id).await?;
        Ok(draft.map(Self))
    }
}
