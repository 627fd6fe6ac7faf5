//! `bashu dev`: both unions on this machine, as `make run` shows them.
//!
//! It expects the servers of `deploy/dev` to be up, makes secrets and configurations once, runs
//! migrations, starts the providers' stand-ins, a process of all services and a gateway for each
//! union, loads the demonstration world through the gateways, plays the journeys, prints what
//! each step answered, verifies what they left, and stays until it is told to stop. Nothing here
//! is for production.

mod children;
mod files;
mod leftover;
mod settings;

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use futures::stream::{FuturesUnordered, StreamExt};
use kit::types::Union;

use crate::output::{Outcome, Output};
use crate::say::Say;
use crate::{demo, journey, verify};
pub(crate) use children::command;
use children::{Program, Running};
pub(crate) use files::{write_private, write_private_bytes};
pub use settings::World;
#[cfg(test)]
pub(crate) use settings::{GATEWAY_PORT, SANDBOX_PORT};

/// Address space of each process, at most: twice what one maps while the journeys are played, 1.5,
/// 2.7 and 1.9 GiB. Most of it is reserved and never touched: allocators' arenas, threads' stacks.
const SANDBOX_MAPPED_BYTES_MAX: u64 = 3 << 30;
const SERVICES_MAPPED_BYTES_MAX: u64 = 6 << 30;
const GATEWAY_MAPPED_BYTES_MAX: u64 = 4 << 30;

/// What `bashu dev` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct DevArgs {
    /// Where the servers of deploy/dev keep their files
    #[arg(long, env = "BASHU_DEV_DIR", default_value = ".dev/run")]
    pub folder: PathBuf,
    /// The gateway's program
    #[arg(
        long,
        env = "BASHU_GATEWAY_BIN",
        default_value = ".dev/bin/bashu-gateway"
    )]
    pub gateway: PathBuf,
    /// The composed graph that the gateways serve
    #[arg(long, default_value = "schema/supergraph.graphql")]
    pub supergraph: PathBuf,
    /// Added to every port; as the last time when absent
    #[arg(long, env = "BASHU_PORT_OFFSET")]
    pub port_offset: Option<u16>,
    /// Members of the demonstration world, in each union
    #[arg(long, default_value_t = 1500)]
    pub members: u32,
    /// The unions to run
    #[arg(long = "union", value_name = "50|51", value_parser = union_of,
          default_values_t = Union::ALL)]
    pub unions: Vec<Union>,
    /// End after the journeys instead of staying up
    #[arg(long)]
    pub once: bool,
    /// Only write the configurations and run the migrations: another program starts the processes
    #[arg(long, conflicts_with = "once")]
    pub prepare: bool,
}

fn union_of(text: &str) -> Result<Union, String> {
    Union::ALL
        .into_iter()
        .find(|union| union.to_string() == text)
        .ok_or_else(|| "50 or 51".to_owned())
}

/// Starts everything, plays, stays, stops.
///
/// # Errors
/// When something does not start, or a journey does not go as it must.
pub(crate) async fn run(args: DevArgs, output: Output) -> Result<()> {
    let say = Say::to(output);
    let began = Instant::now();
    let stop = kit::serve::on_termination()?;
    // Before its configurations are written anew: another run may live by them.
    let _alone = alone(&args)?;
    let world = World::prepare(&args)?;
    for union in world.unions() {
        let ran = crate::migrate::union(&world.config(union)?).await?;
        say.step(&format!("union {union}: {ran} migrations run"));
    }
    if args.prepare {
        return say.show(output);
    }
    for id in leftover::end_all(&world.processes()).await? {
        say.step(&format!(
            "process {id} of an earlier run was still there; it is ended"
        ));
    }
    let mut children = Vec::new();
    let outcome = tokio::select! {
        outcome = start_and_play(&args, &world, &mut children, &say) => outcome.map(|()| true),
        () = stop.cancelled() => Ok(false),
    };
    let outcome = match outcome {
        Ok(true) if !args.once => {
            say.step(&format!("up after {:.1} s", began.elapsed().as_secs_f64()));
            world.print_addresses(args.members, &say);
            say.show(output)?;
            tokio::select! {
                ended = first_end(&mut children) => ended,
                () = stop.cancelled() => Ok(()),
            }
        }
        Ok(_) => say.show(output),
        Err(error) => Err(error),
    };
    say.step("stopping");
    // The gateways first, so that nothing new comes in.
    for child in children.into_iter().rev() {
        child.stop().await;
    }
    outcome
}

/// Held while this process runs the world; the kernel lets go of it however it ends.
fn alone(args: &DevArgs) -> Result<File> {
    let path = args.folder.join("dev.lock");
    let lock = File::create(&path).with_context(|| {
        format!(
            "{} is missing: run deploy/dev/up run",
            args.folder.display()
        )
    })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            bail!("another `bashu dev` runs this world; stop that one first / 此环境已在运行")
        }
        Err(TryLockError::Error(error)) => Err(error).context(path.display().to_string()),
    }
}

async fn start_and_play(
    args: &DevArgs,
    world: &World,
    children: &mut Vec<Running>,
    say: &Say,
) -> Result<()> {
    children.push(Running::start(sandbox(world))?);
    for union in world.unions() {
        children.push(Running::start(services(world, union)?)?);
    }
    all_ready(children, say).await?;
    // Only now, so that they find identity's keys at their first look.
    let before = children.len();
    for union in world.unions() {
        children.push(Running::start(gateway(args, world, union))?);
    }
    all_ready(&mut children[before..], say).await?;
    for union in world.unions() {
        demo::load(world, union, args.members, say)
            .await
            .with_context(|| format!("the demonstration world of union {union}"))?;
    }
    journey::play(world, args.members, say).await?;
    verified(world, say).await
}

/// Looks at what the journeys left behind, while everything runs: a process that was told to stop
/// may have published what nobody was left to hear.
async fn verified(world: &World, say: &Say) -> Result<()> {
    say.title("核对不变量 / the promises hold (bashu verify)");
    let files: Vec<PathBuf> = world
        .unions()
        .map(|union| world.config_path(union))
        .collect();
    let (said, outcome) = verify::running(&files, Output::new(false, "en")).await?;
    if outcome != Outcome::Well {
        bail!("what the journeys left behind is not as it must be:\n{said}");
    }
    said.lines().for_each(|line| say.step(line));
    Ok(())
}

async fn all_ready(children: &mut [Running], say: &Say) -> Result<()> {
    for child in children {
        child.ready().await?;
        say.step(&format!("{} 就绪 / ready", child.name));
    }
    Ok(())
}

fn sandbox(world: &World) -> Program {
    Program {
        name: "the providers' sandbox".to_owned(),
        path: world.own_program().to_owned(),
        arguments: world.sandbox_arguments(),
        variables: Vec::new(),
        log: world.log(None, "sandbox"),
        folder: world.processes().join("sandbox"),
        ready: format!("{}/", world.sandbox()),
        mapped_bytes_max: SANDBOX_MAPPED_BYTES_MAX,
    }
}

fn services(world: &World, union: Union) -> Result<Program> {
    let config = world.config_path(union).display().to_string();
    Ok(Program {
        name: format!("the services of union {union}"),
        path: world.own_program().to_owned(),
        arguments: vec!["serve".to_owned(), "all".to_owned()],
        variables: vec![("BASHU_CONFIG".to_owned(), config)],
        log: world.log(Some(union), "bashu"),
        folder: world.processes().join(format!("bashu-{union}")),
        ready: format!("{}/ready", world.config(union)?.listen.ops()),
        mapped_bytes_max: SERVICES_MAPPED_BYTES_MAX,
    })
}

fn gateway(args: &DevArgs, world: &World, union: Union) -> Program {
    let config = world.gateway_path(union).display().to_string();
    Program {
        name: format!("the gateway of union {union}"),
        path: args.gateway.clone(),
        arguments: vec!["--config".to_owned(), config],
        variables: Vec::new(),
        log: world.log(Some(union), "gateway"),
        folder: world.processes().join(format!("gateway-{union}")),
        ready: format!("{}/ready", world.gateway_operations(union)),
        mapped_bytes_max: GATEWAY_MAPPED_BYTES_MAX,
    }
}

async fn first_end(children: &mut [Running]) -> Result<()> {
    let mut ends: FuturesUnordered<_> = children
        .iter_mut()
        .map(|child| async move {
            let name = child.name.clone();
            (name, child.ended().await)
        })
        .collect();
    match ends.next().await {
        Some((name, status)) => bail!("{name} ended by itself: {}", status?),
        None => Ok(()),
    }
}
