//! `tickstream lake export --csv`: the lake's rows as plain text, a file a day and symbol, for people who open them in a sheet
//! or hand them to an auditor. It streams: a few objects in memory at a time, whatever the range. Invariant: the same objects
//! give the same bytes, and a file under its final name is whole. Must never happen here: a number that went through a float,
//! or a text that a sheet would run as a formula.

pub mod cells;
mod day_files;
mod folder;
pub mod rows;
pub mod selection;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use jiff::civil::Date;
use pipeline::store::{Store, StoreArgs};

use crate::output::{self, Progress};
use day_files::DayFiles;
use rows::Table;
pub use rows::{TABLES, check_symbols};
use selection::Range;

/// Objects that are fetched while one is written.
const AHEAD: usize = 3;

#[derive(Args, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Write comma-separated values (RFC 4180, UTF-8); there is no other format.
    #[arg(long, env = "LAKE_EXPORT_CSV", required = true)]
    csv: bool,
    /// The folder to write into; it is made when it is not there. Files of the same name are replaced.
    #[arg(long, env = "LAKE_EXPORT_TO", value_name = "DIR")]
    to: PathBuf,
    /// What to export. Ticks have a folder for each symbol, every other table has one.
    #[arg(long, env = "LAKE_EXPORT_TABLE", default_value = "ticks", value_parser = PossibleValuesParser::new(rows::TABLES), value_name = "TABLE")]
    table: String,
    /// These symbols only, such as BTC-USD. Default: all.
    #[arg(long = "symbol", env = "LAKE_EXPORT_SYMBOLS", value_delimiter = ',', value_name = "SYMBOL")]
    symbols: Vec<String>,
    /// The first day (UTC), such as 2026-11-22. Default: the lake's first.
    #[arg(long, env = "LAKE_EXPORT_FROM", value_name = "DATE")]
    from: Option<Date>,
    /// The last day (UTC), which is exported too. Default: the lake's last.
    #[arg(long, env = "LAKE_EXPORT_UNTIL", value_name = "DATE")]
    until: Option<Date>,
    /// Which rows: each record as it came, or what the refiner made of them.
    #[arg(long, env = "LAKE_EXPORT_LAYER", value_enum, default_value = "bronze")]
    layer: Layer,
    /// Begin each file with a byte order mark, without which Excel does not read texts as UTF-8.
    #[arg(long, env = "LAKE_EXPORT_BOM")]
    bom: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Layer {
    /// Every record that decodes, repetitions and revisions each, by the day of the broker's clock.
    #[default]
    Bronze,
    /// Each event once, in its newest revision, by the day of the event's own time.
    Silver,
}

impl Layer {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bronze => "bronze",
            Self::Silver => "silver",
        }
    }
}

pub async fn run(args: ExportArgs) -> anyhow::Result<()> {
    let range = Range::new(args.from, args.until)?;
    let mut table = Table::new(args.layer, &args.table, &args.symbols)?;
    let store = Store::connect(&args.store).await?;
    let objects = selection::objects(&store, &mut table, range).await?;

    let mut files = DayFiles::new(&args.to.join(args.layer.name()), table.name(), args.bom);
    let mut progress = Progress::default();
    let mut writer = rows::Writer::new(&table, range);
    let (mut read, mut bytes) = (0_u64, 0_u64);
    let mut fetched = std::pin::pin!(fetched(&store, objects, args.layer));
    while let Some(object) = fetched.next().await {
        let (key, object) = object?;
        (read, bytes) = (read + 1, bytes + object.len() as u64);
        // Rows come by the day, more or less: whatever is older than the slack is done.
        let written = writer.before(&key).map_or(Ok(()), |day| files.finish_before(day));
        written.and_then(|()| writer.write(&key, object, &mut files)).map_err(explain_full_disk)?;
        progress.tell(|| format!("{read} objects read, {}; at {key}", output::size(bytes)));
    }
    let done = files.finish().map_err(explain_full_disk)?;
    if done.files == 0 {
        return Err(anyhow!("nothing to export: {}", table.nothing(range)));
    }
    let files = if done.files == 1 { "1 file".to_owned() } else { format!("{} files", done.files) };
    output::print(&format!(
        "{} rows of {} in {files}, {}, {}: {}\n",
        done.rows,
        table.name(),
        output::size(done.bytes),
        done.days(),
        args.to.join(args.layer.name()).display()
    ))
}

/// The objects with their bytes, in order, some fetched ahead.
pub fn fetched(
    store: &Store,
    keys: BoxStream<'static, anyhow::Result<Arc<str>>>,
    layer: Layer,
) -> impl Stream<Item = anyhow::Result<(Arc<str>, Bytes)>> {
    let (store, layer) = (store.clone(), layer.name());
    let fetched = keys.map(move |key| {
        let store = store.clone();
        async move {
            let key: Arc<str> = key?;
            let name = key.clone();
            let fetching = tokio::spawn(async move { store.get(&name).await });
            let object = fetching.await?.with_context(|| format!("reading {key}"))?;
            let object = object.ok_or_else(|| anyhow!("{key} was there and is gone: export again"))?;
            ensure!(
                object.is_as_written() != Some(false),
                "the bytes of {key} are not those that were written: `refiner rebuild --layer {layer}` for its day makes it again, \
                 or put back a version or a backup of it; nothing was exported of it"
            );
            anyhow::Ok((key, object.bytes))
        }
    });
    fetched.buffered(AHEAD)
}

pub fn explain_full_disk(error: anyhow::Error) -> anyhow::Error {
    if full_disk(&error).is_some() {
        return error
            .context("the disk is full; files without .partial in their name are whole, the others can be deleted");
    }
    error
}

/// What the system said, where it was that there is no room.
pub fn full_disk(error: &anyhow::Error) -> Option<String> {
    let full = |cause: &&io::Error| matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).find(full).map(ToString::to_string)
}
