//! When a venue is open: hours for each weekday, and dates that have hours of their own or none.
//!
//! As text, as it is stored and published: `Mo 09:00-17:00; Tu off; …; 2026-05-01 08:00-20:00;
//! 2026-05-04 off`, the seven weekdays first, then rising dates. The empty text means that the
//! clock does not decide.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{Datelike, Days, NaiveDate};
use credential::rules::{Hours, OpeningHours};

/// Dates with hours of their own, at most.
pub const EXCEPTIONS_MAX: usize = 200;
const WEEKDAYS: [&str; 7] = ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"];
const OFF: &str = "off";

/// A venue's hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Monday to Sunday; `None` on a day on which it stays closed.
    pub week: [Option<Hours>; 7],
    /// Shanghai dates that differ from their weekday.
    pub exceptions: BTreeMap<NaiveDate, Option<Hours>>,
}

impl Opening {
    /// The hours as the evaluator wants them for a scan on `today`: the week that holds it, from
    /// yesterday on, each date's own hours in the place of its weekday's.
    pub fn around(&self, today: NaiveDate) -> OpeningHours {
        let mut week = self.week;
        let first = today.pred_opt().unwrap_or(today);
        for days in 0..7 {
            let Some(date) = first.checked_add_days(Days::new(days)) else {
                continue;
            };
            if let Some(hours) = self.exceptions.get(&date) {
                week[weekday(date)] = *hours;
            }
        }
        OpeningHours(week)
    }

    /// The hours of one Shanghai date.
    pub fn on(&self, date: NaiveDate) -> Option<Hours> {
        self.exceptions
            .get(&date)
            .copied()
            .unwrap_or(self.week[weekday(date)])
    }

    /// See the module.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, hours) in WEEKDAYS.iter().zip(self.week) {
            item(&mut text, name, hours);
        }
        for (date, hours) in &self.exceptions {
            item(&mut text, &date.to_string(), *hours);
        }
        text
    }

    /// Reads what [`Opening::to_text`] wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut week = [None; 7];
        let mut exceptions = BTreeMap::new();
        for (index, item) in text.split("; ").enumerate() {
            let (name, hours) = item.split_once(' ')?;
            let hours = parse_hours(hours)?;
            if let Some(expected) = WEEKDAYS.get(index) {
                (name == *expected).then_some(())?;
                week[index] = hours;
            } else {
                let date: NaiveDate = name.parse().ok()?;
                (exceptions.len() < EXCEPTIONS_MAX).then_some(())?;
                exceptions.insert(date, hours);
            }
        }
        let opening = Self { week, exceptions };
        (opening.to_text() == text).then_some(opening)
    }
}

fn weekday(date: NaiveDate) -> usize {
    usize::try_from(date.weekday().num_days_from_monday()).unwrap_or_default()
}

fn item(text: &mut String, name: &str, hours: Option<Hours>) {
    if !text.is_empty() {
        text.push_str("; ");
    }
    // Writing to a `String` cannot fail.
    let _ = match hours {
        Some(hours) => write!(text, "{name} {}", hours_text(hours)),
        None => write!(text, "{name} {OFF}"),
    };
}

/// `09:00-17:00`.
pub fn hours_text(hours: Hours) -> String {
    let (from, until) = (hours.from_minute(), hours.until_minute());
    format!(
        "{:02}:{:02}-{:02}:{:02}",
        from / 60,
        from % 60,
        until / 60,
        until % 60
    )
}

fn parse_hours(text: &str) -> Option<Option<Hours>> {
    if text == OFF {
        return Some(None);
    }
    let (from, until) = text.split_once('-')?;
    Hours::new(parse_minute(from)?, parse_minute(until)?)
        .ok()
        .map(Some)
}

/// The minute of the day of `HH:MM`; midnight at the end of the day is `24:00`.
pub fn parse_minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    (two(hour) && two(minute)).then_some(())?;
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour <= 24 && minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn museum() -> Opening {
        let mut week = [Some(Hours::new(540, 1020).unwrap()); 7];
        week[0] = None;
        let exceptions = BTreeMap::from([
            (day("2026-05-01"), Some(Hours::new(480, 1200).unwrap())),
            (day("2026-05-04"), Some(Hours::new(540, 1440).unwrap())),
            (day("2026-05-05"), None),
        ]);
        Opening { week, exceptions }
    }

    #[test]
    fn hours_read_back_from_their_text_and_nothing_else_reads() {
        let text = museum().to_text();
        assert!(text.starts_with("Mo off; Tu 09:00-17:00; "), "{text}");
        assert!(
            text.ends_with("; 2026-05-04 09:00-24:00; 2026-05-05 off"),
            "{text}"
        );
        assert_eq!(Opening::parse(&text), Some(museum()));
        for bad in [
            "",
            "Mo off",
            "Mo 9:00-17:00",
            &text.replace("17:00", "08:00"),
            "Tu off; Mo off",
        ] {
            assert_eq!(Opening::parse(bad), None, "{bad}");
        }
    }

    /// 2026-05-04 is a Monday on which the museum opens after all; the one after it is not.
    #[test]
    fn a_date_of_its_own_replaces_its_weekday_around_today_only() {
        let museum = museum();
        let monday = |opening: OpeningHours| opening.0[0].map(Hours::until_minute);
        assert_eq!(monday(museum.around(day("2026-05-04"))), Some(1440));
        assert_eq!(monday(museum.around(day("2026-05-05"))), Some(1440));
        assert_eq!(monday(museum.around(day("2026-05-06"))), None);
        assert_eq!(monday(museum.around(day("2026-04-20"))), None);
        assert_eq!(museum.on(day("2026-05-05")), None);
        assert_eq!(
            museum.on(day("2026-05-06")).map(Hours::from_minute),
            Some(540)
        );
    }

    #[test]
    fn minutes_are_two_digits_each() {
        assert_eq!(parse_minute("24:00"), Some(1440));
        for bad in ["24:01", "9:00", "09:60", "0900", "+9:00", "09:0x", ""] {
            assert_eq!(parse_minute(bad), None, "{bad}");
        }
    }
}
