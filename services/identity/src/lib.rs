//! Who you are and what proves it: organisations, members, memberships, consents, logins, roles,
//! notices, signing keys; the only holder of personal data and of the keys that sign credentials
//! and access tokens, so it alone mints credentials.
//!
//! It deliberately knows nothing of what a credential is good for: passes and tickets are other
//! services', and here only their entitlements' windows.

pub mod commands;
pub mod consumers;
pub mod domain;
pub mod due;
pub mod error;
pub mod export_file;
pub mod graphql;
pub mod oidc;
mod outside;
pub mod publish;
pub mod queries;
pub mod rendering_file;
pub mod rest;
pub mod roster;
pub mod signing;
pub mod spelling;
pub mod store;
pub mod totp;
pub mod vault;
pub mod verifier;
pub mod verify;
pub mod wechat;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use kit::config::ConfigError;
use kit::migrate::{KIT, Migration};
use kit::replica::{Keys, Roots};
use kit::sealed::PublicKey;
use kit::{Ctx, Error, Result};
use secrecy::SecretString;
use serde::Deserialize;

pub use graphql::{schema, sdl};

use crate::oidc::IssuerSettings;
use crate::vault::{Vault, VaultKeys};
use crate::verifier::VerificationSettings;
use crate::wechat::MiniProgramSettings;

/// The service's name: its database, its topic `identity.v1`, its subgraph.
pub const NAME: &str = "identity";

/// The service's own tables. Kit's come before; kit's replica does not: here its names are views.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        name: "identity_0001",
        sql: include_str!("../migrations/0001_identity.sql"),
    },
    Migration {
        name: "identity_0002",
        sql: include_str!("../migrations/0002_rosters.sql"),
    },
    Migration {
        name: "identity_0003",
        sql: include_str!("../migrations/0003_memberships.sql"),
    },
    Migration {
        name: "identity_0004",
        sql: include_str!("../migrations/0004_review_timers.sql"),
    },
    Migration {
        name: "identity_0005",
        sql: include_str!("../migrations/0005_second_factors.sql"),
    },
    Migration {
        name: "identity_0006",
        sql: include_str!("../migrations/0006_outside_logins.sql"),
    },
    Migration {
        name: "identity_0007",
        sql: include_str!("../migrations/0007_consents.sql"),
    },
    Migration {
        name: "identity_0008",
        sql: include_str!("../migrations/0008_notices.sql"),
    },
    Migration {
        name: "identity_0009",
        sql: include_str!("../migrations/0009_role_terms.sql"),
    },
    Migration {
        name: "identity_0010",
        sql: include_str!("../migrations/0010_vault.sql"),
    },
    Migration {
        name: "identity_0011",
        sql: include_str!("../migrations/0011_search.sql"),
    },
    Migration {
        name: "identity_0012",
        sql: include_str!("../migrations/0012_merges.sql"),
    },
    Migration {
        name: "identity_0013",
        sql: include_str!("../migrations/0013_person_rights.sql"),
    },
    Migration {
        name: "identity_0014",
        sql: include_str!("../migrations/0014_renderings.sql"),
    },
    Migration {
        name: "identity_0015",
        sql: include_str!("../migrations/0015_verifications.sql"),
    },
    Migration {
        name: "identity_0016",
        sql: include_str!("../migrations/0016_guarded.sql"),
    },
    Migration {
        name: "identity_0017",
        sql: include_str!("../migrations/0017_together.sql"),
    },
    Migration {
        name: "identity_0018",
        sql: include_str!("../migrations/0018_apart.sql"),
    },
    Migration {
        name: "identity_0019",
        sql: include_str!("../migrations/0019_told_and_answered.sql"),
    },
    Migration {
        name: "identity_0020",
        sql: include_str!("../migrations/0020_phone_recoveries.sql"),
    },
    Migration {
        name: "identity_0021",
        sql: include_str!("../migrations/0021_rendered.sql"),
    },
    Migration {
        name: "identity_0022",
        sql: include_str!("../migrations/0022_phones.sql"),
    },
    Migration {
        name: "identity_0023",
        sql: include_str!("../migrations/0023_unlinked.sql"),
    },
    Migration {
        name: "identity_0024",
        sql: include_str!("../migrations/0024_purposes.sql"),
    },
];

/// All that this database needs, in order.
pub const ALL_MIGRATIONS: &[&[Migration]] = &[KIT, MIGRATIONS];

/// How long a call to the SMS provider may take.
const SMS_TIMEOUT: Duration = Duration::from_secs(5);

/// The section `identity` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Wraps the data keys and signing keys: 32 bytes in base64, as the next four.
    pub kek: SecretString,
    /// Opens what was wrapped by them and wraps nothing: the key that follows before it is the
    /// current one everywhere, and the one before until `bashu keys rewrap` has dropped it.
    #[serde(default)]
    pub other_keks: Vec<SecretString>,
    /// Persons and phones are found by hashes under it.
    pub blind_index_key: SecretString,
    /// Login codes follow from it.
    pub code_key: SecretString,
    /// Document tags of credentials follow from it.
    pub idtag_key: SecretString,
    pub sms: SmsSettings,
    /// The mini-program whose people may sign in by WeChat; nobody may where it is absent.
    #[serde(default)]
    pub wechat: Option<MiniProgramSettings>,
    /// OIDC issuers by whose word people may sign in.
    #[serde(default)]
    pub oidc: Vec<IssuerSettings>,
    /// The service that verifies persons; nobody is verified where it is absent.
    #[serde(default)]
    pub verification: Option<VerificationSettings>,
    /// The offline root's key file: development only, where keys are published by themselves.
    #[serde(default)]
    pub root_key_file: Option<PathBuf>,
    /// Whether who has set no second factor up may do without: development only.
    #[serde(default)]
    pub second_factor_optional: bool,
    /// Login codes that one address may ask for in an hour.
    #[serde(default = "codes_per_address")]
    pub codes_per_address_hour_max: i32,
}

/// The SMS provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmsSettings {
    /// In front of `/sms/send`.
    pub url: String,
    pub key: SecretString,
}

impl Settings {
    /// The vault of these keys.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub fn vault(&self) -> std::result::Result<Vault, ConfigError> {
        Vault::new(VaultKeys {
            kek: &self.kek,
            other_keks: &self.other_keks,
            blind_index_key: &self.blind_index_key,
            code_key: &self.code_key,
            idtag_key: &self.idtag_key,
        })
    }
}

const fn codes_per_address() -> i32 {
    120
}

/// The key of `identity.wechat.payer_key`.
fn payer_key(settings: &Settings) -> std::result::Result<Option<PublicKey>, ConfigError> {
    let text = settings
        .wechat
        .as_ref()
        .and_then(|it| it.payer_key.as_deref());
    text.map(|text| {
        PublicKey::parse(text).ok_or_else(|| {
            ConfigError::new("identity.wechat.payer_key", "must be 32 bytes in base64")
        })
    })
    .transpose()
}

/// The service: cheap to clone.
#[derive(Clone, Debug)]
pub struct Identity {
    pub ctx: Ctx,
    pub vault: Vault,
    pub settings: Arc<Settings>,
    /// The published keys, as every service holds them.
    pub keys: Keys,
    /// Partitions of the topic, for the heartbeat.
    pub partitions: i32,
    /// What a payer's openid is sealed to billing with.
    payer_key: Option<PublicKey>,
    http: reqwest::Client,
}

impl Identity {
    /// Checks the keys of the settings. `roots` are the public halves of the unions' roots,
    /// `partitions` those of identity's topic. [`Identity::open`] must follow.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub fn new(
        ctx: Ctx,
        settings: Settings,
        roots: Roots,
        partitions: i32,
    ) -> std::result::Result<Self, ConfigError> {
        let vault = settings.vault()?;
        outside::check(&settings)?;
        let http = reqwest::Client::builder()
            .timeout(SMS_TIMEOUT)
            .no_proxy()
            // A redirect would carry phone and code to wherever it points.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| ConfigError::new("identity.sms", "no HTTP client can be made"))?;
        let payer_key = payer_key(&settings)?;
        let keys = Keys::new(ctx.union, roots);
        Ok(Self {
            ctx,
            vault,
            settings: Arc::new(settings),
            keys,
            partitions,
            payer_key,
            http,
        })
    }

    /// Refuses to start with other keys than the database was written with, and plans what
    /// recurs. Publishes signing keys where the root is at hand, and new texts of consents.
    ///
    /// # Errors
    /// When the keys are others, or the database fails.
    pub async fn open(&self) -> Result<()> {
        commands::keks::check(&self.ctx, &self.vault).await?;
        commands::operator::ensure_root(&self.ctx).await?;
        commands::consents::announce_texts(&self.ctx).await?;
        if let Some(root) = self.root()? {
            commands::keys::maintain(&self.ctx, &self.vault, &root).await?;
        }
        self.ctx
            .db
            .tx("plan", async |tx| {
                due::plan(tx);
                Ok(())
            })
            .await
    }

    /// The root key, where its file is configured.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn root(&self) -> Result<Option<SigningKey>> {
        let Some(path) = &self.settings.root_key_file else {
            return Ok(None);
        };
        commands::keys::read_root(path)
            .map(Some)
            .map_err(|_| Error::internal("identity.root_key_file cannot be read"))
    }

    /// What it does with what services answer about a person.
    pub fn persons(&self) -> consumers::persons::Persons {
        consumers::persons::Persons {
            vault: self.vault.clone(),
        }
    }

    /// As the process runs it: GraphQL, REST, due work, relay, consumer and keys.
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
        let partitions = self.partitions;
        kit::serve::Service::new(self.ctx.clone())
            .graphql(kit::graphql::router(schema(self, mode), edge))
            .rest(rest::routes(self), kit::http::REST_BODY_BYTES_MAX)
            .rest(rest::rosters::routes(self), roster::FILE_BYTES_MAX)
            .rest(rest::exports::routes(self), kit::http::REST_BODY_BYTES_MAX)
            .rest(
                rest::renderings::routes(self),
                kit::http::REST_BODY_BYTES_MAX,
            )
            .due(due::Jobs(self.clone()))
            .migrations(ALL_MIGRATIONS)
            .keys(&self.keys)
            .add_loop("heartbeat", move |ctx, stop| {
                due::heartbeat_loop(ctx, partitions, stop)
            })
            .relay(bus)
            .consume(bus, consumers::Entitlements)
            .consume(bus, consumers::notices::Notices)
            .consume(bus, self.persons())
            .consume(bus, consumers::renders::Renders)
    }
}
