//! `make chaos`: real processes under load and under faults that a seed decides, and afterwards
//! the proof that nothing acknowledged was lost, nothing was done twice, and everything finished.
//!
//! Each run begins with an empty world. It proves nothing about speed: `make bench` does.

mod check;
mod client;
mod disk;
mod faults;
mod load;
mod oplog;
mod people;
mod provider;
mod proxy;
mod report;
mod supervisor;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use kit::Ids;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use check::{Findings, LIVENESS};
use client::Api;
use faults::{Faults, LINKS, Story, Wanted};
use load::{Load, Rates};
use oplog::OpLog;
use proxy::Link;
use supervisor::Supervisor;
use world::{Component, World};

/// Purchases that must have completed before the first fault: the world works without faults.
const WARM_PURCHASES: u64 = 10;
const WARM_TIMEOUT: Duration = Duration::from_secs(60);
/// Tokens live ten minutes; after half of it everybody signs in again before the repetition.
const TOKENS_FRESH: Duration = Duration::from_secs(270);
const POLL: Duration = Duration::from_millis(50);

/// What `make chaos` is told, by variables.
#[derive(Debug, Parser)]
#[command(name = "chaos", version)]
struct Options {
    /// Decides the schedule and the load; a fresh one when it is not given
    #[arg(long, env = "CHAOS_SEED")]
    seed: Option<u64>,
    /// Kills in all; at least three of every component that is killed
    #[arg(long, env = "KILLS", default_value_t = 40)]
    kills: usize,
    /// kill, pause, link, clock, disk, or names of components; everything when empty
    #[arg(long, env = "ONLY", value_delimiter = ',')]
    only: Vec<String>,
    /// Purchases begun a second
    #[arg(long, env = "CHAOS_PURCHASES")]
    purchases: Option<u32>,
    /// Scans begun a second
    #[arg(long, env = "CHAOS_SCANS")]
    scans: Option<u32>,
    /// How long the faults may take, in seconds
    #[arg(long, env = "CHAOS_SECONDS", default_value_t = 420)]
    seconds: u64,
}

impl Options {
    /// What the foundation asks for, where the programs are optimised; else what they can bear.
    fn rates(&self, release: bool) -> Rates {
        let (purchases, scans) = if release { (100, 300) } else { (8, 24) };
        Rates {
            purchases: self.purchases.unwrap_or(purchases),
            scans: self.scans.unwrap_or(scans),
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    match runtime.block_on(run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<bool> {
    let seed = options
        .seed
        .unwrap_or_else(|| u64::from(Ids::random().below(u32::MAX)));
    println!("== chaos: CHAOS_SEED={seed}  (the same seed plays the same schedule)");
    let world = World::open()?;
    let api = Api::new(World::gateway_port(), World::sandbox_port())?;
    let tasks = TaskTracker::new();
    let mut links = Vec::new();
    for server in LINKS {
        let (proxy, port) = (world.proxy_port(server)?, world.server_port(server)?);
        links.push(Link::open(server.name(), proxy, port, &tasks).await?);
    }
    let supervisor = Supervisor::new(world, api.clone());
    let outcome = played(options, seed, &supervisor, (&api, &links)).await;
    supervisor.stop().await;
    outcome
}

async fn played(
    options: &Options,
    seed: u64,
    supervisor: &Supervisor,
    (api, links): (&Api, &[Link]),
) -> Result<bool> {
    let world = &supervisor.world;
    let release = tests::variable("BASHU_BIN")?.contains("release");
    let rates = options.rates(release);
    let load = raised(supervisor, api, seed).await?;
    let wanted = Wanted {
        kills: options.kills,
        only: options.only.clone(),
    };
    let schedule = faults::schedule(&wanted, &Ids::seeded(seed));
    println!(
        "== faults: {} under {} purchases/s and {} scans/s",
        schedule.len(),
        rates.purchases,
        rates.scans
    );
    let (stop, began) = (CancellationToken::new(), Instant::now());
    let arrivals = TaskTracker::new();
    let (running, told) = (Arc::clone(&load), stop.clone());
    let arrival = arrivals.spawn(async move { running.run(rates, &told).await });
    warm(&load).await?;
    let mut faults = Faults {
        supervisor,
        links,
        load: &load,
        ids: Ids::seeded(seed.wrapping_add(1)),
        story: Story {
            skipped: faults::impossible(&wanted),
            ..Story::default()
        },
    };
    let until = tokio::time::Instant::now() + Duration::from_secs(options.seconds);
    let faulted = faults.run(&schedule, until).await;
    let story = faults.story;
    let (healed, loaded) = (Instant::now(), began.elapsed());
    stop.cancel();
    arrival.await.context("the load ended badly")?;
    faulted.context("the world did not come back")?;
    let mut findings = Findings::default();
    judged(supervisor, &load, (healed, loaded), &mut findings).await?;
    fired(&schedule, &story, &mut findings);
    let run = report::Run {
        seed,
        release,
        rates,
        loaded,
        counts: &load.counts,
        schedule: &schedule,
        story: &story,
        findings: &findings,
    };
    run.tell()?;
    ensure!(world.folder.exists(), "the world is gone");
    Ok(run.is_well())
}

/// Everything up, the world loaded, the cast gathered; nothing has been bought.
async fn raised(supervisor: &Supervisor, api: &Api, seed: u64) -> Result<Arc<Load>> {
    let world = &supervisor.world;
    println!("== world: configurations, migrations, processes, demonstration world");
    world.development("dev", &["--prepare"]).await?;
    for component in [Component::Sandbox].into_iter().chain(Component::SERVICES) {
        supervisor.start(component, &[]).await?;
    }
    for component in [Component::Sandbox].into_iter().chain(Component::SERVICES) {
        supervisor.ready(component).await?;
    }
    supervisor.start(Component::Gateway, &[]).await?;
    supervisor.ready(Component::Gateway).await?;
    world
        .development("demo", &["--members", people::WORLD_MEMBERS])
        .await?;
    let ids = Ids::seeded(seed.wrapping_add(2));
    let cast = people::gather(api, world, &ids).await?;
    let log = OpLog::create(&world.folder.join("operations.jsonl"))?;
    Ok(Arc::new(Load::new(api.clone(), cast, log, ids)))
}

async fn warm(load: &Load) -> Result<()> {
    let began = Instant::now();
    let completed = &load.counts.completed;
    while completed.load(std::sync::atomic::Ordering::Relaxed) < WARM_PURCHASES {
        ensure!(
            began.elapsed() < WARM_TIMEOUT,
            "the world does not sell before the first fault"
        );
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Repeats, waits, verifies, compares.
async fn judged(
    supervisor: &Supervisor,
    load: &Arc<Load>,
    (healed, loaded): (Instant, Duration),
    findings: &mut Findings,
) -> Result<()> {
    println!("== healed: repeating what is unknown, then verifying");
    let world = &supervisor.world;
    if loaded > TOKENS_FRESH {
        for failed in people::sign_in_again(&load.api, &load.cast).await {
            findings.add("everybody_signs_in", failed);
        }
    }
    check::repeat(load, healed, findings).await?;
    check::finish(world, load, healed, findings).await?;
    for (component, status) in supervisor.fallen().await {
        findings.add(
            "no_process_falls",
            format!("{}: {status}", component.name()),
        );
    }
    let left = LIVENESS.saturating_sub(healed.elapsed()).as_secs().max(5);
    let settle = left.to_string();
    let output = world
        .bashu(&["--json", "verify", "--settle", &settle])
        .await?;
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "verify said no JSON: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    for broken in report["broken"].as_array().into_iter().flatten() {
        let subject = format!(
            "{} [{}]: {}",
            broken["id"], broken["place"], broken["violations"]
        );
        findings.add("verify", subject);
    }
    println!("   verify: {} promises checked", report["checked"]);
    check::compare(world, load, findings).await
}

/// Each fault fired, and every component that was to be killed was, three times at the least.
fn fired(schedule: &[faults::Fault], story: &Story, findings: &mut Findings) {
    for failed in &story.failed {
        findings.add("fault_fires_and_heals", failed.clone());
    }
    if !story.skipped.is_empty() {
        return;
    }
    for component in Component::ALL {
        let kill = faults::Fault::Kill(component);
        let asked = schedule.iter().filter(|fault| **fault == kill).count();
        let seen = story
            .kills
            .iter()
            .filter(|one| one.component == component)
            .count();
        if seen < asked {
            let subject = format!("{}: {seen} kills of {asked}", component.name());
            findings.add("fault_fires_and_heals", subject);
        }
    }
}
