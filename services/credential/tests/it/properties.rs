//! Properties of the evaluator over random products, venues and histories.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use credential::dates::{DateRange, Span, add_days, date_of, start_of_day};
use credential::rules::{
    Decision, Direction, DocumentReading, EntitlementFacts, History, Hours, Mode, OpeningHours,
    Presented, Province, ProvinceTotals, Reservation, Rules, Scan, Standing, Suspension, Use,
    VenueFacts, VenueId, VenueLimits, Venues, decide,
};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

/// The days that everything random falls into.
const DAYS: u32 = 12;
const VENUES: u8 = 3;

fn first_day() -> NaiveDate {
    "2026-04-01".parse().expect("a date")
}

fn day(offset: u32) -> NaiveDate {
    add_days(first_day(), offset).expect("within the calendar")
}

fn minute(minutes: i64) -> DateTime<Utc> {
    start_of_day(first_day()) + TimeDelta::minutes(minutes)
}

fn range() -> impl Strategy<Value = DateRange> {
    (0..DAYS, 1..4u32).prop_map(|(start, days)| {
        DateRange::lasting(day(start), Span::Days(days)).expect("not empty")
    })
}

fn limit() -> impl Strategy<Value = Option<u32>> {
    option::of(0..6u32)
}

fn limits() -> impl Strategy<Value = VenueLimits> {
    (option::of(1..3u32), limit()).prop_map(|(daily, total)| VenueLimits { daily, total })
}

fn suspension() -> impl Strategy<Value = Suspension> {
    (0..VENUES, range()).prop_map(|(venue, range)| Suspension {
        venue: VenueId([venue; 16]),
        dates: Some(range),
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let counts = (
        limits(),
        option::of(limits()),
        limit(),
        limit(),
        limit(),
        limit(),
    );
    let dates = (btree_set(range(), 0..3), btree_set(suspension(), 0..3));
    (counts, dates, any::<bool>(), 0..30u16).prop_map(|(counts, dates, reserve, grace)| {
        let (per_venue, own, daily, total, chongqing, sichuan) = counts;
        Rules {
            per_venue,
            venue_limits: own.map(|own| (VenueId([0; 16]), own)).into_iter().collect(),
            daily,
            total,
            province_totals: ProvinceTotals { chongqing, sichuan },
            blackouts: dates.0,
            suspensions: dates.1,
            reservation_required: reserve,
            grace_minutes: grace,
            ..Rules::unlimited()
        }
    })
}

fn slot() -> impl Strategy<Value = Reservation> {
    (0..VENUES, 0..i64::from(DAYS) * 1440, 30..3000i64).prop_map(|(venue, from, minutes)| {
        Reservation {
            venue: VenueId([venue; 16]),
            from: minute(from),
            until: minute(from + minutes),
        }
    })
}

fn entitlement() -> impl Strategy<Value = EntitlementFacts> {
    (0..4i64, 1..i64::from(DAYS), 1..4u16, vec(slot(), 0..6)).prop_map(
        |(from, days, persons, reservations)| EntitlementFacts {
            standing: Standing::Granted,
            from: minute(from * 1440),
            until: minute((from + days) * 1440),
            generation: 0,
            persons,
            reservations,
        },
    )
}

fn hours() -> impl Strategy<Value = Option<Hours>> {
    option::weighted(0.8, (0..1200u16, 1..1440u16)).prop_map(|drawn| {
        drawn.map(|(from, length)| {
            Hours::new(from, (from + length).min(1440)).expect("within the day")
        })
    })
}

/// Venues 0 and 1 lie in Chongqing, venue 2 in Sichuan.
fn venue() -> impl Strategy<Value = VenueFacts> {
    let week = proptest::array::uniform7(hours()).prop_map(OpeningHours);
    (0..VENUES, option::weighted(0.3, week), vec(range(), 0..2)).prop_map(
        |(id, opening, closed)| VenueFacts {
            opening,
            closed,
            ..VenueFacts::new(
                VenueId([id; 16]),
                if id == 2 {
                    Province::Sichuan
                } else {
                    Province::Chongqing
                },
            )
        },
    )
}

fn scan(persons: u16) -> Scan {
    Scan {
        direction: Direction::Entry,
        persons: NonZeroU16::new(persons).expect("somebody"),
        presented: Presented::LookedUp,
        gate: 1,
        unattended: false,
        mode: Mode::Online,
        clock_trusted: true,
        document: DocumentReading::NotRead,
    }
}

/// A scan some minutes after the one before, at some venue. Small steps around midnight matter
/// most, and large ones reach the end of the window.
fn step() -> impl Strategy<Value = (i64, VenueFacts, u16)> {
    let wait = prop_oneof![1..40i64, 300..1500i64];
    (wait, venue(), 1..3u16)
}

fn sum<'a>(uses: impl Iterator<Item = &'a Use>) -> u32 {
    uses.map(|one| u32::from(one.persons)).sum()
}

/// Counts all uses anew, by another way than the evaluator's, and holds them against every limit.
fn within(rules: &Rules, entitlement: &EntitlementFacts, uses: &[Use]) -> Result<(), String> {
    let fits = |what: &str, used: u32, limit: Option<u32>| match limit {
        Some(limit) if used > limit => Err(format!("{what}: {used} of {limit}")),
        _ => Ok(()),
    };
    fits("total", sum(uses.iter()), rules.total)?;
    for province in [Province::Chongqing, Province::Sichuan] {
        let there = uses.iter().filter(|one| one.province == province);
        fits("province", sum(there), rules.province_totals.of(province))?;
    }
    let mut days: BTreeMap<NaiveDate, u32> = BTreeMap::new();
    let mut places: BTreeMap<VenueId, u32> = BTreeMap::new();
    let mut both: BTreeMap<(NaiveDate, VenueId), u32> = BTreeMap::new();
    for one in uses {
        let persons = u32::from(one.persons);
        *days.entry(one.counted_on).or_default() += persons;
        *places.entry(one.venue).or_default() += persons;
        *both.entry((one.counted_on, one.venue)).or_default() += persons;
        let date = one.counted_on;
        if rules.blackouts.iter().any(|range| range.contains(date)) {
            return Err(format!("a use on blackout {date}"));
        }
        if date < date_of(entitlement.from) || date >= date_of(entitlement.until) {
            return Err(format!("a use outside the window on {date}"));
        }
    }
    for used in days.into_values() {
        fits("day", used, rules.daily)?;
    }
    for (venue, used) in places {
        fits("venue", used, rules.limits_at(venue).total)?;
    }
    for ((_, venue), used) in both {
        fits("venue and day", used, rules.limits_at(venue).daily)?;
    }
    Ok(())
}

/// The instants at which an answer could change, and some between.
fn probes(from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let mut probes = Vec::new();
    let mut at = from;
    while at < until && probes.len() < 2000 {
        probes.push(at);
        at += TimeDelta::minutes(7);
    }
    for offset in 0..40 {
        let midnight = start_of_day(day(offset));
        probes.extend([midnight - TimeDelta::nanoseconds(1), midnight]);
    }
    probes.push(until - TimeDelta::nanoseconds(1));
    probes.retain(|probe| from < *probe && *probe < until);
    probes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// However scans follow each other, no limit is ever exceeded, no use falls on a blackout or
    /// outside the window, and what an admission says remains is what then remains.
    #[test]
    fn no_limit_is_exceeded(
        rules in rules(),
        entitlement in entitlement(),
        steps in vec(step(), 1..40),
    ) {
        let mut uses = Vec::new();
        let mut now = minute(0);
        for (wait, venue, persons) in steps {
            now += TimeDelta::minutes(wait);
            let history = History::of(&uses, &venue, now);
            let decision =
                decide(&rules, &entitlement, &history, &venue, now, &scan(persons));
            let Decision::Admit { remaining, counted_on, .. } = decision else { continue };
            prop_assert!(persons <= entitlement.persons);
            uses.push(Use { venue: venue.id, province: venue.province, counted_on, persons });
            if let Err(exceeded) = within(&rules, &entitlement, &uses) {
                prop_assert!(false, "{exceeded} after {now}");
            }
            if remaining.venue == Some(0) || remaining.total == Some(0) {
                let history = History::of(&uses, &venue, now);
                let again = decide(&rules, &entitlement, &history, &venue, now, &scan(1));
                let denied = matches!(again, Decision::Deny { next_try_at: None, .. });
                prop_assert!(denied, "{again:?}");
            }
        }
    }

    /// At `next_try_at`, with the same uses, the answer is to admit; at no instant before is it.
    /// Where there is no next time, no later instant admits.
    #[test]
    fn the_next_time_is_exact(
        rules in rules(),
        entitlement in entitlement(),
        venue in venue(),
        uses in vec((0..VENUES, 0..DAYS, 1..3u16), 0..5),
        now in 0..i64::from(DAYS) * 1440,
        persons in 1..3u16,
    ) {
        let now = minute(now);
        let uses: Vec<Use> = uses
            .into_iter()
            .map(|(venue, on, persons)| Use {
                venue: VenueId([venue; 16]),
                province: if venue == 2 { Province::Sichuan } else { Province::Chongqing },
                counted_on: day(on),
                persons,
            })
            .filter(|one| one.counted_on <= date_of(now))
            .collect();
        let at = |at: DateTime<Utc>| {
            let history = History::of(&uses, &venue, at);
            decide(&rules, &entitlement, &history, &venue, at, &scan(persons))
        };
        let admits = |decision: &Decision| matches!(decision, Decision::Admit { .. });
        let decision = at(now);
        let Decision::Deny { next_try_at, .. } = decision else {
            prop_assert!(admits(&decision), "{decision:?}");
            return Ok(());
        };
        let until = next_try_at.unwrap_or(minute(30 * 1440));
        prop_assert!(now < until);
        for probe in probes(now, until) {
            prop_assert!(!admits(&at(probe)), "{decision:?} and {probe}: {:?}", at(probe));
        }
        if let Some(next) = next_try_at {
            prop_assert!(admits(&at(next)), "{decision:?} and then {:?}", at(next));
        }
    }

    /// Rules read back from their bytes as they were, and equal rules have equal bytes.
    #[test]
    fn rules_read_back(mut rules in rules(), tags in btree_set("[a-z]{1,8}|[川渝博物馆]{1,5}", 0..4)) {
        let ids = BTreeSet::from([VenueId([1; 16]), VenueId([2; 16])]);
        rules.venues = Venues::Listed { ids, tags };
        let bytes = rules.to_bytes().expect("within the limits");
        prop_assert_eq!(Rules::from_bytes(&bytes), Ok(rules));
    }

    /// Arbitrary bytes are never a panic, and what is read is written back the same.
    #[test]
    fn other_bytes_are_no_rules(bytes in vec(any::<u8>(), 0..80), change in any::<(u16, u8)>()) {
        let mut good = Rules::unlimited().to_bytes().expect("within the limits");
        let index = usize::from(change.0) % good.len();
        good[index] ^= change.1;
        for bytes in [&bytes, &good, &[b"CYR\x01\x00\x01".as_slice(), &bytes].concat()] {
            if let Ok(rules) = Rules::from_bytes(bytes) {
                prop_assert_eq!(&rules.to_bytes().expect("within the limits"), bytes);
            }
        }
    }

    /// Arbitrary text is never a panic, and whatever parses is exactly the text of what it means.
    #[test]
    fn other_text_is_no_token(
        text in "\\PC{0,200}",
        body in "[0-9A-Z $%*+./:-]{0,160}",
        payload in vec(any::<u8>(), 92),
    ) {
        let bytes = [&[0x11][..], &payload[1..]].concat();
        let formed = format!("CY1:{}", credential::base45::encode(&bytes));
        for text in [text, format!("CY1:{body}"), formed] {
            if let Ok(signed) = credential::token::parse(&text) {
                prop_assert_eq!(signed.text(), text);
            }
        }
    }
}
