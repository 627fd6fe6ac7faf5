//! `make chaos`: real processes under load and under faults that a seed decides, and afterwards
//! the proof that nothing acknowledged was lost, nothing was done twice, and everything finished.
//!
//! Each run begins with an empty world. It proves nothing about speed: `make bench` does.

mod calm;
mod check;
mod client;
mod disk;
mod faults;
mod judge;
mod load;
mod oplog;
mod people;
mod provider;
mod proxy;
mod report;
mod schedule;
mod sessions;
mod supervisor;
mod verdict;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use kit::Ids;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use calm::Calm;
use client::Api;
use faults::{Faults, Story};
use judge::{Findings, LIVENESS};
use load::{Load, Rates};
use oplog::OpLog;
use proxy::Link;
use schedule::{Fault, LINKS, Wanted, schedule};
use supervisor::Supervisor;
use world::{Component, World};

/// Purchases that must have completed before the first fault: the world works without faults.
const WARM_PURCHASES: u64 = 10;
const WARM_TIMEOUT: Duration = Duration::from_secs(60);
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
    /// kill, pause, link, both, clock, flush, disk, and names of components; everything when empty
    #[arg(long, env = "ONLY", value_delimiter = ',')]
    only: Vec<String>,
    /// Purchases begun a second
    #[arg(long, env = "CHAOS_PURCHASES")]
    purchases: Option<u32>,
    /// Scans begun a second
    #[arg(long, env = "CHAOS_SCANS")]
    scans: Option<u32>,
    /// How long the faults may take at most, in seconds; a whole run takes about ten minutes
    #[arg(long, env = "CHAOS_SECONDS", default_value_t = 1_200)]
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
    let wanted = Wanted::new(options.kills, &options.only)?;
    report::forget()?;
    println!("== chaos: CHAOS_SEED={seed}  (the same seed plays the same schedule)");
    let world = World::open()?;
    let api = Api::new(World::gateway_port(), World::sandbox_port())?;
    let tasks = TaskTracker::new();
    let mut links = Vec::new();
    for server in LINKS {
        let (proxy, port) = (world.proxy_port(server)?, world.server_port(server)?);
        links.push(Link::open(server.name(), proxy, port, &tasks).await?);
    }
    let supervisor = Supervisor::new(world, api);
    let plan = Plan {
        seed,
        rates: options.rates(supervisor.world.is_release()),
        part: wanted.is_part(),
        schedule: schedule(&wanted, &Ids::seeded(seed)),
        time: Duration::from_secs(options.seconds),
    };
    let outcome = played(&plan, &supervisor, &links).await;
    supervisor.stop().await;
    outcome
}

/// What a run is to be.
struct Plan {
    seed: u64,
    rates: Rates,
    /// Whether faults were left out by name.
    part: bool,
    schedule: Vec<Fault>,
    time: Duration,
}

/// Whether the run came to what was asked: a whole one must meet the figure, of a part that was
/// asked for by name nothing may be violated and everything must come back.
async fn played(plan: &Plan, supervisor: &Supervisor, links: &[Link]) -> Result<bool> {
    let load = raised(supervisor, plan.seed).await?;
    // Until the last request of the judgement everybody stays signed in.
    let (stop, sessions) = (CancellationToken::new(), TaskTracker::new());
    let (kept, told) = (Arc::clone(&load), stop.clone());
    sessions.spawn(async move { sessions::keep(&kept.api, &kept.cast, &told).await });
    let done = faulted(plan, supervisor, (&load, links)).await;
    let judged = match done {
        Ok(faulted) => judged(plan, supervisor, (&load, faulted)).await,
        Err(error) => Err(error),
    };
    stop.cancel();
    sessions.close();
    sessions.wait().await;
    judged
}

/// What was before the judgement.
struct Faulted {
    story: Story,
    /// How long the load lasted.
    loaded: Duration,
    /// When the first fault could begin, in the log of operations.
    warm_ms: u64,
    /// When the last fault was taken away: not when all that was waited for had come back.
    healed: Instant,
}

/// The load, and the faults under it.
async fn faulted(
    plan: &Plan,
    supervisor: &Supervisor,
    (load, links): (&Arc<Load>, &[Link]),
) -> Result<Faulted> {
    let rates = plan.rates;
    println!(
        "== faults: {} under {} purchases/s and {} scans/s",
        plan.schedule.len(),
        rates.purchases,
        rates.scans
    );
    let (stop, began) = (CancellationToken::new(), Instant::now());
    let (running, told) = (Arc::clone(load), stop.clone());
    let arrivals = TaskTracker::new();
    let arrival = arrivals.spawn(async move { running.run(rates, &told).await });
    warm(load).await?;
    let (warm_ms, warm) = (load.log.at_ms(), Instant::now());
    let mut faults = Faults {
        supervisor,
        links,
        load,
        ids: Ids::seeded(plan.seed.wrapping_add(1)),
        began: warm.into(),
        story: Story::default(),
    };
    let until = tokio::time::Instant::now() + plan.time;
    let played = faults.run(&plan.schedule, until).await;
    let loaded = began.elapsed();
    // Where nothing was broken there is nothing to heal.
    let healed = supervisor.healed_since(warm).unwrap_or_else(Instant::now);
    stop.cancel();
    let story = faults.story;
    played.context("the world did not come back")?;
    arrival.await.context("the load ended badly")?;
    Ok(Faulted {
        story,
        loaded,
        warm_ms,
        healed,
    })
}

/// Everything up, the world loaded, the cast gathered; nothing has been bought.
async fn raised(supervisor: &Supervisor, seed: u64) -> Result<Arc<Load>> {
    let (world, api) = (&supervisor.world, &supervisor.api);
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

/// Repeats, waits, asks again, verifies, compares, and tells what it all came to.
async fn judged(
    plan: &Plan,
    supervisor: &Supervisor,
    (load, faulted): (&Arc<Load>, Faulted),
) -> Result<bool> {
    println!("== healed: repeating what is unknown, then verifying");
    let (world, healed) = (&supervisor.world, faulted.healed);
    let mut findings = Findings::default();
    let (repeated, rests) = tokio::join!(
        check::repeat(load, healed, &mut findings),
        check::office_rests(load, healed),
    );
    repeated?;
    if let Some(why) = rests {
        findings.add("office_works_again", why);
    }
    check::finish(world, load, healed, &mut findings).await?;
    // Within the same time; then again, since a repetition must not change anything.
    let left = LIVENESS.saturating_sub(healed.elapsed());
    check::verify(world, left, &mut findings).await?;
    findings.verified = Some(healed.elapsed());
    check::ask_again(load, &mut findings).await?;
    for (component, status) in supervisor.fallen().await {
        let subject = format!("{}: {status}", component.name());
        findings.add("no_process_falls", subject);
    }
    check::verify(world, check::AGAIN_SETTLE, &mut findings).await?;
    check::audit(world, &mut findings).await?;
    let facts = check::facts(world, load).await?;
    judge::compare(&facts, &mut findings);
    let stretches = calm::stretches(faulted.warm_ms, &faulted.story.events);
    let run = report::Run {
        seed: plan.seed,
        release: world.is_release(),
        programs: world.programs(),
        part: plan.part,
        rates: plan.rates,
        loaded: faulted.loaded,
        calm: Calm::of(&stretches, &facts.operations),
        counts: &load.counts,
        schedule: plan.schedule.iter().map(|fault| fault.name()).collect(),
        story: &faulted.story,
        findings: &findings,
    };
    let verdict = run.verdict();
    run.tell(&verdict)?;
    Ok(verdict.is_met() || (plan.part && verdict.is_well()))
}
