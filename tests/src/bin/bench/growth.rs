//! `redeem.growth`: how much slower scans are with five million entitlements in the table than
//! with fifty thousand. The scanned ones are spread over all of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tests::load::{self, Arrivals, Outcome, Plan};

use crate::figure::{Better, Figure};
use crate::observe::{Shares, quiet};
use crate::redeem::Scans;
use crate::search::said;
use crate::world::Bench;

const FEW: u64 = 50_000;
const MANY: u64 = 5_000_000;
const CODES_OF_MANY: u64 = 200_000;
const TIMES_MAX: f64 = 1.3;
const WARM_UP: Duration = Duration::from_secs(4);

/// The part `growth`.
///
/// # Errors
/// When a scan is not admitted.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let few = rate(bench, FEW, FEW).await?;
    bench.say(&format!("{FEW}: {}", said(&few)));
    let many = rate(bench, MANY, CODES_OF_MANY).await?;
    bench.say(&format!("{MANY}: {}", said(&many)));
    let times = few.rate() / many.rate();
    Ok(vec![
        Figure::new("redeem.growth", times, "×", Better::Lower)
            .floor(TIMES_MAX)
            .note(format!("with {FEW}: {}", said(&few)))
            .note(format!("with {MANY}: {}", said(&many)))
            .series("answers/s by second, few", few.throughput())
            .series("answers/s by second, many", many.throughput()),
    ])
}

async fn rate(bench: &Bench, rows: u64, codes: u64) -> Result<Outcome> {
    quiet(bench).await?;
    let passes = bench.prepared().await?.passes(bench, rows, codes).await?;
    let scans = Scans::new(bench, passes, true).await?;
    let plan = |length| Plan {
        address: bench.graphql("admission"),
        connections: bench.connections(),
        arrivals: Arrivals::Saturate,
        length,
        requests_max: u64::MAX,
    };
    load::run(plan(WARM_UP), scans.next()).await?;
    quiet(bench).await?;
    bench.superuser().sql("admission", &["ANALYZE"]).await?;
    let shares = Shares::begin(bench);
    let outcome = load::run(plan(bench.seconds()), Arc::clone(&scans.next())).await?;
    bench.say(&shares.said());
    ensure!(outcome.wrong == 0, "{:?}", outcome.first_wrong);
    Ok(outcome)
}
