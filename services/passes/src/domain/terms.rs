//! The terms of one version of a product: what it costs, when it is sold, how long it lasts, how
//! it is given back and where it opens doors. All of it is data; nothing here is special to one
//! product. A published version never changes and a pass keeps the one it was sold under.

use chrono::{DateTime, NaiveDate, Utc};
use credential::dates::{DateRange, Span};
use credential::rules::Rules;
use kit::types::{Fen, shanghai_date};

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
        let start = credential::dates::add_days(day, self.start_delay_days)?;
        DateRange::lasting(start, self.duration)
    }

    /// The first date on which a pass paid at `paid` can no longer be activated by its holder.
    pub fn activate_by(&self, paid: DateTime<Utc>) -> Option<NaiveDate> {
        match self.activation {
            Activation::AtPayment => None,
            Activation::Within { span, .. } => span.end(shanghai_date(paid)),
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
        if self.renewal_days.is_some_and(|days| days == 0 || days > RENEWAL_DAYS_MAX) {
            return Err(TermsFault::RenewalDays);
        }
        self.check_ladder()?;
        self.rules.to_bytes().map(|_| ()).map_err(|_| TermsFault::Rules)
    }

    fn check_names(&self) -> Result<(), TermsFault> {
        let Names { name_zh, name_en, description_zh, description_en } = &self.names;
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
            Self::SaleLimit => {
                ("terms.saleLimit", "发售总量至少为 1。", "The sale limit is at least 1.")
            }
            Self::MemberLimit => {
                ("terms.memberLimit", "个人限购至少为 1。", "The limit per member is at least 1.")
            }
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

#[cfg(test)]
pub(crate) mod tests {
    use kit::types::day_start;

    use super::*;

    pub(crate) fn terms() -> Terms {
        Terms {
            names: Names {
                name_zh: "巴蜀职工年票".to_owned(),
                name_en: "Bashu Workers' Annual Pass".to_owned(),
                description_zh: String::new(),
                description_en: String::new(),
            },
            price: Fen::new(20_000).unwrap(),
            sale_from: None,
            sale_until: None,
            sale_limit: Some(1_000),
            member_limit: Some(1),
            activation: Activation::AtPayment,
            start_delay_days: 0,
            duration: Span::Months(12),
            ladder: Ladder(vec![RefundStep { days: 7, fee_percent: 0, unused_only: true }]),
            renewal_days: Some(60),
            rules: Rules::unlimited(),
        }
    }

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    /// The published terms of real annual passes give the dates they say.
    #[test]
    fn date_vectors() {
        let auto = |span| Activation::Within { span, then: AfterDeadline::Auto };
        let jurong = Terms { activation: auto(Span::Months(3)), ..terms() };
        let paid = day_start(date("2023-01-01"));
        assert_eq!(jurong.activate_by(paid), Some(date("2023-04-01")));
        for (day, end) in [("2023-02-15", "2024-02-15"), ("2023-04-01", "2024-04-01")] {
            assert_eq!(jurong.window(date(day)).unwrap().end(), date(end));
        }
        let hainan = Terms { activation: auto(Span::Days(90)), ..terms() };
        let auto_start = hainan.activate_by(day_start(date("2020-08-01"))).unwrap();
        assert_eq!(auto_start, date("2020-10-30"));
        assert_eq!(hainan.window(auto_start).unwrap().last(), date("2021-10-29"));
        let delayed = Terms { start_delay_days: 4, ..terms() };
        assert_eq!(delayed.window(date("2024-02-25")).unwrap().start(), date("2024-02-29"));
        assert_eq!(delayed.window(date("2024-02-25")).unwrap().end(), date("2025-02-28"));
    }

    #[test]
    fn fee_vectors() {
        for (paid, percent, fee) in
            [(38_000, 20, 7_600), (9_999, 30, 3_000), (101, 50, 51), (1, 20, 0), (0, 50, 0)]
        {
            let paid = Fen::new(paid).unwrap();
            assert_eq!(fee_of(paid, percent).get(), fee, "{paid} at {percent} %");
        }
    }

    /// The first step that still holds and allows the uses decides.
    #[test]
    fn ladders() {
        let step = |days, fee_percent, unused_only| RefundStep { days, fee_percent, unused_only };
        let ladder = Ladder(vec![step(7, 0, true), step(30, 20, true), step(60, 50, false)]);
        let paid = date("2026-04-01");
        for (asked, uses, fee) in [
            ("2026-04-01", 0, Some(0)),
            ("2026-04-07", 0, Some(0)),
            ("2026-04-08", 0, Some(20)),
            ("2026-04-01", 1, Some(50)),
            ("2026-05-30", 0, Some(50)),
            ("2026-05-31", 0, None),
        ] {
            let found = ladder.step(paid, date(asked), uses).map(|step| step.fee_percent);
            assert_eq!(found, fee, "{asked} after {uses} uses");
        }
        assert_eq!(Ladder(vec![]).step(paid, paid, 0), None);
    }

    #[test]
    fn senseless_terms_are_named() {
        let at = |text: &str| Some(day_start(date(text)));
        let blank = Names { name_en: "  ".to_owned(), ..terms().names };
        let falling = Ladder(vec![
            RefundStep { days: 7, fee_percent: 0, unused_only: true },
            RefundStep { days: 6, fee_percent: 0, unused_only: true },
        ]);
        for (bad, fault) in [
            (Terms { names: blank, ..terms() }, TermsFault::Name),
            (
                Terms { sale_from: at("2026-02-01"), sale_until: at("2026-02-01"), ..terms() },
                TermsFault::SaleWindowEmpty,
            ),
            (Terms { sale_limit: Some(0), ..terms() }, TermsFault::SaleLimit),
            (Terms { member_limit: Some(0), ..terms() }, TermsFault::MemberLimit),
            (Terms { duration: Span::Days(0), ..terms() }, TermsFault::Duration),
            (Terms { duration: Span::Months(121), ..terms() }, TermsFault::Duration),
            (Terms { start_delay_days: 61, ..terms() }, TermsFault::StartDelay),
            (Terms { renewal_days: Some(0), ..terms() }, TermsFault::RenewalDays),
            (Terms { ladder: falling, ..terms() }, TermsFault::Ladder),
        ] {
            assert_eq!(bad.check(), Err(fault));
        }
        assert_eq!(terms().check(), Ok(()));
    }
}
