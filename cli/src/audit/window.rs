//! Where an audit begins: with all that the topics still hold, at a time (`--since`), or where the last one found everything
//! right (`--incremental`). What was found right is remembered in the lake, as one object under `audit/`: whoever may audit
//! the lake can reach it, several clusters have one each, and it goes where the lake goes. It is a hint: without it everything
//! is looked at. Invariant: a partition stands no further than what was found right in topic, lake and database together.
//! Must never happen here: a place that is passed over because somebody else's audit was there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use bytes::Bytes;
use pipeline::store::{Condition, Put, Store};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const VERSION: u32 = 1;

/// How far a partition was found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Every record below it.
    pub offset: i64,
    /// Where the raw object begins that was the newest one then.
    pub link: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicReached {
    pub topic_id: Uuid,
    pub partitions: BTreeMap<i32, Reached>,
}

/// What the audits before have found right.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    #[serde(default)]
    pub topics: BTreeMap<String, TopicReached>,
    /// The hour that was looked at as a whole, however old: the next one's turn comes next. Microseconds from 1970.
    #[serde(default)]
    pub turn_us: Option<i64>,
    /// Hours in which something was wrong: they are looked at until nothing is.
    #[serde(default)]
    pub again_us: BTreeSet<i64>,
}

impl State {
    /// The state and its ETag; an empty one where there is none, or one that this version cannot read.
    pub async fn read(store: &Store, key: &str) -> anyhow::Result<(Self, Option<String>)> {
        let Some(object) = store.get(key).await? else { return Ok((Self::default(), None)) };
        let state: Option<Self> = serde_json::from_slice(&object.bytes).ok();
        Ok((state.filter(|state| state.version == VERSION).unwrap_or_default(), Some(object.head.etag)))
    }

    /// Stores it, unless another audit has stored its own meanwhile: then that one counts.
    pub async fn write(&mut self, store: &Store, key: &str, etag: Option<&str>) -> anyhow::Result<()> {
        self.version = VERSION;
        let bytes = Bytes::from(serde_json::to_vec(self)?);
        let condition = etag.map_or(Condition::IfNoneMatch, Condition::IfMatch);
        match store.put(key, bytes, std::collections::HashMap::new(), condition).await {
            Ok(Put::Done { .. } | Put::Exists | Put::Racing) => Ok(()),
            Err(error) => {
                Err(error).with_context(|| format!("{key}, in which the audit remembers what it found right"))
            }
        }
    }

    /// Where a topic's partition is to be begun with; `None` for its start.
    pub fn reached(&self, topic: &str, topic_id: Uuid, partition: i32) -> Option<Reached> {
        self.topics.get(topic).filter(|reached| reached.topic_id == topic_id)?.partitions.get(&partition).copied()
    }

    pub fn reach(&mut self, topic: &str, topic_id: Uuid, partition: i32, reached: Reached) {
        let of = self.topics.entry(topic.to_owned()).or_default();
        if of.topic_id != topic_id {
            *of = TopicReached { topic_id, partitions: BTreeMap::new() };
        }
        of.partitions.insert(partition, reached);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_made_anew_begins_at_its_start() {
        let (now, then) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut state = State::default();
        state.reach("t", then, 0, Reached { offset: 9, link: None });
        assert_eq!(state.reached("t", now, 0), None);
        state.reach("t", now, 1, Reached { offset: 4, link: Some(2) });
        assert_eq!((state.reached("t", now, 0), state.reached("t", then, 0)), (None, None));
        assert_eq!(state.reached("t", now, 1).map(|reached| reached.offset), Some(4));
    }
}
