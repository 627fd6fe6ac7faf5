//! What kit promises, proved on a real PostgreSQL and a real Kafka: `deploy/dev/with test --
//! cargo test -p kit`.
//!
//! Each race is also shown with its guard off, so that the checker is known to see it.

mod consumer;
mod epoch;
mod memory;
mod parked;
mod relay;
mod world;
