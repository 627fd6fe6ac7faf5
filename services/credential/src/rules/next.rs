//! The rules one by one: whether each is met at an instant, and when it will be.
//!
//! Each rule answers for itself with the earliest instant at which it alone is met. The earliest
//! at which all are met follows by jumping to the latest of these and asking again, since no rule
//! is met before its own answer.

use chrono::{DateTime, NaiveDate, Utc};

use super::decide::{Explanation, Remaining, rank};
use super::{
    BLACKOUTS_MAX, DayUses, EntitlementFacts, History, Presence, Reason, Rules, SUSPENSIONS_MAX,
    Scan, VenueFacts,
};
use crate::dates::{DateRange, date_of, start_of_day};

/// The most jumps in the search for the next time: more than all ranges of a product and a
/// venue's weeks between them. A search that takes longer answers that nobody knows.
const JUMPS_MAX: usize = 16 * (BLACKOUTS_MAX + SUSPENSIONS_MAX);

/// All that [`super::decide`] was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) rules: &'a Rules,
    pub(super) entitlement: &'a EntitlementFacts,
    pub(super) history: &'a History,
    pub(super) venue: &'a VenueFacts,
    pub(super) now: DateTime<Utc>,
    pub(super) scan: &'a Scan,
}

/// When a failed rule will be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// By waiting alone, never.
    Never,
    /// Not before this instant, and then.
    Until(DateTime<Utc>),
    /// At some time that nobody can compute.
    Unknown,
}

/// A rule that is not met.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) wait: Wait,
    pub(super) explanation: Explanation,
}

#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Met,
    /// At least one, in the order of the rules.
    Failed(Vec<Failure>),
    /// The figures do not fit their numbers.
    Internal,
}

/// Tries every rule for a scan at `at` whose use would count on `day`.
pub(super) fn verdict(question: &Question<'_>, at: DateTime<Utc>, day: NaiveDate) -> Verdict {
    let mut failures = Failures {
        now: question.now,
        list: Vec::new(),
    };
    window(question, at, &mut failures);
    venue(question, at, day, &mut failures);
    reservation(question, at, &mut failures);
    presence(question, &mut failures);
    let Some(()) = counts(question, day, &mut failures) else {
        return Verdict::Internal;
    };
    if failures.list.is_empty() {
        Verdict::Met
    } else {
        Verdict::Failed(failures.list)
    }
}

struct Failures {
    now: DateTime<Utc>,
    list: Vec<Failure>,
}

impl Failures {
    fn add(&mut self, reason: Reason, wait: Wait) {
        let explanation = Explanation::bare(self.now);
        self.list.push(Failure {
            reason,
            wait,
            explanation,
        });
    }

    fn count(&mut self, reason: Reason, wait: Wait, used: u32, limit: u32) {
        let explanation = Explanation {
            used: Some(used),
            limit: Some(limit),
            ..Explanation::bare(self.now)
        };
        self.list.push(Failure {
            reason,
            wait,
            explanation,
        });
    }
}

/// The failure that keeps the person out longest.
pub(super) fn closest(failures: &[Failure]) -> Failure {
    let mut closest = failures[0];
    for failure in &failures[1..] {
        if rank(failure.wait) > rank(closest.wait) {
            closest = *failure;
        }
    }
    closest
}

/// The earliest instant after now at which every rule is met; see `decide.rs`.
pub(super) fn next_try_at(
    question: &Question<'_>,
    failures: Vec<Failure>,
) -> Option<DateTime<Utc>> {
    let mut failures = failures;
    let mut at = None;
    for _ in 0..JUMPS_MAX {
        let mut jump = None;
        for failure in &failures {
            match failure.wait {
                Wait::Never => return None,
                Wait::Until(then) => jump = jump.max(Some(then)),
                Wait::Unknown => {}
            }
        }
        // Only what nobody can compute is left: the last jump, if there was one, is the answer.
        let Some(then) = jump else { return at };
        at = Some(then);
        match verdict(question, then, date_of(then)) {
            Verdict::Met => return at,
            Verdict::Failed(later) => failures = later,
            Verdict::Internal => return None,
        }
    }
    None
}

fn window(question: &Question<'_>, at: DateTime<Utc>, failures: &mut Failures) {
    let entitlement = question.entitlement;
    if at >= entitlement.until {
        failures.add(Reason::Expired, Wait::Never);
        if let Some(last) = failures.list.last_mut() {
            last.explanation.ended_at = Some(entitlement.until);
        }
    } else if at < entitlement.from {
        failures.add(Reason::NotYetValid, Wait::Until(entitlement.from));
    }
}

fn venue(question: &Question<'_>, at: DateTime<Utc>, day: NaiveDate, failures: &mut Failures) {
    let Question { rules, venue, .. } = question;
    if !rules.venues.open(venue.id, &venue.tags) {
        failures.add(Reason::WrongVenue, Wait::Never);
    }
    if let Some(end) = end_within(rules.blackouts.iter(), day) {
        failures.add(Reason::Blackout, Wait::Until(end));
    }
    let here = || {
        rules
            .suspensions
            .iter()
            .filter(|suspension| suspension.venue == venue.id)
    };
    if venue.suspended || here().any(|suspension| suspension.dates.is_none()) {
        failures.add(Reason::VenueSuspended, Wait::Never);
    } else if let Some(end) = end_within(here().filter_map(|one| one.dates.as_ref()), day) {
        failures.add(Reason::VenueSuspended, Wait::Until(end));
    }
    if let Some(end) = end_within(venue.closed.iter(), day) {
        failures.add(Reason::VenueClosed, Wait::Until(end));
    } else if let Some(hours) = &venue.opening {
        match hours.open_from(at) {
            None => failures.add(Reason::VenueClosed, Wait::Never),
            Some(open) if open > at => failures.add(Reason::VenueClosed, Wait::Until(open)),
            Some(_) => {}
        }
    }
}

/// The end of the ranges that hold `day`, of which one may follow on the other.
fn end_within<'a>(
    ranges: impl Iterator<Item = &'a DateRange> + Clone,
    day: NaiveDate,
) -> Option<DateTime<Utc>> {
    let mut end = None;
    let mut date = day;
    while let Some(range) = ranges.clone().find(|range| range.contains(date)) {
        date = range.end();
        end = Some(range.until());
    }
    end
}

fn reservation(question: &Question<'_>, at: DateTime<Utc>, failures: &mut Failures) {
    if !question.rules.reservation_required {
        return;
    }
    let here = || {
        let all = question.entitlement.reservations.iter();
        all.filter(|slot| slot.venue == question.venue.id)
    };
    if here().any(|slot| slot.from <= at && at < slot.until) {
        return;
    }
    let later = here().filter(|slot| slot.from > at && slot.from < slot.until);
    match later.map(|slot| slot.from).min() {
        Some(from) => failures.add(Reason::WrongSlot, Wait::Until(from)),
        None if here().next().is_some() => failures.add(Reason::WrongSlot, Wait::Never),
        None => failures.add(Reason::NoReservation, Wait::Never),
    }
}

fn presence(question: &Question<'_>, failures: &mut Failures) {
    let inside = question.history.presence == Presence::Inside;
    if question.venue.tracks_exits && inside {
        failures.add(Reason::AlreadyInside, Wait::Never);
    }
}

/// A limit, how much of it is used, and what is said when it is met.
struct Count {
    limit: Option<u32>,
    used: u32,
    reason: Reason,
    /// When the count begins anew.
    renewal: Option<DateTime<Utc>>,
}

fn limits(question: &Question<'_>, day: NaiveDate) -> [Count; 5] {
    let Question {
        rules,
        history,
        venue,
        ..
    } = question;
    let here = rules.limits_at(venue.id);
    let uses = uses_on(question, day);
    let renewal = day.succ_opt().map(start_of_day);
    let daily = |limit, used| Count {
        limit,
        used,
        reason: Reason::UsedToday,
        renewal,
    };
    let total = |limit, used, reason| Count {
        limit,
        used,
        reason,
        renewal: None,
    };
    [
        daily(here.daily, uses.here),
        daily(rules.daily, uses.everywhere),
        total(here.total, history.here, Reason::UsedHere),
        total(
            rules.province_totals.of(venue.province),
            history.province,
            Reason::UsedUp,
        ),
        total(rules.total, history.total, Reason::UsedUp),
    ]
}

fn uses_on(question: &Question<'_>, day: NaiveDate) -> DayUses {
    let today = date_of(question.now);
    if day == today {
        question.history.today
    } else if Some(day) == today.pred_opt() {
        question.history.yesterday
    } else {
        DayUses::NONE
    }
}

/// `None` when a sum does not fit its number.
fn counts(question: &Question<'_>, day: NaiveDate, failures: &mut Failures) -> Option<()> {
    let persons = u32::from(question.scan.persons.get());
    for Count {
        limit,
        used,
        reason,
        renewal,
    } in limits(question, day)
    {
        let after = used.checked_add(persons)?;
        let Some(limit) = limit else { continue };
        if after <= limit {
            continue;
        }
        let reason = if used >= limit {
            reason
        } else {
            Reason::TooManyPersons
        };
        let wait = match renewal {
            Some(at) if persons <= limit => Wait::Until(at),
            _ => Wait::Never,
        };
        failures.count(reason, wait, used, limit);
    }
    let covered = u32::from(question.entitlement.persons);
    if persons > covered {
        failures.count(Reason::TooManyPersons, Wait::Never, 0, covered);
    }
    if question
        .venue
        .vacancies
        .is_some_and(|vacancies| vacancies < persons)
    {
        failures.add(Reason::VenueFull, Wait::Unknown);
    }
    Some(())
}

/// What is left once `persons` more have entered on `day`.
pub(super) fn remaining(question: &Question<'_>, day: NaiveDate, persons: u32) -> Remaining {
    let [here_daily, daily, here, province, total] = limits(question, day).map(|count| {
        count
            .limit
            .map(|limit| limit.saturating_sub(count.used.saturating_add(persons)))
    });
    Remaining {
        today: least(here_daily, daily),
        venue: here,
        total: least(province, total),
    }
}

fn least(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (some, None) | (None, some) => some,
    }
}
