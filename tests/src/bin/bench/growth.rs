//! `redeem.growth`: how much slower scans are with five million entitlements in the table than
//! with fifty thousand. On both sides equally many codes, spread over the whole table, are shown
//! once each: one that had been shown before would find its pass in memory and its history to read.

use std::time::Duration;

use anyhow::{Result, ensure};
use tests::load::{self, Arrivals, Outcome, Plan};

use crate::figure::{Better, Figure};
use crate::limits;
use crate::observe::{Flowed, Shares, flow, quiet};
use crate::profile::Profile;
use crate::redeem::Scans;
use crate::search::said;
use crate::world::Bench;

const FEW: u64 = 50_000;
const MANY: u64 = 5_000_000;
/// Codes that are shown on either side, and how many of them before it is measured.
const CODES: u64 = 50_000;
const WARM_CODES: u64 = 10_000;
const TIMES_MAX: f64 = 1.3;
/// No side takes longer, in which case it shows fewer codes.
const LENGTH_MAX: Duration = Duration::from_secs(60);
/// How long it is looked where the time goes.
const WATCHED: Duration = Duration::from_secs(5);

/// One side.
struct Side {
    outcome: Outcome,
    said: String,
    scans: Scans,
}

/// The part `growth`.
///
/// # Errors
/// When a scan is not admitted.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let machine = limits::growth(bench).await?;
    let few = side(bench, FEW).await?;
    bench.say(&few.said);
    let many = side(bench, MANY).await?;
    bench.say(&many.said);
    let times = few.outcome.rate() / many.outcome.rate();
    let figure = Figure::new("redeem.growth", times, "×", Better::Lower)
        .floor(TIMES_MAX)
        .limit("pgbench -S, 100,000 rows ÷ 5,000,000 rows, ×", machine)
        .generator(many.outcome.cpu_share())
        .note(few.said)
        .note(many.said)
        .series("answers/s by second, few", few.outcome.throughput())
        .series("answers/s by second, many", many.outcome.throughput());
    if !figure.is_missed() {
        return Ok(vec![figure]);
    }
    let profile = Profile::begin(bench, WATCHED).await?;
    let watched = load::run(plan(bench, u64::MAX, WATCHED), many.scans.next()).await;
    let lines = profile.end(bench).await?;
    watched?;
    Ok(vec![figure.profile(lines)])
}

fn plan(bench: &Bench, requests_max: u64, length: Duration) -> Plan {
    Plan {
        address: bench.graphql("admission"),
        connections: bench.connections(),
        arrivals: Arrivals::Saturate,
        length,
        requests_max,
    }
}

async fn side(bench: &Bench, rows: u64) -> Result<Side> {
    quiet(bench).await?;
    let passes = bench.prepared().await?.passes(bench, rows, CODES).await?;
    let scans = Scans::new(bench, passes, true).await?;
    load::run(plan(bench, WARM_CODES, LENGTH_MAX), scans.next()).await?;
    quiet(bench).await?;
    bench.superuser().sql("admission", &["ANALYZE"]).await?;
    let before = flow(bench).await?;
    let shares = Shares::begin(bench);
    let measured = plan(bench, CODES - WARM_CODES, LENGTH_MAX);
    let outcome = load::run(measured, scans.next()).await?;
    let cores = shares.said();
    let flowed = Flowed::between(before, flow(bench).await?, outcome.elapsed.as_secs_f64());
    ensure!(outcome.wrong == 0, "{:?}", outcome.first_wrong);
    let said = format!(
        "with {rows}: {}; {cores}; {}",
        said(&outcome),
        flowed.said()
    );
    Ok(Side {
        outcome,
        said,
        scans,
    })
}
