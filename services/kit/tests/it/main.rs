//! What kit promises, proved on a real PostgreSQL and a real Kafka: `deploy/dev/with test --
//! cargo test -p kit`.
//!
//! Each race is also shown with its guard off, so that the checker is known to see it.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail it")]
#![expect(
    clippy::disallowed_methods,
    reason = "a test waits for the tasks it spawns"
)]

mod audit;
mod audit_quick;
mod audit_restored;
mod clean_up;
mod consumer;
mod due;
mod due_run;
mod epoch;
mod flow;
mod lane;
mod memory;
mod migrate;
mod odd;
mod once;
mod parked;
mod passing;
mod persons;
mod raw;
mod relay;
mod tick;
mod tx;
mod unguarded;
mod world;
