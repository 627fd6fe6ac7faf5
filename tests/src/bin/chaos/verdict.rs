//! What a run may say of itself. Two things are told apart: a run that failed, because something
//! was violated or did not come back; and a run that went well and is not the whole figure,
//! because less was asked of it, or this machine cannot do all of it. Only a run that is neither
//! has met `chaos.violations`. Pure.

use std::time::Duration;

use crate::calm::Calm;
use crate::client::ANSWER_TIMEOUT;
use crate::faults::{Ending, Event, Story};
use crate::judge::{Findings, LIVENESS};
use crate::load::Rates;
use crate::oplog::Kind;
use crate::schedule::{Fault, KILLS_MIN};
use crate::world::Component;

/// Ready again within so many seconds.
pub(crate) const SERVICE_READY_SECONDS_MAX: f64 = 5.0;
pub(crate) const POSTGRES_READY_SECONDS_MAX: f64 = 15.0;
pub(crate) const KAFKA_READY_SECONDS_MAX: f64 = 30.0;
/// Kills that a whole run has.
const KILLS_ASKED: usize = 40;
/// What the foundation asks of the load, a second.
const RATES_ASKED: Rates = Rates {
    purchases: 100,
    scans: 300,
};
/// In a hundred: what must really have been begun of what was offered, and what may be refused by
/// a rule, since a load of refusals proves little. While something is broken the generator drops
/// what is due beyond its bound, and before the first code nobody scans.
const BEGUN_MIN: f64 = 90.0;
const REFUSED_MAX: f64 = 10.0;
/// In a hundred, while nothing is broken: begun of what was offered, where the hundredth is what
/// instants and stretches that do not begin together lose; and answered in time, where five
/// hundredths are what is turned away while the last fault's backlog drains, of clients who do not
/// ask again.
const CALM_BEGUN_MIN: f64 = 99.0;
const CALM_ANSWERED_MIN: f64 = 95.0;
/// Seconds without a fault, in all, below which a rate says little: a whole run has about ninety.
const CALM_SECONDS_MIN: f64 = 30.0;
/// In a hundred of the answered scans: admitted. A code is shown about three times while gates
/// have it and a pass admits five times, twice at one venue, so nearly all of it is to be
/// admitted; the load's beginning has few codes for many scans.
const ADMITTED_MIN: f64 = 50.0;
/// In a hundred of the purchases begun: paid while the load lasts. One buyer in twenty never pays,
/// one in five gives up at an answer that is lost, and with the disk full nobody can buy.
const PAID_MIN: f64 = 70.0;
/// In a hundred of the purchases paid: with a code that the buyer has read before her patience
/// ended. Only a server that is away for longer than her half minute keeps it from her.
const CODES_MIN: f64 = 80.0;

/// What a verdict rests on.
#[derive(Debug)]
pub(crate) struct Grounds<'a> {
    pub(crate) release: bool,
    /// Whether faults were left out by name.
    pub(crate) part: bool,
    /// Faults on the schedule.
    pub(crate) scheduled: usize,
    pub(crate) story: &'a Story,
    pub(crate) findings: &'a Findings,
    /// What was offered, a second.
    pub(crate) offered: Rates,
    /// Purchases and scans that were really begun, a second.
    pub(crate) begun: (f64, f64),
    /// The load while nothing was broken.
    pub(crate) calm: Calm,
    pub(crate) purchases: Purchases,
}

/// How far purchases came while the load lasted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purchases {
    pub(crate) begun: u64,
    pub(crate) paid: u64,
    /// Their code was read.
    pub(crate) completed: u64,
}

/// What a run may say of itself, one sentence for each reason.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Why it failed.
    pub(crate) failures: Vec<String>,
    /// Why it is not the whole figure, although it may have gone well.
    pub(crate) missing: Vec<String>,
}

impl Verdict {
    pub(crate) fn of(grounds: &Grounds<'_>) -> Self {
        Self {
            failures: failures(grounds),
            missing: missing(grounds),
        }
    }

    /// Whether nothing was violated and everything came back.
    pub(crate) fn is_well(&self) -> bool {
        self.failures.is_empty()
    }

    /// Whether it was also all that is asked.
    pub(crate) fn is_met(&self) -> bool {
        self.failures.is_empty() && self.missing.is_empty()
    }

    /// The reasons why the figure is not met.
    pub(crate) fn reasons(&self) -> Vec<&String> {
        self.failures.iter().chain(&self.missing).collect()
    }
}

/// The longest that a component of one kind took to be ready again, its limit, and the figure's
/// name. Nothing of a kind that was not killed. No service's readiness asks for Kafka, by design,
/// so Kafka is ready again when a purchase that began after its loss has its code.
pub(crate) fn recoveries(story: &Story) -> Vec<(&'static str, f64, f64)> {
    let longest = |ours: &dyn Fn(Component) -> bool| {
        let kills = story.kills.iter().filter(|kill| ours(kill.component));
        kills
            .map(|kill| kill.ready.as_secs_f64())
            .max_by(f64::total_cmp)
    };
    let service = |one: Component| one.is_service() || one == Component::Gateway;
    let (services, postgres, kafka) = (
        longest(&service),
        longest(&|one| one == Component::Postgres),
        longest(&|one| one == Component::Kafka),
    );
    let flows = story.flows.iter().filter(|flow| flow.is_of_lost_kafka());
    let flows = flows.map(|flow| flow.after.as_secs_f64());
    let kafka = flows.chain(kafka).max_by(f64::total_cmp);
    let rows = [
        ("chaos.service_ready_s", services, SERVICE_READY_SECONDS_MAX),
        (
            "chaos.postgres_ready_s",
            postgres,
            POSTGRES_READY_SECONDS_MAX,
        ),
        ("chaos.kafka_ready_s", kafka, KAFKA_READY_SECONDS_MAX),
    ];
    let found = |(name, longest, most): (_, Option<f64>, _)| Some((name, longest?, most));
    rows.into_iter().filter_map(found).collect()
}

fn failures(grounds: &Grounds<'_>) -> Vec<String> {
    let (story, findings) = (grounds.story, grounds.findings);
    let mut found = Vec::new();
    let violations = findings.total();
    if violations > 0 {
        found.push(format!("{violations} violations"));
    }
    for event in &story.events {
        if let Ending::Failed(why) = &event.ending {
            found.push(format!(
                "{} at {} ms: {why}",
                event.fault.name(),
                event.at_ms
            ));
        }
        if let Some(after) = event.recovered.filter(|after| *after > LIVENESS) {
            let (name, at, after) = (event.fault.name(), event.at_ms, after.as_secs_f64());
            let limit = LIVENESS.as_secs();
            found.push(format!(
                "{name} at {at} ms: all back {after:.1} s after the healing, more than {limit}"
            ));
        }
    }
    let (played, scheduled) = (story.events.len(), grounds.scheduled);
    if played < scheduled {
        found.push(format!(
            "{played} of {scheduled} faults were played before CHAOS_SECONDS were over"
        ));
    }
    for (name, seconds, most) in recoveries(story) {
        if seconds > most {
            found.push(format!("{name} is {seconds:.2}, more than {most}"));
        }
    }
    if findings
        .finished
        .is_none_or(|after: Duration| after > LIVENESS)
    {
        let limit = LIVENESS.as_secs();
        found.push(format!(
            "not everything finished within {limit} s of healing"
        ));
    }
    found
}

fn missing(grounds: &Grounds<'_>) -> Vec<String> {
    let story = grounds.story;
    let mut found = Vec::new();
    if grounds.part {
        found.push("faults were left out by ONLY".to_owned());
    }
    for event in &story.events {
        if let Ending::Impossible(why) = &event.ending {
            found.push(format!("{} cannot be done here: {why}", event.fault.name()));
        }
    }
    let killed = Component::ALL.map(|one| (one, story.healed(Fault::Kill(one))));
    let kills: usize = killed.iter().map(|(_, count)| count).sum();
    if kills < KILLS_ASKED {
        found.push(format!("{kills} kills, {KILLS_ASKED} are asked"));
    }
    for (component, count) in killed.into_iter().filter(|(_, count)| *count < KILLS_MIN) {
        let name = component.name();
        found.push(format!(
            "{name} was killed {count} times, {KILLS_MIN} are asked"
        ));
    }
    let untimed = |event: &&Event| event.ending == Ending::Healed && event.recovered.is_none();
    for event in story.events.iter().filter(untimed) {
        let (name, at) = (event.fault.name(), event.at_ms);
        found.push(format!("{name} at {at} ms: its recovery was not timed"));
    }
    let lost = Fault::Kill(Component::Kafka);
    let followed = story.flows.iter().filter(|flow| flow.fault == lost).count();
    if followed < story.healed(lost) {
        found.push(format!(
            "{followed} of {} kills of kafka were followed to a new code",
            story.healed(lost)
        ));
    }
    if !grounds.release {
        found.push("the programs are debug builds".to_owned());
    }
    let (offered, begun) = (grounds.offered, grounds.begun);
    found.extend(of_load(
        "purchases",
        (offered.purchases, RATES_ASKED.purchases),
        begun.0,
    ));
    found.extend(of_load(
        "scans",
        (offered.scans, RATES_ASKED.scans),
        begun.1,
    ));
    found.extend(of_refusals(grounds.findings));
    found.extend(of_calm(grounds));
    found.extend(of_effect(grounds));
    found
}

/// What lacks in one kind of arrivals.
fn of_load(name: &str, (offered, asked): (u32, u32), begun: f64) -> Vec<String> {
    let mut found = Vec::new();
    if offered < asked {
        found.push(format!(
            "{offered} {name}/s were offered, {asked} are asked"
        ));
    }
    if begun < f64::from(offered) * BEGUN_MIN / 100.0 {
        found.push(format!(
            "{begun:.1} {name}/s were begun of {offered} offered"
        ));
    }
    found
}

/// What lacks in the load while nothing was broken.
fn of_calm(grounds: &Grounds<'_>) -> Vec<String> {
    let (calm, offered) = (grounds.calm, grounds.offered);
    if calm.seconds < CALM_SECONDS_MIN {
        return vec![format!(
            "{:.1} s were without a fault, {CALM_SECONDS_MIN} are asked",
            calm.seconds
        )];
    }
    let mut found = Vec::new();
    let seconds = ANSWER_TIMEOUT.as_secs();
    for (name, offered, kind) in [
        ("purchases", offered.purchases, calm.purchases),
        ("scans", offered.scans, calm.scans),
    ] {
        let least = |share: f64| f64::from(offered) * share / 100.0;
        let (begun, answered) = (kind.begun / calm.seconds, kind.answered / calm.seconds);
        if begun < least(CALM_BEGUN_MIN) {
            found.push(format!(
                "{begun:.1} {name}/s were begun while nothing was broken, of {offered} offered"
            ));
        }
        if answered < least(CALM_ANSWERED_MIN) {
            found.push(format!(
                "{answered:.1} {name}/s that began while nothing was broken were answered within \
                 {seconds} s, of {offered} offered"
            ));
        }
    }
    found
}

/// What lacks in what the load did: a load of denials or of purchases without an end proves
/// little.
fn of_effect(grounds: &Grounds<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let decisions = &grounds.findings.decisions;
    let admitted = decisions.get("admit").copied().unwrap_or_default();
    let Purchases {
        begun,
        paid,
        completed,
    } = grounds.purchases;
    for (what, count, all, least) in [
        (
            "answered scans admitted",
            admitted,
            decisions.values().sum(),
            ADMITTED_MIN,
        ),
        ("purchases paid", paid, begun, PAID_MIN),
        (
            "paid purchases came to a code in time",
            completed,
            paid,
            CODES_MIN,
        ),
    ] {
        let all: u64 = all;
        if count == 0 || (count as f64) < all as f64 * least / 100.0 {
            found.push(format!("{count} of {all} {what}, {least} % are asked"));
        }
    }
    found
}

fn of_refusals(findings: &Findings) -> Vec<String> {
    let mut found = Vec::new();
    for kind in [Kind::Buy, Kind::Redeem] {
        let [done, refused, unknown] = findings.operations.get(&kind).copied().unwrap_or_default();
        let all = done + refused + unknown;
        if refused as f64 > all as f64 * REFUSED_MAX / 100.0 {
            found.push(format!(
                "{refused} of {all} {kind:?} operations were refused by a rule"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests;
