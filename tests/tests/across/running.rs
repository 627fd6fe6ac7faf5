//! Both unions up and staying up, for tests that act in them: `bashu dev` as `make run` starts it,
//! with few members. It has played the journeys by then, so whoever gets one gets one that works.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bashu::dev::{DevArgs, World};
use kit::types::Union;

use tests::{TestWorld, root, variable};

/// Members of each union: as many as give every organisation of the demonstration some.
pub(crate) const MEMBERS: u32 = 100;
/// What `bashu dev` says once it stays up.
const UP: &str = "both unions are up";
/// How long events may take to have arrived everywhere, in seconds.
const SETTLE_SECONDS: &str = "30";
/// How long something may take that has only to arrive from another service.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// A world whose processes run.
#[derive(Debug)]
pub(crate) struct RunningWorld {
    child: Child,
    /// Held open: who says goodbye to nobody dies of it.
    _output: BufReader<ChildStdout>,
    /// Where everything is, for a client.
    pub(crate) places: World,
    /// Its databases, its configurations; gone after its processes.
    pub(crate) servers: TestWorld,
}

impl RunningWorld {
    /// Starts both unions and waits until they are up.
    ///
    /// # Errors
    /// When they do not come up; what they said.
    pub(crate) fn start(servers: TestWorld) -> Result<Self> {
        let folder = servers.folder.clone();
        let arguments = DevArgs {
            folder: folder.clone(),
            gateway: variable("BASHU_GATEWAY_BIN")?.into(),
            supergraph: root().join("schema/supergraph.graphql"),
            port_offset: Some(TestWorld::port_offset()),
            members: MEMBERS,
            unions: Union::ALL.to_vec(),
            once: false,
            prepare: false,
        };
        let complaints = folder.join("dev.err");
        let mut child = TestWorld::program()?
            .arg("dev")
            .args(["--folder".into(), folder])
            .args(["--gateway".into(), arguments.gateway.clone()])
            .args(["--port-offset", &TestWorld::port_offset().to_string()])
            .args(["--members", &MEMBERS.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&complaints)?)
            .spawn()
            .context("bashu cannot be started")?;
        let output = child.stdout.take().context("bashu dev has no output")?;
        let mut output = BufReader::new(output);
        // It ends by itself when anything takes too long, so the lines need no time of their own.
        let mut said = String::new();
        while output.read_line(&mut said)? > 0 {
            if said.ends_with(&format!("{UP}\n")) {
                let places = World::prepare(&arguments)?;
                return Ok(Self {
                    child,
                    _output: output,
                    places,
                    servers,
                });
            }
        }
        child.wait()?;
        let complaints = std::fs::read_to_string(complaints)?;
        bail!("the world did not come up:\n{said}{complaints}")
    }

    /// What must hold holds, in each union and between them, once events have arrived.
    ///
    /// # Errors
    /// When a promise is broken; which.
    pub(crate) fn verify(&self) -> Result<()> {
        let files = ["50", "51"].map(|union| self.servers.config(union).display().to_string());
        let arguments = ["verify", "--settle", SETTLE_SECONDS, "--config", &files[0]];
        let (well, said) = self.servers.bashu(
            None,
            &[arguments.as_slice(), &["--config", &files[1]]].concat(),
        )?;
        ensure!(well, "what must hold does not:\n{said}");
        Ok(())
    }
}

impl Drop for RunningWorld {
    /// Its processes are asked to end and waited for: `bashu dev` kills those that take too long.
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status();
        if !asked.is_ok_and(|status| status.success()) {
            eprintln!("bashu dev cannot be asked to end");
        }
        if let Err(error) = self.child.wait() {
            eprintln!("bashu dev cannot be waited for: {error}");
        }
    }
}

/// Looks until it sees what it looks for, which has only to arrive.
///
/// # Errors
/// What `look` answers, or that it does not come.
pub(crate) async fn arrival<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        ensure!(
            began.elapsed() < ARRIVAL_TIMEOUT,
            "it does not come: {what}"
        );
        tokio::time::sleep(POLL).await;
    }
}
