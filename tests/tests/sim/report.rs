//! What a run came to: `target/sim.json` of the checkout with the figures in the shape of the
//! bench's, and beside them which code, which seeds and which machine it was. A long run is written
//! to `tests/sim-<seeds>.json` as well, where it can be committed.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Run;
use crate::seeds::Asked;

/// Seeds that a run of `make sim` plays.
const SEEDS_FLOOR: u64 = 500;
/// How long they may take, in seconds.
pub(crate) const SECONDS_LIMIT: f64 = 600.0;
/// Seeds of the long run.
const LONG_FLOOR: u64 = 5_000;

/// Whether a run took no longer than it may; the long one takes as long as it takes.
pub(crate) fn is_in_time(run: &Run, asked: &Asked) -> bool {
    let bounded = asked.is_many() && run.seeds < LONG_FLOOR;
    !bounded || run.seconds <= SECONDS_LIMIT
}

/// Writes the figures; what a part of the tests played, or one seed, is none.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write(run: &Run, asked: &Asked) -> Result<()> {
    let Asked::Many(count) = *asked else {
        return Ok(());
    };
    let in_time = is_in_time(run, asked);
    let told = json!({
        "commit": commit(),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
        "machine": machine(),
        "seeds": { "from": 1, "to": count, "kept": run.seeds.saturating_sub(count) },
        "seconds": run.seconds,
        "workers": asked.workers(),
        "stories": stories(run),
        "happened": run.happened,
        "failed_seeds": run.violations,
        "figures": figures(run, in_time),
    });
    save("target/sim.json", &told)?;
    if count >= LONG_FLOOR {
        save(&format!("tests/sim-{count}.json"), &told)?;
    }
    Ok(())
}

/// One hash over all stories, by which two runs of one commit are known to have seen the same.
fn stories(run: &Run) -> String {
    let told: Vec<&str> = run.hashes.values().map(String::as_str).collect();
    hex::encode(Sha256::digest(told.join("\n")))
}

fn figures(run: &Run, in_time: bool) -> Vec<Value> {
    let clean = run.violations.is_empty();
    let (name, floor) = if run.seeds >= LONG_FLOOR {
        ("sim.long", LONG_FLOOR)
    } else {
        ("sim.seeds", SEEDS_FLOOR)
    };
    let violations = run.violations.values();
    let broken: u64 = violations.map(|found| found.len() as u64).sum();
    let met = run.seeds >= floor && in_time && clean && run.never().is_empty();
    vec![
        figure((name, "seeds"), json!(run.seeds), json!(floor), met),
        figure(
            ("sim.seconds", "s"),
            json!(run.seconds),
            if name == "sim.seeds" {
                json!(SECONDS_LIMIT)
            } else {
                Value::Null
            },
            in_time,
        ),
        figure(
            ("sim.violations", "violations"),
            json!(broken),
            json!(0),
            clean,
        ),
    ]
}

/// Writes at how many places sagas died, by path; a part of them is no figure.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_sweep(path: &str, died: usize, places: usize) -> Result<()> {
    if died < places {
        return Ok(());
    }
    let figure = figure(
        ("sim.sweep_places", "places"),
        json!(died),
        Value::Null,
        true,
    );
    let told = json!({ "commit": commit(), "path": path, "figures": [figure] });
    save(&format!("target/sim-sweep-{path}.json"), &told)
}

fn save(name: &str, told: &Value) -> Result<()> {
    let path = tests::root().join(name);
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(path, serde_json::to_string_pretty(told)? + "\n")?;
    Ok(())
}

fn figure((name, unit): (&str, &str), value: Value, floor: Value, met: bool) -> Value {
    json!({
        "name": name, "value": value, "unit": unit, "floor": floor, "limit": null,
        "ratio": null, "met": met,
    })
}

fn machine() -> Value {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({ "cpu": model.map(|(_, model)| model), "cores": cores })
}

/// The commit that is checked out, and whether the sources differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let asked = std::process::Command::new("git")
            .args(arguments)
            .current_dir(tests::root())
            .output();
        asked.map_or_else(
            |_| "unknown".to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    };
    let short = git(&["rev-parse", "--short=12", "HEAD"]);
    if git(&["status", "--porcelain", "--untracked-files=no"]).is_empty() {
        short
    } else {
        format!("{short} + changes")
    }
}

/// Five hundred seeds have ten minutes, a part and the long run have not.
#[test]
fn only_the_usual_run_is_timed() {
    let run = |seeds, seconds| Run {
        seeds,
        seconds,
        ..Run::default()
    };
    assert!(is_in_time(&run(500, 600.0), &Asked::Many(500)));
    assert!(!is_in_time(&run(500, 600.1), &Asked::Many(500)));
    assert!(is_in_time(&run(5_000, 6_000.0), &Asked::Many(5_000)));
    assert!(is_in_time(&run(21, 601.0), &Asked::Part(1)));
}
