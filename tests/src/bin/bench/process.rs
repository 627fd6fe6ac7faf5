//! What the kernel says of a process.

/// Ticks of a second in `/proc/<pid>/stat`: fixed on Linux for all that read it.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of one core that a process used so far, in user and kernel mode; 0 of one that is gone.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    stat_seconds(pid, 2)
}

/// The same with those of its children that have ended.
pub(crate) fn cpu_seconds_with_ended(pid: u32) -> f64 {
    stat_seconds(pid, 4)
}

fn stat_seconds(pid: u32, fields: usize) -> f64 {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return 0.0;
    };
    // The name in brackets may hold blanks; utime and stime are the 12th and 13th after it, and
    // after them come those of the children that have ended.
    let after = text.rsplit_once(") ").map_or("", |(_, after)| after);
    let ticks: f64 = after
        .split(' ')
        .skip(11)
        .take(fields)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / TICKS_PER_SECOND
}

/// The resident memory of a process, in MB (1,000,000 bytes); 0 of one that is gone.
pub(crate) fn rss_mb(pid: u32) -> f64 {
    mb(rss_kb(pid))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn mb(kb: u64) -> f64 {
    kb as f64 * 1_024.0 / 1_000_000.0
}

/// The largest resident memory that a process ever had, in MB; 0 of one that is gone.
pub(crate) fn hwm_mb(pid: u32) -> f64 {
    mb(status_kb(pid, "VmHWM:"))
}

/// The resident memory of a process in units of 1,024 bytes; 0 of one that is gone.
pub(crate) fn rss_kb(pid: u32) -> u64 {
    status_kb(pid, "VmRSS:")
}

fn status_kb(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.trim().split(' ').next()?.parse().ok())
        .unwrap_or(0)
}
