//! The input of mutations, and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::{ID, InputObject};
use credential::dates::{DateRange, Span};
use credential::rules::{
    GRACE_MINUTES, ProvinceTotals, Rules, Suspension, VenueId, VenueLimits, Venues,
};
use kit::graphql::{Date, GlobalId, Instant};
use kit::types::Fen;
use kit::{Error, Refusal, Result};
use uuid::Uuid;

use super::product::{PassActivationMode, PassTimeUnit};
use crate::commands::CheckedTerms;
use crate::domain::{Activation, AfterDeadline, Ladder, Names, RefundStep, Terms};

/// A number of days or calendar months.
#[derive(Clone, Debug, InputObject)]
pub(super) struct PassSpanInput {
    /// Days or months.
    unit: PassTimeUnit,
    /// How many, at least 1.
    count: u32,
}

impl PassSpanInput {
    const fn span(&self) -> Span {
        match self.unit {
            PassTimeUnit::Days => Span::Days(self.count),
            PassTimeUnit::Months => Span::Months(self.count),
        }
    }
}

/// How a pass begins.
#[derive(Clone, Debug, InputObject)]
pub(super) struct PassActivationInput {
    /// By payment, by its holder, by time.
    mode: PassActivationMode,
    /// The time to activate, which begins with the day of payment; for every mode but
    /// `AT_PAYMENT`.
    within: Option<PassSpanInput>,
}

/// One step of the refund ladder.
#[derive(Clone, Debug, InputObject)]
pub(super) struct PassRefundStepInput {
    /// Holds on the day of payment and until this many days later, that day excluded.
    days: u32,
    /// What is kept, in percent of the price.
    fee_percent: u32,
    /// Only for a pass that was never used.
    #[graphql(default = true)]
    unused_only: bool,
}

/// Dates in Shanghai, half-open.
#[derive(Clone, Debug, InputObject)]
pub(super) struct PassDatesInput {
    /// The first date.
    start: Date,
    /// The first date after it.
    end: Date,
}

impl PassDatesInput {
    fn range(&self) -> Result<DateRange> {
        DateRange::new(self.start.0, self.end.0).ok_or_else(|| {
            bad(
                "terms.rules.blackouts",
                "日期范围的结束必须晚于开始。",
                "A range of dates must end after it starts.",
            )
        })
    }
}

/// The limits of one venue, instead of those of every venue; null means without limit.
#[derive(Clone, Debug, InputObject)]
pub(super) struct PassVenueLimitInput {
    /// The venue.
    venue_id: ID,
    /// On one Shanghai day.
    daily: Option<u32>,
    /// In the whole window.
    total: Option<u32>,
}

/// A venue that does not take part for a time.
#[derive(Clone, Debug, InputObject)]
pub(super) struct PassSuspensionInput {
    /// The venue.
    venue_id: ID,
    /// When; null until further notice.
    dates: Option<PassDatesInput>,
}

/// Where, when and how often a pass opens doors. Null means without limit.
#[derive(Clone, Debug, InputObject)]
pub(super) struct PassRulesInput {
    /// The venues it opens. Without any, and without tags, it opens all.
    #[graphql(default)]
    venue_ids: Vec<ID>,
    /// It opens venues with one of these tags as well.
    #[graphql(default)]
    venue_tags: Vec<String>,
    /// Entries at one venue on one day.
    per_venue_daily: Option<u32>,
    /// Entries at one venue in all.
    per_venue_total: Option<u32>,
    /// Venues with limits of their own.
    #[graphql(default)]
    venue_limits: Vec<PassVenueLimitInput>,
    /// Entries on one day, over all venues.
    daily: Option<u32>,
    /// Entries in all.
    total: Option<u32>,
    /// Entries in all at venues in Chongqing.
    total_chongqing: Option<u32>,
    /// Entries in all at venues in Sichuan.
    total_sichuan: Option<u32>,
    /// Dates on which nobody enters.
    #[graphql(default)]
    blackouts: Vec<PassDatesInput>,
    /// Venues that do not take part for a time.
    #[graphql(default)]
    suspensions: Vec<PassSuspensionInput>,
    /// Whether a visit must be reserved, with `reserveVisit`, on a day that `openVisitDays` opened.
    #[graphql(default)]
    reservation_required: bool,
    /// Whether the holder's document is looked at: a real-name pass.
    #[graphql(default)]
    document_check: bool,
    /// Whether the holder is compared with the photo.
    #[graphql(default)]
    photo_check: bool,
    /// How long after midnight the day before still counts, in minutes; 15 unless told.
    grace_minutes: Option<u16>,
}

fn venue_id(id: &ID) -> Result<VenueId> {
    GlobalId::uuid(id, "Venue").map(|id| VenueId(*id.as_bytes()))
}

impl PassRulesInput {
    fn rules(&self) -> Result<Rules> {
        let venues = if self.venue_ids.is_empty() && self.venue_tags.is_empty() {
            Venues::All
        } else {
            Venues::Listed {
                ids: self
                    .venue_ids
                    .iter()
                    .map(venue_id)
                    .collect::<Result<BTreeSet<_>>>()?,
                tags: self
                    .venue_tags
                    .iter()
                    .map(|tag| tag.trim().to_owned())
                    .collect(),
            }
        };
        let venue_limits = self
            .venue_limits
            .iter()
            .map(|one| {
                let limits = VenueLimits {
                    daily: one.daily,
                    total: one.total,
                };
                Ok((venue_id(&one.venue_id)?, limits))
            })
            .collect::<Result<BTreeMap<_, _>>>()?;
        let suspensions = self
            .suspensions
            .iter()
            .map(|one| {
                let dates = one.dates.as_ref().map(PassDatesInput::range).transpose()?;
                Ok(Suspension {
                    venue: venue_id(&one.venue_id)?,
                    dates,
                })
            })
            .collect::<Result<BTreeSet<_>>>()?;
        Ok(Rules {
            venues,
            per_venue: VenueLimits {
                daily: self.per_venue_daily,
                total: self.per_venue_total,
            },
            venue_limits,
            daily: self.daily,
            total: self.total,
            province_totals: ProvinceTotals {
                chongqing: self.total_chongqing,
                sichuan: self.total_sichuan,
            },
            blackouts: self
                .blackouts
                .iter()
                .map(PassDatesInput::range)
                .collect::<Result<BTreeSet<_>>>()?,
            suspensions,
            reservation_required: self.reservation_required,
            document_check: self.document_check,
            photo_check: self.photo_check,
            grace_minutes: self.grace_minutes.unwrap_or(GRACE_MINUTES),
            ..Rules::unlimited()
        })
    }
}

/// The terms of a version of a product.
#[derive(Clone, Debug, InputObject)]
pub(super) struct PassTermsInput {
    /// 名称
    name_zh: String,
    /// The name in English.
    name_en: String,
    /// 说明
    #[graphql(default)]
    description_zh: String,
    /// The description in English.
    #[graphql(default)]
    description_en: String,
    /// The price of one, in fen.
    price_fen: i64,
    /// From when it can be bought; null without a beginning.
    sale_from: Option<Instant>,
    /// The first instant at which it can no longer be bought; null without an end.
    sale_until: Option<Instant>,
    /// How many are sold in all; null without limit.
    sale_limit: Option<u32>,
    /// How many one member can buy, renewals apart; null without limit.
    member_limit: Option<u32>,
    /// When a paid pass begins; at payment unless told.
    activation: Option<PassActivationInput>,
    /// Days between activation and the first day of use.
    #[graphql(default)]
    start_delay_days: u32,
    /// How long it lasts; 12 months unless told.
    duration: Option<PassSpanInput>,
    /// What is given back, by rising days; unless told, all of an unused pass within 7 days. An
    /// empty ladder gives nothing back.
    refund_ladder: Option<Vec<PassRefundStepInput>>,
    /// How many days before its end a pass can be renewed; null when it cannot.
    renewal_days: Option<u32>,
    /// Where, when and how often it opens doors.
    rules: PassRulesInput,
}

/// Unless told: all of an unused pass goes back within so many days.
const REFUND_DAYS_DEFAULT: u32 = 7;
/// Unless told: a pass lasts so many calendar months.
const DURATION_MONTHS_DEFAULT: u32 = 12;

fn bad(field: &'static str, zh: &'static str, en: &'static str) -> Error {
    Refusal::new("BAD_INPUT", field, zh.into(), en.into()).into()
}

impl PassTermsInput {
    /// Terms that make sense.
    ///
    /// # Errors
    /// The first field at fault.
    pub(super) fn parse(self) -> Result<CheckedTerms> {
        let price = Fen::new(self.price_fen).map_err(|_| {
            bad(
                "terms.priceFen",
                "价格须为 0 到 100000000.00 元之间的整数分。",
                "A price is a whole number of fen, from 0 to 100 million yuan.",
            )
        })?;
        let ladder = self.ladder();
        let duration = self
            .duration
            .as_ref()
            .map_or(Span::Months(DURATION_MONTHS_DEFAULT), PassSpanInput::span);
        let (activation, rules) = (self.activation()?, self.rules.rules()?);
        CheckedTerms::parse(Terms {
            names: Names {
                name_zh: self.name_zh.trim().to_owned(),
                name_en: self.name_en.trim().to_owned(),
                description_zh: self.description_zh,
                description_en: self.description_en,
            },
            price,
            sale_from: self.sale_from.map(|at| at.0),
            sale_until: self.sale_until.map(|at| at.0),
            sale_limit: self.sale_limit,
            member_limit: self.member_limit,
            activation,
            start_delay_days: self.start_delay_days,
            duration,
            ladder,
            renewal_days: self.renewal_days,
            rules,
        })
    }

    fn ladder(&self) -> Ladder {
        let Some(steps) = &self.refund_ladder else {
            let days = REFUND_DAYS_DEFAULT;
            return Ladder(vec![RefundStep {
                days,
                fee_percent: 0,
                unused_only: true,
            }]);
        };
        let step = |step: &PassRefundStepInput| RefundStep {
            days: step.days,
            fee_percent: step.fee_percent,
            unused_only: step.unused_only,
        };
        Ladder(steps.iter().map(step).collect())
    }

    fn activation(&self) -> Result<Activation> {
        let Some(input) = &self.activation else {
            return Ok(Activation::AtPayment);
        };
        let then = match input.mode {
            PassActivationMode::AtPayment => return Ok(Activation::AtPayment),
            PassActivationMode::Auto => AfterDeadline::Auto,
            PassActivationMode::Forfeit => AfterDeadline::Forfeit,
            PassActivationMode::Refund => AfterDeadline::Refund,
        };
        let span = input
            .within
            .as_ref()
            .map(PassSpanInput::span)
            .ok_or_else(|| {
                bad(
                    "terms.activation.within",
                    "请填写激活期限。",
                    "The time to activate is required.",
                )
            })?;
        Ok(Activation::Within { span, then })
    }
}

/// Writes the first draft of a product.
#[derive(Clone, Debug, InputObject)]
pub(super) struct CreatePassProductInput {
    /// What it offers.
    pub(super) terms: PassTermsInput,
    /// Minted by the client: the same key acts once.
    pub(super) idempotency_key: Uuid,
}

/// Writes the draft of the next version of a product.
#[derive(Clone, Debug, InputObject)]
pub(super) struct UpdatePassProductInput {
    /// The product.
    pub(super) product_id: ID,
    /// All of the next version's terms.
    pub(super) terms: PassTermsInput,
    /// Minted by the client: the same key acts once.
    pub(super) idempotency_key: Uuid,
}

/// Names a product to publish.
#[derive(Clone, Debug, InputObject)]
pub(super) struct PublishPassProductInput {
    /// The product.
    pub(super) product_id: ID,
    /// Minted by the client: the same key acts once.
    pub(super) idempotency_key: Uuid,
}

/// Names a product whose sale is stopped or resumed.
#[derive(Clone, Debug, InputObject)]
pub(super) struct PassSaleInput {
    /// The product.
    pub(super) product_id: ID,
    /// Minted by the client: the same key acts once.
    pub(super) idempotency_key: Uuid,
}

/// A purchase by a member for herself.
#[derive(Clone, Debug, InputObject)]
pub(super) struct BuyPassInput {
    /// What to buy.
    pub(super) product_id: ID,
    /// The pass of the caller's own that the new one continues.
    pub(super) renews: Option<ID>,
    /// Minted by the client: the same key buys once.
    pub(super) idempotency_key: Uuid,
}

/// Names a pass of the caller's own to activate.
#[derive(Clone, Debug, InputObject)]
pub(super) struct ActivatePassInput {
    /// The pass.
    pub(super) pass_id: ID,
    /// Minted by the client: the same key acts once.
    pub(super) idempotency_key: Uuid,
}

/// Names a pass whose code is replaced.
#[derive(Clone, Debug, InputObject)]
pub(super) struct ReissuePassInput {
    /// The pass.
    pub(super) pass_id: ID,
    /// Why, at most 200 characters: operators must say so.
    pub(super) reason: Option<String>,
    /// Minted by the client: the same key acts once.
    pub(super) idempotency_key: Uuid,
}

/// Names a pass of the caller's own to give back.
#[derive(Clone, Debug, InputObject)]
pub(super) struct RequestPassRefundInput {
    /// The pass.
    pub(super) pass_id: ID,
    /// Minted by the client: the same key acts once.
    pub(super) idempotency_key: Uuid,
}

/// Names a pass to freeze or to let go, and says why.
#[derive(Clone, Debug, InputObject)]
pub(super) struct PassCustodyInput {
    /// The pass.
    pub(super) pass_id: ID,
    /// Why, at most 200 characters; its holder reads it.
    pub(super) reason: String,
    /// Minted by the client: the same key acts once.
    pub(super) idempotency_key: Uuid,
}

/// Names a pass to end for good, and says why.
#[derive(Clone, Debug, InputObject)]
pub(super) struct VoidPassInput {
    /// The pass.
    pub(super) pass_id: ID,
    /// Why, at most 200 characters; its holder reads it.
    pub(super) reason: String,
    /// Whether the whole price goes back.
    #[graphql(default)]
    pub(super) refund: bool,
    /// Minted by the client: the same key acts once.
    pub(super) idempotency_key: Uuid,
}
