//! `memory.idle_mb` and `memory.load_mb`: what one union's services and gateway hold together,
//! after everything was loaded and nobody asked for a while, and at most during the loads. Where
//! no other part has loaded them, both doors are loaded here at the rates that are asked of them.

use std::sync::Arc;

use anyhow::{Result, ensure};
use tests::load::{self, Arrivals, Plan};

use crate::figure::{Better, Figure};
use crate::observe::quiet;
use crate::redeem::Scans;
use crate::world::Bench;

const IDLE_MB_MAX: f64 = 250.0;
const LOAD_MB_MAX: f64 = 500.0;
const PASSES: u64 = 100_000;
/// Scans in a second, by each door.
const RATE: f64 = 1_500.0;

/// The part `memory`.
///
/// # Errors
/// When a scan is not admitted.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let idle = bench.idle_mb().await?;
    if !bench.was_loaded() {
        load_both_doors(bench).await?;
    }
    let peak = bench.union_peak_mb();
    let each: Vec<String> = bench
        .processes()
        .iter()
        .map(|one| format!("{} {:.0} MB", one.name, crate::process::rss_mb(one.pid)))
        .collect();
    let figure = |name, value| Figure::new(name, value, "MB", Better::Lower);
    Ok(vec![
        figure("memory.idle_mb", idle).floor(IDLE_MB_MAX),
        figure("memory.load_mb", peak)
            .floor(LOAD_MB_MAX)
            .note(format!("now: {}", each.join(", "))),
    ])
}

async fn load_both_doors(bench: &Bench) -> Result<()> {
    let passes = bench
        .prepared()
        .await?
        .passes(bench, PASSES, PASSES)
        .await?;
    let direct = Scans::new(bench, passes, true).await?;
    let through = direct.by_gateway();
    let plan = |address| Plan {
        address,
        connections: bench.connections(),
        arrivals: Arrivals::Rate(RATE),
        length: bench.seconds(),
        requests_max: u64::MAX,
    };
    let (straight, gateway) = tokio::try_join!(
        load::run(plan(bench.graphql("admission")), direct.next()),
        load::run(plan(bench.gateway()), Arc::clone(&through.next())),
    )?;
    for outcome in [straight, gateway] {
        ensure!(outcome.wrong == 0, "{:?}", outcome.first_wrong);
    }
    quiet(bench).await
}
