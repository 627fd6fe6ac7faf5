//! `bashu`: every service of a union and every command of its operators in one program.

mod broker;
mod cli;
mod client;
mod demo;
mod dev;
mod doctor;
mod journey;
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
mod verify;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    cli::Cli::parse().run().await
}
