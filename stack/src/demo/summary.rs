//! The end of a bounded demo: has `tickstream audit` count topic, lake and database, adds what the producer says it had
//! acknowledged, shows all of it in one table, and fails unless the counts agree. A count that could not be had is never
//! shown as equal.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use pipeline::topics;
use serde_json::Value;
use stack::Stack;

use super::fleet::Fleet;
use super::services;
use super::status_line::grouped;

/// How many records a topic holds now, by the broker's offsets.
pub async fn records_of(servers: &str, topic: &'static str) -> anyhow::Result<u64> {
    let servers = servers.to_owned();
    tokio::task::spawn_blocking(move || super::positions::records(&servers, topic))
        .await
        .context("asking for positions panicked")?
}

/// Audits and prints; `earlier` is what the topic held before this run's producer began.
pub async fn audit(fleet: &Fleet, stack: &Stack, earlier: u64) -> anyhow::Result<()> {
    let answer = services::run("tickstream", &["audit", "-o", "json"], &stack.env()).await?;
    let audit: Value = serde_json::from_slice(&answer.stdout).map_err(|_| {
        anyhow::anyhow!("`tickstream audit` gave no result: {}", String::from_utf8_lossy(&answer.stderr).trim())
    })?;
    let acknowledged = acknowledged(fleet.producer.process.log())?;
    let counts = Counts::of(&audit)
        .with_context(|| format!("`tickstream audit` could not count everything: {}", audit["not_audited"]))?;

    let mut table = String::from("\ncounts\n");
    let rows = [
        ("acknowledged by the producer", acknowledged),
        ("in the topic from earlier runs", earlier),
        ("records in the topic", counts.topic),
        ("rows in the lake, raw", counts.raw),
        ("rows in the lake, bronze", counts.bronze),
        ("events in the topic", counts.events),
        ("rows in Postgres", counts.database),
        ("dead letters", counts.dead_letters),
    ];
    for (name, count) in rows {
        writeln!(table, "  {name:<38}{:>14}", grouped(count))?;
    }
    table.push_str("\nservices                    processor  peak memory\n");
    for service in fleet.all() {
        let used = service.used();
        let mebibytes = used.peak_rss_bytes as f64 / f64::from(1 << 20);
        writeln!(table, "  {:<24}{:>9.1} s  {mebibytes:>7.1} MiB", service.name(), used.cpu_seconds)?;
    }
    let wrong = counts.differences(acknowledged + earlier);
    let agrees = wrong.is_empty() && answer.status.success();
    table.push_str(if agrees { "\nall counts agree\n" } else { "\n" });
    std::io::stdout().lock().write_all(table.as_bytes())?;
    if agrees {
        return Ok(());
    }
    for line in ["differences", "not_audited"].iter().filter_map(|list| audit[list].as_array()).flatten() {
        writeln!(std::io::stdout().lock(), "  {}", line.as_str().unwrap_or_default())?;
    }
    if wrong.is_empty() {
        bail!("the audit found differences");
    }
    bail!("the counts do not agree: {}", wrong.join("; "));
}

/// What the audit counted of the ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    topic: u64,
    raw: u64,
    bronze: u64,
    events: u64,
    database: u64,
    dead_letters: u64,
}

impl Counts {
    fn of(audit: &Value) -> Option<Self> {
        let of_ticks = |list: &str| audit[list].as_array()?.iter().find(|found| found["topic"] == topics::TICKS);
        let (ticks, database) = (of_ticks("topics")?, &audit["database"]);
        Some(Self {
            topic: ticks["delivered"].as_u64()?,
            raw: ticks["lake_records"].as_u64()?,
            bronze: ticks["bronze_rows"].as_u64()?,
            events: database["distinct_event_ids"].as_u64()?,
            database: database["postgres_rows"].as_u64()?,
            dead_letters: audit["totals"]["dead_letters"].as_u64()?,
        })
    }

    fn differences(&self, expected: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        if expected == 0 {
            wrong.push("no tick was acknowledged, so nothing was proved".to_owned());
        }
        let mut check = |name: &str, found: u64, expected: u64| {
            if found != expected {
                wrong.push(format!("{name}: {found}, not {expected}"));
            }
        };
        check("records in the topic", self.topic, expected);
        check("raw rows", self.raw, expected);
        check("bronze rows", self.bronze, expected);
        check("dead letters", self.dead_letters, 0);
        check("rows in Postgres", self.database, self.events);
        wrong
    }
}

/// What the producer said at its end: ticks that the broker acknowledged.
fn acknowledged(log: &Path) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let last = text.lines().rev().find_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        event.get("acknowledged_ticks")?.as_u64()
    });
    last.with_context(|| format!("{} does not say how many ticks were acknowledged", log.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn audit(delivered: u64, raw: u64, rows: u64, dead_letters: u64) -> Value {
        json!({
            "topics": [
                {"topic": "market.gaps.v1", "delivered": 7, "lake_records": 7, "bronze_rows": 7},
                {"topic": "market.ticks.v1", "delivered": delivered, "lake_records": raw, "bronze_rows": raw},
            ],
            "database": {"distinct_event_ids": delivered, "postgres_rows": rows},
            "totals": {"dead_letters": dead_letters},
        })
    }

    #[test]
    fn every_count_that_differs_is_named() {
        let check = |audit: Value, expected: u64, wrong: &[&str]| {
            let found = Counts::of(&audit).unwrap().differences(expected);
            assert_eq!(found, wrong);
        };
        check(audit(100, 100, 100, 0), 100, &[]);
        check(
            audit(100, 100, 100, 0),
            101,
            &["records in the topic: 100, not 101", "raw rows: 100, not 101", "bronze rows: 100, not 101"],
        );
        check(audit(0, 0, 0, 0), 0, &["no tick was acknowledged, so nothing was proved"]);
        check(audit(100, 99, 100, 0), 100, &["raw rows: 99, not 100", "bronze rows: 99, not 100"]);
        check(audit(100, 100, 98, 1), 100, &["dead letters: 1, not 0", "rows in Postgres: 98, not 100"]);
    }

    #[test]
    fn a_part_that_was_not_looked_at_is_no_count() {
        let mut partial = audit(1, 1, 1, 0);
        partial["database"] = Value::Null;
        assert_eq!(Counts::of(&partial), None);
    }

    #[test]
    fn the_last_word_of_the_producer_counts() {
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            log.path(),
            "not json\n{\"acknowledged_ticks\":5}\n{\"acknowledged_ticks\":9,\"message\":\"m\"}\n{\"a\":1}\n",
        )
        .unwrap();
        assert_eq!(acknowledged(log.path()).unwrap(), 9);
        std::fs::write(log.path(), "{\"a\":1}\n").unwrap();
        assert!(acknowledged(log.path()).is_err());
    }
}
