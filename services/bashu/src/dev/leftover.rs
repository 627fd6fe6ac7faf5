//! What a run that was killed left behind: each process of a development world has a folder that
//! says which one it is, so that the next run, or `deploy/dev/down`, ends it. Without this a new
//! run would be answered by the processes of the old one, which hold its ports.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::files::write_private;

/// How long a process may take to end before it is killed.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(35);
/// How long the kernel may take to be rid of a process that was killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);
/// The place of the start time in `/proc/<id>/stat`, counted behind the program's name.
const START_TIME_FIELD: usize = 19;
const FILE: &str = "pid";

/// One process, told from every other that had or will have its id.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    id: u32,
    /// In the kernel's ticks since it started.
    started: String,
    program: PathBuf,
}

impl Mark {
    fn of(id: u32, program: &Path) -> Option<Self> {
        Some(Self {
            id,
            started: started(id)?,
            program: program.to_owned(),
        })
    }

    /// As `deploy/dev/process.sh` reads it: id and start time, then the program's path.
    fn read(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join(FILE)).ok()?;
        let mut lines = text.lines();
        let (id, started) = lines.next()?.split_once(' ')?;
        Some(Self {
            id: id.parse().ok()?,
            started: started.to_owned(),
            program: PathBuf::from(lines.next()?),
        })
    }

    /// Whether it still runs: the same id, start time and program. A program that was built anew
    /// meanwhile has ` (deleted)` behind its path.
    fn runs(&self) -> bool {
        let path = fs::read_link(format!("/proc/{}/exe", self.id)).unwrap_or_default();
        let path = path.to_string_lossy();
        let program = self.program.to_string_lossy();
        started(self.id).as_ref() == Some(&self.started)
            && path.strip_suffix(" (deleted)").unwrap_or(&path) == program
    }
}

/// When a process that is not a zombie started; `None` when there is none of this id.
fn started(id: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, behind) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = behind.split(' ').collect();
    let is_zombie = *fields.first()? == "Z";
    (!is_zombie).then(|| {
        fields
            .get(START_TIME_FIELD)
            .map(|field| (*field).to_owned())
    })?
}

/// Writes which process belongs to this folder.
///
/// # Errors
/// When the folder cannot be written.
pub(crate) fn remember(folder: &Path, id: u32, program: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    // One that has ended already needs no mark.
    let Some(mark) = Mark::of(id, program) else {
        return Ok(());
    };
    let text = format!("{id} {}\n{}\n", mark.started, mark.program.display());
    write_private(&folder.join(FILE), &text)
}

/// The process of this folder ended as it should.
pub(crate) fn forget(folder: &Path) {
    // What cannot be removed names a process that runs no more.
    let _ = fs::remove_file(folder.join(FILE));
}

/// Ends every process that an earlier run left in one of `folder`'s folders; the ids.
///
/// # Errors
/// When one cannot be ended.
pub(crate) async fn end_all(folder: &Path) -> Result<Vec<u32>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    let mut ended = Vec::new();
    for entry in entries {
        let own = entry?.path();
        if let Some(mark) = Mark::read(&own)
            && mark.runs()
        {
            end(&mark).await?;
            ended.push(mark.id);
        }
        forget(&own);
    }
    Ok(ended)
}

async fn end(mark: &Mark) -> Result<()> {
    for (signal, timeout) in [("-TERM", STOP_TIMEOUT), ("-KILL", KILL_TIMEOUT)] {
        // It may be gone before the signal comes.
        let _ = Command::new("kill")
            .arg(signal)
            .arg(mark.id.to_string())
            .status()
            .await;
        let began = Instant::now();
        while began.elapsed() < timeout {
            if !mark.runs() {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }
    bail!("process {} of an earlier run cannot be ended", mark.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLEEP: &str = "/usr/bin/sleep";

    fn asleep() -> tokio::process::Child {
        Command::new(SLEEP)
            .arg("300")
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("bashu-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn program() -> PathBuf {
        fs::canonicalize(SLEEP).unwrap()
    }

    async fn until_it_runs(id: u32) {
        let exe = format!("/proc/{id}/exe");
        while fs::read_link(&exe).ok() != Some(program()) {
            tokio::time::sleep(POLL).await;
        }
    }

    /// What a killed run left is found and ended, also when its program was replaced meanwhile.
    #[tokio::test]
    async fn what_a_killed_run_left_is_ended() {
        let folder = folder("left");
        let mut left = asleep();
        let id = left.id().unwrap();
        until_it_runs(id).await;
        remember(&folder.join("bashu-50"), id, &program()).unwrap();
        // Whoever started it reaps it, as init would.
        let (ended, status) = tokio::join!(end_all(&folder), left.wait());
        assert_eq!(ended.unwrap(), [id]);
        assert!(!status.unwrap().success());
        assert_eq!(end_all(&folder).await.unwrap(), [0; 0], "it is forgotten");
        fs::remove_dir_all(folder).unwrap();
    }

    /// An id that was given to another process, or a process of another program, is not ours.
    #[tokio::test]
    async fn a_stranger_is_left_alone() {
        let folder = folder("stranger");
        let mut stranger = asleep();
        let id = stranger.id().unwrap();
        until_it_runs(id).await;
        let ours = Mark::of(id, &program()).unwrap();
        for (name, text) in [
            (
                "later",
                format!("{id} {}1\n{}\n", ours.started, ours.program.display()),
            ),
            ("other", format!("{id} {}\n/usr/bin/true\n", ours.started)),
            ("cut", format!("{id}")),
        ] {
            fs::create_dir_all(folder.join(name)).unwrap();
            fs::write(folder.join(name).join(FILE), text).unwrap();
        }
        assert_eq!(end_all(&folder).await.unwrap(), [0; 0]);
        assert!(stranger.try_wait().unwrap().is_none(), "it still runs");
        fs::remove_dir_all(folder).unwrap();
    }
}
