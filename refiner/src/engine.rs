//! Runs one SELECT over local copies of its inputs and cuts the result into objects. Invariant: the same inputs, in the same
//! order, give the same bytes: one thread a query, files in the order of their names, every SELECT sorted by a total order.
//! Queries run beside each other, as many as there are processors. Must never happen here: a clock, or a request to the store.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::ListingOptions;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{Expr, SessionConfig, SessionContext, col, lit};
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use jiff::civil::Date;
use lake::bronze::BronzeWriter;
use lake::raw::Compression;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::codec::RecordType;
use pipeline::decode::Decoder;

use crate::forecast;
use crate::functions;
use crate::object::ObjectWriter;
use crate::tables::{Group, Table, View};

/// Rows of a view for one query: files in a folder, below the folders of its partition columns.
#[derive(Debug)]
pub struct Source {
    pub view: View,
    pub folder: PathBuf,
}

/// The result of a SELECT by the values of its partition columns.
pub type Partitions = BTreeMap<Vec<String>, ObjectWriter>;

pub struct Engine {
    runtime: Arc<RuntimeEnv>,
    compression: Compression,
    /// The columns of each view, partition columns left out.
    columns: BTreeMap<View, SchemaRef>,
    /// The columns of each table, partition columns left out.
    outputs: BTreeMap<Table, SchemaRef>,
}

impl Engine {
    /// An engine that sorts and joins in about `memory_bytes`, and beyond that on disk in `folder`.
    ///
    /// # Errors
    /// When a SELECT is not one: a bug.
    pub async fn new(memory_bytes: usize, folder: &Path, compression: Compression) -> anyhow::Result<Self> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory_bytes)))
            .with_temp_file_path(folder)
            .build_arc()?;
        let mut engine = Self { runtime, compression, columns: BTreeMap::new(), outputs: BTreeMap::new() };
        for (view, record) in [
            (View::BronzeTicks, RecordType::PriceTick),
            (View::BronzeGaps, RecordType::Gap),
            (View::BronzeIndexWeights, RecordType::IndexWeight),
        ] {
            engine.columns.insert(view, bronze_columns(record)?);
        }
        for table in Table::ALL {
            let folder = tempfile::tempdir_in(folder)?;
            let sources = table.reads().iter().map(|view| Source { view: *view, folder: folder.path().to_owned() });
            let session = engine.session(table, &sources.collect::<Vec<_>>(), (0, 0)).await?;
            let frame = session.sql(table.sql()).await.with_context(|| format!("{}.sql", table.name()))?;
            let columns = match table {
                Table::Forecasts => forecast::schema(),
                _ => stored_columns(frame.schema().as_arrow(), table)?,
            };
            let empty = ObjectWriter::new(columns.clone(), compression)?.finish(&BTreeMap::new(), table)?;
            let columns = read_columns(empty)?;
            engine.outputs.insert(table, columns.clone());
            match table {
                Table::Ticks => drop(engine.columns.insert(View::SilverTicks, columns)),
                Table::Gaps => drop(engine.columns.insert(View::SilverGaps, columns)),
                Table::Candles => drop(engine.columns.insert(View::GoldCandles, columns)),
                _ => {}
            }
        }
        Ok(engine)
    }

    fn columns(&self, table: Table) -> SchemaRef {
        self.outputs.get(&table).cloned().unwrap_or_else(|| Arc::new(Schema::empty()))
    }

    /// An object of `table` without rows.
    ///
    /// # Errors
    /// When Parquet refuses the columns: a bug.
    pub fn empty(&self, table: Table) -> anyhow::Result<ObjectWriter> {
        ObjectWriter::new(self.columns(table), self.compression)
    }

    /// Makes all partitions of `group`.
    ///
    /// # Errors
    /// When an input is not a Parquet file with the columns that the SELECT reads, or the disk is full.
    pub async fn run(&self, group: &Group, sources: &[Source]) -> anyhow::Result<Partitions> {
        self.run_over(group, wanted(group), sources).await
    }

    /// Makes the hours of one day from the first of `hours` to the last one.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub async fn run_hours(&self, hours: &[Group], sources: &[Source]) -> anyhow::Result<Partitions> {
        let first = hours.first().context("no hour")?;
        let start = hours.iter().map(|hour| wanted(hour).0).min().unwrap_or_default();
        let end = hours.iter().map(|hour| wanted(hour).1).max().unwrap_or_default();
        self.run_over(first, (start, end), sources).await
    }

    async fn run_over(&self, group: &Group, wanted: (i64, i64), sources: &[Source]) -> anyhow::Result<Partitions> {
        let session = self.session(group.table, sources, wanted).await?;
        let rows = session.sql(group.table.sql()).await?.execute_stream().await?;
        if group.table == Table::Forecasts {
            let batches: Vec<RecordBatch> = rows.try_collect().await?;
            let day = group.day;
            let compression = self.compression;
            return tokio::task::spawn_blocking(move || forecasts(day, &batches, compression)).await?;
        }
        let columns = self.columns(group.table);
        let count = group.table.partition_columns().len();
        let mut partitions = Partitions::new();
        rows.err_into::<anyhow::Error>()
            .try_for_each(|batch| {
                let done = split(&batch, count, &columns, self.compression, &mut partitions);
                async move { done }
            })
            .await?;
        Ok(partitions)
    }

    async fn session(&self, table: Table, sources: &[Source], wanted: (i64, i64)) -> anyhow::Result<SessionContext> {
        let mut config = SessionConfig::new().with_target_partitions(1).with_collect_statistics(false);
        config.options_mut().execution.time_zone = Some("+00:00".to_owned());
        config.options_mut().execution.parquet.schema_force_view_types = false;
        let session = SessionContext::new_with_config_rt(config, self.runtime.clone());
        functions::register(&session);
        for source in sources {
            let columns = self.columns.get(&source.view).context("a view without columns")?;
            let partitions = source.view.partition_columns().iter();
            let options = ListingOptions::new(Arc::new(ParquetFormat::default()))
                .with_file_extension(".parquet")
                .with_table_partition_cols(partitions.map(|column| ((*column).to_owned(), DataType::Utf8)).collect());
            let path = format!("file://{}/", source.folder.display());
            let Some(pruned) = pruned(source.view, table) else {
                session.register_listing_table(source.view.name(), path, options, Some(columns.clone()), None).await?;
                continue;
            };
            // What lies outside is not read at all, where the files' statistics tell so. The SELECT says the same again.
            session.register_listing_table("files", path, options, Some(columns.clone()), None).await?;
            let rows = session.table("files").await?.filter(pruned(wanted))?;
            session.register_table(source.view.name(), rows.into_view())?;
        }
        let bound = |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![value])) };
        let wanted = RecordBatch::try_from_iter([("start_us", bound(wanted.0)), ("end_us", bound(wanted.1))])?;
        session.register_batch("wanted", wanted)?;
        Ok(session)
    }
}

/// What a row of bronze must be to matter for the wanted time. A correction may, wherever it moved its event to.
fn pruned(view: View, table: Table) -> Option<fn((i64, i64)) -> Expr> {
    match (view, table) {
        (View::BronzeTicks, Table::Ticks) => {
            Some(|wanted| between("event_time", wanted).or(col("previous_event_time").is_not_null()))
        }
        (View::BronzeTicks, Table::QuarantinedTicks) => Some(|wanted| between("broker_time", wanted)),
        _ => None,
    }
}

fn between(column: &str, (start_us, end_us): (i64, i64)) -> Expr {
    let time = |us: i64| lit(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())));
    col(column).gt_eq(time(start_us)).and(col(column).lt(time(end_us)))
}

/// Micros UTC, first included, last not.
fn wanted(group: &Group) -> (i64, i64) {
    let day = day_start_us(group.day);
    group.hour.map_or((day, day + DAY_US), |hour| {
        let start = day + i64::from(hour) * HOUR_US;
        (start, start + HOUR_US)
    })
}

pub const HOUR_US: i64 = 3_600_000_000;
pub const DAY_US: i64 = 24 * HOUR_US;

/// Midnight UTC, micros.
#[must_use]
pub fn day_start_us(day: Date) -> i64 {
    day.to_zoned(jiff::tz::TimeZone::UTC).map_or(0, |midnight| midnight.timestamp().as_microsecond())
}

fn forecasts(day: Date, closes: &[RecordBatch], compression: Compression) -> anyhow::Result<Partitions> {
    let series = forecast::series_from(closes)?;
    let origin = day_start_us(day);
    let made: Vec<_> = series.iter().filter_map(|series| forecast::forecast(series, origin)).collect();
    if made.is_empty() {
        return Ok(Partitions::new());
    }
    let batch = forecast::rows(&made);
    let mut writer = ObjectWriter::new(batch.schema(), compression)?;
    writer.push(&batch)?;
    Ok(Partitions::from([(vec![day.to_string()], writer)]))
}

/// Adds the rows of `batch` to their partitions. The last `count` columns are the partition's values.
fn split(
    batch: &RecordBatch,
    count: usize,
    columns: &SchemaRef,
    compression: Compression,
    partitions: &mut Partitions,
) -> anyhow::Result<()> {
    let stored = batch.num_columns().checked_sub(count).context("a SELECT without its partition columns")?;
    let values: Vec<ArrayRef> =
        batch.columns()[stored..].iter().map(|column| cast(column, &DataType::Utf8)).collect::<Result<_, _>>()?;
    let of_row = |row: usize| -> Vec<String> { values.iter().map(|column| text(column, row)).collect() };
    let kept = batch.project(&(0..stored).collect::<Vec<_>>())?;
    let arrays = kept.columns().iter().zip(columns.fields()).map(|(array, field)| cast(array, field.data_type()));
    let kept = RecordBatch::try_new(columns.clone(), arrays.collect::<Result<_, _>>()?)?;
    let mut rows: BTreeMap<Vec<String>, Vec<u32>> = BTreeMap::new();
    let same = |a: usize, b: usize| values.iter().all(|column| text_ref(column, a) == text_ref(column, b));
    let mut current: Option<(usize, Vec<u32>)> = None;
    for row in 0..batch.num_rows() {
        let number = u32::try_from(row)?;
        match &mut current {
            Some((first, numbers)) if same(*first, row) => numbers.push(number),
            other => {
                if let Some((first, numbers)) = other.take() {
                    rows.entry(of_row(first)).or_default().extend(numbers);
                }
                *other = Some((row, vec![number]));
            }
        }
    }
    if let Some((first, numbers)) = current {
        rows.entry(of_row(first)).or_default().extend(numbers);
    }
    for (partition, numbers) in rows {
        let part = if numbers.len() == kept.num_rows() {
            kept.clone()
        } else {
            take_record_batch(&kept, &UInt32Array::from(numbers))?
        };
        let writer = match partitions.entry(partition) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => place.insert(ObjectWriter::new(columns.clone(), compression)?),
        };
        writer.push(&part)?;
    }
    Ok(())
}

fn text_ref(column: &ArrayRef, row: usize) -> Option<&str> {
    let column = column.as_string::<i32>();
    column.is_valid(row).then(|| column.value(row))
}

fn text(column: &ArrayRef, row: usize) -> String {
    text_ref(column, row).unwrap_or_default().to_owned()
}

/// The columns of a SELECT that are stored, as plain as every reader knows them.
fn stored_columns(schema: &Schema, table: Table) -> anyhow::Result<SchemaRef> {
    let partitions = table.partition_columns();
    let stored = schema.fields().len().checked_sub(partitions.len()).context("a SELECT without columns")?;
    let (kept, last) = schema.fields().split_at(stored);
    let names: Vec<&str> = last.iter().map(|field| field.name().as_str()).collect();
    anyhow::ensure!(names == partitions, "{}.sql ends with {names:?}, not with {partitions:?}", table.name());
    let plain = kept.iter().map(|field| {
        let data_type = match field.data_type() {
            DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
            DataType::Dictionary(_, value) if **value == DataType::Utf8 => DataType::Utf8,
            DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
            DataType::UInt64 => DataType::Int64,
            other => other.clone(),
        };
        Field::new(field.name(), data_type, field.is_nullable())
    });
    Ok(Arc::new(Schema::new(plain.collect::<Vec<_>>())))
}

fn bronze_columns(record: RecordType) -> anyhow::Result<SchemaRef> {
    let writer = BronzeWriter::new(0, &Decoder::new(record, None).schema(), Compression::default())?;
    read_columns(writer.finish()?.bytes)
}

/// The columns of an object as its readers see them.
fn read_columns(object: Bytes) -> anyhow::Result<SchemaRef> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(object).map_err(|error| anyhow!(error))?;
    let plain = builder.schema().fields().iter().map(|field| field.as_ref().clone().with_metadata(Default::default()));
    Ok(Arc::new(Schema::new(plain.collect::<Vec<_>>())))
}
