//! A venue's opening hours in a week, in minutes of the Shanghai day.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};

use crate::dates::{date_of, start_of_day};

const DAY_MINUTES: u16 = 24 * 60;

/// From a minute of the day up to, and without, another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hours {
    from: u16,
    until: u16,
}

/// The hours are empty or leave the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHours;

impl fmt::Display for BadHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("opening hours end after they begin and not after midnight")
    }
}

impl std::error::Error for BadHours {}

impl Hours {
    /// # Errors
    /// When they are empty or end after midnight, which is minute 1,440.
    pub const fn new(from_minute: u16, until_minute: u16) -> Result<Self, BadHours> {
        if from_minute < until_minute && until_minute <= DAY_MINUTES {
            Ok(Self {
                from: from_minute,
                until: until_minute,
            })
        } else {
            Err(BadHours)
        }
    }

    /// The minute of the day at which the venue opens.
    pub const fn from_minute(self) -> u16 {
        self.from
    }

    /// The minute of the day at which it closes.
    pub const fn until_minute(self) -> u16 {
        self.until
    }
}

/// The hours of Monday to Sunday; `None` on a day on which the venue stays closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpeningHours(pub [Option<Hours>; 7]);

impl OpeningHours {
    /// The same hours every day.
    pub const fn daily(hours: Hours) -> Self {
        Self([Some(hours); 7])
    }

    /// The earliest instant, not before `at`, at which the venue is open; `None` when never.
    pub(super) fn open_from(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut day = date_of(at);
        for _ in 0..=self.0.len() {
            if let Some((from, until)) = self.instants(day)
                && at < until
            {
                return Some(at.max(from));
            }
            day = day.succ_opt()?;
        }
        None
    }

    fn instants(&self, day: NaiveDate) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let weekday = usize::try_from(day.weekday().num_days_from_monday()).ok()?;
        let hours = self.0.get(weekday).copied().flatten()?;
        let start = start_of_day(day);
        let minute = |minute: u16| start.checked_add_signed(TimeDelta::minutes(minute.into()));
        Some((minute(hours.from)?, minute(hours.until)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    /// Open now, later today, after the closed Monday, or never.
    #[test]
    fn the_next_opening_is_found() {
        let hours = Hours::new(9 * 60, 17 * 60).expect("hours");
        let mut week = OpeningHours::daily(hours);
        week.0[0] = None;
        // 2026-04-05 is a Sunday.
        for (now, next) in [
            ("2026-04-05T09:00:00+08:00", "2026-04-05T09:00:00+08:00"),
            ("2026-04-05T16:59:59+08:00", "2026-04-05T16:59:59+08:00"),
            ("2026-04-05T08:00:00+08:00", "2026-04-05T09:00:00+08:00"),
            ("2026-04-05T17:00:00+08:00", "2026-04-07T09:00:00+08:00"),
            ("2026-04-06T12:00:00+08:00", "2026-04-07T09:00:00+08:00"),
        ] {
            assert_eq!(week.open_from(at(now)), Some(at(next)), "{now}");
        }
        assert_eq!(
            OpeningHours([None; 7]).open_from(at("2026-04-05T00:00:00Z")),
            None
        );
        let mut mondays = OpeningHours([None; 7]);
        mondays.0[0] = Some(hours);
        let after = at("2026-04-06T17:00:00+08:00");
        assert_eq!(
            mondays.open_from(after),
            Some(at("2026-04-13T09:00:00+08:00"))
        );
    }

    /// Hours stay within the day.
    #[test]
    fn hours_are_within_a_day() {
        assert_eq!(Hours::new(60, 60), Err(BadHours));
        assert_eq!(Hours::new(60, 1441), Err(BadHours));
        assert!(Hours::new(0, 1440).is_ok());
    }
}
