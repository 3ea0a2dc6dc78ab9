//! The raw objects of a partition as a log: where it begins and ends, and where in it a time lies. Objects are found by halves,
//! so that a long chain costs a few requests. Must never happen here: a chain of another topic of the same name.

use std::collections::HashMap;

use anyhow::{Context, bail};
use jiff::Timestamp;
use pipeline::lake::{Epoch, Link, LinkKind, epoch_key, origin_key, parse_raw_key, partition_prefix};
use pipeline::misconfigured;
use pipeline::records::Records;
use pipeline::store::{Store, StoreArgs};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::log::Sample;
use crate::kafka::Ends;

pub struct RawLog {
    store: Store,
    topic_ids: HashMap<String, Uuid>,
    chains: Mutex<HashMap<(String, i32), Vec<String>>>,
}

impl RawLog {
    /// # Errors
    /// [`pipeline::Misconfigured`] when the store cannot be used.
    pub async fn connect(args: &StoreArgs, topic_ids: HashMap<String, Uuid>) -> anyhow::Result<Self> {
        Ok(Self { store: Store::connect(args).await?, topic_ids, chains: Mutex::default() })
    }

    async fn epoch(&self, topic: &str) -> anyhow::Result<u32> {
        let wanted = self.topic_ids.get(topic).copied();
        for epoch in 0.. {
            let key = epoch_key(topic, epoch);
            let Some(object) = self.store.get(&key).await? else { break };
            let bound: Epoch =
                serde_json::from_slice(&object.bytes).with_context(|| format!("{key} cannot be read"))?;
            if Some(bound.topic_id) == wanted {
                return Ok(epoch);
            }
        }
        bail!(misconfigured(format!(
            "the lake, set by --s3-bucket and --s3-prefix (S3_BUCKET, S3_PREFIX), has no raw objects of {topic} as it is now"
        )))
    }

    /// The keys of the partition's raw objects, in order.
    async fn chain(&self, topic: &str, partition: i32) -> anyhow::Result<Vec<String>> {
        let place = (topic.to_owned(), partition);
        let mut chains = self.chains.lock().await;
        if let Some(chain) = chains.get(&place) {
            return Ok(chain.clone());
        }
        let prefix = partition_prefix(topic, self.epoch(topic).await?, partition);
        let (mut keys, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            let listed = self.store.list(&prefix, after.as_deref()).await?;
            let Some(last) = listed.last() else { break };
            after = Some(last.key.clone());
            keys.extend(listed.into_iter().map(|object| object.key).filter(|key| parse_raw_key(key).is_some()));
        }
        chains.insert(place, keys.clone());
        Ok(keys)
    }

    async fn link(&self, key: &str) -> anyhow::Result<Link> {
        let head = self.store.head(key).await?.with_context(|| format!("{key} was listed and is gone"))?;
        match Link::from_pairs(&head.metadata) {
            Some(link) => Ok(link),
            None => Ok(self.object(key).await?.0),
        }
    }

    async fn object(&self, key: &str) -> anyhow::Result<(Link, Records)> {
        let object = self.store.get(key).await?.with_context(|| format!("{key} was listed and is gone"))?;
        lake::raw::decode(object.bytes).with_context(|| format!("{key} is no raw object"))
    }

    pub async fn ends(&self, topic: &str, partition: i32) -> anyhow::Result<Ends> {
        let chain = self.chain(topic, partition).await?;
        let (Some(first), Some(last)) = (chain.first(), chain.last()) else {
            let epoch = self.epoch(topic).await?;
            let key = origin_key(topic, epoch, partition);
            let origin = match self.store.get(&key).await? {
                None => 0,
                Some(object) => serde_json::from_slice::<pipeline::lake::Origin>(&object.bytes)?.offset,
            };
            return Ok(Ends { start: origin, end: origin });
        };
        // Holes at the beginning hold nothing.
        let mut start = parse_raw_key(first).map_or(0, |(.., start)| start);
        for key in &chain {
            let link = self.link(key).await?;
            if link.kind != LinkKind::Hole {
                break;
            }
            start = link.next_offset;
        }
        Ok(Ends { start, end: self.link(last).await?.next_offset })
    }

    /// The first offset whose record was taken at this time or later.
    pub async fn at(&self, topic: &str, partition: i32, at_ms: i64) -> anyhow::Result<Option<i64>> {
        let chain = self.chain(topic, partition).await?;
        // The first object that begins so late.
        let (mut low, mut high) = (0, chain.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.first_time(&chain, middle, high).await? {
                Some((_, time)) if time < at_ms => low = middle + 1,
                Some(_) | None => high = middle,
            }
        }
        // The one before it may hold such a record behind its first; what lies between is without records.
        if let Some(key) = low.checked_sub(1).map(|before| &chain[before]) {
            let (_, records) = self.object(key).await?;
            let (times, offsets) = (records.timestamps_ms(), records.offsets());
            if let Some(row) = (0..records.len()).find(|row| times.value(*row) >= at_ms) {
                return Ok(Some(offsets.value(row)));
            }
        }
        Ok(self.first_time(&chain, low, chain.len()).await?.map(|(offset, _)| offset))
    }

    /// Offset and time of the first record in the objects from one up to another.
    async fn first_time(&self, chain: &[String], from: usize, to: usize) -> anyhow::Result<Option<(i64, i64)>> {
        for key in &chain[from..to] {
            if let Some(rows) = self.link(key).await?.rows {
                return Ok(Some((rows.first, rows.first_time_ms)));
            }
        }
        Ok(None)
    }

    pub async fn sample(&self, topic: &str, partition: i32, from: i64, to: i64) -> anyhow::Result<Sample> {
        let chain = self.chain(topic, partition).await?;
        let starts = |key: &String| parse_raw_key(key).map_or(0, |(.., start)| start);
        let first = chain.partition_point(|key| starts(key) <= from).saturating_sub(1);
        for key in chain[first..].iter().take_while(|key| starts(key) < to) {
            let (_, records) = self.object(key).await?;
            let offsets = records.offsets().values();
            let inside =
                offsets.partition_point(|offset| *offset < from)..offsets.partition_point(|offset| *offset < to);
            if !inside.is_empty() {
                let mut sample = Sample::default();
                sample.add(&records.slice(inside.start, inside.len()));
                return Ok(sample);
            }
        }
        Ok(Sample::default())
    }
}

/// For people.
pub fn time(ms: Option<i64>) -> Option<Timestamp> {
    ms.and_then(|ms| Timestamp::from_millisecond(ms).ok())
}
