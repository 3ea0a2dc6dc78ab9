//! What an audit found, in Prometheus' text format, for node_exporter's textfile collector or whatever else reads a file: a
//! command that ends cannot be scraped. Must never happen here: half a file under its name.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;

use super::report::Report;
use crate::output::file;

/// Replaces the file as a whole.
pub fn write(path: &Path, report: &Report, took: Duration) -> anyhow::Result<()> {
    let text = text(report, took, Timestamp::now());
    // Under another name until it is whole: the collector reads what ends in .prom.
    file::replace(path, text.as_bytes())
        .with_context(|| format!("{}, set by --metrics-file (AUDIT_METRICS_FILE)", path.display()))
}

fn text(report: &Report, took: Duration, now: Timestamp) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, help: &str, samples: &[(String, f64)]| {
        text.push_str(&format!("# HELP tickstream_audit_{name} {help}\n# TYPE tickstream_audit_{name} gauge\n"));
        for (labels, value) in samples {
            text.push_str(&format!("tickstream_audit_{name}{labels} {value}\n"));
        }
    };
    let one = |value: f64| [(String::new(), value)];
    let seconds = now.as_millisecond() as f64 / 1000.0;
    metric("last_run_timestamp_seconds", "When the last audit ended.", &one(seconds));
    metric("duration_seconds", "How long it took.", &one(took.as_secs_f64()));
    metric("equal", "1 when it found no difference and left nothing out.", &one(f64::from(u8::from(report.equal))));
    metric("not_audited", "Parts that could not be looked at.", &one(report.not_audited.len() as f64));
    metric("pending", "What is under way and not late.", &one(report.pending.len() as f64));
    let kinds: Vec<(String, f64)> =
        report.kinds.iter().map(|(kind, count)| (format!("{{kind=\"{kind}\"}}"), *count as f64)).collect();
    metric("differences", "Differences by what they are of.", &kinds);
    let totals = &report.totals;
    let counted = [
        ("topics", Some(totals.delivered)),
        ("lake", totals.lake_records),
        ("bronze", totals.bronze_rows),
        ("postgres", totals.postgres_rows),
        ("silver", report.refined.as_ref().map(|refined| refined.silver_rows)),
        ("dead_letters", Some(totals.dead_letters)),
    ];
    let counted: Vec<(String, f64)> =
        counted.into_iter().filter_map(|(place, count)| Some((format!("{{in=\"{place}\"}}"), count? as f64))).collect();
    metric("records", "Records that were looked at, by where they are.", &counted);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_is_prometheus_text() {
        let mut report = Report::default();
        report.differ("lake", "a hole".to_owned());
        let report = report.finish();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.prom");
        for _ in 0..2 {
            write(&path, &report, Duration::from_millis(250)).expect("written");
        }
        let text = std::fs::read_to_string(&path).expect("a file");
        for line in [
            "tickstream_audit_duration_seconds 0.25",
            "tickstream_audit_equal 0",
            "tickstream_audit_differences{kind=\"lake\"} 1",
            "tickstream_audit_differences{kind=\"gold\"} 0",
            "tickstream_audit_records{in=\"topics\"} 0",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            assert!(name.starts_with("tickstream_audit_") && value.parse::<f64>().is_ok(), "{line}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");
        assert!(write(Path::new("/nowhere/at/all.prom"), &report, Duration::ZERO).is_err());
    }
}
