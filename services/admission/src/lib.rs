//! Admission: venues and gates, and the scan that lets a person in.
//!
//! It knows entitlements and never their holders. It asks no other service: what it needs of
//! them comes by events, and a credential whose event has not come is admitted on its signature,
//! within a budget. One row has one writer, and one order of locks is kept everywhere:
//! entitlements by id, then the venue's counter, then anything else.

pub mod commands;
pub mod consumers;
pub mod domain;
pub mod due;
pub mod error;
pub mod gate_key;
mod gates;
pub mod graphql;
pub mod publish;
pub mod queries;
pub mod store;
pub mod verify;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use kit::Ctx;
use kit::bus::Bus;
use kit::graphql::{EdgeOptions, GatewayKey, Mode};
use kit::migrate::{KIT, Migration, REPLICA};
use kit::redis::Cache;
use kit::replica::{Keys, Replica, Roots};
use serde::Deserialize;

pub use consumers::Grants;
pub use due::AdmissionWork;
pub use graphql::{Schema, schema, sdl};
pub use publish::AdmissionSource;

/// The service's name: its database, its topic `admission.v1`, its subgraph.
pub const NAME: &str = "admission";

/// This service's own tables; kit's and the replica's come before.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "admission_0001",
        sql: include_str!("../migrations/0001_admission.sql"),
    },
    Migration {
        name: "admission_0002",
        sql: include_str!("../migrations/0002_by_hand.sql"),
    },
    Migration {
        name: "admission_0003",
        sql: include_str!("../migrations/0003_reservations.sql"),
    },
    Migration {
        name: "admission_0004",
        sql: include_str!("../migrations/0004_shift_factor.sql"),
    },
];

/// All that this database needs, in order.
pub const ALL_MIGRATIONS: &[&[Migration]] = &[KIT, REPLICA, MIGRATIONS];

/// How long the key sets are not read again for an unknown key, in milliseconds: nobody makes
/// the database work by showing bad codes.
const RELOAD_MS: i64 = 1_000;

/// The service's section of the configuration: there is nothing to set yet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {}

/// The service. Cheap to clone; clones share its lane.
#[derive(Clone, Debug)]
pub struct Admission {
    pub ctx: Ctx,
    /// What credentials are verified with.
    pub keys: Keys,
    /// Read-through memory for the public list of venues; `None` reads PostgreSQL.
    pub cache: Option<Cache>,
    pub(crate) lane: commands::redeem::Scans,
    pub(crate) gates: gates::Gates,
    pub(crate) reload: Reload,
}

impl Admission {
    /// The service over its context.
    pub fn new(ctx: Ctx, keys: Keys, cache: Option<Cache>, settings: Settings) -> Self {
        let Settings {} = settings;
        let lane = commands::redeem::lane(&ctx);
        Self {
            ctx,
            keys,
            cache,
            lane,
            gates: gates::Gates::default(),
            reload: Reload::default(),
        }
    }

    /// What it does with the events of others; kit's replica of identity comes beside.
    pub fn grants(&self) -> Grants {
        Grants::new(self.ctx.union)
    }

    /// Its due work.
    pub fn work(&self) -> AdmissionWork {
        AdmissionWork::new(self.ctx.clone())
    }

    /// What it can say again.
    pub fn source(&self) -> AdmissionSource {
        AdmissionSource::new(self.ctx.union)
    }

    /// As the process runs it: GraphQL, due work, relay, consumers and keys. It has no REST: gates
    /// speak GraphQL.
    pub fn service(
        &self,
        gateway_key: GatewayKey,
        mode: Mode,
        (roots, bus): (Roots, &Bus),
    ) -> kit::serve::Service {
        let edge = EdgeOptions {
            ctx: self.ctx.clone(),
            gateway_key,
            access_keys: self.keys.access().clone(),
            mode,
        };
        kit::serve::Service::new(self.ctx.clone())
            .graphql(kit::graphql::router(schema(self, mode), edge))
            .due(self.work())
            .migrations(ALL_MIGRATIONS)
            .keys(&self.keys)
            .relay(bus)
            .consume(bus, self.grants())
            .consume(bus, consumers::person::PERSONS)
            .consume(bus, Replica::new(roots))
    }
}

/// Allows one reading of the key sets in a while.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reload(Arc<AtomicI64>);

impl Reload {
    pub(crate) fn allows(&self, now: DateTime<Utc>) -> bool {
        let now = now.timestamp_millis();
        let last = self.0.load(Ordering::Relaxed);
        now.saturating_sub(last) >= RELOAD_MS
            && self
                .0
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}
