//! Shanghai days, half-open date ranges and calendar months.
//!
//! A business day begins at midnight in Shanghai, UTC+8 without summer time. A range holds its
//! start and not its end. Nothing here reads a clock.

use std::fmt;

use chrono::{DateTime, Days, Months, NaiveDate, NaiveTime, TimeDelta, Utc};

/// Seconds Shanghai is ahead of UTC.
pub const SHANGHAI_SECONDS_EAST: i64 = 8 * 3600;

/// The Shanghai date of an instant.
pub fn date_of(at: DateTime<Utc>) -> NaiveDate {
    at.naive_utc()
        .checked_add_signed(TimeDelta::seconds(SHANGHAI_SECONDS_EAST))
        .map_or(NaiveDate::MAX, |local| local.date())
}

/// The instant at which a Shanghai date begins.
pub fn start_of_day(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN)
        .checked_sub_signed(TimeDelta::seconds(SHANGHAI_SECONDS_EAST))
        .map_or(DateTime::<Utc>::MIN_UTC, |utc| utc.and_utc())
}

/// The date `days` days later; `None` beyond the calendar.
pub fn add_days(date: NaiveDate, days: u32) -> Option<NaiveDate> {
    date.checked_add_days(Days::new(u64::from(days)))
}

/// The same day of the month `months` months later, or that month's last day when it is shorter:
/// 2024-02-29 and 12 months is 2025-02-28. `None` beyond the calendar.
pub fn add_months(date: NaiveDate, months: u32) -> Option<NaiveDate> {
    date.checked_add_months(Months::new(months))
}

/// How long something lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    Days(u32),
    /// Calendar months, clamped to the end of a shorter month.
    Months(u32),
}

impl Span {
    /// The first date after a span that begins with `start`; `None` beyond the calendar.
    pub fn end(self, start: NaiveDate) -> Option<NaiveDate> {
        match self {
            Self::Days(days) => add_days(start, days),
            Self::Months(months) => add_months(start, months),
        }
    }
}

/// The dates from a start up to, and without, an end. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DateRange {
    start: NaiveDate,
    end: NaiveDate,
}

impl DateRange {
    /// `None` when `end` is not after `start`.
    pub fn new(start: NaiveDate, end: NaiveDate) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// The range that begins with `start` and lasts `span`; `None` when empty or beyond the
    /// calendar.
    pub fn lasting(start: NaiveDate, span: Span) -> Option<Self> {
        Self::new(start, span.end(start)?)
    }

    /// The first date inside.
    pub const fn start(self) -> NaiveDate {
        self.start
    }

    /// The first date after it.
    pub const fn end(self) -> NaiveDate {
        self.end
    }

    /// The last date inside, as people read a range.
    pub fn last(self) -> NaiveDate {
        self.end.pred_opt().unwrap_or(self.start)
    }

    pub fn contains(self, date: NaiveDate) -> bool {
        self.start <= date && date < self.end
    }

    /// The instant at which it begins.
    pub fn from(self) -> DateTime<Utc> {
        start_of_day(self.start)
    }

    /// The first instant after it.
    pub fn until(self) -> DateTime<Utc> {
        start_of_day(self.end)
    }
}

impl fmt::Display for DateRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("a date")
    }

    /// The Shanghai day turns at 16:00 UTC, not at midnight UTC.
    #[test]
    fn a_day_begins_in_shanghai() {
        let last: DateTime<Utc> = "2026-04-01T15:59:59.999Z".parse().expect("an instant");
        let first: DateTime<Utc> = "2026-04-01T16:00:00Z".parse().expect("an instant");
        assert_eq!(date_of(last), date("2026-04-01"));
        assert_eq!(date_of(first), date("2026-04-02"));
        assert_eq!(start_of_day(date("2026-04-02")), first);
    }

    /// A month that is shorter ends the span on its last day, in leap years and in others.
    #[test]
    fn months_are_clamped() {
        for (start, months, end) in [
            ("2024-02-29", 12, "2025-02-28"),
            ("2024-02-29", 48, "2028-02-29"),
            ("2025-01-31", 1, "2025-02-28"),
            ("2025-12-31", 2, "2026-02-28"),
            ("2023-02-15", 12, "2024-02-15"),
        ] {
            assert_eq!(
                add_months(date(start), months),
                Some(date(end)),
                "{start} + {months}"
            );
        }
    }

    /// The start belongs to a range, the end does not, and no range is empty.
    #[test]
    fn ranges_are_half_open() {
        let range = DateRange::lasting(date("2026-04-01"), Span::Days(2)).expect("two days");
        assert!(!range.contains(date("2026-03-31")));
        assert!(range.contains(date("2026-04-01")));
        assert!(range.contains(date("2026-04-02")));
        assert!(!range.contains(date("2026-04-03")));
        assert_eq!(range.last(), date("2026-04-02"));
        assert_eq!(range.until(), start_of_day(date("2026-04-03")));
        assert_eq!(DateRange::lasting(date("2026-04-01"), Span::Days(0)), None);
        assert_eq!(DateRange::new(date("2026-04-02"), date("2026-04-01")), None);
    }

    /// The calendar's end is an answer, never a panic.
    #[test]
    fn the_calendar_ends() {
        assert_eq!(add_days(NaiveDate::MAX, 1), None);
        assert_eq!(add_months(NaiveDate::MAX, 1), None);
        assert_eq!(date_of(DateTime::<Utc>::MAX_UTC), NaiveDate::MAX);
        assert_eq!(start_of_day(NaiveDate::MIN), DateTime::<Utc>::MIN_UTC);
    }
}
