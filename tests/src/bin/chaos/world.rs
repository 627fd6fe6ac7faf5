//! The world `chaos` of `deploy/dev`: where its servers, proxies and processes listen, and the
//! commands that bring it up. Every process reaches PostgreSQL, Kafka and Redis by a proxy alone;
//! this program itself goes straight, so that what it sees is not its own weather.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tests::{root, variable};
use tokio::process::Command;

/// Added to every port of `bashu dev`, as the issue of this world's ports has it.
const PORT_OFFSET: u16 = 1_500;
/// A proxy listens this far above its server.
const PROXY_OFFSET: u16 = 300;
/// The first port of the union's services before the offset.
const SERVICES_PORT: u16 = 14_100;
const GATEWAY_PORT: u16 = 14_050;
const SANDBOX_PORT: u16 = 14_090;
/// Away from the first service, as `kit::config::Listen` has them.
const REST: u16 = 50;
const OPS: u16 = 60;
/// Away from the gateway's own port.
const GATEWAY_OPERATIONS: u16 = 10;
/// How long one command of `deploy/dev` or `bashu` may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(180);
/// The union that is run.
pub(crate) const UNION: &str = "50";

/// A program or server that is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Component {
    Identity,
    Passes,
    Billing,
    Admission,
    Gateway,
    Sandbox,
    Postgres,
    Kafka,
    Redis,
}

/// What a component is in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Service,
    Gateway,
    Sandbox,
    /// Of `deploy/dev`, with the variable of its env that names the port.
    Server(&'static str),
}

impl Component {
    pub(crate) const ALL: [Self; 9] = [
        Self::Identity,
        Self::Passes,
        Self::Billing,
        Self::Admission,
        Self::Gateway,
        Self::Sandbox,
        Self::Postgres,
        Self::Kafka,
        Self::Redis,
    ];
    pub(crate) const SERVICES: [Self; 4] =
        [Self::Identity, Self::Passes, Self::Billing, Self::Admission];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Passes => "passes",
            Self::Billing => "billing",
            Self::Admission => "admission",
            Self::Gateway => "gateway",
            Self::Sandbox => "sandbox",
            Self::Postgres => "postgres",
            Self::Kafka => "kafka",
            Self::Redis => "redis",
        }
    }

    const fn role(self) -> Role {
        match self {
            Self::Identity | Self::Passes | Self::Billing | Self::Admission => Role::Service,
            Self::Gateway => Role::Gateway,
            Self::Sandbox => Role::Sandbox,
            Self::Postgres => Role::Server("BASHU_PG_PORT"),
            Self::Kafka => Role::Server("BASHU_KAFKA_BROKERS"),
            Self::Redis => Role::Server("BASHU_REDIS_URL"),
        }
    }

    /// Whether `deploy/dev` starts it rather than this program.
    pub(crate) const fn is_server(self) -> bool {
        matches!(self.role(), Role::Server(_))
    }

    pub(crate) const fn is_service(self) -> bool {
        matches!(self.role(), Role::Service)
    }

    /// Its place among the services.
    fn place(self) -> u16 {
        let place = Self::SERVICES.iter().position(|one| *one == self);
        place.and_then(|at| u16::try_from(at).ok()).unwrap_or(0)
    }
}

/// What stands where.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) folder: PathBuf,
    env: BTreeMap<String, String>,
    bashu: PathBuf,
    gateway: PathBuf,
}

impl World {
    /// Reads what `deploy/dev/up chaos` wrote.
    ///
    /// # Errors
    /// When the world is not up, or its broker does not name the proxy.
    pub(crate) fn open() -> Result<Self> {
        let folder = root().join(".dev/chaos");
        let path = folder.join(UNION).join("env");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} is missing: run make chaos", path.display()))?;
        let env = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
            .collect();
        let world = Self {
            folder,
            env,
            bashu: variable("BASHU_BIN")?.into(),
            gateway: variable("BASHU_GATEWAY_BIN")?.into(),
        };
        let advertised = variable("BASHU_KAFKA_ADVERTISED_PORT")?;
        ensure!(
            advertised == world.proxy_port(Component::Kafka)?.to_string(),
            "BASHU_KAFKA_ADVERTISED_PORT is not the proxy's"
        );
        Ok(world)
    }

    /// Whether the programs are optimised: `deploy/dev/chaos` takes those from a folder of that
    /// name.
    pub(crate) fn is_release(&self) -> bool {
        let folder = self.bashu.parent().and_then(Path::file_name);
        folder.is_some_and(|name| name == "release")
    }

    /// The commit that each program was built from, as `deploy/dev/chaos` wrote it down.
    pub(crate) fn programs(&self) -> BTreeMap<String, String> {
        let programs = [&self.bashu, &self.gateway].into_iter();
        programs
            .map(|program| {
                let name = program.file_name().unwrap_or_default().to_string_lossy();
                let commit = std::fs::read_to_string(program.with_extension("commit"));
                let commit = commit.map_or("unknown".to_owned(), |text| text.trim().to_owned());
                (name.into_owned(), commit)
            })
            .collect()
    }

    pub(crate) fn union_folder(&self) -> PathBuf {
        self.folder.join(UNION)
    }

    /// A value that `deploy/dev` wrote.
    ///
    /// # Errors
    /// When it did not.
    pub(crate) fn value(&self, name: &str) -> Result<&str> {
        self.env
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| anyhow!("{name} is not in the world's env"))
    }

    /// The port a server itself listens on.
    ///
    /// # Errors
    /// When the world's env does not say.
    pub(crate) fn server_port(&self, server: Component) -> Result<u16> {
        let Role::Server(name) = server.role() else {
            bail!("{} is no server of deploy/dev", server.name());
        };
        let text = self.value(name)?;
        // An address of Redis ends in the number of a database.
        let text = text.strip_suffix("/0").unwrap_or(text);
        let port = text.rsplit(':').next().unwrap_or(text);
        port.parse()
            .with_context(|| format!("no port in what is said of {}", server.name()))
    }

    /// The port its clients are told.
    ///
    /// # Errors
    /// As [`World::server_port`].
    pub(crate) fn proxy_port(&self, server: Component) -> Result<u16> {
        Ok(self.server_port(server)? + PROXY_OFFSET)
    }

    pub(crate) const fn gateway_port() -> u16 {
        GATEWAY_PORT + PORT_OFFSET
    }

    pub(crate) const fn sandbox_port() -> u16 {
        SANDBOX_PORT + PORT_OFFSET
    }

    fn rest_port(service: Component) -> u16 {
        SERVICES_PORT + PORT_OFFSET + REST + service.place()
    }

    fn ops_port(service: Component) -> u16 {
        SERVICES_PORT + PORT_OFFSET + OPS + service.place()
    }

    /// Where a process answers that it is ready.
    pub(crate) fn ready_url(component: Component) -> String {
        let (port, path) = match component.role() {
            Role::Gateway => (Self::gateway_port() + GATEWAY_OPERATIONS, "ready"),
            Role::Sandbox => (Self::sandbox_port(), ""),
            Role::Service | Role::Server(_) => (Self::ops_port(component), "ready"),
        };
        format!("http://127.0.0.1:{port}/{path}")
    }

    /// A process of a component, ready to be spawned: its settings come from the files that
    /// `bashu dev --prepare` wrote, but for what must go through a proxy and for the ports that
    /// services of one process share.
    ///
    /// # Errors
    /// When the world's env is not whole.
    pub(crate) fn command(&self, component: Component) -> Result<Command> {
        let redis = self.value("BASHU_REDIS_URL")?.replace(
            &format!(":{}/", self.server_port(Component::Redis)?),
            &format!(":{}/", self.proxy_port(Component::Redis)?),
        );
        let mut command = match component.role() {
            Role::Gateway => {
                let mut command = bare(&self.gateway);
                command
                    .arg("--config")
                    .arg(self.union_folder().join("gateway.toml"))
                    .env("BASHU_GATEWAY_REDIS_URL", redis);
                for (limit, value) in LIMITS {
                    command.env(format!("BASHU_GATEWAY_LIMITS__{limit}"), value);
                }
                command
            }
            Role::Sandbox => {
                let mut command = bare(&self.bashu);
                command
                    .args(["serve", "sandbox", "--folder"])
                    .arg(self.folder.join("sandbox"))
                    .args(["--listen", &format!("127.0.0.1:{}", Self::sandbox_port())]);
                command
            }
            Role::Service => self.service(component, &redis)?,
            Role::Server(_) => bail!("deploy/dev starts {}", component.name()),
        };
        command.current_dir(root()).stdin(Stdio::null());
        Ok(command)
    }

    fn service(&self, service: Component, redis: &str) -> Result<Command> {
        let brokers = format!("127.0.0.1:{}", self.proxy_port(Component::Kafka)?);
        let postgres = self.proxy_port(Component::Postgres)?.to_string();
        let mut command = bare(&self.bashu);
        command
            .args(["serve", service.name()])
            .env("BASHU_CONFIG", self.config())
            .env("BASHU_POSTGRES__PORT", postgres)
            .env("BASHU_KAFKA__BROKERS", brokers)
            .env("BASHU_REDIS_URL", redis)
            .env("BASHU_LOG", "warn")
            .env(
                "BASHU_LISTEN__REST_PORT",
                Self::rest_port(service).to_string(),
            )
            .env(
                "BASHU_LISTEN__OPS_PORT",
                Self::ops_port(service).to_string(),
            );
        if service == Component::Identity {
            command.env("BASHU_IDENTITY__CODES_PER_ADDRESS_HOUR_MAX", "10000");
        }
        if service == Component::Billing {
            let url = format!("http://127.0.0.1:{}", Self::rest_port(service));
            command.env("BASHU_BILLING__WECHAT__NOTIFY_URL", url);
        }
        Ok(command)
    }

    /// The services' configuration as `bashu dev --prepare` wrote it, servers without proxies.
    pub(crate) fn config(&self) -> PathBuf {
        self.union_folder().join("bashu.toml")
    }

    /// Starts the servers that are not there, as `deploy/dev` does.
    ///
    /// # Errors
    /// When one does not come up.
    pub(crate) async fn up(&self) -> Result<()> {
        let port = self.proxy_port(Component::Kafka)?.to_string();
        let mut command = Command::new(root().join("deploy/dev/up"));
        command
            .arg("chaos")
            .env("BASHU_WORLD_KEEP", "0")
            .env("BASHU_KAFKA_ADVERTISED_PORT", port);
        finish(command, "deploy/dev/up chaos").await.map(drop)
    }

    /// Runs `bashu` with these arguments against the servers themselves; what it printed, and
    /// whether it went well.
    ///
    /// # Errors
    /// When it cannot be started, or takes too long.
    pub(crate) async fn bashu(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = bare(&self.bashu);
        command
            .args(arguments)
            .env("BASHU_CONFIG", self.config())
            .current_dir(root())
            .stdin(Stdio::null());
        output(command, arguments[0]).await
    }

    /// `bashu dev` or `bashu demo` of this world.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) async fn development(&self, command: &str, more: &[&str]) -> Result<()> {
        let folder = self.folder.display().to_string();
        let offset = PORT_OFFSET.to_string();
        let mut arguments = vec![command, "--union", UNION, "--folder", &folder];
        arguments.extend(["--port-offset", &offset]);
        arguments.extend(more);
        let output = self.bashu(&arguments).await?;
        ensure!(
            output.status.success(),
            "bashu {command}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Makes Redis lose all it holds; how many keys it had, and how many it has at that instant.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn flush(&self) -> Result<(u64, u64)> {
        // One script, so that nobody puts a key back before they are counted.
        let script = "local before = redis.call('DBSIZE') redis.call('FLUSHALL') \
                      return { before, redis.call('DBSIZE') }";
        let port = self.server_port(Component::Redis)?.to_string();
        let mut command = Command::new("redis-cli");
        command
            .args(["-h", "127.0.0.1", "-p", &port, "EVAL", script, "0"])
            .env("REDISCLI_AUTH", self.value("BASHU_REDIS_PASSWORD")?);
        let output = finish(command, "redis-cli").await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let counts: Option<Vec<u64>> = text.lines().map(|line| line.trim().parse().ok()).collect();
        match counts.as_deref() {
            Some([before, after]) => Ok((*before, *after)),
            _ => bail!("redis-cli: {text}"),
        }
    }

    /// Rows of a query as the server's administrator, straight to the server; columns are
    /// separated by `|`.
    ///
    /// # Errors
    /// When the server refuses it.
    pub(crate) async fn rows(&self, database: &str, query: &str) -> Result<Vec<Vec<String>>> {
        let mut command = Command::new("psql");
        command
            .args(["-h", "127.0.0.1", "-p", self.value("BASHU_PG_PORT")?])
            .args(["-U", "postgres", "-d", database, "-XqAt", "-c", query])
            .env("PGPASSWORD", self.value("BASHU_PG_SUPERUSER_PASSWORD")?);
        let output = finish(command, "psql").await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let row = |line: &str| line.split('|').map(str::to_owned).collect();
        Ok(text.lines().map(row).collect())
    }
}

/// The gateway's own limits are per address and login: one machine plays a whole city here.
const LIMITS: [(&str, &str); 3] = [
    ("ADDRESS_REQUESTS_PER_MINUTE", "600000"),
    ("ADDRESS_LOGIN_FIELDS_PER_MINUTE", "6000"),
    ("LOGIN_REQUESTS_PER_MINUTE", "60000"),
];

/// A command that sees none of this program's own settings.
fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BASHU_")) {
        command.env_remove(name);
    }
    command
}

async fn output(mut command: Command, name: &str) -> Result<Output> {
    command.kill_on_drop(true);
    tokio::time::timeout(COMMAND_TIMEOUT, command.output())
        .await
        .with_context(|| format!("{name} takes too long"))?
        .with_context(|| format!("{name} cannot be started"))
}

async fn finish(command: Command, name: &str) -> Result<Output> {
    let output = output(command, name).await?;
    if !output.status.success() {
        bail!(
            "{name}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output)
}
