//! The verdict is judged: a whole run that is well has met the figure, and each rule is broken once
//! in a run where all else is well.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Grounds, Purchases, Verdict, recoveries};
use crate::calm::{Arrivals, Calm};
use crate::faults::{Ending, Event, Flow, Story};
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
    calm: Calm,
    purchases: Purchases,
}

fn event(fault: Fault, ending: Ending) -> Event {
    Event {
        at_ms: 1,
        took_ms: 1,
        recovered: Some(Duration::from_secs(60)),
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
            if component == Component::Kafka {
                let fault = Fault::Kill(component);
                let after = Duration::from_secs(30);
                story.flows.push(Flow { fault, after });
            }
        }
    }
    let mut findings = Findings {
        finished: Some(Duration::from_secs(60)),
        ..Findings::default()
    };
    findings.operations = [(Kind::Buy, [90, 10, 0]), (Kind::Redeem, [300, 0, 0])].into();
    findings.decisions = decided(150, 150);
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
        calm: Calm {
            seconds: 30.0,
            purchases: arrivals(2_970.0, 2_850.0),
            scans: arrivals(8_910.0, 8_550.0),
        },
        purchases: Purchases {
            begun: 1_000,
            paid: 700,
            completed: 560,
        },
    }
}

fn arrivals(begun: f64, answered: f64) -> Arrivals {
    Arrivals { begun, answered }
}

fn decided(admit: u64, deny: u64) -> BTreeMap<String, u64> {
    [("admit".to_owned(), admit), ("deny".to_owned(), deny)].into()
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
        calm: run.calm,
        purchases: run.purchases,
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
    let plants: [&dyn Fn(&mut Run); 14] = [
        &|run| run.findings.add("bill_is_ledger", "1 fen"),
        &|run| run.story.events[0].ending = failed.clone(),
        &|run| drop(run.story.events.pop()),
        &|run| run.scheduled += 1,
        &|run| late(Component::Passes, run),
        &|run| late(Component::Gateway, run),
        &|run| late(Component::Postgres, run),
        &|run| late(Component::Kafka, run),
        &|run| run.findings.finished = None,
        &|run| run.findings.finished = Some(Duration::from_millis(60_001)),
        &|run| {
            run.findings
                .add("known_after_replay", "Buy 7 of 70 ms: no answer")
        },
        // It is ready by its own word, and no new code comes.
        &|run| run.story.flows[0].after = Duration::from_millis(30_001),
        &|run| flowed(run, Fault::DiskFull(Component::Kafka), 31),
        &|run| run.story.events[0].recovered = Some(Duration::from_millis(60_001)),
    ];
    for (number, plant) in plants.into_iter().enumerate() {
        let mut run = whole();
        plant(&mut run);
        let verdict = verdict(&run);
        assert!(!verdict.is_well() && !verdict.is_met(), "failure {number}");
        assert_eq!(verdict.failures.len(), 1, "{:?}", verdict.failures);
    }
}

fn flowed(run: &mut Run, fault: Fault, seconds: u64) {
    let after = Duration::from_secs(seconds);
    run.story.flows.push(Flow { fault, after });
}

/// Kafka is ready again when something new went through it, and only where it was lost itself:
/// after other faults new codes have the time that everything has.
#[test]
fn kafka_is_ready_when_codes_flow() {
    let mut run = whole();
    flowed(&mut run, Fault::Pause(Component::Kafka), 59);
    flowed(&mut run, Fault::DiskFull(Component::Postgres), 59);
    let figure = ("chaos.kafka_ready_s", 30.0, 30.0);
    assert!(recoveries(&run.story).contains(&figure));
    assert!(verdict(&run).is_met());
}

/// What lacks in one run, by words of the sentence that must tell it.
type Lacking = (&'static str, fn(&mut Run));

/// While nothing is broken, all that is offered begins and nearly all is answered, long enough to
/// tell; in all, scans are mostly admitted, purchases paid, and paid ones come to a code.
#[test]
fn a_load_that_does_little_is_not_the_figure() {
    let plants: [Lacking; 12] = [
        ("without a fault", |run| run.calm.seconds = 29.9),
        ("purchases/s were begun while", |run| {
            run.calm.purchases.begun = 2_969.0;
        }),
        ("scans/s were begun while", |run| {
            run.calm.scans.begun = 8_909.0
        }),
        ("purchases/s that began", |run| {
            run.calm.purchases.answered = 2_849.0;
        }),
        ("scans/s that began", |run| {
            run.calm.scans.answered = 8_549.0
        }),
        ("scans admitted", |run| {
            run.findings.decisions = decided(149, 151)
        }),
        ("scans admitted", |run| {
            run.findings.decisions = decided(0, 300)
        }),
        ("scans admitted", |run| run.findings.decisions.clear()),
        ("purchases paid", |run| {
            run.purchases.paid = 699;
        }),
        ("came to a code", |run| run.purchases.completed = 559),
        ("was not timed", |run| run.story.events[0].recovered = None),
        ("kills of kafka were followed", |run| {
            run.story.flows.pop();
        }),
    ];
    for (word, plant) in plants {
        let mut run = whole();
        plant(&mut run);
        let verdict = verdict(&run);
        assert!(verdict.is_well() && !verdict.is_met(), "{word}");
        assert_eq!(verdict.missing.len(), 1, "{:?}", verdict.missing);
        assert!(verdict.missing[0].contains(word), "{:?}", verdict.missing);
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
