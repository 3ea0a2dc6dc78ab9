//! Which dead letters are settled, as market.redrives.v1 tells it: compacted, one key a settled thing, for ever, because the
//! letter may come again whenever a consumer reads the record again. A redrive is of a record, whoever refused it (its key:
//! topic id, partition, offset): it is in the topic again for every group. A drop is of one group's letter (the group besides).
//! Both values are JSON; the time is the broker's. Must never happen here: marks that are taken for all of them when a part of
//! the topic was not read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use anyhow::Context;
use arrow::array::Array;
use pipeline::kafka::KafkaArgs;
use pipeline::records::Records;
use pipeline::{misconfigured, stretches, topics};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::letter::{Letter, Place};
use crate::kafka::{Metadata, whole_log};

/// What is written of a settled thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Mark {
    /// The record is in `topic` again, there.
    Redriven {
        topic: String,
        partition: i32,
        offset: i64,
        /// Its bytes are not those that were refused.
        #[serde(default)]
        corrected: bool,
    },
    Dropped {
        topic: String,
        why: String,
    },
}

/// Where a record stands again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redriven {
    pub partition: i32,
    pub offset: i64,
    pub corrected: bool,
    pub at_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub why: Arc<str>,
    pub at_ms: i64,
}

/// How a letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody has seen to it.
    Open,
    /// Of the topic as it was before it was made anew, and nobody has seen to it.
    Earlier,
    /// The record was sent again.
    Redriven,
    /// A person has said that it is dealt with.
    Dropped,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Earlier => "earlier",
            Self::Redriven => "redriven",
            Self::Dropped => "dropped",
        }
    }
}

/// All marks.
#[derive(Debug, Default)]
pub struct Marks {
    redriven: BTreeMap<Place, Redriven>,
    dropped: BTreeMap<Arc<str>, HashMap<Place, Dropped>>,
    /// Each reason once.
    whys: HashSet<Arc<str>>,
    /// Records that this version cannot read.
    pub unreadable: u64,
}

impl Marks {
    /// What is settled; nothing where the topic is not there yet.
    ///
    /// # Errors
    /// When the topic cannot be read to its end. What an open transaction holds back is waited for.
    pub async fn read(kafka: &KafkaArgs, metadata: &Metadata) -> anyhow::Result<Self> {
        let mut marks = Self::default();
        let Some(found) = metadata.topics.get(topics::REDRIVES) else { return Ok(marks) };
        let stretches = whole_log(kafka, topics::REDRIVES, &found.partitions).await?;
        let read = stretches::read(kafka, topics::REDRIVES, &stretches, "run it again", async |_, records| {
            marks.take(&records);
            Ok(())
        });
        read.await.with_context(|| format!("reading what is settled, in {}", topics::REDRIVES))?;
        Ok(marks)
    }

    fn take(&mut self, records: &Records) {
        let (keys, values, times) = (records.keys(), records.values(), records.timestamps_ms());
        for row in 0..records.len() {
            let key = keys.is_valid(row).then(|| keys.value(row));
            let Some((place, group)) = key.and_then(|key| std::str::from_utf8(key).ok()).and_then(read_key) else {
                self.unreadable += 1;
                continue;
            };
            let value = values.is_valid(row).then(|| values.value(row));
            match (value.map(serde_json::from_slice::<Mark>), group) {
                (Some(Ok(mark)), group) => self.put(place, group, mark, times.value(row)),
                // Taken back by hand.
                (None, None) => drop(self.redriven.remove(&place)),
                (None, Some(group)) => drop(self.dropped.get_mut(group).and_then(|places| places.remove(&place))),
                (Some(Err(_)), _) => self.unreadable += 1,
            }
        }
    }

    fn put(&mut self, place: Place, group: Option<&str>, mark: Mark, at_ms: i64) {
        match (mark, group) {
            (Mark::Redriven { partition, offset, corrected, .. }, None) => {
                self.redriven.insert(place, Redriven { partition, offset, corrected, at_ms });
            }
            (Mark::Dropped { why, .. }, Some(group)) => {
                let why = match self.whys.get(&*why) {
                    Some(known) => known.clone(),
                    None => {
                        let why: Arc<str> = why.into();
                        self.whys.insert(why.clone());
                        why
                    }
                };
                if !self.dropped.contains_key(group) {
                    self.dropped.insert(group.into(), HashMap::new());
                }
                if let Some(places) = self.dropped.get_mut(group) {
                    places.insert(place, Dropped { why, at_ms });
                }
            }
            (Mark::Redriven { .. }, Some(_)) | (Mark::Dropped { .. }, None) => self.unreadable += 1,
        }
    }

    pub fn redriven(&self, place: Place) -> Option<Redriven> {
        self.redriven.get(&place).copied()
    }

    pub fn dropped(&self, place: Place, group: &str) -> Option<&Dropped> {
        self.dropped.get(group)?.get(&place)
    }

    /// How a letter stands, of the topic whose present id is `topic_id`.
    pub fn state(&self, letter: &Letter, topic_id: Uuid) -> State {
        if self.redriven.contains_key(&letter.place) {
            State::Redriven
        } else if self.dropped(letter.place, &letter.group).is_some() {
            State::Dropped
        } else if letter.place.topic_id != topic_id {
            State::Earlier
        } else {
            State::Open
        }
    }
}

/// Without the topic nothing can be settled.
pub fn expect_topic(metadata: &Metadata, servers: &str) -> anyhow::Result<()> {
    if metadata.topics.contains_key(topics::REDRIVES) {
        return Ok(());
    }
    Err(misconfigured(format!(
        "topic {} does not exist at {servers}, and what is settled is written there; `tickstream topics apply` creates it",
        topics::REDRIVES
    )))
}

/// The key of a redrive; with a group that of a drop.
pub fn key(place: Place, group: Option<&str>) -> String {
    let Place { topic_id, partition, offset } = place;
    let group = group.map(|group| format!(":{group}")).unwrap_or_default();
    format!("{topic_id}:{partition}:{offset}{group}")
}

fn read_key(key: &str) -> Option<(Place, Option<&str>)> {
    let mut parts = key.splitn(4, ':');
    let topic_id = parts.next()?.parse().ok()?;
    let place = Place { topic_id, partition: parts.next()?.parse().ok()?, offset: parts.next()?.parse().ok()? };
    Some((place, parts.next()))
}

#[cfg(test)]
mod tests {
    use pipeline::records::{Record, RecordBuffer};

    use super::*;

    const ID: Uuid = Uuid::from_u128(1);

    fn place(offset: i64) -> Place {
        Place { topic_id: ID, partition: 2, offset }
    }

    fn letter(offset: i64, group: &str) -> Letter {
        let (group, reason) = (group.to_owned(), String::new());
        Letter { place: place(offset), group, reason, at_ms: 0, record_ms: None, headers: Vec::new(), row: 0 }
    }

    fn marks(written: &[(&str, Option<&str>)]) -> Marks {
        let mut buffer = RecordBuffer::new();
        for (offset, (key, value)) in (0..).zip(written) {
            let (key, value) = (Some(key.as_bytes()), value.map(str::as_bytes));
            buffer.push_owned(Record { offset, timestamp_ms: 1000 + offset, key, value }, &[]);
        }
        let mut marks = Marks::default();
        marks.take(&buffer.finish());
        marks
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        assert_eq!(read_key(&key(place(7), None)), Some((place(7), None)));
        assert_eq!(read_key(&key(place(7), Some("a:b"))), Some((place(7), Some("a:b"))), "a group may hold anything");
        assert_eq!([read_key("x"), read_key(&format!("{ID}:2"))], [None, None]);
    }

    #[test]
    fn a_redrive_is_of_the_record_and_a_drop_of_one_groups_letter() {
        let redriven = Mark::Redriven { topic: "t".to_owned(), partition: 3, offset: 9, corrected: true };
        let redriven = serde_json::to_string(&redriven).expect("JSON");
        assert_eq!(redriven, r#"{"kind":"redriven","topic":"t","partition":3,"offset":9,"corrected":true}"#);
        let dropped = r#"{"kind":"dropped","topic":"t","why":"known","later":1}"#;
        let (one, two) = (key(place(1), None), key(place(2), Some("db")));
        let (three, four) = (key(place(3), Some("db")), key(place(4), Some("db")));
        let marks = marks(&[
            (&one, Some(&redriven)),
            (&two, Some(dropped)),
            (&three, Some(dropped)),
            (&three, None),
            (&four, Some(&redriven)),
            ("garbage", Some(dropped)),
            (&one, Some("{}")),
        ]);
        assert_eq!(marks.unreadable, 3);
        assert_eq!(marks.redriven(place(1)).map(|r| (r.partition, r.offset, r.at_ms)), Some((3, 9, 1000)));
        assert_eq!(marks.dropped(place(2), "db").map(|dropped| &*dropped.why), Some("known"));
        let states = [(1, "db"), (1, "lake"), (2, "db"), (2, "lake"), (3, "db")]
            .map(|(offset, group)| marks.state(&letter(offset, group), ID).as_str());
        assert_eq!(states, ["redriven", "redriven", "dropped", "open", "open"]);
        let now = Uuid::from_u128(2);
        assert_eq!(marks.state(&letter(3, "db"), now), State::Earlier);
        assert_eq!(marks.state(&letter(2, "db"), now), State::Dropped);
    }
}
