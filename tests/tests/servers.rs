//! The scripts of `deploy/dev`, in a copy of them with ports and data of its own: what they start
//! stays, what was killed comes back, and what they cannot do they say.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail it")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::root;

/// A world of one union that nothing else uses in a copy.
const WORLD: &str = "bench";
const SERVERS: [&str; 3] = ["postgres", "redis", "kafka"];
/// Ports of the copy, moved by up to a hundred steps, so that two checkouts do not meet. All stay
/// below 32,768, from where on Linux gives a free port to whoever connects somewhere.
const OFFSET: u32 = 8_000;
const OFFSET_STEPS: u32 = 100;
const OFFSET_STEP: u32 = 10;
/// Nobody, who owns nothing.
const NOBODY: &str = "65534";
/// What the scripts themselves need, where a machine has nothing of what Bashu needs.
const TOOLS: [&str; 11] = [
    "bash", "env", "dirname", "sort", "tail", "head", "grep", "cut", "sed", "id", "apt-get",
];

/// A checkout with nothing in it but the scripts.
struct Checkout(PathBuf);

impl Checkout {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("bashu-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let copied = Command::new("cp")
            .arg("-r")
            .args([root().join("deploy"), folder.join("deploy")])
            .status();
        assert!(copied.unwrap().success());
        Self(folder)
    }

    fn script(&self, name: &str) -> PathBuf {
        self.0.join("deploy/dev").join(name)
    }

    /// Runs a script for the world; whether it went well, and what it said.
    fn run(&self, name: &str) -> (bool, String) {
        let offset = OFFSET + std::process::id() % OFFSET_STEPS * OFFSET_STEP;
        let mut command = Command::new(self.script(name));
        command
            .arg(WORLD)
            .env("BASHU_PORT_OFFSET", offset.to_string());
        told(&command.output().unwrap())
    }

    fn well(&self, name: &str) -> String {
        let (well, said) = self.run(name);
        assert!(well, "{name}: {said}");
        said
    }

    /// The first line of each server's `pid`.
    fn processes(&self) -> Vec<String> {
        let folder = self.0.join(".dev").join(WORLD).join("50");
        let read = |server| fs::read_to_string(folder.join(server).join("pid")).unwrap();
        SERVERS.map(read).to_vec()
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        // It may be down already.
        self.run("down");
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn told(output: &Output) -> (bool, String) {
    let said = [&output.stdout[..], &output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Started twice they are the same processes; killed all at once they come back with their data;
/// stopped they are gone.
#[test]
fn servers_survive_a_killed_run() {
    let copy = Checkout::new("servers");
    assert!(!copy.run("check").0, "nothing runs yet");
    copy.well("up");
    let first = copy.processes();
    copy.well("up");
    assert_eq!(copy.processes(), first, "up leaves alone what it has");

    for process in &first {
        let id = process.split(' ').next().unwrap();
        let killed = Command::new("kill").args(["-KILL", id]).status();
        assert!(killed.unwrap().success());
    }
    let (well, said) = copy.run("check");
    assert!(!well && said.contains("is not running"), "{said}");
    copy.well("up");
    let said = copy.well("check");
    assert_eq!(
        said.matches(" answers on 127.0.0.1:").count(),
        SERVERS.len(),
        "{said}"
    );
    let second = copy.processes();
    assert!(first.iter().zip(&second).all(|(one, other)| one != other));
    copy.well("up");
    assert_eq!(copy.processes(), second);

    copy.well("down");
    assert!(!copy.run("check").0);
    copy.well("down");
}

/// A process that `bashu dev` left when it was killed ends with its world; one whose program is
/// another, because its id was given again, does not.
#[test]
fn down_ends_what_a_killed_run_left() {
    let copy = Checkout::new("left");
    let sleep = fs::canonicalize("/usr/bin/sleep").unwrap();
    let start = |name: &str, program: &Path| {
        let child = Command::new(&sleep).arg("300").spawn().unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let started = stat
            .rsplit_once(") ")
            .unwrap()
            .1
            .split(' ')
            .nth(19)
            .unwrap();
        let folder = copy.0.join(".dev").join(WORLD).join("processes").join(name);
        fs::create_dir_all(&folder).unwrap();
        let text = format!("{} {started}\n{}\n", child.id(), program.display());
        fs::write(folder.join("pid"), text).unwrap();
        child
    };
    let mut left = start("bashu-50", &sleep);
    let mut stranger = start("gateway-50", Path::new("/nowhere/bashu-gateway"));
    let said = copy.well("down");
    assert!(said.contains("a forgotten bashu"), "{said}");
    assert!(!left.wait().unwrap().success());
    assert!(
        stranger.try_wait().unwrap().is_none(),
        "a stranger was ended"
    );
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// Without root nothing is installed; what is missing is named, and who may install it.
#[test]
fn without_root_deps_says_what_it_cannot_do() {
    let copy = Checkout::new("deps");
    let bin = copy.0.join("bin");
    fs::create_dir(&bin).unwrap();
    for tool in TOOLS {
        let real = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(tool));
        if let Some(real) = real.iter().find(|path| path.exists()) {
            symlink(real, bin.join(tool)).unwrap();
        }
    }
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    });
    let mut command = if is_root {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
        command.arg(copy.script("deps"));
        command
    } else {
        Command::new(copy.script("deps"))
    };
    let (well, said) = told(&command.env("PATH", &bin).output().unwrap());
    assert!(!well, "{said}");
    for wanted in [
        "only root may install what is missing",
        "redis-server",
        "sudo deploy/dev/deps",
    ] {
        assert!(said.contains(wanted), "{wanted} in: {said}");
    }
}
