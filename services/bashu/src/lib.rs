//! `bashu`: every service of a union and every command of its operators in one program.
//!
//! Public is what the tests across services share with the journeys: the client, the people, the
//! gate and where a development world is. It promises nothing to anybody else.

mod audit;
mod broker;
mod cli;
pub mod client;
pub mod demo;
pub mod dev;
mod doctor;
mod documents;
pub mod journey;
mod keys;
mod migrate;
mod operator;
mod output;
mod parked;
mod registry;
mod restored;
mod resync;
mod say;
mod schema;
mod serve;
mod stack;
pub mod verify;

use std::process::ExitCode;

use clap::Parser;

/// Runs the command that this process was started with; its exit code.
pub async fn run() -> ExitCode {
    cli::Cli::parse().run().await
}
