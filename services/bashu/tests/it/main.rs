//! The operator's commands as an operator runs them: the program itself, its exit codes and what
//! it prints, against the servers of the test world.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail it")]

mod audit;
mod configuration;
mod doctor;
mod keys;
mod migrate;
mod outage;
mod parked;
mod restored;
mod schema;
mod verify;
mod world;
