//! The processes of a development world: started, waited for, and stopped by their own id.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

/// How long a process may take until it answers that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// How long a process may take to end before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(35);

/// A process, and where it says that it is ready.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) name: String,
    child: Child,
    ready: String,
}

/// A program with its arguments, and the variables it is to see beside those of this process;
/// none of this process's own `BASHU_*` is passed on.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    /// The address that answers 200 when it is ready.
    pub(crate) ready: String,
}

/// A command that sees none of this process's own settings.
pub(crate) fn command(path: &Path) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BASHU_")) {
        command.env_remove(name);
    }
    command
}

impl Running {
    /// Starts a program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(program: Program) -> Result<Self> {
        let log = std::fs::File::create(&program.log)
            .with_context(|| format!("{} cannot be written", program.log.display()))?;
        let child = command(&program.path)
            .args(program.arguments)
            .envs(program.variables)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.path.display()))?;
        Ok(Self {
            name: program.name,
            child,
            ready: program.ready,
        })
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends before, or takes longer than a minute.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .build()?;
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}; its log says why", self.name);
            }
            let answer = http.get(&self.ready).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if began.elapsed() > READY_TIMEOUT {
                bail!(
                    "{} is not ready after {} s",
                    self.name,
                    READY_TIMEOUT.as_secs()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub(crate) async fn ended(&mut self) -> Result<std::process::ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// Asks it to end, and kills it when it takes too long.
    pub(crate) async fn stop(mut self) {
        if let Some(id) = self.child.id() {
            // `kill` of the shell's own tools: no unsafe code for one signal.
            let asked = Command::new("kill")
                .arg("-TERM")
                .arg(id.to_string())
                .status()
                .await;
            if asked.is_ok_and(|status| status.success())
                && tokio::time::timeout(STOP_TIMEOUT, self.child.wait())
                    .await
                    .is_ok()
            {
                return;
            }
        }
        // It is gone already, or it has to go.
        let _ = self.child.kill().await;
    }
}
