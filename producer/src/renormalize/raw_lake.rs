//! The records of a topic as the raw lake has them: every epoch, each chain in order. It reads only. Must never happen here:
//! an object passed over because its time is not known.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, anyhow};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::lake::{Link, parse_raw_key, raw_key, topic_prefix};
use pipeline::records::Records;
use pipeline::store::Store;

/// HEADs under way at once.
const AT_ONCE: usize = 16;

/// One chain of objects.
type Chain = (u32, i32);

/// Gives all records since `from` (micros UTC, the broker's time) to `take` with their partition; says how many objects that
/// were.
///
/// # Errors
/// When an object cannot be read.
pub async fn read(
    store: &Store,
    topic: &str,
    from: i64,
    mut take: impl AsyncFnMut(i32, Records) -> anyhow::Result<()>,
) -> anyhow::Result<usize> {
    let mut objects = 0;
    for ((epoch, partition), starts) in chains(store, topic).await? {
        let keys: Vec<String> = starts.into_iter().map(|start| raw_key(topic, epoch, partition, start)).collect();
        for key in keys.split_at(first_wanted(store, &keys, from / 1_000).await?).1 {
            let object = store.get(key).await?.ok_or_else(|| anyhow!("{key} was listed and is gone"))?;
            let records = decode(object.bytes).with_context(|| format!("{key} is not a raw object"))?;
            objects += 1;
            take(partition, records).await?;
        }
    }
    Ok(objects)
}

async fn chains(store: &Store, topic: &str) -> anyhow::Result<BTreeMap<Chain, Vec<i64>>> {
    let prefix = topic_prefix(topic);
    let mut chains: BTreeMap<Chain, Vec<i64>> = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let listed = store.list(&prefix, after.as_deref()).await?;
        let Some(last) = listed.last() else { return Ok(chains) };
        after = Some(last.key.clone());
        // Keys sort by epoch, partition and offset.
        for (_, epoch, partition, start) in listed.iter().filter_map(|object| parse_raw_key(&object.key)) {
            chains.entry((epoch, partition)).or_default().push(start);
        }
    }
}

/// The first object that may hold a record since `from_ms`: the one before the first that begins later.
async fn first_wanted(store: &Store, keys: &[String], from_ms: i64) -> anyhow::Result<usize> {
    let first_time = async |key: &String| {
        let head = store.head(key).await?.ok_or_else(|| anyhow!("{key} was listed and is gone"))?;
        // Without its metadata, or without a record, an object says nothing about the time.
        anyhow::Ok(Link::from_pairs(&head.metadata).and_then(|link| link.rows).map(|rows| rows.first_time_ms))
    };
    let times: Vec<Option<i64>> = stream::iter(keys).map(first_time).buffered(AT_ONCE).try_collect().await?;
    // The broker's time may step back a little between leaders, so the last object that begins before is what counts.
    let last_before = times.iter().rposition(|time| time.is_some_and(|time| time < from_ms));
    Ok(last_before.unwrap_or(0))
}

fn decode(bytes: Bytes) -> anyhow::Result<Records> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let file = builder.metadata().file_metadata();
    let rows = usize::try_from(file.num_rows())?;
    let pairs = file.key_value_metadata().into_iter().flatten();
    let footer: HashMap<String, String> =
        pairs.filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?))).collect();
    let link = Link::from_pairs(&footer).context("its footer does not say what it holds")?;
    let schema = builder.schema().clone();
    let batches: Vec<RecordBatch> = builder.with_batch_size(rows.max(1)).build()?.collect::<Result<_, _>>()?;
    let records = Records::from_batch(concat_batches(&schema, &batches)?)?;
    let told = link.rows.map_or(0, |rows| rows.count);
    anyhow::ensure!(told == records.len() as u64, "its footer says {told} records, it holds {}", records.len());
    Ok(records)
}
