//! `memory.idle_mb` and `memory.load_mb`: what one union's services and gateway hold together. Idle
//! is taken twice under the same ceiling: after everything was prepared and before any load, and
//! once more when the loads are over and relays and consumers have come to rest. Loaded is the most
//! they held during the loads; those that no other part has made are made here, at the rates that
//! are asked of them.

use std::sync::Arc;

use anyhow::{Result, ensure};
use tests::load::{self, Arrivals, Plan, Requests};

use crate::buy::{self, Purchases};
use crate::figure::{Better, Figure};
use crate::observe::quiet;
use crate::process::{hwm_mb, rss_mb};
use crate::redeem::{self, Scans};
use crate::world::Bench;

const IDLE_MB_MAX: f64 = 250.0;
const LOAD_MB_MAX: f64 = 500.0;
const PASSES: u64 = 100_000;

/// The part `memory`.
///
/// # Errors
/// When a scan is not admitted, or a purchase is refused.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let idle = bench.idle_mb().await?;
    if !bench.was_loaded("redeem") {
        scan(bench).await?;
    }
    if !bench.was_loaded("buy") {
        purchase(bench).await?;
    }
    quiet(bench).await?;
    let after = bench.union_rss_mb();
    let peak = bench.union_peak_mb();
    let each = |of: fn(u32) -> f64| {
        let each = bench.processes().iter();
        let each: Vec<String> = each
            .map(|one| format!("{} {:.0} MB", one.name, of(one.pid)))
            .collect();
        each.join(", ")
    };
    let figure = |name, value| Figure::new(name, value, "MB", Better::Lower);
    Ok(vec![
        figure("memory.idle_mb", idle)
            .floor(IDLE_MB_MAX)
            .note("prepared, before any load"),
        figure("memory.idle_after_load_mb", after)
            .floor(IDLE_MB_MAX)
            .note(format!("at rest after the loads: {}", each(rss_mb))),
        figure("memory.load_mb", peak)
            .floor(LOAD_MB_MAX)
            .note("the most at one instant of four in a second, services and gateway together")
            .note(format!("the most of each by the kernel: {}", each(hwm_mb))),
    ])
}

/// Scans by both doors, one after the other, each at the rate that is asked of it.
async fn scan(bench: &Bench) -> Result<()> {
    let prepared = bench.prepared().await?;
    let passes = prepared.passes(bench, PASSES, PASSES).await?;
    let direct = Scans::new(bench, passes, true).await?;
    let through = direct.by_gateway();
    let admission = bench.graphql("admission");
    load_at(bench, (admission, redeem::DIRECT_FLOOR), direct.next()).await?;
    load_at(
        bench,
        (bench.gateway(), redeem::GATEWAY_FLOOR),
        through.next(),
    )
    .await
}

/// Purchases at the rate that is asked of them.
async fn purchase(bench: &Bench) -> Result<()> {
    let prepared = bench.prepared().await?;
    let purchases = Purchases::new(&prepared.keys, &prepared.members, &prepared.product)?;
    let door = (bench.graphql("passes"), buy::FLOOR);
    load_at(bench, door, Arc::new(purchases)).await
}

async fn load_at(
    bench: &Bench,
    (address, rate): (std::net::SocketAddr, f64),
    requests: Arc<dyn Requests>,
) -> Result<()> {
    let plan = Plan {
        address,
        connections: bench.connections(),
        arrivals: Arrivals::Rate(rate),
        length: bench.seconds(),
        requests_max: u64::MAX,
    };
    let outcome = load::run(plan, requests).await?;
    ensure!(outcome.wrong == 0, "{:?}", outcome.first_wrong);
    quiet(bench).await
}
