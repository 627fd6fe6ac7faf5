//! `redeem.growth`: how much slower scans are with five million entitlements in the table than
//! with fifty thousand. On both sides equally many codes, spread over the whole table, are shown
//! once each: one that had been shown before would find its pass in memory and its history to read.
//!
//! Connections enough keep the lane's batches full. Those of few commands are held back until they
//! are due, and then both sides would be as fast as that, whatever a scan costs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::load::{self, Arrivals, Outcome, Plan};

use crate::figure::{Better, Figure};
use crate::limits;
use crate::observe::{Flowed, Shares, flow, metrics, quiet};
use crate::profile::{Profile, commands_in_each};
use crate::redeem::Scans;
use crate::search::said;
use crate::world::Bench;

const FEW: u64 = 50_000;
const MANY: u64 = 5_000_000;
/// How often each side is measured, in turn. Whatever else the machine does makes a side slower
/// and never faster, so the faster run of each counts.
const TURNS: u32 = 2;
/// Whatever the other loads have.
const CONNECTIONS: usize = 256;
/// Commands in each batch, at least.
const BATCH_COMMANDS_MIN: f64 = kit::lane::GATHERED_COMMANDS as f64;
/// Codes that are shown on either side, and how many of them before it is measured.
const CODES: u64 = 50_000;
const WARM_CODES: u64 = 10_000;
const TIMES_MAX: f64 = 1.3;
/// No side takes longer, in which case it shows fewer codes.
const LENGTH_MAX: Duration = Duration::from_secs(60);
/// How long it is looked where the time goes.
const WATCHED: Duration = Duration::from_secs(5);
const US: f64 = 1_000_000.0;

/// One run of one side.
struct Side {
    outcome: Outcome,
    /// µs of one core that PostgreSQL used for each scan; `None` where its processes are unknown.
    postgres_us: Option<f64>,
    /// Commands in each batch.
    batch: f64,
    said: String,
    scans: Scans,
}

/// The part `growth`.
///
/// # Errors
/// When a scan is not admitted.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let machine = limits::growth(bench).await?;
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        few.push(side(bench, FEW).await?);
        many.push(side(bench, MANY).await?);
    }
    let figure = figure(&few, &many, machine)?;
    let last = many.last().context("no side was measured")?;
    if !figure.is_missed() {
        return Ok(vec![figure]);
    }
    let profile = Profile::begin(bench, WATCHED).await?;
    let watched = load::run(plan(bench, u64::MAX, WATCHED), last.scans.next()).await;
    let lines = profile.end(bench).await?;
    watched?;
    Ok(vec![figure.profile(lines)])
}

fn figure(few: &[Side], many: &[Side], machine: f64) -> Result<Figure> {
    let (fast, slow) = (faster(few)?, faster(many)?);
    let times = fast.outcome.rate() / slow.outcome.rate();
    let batches = few.iter().chain(many).map(|side| side.batch);
    let smallest = batches.fold(f64::INFINITY, f64::min);
    let figure = Figure::new("redeem.growth", times, "×", Better::Lower)
        .floor(TIMES_MAX)
        .limit("pgbench -S, 100,000 rows ÷ 5,000,000 rows, ×", machine)
        .generator(slow.outcome.cpu_share())
        .holds(
            smallest >= BATCH_COMMANDS_MIN,
            format!("batches of {smallest:.0} commands are held back: nothing is compared"),
        )
        .note(format!(
            "{CONNECTIONS} connections, never idle; the faster of {TURNS} runs of each side"
        ))
        .note(postgres_said(fast.postgres_us, slow.postgres_us));
    let runs = few.iter().zip(many).flat_map(|(few, many)| [few, many]);
    let figure = runs.fold(figure, |figure, side| figure.note(&side.said));
    Ok(figure
        .series("answers/s by second, few", fast.outcome.throughput())
        .series("answers/s by second, many", slow.outcome.throughput()))
}

fn faster(sides: &[Side]) -> Result<&Side> {
    let rate = |side: &Side| side.outcome.rate();
    let faster = sides.iter().max_by(|a, b| rate(a).total_cmp(&rate(b)));
    faster.context("no side was measured")
}

/// What the runs that count cost PostgreSQL, whose cost need not show in the rate while something
/// else is the bottleneck.
fn postgres_said(few_us: Option<f64>, many_us: Option<f64>) -> String {
    match (few_us, many_us) {
        (Some(few), Some(many)) => format!(
            "PostgreSQL's cores: {few:.0} µs/scan with {FEW} entitlements, {many:.0} µs/scan with \
             {MANY}: {:.2} ×",
            many / few
        ),
        _ => "PostgreSQL's cores: its processes are not known".to_owned(),
    }
}

fn plan(bench: &Bench, requests_max: u64, length: Duration) -> Plan {
    Plan {
        address: bench.graphql("admission"),
        connections: CONNECTIONS,
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
    let lanes = metrics(bench).await?;
    let shares = Shares::begin(bench);
    let measured = plan(bench, CODES - WARM_CODES, LENGTH_MAX);
    let outcome = load::run(measured, scans.next()).await?;
    let (cores, postgres) = (shares.said(), shares.postgres_seconds());
    let flowed = Flowed::between(before, flow(bench).await?, outcome.elapsed.as_secs_f64());
    let batch = commands_in_each(&lanes, &metrics(bench).await?);
    ensure!(outcome.wrong == 0, "{:?}", outcome.first_wrong);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let answers = outcome.right as f64;
    let postgres_us = postgres.map(|seconds| seconds * US / answers);
    let said = format!(
        "with {rows}: {}; PostgreSQL {} µs/scan; {batch:.0} scans in a batch; {cores}; {}",
        said(&outcome),
        postgres_us.map_or_else(|| "?".to_owned(), |us| format!("{us:.0}")),
        flowed.said()
    );
    bench.say(&said);
    Ok(Side {
        outcome,
        postgres_us,
        batch,
        said,
        scans,
    })
}
