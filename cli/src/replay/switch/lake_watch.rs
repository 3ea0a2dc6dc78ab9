//! How far the lake is behind what was published: raw and bronze by consumer-lake, silver and gold by the refiner. It reads
//! only. Each of its objects is swapped by the service that owns it, under its own conditions, so all that is to be known is
//! whether it has. Must never happen here: a lake told as switched of which an hour is still as it was.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, anyhow};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pipeline::codec::RecordType;
use pipeline::lake::{Epoch, Link, bronze_key, epoch_key, parse_raw_key, partition_prefix, raw_key, table};
use pipeline::misconfigured;
use pipeline::store::Store;
use pipeline::topics::TICKS;
use serde::Deserialize;
use uuid::Uuid;

use crate::replay::record::Fence;

/// Where the refiner says how far it is.
const STATE: &str = "silver/_refiner/state.json";
/// So many offsets at most are in one object, but for a hole.
const LONGEST: i64 = 1 << 20;
const HOUR_US: i64 = 3_600_000_000;

/// What this needs of the refiner's state.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refined {
    cursors: BTreeMap<String, i64>,
    pending: BTreeMap<String, BTreeSet<String>>,
}

pub struct LakeWatch {
    store: Store,
    epoch: u32,
    pending: Pending,
}

/// What of silver and gold is made of these offsets, for hours in which their ticks stand.
#[derive(Default)]
pub struct Pending {
    fences: Vec<Fence>,
    touched: Touched,
}

/// Partitions of silver whose ticks change.
#[derive(Default)]
struct Touched {
    /// `2026-03-02/09`.
    hours: BTreeSet<String>,
    days: BTreeSet<String>,
}

impl Refined {
    async fn read(store: &Store) -> anyhow::Result<Option<Self>> {
        let Some(object) = store.get(STATE).await? else { return Ok(None) };
        serde_json::from_slice(&object.bytes).map(Some).with_context(|| format!("{STATE} is no state"))
    }
}

impl Pending {
    pub fn new(fences: Vec<Fence>, hours: &BTreeSet<i64>) -> Self {
        Self { fences, touched: Touched::of(hours) }
    }

    /// What the refiner knows that it has still to make.
    ///
    /// # Errors
    /// When the store does not answer, or the refiner's state cannot be read.
    pub async fn lacks(&self, store: &Store) -> anyhow::Result<Option<String>> {
        Ok(self.of(&Refined::read(store).await?.unwrap_or_default()))
    }

    fn of(&self, state: &Refined) -> Option<String> {
        let pending = state.pending.iter().find(|(group, keys)| self.touched.is_waited_for(group, keys, &self.fences));
        pending.map(|(group, _)| format!("{group} is to be made yet"))
    }
}

impl LakeWatch {
    /// # Errors
    /// [`pipeline::Misconfigured`] for a lake that the topic is not written to.
    pub async fn new(store: Store, topic_id: Uuid) -> anyhow::Result<Self> {
        let epoch = epoch_of(&store, topic_id).await?;
        Ok(Self { store, epoch, pending: Pending::default() })
    }

    /// What it is to have: what was published into these offsets, of ticks that stand or stood in these hours.
    pub fn expect(&mut self, fences: &[Fence], hours: &BTreeSet<i64>) {
        self.pending = Pending::new(fences.to_vec(), hours);
    }

    /// What of raw and bronze is still to come; `None` when all is there.
    pub async fn raw_lacks(&self) -> anyhow::Result<Option<String>> {
        for fence in &self.pending.fences {
            let tail = self.tail(fence).await?;
            let at = tail.as_ref().map_or(0, |tail| tail.next_offset);
            if at < fence.to {
                return Ok(Some(format!("raw has {TICKS}[{}] up to {at} of {}", fence.partition, fence.to)));
            }
            if let Some(tail) = tail
                && let Some(key) = self.bronze_of(fence.partition, &tail)
                && self.store.head(&key).await?.is_none()
            {
                return Ok(Some(format!("{key} is not there yet")));
            }
        }
        Ok(None)
    }

    /// What of silver and gold is still to come.
    pub async fn refined_lacks(&self) -> anyhow::Result<Option<String>> {
        let Some(state) = Refined::read(&self.store).await? else {
            return Ok(Some("it has made nothing of this lake yet".to_owned()));
        };
        Ok(self.lacks(&state))
    }

    fn lacks(&self, state: &Refined) -> Option<String> {
        for Fence { partition, to, .. } in &self.pending.fences {
            let chain = format!("{TICKS}/{:04}/{partition:05}", self.epoch);
            let at = state.cursors.get(&chain).copied().unwrap_or(0);
            if at < *to {
                return Some(format!("it has taken up {TICKS}[{partition}] up to {at} of {to}"));
            }
        }
        self.pending.of(state)
    }

    /// The last object that begins before the fence.
    async fn tail(&self, fence: &Fence) -> anyhow::Result<Option<Link>> {
        let prefix = partition_prefix(TICKS, self.epoch, fence.partition);
        let from = (fence.to > LONGEST).then(|| raw_key(TICKS, self.epoch, fence.partition, fence.to - LONGEST - 1));
        let found = self.last_before(&prefix, from, fence.to).await?;
        let found = match found {
            // A hole may be longer than that.
            None if fence.to > LONGEST => self.last_before(&prefix, None, fence.to).await?,
            found => found,
        };
        let Some(key) = found else { return Ok(None) };
        let head = self.store.head(&key).await?.with_context(|| format!("{key} was listed and is gone"))?;
        let link = Link::from_pairs(&head.metadata);
        link.map(Some).ok_or_else(|| anyhow!("{key} does not say what it holds; `tickstream audit --deep` tells more"))
    }

    async fn last_before(&self, prefix: &str, mut after: Option<String>, end: i64) -> anyhow::Result<Option<String>> {
        let mut found = None;
        loop {
            let listed = self.store.list(prefix, after.as_deref()).await?;
            let Some(last) = listed.last() else { return Ok(found) };
            after = Some(last.key.clone());
            let starts = |key: &str| parse_raw_key(key).map(|(_, _, _, start)| start);
            let before = listed.iter().filter(|object| starts(&object.key).is_some_and(|start| start < end));
            found = before.map(|object| object.key.clone()).next_back().or(found);
            if listed.iter().any(|object| starts(&object.key).is_some_and(|start| start >= end)) {
                return Ok(found);
            }
        }
    }

    fn bronze_of(&self, partition: i32, link: &Link) -> Option<String> {
        let rows = link.rows?;
        let table = table(RecordType::PriceTick);
        Some(bronze_key(table, rows.first_time_ms, TICKS, self.epoch, partition, link.start))
    }
}

/// The hour of a time, micros UTC.
pub fn hour_of(time_us: i64) -> i64 {
    time_us.div_euclid(HOUR_US)
}

impl Touched {
    fn of(buckets: &BTreeSet<i64>) -> Self {
        let (mut hours, mut days) = (BTreeSet::new(), BTreeSet::new());
        for bucket in buckets {
            // A time that no calendar has is in no hour of silver.
            let Ok(time) = Timestamp::from_microsecond(bucket.saturating_mul(HOUR_US)) else { continue };
            let time = time.to_zoned(TimeZone::UTC);
            hours.insert(format!("{}/{:02}", time.date(), time.hour()));
            days.insert(time.date().to_string());
        }
        Self { hours, days }
    }

    /// Whether a group that is still to be made, of these bronze objects, holds ticks of ours.
    fn is_waited_for(&self, group: &str, bronze: &BTreeSet<String>, fences: &[Fence]) -> bool {
        let Some((table, partition)) = group.split_once('/') else { return false };
        let day = partition.split('/').next().unwrap_or(partition);
        let is_touched = if table == "ticks" { self.hours.contains(partition) } else { self.days.contains(day) };
        // Without objects it is a day of gold that failed.
        is_touched && (bronze.is_empty() || bronze.iter().any(|key| may_hold(key, fences)))
    }
}

/// Whether a bronze object may hold a record of ours, by its name.
fn may_hold(bronze: &str, fences: &[Fence]) -> bool {
    let name = bronze.rsplit('/').next().unwrap_or(bronze).trim_end_matches(".parquet");
    let mut parts = name.rsplitn(4, '+');
    let (Some(start), Some(partition), Some(_), Some(TICKS)) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (Ok(start), Ok(partition)) = (start.parse::<i64>(), partition.parse::<i32>()) else { return false };
    let of =
        |fence: &Fence| fence.partition == partition && start < fence.to && start.saturating_add(LONGEST) > fence.from;
    fences.iter().any(of)
}

/// The newest epoch that is bound to the topic.
async fn epoch_of(store: &Store, topic_id: Uuid) -> anyhow::Result<u32> {
    let mut found = None;
    for number in 0.. {
        let key = epoch_key(TICKS, number);
        let Some(object) = store.get(&key).await? else { break };
        let bound: Epoch = serde_json::from_slice(&object.bytes).with_context(|| format!("{key} is no epoch"))?;
        if bound.topic_id == topic_id {
            found = Some(number);
        }
    }
    found.ok_or_else(|| {
        misconfigured(format!(
            "the lake is not written from {TICKS} of this cluster: name the right one with --s3-bucket (S3_BUCKET) and \
             --s3-prefix (S3_PREFIX), or start consumer-lake"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_waited_for_where_it_holds_an_hour_and_an_object_of_ours() {
        let fences = [Fence { topic: TICKS.to_owned(), partition: 2, from: 100, to: 200, records: 9 }];
        let at: Timestamp = "2026-03-02T09:59:59Z".parse().expect("a time");
        let touched = Touched::of(&[at.as_microsecond(), i64::MAX].map(hour_of).into());
        let name = |partition: i32, start: i64| bronze_key("ticks", 0, TICKS, 0, partition, start);
        let waits =
            |group: &str, keys: &[String]| touched.is_waited_for(group, &keys.iter().cloned().collect(), &fences);
        assert!(waits("ticks/2026-03-02/09", &[name(2, 150)]));
        assert!(waits("ticks/2026-03-02/09", &[name(2, 7)]), "an object that begins before may reach in");
        assert!(!waits("ticks/2026-03-02/09", &[name(2, 200)]));
        assert!(!waits("ticks/2026-03-02/09", &[name(1, 150)]));
        assert!(!waits("ticks/2026-03-02/10", &[name(2, 150)]));
        assert!(waits("candles/2026-03-02", &[]) && !waits("candles/2026-03-03", &[]));
    }
}
