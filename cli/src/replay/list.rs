//! `tickstream replay list` and `replay show`: what market.replays.v1 tells of replays.

use clap::Args;
use jiff::Timestamp;
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use serde::Serialize;

use super::plan::{Mode, Name};
use super::planning::shown;
use super::record::{All, Record, State, TargetState};
use crate::nearest::not_known;
use crate::output::{self, Align, Format, OutputArgs};

#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
pub struct ShowArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    /// Of the replay.
    #[arg(env = "REPLAY_NAME", value_name = "NAME")]
    name: Name,
    #[command(flatten)]
    output: OutputArgs,
}

const HEADINGS: [&str; 8] = ["name", "state", "mode", "source", "targets", "records", "begun_at", "changed_at"];

#[derive(Serialize)]
struct Row {
    name: String,
    state: State,
    mode: Mode,
    source: &'static str,
    targets: String,
    records: u64,
    begun_at: Timestamp,
    changed_at: Timestamp,
}

impl Row {
    fn of(record: &Record) -> Self {
        let plan = &record.plan;
        let targets: Vec<String> = match plan.mode {
            Mode::Rewind => plan.groups.iter().map(|group| group.group.clone()).collect(),
            Mode::SideBySide => plan.targets.iter().map(ToString::to_string).collect(),
        };
        Self {
            name: plan.name.to_string(),
            state: record.state,
            mode: plan.mode,
            source: plan.source.as_str(),
            targets: targets.join(" "),
            records: plan.records(),
            begun_at: record.begun_at,
            changed_at: record.changed_at,
        }
    }

    fn cells(&self) -> Vec<String> {
        let mode = match self.mode {
            Mode::Rewind => "rewind",
            Mode::SideBySide => "side by side",
        };
        vec![
            self.name.clone(),
            self.state.as_str().to_owned(),
            mode.to_owned(),
            self.source.to_owned(),
            self.targets.clone(),
            self.records.to_string(),
            shown::time(Some(self.begun_at)),
            shown::time(Some(self.changed_at)),
        ]
    }
}

pub async fn list(args: ListArgs) -> anyhow::Result<()> {
    let all = All::read(&args.kafka).await?;
    let mut rows: Vec<Row> = all.records.values().map(Row::of).collect();
    rows.sort_by_key(|row| row.begun_at);
    output::print_rows(args.output.format, &HEADINGS, &rows, |rows| {
        let columns = [
            ("NAME", Align::Left),
            ("STATE", Align::Left),
            ("MODE", Align::Left),
            ("SOURCE", Align::Left),
            ("TARGETS", Align::Left),
            ("RECORDS", Align::Right),
            ("BEGUN", Align::Left),
            ("CHANGED", Align::Left),
        ];
        output::table(&columns, &rows.iter().map(Row::cells).collect::<Vec<_>>())
    })?;
    if all.unreadable.is_empty() {
        return Ok(());
    }
    let keys: Vec<&str> = all.unreadable.keys().map(String::as_str).collect();
    Err(misconfigured(format!("these records cannot be read by this version: {}", keys.join(", "))))
}

pub async fn show(args: ShowArgs) -> anyhow::Result<()> {
    let all = All::read(&args.kafka).await?;
    if let Some(why) = all.unreadable.get(args.name.as_str()) {
        return Err(misconfigured(format!("the record of {} cannot be read by this version: {why}", args.name)));
    }
    let Some(record) = all.records.get(&args.name) else {
        return Err(misconfigured(not_known("replay", args.name.as_str(), all.records.keys().map(Name::as_str))));
    };
    match args.output.format {
        Format::Json => output::print_json(record),
        Format::Csv => output::print(&output::csv(&HEADINGS, true, &[Row::of(record)])?),
        Format::Table => output::print(&table(record)),
    }
}

fn table(record: &Record) -> String {
    let row = Row::of(record);
    let mut text = format!(
        "{} is {}: {}, from {}, into {}\nbegun {}, changed {} (revision {})\nplan {} of {}\n\n",
        row.name,
        record.state.as_str(),
        row.cells()[2],
        row.source,
        row.targets,
        shown::time(Some(row.begun_at)),
        shown::time(Some(row.changed_at)),
        record.revision,
        record.plan.digest.get(..16).unwrap_or_default(),
        shown::time(Some(record.plan.made_at)),
    );
    text.push_str(&shown::stretches(&record.plan));
    if !record.plan.groups.is_empty() {
        text.push('\n');
        text.push_str(&shown::groups(&record.plan));
    }
    if !record.counts.is_empty() {
        let counts: Vec<String> = record.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        text.push_str(&format!("\n{}\n", counts.join(", ")));
    }
    if !record.targets.is_empty() {
        text.push('\n');
        let columns = [
            ("TARGET", Align::Left),
            ("STATE", Align::Left),
            ("ROWS", Align::Right),
            ("TOOK", Align::Right),
            ("FENCE", Align::Left),
        ];
        let rows: Vec<Vec<String>> = record
            .targets
            .iter()
            .map(|(target, state)| {
                let TargetState { state, began_us, ended_us, fence, rows } = state;
                let took = began_us.zip(*ended_us).map(|(began, ended)| output::age((ended - began) as f64 / 1e6));
                let fence: Vec<String> =
                    fence.iter().map(|fence| format!("{}[{}]:{}", fence.topic, fence.partition, fence.to)).collect();
                vec![
                    target.to_string(),
                    state.clone(),
                    rows.to_string(),
                    took.unwrap_or_else(|| "-".to_owned()),
                    fence.join(" "),
                ]
            })
            .collect();
        text.push_str(&output::table(&columns, &rows));
    }
    text
}
