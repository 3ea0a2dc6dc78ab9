//! What the lake holds of a record: its raw object and row, its bronze, its place in silver, the candles of gold, and the other
//! records of its event. Each object is found by its key; nothing is listed but the objects of one chain around an offset.
//! Must never happen here: an object that could not be read taken for one that is not there.

use std::collections::BTreeSet;

use anyhow::{Context, anyhow};
use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use pipeline::lake::{Link, LinkKind, Origin, SPAN, bronze_key, origin_key, parse_raw_key, partition_prefix, raw_key};
use pipeline::records::Records;
use pipeline::store::Store;
use uuid::Uuid;

use super::objects::{Row, find, with_id, with_number};
use crate::audit::lake::{Place, epochs, link};
use crate::audit::refined::{HOUR_US, object, ticks_key};
use crate::dlq::Coordinates;

/// Objects that are fetched at once.
const AT_ONCE: usize = 4;
/// Hours in which the records of one event are looked for: a correction may move it again and again.
const HOURS: usize = 8;

pub struct Raw {
    pub key: String,
    pub epoch: u32,
    pub link: Link,
    pub topic_id: Uuid,
    pub row: Row,
    /// That record alone.
    pub record: Records,
}

pub enum RawTold {
    There(Box<Raw>),
    /// Not written yet, or never to be: why.
    NotYet(String),
    /// Retention was there first, and a person accepted that, or the chain begins behind it.
    Lost(String),
    Missing(String),
}

/// Where the lake keeps the record.
pub async fn raw(store: &Store, place: &Coordinates, topic_id: Option<Uuid>) -> anyhow::Result<RawTold> {
    let topic = &place.topic;
    let mut of_topic = epochs(store, topic).await?;
    of_topic.retain(|(_, epoch)| topic_id.is_none_or(|id| epoch.topic_id == id));
    let mut said = RawTold::NotYet(format!("the lake has nothing of {topic}"));
    for (epoch, _) in of_topic.into_iter().rev() {
        match in_epoch(store, place, epoch).await? {
            found @ RawTold::There(_) => return Ok(found),
            other => said = other,
        }
    }
    Ok(said)
}

async fn in_epoch(store: &Store, place: &Coordinates, epoch: u32) -> anyhow::Result<RawTold> {
    let Coordinates { topic, partition, offset } = place;
    let (partition, offset) = (*partition, *offset);
    let Some(start) = covering(store, place, epoch).await? else {
        let key = origin_key(topic, epoch, partition);
        let Some(origin) = store.get(&key).await? else {
            return Ok(RawTold::NotYet(format!("the lake has nothing of {topic}[{partition}]")));
        };
        let origin: Origin = serde_json::from_slice(&origin.bytes).with_context(|| format!("{key} is no origin"))?;
        return Ok(if origin.offset > offset {
            RawTold::Lost(format!("the lake's chain begins at offset {}", origin.offset))
        } else {
            RawTold::NotYet(format!("the lake's chain is to begin at offset {}", origin.offset))
        });
    };
    let key = raw_key(topic, epoch, partition, start);
    let link = match link(store, Place { topic, epoch, partition }, start).await? {
        Ok(link) => link,
        Err(wrong) => return Ok(RawTold::Missing(wrong)),
    };
    if link.next_offset <= offset || link.kind == LinkKind::End {
        let after = store.list(&partition_prefix(topic, epoch, partition), Some(&key)).await?;
        let is_behind = after.iter().any(|listed| parse_raw_key(&listed.key).is_some());
        let tail = link.next_offset;
        return Ok(if is_behind {
            RawTold::Missing(format!("no raw object covers it, and the chain goes on: {key} ends at offset {tail}"))
        } else if link.kind == LinkKind::End {
            RawTold::NotYet(format!("the chain of epoch {epoch:04} was closed at offset {tail}"))
        } else {
            RawTold::NotYet(format!("the chain is at offset {tail}"))
        });
    }
    if link.kind == LinkKind::Hole {
        return Ok(RawTold::Lost(format!("{key} is a hole that was accepted")));
    }
    let object = store.get(&key).await?.ok_or_else(|| anyhow!("{key} was there and is gone: trace it again"))?;
    let bytes = object.bytes.clone();
    let read = tokio::task::spawn_blocking(move || row_of(&bytes, offset)).await?;
    Ok(match read {
        Err(error) => RawTold::Missing(format!("{key} cannot be read: {error:#}")),
        Ok(None) => RawTold::Missing(format!("{key} covers the offset and has no record there")),
        Ok(Some((row, record))) => {
            RawTold::There(Box::new(Raw { key, epoch, link, topic_id: link.topic_id, row, record }))
        }
    })
}

fn row_of(bytes: &Bytes, offset: i64) -> anyhow::Result<Option<(Row, Records)>> {
    let (_, records) = ::lake::raw::decode(bytes.clone())?;
    let Some(index) = records.position(offset) else { return Ok(None) };
    let found = find(bytes, &["offset"], |batch| with_number(batch, "offset", offset))?;
    Ok(found.into_iter().next().map(|row| (row, records.slice(index, 1))))
}

/// The start of the last object that does not begin behind the offset. Only a hole is longer than the first window.
async fn covering(store: &Store, place: &Coordinates, epoch: u32) -> anyhow::Result<Option<i64>> {
    let Coordinates { topic, partition, offset } = place;
    let prefix = partition_prefix(topic, epoch, *partition);
    for from in [offset - SPAN, -1] {
        let mut after = (from >= 0).then(|| raw_key(topic, epoch, *partition, from));
        let mut last = None;
        'listing: loop {
            let listed = store.list(&prefix, after.as_deref()).await?;
            let Some(end) = listed.last() else { break };
            after = Some(end.key.clone());
            for start in listed.iter().filter_map(|listed| Some(parse_raw_key(&listed.key)?.3)) {
                if start > *offset {
                    break 'listing;
                }
                last = Some(start);
            }
        }
        if last.is_some() || from < 0 {
            return Ok(last);
        }
    }
    Ok(None)
}

pub enum BronzeTold {
    There(Row),
    /// It does not decode.
    LeftOut(String),
    NotThere(String),
}

/// The bronze of a record: its key, and what is there.
pub async fn bronze(
    store: &Store,
    table: &str,
    place: &Coordinates,
    raw: &Raw,
) -> anyhow::Result<(String, BronzeTold)> {
    let first_ms = raw.link.rows.map_or(-1, |rows| rows.first_time_ms);
    let key = bronze_key(table, first_ms, &place.topic, raw.epoch, place.partition, raw.link.start);
    let Some(object) = store.get(&key).await? else {
        return Ok((key, BronzeTold::NotThere("no such object".to_owned())));
    };
    let offset = place.offset;
    let read = tokio::task::spawn_blocking(move || {
        let select = |batch: &RecordBatch| with_number(batch, "kafka_offset", offset);
        if let Some(row) = find(&object.bytes, &["kafka_offset"], select)?.into_iter().next() {
            return Ok(BronzeTold::There(row));
        }
        let left_out = ::lake::bronze::bad(object.bytes)?.into_iter().find(|(other, _)| *other == offset);
        let nothing =
            || BronzeTold::NotThere("it has no row of that offset, and names none that it left out".to_owned());
        anyhow::Ok(left_out.map_or_else(nothing, |(_, reason)| BronzeTold::LeftOut(reason)))
    });
    let told = read.await?.unwrap_or_else(|error| BronzeTold::NotThere(format!("it cannot be read: {error:#}")));
    Ok((key, told))
}

/// The rows of an object that `select` says of each batch; `None` when it is not there.
pub async fn rows(
    store: &Store,
    key: &str,
    columns: &'static [&'static str],
    select: impl Fn(&RecordBatch) -> anyhow::Result<Vec<usize>> + Send + 'static,
) -> anyhow::Result<Option<Vec<Row>>> {
    let Some(object) = store.get(key).await? else { return Ok(None) };
    let read = tokio::task::spawn_blocking(move || find(&object.bytes, columns, select)).await?;
    read.map(Some).with_context(|| format!("{key} cannot be read; `tickstream audit --deep` says what to do"))
}

/// Another record of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    pub partition: i32,
    pub offset: i64,
    pub revision: i32,
    pub event_us: i64,
    pub previous_us: Option<i64>,
    pub broker_us: i64,
    pub price: String,
    pub symbol: String,
    pub retracted: bool,
}

const OF_OTHERS: &[&str] = &[
    "event_id",
    "revision",
    "event_time",
    "previous_event_time",
    "symbol",
    "price",
    "retracted",
    "kafka_partition",
    "kafka_offset",
    "broker_time",
];

impl Other {
    fn of(row: &Row) -> Option<Self> {
        Some(Self {
            partition: i32::try_from(row.number("kafka_partition")?).ok()?,
            offset: row.number("kafka_offset")?,
            revision: i32::try_from(row.number("revision")?).ok()?,
            event_us: row.number("event_time")?,
            previous_us: row.text("previous_event_time").and_then(|_| row.number("previous_event_time")),
            broker_us: row.number("broker_time")?,
            price: row.text("price")?,
            symbol: row.text("symbol")?,
            retracted: row.text("retracted").as_deref() == Some("true"),
        })
    }
}

/// Every record of the event in the bronze that silver's hours were made of, and how many objects were opened. `None` when
/// there is no silver of its hour: then nobody knows which bronze touches it.
pub async fn others(store: &Store, id: Uuid, times: &[i64]) -> anyhow::Result<Option<(Vec<Other>, usize)>> {
    let hour = |micros: i64| micros.div_euclid(HOUR_US) * HOUR_US;
    let mut hours: BTreeSet<i64> = times.iter().copied().map(hour).collect();
    let (mut looked, mut opened) = (BTreeSet::new(), BTreeSet::new());
    let (mut found, mut has_silver): (Vec<Other>, bool) = (Vec::new(), false);
    while let Some(next) = hours.iter().copied().find(|hour| !looked.contains(hour)).filter(|_| looked.len() < HOURS) {
        looked.insert(next);
        let Some(Ok(made)) = object::read(store, &ticks_key(next), false).await? else { continue };
        has_silver = true;
        let inputs = made.inputs.into_keys().filter(|key| key.starts_with("bronze/ticks/"));
        let keys: Vec<String> = inputs.filter(|key| opened.insert(key.clone())).collect();
        let open = async |key: String| {
            let select = move |batch: &RecordBatch| with_id(batch, "event_id", id);
            anyhow::Ok(rows(store, &key, OF_OTHERS, select).await?.unwrap_or_default())
        };
        let opened: Vec<Vec<Row>> = stream::iter(keys).map(open).buffer_unordered(AT_ONCE).try_collect().await?;
        for other in opened.iter().flatten().filter_map(Other::of) {
            hours.extend([Some(other.event_us), other.previous_us].into_iter().flatten().map(hour));
            found.push(other);
        }
    }
    Ok(has_silver.then_some((found, opened.len())))
}
