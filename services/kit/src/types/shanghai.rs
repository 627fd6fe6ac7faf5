//! Business dates: every day here begins at midnight in Shanghai, UTC+8 without summer time.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveTime, TimeZone, Utc};

/// Seconds Shanghai is ahead of UTC.
pub const SHANGHAI_OFFSET_SECONDS: i32 = 8 * 3600;

/// An instant as a clock in Shanghai shows it.
pub type Shanghai = DateTime<FixedOffset>;

fn offset() -> FixedOffset {
    FixedOffset::east_opt(SHANGHAI_OFFSET_SECONDS).expect("eight hours is a legal offset")
}

/// The business date of an instant.
pub fn shanghai_date(at: DateTime<Utc>) -> NaiveDate {
    at.with_timezone(&offset()).date_naive()
}

/// The instant at which a business date begins.
pub fn day_start(date: NaiveDate) -> DateTime<Utc> {
    offset()
        .from_local_datetime(&date.and_time(NaiveTime::MIN))
        .single()
        .expect("a fixed offset has no gaps")
        .with_timezone(&Utc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_turns_at_sixteen_hundred_utc() {
        let before = "2026-04-01T15:59:59Z".parse::<DateTime<Utc>>().unwrap();
        let after = "2026-04-01T16:00:00Z".parse::<DateTime<Utc>>().unwrap();
        assert_eq!(shanghai_date(before).to_string(), "2026-04-01");
        assert_eq!(shanghai_date(after).to_string(), "2026-04-02");
        assert_eq!(day_start(shanghai_date(after)), after);
    }
}
