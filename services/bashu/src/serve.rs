//! `bashu serve`: one service, or all of a union's, in this process; and the providers' stand-ins
//! for machines where no provider is reached.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ed25519_dalek::VerifyingKey;
use kit::bus::{Bus, KafkaOptions};
use kit::config::{Config, ConfigError};
use kit::graphql::Mode;
use kit::redis::Cache;
use kit::replica::{Keys, Roots};
use kit::serve::{Process, Service};
use kit::telemetry::{Telemetry, TelemetryOptions};
use kit::types::Union;
use kit::{Clock, Ctx, Db, Ids};

use crate::registry;

/// The services of a union, in the order in which they are started.
pub(crate) const SERVICES: [&str; 4] =
    [identity::NAME, passes::NAME, billing::NAME, admission::NAME];

/// How long a process that starts waits for a server that is away.
const SERVERS_WAIT_MAX: Duration = Duration::from_secs(60);
/// Between two attempts to reach it.
const SERVERS_PAUSE: Duration = Duration::from_millis(500);

/// What `bashu serve` is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// identity, passes, billing, admission, all — or sandbox
    #[arg(required = true)]
    pub(crate) services: Vec<String>,
    /// sandbox only: where it keeps its keys and its journal
    #[arg(long, default_value = ".dev/sandbox")]
    pub(crate) folder: PathBuf,
    /// sandbox only: where it listens, loopback
    #[arg(long, default_value = "127.0.0.1:14090")]
    pub(crate) listen: SocketAddr,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When the configuration is wrong, or something it needs is not there.
pub(crate) async fn run(args: ServeArgs) -> Result<()> {
    if args.services == ["sandbox"] {
        return serve_sandbox(args.folder, args.listen).await;
    }
    let config = Config::load()?;
    let names = chosen(&args.services)?;
    fit(&config, &names)?;
    let telemetry = Telemetry::start(&TelemetryOptions {
        process: format!("bashu-{}", config.union),
        log: config.log.clone(),
        otlp_endpoint: config.otlp_endpoint.clone(),
    })?;
    let host = hostname::get().unwrap_or_default();
    let bus = bus(
        &config,
        instance(&host.to_string_lossy(), config.listen.ops()),
    );
    let mut services = Vec::new();
    for name in names {
        let service = opened(&config, name, &bus).await;
        services.push(service.with_context(|| format!("{name} does not start"))?);
    }
    let process = Process::bind(&config.listen, services, Some(telemetry.metrics())).await?;
    let result = process.run(kit::serve::on_termination()?).await;
    telemetry.stop().await;
    Ok(result?)
}

/// Refuses a configuration that is wrong in any section it has, also in those of services that
/// are not started here, and one that belongs to development: the offline root online, no second
/// factor.
fn fit(config: &Config, names: &[&str]) -> Result<(), ConfigError> {
    for known in &registry::ALL {
        if names.contains(&known.name) || config.has_section(known.name) {
            (known.settings)(config)?;
        }
    }
    if config.mode == Mode::Development || !config.has_section(identity::NAME) {
        return Ok(());
    }
    let identity: identity::Settings = config.section(identity::NAME)?;
    if identity.root_key_file.is_some() {
        return Err(ConfigError::new(
            "identity.root_key_file",
            "the offline root stays offline in production; publish key sets by bashu keys publish",
        ));
    }
    if identity.second_factor_optional {
        return Err(ConfigError::new(
            "identity.second_factor_optional",
            "nobody does without a second factor in production",
        ));
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static str>> {
    if names == ["all"] {
        return Ok(SERVICES.to_vec());
    }
    names
        .iter()
        .map(|name| match SERVICES.iter().find(|known| *known == name) {
            Some(known) => Ok(*known),
            None => bail!(
                "{name} is no service; there are {} and all",
                SERVICES.join(", ")
            ),
        })
        .collect()
}

async fn serve_sandbox(folder: PathBuf, listen: SocketAddr) -> Result<()> {
    if !listen.ip().is_loopback() {
        bail!("the sandbox listens on loopback only");
    }
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .with_context(|| format!("{listen} is taken"))?;
    let stop = kit::serve::on_termination()?;
    let mut config = sandbox::Config::new(folder);
    // Reconciliation of the running day can be tried without waiting for tomorrow.
    config.bills_at_once = true;
    sandbox::run(config, listener, async move { stop.cancelled().await }).await?;
    Ok(())
}

/// The name of this process among its like: the same after it was killed and started again, so that
/// it takes its partitions back at once instead of waiting until the broker gives its dead
/// predecessor up. Two processes of one host never have the same, since they cannot listen at one
/// address; a host that has no name of its own gives none.
fn instance(host: &str, ops: SocketAddr) -> Option<String> {
    if ops.port() == 0 || host.is_empty() || host.starts_with("localhost") {
        return None;
    }
    let usable = |c: char| match c {
        '.' | '-' | '_' => c,
        _ if c.is_ascii_alphanumeric() => c,
        _ => '-',
    };
    Some(format!("{host}-{ops}").chars().map(usable).collect())
}

/// The union's Kafka, as one of the processes that read in it, or as one that only looks.
pub(crate) fn bus(config: &Config, instance: Option<String>) -> Bus {
    Bus::kafka(KafkaOptions {
        brokers: config.kafka.brokers.clone(),
        prefix: config.kafka.prefix.clone(),
        partitions: config.kafka.partitions,
        replication: crate::stack::replication(config.mode),
        instance,
    })
}

/// The root that signs this union's key sets.
///
/// # Errors
/// When the configured bytes are no public key.
pub(crate) fn roots(config: &Config) -> Result<Roots> {
    use credential::keyset::Issuer;
    let issuer = match config.union {
        Union::Chongqing => Issuer::Chongqing,
        Union::Sichuan => Issuer::Sichuan,
    };
    let root = VerifyingKey::from_bytes(&config.root_public_key)
        .context("root_public_key is no Ed25519 public key")?;
    Ok(Roots::from([(issuer, root)]))
}

/// A service's context, as the application role.
///
/// # Errors
/// When its database cannot be reached.
pub(crate) async fn ctx(config: &Config, name: &'static str) -> Result<Ctx> {
    let db = Db::connect(config.postgres.options(name), Clock::System, Ids::random()).await?;
    Ok(Ctx::new(config.union, name, db))
}

/// Opens a service, and waits a while for a server that is away: a process that is started during
/// an outage serves as soon as it is over.
async fn opened(config: &Config, name: &'static str, bus: &Bus) -> Result<Service> {
    let deadline = Instant::now() + SERVERS_WAIT_MAX;
    loop {
        let error = match open(config, name, bus).await {
            Ok(service) => return Ok(service),
            Err(error) => error,
        };
        let away = error
            .downcast_ref::<kit::Error>()
            .is_some_and(kit::Error::is_server_away);
        if !away || Instant::now() >= deadline {
            return Err(error);
        }
        let why = error.chain().last().map(ToString::to_string);
        tracing::warn!(service = name, why, "waiting for a server that is away");
        tokio::time::sleep(SERVERS_PAUSE).await;
    }
}

async fn open(config: &Config, name: &'static str, bus: &Bus) -> Result<Service> {
    let ctx = ctx(config, name).await?;
    // The topic is there before anyone reads or writes it.
    let partitions = bus.ensure_topic(&ctx.topic()).await?;
    let roots = roots(config)?;
    let key = config.subgraph_key.clone();
    let cache = Cache::new(&config.redis_url, name, ctx.clock.clone())?;
    Ok(match name {
        identity::NAME => {
            let settings = config.section(name)?;
            let identity = identity::Identity::new(ctx, settings, roots, partitions)?;
            identity.open().await?;
            identity.service(key, config.mode, bus)
        }
        passes::NAME => {
            let passes = passes::Passes::new(ctx, &config.section(name)?, Some(cache))?;
            passes.service(key, config.mode, (roots, bus))
        }
        billing::NAME => {
            let billing = billing::Billing::new(ctx, &config.section(name)?, roots)?;
            billing.open().await?;
            billing.service(key, config.mode, bus)
        }
        admission::NAME => {
            let settings = config.section(name)?;
            let keys = Keys::new(ctx.union, roots.clone());
            let admission = admission::Admission::new(ctx, keys, Some(cache), settings);
            admission.service(key, config.mode, (roots, bus))
        }
        other => bail!("{other} is no service"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    /// 32 bytes in base64, but for their first three.
    const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn refused(mode: &str, identity: &str, more: &str, names: &[&str]) -> Option<String> {
        // Each is another key.
        let keys = format!(
            "kek = 'AQEB{KEY}'\nblind_index_key = 'AgIC{KEY}'\ncode_key = 'AwMD{KEY}'\n\
             idtag_key = 'BAQE{KEY}'\n"
        );
        let file = format!(
            "union = 50\nmode = '{mode}'\nsubgraph_key = '{}'\nroot_public_key = '{ROOT}'\n\
             [postgres]\npassword = 'hunter2hunter2'\n[identity]\n{keys}{identity}\n\
             [identity.sms]\nurl = 'https://sms.example.cn'\nkey = 'k'\n{more}",
            "0".repeat(64)
        );
        let config = Config::from(Some(&file), []).unwrap();
        fit(&config, names).err().map(|error| error.field)
    }

    /// A section is read whoever is started; one that is not there is missed by its own service
    /// alone.
    #[test]
    fn every_section_there_is_must_be_right() {
        let passes = format!("[passes]\nentitlement_key = 'BQUF{KEY}'");
        assert_eq!(refused("production", "", &passes, &["identity"]), None);
        let odd = format!("{passes}\nentitlemnet_key = 'x'");
        assert_eq!(
            refused("production", "", &odd, &["identity"]).as_deref(),
            Some("passes.entitlemnet_key")
        );
        assert_eq!(
            refused("production", "kke = 1", &passes, &["passes"]).as_deref(),
            Some("identity.kke")
        );
        let missed = refused("production", "", &passes, &["identity", "billing"]);
        assert!(missed.is_some_and(|field| field.starts_with("billing")));
    }

    /// A process has one name for all its lives, and no other process has it.
    #[test]
    fn a_process_is_known_by_where_it_runs() {
        let at = |host, ops: &str| instance(host, ops.parse().unwrap());
        let name = at("bashu-1.local", "127.0.0.1:14095");
        assert_eq!(name.as_deref(), Some("bashu-1.local-127.0.0.1-14095"));
        assert_ne!(name, at("bashu-1.local", "127.0.0.1:14195"));
        assert_ne!(name, at("bashu-2.local", "127.0.0.1:14095"));
        assert_eq!(at("渝", "[::1]:9").as_deref(), Some("-----1--9"));
        assert_eq!(at("bashu-1", "127.0.0.1:0"), None, "it listens anywhere");
        assert_eq!(at("localhost", "127.0.0.1:14095"), None);
        assert_eq!(at("", "127.0.0.1:14095"), None);
    }

    /// The root signs the key sets that everybody trusts: in production no service reads it.
    #[test]
    fn the_root_stays_offline_in_production() {
        let root = "root_key_file = '/x'";
        let field = Some("identity.root_key_file".to_owned());
        assert_eq!(refused("production", root, "", &["identity"]), field);
        assert_eq!(refused("production", root, "", &["admission"]), field);
        assert_eq!(refused("development", root, "", &["identity"]), None);
    }

    /// Whoever has set no second factor up does without in development alone.
    #[test]
    fn nobody_does_without_a_second_factor_in_production() {
        let lax = "second_factor_optional = true";
        let field = Some("identity.second_factor_optional".to_owned());
        assert_eq!(refused("production", lax, "", &["identity"]), field);
        assert_eq!(refused("production", lax, "", &["admission"]), field);
        assert_eq!(refused("development", lax, "", &["identity"]), None);
        let strict = "second_factor_optional = false";
        assert_eq!(refused("production", strict, "", &["identity"]), None);
    }
}
