//! Where the time goes while a load runs: the statements of PostgreSQL, the sizes of the lanes'
//! batches, and the functions of the services where the machine has `perf`. Taken in a run of its
//! own, because looking costs time too: no figure is measured while this looks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::process::{Child, Command};

use crate::observe::metrics;
use crate::world::Bench;

/// Statements shown, those first that took the most time.
const STATEMENTS_MAX: u32 = 10;
/// Characters of a statement that are shown.
const STATEMENT_CHARACTERS: u32 = 120;
/// Functions shown, those first in which the most samples fell.
const FUNCTIONS_MAX: usize = 15;
/// Samples a second: a prime, so that nothing periodic is met again and again.
const SAMPLES_PER_SECOND: &str = "99";
const LIBRARY: &str = "pg_stat_statements";
/// Commands of all batches of a lane, and how many batches there were.
const LANE_SUM: &str = "bashu_lane_batch_commands_sum";
const LANE_COUNT: &str = "bashu_lane_batch_commands_count";

/// A look that has begun.
#[derive(Debug)]
pub(crate) struct Profile {
    /// Whether PostgreSQL counts its statements.
    counts: bool,
    lanes: BTreeMap<String, (f64, f64)>,
    perf: Option<(Child, PathBuf)>,
}

impl Profile {
    /// Begins to look for about so long.
    ///
    /// # Errors
    /// When the services or the server do not answer.
    pub(crate) async fn begin(bench: &Bench, length: Duration) -> Result<Self> {
        let counts = counts_statements(bench).await?;
        if counts {
            track(bench, "top").await?;
            let reset = [
                "CREATE EXTENSION IF NOT EXISTS pg_stat_statements",
                "SELECT pg_stat_statements_reset()",
            ];
            bench.superuser().sql("postgres", &reset).await?;
        }
        Ok(Self {
            counts,
            lanes: lanes(&metrics(bench).await?),
            perf: perf(bench, length),
        })
    }

    /// Ends it; what was seen, line by line.
    ///
    /// # Errors
    /// When the services or the server do not answer.
    pub(crate) async fn end(self, bench: &Bench) -> Result<Vec<String>> {
        let mut lines = batches(&self.lanes, &lanes(&metrics(bench).await?));
        if self.counts {
            track(bench, "none").await?;
            lines.extend(statements(bench).await?);
        } else {
            lines.push(format!("statements: {LIBRARY} is not loaded in this world"));
        }
        lines.extend(match self.perf {
            Some((child, path)) => functions(child, path).await,
            None => vec!["functions: there is no perf on this machine".to_owned()],
        });
        Ok(lines)
    }
}

async fn counts_statements(bench: &Bench) -> Result<bool> {
    let rows = bench.superuser();
    let rows = rows
        .rows("postgres", "SHOW shared_preload_libraries")
        .await?;
    let row = rows.first().ok_or_else(|| anyhow!("nothing is shown"))?;
    Ok(row.try_get_by_index::<String>(0)?.contains(LIBRARY))
}

/// Begins or ends that PostgreSQL counts its statements.
async fn track(bench: &Bench, which: &str) -> Result<()> {
    let set = format!("ALTER SYSTEM SET {LIBRARY}.track = '{which}'");
    let both = [set.as_str(), "SELECT pg_reload_conf()"];
    bench.superuser().sql("postgres", &both).await
}

/// Sees to it that nothing is counted while figures are measured.
///
/// # Errors
/// When the server refuses.
pub(crate) async fn look_away(bench: &Bench) -> Result<()> {
    if counts_statements(bench).await? {
        track(bench, "none").await?;
    }
    Ok(())
}

async fn statements(bench: &Bench) -> Result<Vec<String>> {
    let query = format!(
        "SELECT format('statement %s: %s ms in %s calls, %s rows: %s', d.datname,
           round(s.total_exec_time), s.calls, s.rows,
           left(regexp_replace(s.query, '\\s+', ' ', 'g'), {STATEMENT_CHARACTERS}))
         FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
         ORDER BY s.total_exec_time DESC LIMIT {STATEMENTS_MAX}"
    );
    let rows = bench.superuser().rows("postgres", &query).await?;
    rows.into_iter()
        .map(|row| Ok(row.try_get_by_index::<String>(0)?))
        .collect()
}

/// The commands and the batches of each lane so far.
fn lanes(text: &str) -> BTreeMap<String, (f64, f64)> {
    let mut lanes: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for line in text.lines() {
        let Some((head, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let Some((name, labels)) = head.split_once('{') else {
            continue;
        };
        let lane = labels.trim_end_matches('}').to_owned();
        let Ok(value) = value.parse::<f64>() else {
            continue;
        };
        match name {
            LANE_SUM => lanes.entry(lane).or_default().0 += value,
            LANE_COUNT => lanes.entry(lane).or_default().1 += value,
            _ => {}
        }
    }
    lanes
}

fn batches(
    before: &BTreeMap<String, (f64, f64)>,
    after: &BTreeMap<String, (f64, f64)>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (lane, (commands, count)) in after {
        let (commands_before, count_before) = before.get(lane).copied().unwrap_or_default();
        let (commands, count) = (commands - commands_before, count - count_before);
        if count > 0.0 {
            lines.push(format!(
                "{lane}: {commands:.0} commands in {count:.0} batches, {:.1} in each",
                commands / count
            ));
        }
    }
    lines
}

/// Commands in each batch between two readings of the metrics, over all lanes; 0 where none ran.
pub(crate) fn commands_in_each(before: &str, after: &str) -> f64 {
    let all = |text| {
        let lanes = lanes(text).into_values();
        lanes.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    let ((commands_before, count_before), (commands, count)) = (all(before), all(after));
    (commands - commands_before) / (count - count_before).max(1.0)
}

/// Samples the services' functions; `None` where that cannot be begun.
fn perf(bench: &Bench, length: Duration) -> Option<(Child, PathBuf)> {
    let services = bench.processes().iter();
    let services = services.into_iter().find(|one| one.name == "services")?;
    let path = bench.folder().join("perf.data");
    let child = Command::new("perf")
        .args(["record", "-q", "-F", SAMPLES_PER_SECOND, "-o"])
        .arg(&path)
        .args(["-p", &services.pid.to_string(), "--", "sleep"])
        .arg(length.as_secs().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    Some((child.ok()?, path))
}

async fn functions(child: Child, path: PathBuf) -> Vec<String> {
    match reported(child, &path).await {
        Ok(lines) => lines,
        Err(error) => vec![format!("functions: perf cannot look here: {error:#}")],
    }
}

async fn reported(child: Child, path: &std::path::Path) -> Result<Vec<String>> {
    let recorded = child.wait_with_output().await?;
    if !recorded.status.success() {
        let said = String::from_utf8_lossy(&recorded.stderr);
        let first = said.lines().find(|line| !line.trim().is_empty());
        return Err(anyhow!("{}", first.unwrap_or("it says nothing").trim()));
    }
    let report = Command::new("perf")
        .args([
            "report",
            "--stdio",
            "--no-children",
            "-F",
            "overhead,dso,sym",
            "-i",
        ])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .await
        .context("perf report")?;
    let text = String::from_utf8_lossy(&report.stdout);
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines = lines.map(|line| format!("function {line}"));
    Ok(lines.take(FUNCTIONS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a lane did is what it had done after, less what it had done before.
    #[test]
    fn batches_are_those_of_the_run() {
        let before = "bashu_lane_batch_commands_sum{lane=\"redeem\"} 100\n\
                      bashu_lane_batch_commands_count{lane=\"redeem\"} 10\nother 1\n";
        let after = "bashu_lane_batch_commands_sum{lane=\"redeem\"} 700\n\
                     bashu_lane_batch_commands_count{lane=\"redeem\"} 30\n\
                     bashu_lane_batch_commands{lane=\"redeem\",quantile=\"0.5\"} 30\n";
        let said = batches(&lanes(before), &lanes(after));
        assert_eq!(
            said,
            ["lane=\"redeem\": 600 commands in 20 batches, 30.0 in each"]
        );
        assert!(batches(&lanes(after), &lanes(after)).is_empty());
        assert_eq!(commands_in_each(before, after), 30.0);
        assert_eq!(commands_in_each(after, after), 0.0);
    }
}
