//! The figures of a run, as the bench writes its own: `target/sim.json` of the checkout.

use anyhow::Result;
use serde_json::{Value, json};

use crate::Run;

/// Seeds that a run of `make sim` plays.
const SEEDS_FLOOR: u64 = 500;
/// How long they may take, in seconds.
const SECONDS_LIMIT: f64 = 600.0;
/// Seeds of the long run.
const LONG_FLOOR: u64 = 5_000;

/// Writes the figures; what a part of the tests played is none.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(run: &Run, asked_for: bool) -> Result<()> {
    if !asked_for {
        return Ok(());
    }
    let clean = run.violations.is_empty();
    let (name, floor) = if run.seeds >= LONG_FLOOR {
        ("sim.long", LONG_FLOOR)
    } else {
        ("sim.seeds", SEEDS_FLOOR)
    };
    let in_time = name == "sim.long" || run.seconds <= SECONDS_LIMIT;
    let broken: u64 = run
        .violations
        .values()
        .map(|found| found.len() as u64)
        .sum();
    let mut figures = vec![
        json!({
            "name": name, "value": run.seeds, "unit": "seeds", "floor": floor,
            "limit": null, "ratio": null, "met": run.seeds >= floor && in_time && clean,
        }),
        figure("sim.seconds", json!(run.seconds), "s", in_time),
        figure("sim.violations", json!(broken), "violations", clean),
    ];
    for (what, count) in &run.happened {
        let name = format!("sim.happened.{}", what.replace(' ', "_"));
        figures.push(figure(&name, json!(count), "times", *count > 0));
    }
    for seed in run.violations.keys() {
        figures.push(figure("sim.failed_seed", json!(seed), "seed", false));
    }
    save("sim.json", &figures)
}

/// Writes how many places the sweep died at; a part of them is no figure.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_sweep(died: usize, places: usize) -> Result<()> {
    if died < places {
        return Ok(());
    }
    let figures = [figure("sim.sweep_places", json!(died), "places", true)];
    save("sim-sweep.json", &figures)
}

fn save(name: &str, figures: &[Value]) -> Result<()> {
    let folder = tests::root().join("target");
    std::fs::create_dir_all(&folder)?;
    let text = serde_json::to_string_pretty(figures)?;
    std::fs::write(folder.join(name), text + "\n")?;
    Ok(())
}

fn figure(name: &str, value: Value, unit: &str, met: bool) -> Value {
    json!({
        "name": name, "value": value, "unit": unit, "floor": null, "limit": null,
        "ratio": null, "met": met,
    })
}
