//! The lake as it stands in the store: LIST names the objects, HEAD tells what each says of itself. An object is opened only
//! where its metadata is gone, or where the topic's start falls inside it.

use std::collections::BTreeSet;

use ::lake::remake::records_of;
use anyhow::{Context, anyhow};
use arrow::array::Int64Array;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::lake::{
    Epoch, Link, LinkKind, Origin, bronze_key, epoch_key, holes_prefix, origin_key, parse_hole_key, parse_raw_key,
    partition_prefix, raw_key,
};
use pipeline::store::Store;

use super::chain::Chain;

/// HEADs under way at once.
const AT_ONCE: usize = 16;
/// In a bronze object's metadata: how many rows it has.
pub const BRONZE_ROWS: &str = "tickstream-rows";

/// One partition of one epoch.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub topic: &'a str,
    pub epoch: u32,
    pub partition: i32,
}

impl Place<'_> {
    fn key(&self, start: i64) -> String {
        raw_key(self.topic, self.epoch, self.partition, start)
    }
}

/// What each epoch of a topic is bound to, from the first to the newest.
pub async fn epochs(store: &Store, topic: &str) -> anyhow::Result<Vec<(u32, Epoch)>> {
    let mut epochs = Vec::new();
    for number in 0.. {
        let Some(bound_to) = epoch(store, topic, number).await? else { break };
        epochs.push((number, bound_to));
    }
    Ok(epochs)
}

/// What epoch `number` of a topic is bound to; `None` when there is no such epoch.
pub async fn epoch(store: &Store, topic: &str, number: u32) -> anyhow::Result<Option<Epoch>> {
    let key = epoch_key(topic, number);
    let Some(object) = store.get(&key).await? else { return Ok(None) };
    serde_json::from_slice(&object.bytes).with_context(|| format!("{key} is no epoch")).map(Some)
}

/// Where a chain is walked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Origin,
    /// The object that covers this offset.
    Offset(i64),
    /// The object that begins there, which was there once.
    Link {
        link: i64,
    },
}

/// The chain from there on; without the objects that begin at or after `until`:
/// they came while the audit ran.
pub async fn chain(store: &Store, place: Place<'_>, from: From, until: i64) -> anyhow::Result<Chain> {
    let origin_key = origin_key(place.topic, place.epoch, place.partition);
    let Some(origin) = store.get(&origin_key).await? else { return Ok(Chain::default()) };
    let origin: Origin = serde_json::from_slice(&origin.bytes).with_context(|| format!("{origin_key} is no origin"))?;

    let mut chain = Chain { origin: Some(origin.offset), ..Chain::default() };
    let mut starts = Vec::new();
    let prefix = partition_prefix(place.topic, place.epoch, place.partition);
    let known = match from {
        From::Link { link } if link > origin.offset => Some(link),
        From::Link { .. } | From::Origin | From::Offset(_) => None,
    };
    let mut after = known.map(|link| place.key(link - 1));
    loop {
        let listed = store.list(&prefix, after.as_deref()).await?;
        let Some(last) = listed.last() else { break };
        after = Some(last.key.clone());
        for object in listed {
            match parse_raw_key(&object.key) {
                Some((_, _, _, start)) if start < until => starts.push(start),
                Some(_) => {}
                None if object.key == origin_key => {}
                None => chain.bad_objects.push(format!("{} does not belong to the chain", object.key)),
            }
        }
    }
    let passed_over = match from {
        From::Origin => 0,
        From::Offset(offset) => starts.partition_point(|start| *start <= offset).saturating_sub(1),
        // Whether the one that was there once still is shows where the first one begins.
        From::Link { .. } => 0,
    };
    let walked = starts.split_off(passed_over);
    chain.not_walked = passed_over + usize::from(known.is_some());
    chain.begins_at = known;
    let links: Vec<Result<Link, String>> =
        stream::iter(walked).map(|start| link(store, place, start)).buffered(AT_ONCE).try_collect().await?;
    for link in links {
        match link {
            Ok(link) => chain.links.push(link),
            Err(line) => chain.bad_objects.push(line),
        }
    }
    chain.segments = vec![(place.epoch, 0..chain.links.len())];
    Ok(chain)
}

/// A hole that retention left and a person accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedHole {
    pub start: i64,
    pub next_offset: i64,
    /// Its gap event is known to have been published.
    pub told: bool,
}

/// The accepted holes of a chain, whether or not they are walked.
pub async fn accepted_holes(store: &Store, place: Place<'_>) -> anyhow::Result<Vec<AcceptedHole>> {
    let prefix = holes_prefix(place.topic, place.epoch, place.partition);
    let (mut noted, mut told, mut after) = (BTreeSet::new(), BTreeSet::new(), None::<String>);
    loop {
        let listed = store.list(&prefix, after.as_deref()).await?;
        let Some(last) = listed.last() else { break };
        after = Some(last.key.clone());
        for (start, is_told) in listed.iter().filter_map(|object| parse_hole_key(&object.key)) {
            if is_told { &mut told } else { &mut noted }.insert(start);
        }
    }
    let mut holes = Vec::new();
    for start in noted {
        // A note whose hole was never put, because data came first, speaks of nothing.
        if store.head(&place.key(start)).await?.is_none() {
            continue;
        }
        if let Ok(Link { kind: LinkKind::Hole, next_offset, .. }) = link(store, place, start).await? {
            holes.push(AcceptedHole { start, next_offset, told: told.contains(&start) });
        }
    }
    Ok(holes)
}

/// What the raw object at `start` says of itself, or what is wrong with it.
pub async fn link(store: &Store, place: Place<'_>, start: i64) -> anyhow::Result<Result<Link, String>> {
    let key = place.key(start);
    let Some(head) = store.head(&key).await? else { return Ok(Err(format!("{key} is listed and gone"))) };
    let link = match Link::from_pairs(&head.metadata) {
        Some(link) => Some(link),
        // A copy made by a tool may have lost its metadata; the footer says the same.
        None => store.get(&key).await?.and_then(|object| link_in_footer(object.bytes)),
    };
    Ok(match link {
        None => Err(format!(
            "{key} does not say what it holds, neither in its metadata nor in its footer; put back a version or a backup of it"
        )),
        Some(link) if link.start != start => Err(format!("{key} says that it begins at offset {}", link.start)),
        Some(link) => Ok(link),
    })
}

fn link_in_footer(bytes: Bytes) -> Option<Link> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).ok()?;
    let pairs = reader.metadata().file_metadata().key_value_metadata()?.iter();
    Link::from_pairs(&pairs.filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?))).collect())
}

/// How many records of each link are at or above `log_start`. Only the link that `log_start` falls into is opened.
/// One that is known to be `faulty` is believed.
pub async fn counts_from(
    store: &Store,
    place: Place<'_>,
    links: &[Link],
    log_start: i64,
    faulty: &BTreeSet<i64>,
) -> anyhow::Result<Vec<u64>> {
    let mut counts = Vec::with_capacity(links.len());
    for link in links {
        counts.push(match link.rows {
            None => 0,
            Some(rows) if rows.first >= log_start => rows.count,
            Some(rows) if rows.last < log_start => 0,
            Some(rows) if faulty.contains(&link.start) => rows.count,
            Some(_) => {
                let key = place.key(link.start);
                let object = store.get(&key).await?.ok_or_else(|| anyhow!("{key} was there and is gone"))?;
                rows_from(object.bytes, log_start).with_context(|| format!("{key} cannot be read"))?
            }
        });
    }
    Ok(counts)
}

fn rows_from(bytes: Bytes, log_start: i64) -> anyhow::Result<u64> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let offsets = ProjectionMask::columns(builder.parquet_schema(), ["offset"]);
    let mut count = 0;
    for batch in builder.with_projection(offsets).build()? {
        let batch = batch?;
        let offsets = batch.column_by_name("offset").and_then(|column| column.as_any().downcast_ref::<Int64Array>());
        let offsets = offsets.context("it has no column of offsets")?;
        count += offsets.values().iter().filter(|offset| **offset >= log_start).count() as u64;
    }
    Ok(count)
}

/// The bronze of one raw object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bronze {
    /// The object holds no record, so it has none.
    None,
    /// How many it has, and of how many records it says that they are none.
    Rows { rows: u64, left_out: Option<u64> },
    /// The key where it should be.
    Missing(String),
    /// Its metadata does not say how many rows it has.
    Silent(String),
}

/// The bronze of each link, in order.
pub async fn bronze(store: &Store, place: Place<'_>, table: &str, links: &[Link]) -> anyhow::Result<Vec<Bronze>> {
    let one = async |link: &Link| {
        let Some(rows) = link.rows else { return Ok(Bronze::None) };
        let key = bronze_key(table, rows.first_time_ms, place.topic, place.epoch, place.partition, link.start);
        let Some(head) = store.head(&key).await? else { return Ok(Bronze::Missing(key)) };
        let rows: Option<u64> = head.metadata.get(BRONZE_ROWS).and_then(|rows| rows.parse().ok());
        let left_out = |rows: u64| records_of(&head)?.checked_sub(rows);
        anyhow::Ok(rows.map_or(Bronze::Silent(key), |rows| Bronze::Rows { rows, left_out: left_out(rows) }))
    };
    stream::iter(links).map(one).buffered(AT_ONCE).try_collect().await
}
