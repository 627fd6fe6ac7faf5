//! `bashu serve`: one service, or all of a union's, in this process; and the providers' stand-ins
//! for machines where no provider is reached.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use ed25519_dalek::VerifyingKey;
use kit::bus::{Bus, KafkaOptions};
use kit::config::Config;
use kit::redis::Cache;
use kit::replica::{Keys, Roots};
use kit::serve::{Process, Service};
use kit::telemetry::{Telemetry, TelemetryOptions};
use kit::types::Union;
use kit::{Clock, Ctx, Db, Ids};

/// The services of a union, in the order in which they are started.
pub(crate) const SERVICES: [&str; 4] =
    [identity::NAME, passes::NAME, billing::NAME, admission::NAME];

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
    let telemetry = Telemetry::start(&TelemetryOptions {
        process: format!("bashu-{}", config.union),
        log: config.log.clone(),
        otlp_endpoint: config.otlp_endpoint.clone(),
    })?;
    let names = chosen(&args.services)?;
    let bus = bus(&config);
    let mut services = Vec::new();
    for name in names {
        let service = open(&config, name, &bus).await;
        services.push(service.with_context(|| format!("{name} does not start"))?);
    }
    let process = Process::bind(&config.listen, services, Some(telemetry.metrics())).await?;
    let result = process.run(kit::serve::on_termination()?).await;
    telemetry.stop().await;
    Ok(result?)
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

/// The union's Kafka.
pub(crate) fn bus(config: &Config) -> Bus {
    Bus::kafka(KafkaOptions {
        brokers: config.kafka.brokers.clone(),
        prefix: config.kafka.prefix.clone(),
        partitions: config.kafka.partitions,
        replication: crate::stack::replication(config.mode),
        instance: None,
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
