//! The federated GraphQL door of one union: hive-router as a library, with our plugin in it.
//! It authenticates, limits, refuses what would cost too much, signs what it sends to the
//! subgraphs, and joins their graphs. It owns no data and knows no business: all that a client
//! may do is decided by the subgraphs, which check the token again.

// The router's middlewares nest deeper than the default allows.
#![recursion_limit = "256"]

mod ambient;
mod blocks;
mod config;
mod door;
mod headers;
mod hexadecimal;
mod keys;
mod limiter;
mod locale;
mod operations;
mod plugin;
mod refusal;
mod room;
mod router_config;
mod server;
mod sign;
mod token;
mod underway;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use hive_router::{RouterGlobalAllocator, configure_global_allocator};

// The router's own program has it: what it does is mostly small pieces of memory.
configure_global_allocator!();

/// Threads that speak to Redis and identity beside the router's own.
const BACKGROUND_THREADS: usize = 2;

/// The GraphQL gateway of one union.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Configuration file (TOML); BASHU_GATEWAY_* in the environment wins over it.
    #[arg(long, env = "BASHU_GATEWAY_CONFIG")]
    config: Option<PathBuf>,
    /// Check the configuration and end.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            eprintln!("bashu-gateway: {text}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let settings = config::load(arguments.config.as_deref())?;
    let router = router_config::build(&settings)?;
    if arguments.check {
        println!("configuration is good: {settings:?}");
        return Ok(());
    }
    let operations = settings.operations;
    let background = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(BACKGROUND_THREADS)
        .thread_name("background")
        .enable_all()
        .build()?;
    let room = room::Room::new()?;
    let door = door::Door::new(settings, room.clone(), background.handle().clone())?;
    plugin::install(door);
    server::run(router, operations, room)?;
    background.shutdown_background();
    Ok(())
}
