//! The records of the lake's bronze: the objects of a partition's chain in the order of their offsets, a few fetched ahead of
//! the one that is read. Must never happen here: a row of an object whose bytes are not those that were written.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use arrow::array::{AsArray, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use bytes::Bytes;
use futures::{TryStreamExt, stream};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::decode::Decoder;
use pipeline::store::{Failure, Store, StoreError};
use tokio::runtime::Handle;

use super::chains::{self, Listing};
use super::page::{Outlet, ROWS, Stream, Table};
use super::range::Span;

/// Objects of a partition that are fetched while one is read.
const AHEAD: usize = 4;
/// How often an object is asked for, the pause doubling each time.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(250);

/// Begins to read every partition of a table.
///
/// # Errors
/// When the store does not answer.
pub async fn open(store: &Store, table: Table, topic: &str, span: Span) -> anyhow::Result<Vec<Stream>> {
    let mut streams = Vec::new();
    for (partition, listing) in chains::listings(store, table, topic, span).await? {
        let (store, runtime) = (store.clone(), Handle::current());
        let columns = Decoder::new(table.record(), None).schema();
        streams.push(Stream::start(table, topic, partition, span, move |outlet| {
            read(&store, listing, &columns, &runtime, outlet)
        })?);
    }
    Ok(streams)
}

fn read(
    store: &Store,
    listing: Listing,
    columns: &SchemaRef,
    runtime: &Handle,
    outlet: &mut Outlet,
) -> anyhow::Result<bool> {
    let goes_on = listing.goes_on();
    let keys =
        stream::try_unfold(listing, async |mut listing| anyhow::Ok(listing.next().await?.map(|key| (key, listing))));
    let fetched = keys.map_ok(|key| {
        let (store, name) = (store.clone(), key.clone());
        // On a task of its own: it comes nearer while an earlier one is read.
        let fetching = runtime.spawn(async move { fetch(&store, &name).await });
        async move { Ok((key, fetching.await??)) }
    });
    let mut objects = std::pin::pin!(fetched.try_buffered(AHEAD));
    while let Some((key, bytes)) = runtime.block_on(objects.try_next())? {
        let damaged =
            || format!("{key} cannot be read; `tickstream audit --deep` names every damaged object and what to do");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).with_context(damaged)?;
        for batch in reader.with_batch_size(ROWS).build().with_context(damaged)? {
            let batch = batch.with_context(damaged)?;
            let (offsets, times) = coordinates(&batch).with_context(damaged)?;
            if !outlet.push(&offsets, &times, &conformed(&batch, columns).with_context(damaged)?) {
                return Ok(false);
            }
        }
    }
    Ok(goes_on.load(std::sync::atomic::Ordering::Relaxed))
}

async fn fetch(store: &Store, key: &str) -> anyhow::Result<Bytes> {
    let mut pause = PAUSE;
    for tried in 1.. {
        let object = match store.get(key).await {
            Ok(object) => object,
            Err(StoreError { failure: Failure::Unanswered | Failure::Unavailable, .. }) if tried < TRIES => {
                tokio::time::sleep(pause).await;
                pause *= 2;
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("reading {key}")),
        };
        let object = object.ok_or_else(|| anyhow!("{key} was there and is gone: begin again"))?;
        ensure!(
            object.is_as_written() != Some(false),
            "the bytes of {key} are not those that were written: `refiner rebuild --layer bronze` for its day makes it again, \
             or put back a version or a backup of it"
        );
        return Ok(object.bytes);
    }
    bail!("{key} was not asked for")
}

/// Offsets and broker times.
fn coordinates(batch: &RecordBatch) -> anyhow::Result<(Vec<i64>, Vec<i64>)> {
    let column = |name: &str| batch.column_by_name(name).with_context(|| format!("it has no column {name}"));
    let offsets = column("kafka_offset")?.as_primitive_opt::<Int64Type>().context("kafka_offset is no whole number")?;
    let times =
        column("broker_time")?.as_primitive_opt::<TimestampMicrosecondType>().context("broker_time is no time")?;
    Ok((offsets.values().to_vec(), times.values().to_vec()))
}

/// The columns of the newest schema: an object that was made before there was one of them has nothing in it.
fn conformed(batch: &RecordBatch, columns: &SchemaRef) -> anyhow::Result<RecordBatch> {
    let column = |field: &Arc<arrow::datatypes::Field>| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
        Some(column) => Ok(cast(column, field.data_type())?),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    };
    let arrays: Vec<_> = columns.fields().iter().map(column).collect::<anyhow::Result<_>>()?;
    Ok(RecordBatch::try_new(columns.clone(), arrays)?)
}
