//! The faults, played one after the other, some of them two at once. A fault counts only when it
//! was seen to fire: a process that is gone, a byte that was swallowed, a process that stood still,
//! a clock that was shifted, a cache that was emptied, a server that said its disk was full.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};
use kit::Ids;
use tokio::time::Instant;

use crate::disk;
use crate::judge::LIVENESS;
use crate::load::Load;
use crate::proxy::{Link, Weather};
use crate::schedule::{Fault, LINKS};
use crate::supervisor::{Kill, Supervisor, is_stopped};
use crate::world::Component;

/// How long a fault lasts that does not end by itself.
const LASTS_MS: (u32, u32) = (1_500, 5_000);
/// The pause between two faults.
const PAUSE_MS: (u32, u32) = (500, 2_500);
/// How long a shifted clock is worked with.
const SHIFTED: Duration = Duration::from_secs(6);
/// A service whose clock is off by more, in seconds, may refuse to work rather than work wrongly.
const NEAR_SECONDS_MAX: u64 = 30;
/// How long a process may take to stand still once it was told to.
const STILL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long Redis may be empty before it is emptied.
const KEYS_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// What became of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It fired, and everything came back.
    Healed,
    /// It did not fire, or something did not come back, and why.
    Failed(String),
    /// This machine cannot do it, and why.
    Impossible(String),
}

/// One fault as it was played.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// Milliseconds in the log of operations.
    pub(crate) at_ms: u64,
    pub(crate) took_ms: u64,
    /// From the act that took the fault away until all that was waited for had come back.
    pub(crate) recovered: Option<Duration>,
    pub(crate) fault: Fault,
    /// What was seen of it.
    pub(crate) seen: String,
    pub(crate) ending: Ending,
}

/// How long it took after a fault until something new went all the way: a purchase that began
/// when the fault had been taken away has a readable code. Two hops of it go through Kafka.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) fault: Fault,
    /// From the kill, or from the act that took another fault away. One that never came has the
    /// time for which it was waited.
    pub(crate) after: Duration,
}

impl Flow {
    /// Whether Kafka itself was gone, by a kill or a full disk, and had to be ready again.
    pub(crate) fn is_of_lost_kafka(&self) -> bool {
        let kafka = Component::Kafka;
        self.fault == Fault::Kill(kafka) || self.fault == Fault::DiskFull(kafka)
    }
}

/// What the faults came to.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) events: Vec<Event>,
    /// Every process that was killed and came back, also those whose clock was set right by it.
    pub(crate) kills: Vec<Kill>,
    /// After each fault of Kafka and each full disk.
    pub(crate) flows: Vec<Flow>,
    /// From enlarging a disk until the services were ready again.
    pub(crate) disk_ready: BTreeMap<Component, Duration>,
    /// Faults for which there was no time.
    pub(crate) unplayed: usize,
}

impl Story {
    /// How often a fault was seen to fire and to heal.
    pub(crate) fn healed(&self, wanted: Fault) -> usize {
        let events = self.events.iter();
        events
            .filter(|one| one.fault == wanted && one.ending == Ending::Healed)
            .count()
    }
}

/// What a fault was seen to do.
enum Seen {
    Fired(String),
    Impossible(String),
}

/// What was seen of a service with a shifted clock.
#[derive(Default)]
struct Shifted {
    /// It read the shifted clock.
    mapped: bool,
    /// It said once that it was ready.
    ready: bool,
    /// It did not end by itself.
    lived: bool,
}

fn fired(seen: impl Into<String>) -> Result<Seen> {
    Ok(Seen::Fired(seen.into()))
}

/// Does what the schedule says.
#[derive(Debug)]
pub(crate) struct Faults<'a> {
    pub(crate) supervisor: &'a Supervisor,
    pub(crate) links: &'a [Link],
    pub(crate) load: &'a Load,
    pub(crate) ids: Ids,
    /// When the present fault began.
    pub(crate) began: Instant,
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
                self.story.unplayed = faults.len() - number;
                break;
            }
            tokio::time::sleep(self.between(PAUSE_MS)).await;
            let at_ms = self.load.log.at_ms();
            self.began = Instant::now();
            let done = self.one(*fault).await;
            let healed = self.supervisor.healed_since(self.began.into_std());
            let recovered = healed.map(|at| at.elapsed());
            self.heal();
            let took_ms = self.load.log.at_ms() - at_ms;
            let (seen, ending) = self.ending(done).await;
            let name = fault.name();
            let place = format!("{:>3}/{}", number + 1, faults.len());
            println!("  {place} {at_ms:>7} ms  {name:<22} {took_ms:>6} ms  {seen}");
            let failed = matches!(ending, Ending::Failed(_));
            if let Ending::Failed(why) | Ending::Impossible(why) = &ending {
                println!("          {why}");
            }
            self.story.events.push(Event {
                at_ms,
                took_ms,
                recovered,
                fault: *fault,
                seen,
                ending,
            });
            if failed {
                self.supervisor.bring_back().await?;
            }
        }
        self.heal();
        Ok(())
    }

    async fn ending(&self, done: Result<Seen>) -> (String, Ending) {
        let (seen, trouble) = match done {
            Ok(Seen::Impossible(why)) => return (String::new(), Ending::Impossible(why)),
            Ok(Seen::Fired(seen)) => (seen, None),
            Err(error) => (String::new(), Some(format!("{error:#}"))),
        };
        let mut troubles: Vec<String> = trouble.into_iter().collect();
        for (component, status) in self.supervisor.fallen().await {
            troubles.push(format!("{} ended by itself: {status}", component.name()));
        }
        if troubles.is_empty() {
            return (seen, Ending::Healed);
        }
        (seen, Ending::Failed(troubles.join("; ")))
    }

    fn heal(&self) {
        for link in self.links {
            link.make(Weather::Clear);
        }
        self.load.cast.codes_closed.store(false, Ordering::SeqCst);
    }

    fn between(&self, (least, most): (u32, u32)) -> Duration {
        Duration::from_millis(u64::from(least + self.ids.below(most - least)))
    }

    async fn one(&mut self, fault: Fault) -> Result<Seen> {
        match fault {
            Fault::Kill(component) => self.kill(component).await,
            Fault::Pause(component) => self.pause(component).await,
            Fault::Link(link, weather) => self.weather(link, weather).await,
            Fault::Both(link, weather, component) => self.both(link, weather, component).await,
            Fault::Clock(service, seconds) => self.clock(service, seconds).await,
            Fault::Flush => self.flush().await,
            Fault::DiskFull(server) => self.disk(server).await,
        }
    }

    async fn kill(&mut self, component: Component) -> Result<Seen> {
        let began = Instant::now();
        let kill = self.supervisor.kill(component).await?;
        let mut seen = told(&kill);
        self.story.kills.push(kill);
        if component == Component::Kafka {
            seen += &self.flow(Fault::Kill(component), Some(began)).await?;
        }
        fired(seen)
    }

    /// Waits until a purchase that began after the fault was taken away has its code, and takes
    /// the time from `from`, else from that act.
    async fn flow(&mut self, fault: Fault, from: Option<Instant>) -> Result<String> {
        let healed = self.supervisor.healed_since(self.began.into_std());
        let healed = healed.map_or_else(Instant::now, Instant::from_std);
        let from = from.unwrap_or(healed);
        let mut flowed = self.load.flowed_since(healed);
        while !flowed && healed.elapsed() < LIVENESS {
            tokio::time::sleep(POLL).await;
            flowed = self.load.flowed_since(healed);
        }
        let after = from.elapsed();
        self.story.flows.push(Flow { fault, after });
        ensure!(
            flowed,
            "no new purchase has its code {} s after the healing",
            LIVENESS.as_secs()
        );
        Ok(format!(", a new code after {:.1} s", after.as_secs_f64()))
    }

    async fn pause(&mut self, component: Component) -> Result<Seen> {
        let head = self.supervisor.pid(component).await?;
        self.supervisor.signal(component, "STOP").await?;
        let began = Instant::now();
        while !is_stopped(head) {
            ensure!(began.elapsed() < STILL_TIMEOUT, "it does not stand still");
            tokio::time::sleep(POLL).await;
        }
        tokio::time::sleep(self.between(LASTS_MS)).await;
        ensure!(is_stopped(head), "it did not stand still to the end");
        self.supervisor.signal(component, "CONT").await?;
        self.supervisor.ready(component).await?;
        let mut seen = format!("process {head} stood still");
        if component == Component::Kafka {
            seen += &self.flow(Fault::Pause(component), None).await?;
        }
        fired(seen)
    }

    async fn weather(&mut self, at: usize, weather: Weather) -> Result<Seen> {
        let link = &self.links[at];
        let before = link.effects().of(weather);
        link.make(weather);
        tokio::time::sleep(self.between(LASTS_MS)).await;
        self.supervisor.heals();
        link.make(Weather::Clear);
        let felt = link.effects().of(weather) - before;
        ensure!(felt > 0, "nothing of {} met {}", link.name, weather.name());
        // All services: each of them needs what is behind the link.
        self.supervisor.ready(Component::Postgres).await?;
        let mut seen = format!("{weather:?} was met {felt} times");
        if LINKS[at] == Component::Kafka {
            seen += &self.flow(Fault::Link(at, weather), None).await?;
        }
        fired(seen)
    }

    /// A process dies while a link has weather, and starts into it. How long it takes to be ready
    /// depends on when the weather ends, so it is no kill whose recovery is timed.
    async fn both(&mut self, at: usize, weather: Weather, component: Component) -> Result<Seen> {
        let link = &self.links[at];
        let before = link.effects().of(weather);
        link.make(weather);
        tokio::time::sleep(self.between(LASTS_MS)).await;
        let dead = self.supervisor.pid(component).await?;
        self.supervisor.halt(component).await?;
        self.supervisor.start(component, &[]).await?;
        tokio::time::sleep(self.between(LASTS_MS)).await;
        self.supervisor.heals();
        link.make(Weather::Clear);
        let felt = link.effects().of(weather) - before;
        ensure!(felt > 0, "nothing of {} met {}", link.name, weather.name());
        if self.supervisor.revive(component).await? {
            println!(
                "          {} ended in it and was started again",
                component.name()
            );
        }
        self.supervisor.ready(component).await?;
        self.supervisor.ready(Component::Postgres).await?;
        let heir = self.supervisor.pid(component).await?;
        let mut seen = format!("{weather:?} was met {felt} times, process {dead} is {heir}");
        if LINKS[at] == Component::Kafka {
            let fault = Fault::Both(at, weather, component);
            seen += &self.flow(fault, None).await?;
        }
        fired(seen)
    }

    /// A service lives with another clock for a while. With one that is far off it may refuse
    /// everything, and may say that it is not ready or end; what it does then must hold all the
    /// same, and the right clock must heal it.
    async fn clock(&mut self, service: Component, seconds: i64) -> Result<Seen> {
        let Ok(preload) = tests::variable("CHAOS_CLOCK_PRELOAD") else {
            let why = "libfaketime is not installed (as root: apt-get install libfaketime)";
            return Ok(Seen::Impossible(why.to_owned()));
        };
        let faked = [
            ("LD_PRELOAD".to_owned(), preload),
            ("FAKETIME".to_owned(), format!("{seconds:+}")),
            ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
        ];
        let far = seconds.unsigned_abs() > NEAR_SECONDS_MAX;
        if service == Component::Identity {
            // A code that is asked for in the wrong hour would bar its phone for that long.
            self.load.cast.codes_closed.store(true, Ordering::SeqCst);
        }
        let shifted = self.shifted(service, &faked, far).await;
        // Whatever became of it, no wrong clock stays.
        let back = self.set_right(service).await?;
        let shifted = shifted?;
        ensure!(shifted.mapped, "the clock was not shifted");
        let lived = shifted.lived;
        ensure!(
            far || lived,
            "it ended by itself with a clock {seconds:+} s off"
        );
        let ready = if shifted.ready {
            "worked"
        } else {
            "refused to work"
        };
        let lived = if lived { "" } else { " and ended by itself" };
        fired(format!("{ready}{lived}; {back}"))
    }

    /// Begins a service anew with a shifted clock and watches it for a while.
    async fn shifted(
        &self,
        service: Component,
        faked: &[(String, String)],
        far: bool,
    ) -> Result<Shifted> {
        self.supervisor.exchange(service, faked).await?;
        let pid = self.supervisor.pid(service).await?;
        if !far {
            self.supervisor.ready(service).await?;
        }
        let began = Instant::now();
        let mut seen = Shifted::default();
        while began.elapsed() < SHIFTED && self.supervisor.lives(service).await {
            let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
            seen.mapped |= maps.contains("libfaketime");
            seen.ready |= self.supervisor.is_ready(service).await;
            tokio::time::sleep(POLL).await;
        }
        seen.lived = self.supervisor.lives(service).await;
        Ok(seen)
    }

    /// Ends a process with a wrong clock and begins one with the right one.
    async fn set_right(&mut self, service: Component) -> Result<String> {
        let before = self.supervisor.pid(service).await.unwrap_or(0);
        let began = std::time::Instant::now();
        self.supervisor.exchange(service, &[]).await?;
        self.supervisor.ready(service).await?;
        let kill = Kill {
            component: service,
            before,
            after: self.supervisor.pid(service).await?,
            ready: began.elapsed(),
        };
        let seen = told(&kill);
        self.story.kills.push(kill);
        Ok(seen)
    }

    async fn flush(&self) -> Result<Seen> {
        let began = Instant::now();
        loop {
            self.supervisor.heals();
            let (before, after) = self.supervisor.world.flush().await?;
            if before > 0 {
                ensure!(after == 0, "Redis kept {after} of {before} keys");
                self.supervisor.ready(Component::Redis).await?;
                return fired(format!("Redis lost {before} keys"));
            }
            ensure!(began.elapsed() < KEYS_TIMEOUT, "Redis held nothing to lose");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn disk(&mut self, server: Component) -> Result<Seen> {
        match disk::fill(self.supervisor, server).await? {
            disk::Filled::Recovered(after) => {
                self.story.disk_ready.insert(server, after);
                let flow = self.flow(Fault::DiskFull(server), None).await?;
                fired(format!(
                    "the disk was full; enlarged, it was ready after {:.1} s{flow}",
                    after.as_secs_f64()
                ))
            }
            disk::Filled::Impossible(why) => Ok(Seen::Impossible(why)),
        }
    }
}

fn told(kill: &Kill) -> String {
    let (before, after, ready) = (kill.before, kill.after, kill.ready.as_secs_f64());
    format!("process {before} is {after}, ready after {ready:.2} s")
}
