//! Which faults a run has and in which order: what is asked for, made into a list by a seed. It
//! plays none of them.

use std::time::Duration;

use anyhow::{Result, ensure};
use kit::Ids;

use crate::proxy::Weather;
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
pub(crate) const KILLS_MIN: usize = 3;
/// Shifts of each service's clock: two hours ahead and behind, which no token and no signature
/// survives, and a little, in seconds.
const FAR_SHIFTS: [i64; 2] = [7_200, -7_200];
const NEAR_SHIFTS: [i64; 4] = [90, -90, 20, -20];
/// How often Redis loses all it holds.
const FLUSHES: usize = 3;
/// Bytes a second that a throttled link carries.
const THROTTLE: u64 = 60_000;
/// The least delay of a link, and by how much more it may be late, in milliseconds.
const DELAY_MS: (u64, u32) = (20, 130);

/// The links that have weather, in this order.
pub(crate) const LINKS: [Component; 3] = [Component::Postgres, Component::Kafka, Component::Redis];
/// Processes that die while a link has weather.
const OURS: [Component; 5] = [
    Component::Identity,
    Component::Passes,
    Component::Billing,
    Component::Admission,
    Component::Gateway,
];
/// Faults that fall into one another in a whole run: one in nine.
#[cfg(test)]
const BOTH: usize = LINKS.len() * 3;
/// The kinds of faults, as they are asked for.
const KINDS: [&str; 7] = ["kill", "pause", "link", "both", "clock", "flush", "disk"];

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill(Component),
    /// SIGSTOP, and SIGCONT later.
    Pause(Component),
    /// The link's place among the links.
    Link(usize, Weather),
    /// A process dies and starts again while a link has weather.
    Both(usize, Weather, Component),
    /// A service lives with a clock that is off by so many seconds.
    Clock(Component, i64),
    /// Redis loses all it holds.
    Flush,
    /// The disk under a server is full.
    DiskFull(Component),
}

impl Fault {
    /// What it is called in reports: its kind and what it happens to.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Kill(component) => format!("kill.{}", component.name()),
            Self::Pause(component) => format!("pause.{}", component.name()),
            Self::Link(at, weather) => format!("link.{}.{}", LINKS[at].name(), weather.name()),
            Self::Both(at, weather, component) => format!(
                "both.{}.{}+kill.{}",
                LINKS[at].name(),
                weather.name(),
                component.name()
            ),
            Self::Clock(service, seconds) => format!("clock.{}.{seconds:+}s", service.name()),
            Self::Flush => "flush.redis".to_owned(),
            Self::DiskFull(server) => format!("disk.{}", server.name()),
        }
    }
}

/// Which kinds of fault a run has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Kills in all; none when zero.
    pub(crate) kills: usize,
    /// Kinds and names of components; everything when empty.
    only: Vec<String>,
}

impl Wanted {
    /// # Errors
    /// When a word names neither a kind of fault nor a component.
    pub(crate) fn new(kills: usize, only: &[String]) -> Result<Self> {
        let words = only
            .iter()
            .map(|word| word.trim())
            .filter(|word| !word.is_empty());
        let only: Vec<String> = words.map(str::to_owned).collect();
        for word in &only {
            let components: Vec<&str> = Component::ALL.map(Component::name).to_vec();
            ensure!(
                KINDS.contains(&word.as_str()) || components.contains(&word.as_str()),
                "ONLY={word}: say some of {} or of {}",
                KINDS.join(", "),
                components.join(", ")
            );
        }
        Ok(Self { kills, only })
    }

    /// Whether anything is left out by name.
    pub(crate) fn is_part(&self) -> bool {
        !self.only.is_empty()
    }

    /// Only names of components leave every kind.
    fn has(&self, kind: &str) -> bool {
        let mut kinds = self
            .only
            .iter()
            .filter(|only| KINDS.contains(&only.as_str()));
        let any = kinds.clone().next().is_some();
        !any || kinds.any(|only| only == kind)
    }

    /// Only kinds leave every component.
    fn has_component(&self, component: Component) -> bool {
        let mut named = self
            .only
            .iter()
            .filter(|only| !KINDS.contains(&only.as_str()));
        let any = named.clone().next().is_some();
        !any || named.any(|only| only == component.name())
    }

    fn of(&self, components: impl IntoIterator<Item = Component>) -> Vec<Component> {
        let chosen = components.into_iter();
        chosen.filter(|one| self.has_component(*one)).collect()
    }
}

/// What a seed makes of what is wanted.
pub(crate) fn schedule(wanted: &Wanted, ids: &Ids) -> Vec<Fault> {
    let mut faults = Vec::new();
    if wanted.has("kill") {
        faults.extend(kills(wanted));
    }
    if wanted.has("pause") {
        faults.extend(wanted.of(Component::ALL).into_iter().map(Fault::Pause));
    }
    if wanted.has("link") {
        for (at, _) in LINKS
            .iter()
            .enumerate()
            .filter(|(_, one)| wanted.has_component(**one))
        {
            let (least, more) = DELAY_MS;
            let slow = Duration::from_millis(least + u64::from(ids.below(more)));
            let weathers = [
                Weather::Delay(slow),
                Weather::Throttle(THROTTLE),
                Weather::Cut,
                Weather::HalfOpen,
                Weather::Deaf,
            ];
            faults.extend(weathers.map(|weather| Fault::Link(at, weather)));
        }
    }
    if wanted.has("both") {
        faults.extend(both(wanted, ids));
    }
    if wanted.has("clock") {
        for (service, near) in Component::SERVICES.into_iter().zip(NEAR_SHIFTS) {
            if wanted.has_component(service) {
                let shifts = FAR_SHIFTS.into_iter().chain([near]);
                faults.extend(shifts.map(|seconds| Fault::Clock(service, seconds)));
            }
        }
    }
    if wanted.has("flush") && wanted.has_component(Component::Redis) {
        faults.extend([Fault::Flush; FLUSHES]);
    }
    shuffle(&mut faults, ids);
    if wanted.has("disk") {
        // Last, since a server stays on its small disk until the world ends.
        let servers = wanted.of([Component::Kafka, Component::Postgres]);
        faults.extend(servers.into_iter().map(Fault::DiskFull));
    }
    faults
}

/// Two faults at once: on each link its worst weathers, and under each one of our processes dies.
fn both(wanted: &Wanted, ids: &Ids) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (at, server) in LINKS.into_iter().enumerate() {
        for weather in [Weather::Throttle(THROTTLE), Weather::Cut, Weather::HalfOpen] {
            let bound = u32::try_from(OURS.len()).unwrap_or(1);
            let component = OURS[usize::try_from(ids.below(bound)).unwrap_or(0)];
            if wanted.has_component(server) {
                faults.push(Fault::Both(at, weather, component));
            }
        }
    }
    faults
}

fn kills(wanted: &Wanted) -> Vec<Fault> {
    if wanted.kills == 0 {
        return Vec::new();
    }
    let asked: usize = KILLS.iter().map(|(_, count)| count).sum();
    let mut faults = Vec::new();
    for (component, share) in KILLS {
        if wanted.has_component(component) {
            let count = (share * wanted.kills).div_ceil(asked).max(KILLS_MIN);
            faults.extend(std::iter::repeat_n(Fault::Kill(component), count));
        }
    }
    faults
}

fn shuffle(faults: &mut [Fault], ids: &Ids) {
    for last in (1..faults.len()).rev() {
        let bound = u32::try_from(last + 1).unwrap_or(1);
        faults.swap(last, usize::try_from(ids.below(bound)).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use kit::Ids;

    use super::{BOTH, FAR_SHIFTS, FLUSHES, Fault, KILLS_MIN, LINKS, Wanted, schedule};
    use crate::world::Component;

    fn played(kills: usize, only: &[&str], seed: u64) -> Vec<Fault> {
        let only: Vec<String> = only.iter().map(|word| (*word).to_owned()).collect();
        let wanted = Wanted::new(kills, &only).unwrap();
        schedule(&wanted, &Ids::seeded(seed))
    }

    fn count(faults: &[Fault], wanted: impl Fn(&Fault) -> bool) -> usize {
        faults.iter().filter(|one| wanted(one)).count()
    }

    /// The same seed plays the same schedule, and another seed another one.
    #[test]
    fn the_seed_decides() {
        assert_eq!(played(40, &[], 7), played(40, &[], 7));
        assert_ne!(played(40, &[], 7), played(40, &[], 8));
    }

    /// A whole run kills forty times and every component three times at the least, stops each of
    /// them once, has every weather on every link, some with a death beneath, both far clocks at
    /// each service, and ends with the full disks.
    #[test]
    fn a_whole_run_has_everything() {
        let faults = played(40, &[], 1);
        assert_eq!(count(&faults, |one| matches!(one, Fault::Kill(_))), 40);
        for component in Component::ALL {
            let kill = Fault::Kill(component);
            assert!(count(&faults, |one| *one == kill) >= KILLS_MIN, "{kill:?}");
            assert_eq!(count(&faults, |one| *one == Fault::Pause(component)), 1);
        }
        for at in 0..LINKS.len() {
            assert_eq!(
                count(
                    &faults,
                    |one| matches!(one, Fault::Link(link, _) if *link == at)
                ),
                5
            );
        }
        for service in Component::SERVICES {
            for seconds in FAR_SHIFTS {
                assert_eq!(
                    count(&faults, |one| *one == Fault::Clock(service, seconds)),
                    1
                );
            }
        }
        assert_eq!(count(&faults, |one| *one == Fault::Flush), FLUSHES);
        let both = |one: &Fault| matches!(one, Fault::Both(..));
        assert_eq!(count(&faults, both), BOTH);
        let disks = [Component::Kafka, Component::Postgres].map(Fault::DiskFull);
        assert_eq!(faults[faults.len() - 2..], disks);
    }

    /// Kinds choose among kinds, components among components; each alone leaves the other whole.
    #[test]
    fn a_part_can_be_played() {
        assert_eq!(
            count(&played(40, &["kill"], 1), |one| matches!(
                one,
                Fault::Kill(_)
            )),
            40
        );
        assert_eq!(played(40, &["kill"], 1).len(), 40);
        assert_eq!(
            played(40, &["kill", "kafka"], 1),
            [Fault::Kill(Component::Kafka); 3]
        );
        let redis = played(40, &["redis"], 1);
        assert_eq!(redis.len(), 3 + 1 + 5 + 3 + FLUSHES);
        assert_eq!(played(0, &["kill"], 1), []);
        assert_eq!(played(1, &["kill"], 1).len(), 9 * KILLS_MIN);
        assert_eq!(played(40, &["", " "], 1), played(40, &[], 1));
        assert!(Wanted::new(40, &["klil".to_owned()]).is_err());
    }
}
