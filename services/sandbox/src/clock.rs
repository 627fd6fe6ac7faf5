//! The sandbox's one source of time, and how instants are written.
//!
//! Deliberately not kit's clock: the sandbox plays an outside party and shares no code with it.

use chrono::{DateTime, FixedOffset, NaiveDate, TimeZone, Utc};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::UNIX_EPOCH;

/// The provider's wall clock is UTC+8 all year.
const OFFSET_SECONDS: i32 = 8 * 3600;

/// Where the sandbox reads the time.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock; notifications are sent in the background.
    System,
    /// A clock that stands still until told; nothing happens before `Sandbox::step`.
    Manual(ManualClock),
}

/// A clock for tests: clones share one instant.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that stands at `unix_ms` milliseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn at(unix_ms: i64) -> Self {
        Self(Arc::new(AtomicI64::new(unix_ms)))
    }

    /// Moves the clock by `ms` milliseconds (negative: back).
    pub fn advance_ms(&self, ms: i64) {
        let _before = self.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// The instant it shows, in milliseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Clock {
    pub(crate) fn now_ms(&self) -> i64 {
        match self {
            // A machine whose clock stands before 1970 gets 1970: signatures then fail plainly.
            Self::System => UNIX_EPOCH
                .elapsed()
                .ok()
                .and_then(|since| i64::try_from(since.as_millis()).ok())
                .unwrap_or(0),
            Self::Manual(clock) => clock.now_ms(),
        }
    }
}

fn local(unix_ms: i64) -> DateTime<FixedOffset> {
    let utc = DateTime::<Utc>::from_timestamp_millis(unix_ms).unwrap_or_default();
    match FixedOffset::east_opt(OFFSET_SECONDS) {
        Some(offset) => utc.with_timezone(&offset),
        None => utc.fixed_offset(),
    }
}

/// `2026-11-23T10:00:00+08:00`, as the provider writes instants.
pub(crate) fn rfc3339(unix_ms: i64) -> String {
    local(unix_ms).format("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// `2026-11-23 10:00:00`, as bills write instants.
pub(crate) fn bill_time(unix_ms: i64) -> String {
    local(unix_ms).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// `20261123100000`, the part of a number that shows when it was given.
pub(crate) fn compact(unix_ms: i64) -> String {
    local(unix_ms).format("%Y%m%d%H%M%S").to_string()
}

/// The provider's calendar day of an instant.
pub(crate) fn day(unix_ms: i64) -> NaiveDate {
    local(unix_ms).date_naive()
}

/// The first millisecond of a calendar day at the provider.
pub(crate) fn day_start_ms(day: NaiveDate) -> i64 {
    let midnight = day.and_time(chrono::NaiveTime::MIN);
    FixedOffset::east_opt(OFFSET_SECONDS)
        .and_then(|offset| offset.from_local_datetime(&midnight).single())
        .map_or(0, |instant| instant.timestamp_millis())
}

/// Parses an instant as the provider accepts it, to milliseconds.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|instant| instant.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day of the provider begins at 16:00 UTC of the day before.
    #[test]
    fn days_are_those_of_utc_plus_eight() {
        let ms = parse_rfc3339("2026-11-23T00:00:00+08:00").unwrap();
        assert_eq!(ms, parse_rfc3339("2026-11-22T16:00:00Z").unwrap());
        assert_eq!(day(ms).to_string(), "2026-11-23");
        assert_eq!(day(ms - 1).to_string(), "2026-11-22");
        assert_eq!(day_start_ms(day(ms)), ms);
        assert_eq!(rfc3339(ms), "2026-11-23T00:00:00+08:00");
        assert_eq!(bill_time(ms), "2026-11-23 00:00:00");
        assert_eq!(compact(ms), "20261123000000");
    }
}
