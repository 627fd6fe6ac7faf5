//! What a figure is worth nothing without: the machine, its server, and which code it was.

use std::fs;

use anyhow::{Context, Result};

use crate::conditions::Conditions;
use crate::figure::Figure;
use crate::report::number;
use crate::world::Bench;

/// One fact about the machine.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) value: String,
}

/// The facts, in the order in which they are shown.
pub(super) async fn rows(
    bench: &Bench,
    conditions: &Conditions,
    figures: &[Figure],
) -> Result<Vec<Row>> {
    let version = "SELECT split_part(version(), ' ', 2)";
    let version = bench.superuser().rows("postgres", version).await?;
    let version = version.first().context("PostgreSQL names no version")?;
    let mut rows = vec![
        row("CPU", cpu()?),
        row("内存 memory", memory()?),
        row("内核 kernel", first_line("/proc/sys/kernel/osrelease")?),
        row("PostgreSQL", version.try_get_by_index(0)?),
        row("提交 commit", conditions.commit.clone()),
        row(
            "时间 time",
            kit::Clock::System
                .now()
                .format("%Y-%m-%d %H:%M UTC")
                .to_string(),
        ),
    ];
    let disk = figures
        .iter()
        .find(|figure| figure.name.contains("fdatasync"));
    if let Some(disk) = disk {
        let value = format!("{} {}", number(disk.value), disk.unit);
        rows.push(row("fdatasync", value));
    }
    Ok(rows)
}

fn row(name: &'static str, value: String) -> Row {
    Row { name, value }
}

fn cpu() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("", |(_, model)| model);
    Ok(format!("{cores} × {model}"))
}

fn memory() -> Result<String> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
        .context("the kernel does not tell its memory")?;
    Ok(format!("{} GiB", kib.div_ceil(1024 * 1024)))
}

fn first_line(path: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("{path} cannot be read"))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
