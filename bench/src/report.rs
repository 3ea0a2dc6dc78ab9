//! The table that `make bench` prints: limit and ours side by side, so that the ratio means something on any machine.

use std::io::Write;

use crate::service::Used;

pub struct Row {
    pub what: &'static str,
    /// Records a second.
    pub rate: f64,
    /// The limit that it is a share of, by name and rate.
    pub limit: Option<(&'static str, f64)>,
    pub used: Option<Used>,
}

pub fn print(rows: &[Row], out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{:<34}{:>12}  {:<30}{:>8}{:>9}", "what", "records/s", "share of", "CPU s", "peak MiB")?;
    for row in rows {
        let share = row.limit.map_or_else(String::new, |(name, limit)| format!("{:.2} of {name}", row.rate / limit));
        let (cpu, peak) = row.used.map_or_else(Default::default, |used| {
            (format!("{:.1}", used.cpu_seconds), format!("{:.0}", used.peak_mib))
        });
        writeln!(out, "{:<34}{:>12.0}  {share:<30}{cpu:>8}{peak:>9}", row.what, row.rate)?;
    }
    Ok(())
}
