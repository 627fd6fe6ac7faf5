//! The supervisor of the world's processes: it starts, kills, stops and starts them again at once,
//! sees that each kill fired (the process is gone, another one answers), and takes the time from
//! the kill until it is ready. It decides nothing about when.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::client::Api;
use crate::judge::LIVENESS;
use crate::world::{Component, World};

const POLL: Duration = Duration::from_millis(20);
/// How long a killed process may stay in the table of processes.
const GONE_TIMEOUT: Duration = Duration::from_secs(10);
/// Starts of a server that is still held by the sessions of its dead predecessor.
const UP_ATTEMPTS_MAX: usize = 20;

/// One kill as it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Kill {
    pub(crate) component: Component,
    pub(crate) before: u32,
    pub(crate) after: u32,
    /// From the signal until it was ready again.
    pub(crate) ready: Duration,
}

/// All processes of the world.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) world: World,
    pub(crate) api: Api,
    children: Mutex<BTreeMap<Component, Child>>,
    /// The last act that took a fault away: from then on everything can recover.
    healed: std::sync::Mutex<Option<Instant>>,
}

impl Supervisor {
    pub(crate) fn new(world: World, api: Api) -> Self {
        Self {
            world,
            api,
            children: Mutex::new(BTreeMap::new()),
            healed: std::sync::Mutex::new(None),
        }
    }

    /// A fault is taken away now: what waits for it to be over counts from here, and not from when
    /// the waiting ended.
    pub(crate) fn heals(&self) {
        let now = Instant::now();
        *self.healed.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// When a fault was taken away last, if that was not before `began`.
    pub(crate) fn healed_since(&self, began: Instant) -> Option<Instant> {
        let healed = self.healed.lock().unwrap_or_else(PoisonError::into_inner);
        healed.filter(|at| *at >= began)
    }

    /// Starts a process of ours, with these variables beside its settings.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn start(
        &self,
        component: Component,
        more: &[(String, String)],
    ) -> Result<()> {
        self.heals();
        let log = self.log(component)?;
        let mut command = self.world.command(component)?;
        let child = command
            .envs(more.iter().cloned())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", component.name()))?;
        self.children.lock().await.insert(component, child);
        Ok(())
    }

    /// One log for all lives of a component.
    fn log(&self, component: Component) -> Result<File> {
        let path = self
            .world
            .union_folder()
            .join(format!("{}.log", component.name()));
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Waits until a component is ready; until all services are, for what they all need.
    ///
    /// # Errors
    /// When it ends by itself, or takes longer than anything may take after a fault.
    pub(crate) async fn ready(&self, component: Component) -> Result<()> {
        let began = Instant::now();
        loop {
            let well = if component.is_server() {
                self.services_ready().await
            } else {
                self.ended(component).await?;
                self.api.is_well(&World::ready_url(component)).await
            };
            if well {
                return Ok(());
            }
            ensure!(
                began.elapsed() < LIVENESS,
                "{} is not ready after {} s",
                component.name(),
                LIVENESS.as_secs()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    async fn services_ready(&self) -> bool {
        for service in Component::SERVICES {
            if !self.api.is_well(&World::ready_url(service)).await {
                return false;
            }
        }
        true
    }

    /// # Errors
    /// When it has ended although nobody killed it.
    async fn ended(&self, component: Component) -> Result<()> {
        let mut children = self.children.lock().await;
        let child = children
            .get_mut(&component)
            .ok_or_else(|| anyhow!("{} was never started", component.name()))?;
        match child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself: {status}", component.name()),
        }
    }

    /// Whether a process of ours ended without being killed, and what it said.
    pub(crate) async fn fallen(&self) -> Vec<(Component, String)> {
        let mut fallen = Vec::new();
        for (component, child) in self.children.lock().await.iter_mut() {
            if let Ok(Some(status)) = child.try_wait() {
                fallen.push((*component, status.to_string()));
            }
        }
        fallen
    }

    /// The process at the head of a component.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn pid(&self, component: Component) -> Result<u32> {
        if component.is_server() {
            let path = self.world.union_folder().join(component.name()).join("pid");
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("{} is missing", path.display()))?;
            let pid = text.split(' ').next().unwrap_or_default();
            return pid.trim().parse().context("the pid file is damaged");
        }
        let children = self.children.lock().await;
        children
            .get(&component)
            .and_then(Child::id)
            .ok_or_else(|| anyhow!("{} does not run", component.name()))
    }

    /// All its processes: a server's connections are processes too.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) async fn pids(&self, component: Component) -> Result<Vec<u32>> {
        let head = self.pid(component).await?;
        if component.is_server() {
            return Ok(family(head));
        }
        Ok(vec![head])
    }

    /// Kills a component and starts it again at once.
    ///
    /// # Errors
    /// When the kill did not fire, or it does not come back.
    pub(crate) async fn kill(&self, component: Component) -> Result<Kill> {
        let before = self.pid(component).await?;
        let pids = self.pids(component).await?;
        let began = Instant::now();
        signal("KILL", &pids).await?;
        self.gone(component, &pids).await?;
        if component.is_server() {
            self.up_again().await?;
        } else {
            self.start(component, &[]).await?;
        }
        self.ready(component).await?;
        let ready = began.elapsed();
        let after = self.pid(component).await?;
        ensure!(before != after, "{} was not killed", component.name());
        Ok(Kill {
            component,
            before,
            after,
            ready,
        })
    }

    /// Ends one of our own processes, whether it lives or has ended by itself, and starts it again
    /// with these variables beside its settings.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn exchange(
        &self,
        component: Component,
        more: &[(String, String)],
    ) -> Result<()> {
        if self.lives(component).await {
            self.halt(component).await?;
        }
        self.start(component, more).await
    }

    /// Whether the process at the head of a component lives.
    pub(crate) async fn lives(&self, component: Component) -> bool {
        self.pid(component).await.is_ok_and(lives)
    }

    /// Whether one of our own processes says now that it is ready.
    pub(crate) async fn is_ready(&self, component: Component) -> bool {
        self.api.is_well(&World::ready_url(component)).await
    }

    /// Kills a component and leaves it dead.
    ///
    /// # Errors
    /// When the kill did not fire.
    pub(crate) async fn halt(&self, component: Component) -> Result<()> {
        let pids = self.pids(component).await?;
        signal("KILL", &pids).await?;
        self.gone(component, &pids).await
    }

    /// Waits until the processes are gone, and reaps a child of ours.
    async fn gone(&self, component: Component, pids: &[u32]) -> Result<()> {
        if let Some(mut child) = self.children.lock().await.remove(&component) {
            let status = tokio::time::timeout(GONE_TIMEOUT, child.wait())
                .await
                .context("a killed process stays")??;
            ensure!(
                status.to_string().contains("signal: 9"),
                "{} ended otherwise: {status}",
                component.name()
            );
        }
        let began = Instant::now();
        while pids.iter().any(|pid| lives(*pid)) {
            ensure!(
                began.elapsed() < GONE_TIMEOUT,
                "{} was not killed",
                component.name()
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Brings the servers up, again while the last one's remains are in the way.
    ///
    /// # Errors
    /// When they do not come up.
    pub(crate) async fn up_again(&self) -> Result<()> {
        self.heals();
        let mut last = anyhow!("never tried");
        for _ in 0..UP_ATTEMPTS_MAX {
            match self.world.up().await {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last.context("the servers do not come up again"))
    }

    /// After something failed: lets everything go on that stands still, starts what is gone, and
    /// waits until all is ready.
    ///
    /// # Errors
    /// When something does not come back.
    pub(crate) async fn bring_back(&self) -> Result<()> {
        for component in Component::ALL {
            // What is gone cannot be told to go on, and is started below.
            let _ = self.signal(component, "CONT").await;
        }
        self.up_again().await?;
        for component in Component::ALL.into_iter().filter(|one| !one.is_server()) {
            if self.ended(component).await.is_err() {
                self.start(component, &[]).await?;
            }
        }
        for component in Component::ALL {
            self.ready(component).await?;
        }
        Ok(())
    }

    /// Starts one of our own processes again if it has ended by itself; whether it had. One that
    /// cannot reach its servers when it starts may give up, as its supervisor elsewhere expects.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn revive(&self, component: Component) -> Result<bool> {
        let fallen = self.ended(component).await.is_err();
        if fallen {
            self.start(component, &[]).await?;
        }
        Ok(fallen)
    }

    /// Sends a signal to all processes of a component.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) async fn signal(&self, component: Component, name: &str) -> Result<()> {
        if name == "CONT" {
            self.heals();
        }
        signal(name, &self.pids(component).await?).await
    }

    /// Ends our own processes, the gateway first.
    pub(crate) async fn stop(&self) {
        let mut children = std::mem::take(&mut *self.children.lock().await);
        for (_, child) in children.iter_mut().rev() {
            if let Some(pid) = child.id() {
                let _ = signal("TERM", &[pid]).await;
                if tokio::time::timeout(GONE_TIMEOUT, child.wait())
                    .await
                    .is_err()
                {
                    let _ = child.kill().await;
                }
            }
        }
    }
}

/// Sends a signal by the system's own tool: no unsafe code for it.
async fn signal(name: &str, pids: &[u32]) -> Result<()> {
    ensure!(!pids.is_empty(), "nobody to send {name} to");
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .args(pids.iter().map(u32::to_string))
        .stderr(std::process::Stdio::null())
        .status()
        .await?;
    // One of a server's sessions may have ended meanwhile by itself.
    ensure!(
        status.success() || pids.len() > 1,
        "{name} could not be sent"
    );
    Ok(())
}

/// The fields of a process's `stat` after its name: state, parent, …
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

fn lives(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| !matches!(fields[0].as_str(), "Z" | "X"))
}

/// Whether a process stands still after SIGSTOP.
pub(crate) fn is_stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] == "T")
}

/// A process and its children: a server of PostgreSQL works in processes of its own.
fn family(head: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return vec![head];
    };
    let parent = head.to_string();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            *pid == head || stat(*pid).is_some_and(|fields| fields.get(1) == Some(&parent))
        })
        .filter(|pid| lives(*pid))
        .collect()
}
