//! The processes of a development world: started, waited for, and stopped by their own id. Each has
//! a limit on what it maps, so that one which leaks dies alone instead of taking the machine along.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

use super::leftover::{self, STOP_TIMEOUT};

/// How long a process may take until it answers that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// How long a port of this machine may take to show whether somebody listens.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// A process, and where it says that it is ready.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) name: String,
    child: Child,
    ready: String,
    folder: PathBuf,
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
    /// Where it is on record while it runs.
    pub(crate) folder: PathBuf,
    /// What answers 200 when it is ready, as `host:port/path`.
    pub(crate) ready: String,
    /// Bytes of address space that it may map, at most.
    pub(crate) mapped_bytes_max: u64,
}

impl Program {
    /// Refuses when somebody answers where it wants to listen: what is said of it afterwards would
    /// be true of a stranger.
    fn port_is_free(&self) -> Result<()> {
        let address = self.ready.split('/').next().unwrap_or_default();
        let address: SocketAddr = address.parse().context("where it listens")?;
        if TcpStream::connect_timeout(&address, LOOK_TIMEOUT).is_ok() {
            bail!(
                "{} cannot start: another program answers on {address}. Stop that one, or choose \
                 other ports, for instance: BASHU_PORT_OFFSET=200 make run",
                self.name
            );
        }
        Ok(())
    }
}

/// A command that sees none of this process's own settings.
pub(crate) fn command(path: &Path) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BASHU_")) {
        command.env_remove(name);
    }
    command
}

/// The same, as a process that may map this much and not more; the id stays the same.
fn limited(path: &Path, mapped_bytes_max: u64) -> Command {
    let mut command = command(Path::new("prlimit"));
    command.arg(format!("--as={mapped_bytes_max}")).arg(path);
    command
}

impl Running {
    /// Starts a program.
    ///
    /// # Errors
    /// When another program listens where it would, or it cannot be started.
    pub(crate) fn start(program: Program) -> Result<Self> {
        program.port_is_free()?;
        let path = std::fs::canonicalize(&program.path)
            .with_context(|| format!("{} is missing", program.path.display()))?;
        let log = std::fs::File::create(&program.log)
            .with_context(|| format!("{} cannot be written", program.log.display()))?;
        let child = limited(&path, program.mapped_bytes_max)
            .args(program.arguments)
            .envs(program.variables)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", path.display()))?;
        if let Some(id) = child.id() {
            leftover::remember(&program.folder, id, &path)?;
        }
        Ok(Self {
            name: program.name,
            child,
            ready: format!("http://{}", program.ready),
            folder: program.folder,
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
        self.end().await;
        leftover::forget(&self.folder);
    }

    async fn end(&mut self) {
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// More than either program of the tests maps to begin with.
    const MAPPED_BYTES_MAX: u64 = 256 << 20;

    fn program(name: &str, path: &str, argument: &str, ready: &str) -> Program {
        let folder = std::env::temp_dir().join(format!("bashu-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Program {
            name: name.to_owned(),
            path: path.into(),
            arguments: vec![argument.to_owned()],
            variables: Vec::new(),
            log: folder.join("log"),
            folder,
            ready: ready.to_owned(),
            mapped_bytes_max: MAPPED_BYTES_MAX,
        }
    }

    /// A port where nobody listens a moment later.
    fn free() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("{}/ready", listener.local_addr().unwrap())
    }

    /// A process that takes ever more memory ends; the one beside it, and this one, do not.
    #[tokio::test]
    async fn who_takes_too_much_memory_dies_alone() {
        // It looks for the end of a line that never ends.
        let greedy = program("greedy", "/usr/bin/tail", "/dev/zero", &free());
        let modest = program("modest", "/usr/bin/sleep", "300", &free());
        let folders = [greedy.folder.clone(), modest.folder.clone()];
        let mut greedy = Running::start(greedy).unwrap();
        let mut modest = Running::start(modest).unwrap();
        let ended = tokio::time::timeout(READY_TIMEOUT, greedy.ended()).await;
        assert!(!ended.unwrap().unwrap().success());
        assert!(modest.child.try_wait().unwrap().is_none());
        modest.stop().await;
        assert!(!folders[1].join("pid").exists(), "it is forgotten");
        for folder in folders {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }

    /// Who already answers at the address would be taken for the process that was started.
    #[tokio::test]
    async fn a_port_that_is_taken_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ready = format!("{}/", listener.local_addr().unwrap());
        let program = program("refused", "/usr/bin/sleep", "300", &ready);
        let folder = program.folder.clone();
        let refused = Running::start(program).unwrap_err().to_string();
        assert!(refused.contains("another program answers"), "{refused}");
        assert!(!folder.join("pid").exists(), "nothing was started");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
