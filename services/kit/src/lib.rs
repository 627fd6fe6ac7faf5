//! The chassis every service stands on: ids, time, transactions, idempotency, lanes, due work,
//! the outbox with its relay and consumer, the one replica of identity's roles and keys, the
//! GraphQL and REST listeners, health and telemetry.
//!
//! It deliberately knows no business word beyond what identity publishes about who may do what.

pub mod access;
pub mod audit;
pub mod bus;
pub mod clock;
pub mod config;
pub mod consent;
pub mod consumer;
pub mod ctx;
pub mod db;
pub mod drift;
pub mod due;
pub mod error;
pub mod event;
pub mod graphql;
pub mod http;
pub mod ids;
pub mod lane;
pub mod migrate;
pub mod once;
pub mod outbox;
pub mod parked;
pub mod person;
pub mod redis;
pub mod relay;
pub mod replica;
pub mod resync;
pub mod sealed;
pub mod serve;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod token;
pub mod told;
pub mod tx;
pub mod types;
pub mod verify;

pub use clock::Clock;
pub use ctx::Ctx;
pub use db::Db;
pub use error::{Error, Refusal, Result};
pub use ids::Ids;
pub use tx::Tx;
