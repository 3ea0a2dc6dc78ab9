//! `--deep`: every raw object of the lake's chains and its bronze, opened: the bytes as they were written, the records as the
//! topic has them while it has them, bronze as the decoding of raw, nothing beside them. A few objects in memory at a time,
//! and eight bytes for each bronze key. Must never happen here: an object that is passed over in silence.

mod against_topic;
mod bronze_object;
mod raw_object;
pub(super) mod strays;

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use pipeline::codec::RecordType;
use pipeline::kafka::KafkaArgs;
use pipeline::lake::{Link, epoch_key, parse_raw_key};
use pipeline::registry::Registry;
use pipeline::store::{Failure, Object, Store, StoreError};
use pipeline::topics::Topic;
use uuid::Uuid;

pub use against_topic::Digests;

use self::bronze_object::Age;
use super::lake::{self, Place};
use super::older;
use super::report::DeepReport;
use crate::output::{Progress, size};

/// Objects that are open at once, each with its bronze.
const AT_ONCE: usize = 4;

/// What one chain is held against.
pub struct Walk<'a> {
    pub place: Place<'a>,
    /// What its records are; `None` for a topic without bronze.
    pub record: Option<RecordType>,
    /// The one that the epoch is bound to.
    pub topic_id: Uuid,
    /// What the topic has of each link.
    pub told: Option<Told<'a>>,
}

/// What the topic told of the links of a chain.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// One a link.
    pub digests: &'a [u128],
    /// They are of the records from here on, and up to there.
    pub log_start: i64,
    pub log_end: i64,
}

/// Opens objects; what it finds is counted by [`Deep`].
struct Eye {
    store: Store,
    encodings: ::lake::Encodings,
    kafka: KafkaArgs,
}

/// What was seen of one raw object and its bronze.
#[derive(Default)]
struct Look {
    raw_bytes: u64,
    bronze_bytes: u64,
    /// Where its bronze belongs, if it has any.
    bronze_key: Option<String>,
    age: Option<Age>,
    has_checksum: bool,
    /// Records that are those of the topic.
    compared: u64,
    faults: Vec<String>,
}

pub struct Deep {
    eye: Eye,
    report: DeepReport,
    faults: Vec<String>,
    expected: strays::Expected,
    /// Chains that were walked.
    walked: BTreeSet<(String, u32, i32)>,
    /// Those of them that are of earlier epochs and had no topic to be held against.
    pub older_chains: u64,
    progress: Progress,
}

impl Deep {
    pub fn new(store: Store, registry: Option<Registry>, kafka: KafkaArgs) -> Self {
        Self {
            eye: Eye { store, encodings: ::lake::Encodings::new(registry), kafka },
            report: DeepReport::default(),
            faults: Vec::new(),
            expected: strays::Expected::default(),
            walked: BTreeSet::new(),
            older_chains: 0,
            progress: Progress::default(),
        }
    }

    /// Opens the objects of one chain. Gives the starts of those with a fault: there is no more to say about them.
    pub async fn chain(&mut self, walk: &Walk<'_>, links: &[Link]) -> anyhow::Result<BTreeSet<i64>> {
        let Place { topic, epoch, partition } = walk.place;
        self.walked.insert((topic.to_owned(), epoch, partition));
        let Self { eye, report, faults, expected, progress, .. } = self;
        let mut faulty = BTreeSet::new();
        let eye = &*eye;
        let looks = stream::iter(links.iter().enumerate()).map(|(index, link)| async move {
            let look = Box::pin(eye.look(walk, index, link, index + 1 == links.len())).await?;
            anyhow::Ok((link.start, look))
        });
        let mut looks = std::pin::pin!(looks.buffered(AT_ONCE));
        while let Some(look) = looks.next().await {
            let (start, look) = look?;
            if !look.faults.is_empty() {
                faulty.insert(start);
            }
            if let Some(key) = &look.bronze_key {
                expected.insert(key);
            }
            report.add(&look);
            faults.extend(look.faults);
            progress.tell(|| {
                let (raw, bronze) = (report.raw_objects, report.bronze_objects);
                let opened = size(report.raw_bytes + report.bronze_bytes);
                let found = faults.len();
                format!("{raw} raw and {bronze} bronze objects opened, {opened}, {found} faults; at {topic}[{partition}] offset {start}")
            });
        }
        Ok(faulty)
    }

    /// Opens the chains of a topic that were not walked yet: those of epochs and partitions that the topic no longer has.
    pub async fn topic(&mut self, topic: &Topic) -> anyhow::Result<()> {
        let (places, strays) = strays::places(&self.eye.store, &topic.name).await?;
        self.faults.extend(strays);
        let epochs = lake::epochs(&self.eye.store, &topic.name).await?;
        let newest = epochs.last().map(|(number, _)| *number);
        for (epoch, partition) in places {
            if self.walked.contains(&(topic.name.clone(), epoch, partition)) {
                continue;
            }
            let Some((_, bound)) = epochs.iter().find(|(number, _)| *number == epoch) else {
                let missing = epoch_key(&topic.name, epochs.len() as u32);
                self.faults
                    .push(format!("{missing}: it is missing, so that no writer finds epoch {epoch:04}; put it back"));
                continue;
            };
            let place = Place { topic: &topic.name, epoch, partition };
            let chain = lake::chain(&self.eye.store, place, lake::From::Origin, i64::MAX).await?;
            let is_older = newest.is_some_and(|newest| epoch < newest);
            self.older_chains += u64::from(is_older);
            let name = format!("{}[{partition}] in epoch {epoch:04}", topic.name);
            let faults = older::faults(&chain, &topic.name, bound, is_older);
            self.faults.extend(faults.into_iter().map(|line| format!("{name}: {line}")));
            let walk = Walk { place, record: topic.record(), topic_id: bound.topic_id, told: None };
            Box::pin(self.chain(&walk, &chain.links)).await?;
        }
        Ok(())
    }

    /// Looks for what stands beside the chains. `topics` are those that were audited; `all` when that is every one.
    pub async fn finish(mut self, topics: &[Topic], all: bool) -> anyhow::Result<(DeepReport, Vec<String>)> {
        let (store, progress) = (&self.eye.store, &mut self.progress);
        if all {
            self.faults.extend(strays::unknown_topics(store, topics).await?);
        }
        self.faults.extend(strays::bronze(store, self.expected, topics, all, progress).await?);
        self.report.faults = self.faults.len() as u64;
        Ok((self.report, self.faults))
    }
}

impl DeepReport {
    fn add(&mut self, look: &Look) {
        self.raw_objects += 1;
        self.raw_bytes += look.raw_bytes;
        self.bronze_bytes += look.bronze_bytes;
        self.bronze_objects += u64::from(look.bronze_bytes > 0);
        self.without_checksum += u64::from(!look.has_checksum);
        self.compared_with_topic += look.compared;
        match look.age {
            Some(Age::Older) => self.older_versions += 1,
            Some(Age::Newer) => self.newer_versions += 1,
            Some(Age::Same) | None => {}
        }
    }
}

impl Eye {
    async fn look(&self, walk: &Walk<'_>, index: usize, link: &Link, is_last: bool) -> anyhow::Result<Look> {
        let mut look = Look::default();
        let records = Box::pin(self.raw(walk, index, link, &mut look)).await?;
        Box::pin(self.bronze(walk, link, records, is_last, &mut look)).await?;
        Ok(look)
    }

    /// The object, asked for again when the store could not answer: an audit of hours does not end with one time-out.
    async fn get(&self, key: &str) -> anyhow::Result<Option<Object>> {
        let mut pause = std::time::Duration::from_millis(200);
        for _ in 0..5 {
            match self.store.get(key).await {
                Err(StoreError { failure: Failure::Unanswered | Failure::Unavailable, .. }) => {}
                answer => return Ok(answer?),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(self.store.get(key).await?)
    }
}

/// The day that a key of bronze is filed under.
fn day_in(key: &str) -> Option<&str> {
    key.split('/').find_map(|part| part.strip_prefix("dt="))
}

/// The raw key that a bronze key is made from.
pub(super) fn raw_key_of(bronze_key: &str) -> Option<String> {
    let mut parts = bronze_key.rsplit('/').next()?.rsplitn(4, '+');
    let (file, partition, epoch, topic) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let key = format!("raw/{topic}/epoch={epoch}/partition={partition}/{file}");
    parse_raw_key(&key).is_some().then_some(key)
}

#[cfg(test)]
mod tests {
    use pipeline::lake::{bronze_key, raw_key};

    use super::*;

    #[test]
    fn a_bronze_key_names_its_raw_object() {
        let bronze = bronze_key("ticks", 1_700_000_000_000, "market.ticks.v1", 3, 1, 42);
        assert_eq!(raw_key_of(&bronze), Some(raw_key("market.ticks.v1", 3, 1, 42)));
        assert_eq!(day_in(&bronze), Some("2023-11-14"));
        for stray in ["bronze/ticks/x.parquet", "bronze/ticks/a+b+c+d.parquet", "bronze/ticks/t+0000+00001+1.parquet"] {
            assert_eq!(raw_key_of(stray), None, "{stray}");
        }
    }
}
