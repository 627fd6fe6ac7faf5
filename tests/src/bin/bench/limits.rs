//! What this machine gives at all, taken in the same run as what is compared with it: commits on
//! one row and on many rows, an HTTP server that does nothing, and a disk that only syncs.

use std::io::{Seek, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use tests::load::{self, Arrivals, HttpRequest, Plan, Requests};
use tokio::process::Command;

use crate::figure::{Better, Figure};
use crate::superuser::Superuser;
use crate::world::Bench;

/// The database of pgbench, made and dropped here.
const DATABASE: &str = "bench_limits";
/// The same for what a larger table costs PostgreSQL itself: 100,000 rows for each of its scale.
const SCALES: [&str; 2] = ["1", "50"];
/// Seconds of one run of pgbench.
const PGBENCH_SECONDS: &str = "6";
/// Clients of pgbench; the better of the two counts.
const CLIENTS: [&str; 2] = ["16", "64"];
/// Connections to the HTTP server, as many as the services get.
pub(crate) const CONNECTIONS: usize = 64;
const AXUM_PORT: u16 = 15_070;
const AXUM_SECONDS: Duration = Duration::from_secs(4);
const SYNC_SECONDS: Duration = Duration::from_secs(2);
/// One page of PostgreSQL's log.
const SYNC_BYTES: usize = 8_192;
/// How long the HTTP server may take to listen.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// One hot row, in the fastest form we know: one statement that books, notes the event and counts,
/// so that the row is locked once and late.
const HOT: &str = "\
WITH booked AS (INSERT INTO booking (quota, member) VALUES (1, gen_random_uuid()) RETURNING id), \
noted AS (INSERT INTO outbox (payload) SELECT repeat('x', 200)::bytea FROM booked) \
UPDATE quota SET sold = sold + 1 WHERE id = 1;
";
const TABLES: [&str; 4] = [
    "CREATE TABLE quota (id int PRIMARY KEY, sold bigint NOT NULL) WITH (fillfactor = 50)",
    "CREATE TABLE booking (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
     quota int NOT NULL, member uuid NOT NULL, at timestamptz NOT NULL DEFAULT now())",
    "CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY, payload bytea NOT NULL)",
    "INSERT INTO quota VALUES (1, 0)",
];

/// The limits, each in a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// pgbench on one row.
    pub(crate) hot_row: f64,
    /// pgbench on random rows of a million (`-N`).
    pub(crate) many_rows: f64,
    /// Requests that axum answers without looking at them.
    pub(crate) axum: f64,
    /// Pages written and synced.
    pub(crate) syncs: f64,
}

impl Limits {
    /// Measures all of them: about half a minute.
    ///
    /// # Errors
    /// When pgbench is not installed, or something does not run.
    pub(crate) async fn measure(bench: &Bench) -> Result<Self> {
        let superuser = bench.superuser();
        check_durable(superuser).await?;
        let drop = format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)");
        let create = format!("CREATE DATABASE {DATABASE}");
        superuser.sql("postgres", &[&drop, &create]).await?;
        superuser.sql(DATABASE, &TABLES).await?;
        let script = bench.folder().join("hot-row.sql");
        std::fs::write(&script, HOT)?;
        let pgbench = pgbench_program()?;
        let hot = ["-f", &script.display().to_string()];
        let hot_row = best(superuser, &pgbench, &hot).await?;
        pgbench_run(superuser, &pgbench, &["-i", "-q", "-s", "10"]).await?;
        let many_rows = best(superuser, &pgbench, &["-N"]).await?;
        superuser.sql("postgres", &[&drop]).await?;
        Ok(Self {
            hot_row,
            many_rows,
            axum: axum_rate().await?,
            syncs: sync_rate(bench.folder().to_owned()).await?,
        })
    }
}

/// The part `limits`: the figures for themselves.
///
/// # Errors
/// As [`Limits::measure`].
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let limits = bench.limits().await?;
    let of = |name: &str, value| Figure::new(name, value, "/s", Better::Higher);
    Ok(vec![
        of("limit.pgbench_hot_row", limits.hot_row),
        of("limit.pgbench_many_rows", limits.many_rows),
        of("limit.axum", limits.axum),
        of("limit.fdatasync", limits.syncs),
    ])
}

/// How many times slower PostgreSQL by itself finds a row by its key among 5,000,000 than among
/// 100,000.
///
/// # Errors
/// When pgbench is not installed, or the server refuses.
pub(crate) async fn growth(bench: &Bench) -> Result<f64> {
    let superuser = bench.superuser();
    let pgbench = pgbench_program()?;
    let drop = format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)");
    let create = format!("CREATE DATABASE {DATABASE}");
    let mut rates = Vec::with_capacity(SCALES.len());
    for scale in SCALES {
        superuser.sql("postgres", &[&drop, &create]).await?;
        pgbench_run(superuser, &pgbench, &["-i", "-q", "-s", scale]).await?;
        rates.push(best(superuser, &pgbench, &["-S"]).await?);
    }
    superuser.sql("postgres", &[&drop]).await?;
    Ok(rates[0] / rates[1])
}

/// A figure of a server that does not keep what it acknowledged would mean nothing.
async fn check_durable(superuser: &Superuser) -> Result<()> {
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let rows = superuser
            .rows("postgres", &format!("SHOW {setting}"))
            .await?;
        let value: String = rows
            .first()
            .ok_or_else(|| anyhow!("no {setting}"))?
            .try_get_by_index(0)?;
        ensure!(value == "on", "{setting} is {value}, not on");
    }
    Ok(())
}

/// Beside the newest server of the distribution, or on the PATH.
fn pgbench_program() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(std::result::Result::ok)
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            let program = entry.path().join("bin/pgbench");
            program.exists().then_some((version, program))
        })
        .collect();
    found.sort();
    if let Some((_, program)) = found.pop() {
        return Ok(program);
    }
    let status = std::process::Command::new("pgbench")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    ensure!(
        status.is_ok_and(|status| status.success()),
        "pgbench is not installed: it comes with PostgreSQL's server"
    );
    Ok(PathBuf::from("pgbench"))
}

async fn best(superuser: &Superuser, program: &Path, what: &[&str]) -> Result<f64> {
    let mut best: f64 = 0.0;
    for clients in CLIENTS {
        let mut arguments = vec!["-n", "-M", "prepared", "-j", "2", "-T", PGBENCH_SECONDS];
        arguments.extend(["-c", clients]);
        arguments.extend(what);
        let said = pgbench_run(superuser, program, &arguments).await?;
        let rate = said
            .lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
            .ok_or_else(|| anyhow!("pgbench gave no rate: {said}"))?;
        best = best.max(rate);
    }
    Ok(best)
}

async fn pgbench_run(superuser: &Superuser, program: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .args(["-h", &superuser.host, "-p", &superuser.port.to_string()])
        .args(["-U", &superuser.user, DATABASE])
        .env("PGPASSWORD", &superuser.password)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pgbench: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An answer as long as that of a scan.
const ANSWER: &str = "{\"data\":{\"redeem\":{\"decision\":\"ADMIT\",\"reason\":null,\
    \"explanation\":\"\",\"nextTryAt\":null,\"remaining\":{\"today\":0,\"venue\":null,\
    \"total\":null},\"hints\":{\"documentCheck\":false},\"userErrors\":[]}}}";

/// What the child of [`axum_rate`] does: reads a body, answers, nothing else.
///
/// # Errors
/// When the address is taken.
pub(crate) async fn serve_axum(address: SocketAddr) -> Result<()> {
    let answer = |_: Bytes| async { ([("content-type", "application/json")], ANSWER) };
    let router = axum::Router::new().route("/graphql", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, router).await?;
    Ok(())
}

struct Nothing;

impl Requests for Nothing {
    fn request(&self, number: u64) -> HttpRequest {
        // As long as a scan.
        let body = Bytes::from(format!("{:<700}", number));
        Request::post("/graphql")
            .header("host", "bench")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .unwrap_or_default()
    }

    fn judge(&self, _: u64, status: StatusCode, _: &[u8]) -> std::result::Result<(), String> {
        status
            .is_success()
            .then_some(())
            .ok_or_else(|| status.to_string())
    }
}

async fn axum_rate() -> Result<f64> {
    let address = SocketAddr::from(([127, 0, 0, 1], AXUM_PORT));
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--serve-axum", &address.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let began = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        ensure!(began.elapsed() < LISTEN_TIMEOUT, "axum does not listen");
        tokio::time::sleep(POLL).await;
    }
    let plan = Plan {
        address,
        connections: CONNECTIONS,
        arrivals: Arrivals::Saturate,
        length: AXUM_SECONDS,
        requests_max: u64::MAX,
    };
    let outcome = load::run(plan, Arc::new(Nothing)).await?;
    child.kill().await?;
    ensure!(outcome.wrong == 0, "axum: {:?}", outcome.first_wrong);
    Ok(outcome.rate())
}

/// How often the disk of the world takes a page and says that it is there for good.
async fn sync_rate(folder: PathBuf) -> Result<f64> {
    tokio::task::spawn_blocking(move || {
        let path = folder.join("sync");
        let mut file = std::fs::File::create(&path)?;
        let page = [1u8; SYNC_BYTES];
        file.write_all(&page)?;
        file.sync_all()?;
        let began = Instant::now();
        let mut count = 0u32;
        while began.elapsed() < SYNC_SECONDS {
            file.rewind()?;
            file.write_all(&page)?;
            file.sync_data()?;
            count += 1;
        }
        let rate = f64::from(count) / began.elapsed().as_secs_f64();
        std::fs::remove_file(&path)?;
        Ok(rate)
    })
    .await?
}
