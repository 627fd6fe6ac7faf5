//! What a run came to: `target/chaos.json` for programs and a table for people. It judges the
//! figures the foundation asks for and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::root;

use crate::check::{Findings, LIVENESS};
use crate::faults::{Fault, Story};
use crate::load::{Counts, Rates};
use crate::world::Component;

/// Ready again within so many seconds.
const SERVICE_READY_SECONDS_MAX: f64 = 5.0;
const POSTGRES_READY_SECONDS_MAX: f64 = 15.0;
const KAFKA_READY_SECONDS_MAX: f64 = 30.0;
/// What the foundation asks of the load, a second.
const PURCHASES_ASKED: f64 = 100.0;
const SCANS_ASKED: f64 = 300.0;
/// Kills that a whole run has.
const KILLS_ASKED: usize = 40;

/// All that is told of a run.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) seed: u64,
    pub(crate) release: bool,
    pub(crate) rates: Rates,
    pub(crate) loaded: Duration,
    pub(crate) counts: &'a Counts,
    pub(crate) schedule: &'a [Fault],
    pub(crate) story: &'a Story,
    pub(crate) findings: &'a Findings,
}

impl Run<'_> {
    /// Whether nothing was violated and every figure was met.
    pub(crate) fn is_well(&self) -> bool {
        self.figures().iter().all(|figure| figure["met"] == true)
    }

    fn ready(&self, ours: impl Fn(Component) -> bool) -> Vec<f64> {
        let kills = self.story.kills.iter();
        let mut seconds: Vec<f64> = kills
            .filter(|kill| ours(kill.component))
            .map(|kill| kill.ready.as_secs_f64())
            .collect();
        seconds.sort_by(f64::total_cmp);
        seconds
    }

    fn figures(&self) -> Vec<Value> {
        let violations: usize = self.findings.counts.values().sum();
        let mut figures = vec![figure("chaos.violations", violations as f64, "", 0.0)];
        let services = |one: Component| one.is_service() || one == Component::Gateway;
        let rows: [(&str, Vec<f64>, f64); 3] = [
            (
                "chaos.service_ready_s",
                self.ready(services),
                SERVICE_READY_SECONDS_MAX,
            ),
            (
                "chaos.postgres_ready_s",
                self.ready(|one| one == Component::Postgres),
                POSTGRES_READY_SECONDS_MAX,
            ),
            (
                "chaos.kafka_ready_s",
                self.ready(|one| one == Component::Kafka),
                KAFKA_READY_SECONDS_MAX,
            ),
        ];
        for (name, seconds, most) in rows {
            // A component that was not killed in this run has no figure.
            if let Some(worst) = seconds.last() {
                figures.push(figure(name, *worst, "s", most));
            }
        }
        figures
    }

    /// The whole, for programs.
    pub(crate) fn json(&self) -> Value {
        let mut recovery = serde_json::Map::new();
        for component in Component::ALL {
            let seconds = self.ready(|one| one == component);
            if let (Some(max), Some(p50)) = (seconds.last(), seconds.get(seconds.len() / 2)) {
                recovery.insert(
                    component.name().to_owned(),
                    json!({ "kills": seconds.len(), "p50_s": round(*p50), "max_s": round(*max) }),
                );
            }
        }
        let operations: BTreeMap<String, Value> = self
            .findings
            .operations
            .iter()
            .map(|(kind, [done, refused, unknown])| {
                let row = json!({ "ok": done, "refused": refused, "unknown": unknown });
                (format!("{kind:?}").to_lowercase(), row)
            })
            .collect();
        let violations: Vec<Value> = self
            .findings
            .violations
            .iter()
            .map(|one| json!({ "rule": one.rule, "subject": one.subject }))
            .collect();
        let kills: Vec<Value> = self
            .story
            .kills
            .iter()
            .map(|kill| {
                json!({
                    "component": kill.component.name(),
                    "process": [kill.before, kill.after],
                    "ready_s": round(kill.ready.as_secs_f64()),
                })
            })
            .collect();
        let flow: Vec<f64> = self
            .story
            .flow
            .iter()
            .map(|one| round(one.as_secs_f64()))
            .collect();
        json!({
            "seed": self.seed,
            "commit": commit(),
            "build": if self.release { "release" } else { "debug" },
            "load": self.load(),
            "scheduled": self.schedule.len(),
            "kills": kills.len(),
            "each_kill": kills,
            "faults": self.story.fired,
            "skipped": self.story.skipped,
            "operations": operations,
            "unknown_when_healed": self.findings.repeated,
            "acknowledged_asked_again": self.findings.asked_again,
            "finished_s": self.findings.finished.map(|after| round(after.as_secs_f64())),
            "finished_s_max": LIVENESS.as_secs(),
            "recovery": recovery,
            "kafka_kill_to_paid_code_s": flow,
            "disk_full_ready_s": self.story.disk_ready.map(|after| round(after.as_secs_f64())),
            "violations": violations,
            "violations_by_rule": self.findings.counts,
            "figures": self.figures(),
        })
    }

    fn load(&self) -> Value {
        let seconds = self.loaded.as_secs_f64().max(0.001);
        let count = |counter: &std::sync::atomic::AtomicU64| {
            counter.load(std::sync::atomic::Ordering::Relaxed)
        };
        let a_second = |counter| round(count(counter) as f64 / seconds);
        json!({
            "seconds": round(seconds),
            "purchases_asked_per_s": self.rates.purchases,
            "scans_asked_per_s": self.rates.scans,
            "purchases_per_s": a_second(&self.counts.purchases),
            "scans_per_s": a_second(&self.counts.scans),
            "purchases_completed_live": count(&self.counts.completed),
            "dropped_by_generator": count(&self.counts.dropped),
            "as_asked": f64::from(self.rates.purchases) >= PURCHASES_ASKED
                && f64::from(self.rates.scans) >= SCANS_ASKED
                && self.story.kills.len() >= KILLS_ASKED,
        })
    }

    /// Writes the JSON and prints the table.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn tell(&self) -> Result<()> {
        let folder = root().join("target");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("chaos.json");
        let value = self.json();
        std::fs::write(&path, serde_json::to_string_pretty(&value)? + "\n")
            .with_context(|| format!("{} cannot be written", path.display()))?;
        println!(
            "\n== 混沌结果 / what the faults came to (seed {})",
            self.seed
        );
        println!("  load       {}", value["load"]);
        println!("  faults     {}", value["faults"]);
        println!("  operations {}", value["operations"]);
        println!(
            "  unknown when healed {}, everything finished after {} s (limit {} s)",
            value["unknown_when_healed"], value["finished_s"], value["finished_s_max"]
        );
        for (name, row) in value["recovery"].as_object().into_iter().flatten() {
            println!("  ready again {name:<10} {row}");
        }
        for skipped in &self.story.skipped {
            println!("  没有做到 / not done: {skipped}");
        }
        for violation in &self.findings.violations {
            println!("  VIOLATION {}: {}", violation.rule, violation.subject);
        }
        for figure in self.figures() {
            let met = if figure["met"] == true {
                "met"
            } else {
                "MISSED"
            };
            println!(
                "  {:<24} {:>8} {:<2} (at most {})  {met}",
                figure["name"].as_str().unwrap_or_default(),
                figure["value"].to_string(),
                figure["unit"].as_str().unwrap_or_default(),
                figure["floor"]
            );
        }
        println!("  {}", path.display());
        Ok(())
    }
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
