//! What the services say of themselves while they are measured: how far their relays and
//! consumers are. Read from the same page of metrics that an installation's monitoring reads.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::process::cpu_seconds;
use crate::world::Bench;

/// How long relays and consumers may take to catch up with a load that has ended.
const QUIET_TIMEOUT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(400);
/// The servers' folders.
const SERVERS: [&str; 3] = ["postgres", "kafka", "redis"];
/// Looks in a row at which nothing moved.
const QUIET_LOOKS: u32 = 3;

/// Where relays and consumers are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Flow {
    /// Events published since the services started.
    pub(crate) published: f64,
    /// Records that consumers have still to read.
    pub(crate) behind: f64,
}

/// Where they are now.
///
/// # Errors
/// When the services do not answer.
pub(crate) async fn flow(bench: &Bench) -> Result<Flow> {
    let url = format!("http://{}/metrics", bench.config().listen.ops());
    let text = reqwest::get(url).await?.error_for_status()?.text().await?;
    Ok(Flow {
        published: sum(&text, "bashu_relay_events_total"),
        behind: sum(&text, "bashu_consumer_behind_records"),
    })
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
        looks = if now == before && now.behind == 0.0 {
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

/// Seconds of one core that a process and its living children used so far.
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
    cpu_seconds(parent) + children.map(cpu_seconds).sum::<f64>()
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
}
