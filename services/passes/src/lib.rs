//! Annual passes: products as data, their sale, and the life of a pass from purchase to refund.
//! It grants the entitlement a pass is.
//!
//! It deliberately knows no money beyond a price (billing's), no gate (admission's) and no name
//! (identity's).

pub mod commands;
pub mod consumers;
pub mod domain;
pub mod due;
pub mod error;
pub mod graphql;
pub mod publish;
pub mod queries;
pub mod settings;
pub mod store;
pub mod verify;

use kit::access::Caller;
use kit::bus::Bus;
use kit::config::ConfigError;
use kit::graphql::{EdgeOptions, GatewayKey, Mode};
use kit::lane::Lane;
use kit::migrate::{KIT, Migration, REPLICA};
use kit::redis::Cache;
use kit::replica::{Keys, Replica, Roots};
use kit::{Ctx, Result};

use crate::commands::{BuyPass, Purchase, VisitRequest, Wish};
use crate::domain::{Pass, ProductId, Slot};
use crate::queries::TermsMemory;
pub use crate::settings::Settings;

/// The service's name: its database, its topic `passes.v1`, its subgraph.
pub const NAME: &str = "passes";

/// The service's own tables; kit's and the replica's come before.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "passes_0001",
        sql: include_str!("../migrations/0001_passes.sql"),
    },
    Migration {
        name: "passes_0002",
        sql: include_str!("../migrations/0002_reissue.sql"),
    },
    Migration {
        name: "passes_0003",
        sql: include_str!("../migrations/0003_reservations.sql"),
    },
    Migration {
        name: "passes_0004",
        sql: include_str!("../migrations/0004_holder_lists.sql"),
    },
];

/// All that this database needs, in order.
pub const ALL_MIGRATIONS: &[&[Migration]] = &[KIT, REPLICA, MIGRATIONS];

/// The service: cheap to clone.
#[derive(Clone, Debug)]
pub struct Passes {
    pub ctx: Ctx,
    cache: Option<(Cache, u64)>,
    terms: TermsMemory,
    purchases: Lane<ProductId, Purchase, Pass>,
    wishes: Lane<Slot, Wish, Pass>,
}

impl Passes {
    /// Checks the settings. Without a `cache` the catalogue is read from PostgreSQL each time.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub fn new(
        ctx: Ctx,
        settings: &Settings,
        cache: Option<Cache>,
    ) -> std::result::Result<Self, ConfigError> {
        let key = settings.key()?;
        let lane_ctx = ctx.clone();
        let purchases = Lane::new("buy_pass", move |product, purchases| {
            commands::buy_batch(lane_ctx.clone(), key.clone(), product, purchases)
        });
        let lane_ctx = ctx.clone();
        let wishes = Lane::new("reserve_visit", move |slot, wishes| {
            commands::reserve_batch(lane_ctx.clone(), slot, wishes)
        });
        let seconds = settings.catalogue_seconds;
        let cache = cache.filter(|_| seconds > 0).map(|cache| (cache, seconds));
        Ok(Self {
            ctx,
            cache,
            terms: TermsMemory::default(),
            purchases,
            wishes,
        })
    }

    /// Buys a pass for the caller herself, in the lane of its product.
    ///
    /// # Errors
    /// Why she cannot have it; overloaded, when the lane is full.
    pub async fn buy(&self, caller: &Caller, request: BuyPass) -> Result<Pass> {
        // A lane is opened for products only, not for whatever id somebody sends.
        if !self.is_product(request.product).await? {
            return Err(kit::Error::NotFound);
        }
        let purchase = Purchase {
            caller: caller.clone(),
            request,
        };
        self.purchases.run(request.product, purchase).await
    }

    /// Reserves a visit with a pass of the caller's own, in the lane of the venue's day.
    ///
    /// # Errors
    /// Why she cannot have it; overloaded, when the lane is full.
    pub async fn reserve(
        &self,
        caller: &Caller,
        slot: Slot,
        request: VisitRequest,
    ) -> Result<Pass> {
        self.may_queue(caller, slot, request.pass).await?;
        let wish = Wish {
            caller: caller.clone(),
            request,
        };
        self.wishes.run(slot, wish).await
    }

    /// What this service does with the events of billing and admission.
    pub fn follower(&self) -> consumers::Follower {
        consumers::Follower {
            union: self.ctx.union,
        }
    }

    /// This service's timers.
    pub fn timers(&self) -> due::Timers {
        due::Timers {
            ctx: self.ctx.clone(),
        }
    }

    /// What `bashu resync passes` says again.
    pub fn source(&self) -> publish::Resync {
        publish::Resync {
            union: self.ctx.union,
        }
    }

    /// As the process runs it: GraphQL, due work, relay, consumers and keys. It has no REST.
    pub fn service(
        &self,
        gateway_key: GatewayKey,
        mode: Mode,
        (roots, bus): (Roots, &Bus),
    ) -> kit::serve::Service {
        let keys = Keys::new(self.ctx.union, roots.clone());
        let edge = EdgeOptions {
            ctx: self.ctx.clone(),
            gateway_key,
            access_keys: keys.access().clone(),
            mode,
        };
        kit::serve::Service::new(self.ctx.clone())
            .graphql(kit::graphql::router(graphql::schema(self, mode), edge))
            .due(self.timers())
            .migrations(ALL_MIGRATIONS)
            .keys(&keys)
            .relay(bus)
            .consume(bus, self.follower())
            .consume(bus, consumers::person::persons(self.ctx.union))
            .consume(bus, Replica::new(roots))
    }
}
