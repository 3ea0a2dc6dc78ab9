//! What a process has used, from /proc: processor time and the most memory it ever held.

use std::fs;

/// Processor seconds and peak resident bytes of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub peak_rss_bytes: u64,
}

impl Usage {
    /// `None` once the process has been waited for, or on a system without /proc.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        // The name stands in parentheses and may hold spaces; after it come state, then fields 4, 5, …: utime is 14.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let peak_kib: u64 = peak.trim().trim_end_matches("kB").trim().parse().ok()?;
        // Linux counts in hundredths of a second for every program, whatever the kernel's own tick.
        Some(Self { cpu_seconds: ticks / 100.0, peak_rss_bytes: peak_kib * 1024 })
    }
}

#[cfg(test)]
mod tests {
    use super::Usage;

    #[test]
    fn this_process_has_used_something() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.peak_rss_bytes > 1_000_000, "{usage:?}");
        assert!(Usage::of(u32::MAX).is_none());
    }
}
