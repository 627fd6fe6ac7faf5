//! The schedule of faults, which the seed decides, and their execution one after the other. A
//! fault counts only when it was seen to fire: a process that is gone, a byte that was swallowed,
//! a process that stood still, a clock that was shifted.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use kit::Ids;
use tokio::time::Instant;

use crate::disk;
use crate::load::Load;
use crate::proxy::{Link, Weather};
use crate::supervisor::{Kill, Supervisor, is_stopped};
use crate::world::Component;

/// Kills of each component when 40 are asked for; more are shared out in the same proportion.
const KILLS: [(Component, usize); 9] = [
    (Component::Identity, 5),
    (Component::Passes, 6),
    (Component::Billing, 6),
    (Component::Admission, 6),
    (Component::Gateway, 4),
    (Component::Sandbox, 3),
    (Component::Postgres, 4),
    (Component::Kafka, 3),
    (Component::Redis, 3),
];
/// What is asked of every component whatever is asked for in all.
const KILLS_MIN: usize = 3;
/// How long a fault lasts that does not end by itself.
const LASTS_MS: (u32, u32) = (1_500, 5_000);
/// The pause between two faults.
const PAUSE_MS: (u32, u32) = (500, 2_500);
/// Shifts of a service's clock, in seconds.
const SHIFTS: [i64; 4] = [90, -90, 20, -20];
/// How long a shifted clock is worked with.
const SHIFTED: Duration = Duration::from_secs(6);
/// How long it may take after a kill of Kafka until a purchase paid later has its code.
const FLOW_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill(Component),
    /// SIGSTOP, and SIGCONT later.
    Pause(Component),
    /// The link's place among the links.
    Link(usize, Weather),
    /// A service lives with a clock that is off by so many seconds.
    Clock(Component, i64),
    DiskFull,
}

/// Which kinds of fault a run has.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Kills in all; none when zero.
    pub(crate) kills: usize,
    pub(crate) only: Vec<String>,
}

impl Wanted {
    fn has(&self, kind: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == kind)
    }

    fn has_component(&self, component: Component) -> bool {
        let named = |only: &String| Component::ALL.iter().any(|one| one.name() == only);
        let chosen: Vec<&String> = self.only.iter().filter(|only| named(only)).collect();
        chosen.is_empty() || chosen.iter().any(|only| *only == component.name())
    }
}

/// What a seed makes of what is wanted.
pub(crate) fn schedule(wanted: &Wanted, ids: &Ids) -> Vec<Fault> {
    let mut faults = Vec::new();
    let asked: usize = KILLS.iter().map(|(_, count)| count).sum();
    if wanted.has("kill") {
        for (component, share) in KILLS {
            let count = (share * wanted.kills).div_ceil(asked).max(KILLS_MIN);
            let wanted = wanted.kills > 0 && wanted.has_component(component);
            faults.extend((0..if wanted { count } else { 0 }).map(|_| Fault::Kill(component)));
        }
    }
    if wanted.has("pause") {
        let paused = Component::ALL
            .into_iter()
            .filter(|one| wanted.has_component(*one));
        faults.extend(paused.map(Fault::Pause));
    }
    if wanted.has("link") {
        for link in 0..LINKS.len() {
            let slow = Duration::from_millis(20 + u64::from(ids.below(130)));
            faults.extend(
                [
                    Weather::Delay(slow),
                    Weather::Throttle(60_000),
                    Weather::Cut,
                    Weather::HalfOpen,
                    Weather::Deaf,
                ]
                .map(|weather| Fault::Link(link, weather)),
            );
        }
    }
    if wanted.has("clock") && clock_preload().is_some() {
        for (service, shift) in Component::SERVICES.into_iter().zip(SHIFTS) {
            faults.push(Fault::Clock(service, shift));
        }
    }
    shuffle(&mut faults, ids);
    if wanted.has("disk") {
        // Last, since its server stays on the small disk until the world ends.
        faults.push(Fault::DiskFull);
    }
    faults
}

/// What is wanted and cannot be done on this machine, and why.
pub(crate) fn impossible(wanted: &Wanted) -> Vec<String> {
    if wanted.has("clock") && clock_preload().is_none() {
        let why = "clock: libfaketime is not installed (as root: apt-get install libfaketime)";
        return vec![why.to_owned()];
    }
    Vec::new()
}

/// The libraries that shift a process's clock, as `deploy/dev/chaos` found them.
fn clock_preload() -> Option<String> {
    tests::variable("CHAOS_CLOCK_PRELOAD").ok()
}

/// The links that have weather, in this order.
pub(crate) const LINKS: [Component; 3] = [Component::Postgres, Component::Kafka, Component::Redis];

fn shuffle(faults: &mut [Fault], ids: &Ids) {
    for last in (1..faults.len()).rev() {
        let bound = u32::try_from(last + 1).unwrap_or(1);
        faults.swap(last, usize::try_from(ids.below(bound)).unwrap_or(0));
    }
}

/// What the faults came to.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) kills: Vec<Kill>,
    /// Faults by kind that were seen to fire.
    pub(crate) fired: BTreeMap<String, u64>,
    /// After a kill of Kafka: until a purchase paid later had its code.
    pub(crate) flow: Vec<Duration>,
    /// What could not be done here, and why.
    pub(crate) skipped: Vec<String>,
    /// Faults that did not fire, or after which something did not come back in time.
    pub(crate) failed: Vec<String>,
    /// From the full disk until the services were ready again.
    pub(crate) disk_ready: Option<Duration>,
}

impl Story {
    fn fired(&mut self, kind: impl Into<String>) {
        *self.fired.entry(kind.into()).or_default() += 1;
    }
}

/// Does what the schedule says.
#[derive(Debug)]
pub(crate) struct Faults<'a> {
    pub(crate) supervisor: &'a Supervisor,
    pub(crate) links: &'a [Link],
    pub(crate) load: &'a Load,
    pub(crate) ids: Ids,
    pub(crate) story: Story,
}

impl Faults<'_> {
    /// Does all of it, one after the other, and heals everything at the end. A fault that did not
    /// fire, or after which something did not come back, is told, and the next one follows.
    ///
    /// # Errors
    /// When the world cannot be brought back at all.
    pub(crate) async fn run(&mut self, faults: &[Fault], until: Instant) -> Result<()> {
        for (number, fault) in faults.iter().enumerate() {
            if Instant::now() > until {
                let left = faults.len() - number;
                let why = format!("{left} faults of {}: the time was over", faults.len());
                self.story.skipped.push(why);
                break;
            }
            tokio::time::sleep(self.between(PAUSE_MS)).await;
            let at = self.load.log.at_ms();
            let done = self.one(*fault).await;
            self.heal();
            let took = self.load.log.at_ms() - at;
            let place = format!("{:>3}/{}", number + 1, faults.len());
            println!("  {place} {at:>7} ms  {fault:?}  {took} ms");
            let mut troubles: Vec<String> = done
                .err()
                .map(|error| format!("{error:#}"))
                .into_iter()
                .collect();
            for (component, status) in self.supervisor.fallen().await {
                troubles.push(format!("{} ended by itself: {status}", component.name()));
            }
            if !troubles.is_empty() {
                let told = format!("{fault:?} at {at} ms: {}", troubles.join("; "));
                println!("          {told}");
                self.story.failed.push(told);
                self.supervisor.bring_back().await?;
            }
        }
        self.heal();
        Ok(())
    }

    fn heal(&self) {
        for link in self.links {
            link.make(Weather::Clear);
        }
    }

    fn between(&self, (least, most): (u32, u32)) -> Duration {
        Duration::from_millis(u64::from(least + self.ids.below(most - least)))
    }

    async fn one(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill(component) => self.kill(component).await,
            Fault::Pause(component) => self.pause(component).await,
            Fault::Link(link, weather) => self.weather(link, weather).await,
            Fault::Clock(service, seconds) => self.clock(service, seconds).await,
            Fault::DiskFull => self.disk().await,
        }
    }

    async fn kill(&mut self, component: Component) -> Result<()> {
        let began = Instant::now();
        let kill = self.supervisor.kill(component, &[]).await?;
        self.story.kills.push(kill);
        self.story.fired(format!("kill.{}", component.name()));
        if component == Component::Kafka {
            while !self.load.flowed_since(began) && began.elapsed() < FLOW_TIMEOUT {
                tokio::time::sleep(POLL).await;
            }
            self.story.flow.push(began.elapsed());
        }
        Ok(())
    }

    async fn pause(&mut self, component: Component) -> Result<()> {
        let head = self.supervisor.pid(component).await?;
        self.supervisor.signal(component, "STOP").await?;
        let began = Instant::now();
        while !is_stopped(head) {
            ensure!(began.elapsed() < FLOW_TIMEOUT, "it does not stand still");
            tokio::time::sleep(POLL).await;
        }
        self.story.fired(format!("pause.{}", component.name()));
        tokio::time::sleep(self.between(LASTS_MS)).await;
        self.supervisor.signal(component, "CONT").await?;
        self.supervisor.ready(component).await
    }

    async fn weather(&mut self, at: usize, weather: Weather) -> Result<()> {
        let link = &self.links[at];
        let before = link.effects().of(weather);
        link.make(weather);
        tokio::time::sleep(self.between(LASTS_MS)).await;
        link.make(Weather::Clear);
        let felt = link.effects().of(weather) - before;
        let kind = match weather {
            Weather::Clear => "clear",
            Weather::Delay(_) => "delay",
            Weather::Throttle(_) => "throttle",
            Weather::Cut => "cut",
            Weather::HalfOpen => "half_open",
            Weather::Deaf => "deaf",
        };
        ensure!(felt > 0, "nothing of {} met {kind}", link.name);
        self.story.fired(format!("link.{}.{kind}", link.name));
        self.supervisor.ready(Component::Postgres).await
    }

    async fn clock(&mut self, service: Component, seconds: i64) -> Result<()> {
        let faked = [
            ("LD_PRELOAD".to_owned(), clock_preload().unwrap_or_default()),
            ("FAKETIME".to_owned(), format!("{seconds:+}")),
            ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
        ];
        let kill = self.supervisor.kill(service, &faked).await?;
        let pid = kill.after;
        self.story.kills.push(kill);
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        ensure!(maps.contains("libfaketime"), "the clock was not shifted");
        self.story.fired(format!("clock.{}", service.name()));
        self.story.fired(format!("kill.{}", service.name()));
        tokio::time::sleep(SHIFTED).await;
        let kill = self.supervisor.kill(service, &[]).await?;
        self.story.kills.push(kill);
        self.story.fired(format!("kill.{}", service.name()));
        Ok(())
    }

    async fn disk(&mut self) -> Result<()> {
        match disk::fill(self.supervisor).await? {
            disk::Filled::Recovered(after) => {
                self.story.disk_ready = Some(after);
                self.story.fired("disk.postgres");
            }
            disk::Filled::Impossible(why) => self.story.skipped.push(format!("disk full: {why}")),
        }
        Ok(())
    }
}
