//! The gateway's own configuration: defaults < file < `BASHU_GATEWAY_*`. An unknown key or a bad
//! value refuses to boot and names the field. It holds nothing of hive-router's configuration:
//! that is written by `router_config` and can only be changed through the few keys here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format as _, Toml};
use hive_router::http::Uri;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::sign::{KEY_BYTES, Signer};

const ENVIRONMENT_PREFIX: &str = "BASHU_GATEWAY_";

/// Names with our prefix that are no keys: the file to read, and where a launcher finds us.
const NO_KEYS: [&str; 2] = ["config", "bin"];

/// How far health and metrics are from the graph, in ports, unless told otherwise.
const OPERATIONS_PORTS_AHEAD: u16 = 10;

/// Environment of the router's own library that would weaken it behind this configuration's back.
const FORBIDDEN_ENVIRONMENT: [&str; 1] = ["ROUTER_DISABLE_INT_VALUE_RANGE_VALIDATION"];

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("configuration: {0}")]
    Unreadable(Box<figment::Error>),
    #[error("configuration: `{field}`: {reason}")]
    Bad { field: String, reason: String },
}

/// Which federation's gateway this is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "u8")]
pub(crate) enum Union {
    /// 50, Chongqing 渝
    Chongqing,
    /// 51, Sichuan 川
    Sichuan,
}

impl Union {
    /// The number by which tokens and keys name it.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Chongqing => 50,
            Self::Sichuan => 51,
        }
    }

    /// Where the graph is.
    fn default_listen(self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 14_000 + u16::from(self.number())))
    }
}

impl TryFrom<u8> for Union {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            50 => Ok(Self::Chongqing),
            51 => Ok(Self::Sichuan),
            other => Err(format!("`union` is 50 or 51, not {other}")),
        }
    }
}

/// Where the gateway runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Introspection and a query page are offered, any document is accepted.
    Development,
    /// Neither is, and only registered documents are accepted.
    #[default]
    Production,
}

/// Where a client's address is read from.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientAddress {
    /// The other end of the connection.
    #[default]
    Peer,
    /// The last hop of `X-Forwarded-For`, written by our own proxy in front.
    Forwarded,
}

/// How much is logged. Finer levels would log documents, so there are none.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    #[default]
    Info,
    Warn,
    Error,
}

/// Limits per minute; each may be used up at once and then fills again evenly. Of one of 600 and
/// more a gateway takes up to a second's share ahead, and loses what it does not need within
/// a second: then less can be used up at once, by a sixtieth always and by half at most.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Requests from one address; a union's hall shares one.
    pub(crate) address_requests_per_minute: u32,
    /// Root fields that concern logging in, from one address, aliases counted each.
    pub(crate) address_login_fields_per_minute: u32,
    /// Requests under one login.
    pub(crate) login_requests_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            address_requests_per_minute: 6_000,
            address_login_fields_per_minute: 60,
            login_requests_per_minute: 600,
        }
    }
}

/// The keys as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    union: Union,
    listen: Option<SocketAddr>,
    operations: Option<SocketAddr>,
    #[serde(default)]
    mode: Mode,
    supergraph: PathBuf,
    subgraphs: BTreeMap<String, String>,
    subgraph_key_file: PathBuf,
    redis_url: SecretString,
    jwks_url: String,
    documents: Option<PathBuf>,
    #[serde(default)]
    client_address: ClientAddress,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    log: LogLevel,
    otlp_endpoint: Option<String>,
}

/// A configuration that has been checked.
pub(crate) struct Settings {
    pub(crate) union: Union,
    /// Of the graph.
    pub(crate) listen: SocketAddr,
    /// Of health and metrics, which no proxy passes on.
    pub(crate) operations: SocketAddr,
    pub(crate) mode: Mode,
    /// Absolute.
    pub(crate) supergraph: PathBuf,
    pub(crate) subgraphs: BTreeMap<String, Uri>,
    pub(crate) signer: Signer,
    pub(crate) redis_url: SecretString,
    pub(crate) jwks_url: Uri,
    /// Absolute; always there in production.
    pub(crate) documents: Option<PathBuf>,
    pub(crate) client_address: ClientAddress,
    pub(crate) limits: Limits,
    pub(crate) log: LogLevel,
    pub(crate) otlp_endpoint: Option<Uri>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("union", &self.union)
            .field("listen", &self.listen)
            .field("operations", &self.operations)
            .field("mode", &self.mode)
            .field("supergraph", &self.supergraph)
            .field("subgraphs", &self.subgraphs)
            .field("documents", &self.documents)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Reads the configuration from `file`, if there is one, and the environment.
pub(crate) fn load(file: Option<&Path>) -> Result<Settings, ConfigError> {
    for name in FORBIDDEN_ENVIRONMENT {
        if Env::raw()
            .iter()
            .any(|(key, _)| key.as_str().eq_ignore_ascii_case(name))
        {
            return Err(bad(name, "must not be set: it would weaken the router"));
        }
    }
    let mut sources = Figment::new();
    if let Some(file) = file {
        sources = sources.merge(Toml::file_exact(file));
    }
    let environment = Env::prefixed(ENVIRONMENT_PREFIX)
        .ignore(&NO_KEYS)
        .split("__");
    check(extract(&sources.merge(environment))?)
}

fn extract(sources: &Figment) -> Result<Written, ConfigError> {
    sources
        .extract()
        .map_err(|error| ConfigError::Unreadable(Box::new(error)))
}

fn check(written: Written) -> Result<Settings, ConfigError> {
    let listen = written
        .listen
        .unwrap_or_else(|| written.union.default_listen());
    let operations = written.operations.unwrap_or_else(|| {
        let port = listen.port().wrapping_add(OPERATIONS_PORTS_AHEAD);
        SocketAddr::new(listen.ip(), port)
    });
    for (field, address) in [("listen", listen), ("operations", operations)] {
        if !address.ip().is_loopback() || address.port() == 0 {
            return Err(bad(field, "must be a loopback address with a port"));
        }
    }
    if listen == operations {
        return Err(bad("operations", "must not be where the graph is"));
    }
    let documents = match (written.mode, written.documents) {
        (Mode::Production, None) => {
            return Err(bad("documents", "is required in mode `production`"));
        }
        (Mode::Development, Some(_)) => {
            return Err(bad("documents", "is for mode `production` alone"));
        }
        (_, documents) => documents,
    };
    check_limits(written.limits)?;
    let subgraphs = check_subgraphs(&written.supergraph, &written.subgraphs)?;
    check_redis(&written.redis_url)?;
    Ok(Settings {
        union: written.union,
        listen,
        operations,
        mode: written.mode,
        supergraph: absolute("supergraph", &written.supergraph)?,
        subgraphs,
        signer: read_key(&written.subgraph_key_file)?,
        redis_url: written.redis_url,
        jwks_url: address("jwks_url", &written.jwks_url)?,
        documents: documents
            .map(|path| absolute("documents", &path))
            .transpose()?,
        client_address: written.client_address,
        limits: written.limits,
        log: written.log,
        otlp_endpoint: written
            .otlp_endpoint
            .map(|text| address("otlp_endpoint", &text))
            .transpose()?,
    })
}

/// The client has no TLS, so it speaks to this machine alone. A reason could repeat the password.
fn check_redis(url: &SecretString) -> Result<(), ConfigError> {
    let Ok(client) = redis::Client::open(url.expose_secret()) else {
        return Err(bad("redis_url", "is no address of Redis"));
    };
    let is_here = match client.get_connection_info().addr() {
        redis::ConnectionAddr::Tcp(host, _) | redis::ConnectionAddr::TcpTls { host, .. } => {
            is_loopback(host)
        }
        redis::ConnectionAddr::Unix(_) => true,
        _ => false,
    };
    if is_here {
        Ok(())
    } else {
        Err(bad(
            "redis_url",
            "must be on this machine: there is no TLS to it",
        ))
    }
}

fn check_limits(limits: Limits) -> Result<(), ConfigError> {
    let named = [
        (
            "address_requests_per_minute",
            limits.address_requests_per_minute,
        ),
        (
            "address_login_fields_per_minute",
            limits.address_login_fields_per_minute,
        ),
        (
            "login_requests_per_minute",
            limits.login_requests_per_minute,
        ),
    ];
    match named.iter().find(|(_, limit)| *limit == 0) {
        Some((name, _)) => Err(bad(&format!("limits.{name}"), "must be at least 1")),
        None => Ok(()),
    }
}

/// Every subgraph of the supergraph has an address here and no other has: the addresses within
/// the supergraph are placeholders and must never be used.
fn check_subgraphs(
    supergraph: &Path,
    addresses: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Uri>, ConfigError> {
    let text = std::fs::read_to_string(supergraph)
        .map_err(|error| bad("supergraph", format!("{}: {error}", supergraph.display())))?;
    let names = crate::router_config::subgraph_names(&text)
        .map_err(|reason| bad("supergraph", format!("{}: {reason}", supergraph.display())))?;
    for name in &names {
        if !addresses.contains_key(name) {
            return Err(bad(
                &format!("subgraphs.{name}"),
                "is missing: the supergraph has it",
            ));
        }
    }
    let mut checked = BTreeMap::new();
    for (name, text) in addresses {
        let field = format!("subgraphs.{name}");
        if !names.contains(name) {
            return Err(bad(&field, "is no subgraph of the supergraph"));
        }
        checked.insert(name.clone(), address(&field, text)?);
    }
    Ok(checked)
}

fn address(field: &str, text: &str) -> Result<Uri, ConfigError> {
    let uri: Uri = text.parse().map_err(|_| bad(field, "is no http address"))?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_secret = uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'));
    if !is_http || uri.host().is_none_or(str::is_empty) || has_secret {
        return Err(bad(field, "is no http address"));
    }
    let is_plain = uri.scheme_str() == Some("http");
    if is_plain && !uri.host().is_some_and(is_loopback) {
        return Err(bad(field, "must be https, or on this machine"));
    }
    Ok(uri)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = bare.parse().ok();
    bare == "localhost" || address.is_some_and(|address| address.is_loopback())
}

fn absolute(field: &str, path: &Path) -> Result<PathBuf, ConfigError> {
    std::fs::canonicalize(path).map_err(|error| bad(field, format!("{}: {error}", path.display())))
}

fn read_key(path: &Path) -> Result<Signer, ConfigError> {
    const FIELD: &str = "subgraph_key_file";
    let text = std::fs::read_to_string(path)
        .map(SecretString::from)
        .map_err(|error| bad(FIELD, format!("{}: {error}", path.display())))?;
    let mut key = [0_u8; KEY_BYTES];
    hex::decode_to_slice(text.expose_secret().trim(), &mut key).map_err(|_| {
        bad(
            FIELD,
            format!("must hold {} hexadecimal digits", KEY_BYTES * 2),
        )
    })?;
    Ok(Signer::new(&key))
}

fn bad(field: &str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Bad {
        field: field.to_owned(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests;
