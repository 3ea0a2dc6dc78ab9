//! Where everything in the lake stands, and what a raw object says of itself. One room for the keys, so that the writer, the
//! audit and the refiner cannot disagree. Invariant: a raw key is known from (topic, epoch, partition, start offset) alone and
//! sorts by offset. Must never happen here: I/O, or a clock, host or writer name in a key.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::RecordType;

/// The most offsets that an object spans, a hole excepted: a window of this many offsets below any offset holds the start of
/// the object that covers it.
pub const SPAN: i64 = 1 << 20;

/// Everything of one topic.
#[must_use]
pub fn topic_prefix(topic: &str) -> String {
    format!("raw/{topic}/")
}

/// Binds an epoch to a cluster id and a topic id.
#[must_use]
pub fn epoch_key(topic: &str, epoch: u32) -> String {
    format!("raw/{topic}/epoch={epoch:04}/_epoch.json")
}

/// Everything of one epoch.
#[must_use]
pub fn epoch_prefix(topic: &str, epoch: u32) -> String {
    format!("raw/{topic}/epoch={epoch:04}/")
}

/// One chain of raw objects: what lies under it, `_origin.json` included.
#[must_use]
pub fn partition_prefix(topic: &str, epoch: u32, partition: i32) -> String {
    format!("raw/{topic}/epoch={epoch:04}/partition={partition:05}/")
}

/// Fixes the first offset of a chain. It sorts behind every object of the chain.
#[must_use]
pub fn origin_key(topic: &str, epoch: u32, partition: i32) -> String {
    format!("{}_origin.json", partition_prefix(topic, epoch, partition))
}

/// The raw object that begins at offset `start`.
#[must_use]
pub fn raw_key(topic: &str, epoch: u32, partition: i32, start: i64) -> String {
    format!("{}{start:020}.parquet", partition_prefix(topic, epoch, partition))
}

/// The partition whose chain the key lies in; `None` for a key of no chain.
#[must_use]
pub fn parse_partition(key: &str) -> Option<i32> {
    let (_, rest) = key.strip_prefix("raw/")?.split_once("/partition=")?;
    rest.split_once('/')?.0.parse().ok()
}

/// The notes on an epoch's accepted holes.
#[must_use]
pub fn holes_folder(topic: &str, epoch: u32) -> String {
    format!("raw/{topic}/epoch={epoch:04}/_holes/")
}

/// The notes on one chain's accepted holes: what lies under it.
#[must_use]
pub fn holes_prefix(topic: &str, epoch: u32, partition: i32) -> String {
    format!("{}{partition:05}/", holes_folder(topic, epoch))
}

/// What is told of the hole that begins at `start`, left before the hole is accepted.
#[must_use]
pub fn hole_key(topic: &str, epoch: u32, partition: i32, start: i64) -> String {
    format!("{}{start:020}.json", holes_prefix(topic, epoch, partition))
}

/// Left once the hole's gap event is published.
#[must_use]
pub fn hole_told_key(topic: &str, epoch: u32, partition: i32, start: i64) -> String {
    format!("{}{start:020}.told.json", holes_prefix(topic, epoch, partition))
}

/// What is told of the records behind the end of a chain, which the lake does not have, left before the chain is closed at
/// `end`.
#[must_use]
pub fn end_key(topic: &str, epoch: u32, partition: i32, end: i64) -> String {
    format!("{}{end:020}.end.json", holes_prefix(topic, epoch, partition))
}

/// Left once that gap event is published.
#[must_use]
pub fn end_told_key(topic: &str, epoch: u32, partition: i32, end: i64) -> String {
    format!("{}{end:020}.end.told.json", holes_prefix(topic, epoch, partition))
}

/// What [`hole_key`] or [`hole_told_key`] was made from, and whether it is the latter; `None` for any other key.
#[must_use]
pub fn parse_hole_key(key: &str) -> Option<(i64, bool)> {
    let name = key.strip_suffix(".json")?.rsplit_once('/')?.1;
    let (start, told) = name.strip_suffix(".told").map_or((name, false), |start| (start, true));
    Some((start.parse().ok()?, told))
}

/// What [`raw_key`] was made from; `None` for any other key.
#[must_use]
pub fn parse_raw_key(key: &str) -> Option<(&str, u32, i32, i64)> {
    let rest = key.strip_prefix("raw/")?;
    let (topic, rest) = rest.split_once("/epoch=")?;
    let (epoch, rest) = rest.split_once("/partition=")?;
    let (partition, file) = rest.split_once('/')?;
    let start = file.strip_suffix(".parquet").filter(|digits| digits.len() == 20)?;
    Some((topic, epoch.parse().ok()?, partition.parse().ok()?, start.parse().ok()?))
}

/// The table that holds decoded records of this type.
#[must_use]
pub fn table(record: RecordType) -> &'static str {
    match record {
        RecordType::PriceTick => "ticks",
        RecordType::Gap => "gaps",
        RecordType::SourceHealth => "health",
        RecordType::IndexWeight => "index_weights",
        RecordType::Payload => "payloads",
        RecordType::Alert => "alerts",
    }
}

/// The bronze object of the raw object at `start`, filed under the broker time of that object's first record.
#[must_use]
pub fn bronze_key(table: &str, first_time_ms: i64, topic: &str, epoch: u32, partition: i32, start: i64) -> String {
    // A record written without a timestamp has -1; anything beyond the calendar is filed at its edge rather than refused.
    let limit = if first_time_ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    let hour = Timestamp::from_millisecond(first_time_ms).unwrap_or(limit).strftime("dt=%Y-%m-%d/hour=%H");
    format!("bronze/{table}/{hour}/{topic}+{epoch:04}+{partition:05}+{start:020}.parquet")
}

/// Tells the refiner that the bronze object of one raw object is made again by decoder version `version`.
#[must_use]
pub fn note_key(table: &str, topic: &str, epoch: u32, partition: i32, start: i64, version: u32) -> String {
    format!("bronze/_notes/{table}/{topic}+{epoch:04}+{partition:05}+{start:020}+v{version:05}.json")
}

/// `_epoch.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    pub cluster_id: String,
    pub topic_id: Uuid,
}

/// `_origin.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub offset: i64,
}

/// What kind of link a raw object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// Every delivered record of its range, perhaps none.
    Data,
    /// Retention removed its range before anybody read it, and a person accepted that.
    Hole,
    /// Closes the epoch: nothing may follow it.
    End,
}

/// The records in a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkRows {
    pub first: i64,
    pub last: i64,
    pub count: u64,
    /// Broker time of the first record, milliseconds UTC.
    pub first_time_ms: i64,
}

/// A raw object as its metadata and its footer tell of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub kind: LinkKind,
    pub topic_id: Uuid,
    pub start: i64,
    /// Where the next link begins: at least last + 1, and beyond offsets that are never delivered.
    pub next_offset: i64,
    /// `None`: no record in the range.
    pub rows: Option<LinkRows>,
}

const KIND: &str = "tickstream-kind";
const TOPIC_ID: &str = "tickstream-topic-id";
const START: &str = "tickstream-start";
const NEXT_OFFSET: &str = "tickstream-next-offset";
const FIRST: &str = "tickstream-first";
const LAST: &str = "tickstream-last";
const COUNT: &str = "tickstream-count";
const FIRST_TIME: &str = "tickstream-first-time-ms";

impl Link {
    /// The pairs that stand in the object's metadata and in its Parquet footer.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let kind = match self.kind {
            LinkKind::Data => "data",
            LinkKind::Hole => "hole",
            LinkKind::End => "end",
        };
        let mut pairs = vec![
            (KIND, kind.to_owned()),
            (TOPIC_ID, self.topic_id.to_string()),
            (START, self.start.to_string()),
            (NEXT_OFFSET, self.next_offset.to_string()),
            (COUNT, self.rows.map_or(0, |rows| rows.count).to_string()),
        ];
        if let Some(rows) = self.rows {
            pairs.push((FIRST, rows.first.to_string()));
            pairs.push((LAST, rows.last.to_string()));
            pairs.push((FIRST_TIME, rows.first_time_ms.to_string()));
        }
        pairs
    }

    /// Reads [`Link::pairs`] back; `None` when one is missing or makes no sense.
    #[must_use]
    pub fn from_pairs(pairs: &HashMap<String, String>) -> Option<Self> {
        let number = |name: &str| pairs.get(name)?.parse::<i64>().ok();
        let kind = match pairs.get(KIND)?.as_str() {
            "data" => LinkKind::Data,
            "hole" => LinkKind::Hole,
            "end" => LinkKind::End,
            _ => return None,
        };
        let rows = match u64::try_from(number(COUNT)?).ok()? {
            0 => None,
            count => {
                let (first, last, first_time_ms) = (number(FIRST)?, number(LAST)?, number(FIRST_TIME)?);
                Some(LinkRows { first, last, count, first_time_ms })
            }
        };
        let topic_id = pairs.get(TOPIC_ID)?.parse().ok()?;
        let link = Self { kind, topic_id, start: number(START)?, next_offset: number(NEXT_OFFSET)?, rows };
        link.sensible().then_some(link)
    }

    fn sensible(&self) -> bool {
        let length = self.next_offset - self.start;
        let inside = self
            .rows
            .is_none_or(|rows| self.start <= rows.first && rows.first <= rows.last && rows.last < self.next_offset);
        inside
            && match self.kind {
                LinkKind::Data => length > 0 && length <= SPAN,
                LinkKind::Hole => length > 0 && self.rows.is_none(),
                LinkKind::End => length == 0 && self.rows.is_none(),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_where_the_design_says() {
        assert_eq!(epoch_key("market.ticks.v1", 0), "raw/market.ticks.v1/epoch=0000/_epoch.json");
        assert_eq!(origin_key("t", 1, 2), "raw/t/epoch=0001/partition=00002/_origin.json");
        let raw = raw_key("market.ticks.v1", 0, 3, 1_048_576);
        assert_eq!(raw, "raw/market.ticks.v1/epoch=0000/partition=00003/00000000000001048576.parquet");
        assert_eq!(parse_raw_key(&raw), Some(("market.ticks.v1", 0, 3, 1_048_576)));
        assert_eq!(parse_raw_key(&origin_key("t", 1, 2)), None);
        assert!(raw_key("t", 0, 0, i64::MAX) < origin_key("t", 0, 0), "the origin sorts behind every object");
        assert_eq!((parse_partition(&raw), parse_partition(&origin_key("t", 1, 2))), (Some(3), Some(2)));
        assert_eq!((parse_partition(&epoch_key("t", 1)), parse_partition(&hole_key("t", 1, 2, 5))), (None, None));
        assert!(
            hole_key("t", 1, 2, 5).starts_with(&epoch_prefix("t", 1)) && hole_key("t", 0, 9, 0) < raw_key("t", 0, 0, 0)
        );
        assert_eq!(parse_hole_key(&hole_key("t", 1, 2, 5)), Some((5, false)));
        assert_eq!(parse_hole_key(&hole_told_key("t", 1, 2, 5)), Some((5, true)));
        assert_eq!(parse_hole_key(&epoch_key("t", 1)), None);
        assert_eq!([end_key("t", 1, 2, 5), end_told_key("t", 1, 2, 5)].map(|key| parse_hole_key(&key)), [None, None]);
    }

    #[test]
    fn bronze_is_filed_by_the_hour_of_the_broker() {
        let key = |ms| bronze_key("ticks", ms, "market.ticks.v1", 0, 1, 42);
        assert_eq!(
            key(1_700_000_000_000),
            "bronze/ticks/dt=2023-11-14/hour=22/market.ticks.v1+0000+00001+00000000000000000042.parquet"
        );
        assert!(key(-1).starts_with("bronze/ticks/dt=1969-12-31/hour=23/"));
        assert!(key(i64::MAX).starts_with("bronze/ticks/dt=9999-12-30/"), "{}", key(i64::MAX));
    }

    #[test]
    fn a_link_says_what_it_is_and_nonsense_is_not_believed() {
        let rows = Some(LinkRows { first: 5, last: 8, count: 3, first_time_ms: -1 });
        let link = Link { kind: LinkKind::Data, topic_id: Uuid::from_u128(7), start: 4, next_offset: 9, rows };
        let pairs = |link: Link| link.pairs().into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<HashMap<_, _>>();
        let end = Link { kind: LinkKind::End, next_offset: 4, rows: None, ..link };
        for good in [
            link,
            Link { rows: None, ..link },
            Link { kind: LinkKind::Hole, rows: None, next_offset: i64::MAX, ..link },
            end,
        ] {
            assert_eq!(Link::from_pairs(&pairs(good)), Some(good));
        }
        let outside = Link { next_offset: 8, ..link };
        let too_long = Link { next_offset: 4 + SPAN + 1, rows: None, ..link };
        for bad in
            [outside, too_long, Link { next_offset: 4, rows: None, ..link }, Link { kind: LinkKind::Hole, ..link }]
        {
            assert_eq!(Link::from_pairs(&pairs(bad)), None, "{bad:?}");
        }
        let mut without = pairs(link);
        without.remove(NEXT_OFFSET);
        assert_eq!(Link::from_pairs(&without), None);
    }
}
