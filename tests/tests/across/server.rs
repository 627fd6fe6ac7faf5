//! A Redis that belongs to one union of one world, on a socket file, and ends with it: what is done
//! to it reaches nobody else.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// How long the server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);
/// How long it may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The running server.
#[derive(Debug)]
pub(crate) struct OwnRedis {
    child: Child,
    folder: PathBuf,
}

impl OwnRedis {
    /// Starts an empty one. Its socket is not in the checkout, whose path may be too long for one.
    ///
    /// # Errors
    /// When there is no `redis-server`, or it does not listen.
    pub(crate) fn start(name: &str) -> Result<Self> {
        let folder =
            std::env::temp_dir().join(format!("bashu-tests-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .args(["--unixsocket", "socket", "--unixsocketperm", "700"])
            .current_dir(&folder)
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server is not there")?;
        let own = Self { child, folder };
        let began = Instant::now();
        while own.connect().is_err() {
            ensure!(began.elapsed() < START_TIMEOUT, "redis does not listen");
            std::thread::sleep(POLL);
        }
        Ok(own)
    }

    /// The address that a configuration names.
    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Throws away all that it holds.
    ///
    /// # Errors
    /// When it does not do so.
    pub(crate) fn flush_all(&self) -> Result<()> {
        let answer = self.ask("FLUSHALL")?;
        ensure!(answer == "+OK", "FLUSHALL answered {answer}");
        Ok(())
    }

    /// How many keys it holds.
    ///
    /// # Errors
    /// When it does not say.
    pub(crate) fn keys(&self) -> Result<u64> {
        let answer = self.ask("DBSIZE")?;
        match answer.strip_prefix(':') {
            Some(number) => Ok(number.parse()?),
            None => bail!("DBSIZE answered {answer}"),
        }
    }

    fn ask(&self, command: &str) -> Result<String> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }

    fn connect(&self) -> std::io::Result<UnixStream> {
        UnixStream::connect(self.socket())
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        // It is gone already, or it goes now.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
