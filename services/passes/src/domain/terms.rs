//! The terms of one version of a product: what it costs, when it is sold, how long it lasts, how
//! it is given back and where it opens doors. All of it is data; nothing here is special to one
//! product. A published version never changes and a pass keeps the one it was sold under.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use credential::dates::{DateRange, Span};
use credential::rules::Rules;
use credential::token::Minute;
use kit::types::{Fen, day_start, shanghai_date};

/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 60;
/// The longest description, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 4_000;
/// The longest duration and time to activate, in days.
pub const SPAN_DAYS_MAX: u32 = 3_660;
/// The same in months.
pub const SPAN_MONTHS_MAX: u32 = 120;
/// The most days between activation and the first day of use.
pub const START_DELAY_DAYS_MAX: u32 = 60;
/// The most steps of a refund ladder.
pub const LADDER_STEPS_MAX: usize = 10;
/// The last day on which any step may allow a refund: the payment provider takes a year.
pub const REFUND_DAYS_MAX: u32 = 360;
/// The largest fee; who keeps everything refunds nothing and says so by having no step.
pub const FEE_PERCENT_MAX: u32 = 99;
/// The earliest renewal before the end, in days.
pub const RENEWAL_DAYS_MAX: u32 = 366;

/// How long before it is forfeited the holder of a pass is reminded to activate it, in days.
pub const ACTIVATION_REMINDER_DAYS: i64 = 7;
/// At which hour of the Shanghai day she is reminded.
const ACTIVATION_REMINDER_HOUR: i64 = 10;

/// Name and description in both languages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    pub name_zh: String,
    pub name_en: String,
    pub description_zh: String,
    pub description_en: String,
}

/// When a paid pass begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// On the day it is paid.
    AtPayment,
    /// On the day its holder activates it, within a span that begins with the day of payment.
    Within { span: Span, then: AfterDeadline },
}

/// What becomes of a pass that nobody activated in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AfterDeadline {
    /// It begins on the first day after the span.
    Auto,
    /// It is forfeited.
    Forfeit,
    /// It is refunded in full.
    Refund,
}

/// One step of the refund ladder: until so many days after payment, at this fee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefundStep {
    /// The step holds on the day of payment and until this many days later, that day excluded.
    pub days: u32,
    /// Kept by the seller, in percent of what was paid, half-up to the fen.
    pub fee_percent: u32,
    /// Only for a pass that was never used.
    pub unused_only: bool,
}

/// The steps by rising days; empty means that nothing is refunded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder(pub Vec<RefundStep>);

impl Ladder {
    /// The step for a refund asked for on `asked`, of a pass paid on `paid` and used `uses` times:
    /// the earliest one that still holds and allows these uses.
    pub fn step(&self, paid: NaiveDate, asked: NaiveDate, uses: u32) -> Option<RefundStep> {
        let days = asked.signed_duration_since(paid).num_days();
        self.0
            .iter()
            .copied()
            .find(|step| days < i64::from(step.days) && (uses == 0 || !step.unused_only))
    }
}

/// What is kept of `paid` at this fee: half-up to the fen.
pub fn fee_of(paid: Fen, percent: u32) -> Fen {
    let fee = (paid.get() * i64::from(percent) + 50) / 100;
    Fen::new(fee.min(paid.get())).unwrap_or(paid)
}

/// The terms of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub names: Names,
    pub price: Fen,
    /// Half-open; `None` on a side without limit.
    pub sale_from: Option<DateTime<Utc>>,
    pub sale_until: Option<DateTime<Utc>>,
    /// Of all versions together.
    pub sale_limit: Option<u32>,
    pub member_limit: Option<u32>,
    pub activation: Activation,
    /// Days between activation and the first day of use.
    pub start_delay_days: u32,
    pub duration: Span,
    pub ladder: Ladder,
    /// How many days before its end a pass can be renewed; `None` when it cannot.
    pub renewal_days: Option<u32>,
    pub rules: Rules,
}

impl Terms {
    /// The days of a pass that is activated on `day`.
    pub fn window(&self, day: NaiveDate) -> Option<DateRange> {
        self.window_from(credential::dates::add_days(day, self.start_delay_days)?)
    }

    /// The days of a pass whose first day is `start`; `None` beyond what a credential can say.
    pub fn window_from(&self, start: NaiveDate) -> Option<DateRange> {
        let window = DateRange::lasting(start, self.duration)?;
        (window.until() <= Minute::MAX.instant()).then_some(window)
    }

    /// The first date on which a pass paid at `paid` can no longer be activated by its holder.
    pub fn activate_by(&self, paid: DateTime<Utc>) -> Option<NaiveDate> {
        match self.activation {
            Activation::AtPayment => None,
            Activation::Within { span, .. } => span.end(shanghai_date(paid)),
        }
    }

    /// When the holder of a pass that is forfeited unless she activates it is reminded of that;
    /// `None` where it is not forfeited, or where she pays later than that.
    pub fn activation_reminder(
        &self,
        activate_by: NaiveDate,
        paid: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        if !self.forfeits() {
            return None;
        }
        let at = day_start(activate_by) - TimeDelta::days(ACTIVATION_REMINDER_DAYS)
            + TimeDelta::hours(ACTIVATION_REMINDER_HOUR);
        (paid < at).then_some(at)
    }

    /// Whether a pass that nobody activates in time is lost.
    pub const fn forfeits(&self) -> bool {
        match self.activation {
            Activation::AtPayment => false,
            Activation::Within { then, .. } => match then {
                AfterDeadline::Forfeit => true,
                AfterDeadline::Auto | AfterDeadline::Refund => false,
            },
        }
    }

    /// # Errors
    /// The first field that makes no sense, and why.
    pub fn check(&self) -> Result<(), TermsFault> {
        self.check_names()?;
        if let (Some(from), Some(until)) = (self.sale_from, self.sale_until)
            && from >= until
        {
            return Err(TermsFault::SaleWindowEmpty);
        }
        if self.sale_limit == Some(0) {
            return Err(TermsFault::SaleLimit);
        }
        if self.member_limit == Some(0) {
            return Err(TermsFault::MemberLimit);
        }
        if let Activation::Within { span, .. } = self.activation
            && !sensible(span)
        {
            return Err(TermsFault::ActivationSpan);
        }
        if !sensible(self.duration) {
            return Err(TermsFault::Duration);
        }
        if self.start_delay_days > START_DELAY_DAYS_MAX {
            return Err(TermsFault::StartDelay);
        }
        if self
            .renewal_days
            .is_some_and(|days| days == 0 || days > RENEWAL_DAYS_MAX)
        {
            return Err(TermsFault::RenewalDays);
        }
        self.check_ladder()?;
        self.rules
            .to_bytes()
            .map(|_| ())
            .map_err(|_| TermsFault::Rules)
    }

    fn check_names(&self) -> Result<(), TermsFault> {
        let Names {
            name_zh,
            name_en,
            description_zh,
            description_en,
        } = &self.names;
        for name in [name_zh, name_en] {
            let count = name.trim().chars().count();
            if count == 0 || count > NAME_CHARS_MAX || name.chars().any(char::is_control) {
                return Err(TermsFault::Name);
            }
        }
        for text in [description_zh, description_en] {
            if text.chars().count() > DESCRIPTION_CHARS_MAX {
                return Err(TermsFault::Description);
            }
        }
        Ok(())
    }

    fn check_ladder(&self) -> Result<(), TermsFault> {
        let steps = &self.ladder.0;
        let rising = steps.windows(2).all(|pair| pair[0].days <= pair[1].days);
        let sensible = steps.iter().all(|step| {
            (1..=REFUND_DAYS_MAX).contains(&step.days) && step.fee_percent <= FEE_PERCENT_MAX
        });
        if rising && sensible && steps.len() <= LADDER_STEPS_MAX {
            Ok(())
        } else {
            Err(TermsFault::Ladder)
        }
    }
}

fn sensible(span: Span) -> bool {
    match span {
        Span::Days(days) => (1..=SPAN_DAYS_MAX).contains(&days),
        Span::Months(months) => (1..=SPAN_MONTHS_MAX).contains(&months),
    }
}

/// Why terms make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TermsFault {
    Name,
    Description,
    SaleWindowEmpty,
    SaleLimit,
    MemberLimit,
    ActivationSpan,
    StartDelay,
    Duration,
    RenewalDays,
    Ladder,
    Rules,
}

impl TermsFault {
    /// The input field at fault, Chinese, then English.
    pub const fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Name => (
                "terms.nameZh",
                "中英文名称必填，最长 60 个字符。",
                "Both names are required, of at most 60 characters.",
            ),
            Self::Description => (
                "terms.descriptionZh",
                "说明最长 4000 个字符。",
                "A description has at most 4000 characters.",
            ),
            Self::SaleWindowEmpty => (
                "terms.saleUntil",
                "停售时间必须晚于开售时间。",
                "The sale must end after it begins.",
            ),
            Self::SaleLimit => (
                "terms.saleLimit",
                "发售总量至少为 1。",
                "The sale limit is at least 1.",
            ),
            Self::MemberLimit => (
                "terms.memberLimit",
                "个人限购至少为 1。",
                "The limit per member is at least 1.",
            ),
            Self::ActivationSpan => (
                "terms.activation.span",
                "激活期限须为 1–3660 天或 1–120 个月。",
                "The time to activate is 1 to 3660 days or 1 to 120 months.",
            ),
            Self::StartDelay => (
                "terms.startDelayDays",
                "生效延迟最多 60 天。",
                "A pass begins at most 60 days after its activation.",
            ),
            Self::Duration => (
                "terms.duration",
                "有效期须为 1–3660 天或 1–120 个月。",
                "The duration is 1 to 3660 days or 1 to 120 months.",
            ),
            Self::RenewalDays => (
                "terms.renewalDays",
                "续期提前天数须为 1–366。",
                "A renewal opens 1 to 366 days before the end.",
            ),
            Self::Ladder => (
                "terms.refundLadder",
                "退款阶梯最多 10 级，天数 1–360 且不递减，手续费 0–99%。",
                "A refund ladder has at most 10 steps of rising days (1–360) and fees of 0–99 %.",
            ),
            Self::Rules => (
                "terms.rules",
                "入园规则过长：场馆、标签、不可用日期或宽限时间超出上限。",
                "The entry rules exceed a limit: venues, tags, blackouts or grace.",
            ),
        }
    }
}
