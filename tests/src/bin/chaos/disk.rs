//! A full disk under PostgreSQL: its write-ahead log moves to a small tmpfs, which is filled until
//! the server says that there is no space left, and is then enlarged and nothing else. What was
//! acknowledged before must be there afterwards; the comparison at the end sees to that.
//!
//! Needs root and a kernel that lets it mount. Where that is not so it says so and does nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::supervisor::Supervisor;
use crate::world::Component;

/// Room beside what the log holds when it is moved: two segments.
const ROOM_MB: u64 = 32;
/// After enlarging.
const ENLARGED_MB: u64 = 1_024;
const FULL_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// What PostgreSQL says.
const SAID: &str = "No space left on device";
/// The tmpfs, in the union's folder; `deploy/dev/chaos` unmounts it.
pub(crate) const FOLDER: &str = "wal";

/// What came of it.
#[derive(Debug)]
pub(crate) enum Filled {
    /// From enlarging until all services were ready.
    Recovered(Duration),
    Impossible(String),
}

/// Moves the log, fills the disk, enlarges it, and waits for the services.
///
/// # Errors
/// When the disk does not fill, or the server does not come back.
pub(crate) async fn fill(supervisor: &Supervisor) -> Result<Filled> {
    let folder = supervisor.world.union_folder();
    let (data, small) = (folder.join("postgres/data"), folder.join(FOLDER));
    if run("id", &["-u"]).await?.trim() != "0" {
        return Ok(Filled::Impossible("only root may mount a tmpfs".to_owned()));
    }
    let head = supervisor.pid(Component::Postgres).await?;
    let command = std::fs::read_to_string(format!("/proc/{head}/cmdline"))?;
    if !command.contains(&data.display().to_string()) {
        let why = "the server sees the checkout under another name and would not see the tmpfs";
        return Ok(Filled::Impossible(why.to_owned()));
    }
    std::fs::create_dir_all(&small)?;
    let megabytes = size_mb(&data.join("pg_wal")).await? + ROOM_MB;
    let option = format!("size={megabytes}m,mode=0700");
    if let Err(error) = mount(&option, &small).await {
        return Ok(Filled::Impossible(format!("{error:#}")));
    }
    let (small_text, wal) = (small.display().to_string(), data.join("pg_wal"));
    let wal_text = wal.display().to_string();
    supervisor.halt(Component::Postgres).await?;
    run("cp", &["-a", &format!("{wal_text}/."), &small_text]).await?;
    run("chown", &["postgres:", &small_text]).await?;
    std::fs::rename(&wal, data.join("pg_wal.before"))?;
    std::os::unix::fs::symlink(&small, &wal)?;
    supervisor.up_again().await?;
    supervisor.ready(Component::Postgres).await?;

    until_full(supervisor, &folder.join("postgres/out")).await?;
    let began = Instant::now();
    let option = format!("remount,size={ENLARGED_MB}m");
    mount(&option, &small).await?;
    supervisor.up_again().await?;
    supervisor.ready(Component::Postgres).await?;
    Ok(Filled::Recovered(began.elapsed()))
}

/// Begins one segment of the log after the other, until there is no room for the next.
async fn until_full(supervisor: &Supervisor, said: &Path) -> Result<()> {
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(said).unwrap_or_default();
        if text.contains(SAID) {
            return Ok(());
        }
        ensure!(began.elapsed() < FULL_TIMEOUT, "the disk does not fill");
        // A refusal is what is waited for: the next look at the log tells why.
        let _ = supervisor
            .world
            .rows("postgres", "SELECT pg_switch_wal()")
            .await;
        tokio::time::sleep(POLL).await;
    }
}

async fn size_mb(folder: &Path) -> Result<u64> {
    let text = run("du", &["-sm", &folder.display().to_string()]).await?;
    let first = text.split_whitespace().next().unwrap_or_default();
    first.parse().context("du said no size")
}

async fn mount(option: &str, folder: &Path) -> Result<()> {
    let folder: PathBuf = folder.to_owned();
    let arguments = [
        "-t",
        "tmpfs",
        "-o",
        option,
        "tmpfs",
        &folder.display().to_string(),
    ];
    run("mount", &arguments).await.map(drop)
}

async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().await?;
    ensure!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
