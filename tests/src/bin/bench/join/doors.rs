//! The two doors as processes: our gateway and the bare router, each with the least that it must
//! be told, so that all else is its default.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::process::{Child, Command};

use super::QUERY;
use super::subgraphs::Addresses;
use crate::world::Bench;

/// The programs, where `deploy/dev/bench` puts them.
const OUR_PROGRAM: &str = ".dev/bin/release/bashu-gateway";
const BARE_PROGRAM: &str = ".dev/bin/release/hive-router-bare";
/// How long a door may take until it joins.
const READY_TIME_MAX: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Nobody listens there: the join needs no third subgraph.
const NOBODY: &str = "http://127.0.0.1:9/graphql";
/// The limit is counted and never reached. Permits come from Redis in blocks of up to 50, so that
/// most requests ask it nothing; the usual limit of an address has blocks as large.
const REQUESTS_PER_MINUTE: u32 = 4_000_000_000;

/// What both doors read: where they find the graph and the subgraphs.
pub(super) struct Folder {
    path: PathBuf,
    supergraph: PathBuf,
    addresses: Addresses,
}

impl Folder {
    pub(super) fn make(bench: &Bench, addresses: Addresses) -> Result<Self> {
        let path = bench.folder().join("join");
        std::fs::create_dir_all(&path)?;
        let fixtures = tests::root().join("services/gateway/tests/fixtures");
        Ok(Self {
            path,
            supergraph: fixtures.join("supergraph.graphql"),
            addresses,
        })
    }
}

/// A running door.
pub(super) struct Door {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    pub(super) log: PathBuf,
    child: Child,
}

impl Door {
    pub(super) fn ours(bench: &Bench, folder: &Folder) -> Result<Self> {
        let address = free_address()?;
        let key = folder.path.join("subgraph_key");
        std::fs::write(&key, "09".repeat(32))?;
        let Addresses { identity, passes } = folder.addresses;
        let graph = |address| format!("http://{address}/graphql");
        let settings = toml::Table::from_iter([
            ("union".to_owned(), toml::Value::from(50)),
            ("mode".to_owned(), "development".into()),
            ("listen".to_owned(), address.to_string().into()),
            ("operations".to_owned(), free_address()?.to_string().into()),
            ("supergraph".to_owned(), text(&folder.supergraph).into()),
            ("subgraph_key_file".to_owned(), text(&key).into()),
            (
                "redis_url".to_owned(),
                bench.config().redis_url.expose_secret().into(),
            ),
            (
                "jwks_url".to_owned(),
                format!("http://{identity}/.well-known/jwks.json").into(),
            ),
            (
                "subgraphs".to_owned(),
                toml::Table::from_iter([
                    ("identity".to_owned(), graph(identity).into()),
                    ("passes".to_owned(), graph(passes).into()),
                    ("billing".to_owned(), NOBODY.into()),
                ])
                .into(),
            ),
            (
                "limits".to_owned(),
                toml::Table::from_iter([
                    (
                        "address_requests_per_minute".to_owned(),
                        toml::Value::from(i64::from(REQUESTS_PER_MINUTE)),
                    ),
                    (
                        "login_requests_per_minute".to_owned(),
                        toml::Value::from(i64::from(REQUESTS_PER_MINUTE)),
                    ),
                ])
                .into(),
            ),
        ]);
        let file = folder.path.join("gateway.toml");
        std::fs::write(&file, settings.to_string())?;
        let mut command = Command::new(tests::root().join(OUR_PROGRAM));
        command.env_clear().arg("--config").arg(file);
        Self::start(
            "our gateway",
            command,
            address,
            folder.path.join("gateway.log"),
        )
    }

    pub(super) fn bare(folder: &Folder) -> Result<Self> {
        let program = tests::root().join(BARE_PROGRAM);
        ensure!(
            program.exists(),
            "{} is missing: `make bench` builds it",
            program.display()
        );
        let address = free_address()?;
        let url = |address: String| json!({ "url": address });
        let settings = json!({
            "http": { "host": address.ip().to_string(), "port": address.port() },
            "supergraph": { "source": "file", "path": folder.supergraph },
            "override_subgraph_urls": { "subgraphs": {
                "identity": url(format!("http://{}/graphql", folder.addresses.identity)),
                "passes": url(format!("http://{}/graphql", folder.addresses.passes)),
                "billing": url(NOBODY.to_owned()),
            } },
        });
        let file = folder.path.join("bare.json");
        std::fs::write(&file, settings.to_string())?;
        let mut command = Command::new(program);
        command.env_clear().env("ROUTER_CONFIG_FILE_PATH", file);
        Self::start(
            "the bare router",
            command,
            address,
            folder.path.join("bare.log"),
        )
    }

    fn start(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        log: PathBuf,
    ) -> Result<Self> {
        let out = std::fs::File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        Ok(Self {
            name,
            address,
            log,
            child,
        })
    }

    /// Waits until it joins.
    pub(super) async fn ready(&mut self) -> Result<()> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()?;
        let asked = json!({ "query": QUERY, "variables": { "id": "first" } });
        let url = format!("http://{}/graphql", self.address);
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.name, self.log.display());
            }
            if let Ok(answer) = client.post(&url).json(&asked).send().await
                && answer.text().await?.contains("pass of first")
            {
                return Ok(());
            }
            ensure!(
                began.elapsed() < READY_TIME_MAX,
                "{} does not join: {}",
                self.name,
                self.log.display()
            );
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    pub(super) async fn stop(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// An address that nobody listens at now.
fn free_address() -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?)
}
