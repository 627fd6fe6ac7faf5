//! The world under load: one union's servers, as `deploy/dev/up bench` started them, and our own
//! processes, started here from a release build and stopped by their own ids.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use kit::config::Config;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::Args;
use crate::limits::Limits;
use crate::prepare::Prepared;
use crate::process::{mb, rss_kb, rss_mb};
use crate::superuser::Superuser;

/// Added to every port of ours, so that the bench runs beside `make run`.
const PORT_OFFSET: u16 = 1_000;
/// Where the providers' stand-ins listen without an offset.
const SANDBOX_PORT: u16 = 14_090;
/// Members of the demonstration world: enough that many a purchase is its member's first.
const MEMBERS: u32 = 6_000;
/// What waits for an order that nobody pays for, by the database that it waits in.
const WAITING_ORDERS: [(&str, &str); 2] = [
    (
        "billing",
        "DELETE FROM due WHERE kind IN ('expire', 'close')",
    ),
    ("passes", "DELETE FROM due WHERE kind = 'hold'"),
];
/// How long a process may take until it answers that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// How long a process may take to end before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(35);
/// How often the memory of our processes is looked at.
const MEMORY_EVERY: Duration = Duration::from_millis(250);
/// All load comes from one address here, so the gateway's limits are counted but never reached.
/// Requests are counted in blocks of up to 50 permits, taken from Redis ahead of them; with the
/// usual limits an address has blocks as large, and a login blocks of 5. What logs in is counted
/// one by one.
const GATEWAY_LIMITS: [(&str, &str); 3] = [
    (
        "BASHU_GATEWAY_LIMITS__ADDRESS_REQUESTS_PER_MINUTE",
        "1000000000",
    ),
    (
        "BASHU_GATEWAY_LIMITS__ADDRESS_LOGIN_FIELDS_PER_MINUTE",
        "1000000000",
    ),
    (
        "BASHU_GATEWAY_LIMITS__LOGIN_REQUESTS_PER_MINUTE",
        "1000000000",
    ),
];
/// The union whose stack is measured.
const UNION: &str = "50";

/// A process of ours.
#[derive(Debug)]
pub(crate) struct Process {
    /// `sandbox`, `services` or `gateway`.
    pub(crate) name: &'static str,
    pub(crate) pid: u32,
    child: Child,
}

/// The world and what is known of it.
#[derive(Debug)]
pub(crate) struct Bench {
    folder: PathBuf,
    config: Config,
    gateway: SocketAddr,
    gateway_operations: SocketAddr,
    sandbox: SocketAddr,
    superuser: Superuser,
    seconds: u64,
    connections: usize,
    processes: Vec<Process>,
    loaded: Mutex<BTreeSet<String>>,
    idle_mb: OnceCell<f64>,
    memory: Option<Memory>,
    limits: OnceCell<Limits>,
    prepared: OnceCell<Prepared>,
}

/// The largest memory of services and gateway together since it was begun.
#[derive(Debug)]
struct Memory {
    peak_kb: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Bench {
    /// Prepares the world and starts our processes.
    ///
    /// # Errors
    /// When the servers are not up, or something does not start.
    pub(crate) async fn start(args: &Args) -> Result<Self> {
        let root = tests::root();
        let folder = root.join(&args.folder);
        let env = read_env(&folder.join(UNION).join("env"))?;
        let need = |key: &str| -> Result<String> {
            env.get(key)
                .cloned()
                .ok_or_else(|| anyhow!("{key} is not in the world's env"))
        };
        let superuser = Superuser {
            host: need("BASHU_PG_HOST")?,
            port: need("BASHU_PG_PORT")?.parse()?,
            user: need("BASHU_PG_SUPERUSER")?,
            password: need("BASHU_PG_SUPERUSER_PASSWORD")?,
        };
        let program = root.join(&args.program);
        once(&program, &root, "dev", &folder, &["--prepare"]).await?;
        let text = std::fs::read_to_string(folder.join(UNION).join("bashu.toml"))?;
        let gateway_file = folder.join(UNION).join("gateway.toml");
        let gateway: toml::Value = toml::from_str(&std::fs::read_to_string(&gateway_file)?)?;
        let listener = |name: &str| -> Result<SocketAddr> {
            let address = gateway.get(name).and_then(toml::Value::as_str);
            let address = address.ok_or_else(|| anyhow!("the gateway's settings lack {name}"))?;
            Ok(address.parse()?)
        };
        let mut bench = Self {
            config: Config::from(Some(&text), [])?,
            gateway: listener("listen")?,
            gateway_operations: listener("operations")?,
            sandbox: SocketAddr::from(([127, 0, 0, 1], SANDBOX_PORT + PORT_OFFSET)),
            superuser,
            seconds: args.seconds,
            connections: args.connections,
            processes: Vec::new(),
            loaded: Mutex::default(),
            idle_mb: OnceCell::new(),
            memory: None,
            limits: OnceCell::new(),
            prepared: OnceCell::new(),
            folder,
        };
        // What a bench that was killed may have left.
        bench.delay_commits(false).await?;
        crate::profile::look_away(&bench).await?;
        if args.needs_processes() {
            bench.start_processes(args, &root).await?;
        }
        Ok(bench)
    }

    async fn start_processes(&mut self, args: &Args, root: &Path) -> Result<()> {
        let (program, gateway) = (root.join(&args.program), root.join(&args.gateway));
        let own = self.folder.join(UNION);
        let text = |path: PathBuf| path.display().to_string();
        let sandbox = self.sandbox.to_string();
        let folder = text(self.folder.join("sandbox"));
        let arguments = [
            "serve", "sandbox", "--folder", &folder, "--listen", &sandbox,
        ];
        let ready = format!("http://{sandbox}/");
        self.add("sandbox", &program, (&arguments, &[]), &ready)
            .await?;
        let config = text(own.join("bashu.toml"));
        let variables = [("BASHU_CONFIG", config.as_str())];
        let ready = format!("http://{}/ready", self.config.listen.ops());
        self.add(
            "services",
            &program,
            (&["serve", "all"], &variables),
            &ready,
        )
        .await?;
        let config = text(own.join("gateway.toml"));
        let ready = format!("http://{}/ready", self.gateway_operations);
        self.add(
            "gateway",
            &gateway,
            (&["--config", &config], &GATEWAY_LIMITS),
            &ready,
        )
        .await?;
        let members = MEMBERS.to_string();
        once(
            &program,
            root,
            "demo",
            &self.folder,
            &["--members", &members],
        )
        .await?;
        self.watch_memory();
        Ok(())
    }

    async fn add(
        &mut self,
        name: &'static str,
        program: &Path,
        (arguments, variables): (&[&str], &[(&str, &str)]),
        ready: &str,
    ) -> Result<()> {
        let log = std::fs::File::create(self.folder.join(format!("{name}.log")))?;
        let mut child = command(program)
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        until_ready(name, &mut child, ready).await?;
        let pid = child.id().ok_or_else(|| anyhow!("{name} ended"))?;
        self.processes.push(Process { name, pid, child });
        Ok(())
    }

    fn watch_memory(&mut self) {
        let peak_kb = Arc::new(AtomicU64::new(0));
        let pids = self.union_pids();
        let peak = Arc::clone(&peak_kb);
        #[expect(clippy::disallowed_methods, reason = "aborted when the bench stops")]
        let task = tokio::spawn(async move {
            loop {
                let sum = pids.iter().map(|pid| rss_kb(*pid)).sum();
                peak.fetch_max(sum, Ordering::Relaxed);
                tokio::time::sleep(MEMORY_EVERY).await;
            }
        });
        self.memory = Some(Memory { peak_kb, task });
    }

    /// Stops our processes, the last started first.
    pub(crate) async fn stop(&mut self) {
        if let Some(memory) = self.memory.take() {
            memory.task.abort();
        }
        while let Some(process) = self.processes.pop() {
            stop(process).await;
        }
    }

    /// Commits take 2 ms more, as on a disk of a cloud, or not.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn delay_commits(&mut self, delayed: bool) -> Result<()> {
        let settings: &[&str] = if delayed {
            &[
                "ALTER SYSTEM SET commit_delay = 2000",
                "ALTER SYSTEM SET commit_siblings = 0",
            ]
        } else {
            &[
                "ALTER SYSTEM RESET commit_delay",
                "ALTER SYSTEM RESET commit_siblings",
            ]
        };
        self.superuser.sql("postgres", settings).await?;
        self.superuser
            .sql("postgres", &["SELECT pg_reload_conf()"])
            .await?;
        self.limits = OnceCell::new();
        Ok(())
    }

    /// The union's configuration, as its processes read it.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The folder of the world.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the gateway listens.
    pub(crate) fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    /// Where a service's graph listens.
    pub(crate) fn graphql(&self, service: &str) -> SocketAddr {
        self.config.listen.graphql(service)
    }

    /// Where the providers' stand-ins listen.
    pub(crate) fn sandbox(&self) -> SocketAddr {
        self.sandbox
    }

    /// The administrator of the world's PostgreSQL.
    pub(crate) fn superuser(&self) -> &Superuser {
        &self.superuser
    }

    /// How long a measured run is.
    pub(crate) fn seconds(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Connections of a load: what the figures are asked for is the usual number.
    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    /// Tells the person at the terminal.
    pub(crate) fn say(&self, text: &str) {
        println!("   {text}");
    }

    /// The limits of this machine, measured at the first call of a pass.
    ///
    /// # Errors
    /// When one cannot be measured.
    pub(crate) async fn limits(&self) -> Result<&Limits> {
        self.limits.get_or_try_init(|| Limits::measure(self)).await
    }

    /// Venues, gates, a product and passes, made at the first call.
    ///
    /// # Errors
    /// When a service refuses.
    pub(crate) async fn prepared(&self) -> Result<&Prepared> {
        self.prepared.get_or_try_init(|| Prepared::make(self)).await
    }

    /// Our processes: sandbox, services, gateway.
    pub(crate) fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// The process ids of what one union runs: services and gateway.
    pub(crate) fn union_pids(&self) -> Vec<u32> {
        let own = self.processes.iter().filter(|one| one.name != "sandbox");
        own.map(|one| one.pid).collect()
    }

    /// What services and gateway held together after everything was prepared and before any
    /// load, in MB.
    ///
    /// # Errors
    /// When the services do not come to rest.
    pub(crate) async fn idle_mb(&self) -> Result<f64> {
        self.prepared().await?;
        let measure = || async {
            crate::observe::quiet(self).await?;
            Ok(self.union_rss_mb())
        };
        self.idle_mb.get_or_try_init(measure).await.copied()
    }

    /// Notes that a part was run.
    pub(crate) fn set_loaded(&self, part: &str) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.insert(part.to_owned());
    }

    /// Whether it was.
    pub(crate) fn was_loaded(&self, part: &str) -> bool {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.contains(part)
    }

    /// Takes away what waits for the orders that a load left unpaid: else a quarter of an hour
    /// later, amid another part, a hundred thousand of them would be closed.
    ///
    /// # Errors
    /// When the services do not come to rest, or the databases refuse.
    pub(crate) async fn forget_orders(&self) -> Result<()> {
        crate::observe::quiet(self).await?;
        for (database, statement) in WAITING_ORDERS {
            let statements = [statement, "VACUUM ANALYZE due"];
            self.superuser.sql(database, &statements).await?;
        }
        Ok(())
    }

    /// The memory of services and gateway together now, in MB.
    pub(crate) fn union_rss_mb(&self) -> f64 {
        self.union_pids().into_iter().map(rss_mb).sum()
    }

    /// The largest memory of services and gateway together so far, in MB.
    pub(crate) fn union_peak_mb(&self) -> f64 {
        self.memory
            .as_ref()
            .map_or(0.0, |memory| mb(memory.peak_kb.load(Ordering::Relaxed)))
    }
}

/// A command of `bashu` that ends by itself.
async fn once(program: &Path, root: &Path, verb: &str, folder: &Path, more: &[&str]) -> Result<()> {
    let output = command(program)
        .current_dir(root)
        .arg(verb)
        .args(["--union", UNION, "--port-offset", &PORT_OFFSET.to_string()])
        .arg("--folder")
        .arg(folder)
        .args(more)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "bashu {verb}: {said}");
    Ok(())
}

/// A command that sees none of this process's own settings.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BASHU_")) {
        command.env_remove(name);
    }
    command
}

async fn until_ready(name: &str, child: &mut Child, address: &str) -> Result<()> {
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(5))
        .build()?;
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("{name} ended with {status}; its log says why");
        }
        let answer = http.get(address).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        ensure!(began.elapsed() < READY_TIMEOUT, "{name} is not ready");
        tokio::time::sleep(POLL).await;
    }
}

async fn stop(mut process: Process) {
    let asked = Command::new("kill")
        .args(["-TERM", &process.pid.to_string()])
        .status()
        .await;
    if asked.is_ok_and(|status| status.success())
        && tokio::time::timeout(STOP_TIMEOUT, process.child.wait())
            .await
            .is_ok()
    {
        return;
    }
    // It is gone already, or it has to go.
    let _ = process.child.kill().await;
}

/// What a shell would read from a file of `KEY=VALUE` lines.
fn read_env(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} is missing: run make bench", path.display()))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
        .collect())
}
