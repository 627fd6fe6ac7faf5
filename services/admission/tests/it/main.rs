//! The service on a real PostgreSQL: commands and the graph in process, events of others by
//! calling their handler, and every promise of `verify` after each story.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect fails"
)]

mod audited;
mod authorised;
mod bad_codes;
mod bad_input;
mod bounds;
mod by_hand;
mod codes;
mod doors;
mod gates;
mod graph;
mod held;
mod keys;
mod limits;
mod occupancy;
mod persons;
mod races;
mod reservations;
mod seen;
mod staff;
mod standing;
mod step_up;
mod unguarded;
mod unseen;
mod venues;
mod visits;
mod world;
