//! The records of a plan's stretches: out of the topic, or out of the raw objects of the epoch that was written from it. Must
//! never happen here: a stretch that ends early, or has a hole, and is taken for whole.

use anyhow::{Context, bail, ensure};
use arrow::array::{Array, BooleanArray};
use arrow::compute::filter_record_batch;
use pipeline::codec::RecordType;
use pipeline::kafka::KafkaArgs;
use pipeline::lake::{Epoch, Link, bronze_key, epoch_key, parse_raw_key, partition_prefix, raw_key, table};
use pipeline::misconfigured;
use pipeline::records::Records;
use pipeline::store::{Store, StoreArgs};
use pipeline::stretches;
use pipeline::topics::TICKS;
use uuid::Uuid;

use crate::replay::plan::{Source, Stretch};

/// Whoever makes another plan finds what is left.
const WHEN_CUT: &str = "make a new plan, or one with the source lake:raw";

/// Gives the records of one topic's stretches to `take` with their partition, those of a partition in order.
///
/// # Errors
/// When they cannot be read to their end.
pub async fn read(
    source: Source,
    kafka: &KafkaArgs,
    store: &StoreArgs,
    topic: &str,
    stretches: &[Stretch],
    take: impl AsyncFnMut(i32, Records) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    match source {
        Source::Topic | Source::Payloads => {
            let of = |stretch: &Stretch| {
                let Stretch { partition, from, to, .. } = *stretch;
                stretches::Stretch { partition, start: from, end: to }
            };
            let stretches: Vec<_> = stretches.iter().map(of).collect();
            stretches::read(kafka, topic, &stretches, WHEN_CUT, take).await
        }
        Source::LakeRaw | Source::PayloadsLake => raw(&Store::connect(store).await?, topic, stretches, take).await,
    }
}

async fn raw(
    store: &Store,
    topic: &str,
    stretches: &[Stretch],
    mut take: impl AsyncFnMut(i32, Records) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for stretch in stretches.iter().filter(|stretch| stretch.from < stretch.to) {
        let (partition, mut at) = (stretch.partition, stretch.from);
        let epoch = epoch_of(store, topic, stretch.topic_id).await?;
        for start in starts(store, topic, epoch, stretch).await? {
            let key = raw_key(topic, epoch, partition, start);
            let object = store.get(&key).await?.with_context(|| format!("{key} was listed and is gone"))?;
            let (link, records) = lake::raw::decode(object.bytes).with_context(|| format!("{key} is no raw object"))?;
            ensure!(
                link.start <= at,
                "the raw lake has nothing of {topic}[{partition}] at offset {at}: {key} is the next"
            );
            let offsets = records.offsets().values();
            let (first, end) = (
                offsets.partition_point(|offset| *offset < at),
                offsets.partition_point(|offset| *offset < stretch.to),
            );
            if first < end {
                take(partition, records.slice(first, end - first)).await?;
            }
            at = link.next_offset.max(at);
        }
        ensure!(
            at >= stretch.to,
            "the raw lake has {topic}[{partition}] only up to offset {at}, and the plan goes up to {}: let consumer-lake come so far, then \
             execute the plan again",
            stretch.to
        );
    }
    Ok(())
}

/// The epoch that was written from the topic of this id.
pub async fn epoch_of(store: &Store, topic: &str, topic_id: Uuid) -> anyhow::Result<u32> {
    for epoch in 0.. {
        let key = epoch_key(topic, epoch);
        let Some(object) = store.get(&key).await? else { break };
        let bound: Epoch = serde_json::from_slice(&object.bytes).with_context(|| format!("{key} cannot be read"))?;
        if bound.topic_id == topic_id {
            return Ok(epoch);
        }
    }
    bail!(misconfigured(format!(
        "the lake has no epoch of the topic {topic} that the plan was made of (id {topic_id})"
    )))
}

/// The starts of the objects that may hold records of the stretch, ascending.
pub async fn starts(store: &Store, topic: &str, epoch: u32, stretch: &Stretch) -> anyhow::Result<Vec<i64>> {
    let prefix = partition_prefix(topic, epoch, stretch.partition);
    let (mut starts, mut after): (Vec<i64>, Option<String>) = (Vec::new(), None);
    loop {
        let listed = store.list(&prefix, after.as_deref()).await?;
        let Some(last) = listed.last() else { return Ok(starts) };
        after = Some(last.key.clone());
        for (_, _, _, start) in listed.iter().filter_map(|object| parse_raw_key(&object.key)) {
            if start >= stretch.to {
                return Ok(starts);
            }
            if start <= stretch.from {
                starts.clear();
            }
            starts.push(start);
        }
    }
}

/// A bronze object, and the offsets of its raw one.
pub struct Bronze {
    /// `None` where the raw one has no records.
    pub key: Option<String>,
    pub start: i64,
    pub end: i64,
}

/// The bronze objects of market.ticks.v1 that may hold records of the stretch, in order, whether they are there or not.
pub async fn bronze(store: &Store, epoch: u32, stretch: &Stretch) -> anyhow::Result<Vec<Bronze>> {
    let (partition, mut objects) = (stretch.partition, Vec::new());
    for start in starts(store, TICKS, epoch, stretch).await? {
        let raw = raw_key(TICKS, epoch, partition, start);
        let head = store.head(&raw).await?.with_context(|| format!("{raw} was listed and is gone"))?;
        let link = Link::from_pairs(&head.metadata)
            .with_context(|| format!("{raw} does not say what it holds; `tickstream audit --deep` tells more"))?;
        let of = table(RecordType::PriceTick);
        let key = link.rows.map(|rows| bronze_key(of, rows.first_time_ms, TICKS, epoch, partition, start));
        objects.push(Bronze { key, start, end: link.next_offset });
    }
    Ok(objects)
}

/// Records of these symbols: a record's key is its symbol. All of them where no symbol is named.
///
/// # Errors
/// None that is known: the columns are as long as their rows.
pub fn of_symbols(records: &Records, symbols: &[String]) -> anyhow::Result<Records> {
    if symbols.is_empty() {
        return Ok(records.clone());
    }
    let keys = records.keys();
    let is_named = |row: usize| !keys.is_null(row) && symbols.iter().any(|symbol| symbol.as_bytes() == keys.value(row));
    let named: BooleanArray = (0..records.len()).map(|row| Some(is_named(row))).collect();
    Records::from_batch(filter_record_batch(records.batch(), &named)?)
}

#[cfg(test)]
mod tests {
    use pipeline::records::{Record, RecordBuffer};

    use super::*;

    #[test]
    fn a_record_is_of_the_symbol_that_is_its_key() {
        let mut buffer = RecordBuffer::new();
        for (offset, key) in [(7, Some(&b"BTC-USD"[..])), (8, Some(b"ETH-USD")), (9, None), (10, Some(b"BTC-USD"))] {
            buffer.push_owned(Record { offset, timestamp_ms: 0, key, value: Some(b"x") }, &[]);
        }
        let records = buffer.finish();
        let named = |symbols: &[&str]| {
            let symbols: Vec<String> = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
            of_symbols(&records, &symbols).expect("filtered").offsets().values().to_vec()
        };
        assert_eq!(named(&[]), [7, 8, 9, 10]);
        assert_eq!(named(&["BTC-USD"]), [7, 10]);
        assert_eq!(named(&["BTC", "SOL-USD"]), [0_i64; 0]);
        assert_eq!(named(&["ETH-USD", "BTC-USD"]), [7, 8, 10]);
    }
}
