//! Orders' money: payments and refunds at WeChat Pay, the ledger, the daily comparison with the
//! provider's bill. Only billing ends an order.
//!
//! It deliberately knows nothing of what is sold: a line is a person, a title and a price, and
//! what a return is worth is computed by its seller.

pub mod commands;
pub mod consumers;
pub mod domain;
pub mod due;
pub mod error;
pub mod graphql;
pub mod publish;
pub mod queries;
pub mod rest;
pub mod store;
pub mod verify;
pub mod wechat;

use std::sync::Arc;

use kit::Ctx;
use kit::config::ConfigError;
use kit::migrate::{KIT, Migration, REPLICA};
use kit::replica::{Keys, Replica, Roots};
use serde::Deserialize;

pub use graphql::{schema, sdl};
pub use wechat::WechatSettings;

use crate::wechat::{Client, Merchant};

/// The service's name: its database, its topic `billing.v1`, its subgraph.
pub const NAME: &str = "billing";

/// The service's own tables.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "billing_0001",
        sql: include_str!("../migrations/0001_billing.sql"),
    },
    Migration {
        name: "billing_0002",
        sql: include_str!("../migrations/0002_closed_attempt.sql"),
    },
    Migration {
        name: "billing_0003",
        sql: include_str!("../migrations/0003_jsapi.sql"),
    },
];

/// All that this database needs, in order.
pub const ALL_MIGRATIONS: &[&[Migration]] = &[KIT, REPLICA, MIGRATIONS];

/// The section `billing` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub wechat: WechatSettings,
}

/// The service: cheap to clone.
#[derive(Clone, Debug)]
pub struct Billing {
    pub ctx: Ctx,
    /// The union's line to the provider.
    pub wechat: Arc<Client>,
    /// The published keys, as every service holds them.
    pub keys: Keys,
    roots: Roots,
}

impl Billing {
    /// Checks the settings. `roots` are the public halves of the unions' roots. [`Billing::open`]
    /// should follow.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub fn new(ctx: Ctx, settings: &Settings, roots: Roots) -> Result<Self, ConfigError> {
        let merchant = Merchant::load(&settings.wechat)?;
        let client = Client::new(merchant, ctx.clock.clone(), ctx.ids.clone())
            .map_err(|_| ConfigError::new("billing.wechat", "no HTTP client can be made"))?;
        let keys = Keys::new(ctx.union, roots.clone());
        Ok(Self {
            ctx,
            wechat: Arc::new(client),
            keys,
            roots,
        })
    }

    /// As the process runs it: GraphQL, REST, due work, relay, consumers and keys.
    pub fn service(
        &self,
        gateway_key: kit::graphql::GatewayKey,
        mode: kit::graphql::Mode,
        bus: &kit::bus::Bus,
    ) -> kit::serve::Service {
        let edge = kit::graphql::EdgeOptions {
            ctx: self.ctx.clone(),
            gateway_key,
            access_keys: self.keys.access().clone(),
            mode,
        };
        let union = self.ctx.union;
        kit::serve::Service::new(self.ctx.clone())
            .graphql(kit::graphql::router(schema(self, mode), edge))
            .rest(rest::routes(self), rest::NOTIFICATION_BYTES_MAX)
            .due(due::Jobs(self.clone()))
            .migrations(ALL_MIGRATIONS)
            .keys(&self.keys)
            .relay(bus)
            .consume(bus, Replica::new(self.roots.clone()))
            .consume(bus, consumers::Sellers { union })
            .consume(bus, consumers::person::PERSONS)
    }
}
