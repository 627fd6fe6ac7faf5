//! `make bench`: how fast one union is on this machine, beside what the machine itself gives.
//!
//! Every part measures real processes (a release build) over real servers; a figure that is
//! missed is printed as missed. It is not a test: it fails only when it cannot measure.

mod asked;
mod buy;
mod conditions;
mod figure;
mod growth;
mod join;
mod limits;
mod login;
mod member;
mod memory;
mod observe;
mod page;
mod pay;
mod people;
mod prepare;
mod process;
mod profile;
mod redeem;
mod relay;
mod report;
mod roster;
mod rotate;
mod search;
mod signing;
mod superuser;
mod vault_us;
mod verify_us;
mod world;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;

use crate::conditions::{Conditions, SECONDS};
use crate::figure::Figure;
use crate::world::Bench;

/// As the services have: the limit of the HTTP server is taken in this program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the bench is told.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "bench",
    about = "测量一家工会的全套服务 / measures one union's whole stack"
)]
pub(crate) struct Args {
    /// Where the servers of the world `bench` keep their files
    #[arg(long, default_value = ".dev/bench")]
    folder: std::path::PathBuf,
    /// The program of all services, a release build
    #[arg(long, default_value = ".dev/bin/release/bashu")]
    program: std::path::PathBuf,
    /// The gateway's program, a release build
    #[arg(long, default_value = ".dev/bin/release/bashu-gateway")]
    gateway: std::path::PathBuf,
    /// Parts to run, all of them when none is named: limits, redeem, buy, pay, memory, growth,
    /// relay, join, verify, vault, keys, login, roster, member
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Seconds of each measured run
    #[arg(long, default_value_t = SECONDS)]
    seconds: u64,
    /// Connections that ask for scans and purchases
    #[arg(long, default_value_t = limits::CONNECTIONS)]
    connections: usize,
    /// Leaves out the second pass, with commits delayed by 2 ms
    #[arg(long)]
    no_delay: bool,
    /// Serves nothing but an empty answer at this address: the limit of the HTTP server
    #[arg(long, hide = true)]
    serve_axum: Option<std::net::SocketAddr>,
}

/// The parts, in the order in which they run: what fills tables comes last.
const PARTS: [&str; 14] = [
    "limits", "verify", "vault", "join", "redeem", "buy", "pay", "memory", "login", "roster",
    "relay", "keys", "growth", "member",
];
/// The parts that ask no service of the union anything.
const ALONE: [&str; 6] = ["limits", "verify", "vault", "join", "relay", "keys"];
/// The parts after which orders are left that nobody pays for.
const LEAVING_ORDERS: [&str; 3] = ["buy", "pay", "memory"];
/// The parts that commit, which are measured a second time with slower commits.
const COMMITTING: [&str; 6] = ["limits", "redeem", "buy", "pay", "login", "relay"];

impl Args {
    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == part)
    }

    /// Whether a wanted part asks our processes anything.
    pub(crate) fn needs_processes(&self) -> bool {
        PARTS
            .into_iter()
            .any(|part| self.wants(part) && !ALONE.contains(&part))
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    for name in &args.only {
        ensure!(
            PARTS.contains(&name.as_str()),
            "there is no part {name}: say {}",
            PARTS.join(", ")
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match args.serve_axum {
            Some(address) => limits::serve_axum(address).await,
            None => measure(args).await,
        }
    })
}

async fn measure(args: &Args) -> Result<()> {
    report::forget()?;
    let conditions = Conditions::of(args);
    let mut bench = Bench::start(args).await?;
    let mut measured = Measured::default();
    let outcome = both_passes(&mut bench, (args, &conditions), &mut measured).await;
    bench.stop().await;
    outcome?;
    report::table(&measured.figures);
    let json = report::json(&conditions, &measured.figures)?;
    println!("{}", json.display());
    let page = page::write(&bench, &conditions, &measured.figures).await?;
    println!("{}", page.display());
    ensure!(
        measured.failed.is_empty(),
        "测量失败 / not measured: {}",
        measured.failed.join("; ")
    );
    Ok(())
}

/// What was measured, and what could not be.
#[derive(Debug, Default)]
struct Measured {
    figures: Vec<Figure>,
    failed: Vec<String>,
}

async fn both_passes(
    bench: &mut Bench,
    (args, conditions): (&Args, &Conditions),
    measured: &mut Measured,
) -> Result<()> {
    if args.wants("memory") {
        bench.say(&format!("idle: {:.0} MB", bench.idle_mb().await?));
    }
    pass(bench, (args, conditions), &PARTS, measured).await;
    if !args.no_delay && COMMITTING.into_iter().any(|part| args.wants(part)) {
        bench.say("== 提交各慢 2 毫秒 / again, with commits delayed by 2 ms");
        bench.delay_commits(true).await?;
        let before = measured.figures.len();
        pass(bench, (args, conditions), &COMMITTING, measured).await;
        bench.delay_commits(false).await?;
        // The floors are asked of this machine's own disk.
        let delayed = measured.figures.split_off(before);
        measured.figures.extend(delayed.into_iter().map(|figure| {
            let mut figure = figure.unasked();
            figure.name.push_str(page::DELAYED);
            figure
        }));
    }
    Ok(())
}

/// Runs the wanted ones of these parts once. One that fails does not keep the others from being
/// measured.
async fn pass(
    bench: &Bench,
    (args, conditions): (&Args, &Conditions),
    parts: &[&str],
    measured: &mut Measured,
) {
    for part in parts.iter().copied().filter(|part| args.wants(part)) {
        bench.say(&format!("== {part}"));
        match one(bench, part).await {
            Ok(mut figures) => {
                figures.iter_mut().for_each(|one| conditions.note(one));
                figures.iter().for_each(report::line);
                measured.figures.extend(figures);
            }
            Err(error) => {
                let said = format!("{part}: {error:#}");
                bench.say(&said);
                measured.figures.extend(asked::unmeasured(part, &said));
                measured.failed.push(said);
            }
        }
        bench.set_loaded(part);
        if LEAVING_ORDERS.contains(&part)
            && let Err(error) = bench.forget_orders().await
        {
            let said = format!("after {part}: {error:#}");
            bench.say(&said);
            measured.failed.push(said);
        }
    }
}

async fn one(bench: &Bench, part: &str) -> Result<Vec<Figure>> {
    match part {
        "limits" => limits::run(bench).await,
        "verify" => verify_us::run(bench).await,
        "vault" => vault_us::run(bench).await,
        "keys" => rotate::run(bench).await,
        "login" => login::run(bench).await,
        "roster" => roster::run(bench).await,
        "memory" => memory::run(bench).await,
        "redeem" => redeem::run(bench).await,
        "buy" => buy::run(bench).await,
        "pay" => pay::run(bench).await,
        "relay" => relay::run(bench).await,
        "join" => join::run(bench).await,
        "growth" => growth::run(bench).await,
        _ => member::run(bench).await,
    }
}
