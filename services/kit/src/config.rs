//! Configuration: defaults, then a TOML file, then `BASHU_*` variables of the environment with
//! `__` between levels. Read once, here and nowhere else; an unknown key or a bad value refuses
//! to boot and names the field, and no value is ever shown.
//!
//! The file is named by `BASHU_CONFIG`. What a service alone needs is a section of its own,
//! typed by that service ([`Config::section`]).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use axum::http::Uri;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::db::DbOptions;
use crate::graphql::{GatewayKey, Mode};
use crate::types::Union;

mod sections;

use sections::Sections;

const PREFIX: &str = "BASHU_";
/// The variable that names the file.
const FILE_VARIABLE: &str = "BASHU_CONFIG";
/// Variables of other programs of the project, which are no keys of this one.
const FOREIGN: [&str; 3] = ["BASHU_DEV_DIR", "BASHU_BIN", FILE_VARIABLE];
/// What the gateway's own variables begin with; it reads them as strictly.
const GATEWAY_PREFIX: &str = "BASHU_GATEWAY_";
/// The services that have a section of their own, which they type. Any other is an unknown key.
pub const SERVICES: [&str; 4] = ["identity", "passes", "billing", "admission"];
/// The order of the ports, with a place for each service that is planned, so that none moves.
const PLACES: [&str; 8] = [
    "identity",
    "passes",
    "ticketing",
    "events",
    "billing",
    "admission",
    "exchange",
    "sandbox",
];
const PASSWORD_BYTES_MIN: usize = 12;
const CONNECTIONS_MAX: u32 = 50;
const PARTITIONS_MAX: i32 = 64;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Why the process does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("configuration: `{field}` ({source_name}): {reason}")]
pub struct ConfigError {
    /// The key at fault, `postgres.port`.
    pub field: String,
    /// Where it was set: the file, the variable, or "default".
    pub source_name: String,
    /// What is wrong with it, without its value.
    pub reason: String,
}

impl ConfigError {
    /// A value that a service's own check refuses.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            source_name: "checked".to_owned(),
            reason: reason.into(),
        }
    }
}

/// What a process needs to know. Nothing in it shows a secret in `Debug`.
#[derive(Clone, Debug)]
pub struct Config {
    /// The union whose stack this is.
    pub union: Union,
    pub mode: Mode,
    pub postgres: Postgres,
    pub redis_url: SecretString,
    pub kafka: Kafka,
    /// What the gateway signs its requests with.
    pub subgraph_key: GatewayKey,
    pub listen: Listen,
    /// Where traces go, `http://127.0.0.1:4318`; nowhere when absent.
    pub otlp_endpoint: Option<String>,
    /// The Ed25519 public key of the offline root that signs the key set.
    pub root_public_key: [u8; 32],
    /// Where files live: rendered documents, sealed keys.
    pub data_dir: PathBuf,
    /// What is logged: a level, or directives of tracing's `EnvFilter`.
    pub log: String,
    sections: Sections,
}

/// One cluster; a database per service, of the service's name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    pub host: String,
    pub port: u16,
    /// The application role.
    pub user: String,
    pub password: SecretString,
    /// Connections of one service, at most.
    pub connections_max: u32,
    /// The owner role, for `migrate` only.
    #[serde(default)]
    pub owner: Option<Owner>,
    /// In front of every database's name: empty but in tests.
    #[serde(default)]
    pub database_prefix: String,
    /// Certificates, in PEM, of whoever signs that of a server elsewhere, if it is the union's own
    /// authority. A server elsewhere is spoken to by TLS alone, and only under its own name.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// The role that owns the databases and changes tables.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    pub user: String,
    pub password: SecretString,
}

impl Postgres {
    /// How the application role reaches a service's database.
    pub fn options(&self, service: &str) -> DbOptions {
        self.as_role(service, &self.user, &self.password, self.connections_max)
    }

    /// How the owner role reaches it; `None` when no owner is configured.
    pub fn owner_options(&self, service: &str) -> Option<DbOptions> {
        let owner = self.owner.as_ref()?;
        Some(self.as_role(service, &owner.user, &owner.password, 2))
    }

    fn as_role(
        &self,
        service: &str,
        user: &str,
        password: &SecretString,
        connections_max: u32,
    ) -> DbOptions {
        let Self {
            host,
            port,
            database_prefix,
            ..
        } = self;
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        let (user, password) = (escaped(user), escaped(password.expose_secret()));
        let tls = self.tls();
        let url =
            format!("postgres://{user}:{password}@{host}:{port}/{database_prefix}{service}{tls}");
        DbOptions {
            url,
            connections_max,
        }
    }

    /// What the address says of TLS: nothing on this machine, all that there is elsewhere.
    fn tls(&self) -> String {
        if is_loopback(&self.host) {
            return String::new();
        }
        let authority = self.ca_file.as_ref().map(|path| {
            let path = escaped(&path.to_string_lossy());
            format!("&sslrootcert={path}")
        });
        format!("?sslmode=verify-full{}", authority.unwrap_or_default())
    }
}

/// Percent-encodes all that is not unreserved in a URL (RFC 3986, 2.3).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// `host:port`, comma-separated.
    pub brokers: String,
    /// Partitions of a topic when it is made: 2 in development, 12 in production.
    pub partitions: i32,
    /// In front of every topic and group: empty but in tests.
    #[serde(default)]
    pub prefix: String,
}

/// Where the listeners are. Every port can be set; the rest follow from `base_port`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Of the loopback: listeners speak plain HTTP, and a proxy on this machine ends TLS.
    pub address: IpAddr,
    /// GraphQL of identity is at `base_port`, of passes at 1 more, of billing at 4, of admission
    /// at 5; REST at `base_port + 50`, operations at `base_port + 60`. 0: any free port for each.
    pub base_port: u16,
    #[serde(default)]
    pub rest_port: Option<u16>,
    #[serde(default)]
    pub ops_port: Option<u16>,
    /// GraphQL ports by service.
    #[serde(default)]
    pub graphql_ports: BTreeMap<String, u16>,
}

impl Listen {
    const REST: u16 = 50;
    const OPS: u16 = 60;

    /// Any free port of the loopback for every listener; for tests.
    pub fn anywhere() -> Self {
        Self {
            address: LOOPBACK,
            base_port: 0,
            rest_port: None,
            ops_port: None,
            graphql_ports: BTreeMap::new(),
        }
    }

    pub fn graphql(&self, service: &str) -> SocketAddr {
        let place = PLACES
            .iter()
            .position(|name| *name == service)
            .unwrap_or(PLACES.len());
        let offset = u16::try_from(place).unwrap_or_default();
        self.at(self.graphql_ports.get(service).copied(), offset)
    }

    pub fn rest(&self) -> SocketAddr {
        self.at(self.rest_port, Self::REST)
    }

    pub fn ops(&self) -> SocketAddr {
        self.at(self.ops_port, Self::OPS)
    }

    fn at(&self, port: Option<u16>, offset: u16) -> SocketAddr {
        let derived = if self.base_port == 0 {
            0
        } else {
            self.base_port.saturating_add(offset)
        };
        SocketAddr::new(self.address, port.unwrap_or(derived))
    }
}

/// What the file and the environment say, before it is known to be right.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    union: i64,
    mode: Mode,
    postgres: Postgres,
    redis_url: SecretString,
    kafka: Kafka,
    subgraph_key: SecretString,
    listen: Listen,
    #[serde(default)]
    otlp_endpoint: Option<String>,
    root_public_key: String,
    data_dir: PathBuf,
    log: String,
}

impl Config {
    /// From the process's environment and the file it names.
    ///
    /// # Errors
    /// The first key that is unknown, missing or wrong.
    pub fn load() -> Result<Self, ConfigError> {
        let variables: Vec<(String, String)> = std::env::vars()
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        let file = variables.iter().find(|(name, _)| name == FILE_VARIABLE);
        let text = match file {
            None => None,
            Some((_, path)) => {
                Some(std::fs::read_to_string(path).map_err(|error| ConfigError {
                    field: FILE_VARIABLE.to_owned(),
                    source_name: path.clone(),
                    reason: format!("cannot be read: {}", error.kind()),
                })?)
            }
        };
        Self::from(text.as_deref(), variables)
    }

    /// From the text of a file and from variables.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from(
        file: Option<&str>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut sections = Sections::read(file, variables)?;
        let raw: Raw = sections.extract(None)?;
        let config = Self {
            union: Union::from_code(raw.union)
                .ok_or_else(|| ConfigError::new("union", "must be 50 or 51"))?,
            mode: raw.mode,
            subgraph_key: GatewayKey::from_hex(&raw.subgraph_key)
                .ok_or_else(|| ConfigError::new("subgraph_key", "must be 64 hexadecimal digits"))?,
            root_public_key: public_key(&raw.root_public_key)?,
            postgres: raw.postgres,
            redis_url: raw.redis_url,
            kafka: raw.kafka,
            listen: raw.listen,
            otlp_endpoint: raw.otlp_endpoint,
            data_dir: raw.data_dir,
            log: raw.log,
            sections,
        };
        config.validate()?;
        Ok(config)
    }

    /// The section of a service, `[billing]` in the file, typed by that service with
    /// `#[serde(deny_unknown_fields)]`.
    ///
    /// # Errors
    /// A key of it that is unknown, missing or wrong.
    pub fn section<T: DeserializeOwned>(&self, service: &str) -> Result<T, ConfigError> {
        self.sections.clone().extract(Some(service))
    }

    /// Whether a service has a section at all: one that has none is not served from here.
    pub fn has_section(&self, service: &str) -> bool {
        self.sections.has(service)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let fail = |field: &str, reason: &str| Err(ConfigError::new(field, reason));
        if !(1..=CONNECTIONS_MAX).contains(&self.postgres.connections_max) {
            return fail("postgres.connections_max", "must be from 1 to 50");
        }
        if !(1..=PARTITIONS_MAX).contains(&self.kafka.partitions) {
            return fail("kafka.partitions", "must be from 1 to 64");
        }
        if !self.listen.address.is_loopback() {
            return fail("listen.address", "only loopback: TLS ends before it");
        }
        for service in self.listen.graphql_ports.keys() {
            if !SERVICES.contains(&service.as_str()) {
                return fail(&format!("listen.graphql_ports.{service}"), "unknown key");
            }
        }
        if self.listen.base_port != 0 && self.listen.base_port.checked_add(100).is_none() {
            return fail("listen.base_port", "leaves no room for the other ports");
        }
        let password = self.postgres.password.expose_secret();
        if !is_loopback(&self.postgres.host) && password.len() < PASSWORD_BYTES_MIN {
            return fail(
                "postgres.password",
                "a server elsewhere needs at least 12 characters",
            );
        }
        self.validate_redis()?;
        self.validate_otlp()?;
        let brokers: Vec<&str> = self.kafka.brokers.split(',').map(str::trim).collect();
        for broker in &brokers {
            let host = broker.rsplit_once(':').and_then(|(host, port)| {
                port.parse::<u16>()
                    .ok()
                    .filter(|port| *port > 0)
                    .map(|_| host)
            });
            match host {
                None | Some("") => return fail("kafka.brokers", "must be host:port, …"),
                Some(host) if !is_loopback(host) => {
                    let why = "only loopback: the client has no password and no TLS";
                    return fail("kafka.brokers", why);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn validate_redis(&self) -> Result<(), ConfigError> {
        let fail = |reason: &str| Err(ConfigError::new("redis_url", reason));
        let Ok(info) =
            ::redis::IntoConnectionInfo::into_connection_info(self.redis_url.expose_secret())
        else {
            return fail("must be redis://[:password@]host:port/database");
        };
        let local = match info.addr() {
            ::redis::ConnectionAddr::Tcp(host, _)
            | ::redis::ConnectionAddr::TcpTls { host, .. } => is_loopback(host),
            ::redis::ConnectionAddr::Unix(_) => true,
            _ => false,
        };
        if !local {
            return fail("only loopback: the client has no TLS");
        }
        Ok(())
    }

    /// Traces name requests and queries, so they leave the machine under TLS.
    fn validate_otlp(&self) -> Result<(), ConfigError> {
        let Some(endpoint) = &self.otlp_endpoint else {
            return Ok(());
        };
        let address: Option<Uri> = endpoint.parse().ok();
        let host = address.as_ref().and_then(|address| address.host());
        let is_fit = match address.as_ref().and_then(Uri::scheme_str) {
            Some("https") => host.is_some(),
            Some("http") => host.is_some_and(is_loopback),
            Some(_) | None => false,
        };
        if is_fit {
            return Ok(());
        }
        Err(ConfigError::new(
            "otlp_endpoint",
            "must be https://…, or http:// on this machine",
        ))
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn public_key(text: &str) -> Result<[u8; 32], ConfigError> {
    let mut key = [0; 32];
    let wrong = || ConfigError::new("root_public_key", "must be an Ed25519 key, 64 hex digits");
    hex::decode_to_slice(text, &mut key).map_err(|_| wrong())?;
    ed25519_dalek::VerifyingKey::from_bytes(&key).map_err(|_| wrong())?;
    Ok(key)
}
