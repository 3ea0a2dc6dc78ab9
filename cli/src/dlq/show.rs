//! `tickstream dlq show`: all of the letters of one record, and what today's code makes of it.

mod shown;

use arrow::array::{Array, BinaryArray};
use clap::Args;
use jiff::Timestamp;
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::registry::RegistryArgs;

use super::check::Checker;
use super::reading::Known;
use super::selection::{Coordinates, Named};
use crate::output::{self, Format, OutputArgs};
use shown::Shown;

#[derive(Args, Debug)]
pub struct ShowArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    /// The record, as TOPIC:PARTITION:OFFSET.
    #[arg(env = "DLQ_COORDINATES", value_name = "COORDINATES")]
    coordinates: Coordinates,
    /// The letters of these consumer groups only, separated by commas.
    #[arg(long = "group", env = "DLQ_GROUPS", value_delimiter = ',', value_name = "GROUP")]
    groups: Vec<String>,
    /// How old a tick may be, in days: consumer-db's own setting.
    #[arg(long, env = "DB_OLDEST_EVENT_DAYS", default_value = "400", value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    oldest_event_days: u32,
    #[command(flatten)]
    output: OutputArgs,
}

pub async fn run(args: ShowArgs) -> anyhow::Result<()> {
    let mut named = Named::new(std::slice::from_ref(&args.coordinates));
    let known = Known::ask(&args.kafka, std::slice::from_ref(&args.coordinates.topic)).await?;
    let marks = known.marks().await?;
    let registry = args.registry.registry()?;
    let mut letters = Vec::new();
    for source in &known.sources {
        let mut checker = Checker::new(source.record, registry.clone(), args.oldest_event_days);
        let read = source.read(&known.kafka, async |found, records| {
            for letter in found {
                if !named.takes(source, &letter) || !(args.groups.is_empty() || args.groups.contains(&letter.group)) {
                    continue;
                }
                let (keys, values, row) = (records.keys(), records.values(), letter.row);
                let key = keys.is_valid(row).then(|| keys.value(row));
                let value = values.is_valid(row).then(|| values.value(row));
                let now = Timestamp::now().as_microsecond();
                let checked = checker.check(&BinaryArray::from_iter([value]), now).await?;
                letters.push(Shown::new(source, &letter, &marks, (key, value), checked)?);
            }
            Ok(())
        });
        read.await?;
    }
    named.expect_found()?;
    if letters.is_empty() {
        let groups = args.groups.join(", ");
        return Err(misconfigured(format!("{} is no dead letter of group {groups}, but of another", args.coordinates)));
    }
    match args.output.format {
        Format::Table => output::print(&letters.iter().map(Shown::as_text).collect::<Vec<_>>().join("\n")),
        Format::Json => output::print_json(&letters),
        Format::Csv => output::print(&shown::as_csv(&letters)?),
    }
}
