//! `tickstream groups`: how far each consumer group is behind, in records and in time. Time is the broker's: from the first
//! record that a group has not committed to the last one of the partition, both read from the log. No group is joined and
//! nothing is committed. Must never happen here: "no lag" for a partition that could not be asked.

mod assignment;
mod lag;
mod members;
mod times;

use anyhow::anyhow;
use clap::Args;
use jiff::SignedDuration;
use pipeline::kafka::KafkaArgs;

use crate::nearest::not_known;
use crate::output::{self, Align, OutputArgs};
pub use lag::{Asker, Lag, Total, Wanted, totals};
pub use members::{Group, Groups, Place};
pub use times::{End as TimesEnd, Stretch as TimesStretch, Times};

#[derive(Args, Debug)]
pub struct GroupsArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    /// Groups such as consumer-db; all of them when none is named.
    #[arg(value_name = "GROUP")]
    groups: Vec<String>,
    /// These topics only, separated by commas.
    #[arg(long = "topic", env = "GROUPS_TOPICS", value_delimiter = ',', value_name = "TOPIC")]
    topics: Vec<String>,
    /// One line a group and topic in place of one a partition.
    #[arg(long, env = "GROUPS_TOTALS")]
    totals: bool,
    /// End with exit code 1 when a partition is more records behind than this.
    #[arg(long, env = "GROUPS_MAX_LAG", value_name = "RECORDS")]
    max_lag: Option<u64>,
    /// End with exit code 1 when a partition is further behind than this by the broker's time, such as 30s or 5m.
    #[arg(long, env = "GROUPS_MAX_BEHIND", value_name = "DURATION")]
    max_behind: Option<SignedDuration>,
    #[command(flatten)]
    output: OutputArgs,
}

const HEADINGS: [&str; 12] = [
    "group",
    "state",
    "topic",
    "partition",
    "committed",
    "start",
    "end",
    "lag",
    "behind_seconds",
    "waits_seconds",
    "client",
    "remark",
];
const TOTAL_HEADINGS: [&str; 7] = ["group", "state", "topic", "partitions", "lag", "behind_seconds", "waits_seconds"];

pub async fn run(args: GroupsArgs) -> anyhow::Result<()> {
    let wanted = Wanted { groups: args.groups.clone(), topics: args.topics.clone() };
    let mut asker = Asker::new(&args.kafka)?;
    let found = asker.ask(&wanted).await?;
    if let Some(unknown) = args.groups.iter().find(|group| !found.groups.contains(group)) {
        return Err(anyhow!(not_known("group", unknown, found.groups.iter().map(String::as_str))));
    }
    if found.lags.is_empty() {
        output::note("no group has committed or is assigned anything of what was asked");
    }
    if args.totals {
        output::print_rows(args.output.format, &TOTAL_HEADINGS, &totals(&found.lags), totals_as_table)?;
    } else {
        output::print_rows(args.output.format, &HEADINGS, &found.lags, as_table)?;
    }
    conclude(&args, &found.lags)
}

fn conclude(args: &GroupsArgs, lags: &[Lag]) -> anyhow::Result<()> {
    let too_many = |lag: &&Lag| {
        let records = args.max_lag.zip(lag.lag).is_some_and(|(most, lag)| lag.unsigned_abs() > most);
        let time = args.max_behind.zip(lag.behind_seconds).is_some_and(|(most, behind)| behind > most.as_secs_f64());
        records || time
    };
    let mut late = lags.iter().filter(too_many);
    let Some(first) = late.next() else { return Ok(()) };
    let more = match late.count() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Err(anyhow!(
        "further behind than asked for: {} on {}[{}], {} records{}{more}",
        first.group,
        first.topic,
        first.partition,
        first.lag.unwrap_or(0),
        first.behind_seconds.map(|seconds| format!(" and {}", output::age(seconds))).unwrap_or_default()
    ))
}

fn as_table(lags: &[Lag]) -> String {
    let row = |lag: &Lag| {
        vec![
            lag.group.clone(),
            lag.state.clone(),
            lag.topic.clone(),
            lag.partition.to_string(),
            number(lag.committed),
            lag.end.to_string(),
            number(lag.lag),
            time(lag.behind_seconds),
            time(lag.waits_seconds),
            lag.client.clone().unwrap_or_else(|| "-".to_owned()),
            lag.remark.clone().unwrap_or_default(),
        ]
    };
    let columns = [
        ("GROUP", Align::Left),
        ("STATE", Align::Left),
        ("TOPIC", Align::Left),
        ("PARTITION", Align::Right),
        ("COMMITTED", Align::Right),
        ("END", Align::Right),
        ("LAG", Align::Right),
        ("BEHIND", Align::Right),
        ("WAITS", Align::Right),
        ("CLIENT", Align::Left),
        ("", Align::Left),
    ];
    output::table(&columns, &lags.iter().map(row).collect::<Vec<_>>())
}

pub const TOTAL_COLUMNS: [(&str, Align); 7] = [
    ("GROUP", Align::Left),
    ("STATE", Align::Left),
    ("TOPIC", Align::Left),
    ("PARTITIONS", Align::Right),
    ("LAG", Align::Right),
    ("BEHIND", Align::Right),
    ("WAITS", Align::Right),
];

pub fn total_row(total: &Total) -> Vec<String> {
    vec![
        total.group.clone(),
        total.state.clone(),
        total.topic.clone(),
        total.partitions.to_string(),
        number(total.lag),
        time(total.behind_seconds),
        time(total.waits_seconds),
    ]
}

pub fn totals_as_table(totals: &[Total]) -> String {
    output::table(&TOTAL_COLUMNS, &totals.iter().map(total_row).collect::<Vec<_>>())
}

fn number(number: Option<i64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn time(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), output::age)
}
