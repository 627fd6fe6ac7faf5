//! Who spends the CPU: this program by its threads, PostgreSQL with its backends, Kafka.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use anyhow::{Context, Result};

use crate::world::Bench;

/// What `/proc` counts in, in a second: USER_HZ, which Linux keeps at 100 for programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Ticks of CPU by who spent them.
#[derive(Clone, Debug, Default)]
pub(super) struct Cost(BTreeMap<&'static str, u64>);

impl Cost {
    /// What each has spent until now.
    pub(super) fn now(bench: &Bench) -> Result<Self> {
        let mut cost = Self::default();
        for thread in fs::read_dir("/proc/self/task")? {
            // One that ended meanwhile is counted in no sum; they all live as long as a drain.
            let Some(stat) = thread.ok().and_then(|thread| stat(&thread.path())) else {
                continue;
            };
            cost.add(kind(&stat.name), stat.own);
        }
        let postgres = server(bench, "postgres")?;
        let kafka = server(bench, "kafka")?;
        for process in fs::read_dir("/proc")?.filter_map(Result::ok) {
            let name = process.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let Some(stat) = stat(&process.path()) else {
                continue;
            };
            if pid == postgres {
                // Backends that have ended are in the sums of their parent.
                cost.add("PostgreSQL", stat.own + stat.ended_children);
            } else if stat.parent == postgres {
                cost.add("PostgreSQL", stat.own);
            } else if pid == kafka {
                cost.add("Kafka", stat.own);
            }
        }
        Ok(cost)
    }

    /// What was spent since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let spent = self.0.iter().map(|(who, ticks)| {
            let before = before.0.get(who).copied().unwrap_or_default();
            (*who, ticks.saturating_sub(before))
        });
        Self(spent.collect())
    }

    fn add(&mut self, who: &'static str, ticks: u64) {
        *self.0.entry(who).or_default() += ticks;
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (who, ticks)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            #[expect(clippy::cast_precision_loss, reason = "ticks of minutes")]
            let seconds = *ticks as f64 / TICKS_PER_SECOND;
            write!(f, "{comma}{who} {seconds:.2} s")?;
        }
        Ok(())
    }
}

/// Which part of this program a thread belongs to.
fn kind(thread: &str) -> &'static str {
    if thread.starts_with("rdk:") {
        "librdkafka"
    } else if thread.starts_with("kafka ") {
        "the consumer's reader"
    } else if thread.starts_with("producer poll") {
        "the producer's callbacks"
    } else {
        "relay and handlers"
    }
}

/// The process of a server, as `deploy/dev/up` wrote it down.
fn server(bench: &Bench, name: &str) -> Result<u32> {
    let path = bench.folder().join("50").join(name).join("pid");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("{} is missing: the world is not up", path.display()))?;
    let pid = text
        .split_whitespace()
        .next()
        .and_then(|pid| pid.parse().ok());
    pid.with_context(|| format!("{} names no process", path.display()))
}

struct Stat {
    name: String,
    parent: u32,
    own: u64,
    ended_children: u64,
}

/// The `stat` file of a process or thread, where it still is.
fn stat(folder: &std::path::Path) -> Option<Stat> {
    let text = fs::read_to_string(folder.join("stat")).ok()?;
    let (head, tail) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = tail.split(' ').collect();
    // The first of them is the third of proc(5).
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        name: head.split_once('(')?.1.to_owned(),
        parent: u32::try_from(number(4)?).ok()?,
        own: number(14)? + number(15)?,
        ended_children: number(16)? + number(17)?,
    })
}
