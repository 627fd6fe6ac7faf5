//! A full disk under a server: what it writes moves to a small tmpfs, which is filled until the
//! server says that there is no space left, and is then enlarged and nothing else. What was
//! acknowledged before must be there afterwards; the comparison at the end sees to that.
//!
//! Needs root and a kernel that lets it mount. Where that is not so it says so and does nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::process::Command;

use crate::supervisor::Supervisor;
use crate::world::Component;

/// Room beside what is moved: what a server begins at its start.
const ROOM_MB: u64 = 32;
/// What is left beside another's file that fills the disk, in bytes.
const LEFT_BYTES: u64 = 64 * 1024;
/// After enlarging there is this much more.
const ENLARGED_MB: u64 = 1_024;
const FULL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may take to end after it said so.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts to take the room that is left.
const ROOM_ATTEMPTS_MAX: usize = 20;
const POLL: Duration = Duration::from_millis(100);
/// What both say of it.
const SAID: &str = "No space left on device";
const BYTES_PER_MB: u64 = 1024 * 1024;

/// What came of it.
#[derive(Debug)]
pub(crate) enum Filled {
    /// From enlarging until all services were ready.
    Recovered(Duration),
    Impossible(String),
}

/// The small disk of one server.
#[derive(Debug)]
struct Disk<'a> {
    supervisor: &'a Supervisor,
    server: Component,
    /// What moves to the small disk.
    moved: PathBuf,
    /// Where the small disk is mounted; `deploy/dev/chaos` unmounts it.
    small: PathBuf,
    /// What the server says in its present life.
    said: PathBuf,
    size_mb: u64,
}

/// Moves what a server writes, fills the disk, enlarges it, and waits for the services.
///
/// # Errors
/// When the disk does not fill, or the server does not come back.
pub(crate) async fn fill(supervisor: &Supervisor, server: Component) -> Result<Filled> {
    let folder = supervisor.world.union_folder();
    let own = folder.join(server.name());
    let (moved, said) = match server {
        Component::Postgres => (own.join("data/pg_wal"), own.join("out")),
        Component::Kafka => (own.join("data"), own.join("log")),
        Component::Identity
        | Component::Passes
        | Component::Billing
        | Component::Admission
        | Component::Gateway
        | Component::Sandbox
        | Component::Redis => bail!("{} has no disk that is filled", server.name()),
    };
    // In the server's own folder, which it may see under another name than we do.
    let small = own.join("disk");
    if let Some(why) = impossible(&small).await? {
        return Ok(Filled::Impossible(why));
    }
    let size_mb = size_mb(&moved).await? + ROOM_MB;
    let disk = Disk {
        supervisor,
        server,
        moved,
        small,
        said,
        size_mb,
    };
    disk.move_there().await?;
    let full = disk.until_full().await;
    let began = Instant::now();
    supervisor.heals();
    // Whatever became of it, no small disk stays.
    disk.mount("remount,", disk.size_mb + ENLARGED_MB).await?;
    full?;
    supervisor.up_again().await?;
    supervisor.ready(server).await?;
    let recovered = began.elapsed();
    if server == Component::Postgres {
        disk.rows("SELECT pg_drop_replication_slot('chaos')")
            .await?;
    }
    Ok(Filled::Recovered(recovered))
}

/// Why this machine cannot do it.
async fn impossible(small: &Path) -> Result<Option<String>> {
    if run("id", &["-u"]).await?.trim() != "0" {
        return Ok(Some("only root may mount a tmpfs".to_owned()));
    }
    std::fs::create_dir_all(small)?;
    // A try: a container's root may lack the right.
    if let Err(error) = mount("", 1, small).await {
        return Ok(Some(format!("{error:#}")));
    }
    run("umount", &[&small.display().to_string()]).await?;
    Ok(None)
}

impl Disk<'_> {
    async fn move_there(&self) -> Result<()> {
        self.mount("", self.size_mb).await?;
        self.supervisor.halt(self.server).await?;
        let moved = self.moved.display().to_string();
        let place = self.small.join("moved");
        let there = place.display().to_string();
        // Preallocated files are mostly holes, and stay so.
        run("cp", &["-a", "--sparse=always", &moved, &there]).await?;
        // Its server may pass through the mount, whoever that is; the files keep their owner.
        run("chmod", &["0755", &self.small.display().to_string()]).await?;
        std::fs::rename(&self.moved, self.moved.with_extension("before"))?;
        // Relative, so that it holds under whatever name the server sees its folder.
        let up = if self.server == Component::Postgres {
            "../disk/moved"
        } else {
            "disk/moved"
        };
        std::os::unix::fs::symlink(up, &self.moved)?;
        self.supervisor.up_again().await?;
        self.supervisor.ready(self.server).await
    }

    async fn mount(&self, how: &str, size_mb: u64) -> Result<()> {
        mount(how, size_mb, &self.small).await
    }

    /// Another's file takes the room that is left; then waits until the server has none for what it
    /// writes next.
    async fn until_full(&self) -> Result<()> {
        if self.server == Component::Postgres {
            // Else it would write over the segments that it has done with, for ever.
            self.rows("SELECT pg_create_physical_replication_slot('chaos', true)")
                .await?;
        }
        self.take_room().await?;
        let began = Instant::now();
        while !self.is_full().await {
            ensure!(began.elapsed() < FULL_TIMEOUT, "the disk does not fill");
            if self.server == Component::Postgres {
                // A refusal is what is waited for: the next look at the log tells why.
                let _ = self.rows("SELECT pg_switch_wal()").await;
            }
            tokio::time::sleep(POLL).await;
        }
        if self.server == Component::Kafka {
            self.until_ended().await;
        }
        Ok(())
    }

    async fn rows(&self, query: &str) -> Result<()> {
        let rows = self.supervisor.world.rows("postgres", query).await;
        rows.map(drop)
    }

    /// A broker whose only folder has failed ends itself. One that does not is left to recover.
    async fn until_ended(&self) {
        let began = Instant::now();
        while began.elapsed() < END_TIMEOUT && self.supervisor.lives(self.server).await {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether the server said so, or died of it: a page of a mapped file that cannot be had ends
    /// the process without a word of its own.
    async fn is_full(&self) -> bool {
        let text = std::fs::read(&self.said).unwrap_or_default();
        if String::from_utf8_lossy(&text).contains(SAID) {
            return true;
        }
        let room = self.room_bytes().await.unwrap_or(u64::MAX);
        room < LEFT_BYTES && !self.supervisor.lives(self.server).await
    }

    /// The server writes meanwhile: what it takes between the look and the act makes the act fail,
    /// and the next look sees less.
    async fn take_room(&self) -> Result<()> {
        let file = self.small.join("others").display().to_string();
        let mut last = anyhow!("never tried");
        for _ in 0..ROOM_ATTEMPTS_MAX {
            let bytes = self.room_bytes().await?.saturating_sub(LEFT_BYTES);
            if bytes == 0 {
                return Ok(());
            }
            match run("fallocate", &["-l", &bytes.to_string(), &file]).await {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last.context("the room that is left cannot be taken"))
    }

    async fn room_bytes(&self) -> Result<u64> {
        let small = self.small.display().to_string();
        let text = run("df", &["--output=avail", "-B1", &small]).await?;
        let last = text.lines().last().unwrap_or_default();
        last.trim().parse().context("df said no size")
    }
}

/// What a folder takes on the disk, rounded up.
async fn size_mb(folder: &Path) -> Result<u64> {
    let text = run("du", &["-sL", "-B1", &folder.display().to_string()]).await?;
    let first = text.split_whitespace().next().unwrap_or_default();
    let bytes: u64 = first.parse().context("du said no size")?;
    Ok(bytes.div_ceil(BYTES_PER_MB))
}

async fn mount(how: &str, size_mb: u64, folder: &Path) -> Result<()> {
    let option = format!("{how}size={size_mb}m");
    let folder = folder.display().to_string();
    let arguments = ["-t", "tmpfs", "-o", &option, "tmpfs", &folder];
    run("mount", &arguments).await.map(drop)
}

async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .output()
        .await
        .with_context(|| format!("{program} cannot be started"))?;
    ensure!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
