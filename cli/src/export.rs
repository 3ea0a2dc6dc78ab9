//! `tickstream export`: rows of a span of time, out of a topic or the lake, as Parquet, CSV or JSON lines, for whoever works
//! with something else. It streams: some thousand rows in memory at a time, whatever the span. Invariant: a file under its
//! final name is whole, and no number in it went through a float. Crash points: before the last rename of a file it has its
//! `.partial` name, and the next run begins it anew. Must never happen here: a file that was there and is replaced unasked.

mod files;
mod form;
mod from_lake;
mod from_topic;
mod span;

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use pipeline::codec::RecordType;
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::registry::RegistryArgs;
use pipeline::store::StoreArgs;

use crate::lake::export::{Layer, TABLES, explain_full_disk, full_disk};
use crate::moment;
use crate::nearest::not_known;
use crate::output;
use files::{Files, To};
use form::Format;
use span::{Kept, Span};

#[derive(Args, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Where the rows come from.
    #[arg(long, env = "EXPORT_SOURCE", value_enum, default_value = "lake", value_name = "SOURCE")]
    source: Source,
    /// What to export: ticks, gaps, health, index_weights, payloads, alerts, quarantined_ticks, or a topic's name.
    #[arg(long, alias = "topic", env = "EXPORT_TABLE", default_value = "ticks", value_name = "TABLE")]
    table: String,
    /// Which rows of the lake: each record as it came, or what the refiner made of them.
    #[arg(long, env = "EXPORT_LAYER", value_enum, default_value = "bronze", value_name = "LAYER")]
    layer: Layer,
    /// From when on: 2026-11-22T13:00:00Z, 2026-11-22, -24h, today (UTC). By the broker's clock; for silver by the event's own.
    /// Default: the first there is.
    #[arg(long, env = "EXPORT_FROM_DATETIME", value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    from_datetime: Option<Timestamp>,
    /// Until when, written likewise, exclusive. Default: the last there is.
    #[arg(long, env = "EXPORT_TO_DATETIME", value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    to_datetime: Option<Timestamp>,
    /// These symbols only, separated by commas, such as BTC-USD. Default: all.
    #[arg(long = "symbol", env = "EXPORT_SYMBOLS", value_delimiter = ',', value_name = "SYMBOL")]
    symbols: Vec<String>,
    /// How the rows are written. Default: as the name of the file ends.
    #[arg(long, env = "EXPORT_FORMAT", value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// A file, a folder that gets files part-00000, part-00001, …, or - for standard output.
    #[arg(long, env = "EXPORT_TO", value_name = "FILE|FOLDER|-")]
    to: PathBuf,
    /// Rows a file of a folder.
    #[arg(long, env = "EXPORT_PART_ROWS", default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    part_rows: u64,
    /// Replace a file that is there.
    #[arg(long, env = "EXPORT_REPLACE")]
    replace: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    /// The lake's objects: all that there ever was.
    Lake,
    /// The topic: what retention has left, up to this moment.
    Topic,
}

pub async fn run(args: ExportArgs) -> anyhow::Result<()> {
    let table = table_of(&args.table)?;
    let span = Span::new(args.from_datetime, args.to_datetime)?;
    // Before a folder is made.
    let format = format(args.format, &args.to)?;
    let to = To::new(&args.to, args.part_rows, args.replace)?;
    let is_stream = matches!(to, To::Stdout | To::Device(_));
    let explain = |error: anyhow::Error| if is_stream { refused(error) } else { explain_full_disk(error) };
    let mut files = Files::new(to, format)?;
    let mut kept = Kept::new(span, &args.symbols);
    let written = match args.source {
        Source::Lake => from_lake::export(&args, &table, &mut kept, &mut files).await,
        Source::Topic => from_topic::export(&args, &table, &mut kept, &mut files).await,
    };
    // Nobody reads any more, and so there is no more to do.
    if files.is_closed() {
        return Ok(());
    }
    written.map_err(explain)?;
    if files.rows() == 0 {
        return Err(nothing(&args, &table, &kept));
    }
    let (rows, place) = (files.rows(), args.to.display().to_string());
    let Some(done) = files.finish().map_err(explain)? else { return Ok(()) };
    let many = if done.files == 1 { String::new() } else { format!(" in {} files", done.files) };
    output::note(&format!("{rows} rows of {table}{many}, {}: {place}", output::size(done.bytes)));
    Ok(())
}

/// A table by its name or by its topic's.
fn table_of(name: &str) -> anyhow::Result<String> {
    if let Some(record) = RecordType::ALL.into_iter().find(|record| record.topic() == name) {
        return Ok(pipeline::lake::table(record).to_owned());
    }
    if TABLES.contains(&name) {
        return Ok(name.to_owned());
    }
    let known = TABLES.into_iter().chain(RecordType::ALL.map(RecordType::topic));
    Err(misconfigured(format!("--table (EXPORT_TABLE): {}", not_known("table", name, known))))
}

/// The one that was asked for, or the one that the file's name says.
fn format(asked: Option<Format>, to: &Path) -> anyhow::Result<Format> {
    let named = to.extension().and_then(|end| end.to_str()).and_then(Format::of_ending);
    asked.or(named).ok_or_else(|| {
        misconfigured(format!(
            "--format (EXPORT_FORMAT) is to say parquet, csv or jsonl: the name {} does not end in one of them",
            to.display()
        ))
    })
}

/// Of a pipe or a device no file is left over that could be deleted.
fn refused(error: anyhow::Error) -> anyhow::Error {
    match full_disk(&error) {
        Some(cause) => anyhow!("the disk is full, and what was written is not whole: {cause}"),
        None => error,
    }
}

fn nothing(args: &ExportArgs, table: &str, kept: &Kept) -> anyhow::Error {
    let of = match args.source {
        Source::Topic => "the topic".to_owned(),
        Source::Lake => format!("{}/{table}", args.layer.name()),
    };
    match args.symbols.iter().find(|symbol| !kept.has_seen(symbol)) {
        Some(symbol) if kept.passed_over > 0 => {
            anyhow!("nothing to export: {}", not_known("symbol", symbol, kept.seen()))
        }
        Some(_) | None => anyhow!("nothing to export: {of} has no rows {}", kept.span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_two_names() {
        assert_eq!(table_of("market.ticks.v1").ok().as_deref(), Some("ticks"));
        assert_eq!(table_of("quarantined_ticks").ok().as_deref(), Some("quarantined_ticks"));
        let said = table_of("tick").expect_err("no table").to_string();
        assert!(said.contains("no table tick is known; the nearest names are ticks"), "{said}");
    }

    #[test]
    fn a_file_says_its_format() {
        let of = |asked, name: &str| format(asked, Path::new(name)).ok();
        assert_eq!(of(None, "a/ticks.parquet"), Some(Format::Parquet));
        assert_eq!(of(None, "ticks.CSV"), Some(Format::Csv));
        assert_eq!((of(None, "a.ndjson"), of(None, "a.jsonl")), (Some(Format::Jsonl), Some(Format::Jsonl)));
        assert_eq!(of(Some(Format::Csv), "ticks.parquet"), Some(Format::Csv), "what is asked for counts more");
        assert_eq!((of(None, "-"), of(None, "folder/"), of(None, "a.txt")), (None, None, None));
    }
}
