//! Which bronze objects hold the records of a time, a partition's in the order of their offsets. An object stands under the
//! hour of its first record and may reach far behind it, so the last one before the time is read too; it is looked for
//! backwards, so that the cost grows with the time that is read and not with the lake. Broker clocks may be put back at a
//! change of leader: an hour of slack on both sides. Must never happen here: two objects of a chain in another order than
//! their offsets', or all keys of a lake in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use pipeline::lake::{parse_raw_key, partition_prefix, topic_prefix};
use pipeline::store::Store;

use super::page::Table;
use super::range::Span;

/// How many hours are looked through one by one for the objects before a time, before it goes on by days.
const HOURS: usize = 48;

/// The place of an object in its partition: epoch and first offset.
type Start = (u32, i64);

/// What a bronze key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named<'a> {
    hour: DateTime,
    topic: &'a str,
    partition: i32,
    start: Start,
}

fn parse(key: &str) -> Option<Named<'_>> {
    let (place, name) = key.rsplit_once('/')?;
    let part = |name: &str| place.split('/').find_map(|part| part.strip_prefix(name));
    let day: Date = part("dt=")?.parse().ok()?;
    let hour: i8 = part("hour=")?.parse().ok()?;
    let mut parts = name.strip_suffix(".parquet")?.rsplitn(4, '+');
    let (start, partition, epoch, topic) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let start = (epoch.parse().ok()?, start.parse().ok()?);
    Some(Named { hour: day.at(hour.clamp(0, 23), 0, 0, 0), topic, partition: partition.parse().ok()?, start })
}

fn prefix(table: Table) -> String {
    format!("bronze/{}/", pipeline::lake::table(table.record()))
}

/// Where the objects of an hour stand.
fn folder(table: Table, hour: DateTime) -> String {
    format!("{}{}", prefix(table), hour.strftime("dt=%Y-%m-%d/hour=%H/"))
}

fn hour_of(micros: i64) -> DateTime {
    let at = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX).to_zoned(TimeZone::UTC).datetime();
    at.date().at(at.hour(), 0, 0, 0)
}

/// A listing for each partition that the lake has of a topic.
///
/// # Errors
/// When the store does not answer.
pub async fn listings(store: &Store, table: Table, topic: &str, span: Span) -> anyhow::Result<Vec<(i32, Listing)>> {
    let first = hour_of(span.begins).checked_sub(1.hour()).unwrap_or(DateTime::MIN);
    let last = (span.to != i64::MAX).then(|| hour_of(span.to).checked_add(1.hour()).unwrap_or(DateTime::MAX));
    let partitions = partitions(store, topic).await?;
    let mut before = before(store, table, topic, first, &partitions).await?;
    let listing = |partition: i32| Listing {
        store: store.clone(),
        prefix: prefix(table),
        topic: topic.to_owned(),
        partition,
        last,
        // Sorts before everything in the hour.
        after: Some(folder(table, first)),
        waiting: before.remove(&partition).into_iter().collect(),
        listed: first,
        is_listed: false,
        goes_on: Arc::default(),
    };
    Ok(partitions.iter().copied().zip(partitions.iter().copied().map(listing)).collect())
}

/// The partitions that any epoch of the topic has records of.
async fn partitions(store: &Store, topic: &str) -> anyhow::Result<Vec<i32>> {
    let (prefix, mut after, mut found) = (topic_prefix(topic), None, Vec::new());
    loop {
        let listed = store.list(&prefix, after.as_deref()).await?;
        let Some(last) = listed.last() else { break };
        let chain = listed.iter().find_map(|object| parse_raw_key(&object.key));
        after = Some(match chain {
            // The rest of the chain is passed over: this sorts behind every name in it.
            Some((_, epoch, partition, _)) => {
                found.push(partition);
                format!("{}~", partition_prefix(topic, epoch, partition))
            }
            None => last.key.clone(),
        });
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The last object of each partition before an hour, by its start.
async fn before(
    store: &Store,
    table: Table,
    topic: &str,
    hour: DateTime,
    partitions: &[i32],
) -> anyhow::Result<HashMap<i32, (Start, Waiting)>> {
    let mut found: HashMap<i32, (Start, Waiting)> = HashMap::new();
    let listed = store.list(&prefix(table), None).await?;
    let Some(lake_begins) = listed.iter().find_map(|object| parse(&object.key)).map(|named| named.hour) else {
        return Ok(found);
    };
    let (mut until, mut steps) = (hour, 0);
    while until > lake_begins && partitions.iter().any(|partition| !found.contains_key(partition)) {
        let earlier = until.checked_sub(1.hour()).unwrap_or(DateTime::MIN);
        steps += 1;
        let is_day = steps > HOURS && earlier.hour() == 23;
        let from = if is_day { earlier.date().at(0, 0, 0, 0) } else { earlier };
        let folder = folder(table, from);
        let folder = if is_day { folder.trim_end_matches("hour=00/").to_owned() } else { folder };
        let mut here: HashMap<i32, (Start, Waiting)> = HashMap::new();
        let mut after = None;
        loop {
            let listed = store.list(&folder, after.as_deref()).await?;
            let Some(last) = listed.last() else { break };
            after = Some(last.key.clone());
            for object in &listed {
                let Some(named) = parse(&object.key).filter(|named| named.topic == topic) else { continue };
                let known = here.get(&named.partition).map(|(start, _)| *start);
                if known.is_none_or(|known| known < named.start) {
                    here.insert(named.partition, (named.start, (named.hour, object.key.clone())));
                }
            }
        }
        for (partition, object) in here {
            found.entry(partition).or_insert(object);
        }
        until = from;
    }
    Ok(found)
}

/// An object that is not given out yet: its hour and its key.
type Waiting = (DateTime, String);

/// The objects of one partition, a page of the listing at a time.
#[derive(Debug)]
pub struct Listing {
    store: Store,
    prefix: String,
    topic: String,
    partition: i32,
    /// Objects of a later hour hold nothing of the range.
    last: Option<DateTime>,
    after: Option<String>,
    waiting: BTreeMap<Start, Waiting>,
    /// Everything before this hour is listed.
    listed: DateTime,
    is_listed: bool,
    goes_on: Arc<AtomicBool>,
}

impl Listing {
    /// Set once an object behind the range was met.
    pub fn goes_on(&self) -> Arc<AtomicBool> {
        self.goes_on.clone()
    }

    /// The next key. One is given out when the hour after its own is listed: its successor may stand before it, when the
    /// broker's clock was put back.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn next(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(first) = self.waiting.first_entry()
                && (self.is_listed || first.get().0 < self.listed)
            {
                return Ok(Some(first.remove().1));
            }
            if self.is_listed {
                return Ok(None);
            }
            self.list().await?;
        }
    }

    async fn list(&mut self) -> anyhow::Result<()> {
        let listed = self.store.list(&self.prefix, self.after.as_deref()).await?;
        self.is_listed = listed.is_empty();
        for object in listed {
            if let Some(named) = parse(&object.key).filter(|named| named.topic == self.topic) {
                if self.last.is_some_and(|last| named.hour > last) {
                    self.goes_on.store(true, Ordering::Relaxed);
                    self.is_listed = true;
                    return Ok(());
                }
                self.listed = named.hour;
                if named.partition == self.partition {
                    self.waiting.insert(named.start, (named.hour, object.key.clone()));
                }
            }
            self.after = Some(object.key);
        }
        Ok(())
    }
}

/// From which hour to which hour there are records, in words.
///
/// # Errors
/// When the store does not answer.
pub async fn holds(store: &Store, table: Table) -> anyhow::Result<String> {
    let prefix = prefix(table);
    let first = store.list(&prefix, None).await?.iter().find_map(|object| parse(&object.key)).map(|named| named.hour);
    let Some(first) = first else { return Ok(format!("the lake has nothing under {prefix}")) };
    // The last hour that something comes in or after: a store lists forwards alone.
    let (mut there, mut beyond) = (0_i64, 1_i64);
    let has = async |hours: i64| {
        let hour = first.checked_add(hours.hours()).unwrap_or(DateTime::MAX);
        anyhow::Ok(
            store.list(&prefix, Some(&folder(table, hour))).await?.iter().any(|object| parse(&object.key).is_some()),
        )
    };
    while has(beyond).await? {
        (there, beyond) = (beyond, beyond * 2);
    }
    while beyond - there > 1 {
        let middle = there.midpoint(beyond);
        if has(middle).await? { there = middle } else { beyond = middle }
    }
    let last = first.checked_add(there.hours()).unwrap_or(DateTime::MAX);
    let text = |hour: DateTime| hour.strftime("%Y-%m-%dT%HZ").to_string();
    Ok(format!("{prefix} in the lake holds records from the hour {} to the hour {}", text(first), text(last)))
}

#[cfg(test)]
mod tests {
    use pipeline::lake::bronze_key;

    use super::*;

    #[test]
    fn keys_tell_hour_partition_and_place() {
        let key = bronze_key("ticks", 1_700_000_000_000, "market.ticks.v1", 2, 3, 42);
        let named = parse(&key).expect("a bronze key");
        assert_eq!((named.topic, named.partition, named.start), ("market.ticks.v1", 3, (2, 42)));
        assert_eq!(named.hour, hour_of(1_700_000_000_000_000));
        assert!(key.starts_with(&folder(Table::Ticks, named.hour)), "{key}");
        assert_eq!(
            (parse("bronze/_notes/ticks/x+0000+00000+1+v00003.json"), parse("bronze/ticks/stray.parquet")),
            (None, None)
        );
    }
}
