//! A plan as it is shown: of each partition what is read, of each group where it is set, and what will change.

use std::path::Path;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde::Serialize;

use crate::output::{self, Align, Format};
use crate::replay::generation;
use crate::replay::plan::{Mode, Plan, Source, Stretch, Target};

/// Records a second that two cores shared with broker and database take, as `make bench` measures it: what an estimate is
/// made of.
const DB_RATE: f64 = 120_000.0;
const LAKE_RATE: f64 = 400_000.0;
const READ_RATE: f64 = 500_000.0;

const HEADINGS: [&str; 11] = [
    "topic",
    "partition",
    "from",
    "to",
    "from_time",
    "to_time",
    "records",
    "bytes",
    "log_start",
    "log_end",
    "margin_ms",
];

#[derive(Serialize)]
struct Row<'a> {
    topic: &'a str,
    partition: i32,
    from: i64,
    to: i64,
    from_time: Option<Timestamp>,
    to_time: Option<Timestamp>,
    records: u64,
    bytes: u64,
    log_start: i64,
    log_end: i64,
    margin_ms: Option<i64>,
}

pub fn print(plan: &Plan, remarks: &[String], path: &Path, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Table => output::print(&table(plan, remarks))?,
        Format::Json => output::print_json(plan)?,
        Format::Csv => {
            let rows: Vec<Row<'_>> = plan.partitions.iter().map(row).collect();
            output::print(&output::csv(&HEADINGS, true, &rows)?)?;
        }
    }
    if format != Format::Table {
        remarks.iter().for_each(|remark| output::note(remark));
    }
    let execute = if plan.mode == Mode::Rewind { " --execute" } else { "" };
    output::note(&format!(
        "the plan is in {0}; nothing else was written: `tickstream replay execute {0}{execute}` carries it out",
        path.display()
    ));
    Ok(())
}

fn row(stretch: &Stretch) -> Row<'_> {
    let Stretch {
        topic, partition, from, to, from_time, to_time, records, bytes, log_start, log_end, margin_ms, ..
    } = stretch;
    Row {
        topic,
        partition: *partition,
        from: *from,
        to: *to,
        from_time: *from_time,
        to_time: *to_time,
        records: *records,
        bytes: *bytes,
        log_start: *log_start,
        log_end: *log_end,
        margin_ms: *margin_ms,
    }
}

fn table(plan: &Plan, remarks: &[String]) -> String {
    let kind = match plan.mode {
        Mode::Rewind => "rewind",
        Mode::SideBySide => "side by side",
    };
    let targets: Vec<String> = plan.targets.iter().map(ToString::to_string).collect();
    let mut text = match plan.mode {
        Mode::Rewind => format!("{}: {kind}\n\n", plan.name),
        Mode::SideBySide => {
            format!("{}: {kind}, from {} into {}\n\n", plan.name, said(plan.source), targets.join(", "))
        }
    };
    text.push_str(&stretches(plan));
    if !plan.groups.is_empty() {
        text.push('\n');
        text.push_str(&groups(plan));
    }
    text.push('\n');
    let bytes = plan.partitions.iter().map(|stretch| stretch.bytes).sum();
    text.push_str(&format!(
        "{} records at most, about {}, in about {}\n",
        plan.records(),
        output::size(bytes),
        output::age(seconds(plan))
    ));
    for remark in remarks {
        text.push_str(&format!("- {remark}\n"));
    }
    text
}

/// What is read of each partition.
pub fn stretches(plan: &Plan) -> String {
    let columns = [
        ("TOPIC", Align::Left),
        ("PARTITION", Align::Right),
        ("FROM", Align::Right),
        ("TO", Align::Right),
        ("FROM TIME", Align::Left),
        ("TO TIME", Align::Left),
        ("RECORDS", Align::Right),
        ("BYTES", Align::Right),
        ("KEPT FOR", Align::Right),
    ];
    output::table(&columns, &plan.partitions.iter().map(cells).collect::<Vec<_>>())
}

fn said(source: Source) -> &'static str {
    match source {
        Source::Topic => "the topic",
        Source::LakeRaw => "the raw lake",
        Source::Payloads => "payloads",
        Source::PayloadsLake => "payloads in the raw lake",
    }
}

fn cells(stretch: &Stretch) -> Vec<String> {
    vec![
        stretch.topic.clone(),
        stretch.partition.to_string(),
        stretch.from.to_string(),
        stretch.to.to_string(),
        time(stretch.from_time),
        time(stretch.to_time),
        stretch.records.to_string(),
        output::size(stretch.bytes),
        stretch.margin_ms.map_or_else(|| "-".to_owned(), |ms| output::age(ms as f64 / 1000.0)),
    ]
}

/// To the second.
pub fn time(at: Option<Timestamp>) -> String {
    let round = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Trunc);
    let whole = at.map(|at| at.round(round).unwrap_or(at));
    whole.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

/// What becomes of each group.
pub fn groups(plan: &Plan) -> String {
    let columns = [
        ("GROUP", Align::Left),
        ("TOPIC", Align::Left),
        ("PARTITION", Align::Right),
        ("COMMITTED", Align::Right),
        ("NEW", Align::Right),
        ("SHIFT", Align::Right),
    ];
    let rows = plan.groups.iter().flat_map(|group| group.offsets.iter().map(move |offset| (group, offset)));
    let rows: Vec<Vec<String>> = rows
        .map(|(group, offset)| {
            let committed = offset.committed.map_or_else(|| "-".to_owned(), |committed| committed.to_string());
            let shift =
                offset.committed.map_or_else(|| "-".to_owned(), |committed| format!("{:+}", offset.new - committed));
            vec![
                group.group.clone(),
                offset.topic.clone(),
                offset.partition.to_string(),
                committed,
                offset.new.to_string(),
                shift,
            ]
        })
        .collect();
    output::table(&columns, &rows)
}

/// How long it may take, beginning and ending included.
fn seconds(plan: &Plan) -> f64 {
    let records = plan.records() as f64;
    let slowest = plan.targets.iter().map(|target| match target {
        Target::Db => DB_RATE,
        Target::Lake | Target::Alerts | Target::Topic(_) => LAKE_RATE,
    });
    let written = records / slowest.fold(READ_RATE, f64::min);
    1.0 + if plan.source.is_payloads() { written + records / DB_RATE } else { written }
}

/// What a generation changes, and what it does not.
pub fn of_generation(plan: &Plan) -> Vec<String> {
    let mut remarks = vec!["nothing live changes: neither groups nor tables nor objects".to_owned()];
    if plan.has(&Target::Db) {
        remarks.push(format!("Postgres gets the schema {}", generation::schema(&plan.name)));
    }
    if plan.has(&Target::Lake) {
        remarks.push(format!("the lake gets objects below generations/{}/", plan.name));
    }
    for into in plan.copies() {
        remarks.push(format!("{into} gets a copy of each record, and is made where there is none"));
    }
    if plan.source.is_payloads() {
        remarks.push(format!(
            "what today's parsers read otherwise becomes corrections, in the topic {}",
            generation::topic(&plan.name)
        ));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::plan::{GroupOffset, GroupOffsets};

    #[test]
    fn a_plan_is_shown_a_line_a_partition() {
        let offset = GroupOffset { topic: "t".to_owned(), partition: 0, committed: Some(20), new: 10 };
        let groups = vec![GroupOffsets { group: "consumer-db".to_owned(), offsets: vec![offset] }];
        let mut plan = Plan { mode: Mode::Rewind, groups, ..Plan::example("one") };
        plan.partitions.truncate(1);
        let expected = "\
one: rewind

TOPIC            PARTITION  FROM  TO  FROM TIME             TO TIME  RECORDS   BYTES  KEPT FOR
market.ticks.v1          0    10  20  2026-11-22T13:00:00Z  -             10  2.0 kB      24 h

GROUP        TOPIC  PARTITION  COMMITTED  NEW  SHIFT
consumer-db  t              0         20   10    -10

10 records at most, about 2.0 kB, in about 1.0 s
- a remark
";
        assert_eq!(table(&plan, &["a remark".to_owned()]), expected);
    }
}
