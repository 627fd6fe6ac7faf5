//! Passes on a real PostgreSQL: the graph in process, the events of others by their handler, due
//! work step by step.

#![expect(clippy::unwrap_used, reason = "what a test relies on fails it")]

mod audited;
mod authorised;
mod bad_input;
mod events;
mod forgotten;
mod holder_lists;
mod lifecycle;
mod members;
mod persons;
mod products;
mod purchase;
mod races;
mod refund;
mod reissue;
mod reservation_races;
mod reservations;
mod resync;
mod step_up;
mod unguarded;
mod views;
mod world;
