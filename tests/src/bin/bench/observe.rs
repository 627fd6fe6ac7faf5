//! What the services say of themselves while they are measured: how far their relays and
//! consumers are. Read from the same page of metrics that an installation's monitoring reads.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::process::{cpu_seconds, cpu_seconds_with_ended};
use crate::world::Bench;

/// How long relays and consumers may take to catch up with a load that has ended.
const QUIET_TIMEOUT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(400);
/// The databases whose outboxes are looked at.
pub(crate) const DATABASES: [&str; 4] = ["identity", "passes", "billing", "admission"];
/// Of the events that a load makes, at least so much must be published when it ends: a relay that
/// starves under it would pay later, when nobody looks.
const PUBLISHED_SHARE_MIN: f64 = 0.95;
/// Records that consumers may be behind at the end of a load, in seconds of its events.
const BEHIND_SECONDS_MAX: f64 = 2.0;
/// What no relay has published: past the tick that it reads, or in it and past where it is.
const BACKLOG: &str = "SELECT count(*) FROM outbox o, outbox_relay r \
    WHERE r.shard = 0 AND o.xid >= pg_snapshot_xmin(r.s1) \
      AND NOT pg_visible_in_snapshot(o.xid, r.s1) \
      AND (r.s2 IS NULL OR o.id > r.last_id OR NOT pg_visible_in_snapshot(o.xid, r.s2))";
/// The servers' folders.
const SERVERS: [&str; 3] = ["postgres", "kafka", "redis"];
/// Looks in a row at which nothing moved.
const QUIET_LOOKS: u32 = 3;

/// Where relays and consumers are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Flow {
    /// Events published since the services started.
    pub(crate) published: f64,
    /// Events that wait in the outboxes.
    pub(crate) backlog: f64,
    /// Records that consumers have still to read.
    pub(crate) behind: f64,
}

/// What relays and consumers did during a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Flowed {
    pub(crate) seconds: f64,
    /// Events that were published while it ran.
    pub(crate) published: f64,
    /// Events that waited in the outboxes at its end and not at its beginning.
    pub(crate) backlog: f64,
    /// Records that consumers had to read at its end and not at its beginning.
    pub(crate) behind: f64,
}

impl Flowed {
    pub(crate) fn between(before: Flow, after: Flow, seconds: f64) -> Self {
        Self {
            seconds,
            published: after.published - before.published,
            backlog: (after.backlog - before.backlog).max(0.0),
            behind: (after.behind - before.behind).max(0.0),
        }
    }

    /// Events in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.published / self.seconds
    }

    /// The share of the events made that was published.
    pub(crate) fn share(&self) -> f64 {
        let due = self.published + self.backlog;
        if due > 0.0 { self.published / due } else { 1.0 }
    }

    /// Whether relays and consumers kept up with the load, and did not leave its work for later.
    pub(crate) fn kept_up(&self) -> bool {
        let made = (self.published + self.backlog) / self.seconds;
        self.share() >= PUBLISHED_SHARE_MIN && self.behind <= made * BEHIND_SECONDS_MAX
    }

    /// In words.
    pub(crate) fn said(&self) -> String {
        format!(
            "events published while it ran {:.0}/s, {:.1} % of those made; at its end {:.0} wait \
             in outboxes and consumers are {:.0} records behind{}",
            self.rate(),
            self.share() * 100.0,
            self.backlog,
            self.behind,
            if self.kept_up() { "" } else { ": TOO FAR" }
        )
    }
}

/// Where they are now.
///
/// # Errors
/// When the services or their databases do not answer.
pub(crate) async fn flow(bench: &Bench) -> Result<Flow> {
    let count = |database| bench.superuser().number(database, BACKLOG);
    let backlogs = futures::future::try_join_all(DATABASES.into_iter().map(count)).await?;
    let text = metrics(bench).await?;
    #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
    let backlog = backlogs.into_iter().sum::<i64>() as f64;
    Ok(Flow {
        published: sum(&text, "bashu_relay_events_total"),
        backlog,
        behind: sum(&text, "bashu_consumer_behind_records"),
    })
}

/// What the services say of themselves.
///
/// # Errors
/// When they do not answer.
pub(crate) async fn metrics(bench: &Bench) -> Result<String> {
    let url = format!("http://{}/metrics", bench.config().listen.ops());
    let answer = reqwest::get(url).await?.error_for_status()?;
    Ok(answer.text().await?)
}

fn sum(text: &str, name: &str) -> f64 {
    text.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

/// Waits until everything that was committed has been published and applied, so that a run does
/// not pay for the one before it.
///
/// # Errors
/// When that takes minutes.
pub(crate) async fn quiet(bench: &Bench) -> Result<()> {
    let began = Instant::now();
    let mut before = flow(bench).await?;
    let mut looks = 0;
    while looks < QUIET_LOOKS {
        ensure!(
            began.elapsed() < QUIET_TIMEOUT,
            "the services are still busy with the load before: {before:?}"
        );
        tokio::time::sleep(POLL).await;
        let now = flow(bench).await?;
        looks = if now == before && now.behind == 0.0 && now.backlog == 0.0 {
            looks + 1
        } else {
            0
        };
        before = now;
    }
    Ok(())
}

/// Who used the cores during a run, in seconds of one core by process name.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    began: Instant,
    ours: Vec<(&'static str, u32, f64)>,
    /// The servers: their first processes' ids.
    servers: Vec<(&'static str, u32, f64)>,
    machine: f64,
}

impl Shares {
    pub(crate) fn begin(bench: &Bench) -> Self {
        let ours = bench.processes().iter();
        Self {
            began: Instant::now(),
            ours: ours
                .map(|one| (one.name, one.pid, cpu_seconds(one.pid)))
                .collect(),
            servers: SERVERS
                .into_iter()
                .filter_map(|name| {
                    let pid = server_pid(bench, name)?;
                    Some((name, pid, family_seconds(pid)))
                })
                .collect(),
            machine: machine_seconds(),
        }
    }

    /// Seconds of one core that PostgreSQL used since the beginning, in all its processes; `None`
    /// where its processes are not known.
    pub(crate) fn postgres_seconds(&self) -> Option<f64> {
        let mut servers = self.servers.iter();
        let (_, pid, before) = servers.find(|(name, ..)| *name == "postgres")?;
        Some(family_seconds(*pid) - before)
    }

    /// In words, as shares of one core since the beginning.
    pub(crate) fn said(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        let share = |used: f64| format!("{:.2}", used / seconds);
        let mut parts: Vec<String> = self
            .ours
            .iter()
            .map(|(name, pid, before)| format!("{name} {}", share(cpu_seconds(*pid) - before)))
            .collect();
        for (name, pid, before) in &self.servers {
            parts.push(format!("{name} {}", share(family_seconds(*pid) - before)));
        }
        parts.push(format!("all {}", share(machine_seconds() - self.machine)));
        format!("cores used: {}", parts.join(", "))
    }
}

/// The process id of a server, as `deploy/dev` left it.
fn server_pid(bench: &Bench, name: &str) -> Option<u32> {
    let folder = bench.folder().join(bench.config().union.to_string());
    let text = std::fs::read_to_string(folder.join(name).join("pid")).ok()?;
    text.split(' ').next()?.parse().ok()
}

/// Seconds of one core that a process and its children used so far. A connection that is closed
/// takes none of its seconds away: what has ended counts for its parent.
fn family_seconds(parent: u32) -> f64 {
    let pids = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(std::result::Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let children = pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
        after.split(' ').nth(1).and_then(|id| id.parse().ok()) == Some(parent)
    });
    cpu_seconds_with_ended(parent) + children.map(cpu_seconds).sum::<f64>()
}

/// Seconds that all cores together were not idle.
fn machine_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<f64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    let busy: f64 = [0, 1, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum();
    busy / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_over_its_namesakes() {
        let text = "# TYPE a counter\na{x=\"1\"} 3\na{x=\"2 3\"} 4\na_more 100\na 1\n";
        assert_eq!(sum(text, "a"), 8.0);
    }

    /// A load whose events wait in the outbox, or before a consumer, has left its work for later.
    #[test]
    fn a_load_pays_for_its_events() {
        let before = Flow::default();
        let after = |published, backlog, behind| {
            let flow = Flow {
                published,
                backlog,
                behind,
            };
            Flowed::between(before, flow, 10.0).kept_up()
        };
        assert!(after(950.0, 50.0, 0.0) && after(1_000.0, 0.0, 200.0) && after(0.0, 0.0, 0.0));
        assert!(!after(949.0, 51.0, 0.0) && !after(1_000.0, 0.0, 201.0));
        assert!(!after(0.0, 1_000.0, 0.0));
    }
}
