//! A second server that is made of the first one as an operator would after a loss: a base backup
//! with the log that belongs to it, replayed when it starts. What a backup holds is searched as
//! the databases are, by a dump of each.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tests::{TestWorld, variable};

use crate::search::Search;

pub(crate) const RESTORED: &str = "restored";
/// Where distributions keep each version's programs.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Whom a server runs as that root starts: it refuses to be root itself.
const USER: [&str; 4] = [
    "--reuid=postgres",
    "--regid=postgres",
    "--init-groups",
    "--",
];
/// Backups that are begun, at most.
const BACKUPS_MAX: usize = 5;
/// How long the log may take to be replayed.
const START_SECONDS_MAX: &str = "120";

/// The copy's data folder and its server, which end with it.
struct Backup {
    folder: PathBuf,
    port: u16,
}

/// Makes a copy of the test server and looks at the world's databases in it.
pub(crate) fn restored(search: &Search, world: &TestWorld) {
    let copy = Backup::made();
    for name in world.databases() {
        let dump = copy.dump(&name);
        search.look(RESTORED, &name, &dump.stdout);
    }
}

impl Backup {
    fn made() -> Self {
        let folder = std::env::temp_dir().join(format!("bashu-restored-{}", std::process::id()));
        // What a killed run left.
        let _gone = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        if is_root() {
            well(Command::new("chown").arg("postgres:").arg(&folder));
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let copy = Self { folder, port };
        copy.back_up();
        drop(listener);
        let options = format!("-p {port}");
        let mut start = copy.control("start");
        start
            .args(["-w", "-t", START_SECONDS_MAX, "-o", &options, "-l"])
            .arg(copy.folder.join("log"));
        well(&mut start);
        copy
    }

    /// A database that another test drops meanwhile can vanish under the backup, which ends it:
    /// then it is begun anew.
    fn back_up(&self) {
        let mut backup = as_server("pg_basebackup");
        backup
            .args(["-h", &variable("BASHU_PG_HOST").unwrap()])
            .args(["-p", &variable("BASHU_PG_PORT").unwrap()])
            .args(["-U", &variable("BASHU_PG_SUPERUSER").unwrap()])
            .args(["--checkpoint=fast", "--wal-method=stream", "--no-password"])
            .arg("-D")
            .arg(self.data())
            .env("PGPASSWORD", password())
            .stdout(Stdio::null());
        // What it had copied it removes itself.
        let made = (0..BACKUPS_MAX).any(|_| backup.status().unwrap().success());
        assert!(made, "{BACKUPS_MAX} backups ended before they were whole");
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn control(&self, what: &str) -> Command {
        let mut command = as_server("pg_ctl");
        command.arg(what).arg("-D").arg(self.data());
        command
    }

    fn dump(&self, database: &str) -> Output {
        let mut dump = Command::new(program("pg_dump"));
        dump.args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", &variable("BASHU_PG_SUPERUSER").unwrap(), database])
            .env("PGPASSWORD", password());
        let dump = dump.output().unwrap();
        assert!(dump.status.success(), "{}", said(&dump));
        dump
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        // One that never started has nothing to stop.
        let _stopped = self
            .control("stop")
            .args(["-w", "-m", "immediate"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} was left behind: {error}", self.folder.display());
        }
    }
}

fn password() -> String {
    variable("BASHU_PG_SUPERUSER_PASSWORD").unwrap()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A program that runs as a server may.
fn as_server(name: &str) -> Command {
    let path = program(name);
    // Its own folder, since the checkout may be none of the server's to enter.
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(USER).arg(path);
        command
    } else {
        Command::new(path)
    };
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// A program of the newest version that is installed, or the one on the path.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let installed = versions.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let path = entry.path().join("bin").join(name);
        path.exists().then_some((version, path))
    });
    installed
        .max()
        .map_or_else(|| Path::new(name).to_owned(), |(_, path)| path)
}

/// Runs it, which must go well.
fn well(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?} ended with {status}");
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
