//! What a run came to: `target/chaos.json` for programs and a table for people. The verdict is made
//! elsewhere; here it is told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::root;

use crate::calm::{Arrivals, Calm};
use crate::faults::{Ending, Event, Story};
use crate::judge::{Findings, LIVENESS};
use crate::load::{Counts, Rates};
use crate::verdict::{Grounds, Purchases, Verdict, recoveries};
use crate::world::Component;

/// All that is told of a run.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) seed: u64,
    pub(crate) release: bool,
    /// The commit that each program was built from.
    pub(crate) programs: BTreeMap<String, String>,
    /// Whether faults were left out by name.
    pub(crate) part: bool,
    pub(crate) rates: Rates,
    pub(crate) loaded: Duration,
    /// The load while nothing was broken.
    pub(crate) calm: Calm,
    pub(crate) counts: &'a Counts,
    /// The faults' names in the order in which the seed put them.
    pub(crate) schedule: Vec<String>,
    pub(crate) story: &'a Story,
    pub(crate) findings: &'a Findings,
}

/// Where the result is, in the checkout.
fn path() -> PathBuf {
    root().join("target/chaos.json")
}

/// Takes the last run's result away, so that a run which ends early leaves none that is not its
/// own.
///
/// # Errors
/// When the file is there and stays.
pub(crate) fn forget() -> Result<()> {
    let path = path();
    if path.exists() {
        std::fs::remove_file(&path)
            .with_context(|| format!("{} cannot be removed", path.display()))?;
    }
    Ok(())
}

impl Run<'_> {
    pub(crate) fn verdict(&self) -> Verdict {
        Verdict::of(&Grounds {
            release: self.release,
            part: self.part,
            scheduled: self.schedule.len(),
            story: self.story,
            findings: self.findings,
            offered: self.rates,
            begun: (
                self.a_second(&self.counts.purchases),
                self.a_second(&self.counts.scans),
            ),
            calm: self.calm,
            purchases: Purchases {
                begun: count(&self.counts.purchases),
                paid: count(&self.counts.paid),
                completed: count(&self.counts.completed),
            },
        })
    }

    fn a_second(&self, counter: &AtomicU64) -> f64 {
        count(counter) as f64 / self.loaded.as_secs_f64().max(0.001)
    }

    fn ready(&self, component: Component) -> Vec<f64> {
        let kills = self.story.kills.iter();
        let mut seconds: Vec<f64> = kills
            .filter(|kill| kill.component == component)
            .map(|kill| kill.ready.as_secs_f64())
            .collect();
        seconds.sort_by(f64::total_cmp);
        seconds
    }

    fn figures(&self, verdict: &Verdict) -> Vec<Value> {
        let mut violations = figure("chaos.violations", self.findings.total() as f64, "", 0.0);
        violations["met"] = json!(verdict.is_met());
        violations["reasons"] = json!(verdict.reasons());
        let ready = recoveries(self.story).into_iter();
        let ready = ready.map(|(name, worst, most)| figure(name, worst, "s", most));
        std::iter::once(violations).chain(ready).collect()
    }

    /// By component: kills, the median and the longest time until it was ready again.
    fn recovery(&self) -> Value {
        let mut recovery = serde_json::Map::new();
        for component in Component::ALL {
            let seconds = self.ready(component);
            if let (Some(max), Some(p50)) = (seconds.last(), seconds.get(seconds.len() / 2)) {
                let row = json!({
                    "kills": seconds.len(), "p50_s": round(*p50), "max_s": round(*max),
                });
                recovery.insert(component.name().to_owned(), row);
            }
        }
        Value::Object(recovery)
    }

    fn operations(&self) -> Value {
        let mut rows = serde_json::Map::new();
        for (kind, [done, refused, unknown]) in &self.findings.operations {
            let refusals: BTreeMap<&String, &u64> = self
                .findings
                .refusals
                .iter()
                .filter(|((of, _), _)| of == kind)
                .map(|((_, code), count)| (code, count))
                .collect();
            let row = json!({
                "ok": done, "refused": refused, "unknown": unknown, "refusals": refusals,
            });
            rows.insert(format!("{kind:?}").to_lowercase(), row);
        }
        Value::Object(rows)
    }

    /// The whole, for programs.
    fn json(&self, verdict: &Verdict) -> Value {
        let story = self.story;
        let violations = self.findings.violations.iter();
        let violations: Vec<Value> = violations
            .map(|one| json!({ "rule": one.rule, "subject": one.subject }))
            .collect();
        let kills = story.kills.iter().map(|kill| {
            json!({
                "component": kill.component.name(),
                "process": [kill.before, kill.after],
                "ready_s": seconds(kill.ready),
            })
        });
        let disks = story.disk_ready.iter();
        let disks: BTreeMap<&str, f64> = disks
            .map(|(server, after)| (server.name(), seconds(*after)))
            .collect();
        json!({
            "seed": self.seed,
            "commit": commit(),
            "programs": self.programs,
            "build": if self.release { "release" } else { "debug" },
            "met": verdict.is_met(),
            "well": verdict.is_well(),
            "failures": verdict.failures,
            "not_the_whole_figure": verdict.missing,
            "load": self.load(),
            "schedule": self.schedule,
            "unplayed": story.unplayed,
            "faults": story.events.iter().map(told).collect::<Vec<Value>>(),
            "faults_by_kind": self.by_kind(),
            "kills": kills.collect::<Vec<Value>>(),
            "recovery": self.recovery(),
            "fault_to_new_code": self.flows(),
            "disk_full_ready_s": disks,
            "operations": self.operations(),
            "scans_by_decision": self.findings.decisions,
            "unknown_when_healed": self.findings.repeated,
            "acknowledged_asked_again": self.findings.asked_again,
            "finished_s": self.findings.finished.map(seconds),
            "verified_s": self.findings.verified.map(seconds),
            "finished_s_max": LIVENESS.as_secs(),
            "violations": violations,
            "violations_by_rule": self.findings.counts,
            "figures": self.figures(verdict),
        })
    }

    /// How often each fault was seen to fire and to heal.
    fn by_kind(&self) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        let events = self.story.events.iter();
        for event in events.filter(|one| one.ending == Ending::Healed) {
            *found.entry(event.fault.name()).or_default() += 1;
        }
        found
    }

    /// Of each fault after which new codes were waited for: how long that took.
    fn flows(&self) -> Vec<Value> {
        let flows = self.story.flows.iter();
        flows
            .map(|flow| {
                json!({
                    "fault": flow.fault.name(),
                    "after_s": seconds(flow.after),
                    "is_kafka_ready": flow.is_of_lost_kafka(),
                })
            })
            .collect()
    }

    fn calmly(&self, arrivals: Arrivals) -> Value {
        let a_second = |count: f64| round(count / self.calm.seconds.max(0.001));
        json!({
            "begun_per_s": a_second(arrivals.begun),
            "answered_in_time_per_s": a_second(arrivals.answered),
        })
    }

    fn load(&self) -> Value {
        json!({
            "seconds": seconds(self.loaded),
            "purchases_offered_per_s": self.rates.purchases,
            "scans_offered_per_s": self.rates.scans,
            "purchases_begun_per_s": round(self.a_second(&self.counts.purchases)),
            "scans_begun_per_s": round(self.a_second(&self.counts.scans)),
            "calm": {
                "seconds": round(self.calm.seconds),
                "purchases": self.calmly(self.calm.purchases),
                "scans": self.calmly(self.calm.scans),
            },
            "purchases_begun_live": count(&self.counts.purchases),
            "purchases_paid_live": count(&self.counts.paid),
            "purchases_completed_live": count(&self.counts.completed),
            "dropped_by_generator": count(&self.counts.dropped),
        })
    }

    /// Writes the JSON and prints the table.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn tell(&self, verdict: &Verdict) -> Result<()> {
        let path = path();
        std::fs::create_dir_all(root().join("target"))?;
        let value = self.json(verdict);
        std::fs::write(&path, serde_json::to_string_pretty(&value)? + "\n")
            .with_context(|| format!("{} cannot be written", path.display()))?;
        println!(
            "\n== 混沌结果 / what the faults came to (seed {})",
            self.seed
        );
        println!("  load       {}", value["load"]);
        println!("  faults     {}", value["faults_by_kind"]);
        println!("  operations {}", value["operations"]);
        println!("  scans      {}", value["scans_by_decision"]);
        println!(
            "  unknown when healed {}, everything finished after {} s (limit {} s)",
            value["unknown_when_healed"], value["finished_s"], value["finished_s_max"]
        );
        for (name, row) in value["recovery"].as_object().into_iter().flatten() {
            println!("  ready again {name:<10} {row}");
        }
        for violation in &self.findings.violations {
            println!("  VIOLATION {}: {}", violation.rule, violation.subject);
        }
        for figure in self.figures(verdict) {
            let met = if figure["met"] == true {
                "met"
            } else {
                "NOT MET"
            };
            println!(
                "  {:<24} {:>8} {:<2} (at most {})  {met}",
                figure["name"].as_str().unwrap_or_default(),
                figure["value"].to_string(),
                figure["unit"].as_str().unwrap_or_default(),
                figure["floor"]
            );
        }
        conclude(verdict);
        println!("  {}", path.display());
        Ok(())
    }
}

/// The last word, in one of three ways.
fn conclude(verdict: &Verdict) {
    if verdict.is_met() {
        println!("  达标 / well, and the whole figure");
        return;
    }
    if verdict.is_well() {
        println!("  正常，但不是完整指标 / well, but not the whole figure:");
    } else {
        println!("  失败 / FAILED:");
    }
    for reason in verdict.reasons() {
        println!("    - {reason}");
    }
}

fn told(event: &Event) -> Value {
    let (ending, why) = match &event.ending {
        Ending::Healed => ("healed", None),
        Ending::Failed(why) => ("failed", Some(why)),
        Ending::Impossible(why) => ("impossible", Some(why)),
    };
    json!({
        "fault": event.fault.name(),
        "at_ms": event.at_ms,
        "took_ms": event.took_ms,
        "recovered_s": event.recovered.map(seconds),
        "seen": event.seen,
        "ending": ending,
        "why": why,
    })
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn seconds(duration: Duration) -> f64 {
    round(duration.as_secs_f64())
}

/// A figure in the shape of the bench's; smaller is better in all of them.
fn figure(name: &str, value: f64, unit: &str, most: f64) -> Value {
    json!({
        "name": name,
        "value": round(value),
        "unit": unit,
        "floor": most,
        "limit": null,
        "ratio": null,
        "met": value <= most,
    })
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn commit() -> String {
    let asked = std::process::Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .current_dir(root())
        .output();
    asked.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
