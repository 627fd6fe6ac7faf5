//! What a run may say of itself. Two things are told apart: a run that failed, because something
//! was violated or did not come back; and a run that went well and is not the whole figure,
//! because less was asked of it, or this machine cannot do all of it. Only a run that is neither
//! has met `chaos.violations`. Pure.

use std::time::Duration;

use crate::faults::{Ending, Story};
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
/// a rule, since a load of refusals proves little.
const BEGUN_MIN: f64 = 90.0;
const REFUSED_MAX: f64 = 10.0;

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
/// name. Nothing of a kind that was not killed.
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
mod tests {
    use std::time::Duration;

    use super::{Grounds, Verdict};
    use crate::faults::{Ending, Event, Story};
    use crate::judge::Findings;
    use crate::load::Rates;
    use crate::oplog::Kind;
    use crate::schedule::Fault;
    use crate::supervisor::Kill;
    use crate::world::Component;

    /// A run, whole and well unless a test changes it.
    struct Run {
        release: bool,
        part: bool,
        scheduled: usize,
        story: Story,
        findings: Findings,
        offered: Rates,
        begun: (f64, f64),
    }

    fn event(fault: Fault, ending: Ending) -> Event {
        Event {
            at_ms: 1,
            took_ms: 1,
            fault,
            seen: String::new(),
            ending,
        }
    }

    /// Five kills of each component: forty-five.
    fn whole() -> Run {
        let mut story = Story::default();
        for component in Component::ALL {
            for _ in 0..5 {
                story
                    .events
                    .push(event(Fault::Kill(component), Ending::Healed));
                story.kills.push(Kill {
                    component,
                    before: 1,
                    after: 2,
                    ready: Duration::from_secs(5),
                });
            }
        }
        let mut findings = Findings {
            finished: Some(Duration::from_secs(60)),
            ..Findings::default()
        };
        findings.operations = [(Kind::Buy, [90, 10, 0]), (Kind::Redeem, [300, 0, 0])].into();
        Run {
            release: true,
            part: false,
            scheduled: story.events.len(),
            story,
            findings,
            offered: Rates {
                purchases: 100,
                scans: 300,
            },
            begun: (90.0, 270.0),
        }
    }

    fn verdict(run: &Run) -> Verdict {
        Verdict::of(&Grounds {
            release: run.release,
            part: run.part,
            scheduled: run.scheduled,
            story: &run.story,
            findings: &run.findings,
            offered: run.offered,
            begun: run.begun,
        })
    }

    #[test]
    fn a_whole_run_that_is_well_has_met_the_figure() {
        let verdict = verdict(&whole());
        assert!(
            verdict.is_well() && verdict.is_met(),
            "{:?}",
            verdict.reasons()
        );
    }

    /// Whatever is violated, does not fire, does not come back, comes back late or is not played
    /// fails the run.
    #[test]
    fn a_run_fails() {
        let late = |component, run: &mut Run| {
            let mut kills = run.story.kills.iter_mut();
            let kill = kills.find(|kill| kill.component == component).unwrap();
            kill.ready = Duration::from_millis(30_001);
        };
        let failed = Ending::Failed("it does not come back".to_owned());
        let plants: [&dyn Fn(&mut Run); 9] = [
            &|run| run.findings.add("bill_is_ledger", "1 fen"),
            &|run| run.story.events[0].ending = failed.clone(),
            &|run| drop(run.story.events.pop()),
            &|run| run.scheduled += 1,
            &|run| late(Component::Passes, run),
            &|run| late(Component::Gateway, run),
            &|run| late(Component::Postgres, run),
            &|run| late(Component::Kafka, run),
            &|run| run.findings.finished = None,
        ];
        for (number, plant) in plants.into_iter().enumerate() {
            let mut run = whole();
            plant(&mut run);
            let verdict = verdict(&run);
            assert!(!verdict.is_well() && !verdict.is_met(), "failure {number}");
            assert_eq!(verdict.failures.len(), 1, "{:?}", verdict.failures);
        }
    }

    /// A run of less than is asked is well, has not met the figure, and says why.
    #[test]
    fn a_part_is_not_the_whole() {
        let impossible = Ending::Impossible("no root".to_owned());
        let plants: [&dyn Fn(&mut Run); 8] = [
            &|run| run.part = true,
            &|run| run.release = false,
            &|run| run.offered.purchases = 99,
            &|run| run.offered.scans = 299,
            &|run| run.begun.0 = 89.9,
            &|run| run.begun.1 = 269.9,
            &|run| {
                let disk = Fault::DiskFull(Component::Kafka);
                run.story.events.push(event(disk, impossible.clone()));
                run.scheduled += 1;
            },
            &|run| run.findings.operations = [(Kind::Redeem, [260, 40, 0])].into(),
        ];
        for (number, plant) in plants.into_iter().enumerate() {
            let mut run = whole();
            plant(&mut run);
            let verdict = verdict(&run);
            assert!(verdict.is_well() && !verdict.is_met(), "part {number}");
            assert_eq!(verdict.missing.len(), 1, "{:?}", verdict.missing);
        }
    }

    /// Fewer kills than are asked, in all or of one component, are not the figure; and a kill that
    /// only set a clock right is none of them.
    #[test]
    fn kills_are_counted() {
        let mut run = whole();
        let redis = Fault::Kill(Component::Redis);
        let mut kept = 2;
        run.story.events.retain(|one| {
            kept -= i32::from(one.fault == redis);
            one.fault != redis || kept >= 0
        });
        run.scheduled = run.story.events.len();
        let part = verdict(&run);
        assert!(part.is_well());
        assert_eq!(part.missing, ["redis was killed 2 times, 3 are asked"]);

        let mut run = whole();
        for event in run.story.events.iter_mut().take(6) {
            event.fault = Fault::Clock(Component::Identity, 90);
        }
        let missing = verdict(&run).missing;
        assert!(
            missing.contains(&"39 kills, 40 are asked".to_owned()),
            "{missing:?}"
        );
    }

    /// Nothing played is nothing shown.
    #[test]
    fn an_empty_run_is_not_the_figure() {
        let mut run = whole();
        run.story = Story::default();
        run.scheduled = 0;
        let verdict = verdict(&run);
        assert!(verdict.is_well() && !verdict.is_met());
    }
}
