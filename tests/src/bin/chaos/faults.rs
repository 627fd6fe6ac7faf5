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
use crate::load::Load;
use crate::proxy::{Link, Weather};
use crate::schedule::Fault;
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
/// How long it may take after a fault of Kafka until a purchase paid later has its code.
const FLOW_TIMEOUT: Duration = Duration::from_secs(60);
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
    pub(crate) fault: Fault,
    /// What was seen of it.
    pub(crate) seen: String,
    pub(crate) ending: Ending,
}

/// What the faults came to.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) events: Vec<Event>,
    /// Every process that was killed and came back, also those whose clock was set right by it.
    pub(crate) kills: Vec<Kill>,
    /// After a fault of Kafka: until a purchase paid later had its code.
    pub(crate) flow: Vec<Duration>,
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
            let done = self.one(*fault).await;
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
            let flow = self.flow(began).await?;
            seen += &format!(", a paid code after {:.1} s", flow.as_secs_f64());
        }
        fired(seen)
    }

    /// Waits until a purchase that was paid after `began` has its code.
    async fn flow(&mut self, began: Instant) -> Result<Duration> {
        while !self.load.flowed_since(began) {
            ensure!(
                began.elapsed() < FLOW_TIMEOUT,
                "no purchase gets its code {} s later",
                FLOW_TIMEOUT.as_secs()
            );
            tokio::time::sleep(POLL).await;
        }
        self.story.flow.push(began.elapsed());
        Ok(began.elapsed())
    }

    async fn pause(&self, component: Component) -> Result<Seen> {
        let head = self.supervisor.pid(component).await?;
        self.supervisor.signal(component, "STOP").await?;
        let began = Instant::now();
        while !is_stopped(head) {
            ensure!(began.elapsed() < FLOW_TIMEOUT, "it does not stand still");
            tokio::time::sleep(POLL).await;
        }
        tokio::time::sleep(self.between(LASTS_MS)).await;
        ensure!(is_stopped(head), "it did not stand still to the end");
        self.supervisor.signal(component, "CONT").await?;
        self.supervisor.ready(component).await?;
        fired(format!("process {head} stood still"))
    }

    async fn weather(&self, at: usize, weather: Weather) -> Result<Seen> {
        let link = &self.links[at];
        let before = link.effects().of(weather);
        link.make(weather);
        tokio::time::sleep(self.between(LASTS_MS)).await;
        link.make(Weather::Clear);
        let felt = link.effects().of(weather) - before;
        ensure!(felt > 0, "nothing of {} met {}", link.name, weather.name());
        // All services: each of them needs what is behind the link.
        self.supervisor.ready(Component::Postgres).await?;
        fired(format!("{weather:?} was met {felt} times"))
    }

    /// A process dies while a link has weather, and starts into it. How long it takes to be ready
    /// depends on when the weather ends, so it is no kill whose recovery is timed.
    async fn both(&self, at: usize, weather: Weather, component: Component) -> Result<Seen> {
        let link = &self.links[at];
        let before = link.effects().of(weather);
        link.make(weather);
        tokio::time::sleep(self.between(LASTS_MS)).await;
        let dead = self.supervisor.pid(component).await?;
        self.supervisor.halt(component).await?;
        self.supervisor.start(component, &[]).await?;
        tokio::time::sleep(self.between(LASTS_MS)).await;
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
        fired(format!(
            "{weather:?} was met {felt} times, process {dead} is {heir}"
        ))
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
                let flow = self.flow(Instant::now()).await?;
                fired(format!(
                    "the disk was full; enlarged, it was ready after {:.1} s, a paid code after \
                     {:.1} s more",
                    after.as_secs_f64(),
                    flow.as_secs_f64()
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
