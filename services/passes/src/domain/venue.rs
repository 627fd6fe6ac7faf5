//! Where a pass opens doors today, and how often: the one evaluator of entry rules asked for each
//! venue, as the gate will ask it. What only a gate knows (who is inside, how full it is) is not
//! known here, so its answer can be another.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use chrono::{DateTime, Datelike, Days, NaiveDate, TimeDelta, Utc};
use credential::dates::{date_of, start_of_day};
use credential::rules::{
    Decision, Direction, DocumentReading, EntitlementFacts, History, Hours, Mode, OpeningHours,
    Presented, Province, Rules, Scan, Standing, Use, VenueFacts, VenueId, decide,
};
use uuid::Uuid;

use super::pass::{Entitlement, EntitlementState};
use super::reservation::Reservation;

/// The weekdays of published opening hours, in their order.
const WEEKDAYS: [&str; 7] = ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"];

/// A venue as admission last told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Venue {
    pub id: Uuid,
    pub province: Province,
    pub tags: BTreeSet<String>,
    /// `Mo 09:00-17:00; Tu off; …; 2026-05-01 08:00-20:00`; empty when the clock does not decide.
    pub opening_hours: String,
    pub suspended: bool,
}

/// One use of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    pub venue: Uuid,
    pub province: Province,
    pub date: NaiveDate,
    pub persons: u16,
}

/// What is asked about: a pass's right, its rules and its uses, now.
#[derive(Clone, Debug)]
pub struct Today<'a> {
    pub right: Entitlement,
    pub rules: &'a Rules,
    pub visits: &'a [Visit],
    /// What it has reserved, at any venue.
    pub reservations: &'a [Reservation],
    pub now: DateTime<Utc>,
}

impl Today<'_> {
    /// What a gate of this venue would answer now.
    pub fn at(&self, venue: &Venue) -> Decision {
        let facts = venue.facts(self.now);
        let uses: Vec<Use> = self
            .visits
            .iter()
            .map(|visit| Use {
                venue: VenueId(*visit.venue.as_bytes()),
                province: visit.province,
                counted_on: visit.date,
                persons: visit.persons,
            })
            .collect();
        let history = History::of(&uses, &facts, self.now);
        let standing = match self.right.state {
            EntitlementState::Active => Standing::Granted,
            EntitlementState::Frozen => Standing::Frozen,
            EntitlementState::Revoked => Standing::Revoked,
        };
        let entitlement = EntitlementFacts {
            standing,
            from: self.right.window.from(),
            until: self.right.window.until(),
            generation: 0,
            persons: 1,
            reservations: self.reservations.iter().map(slot).collect(),
        };
        let scan = Scan {
            direction: Direction::Entry,
            persons: NonZeroU16::MIN,
            presented: Presented::LookedUp,
            gate: 0,
            unattended: false,
            mode: Mode::Online,
            clock_trusted: true,
            document: DocumentReading::NotRead,
        };
        decide(self.rules, &entitlement, &history, &facts, self.now, &scan)
    }
}

/// A reservation as gates know it.
fn slot(one: &Reservation) -> credential::rules::Reservation {
    let (from, until) = one.instants();
    credential::rules::Reservation {
        venue: VenueId(*one.slot.venue.as_bytes()),
        from,
        until,
    }
}

/// Where no hours are known, the day is asked about at noon.
const NOON_MINUTE: i64 = 12 * 60;

impl Venue {
    /// The first instant of a date at which it is open; noon where that is not known.
    pub fn first_moment(&self, date: NaiveDate) -> DateTime<Utc> {
        let week = opening(&self.opening_hours, date);
        let at = usize::try_from(date.weekday().num_days_from_monday()).unwrap_or_default();
        let hours = week.and_then(|week| week.0.get(at).copied().flatten());
        let minute = hours.map_or(NOON_MINUTE, |hours| i64::from(hours.from_minute()));
        start_of_day(date) + TimeDelta::minutes(minute)
    }

    /// Whether the rules name it, now or ever.
    pub fn is_opened_by(&self, rules: &Rules) -> bool {
        rules.venues.open(VenueId(*self.id.as_bytes()), &self.tags)
    }

    fn facts(&self, now: DateTime<Utc>) -> VenueFacts {
        VenueFacts {
            tags: self.tags.clone(),
            suspended: self.suspended,
            opening: opening(&self.opening_hours, date_of(now)),
            ..VenueFacts::new(VenueId(*self.id.as_bytes()), self.province)
        }
    }
}

/// The hours of the week around a date; `None` when there are none or they do not read, since a
/// clock that is not understood must not send anybody home.
fn opening(text: &str, today: NaiveDate) -> Option<OpeningHours> {
    let mut days: BTreeMap<&str, Option<Hours>> = BTreeMap::new();
    for item in text.split("; ") {
        let (name, hours) = item.split_once(' ')?;
        days.insert(name, parse_hours(hours)?);
    }
    let mut week = [None; 7];
    for (hours, name) in week.iter_mut().zip(WEEKDAYS) {
        *hours = *days.get(name)?;
    }
    let first = today.pred_opt()?;
    for offset in 0..7 {
        let date = first.checked_add_days(Days::new(offset))?;
        let at = usize::try_from(date.weekday().num_days_from_monday()).ok()?;
        if let Some(hours) = days.get(date.to_string().as_str()) {
            week[at] = *hours;
        }
    }
    Some(OpeningHours(week))
}

fn parse_hours(text: &str) -> Option<Option<Hours>> {
    if text == "off" {
        return Some(None);
    }
    let minute = |text: &str| -> Option<u16> {
        let (hour, minute) = text.split_once(':')?;
        hour.parse::<u16>()
            .ok()?
            .checked_mul(60)?
            .checked_add(minute.parse().ok()?)
    };
    let (from, until) = text.split_once('-')?;
    Hours::new(minute(from)?, minute(until)?).ok().map(Some)
}

#[cfg(test)]
mod tests {
    use credential::dates::DateRange;
    use credential::rules::{Reason, VenueLimits};

    use super::*;

    fn venue() -> Venue {
        Venue {
            id: Uuid::from_u128(1),
            province: Province::Chongqing,
            tags: BTreeSet::new(),
            opening_hours: String::new(),
            suspended: false,
        }
    }

    fn right() -> Entitlement {
        let date = |text: &str| text.parse().unwrap();
        Entitlement {
            state: EntitlementState::Active,
            window: DateRange::new(date("2026-04-01"), date("2027-04-01")).unwrap(),
            freeze_version: 0,
        }
    }

    /// The second entry of a day is refused until the next day; the first says what is left.
    #[test]
    fn the_limits_of_today() {
        let rules = Rules {
            per_venue: VenueLimits {
                daily: Some(1),
                total: None,
            },
            ..Rules::unlimited()
        };
        let now: DateTime<Utc> = "2026-04-02T04:00:00Z".parse().unwrap();
        let visit = Visit {
            venue: Uuid::from_u128(1),
            province: Province::Chongqing,
            date: date_of(now),
            persons: 1,
        };
        let asked = |visits: &[Visit]| {
            Today {
                right: right(),
                rules: &rules,
                visits,
                reservations: &[],
                now,
            }
            .at(&venue())
        };
        let Decision::Admit { remaining, .. } = asked(&[]) else {
            panic!("not admitted")
        };
        assert_eq!(remaining.today, Some(0));
        let Decision::Deny {
            reason,
            next_try_at,
            ..
        } = asked(&[visit])
        else {
            panic!("admitted twice")
        };
        assert_eq!(reason, Reason::UsedToday);
        assert_eq!(next_try_at, Some("2026-04-02T16:00:00Z".parse().unwrap()));
    }

    /// Published hours decide; text that does not read does not.
    #[test]
    fn opening_hours_are_read() {
        let rules = Rules::unlimited();
        let now: DateTime<Utc> = "2026-04-02T04:00:00Z".parse().unwrap();
        let week = "Mo off; Tu off; We off; Th 09:00-11:00; Fr off; Sa off; Su off";
        let today = Today {
            right: right(),
            rules: &rules,
            visits: &[],
            reservations: &[],
            now,
        };
        for (hours, reason) in [
            (week.to_owned(), Some(Reason::VenueClosed)),
            (format!("{week}; 2026-04-02 09:00-24:00"), None),
            ("Mo whenever".to_owned(), None),
        ] {
            let venue = Venue {
                opening_hours: hours,
                ..venue()
            };
            assert_eq!(today.at(&venue).reason(), reason, "{}", venue.opening_hours);
        }
        let suspended = Venue {
            suspended: true,
            ..venue()
        };
        assert_eq!(today.at(&suspended).reason(), Some(Reason::VenueSuspended));
    }

    /// The first moment of a day is its opening, its exceptions' first; else noon.
    #[test]
    fn a_day_begins_with_its_opening() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let at = |hours: &str, date: &str| {
            let venue = Venue {
                opening_hours: hours.to_owned(),
                ..venue()
            };
            venue.first_moment(day(date)).to_rfc3339()
        };
        let hours = "Mo off; Tu 09:00-17:00; We 09:00-17:00; Th 09:00-17:00; Fr 09:00-17:00; \
                     Sa 08:30-20:00; Su 08:30-20:00; 2026-05-01 07:00-21:00";
        assert_eq!(at(hours, "2026-05-05"), "2026-05-05T01:00:00+00:00");
        assert_eq!(at(hours, "2026-05-01"), "2026-04-30T23:00:00+00:00");
        assert_eq!(at(hours, "2026-05-04"), "2026-05-04T04:00:00+00:00", "off");
        assert_eq!(at("", "2026-05-05"), "2026-05-05T04:00:00+00:00");
    }
}
