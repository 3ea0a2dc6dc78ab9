//! Where the page reads: every partition of its topics, assigned without a group, from the newest minutes by broker time (what
//! is older is read by [`crate::filling`]). Nothing is committed; a restart looks back again. Partitions that are added and topics
//! that are made anew are noticed by asking ([`crate::surveys`]).

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pipeline::codec::RecordType;
use pipeline::kafka::{KafkaArgs, create};
use pipeline::topic_id::TopicIds;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use uuid::Uuid;

use crate::clock::now_us;
use crate::protocol::Channel;
use crate::surveys::{Survey, Surveyor};

const TIMEOUT: Duration = Duration::from_secs(5);

/// One topic and how far back it is read.
#[derive(Clone, Debug)]
pub struct ReadTopic {
    pub name: Arc<str>,
    pub record: RecordType,
    pub channel: Channel,
    /// What is read first, forward: the newest.
    pub newest_ms: i64,
    /// What is read in the end; what is older than the newest comes later, backwards.
    pub look_back_ms: i64,
    /// Nothing is live before its newest records are read.
    pub is_awaited: bool,
}

/// Where a partition is read.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    pub partition: i32,
    /// The first offset that was read forward.
    pub first: i64,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    first: i64,
    next: i64,
    /// The log's end when reading began: up to there it is the look-back.
    live_from: i64,
}

/// The client's context: what goes wrong is seen by the loop, told once in readiness and on the page, and mends itself, so
/// in the log it is no error.
pub struct Quiet;

impl ClientContext for Quiet {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, setting: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        pipeline::kafka::token(setting)
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", "{facility}: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
    }
}

impl ConsumerContext for Quiet {}

pub type Consumer = BaseConsumer<Quiet>;

pub struct Positions {
    pub consumer: Arc<Consumer>,
    kafka: KafkaArgs,
    topics: Vec<ReadTopic>,
    ids: TopicIds,
    known_ids: Vec<Option<Uuid>>,
    /// By topic (its place in `topics`) and partition.
    positions: BTreeMap<(usize, i32), Position>,
}

impl Positions {
    /// # Errors
    /// When the client's settings are refused.
    pub fn new(kafka: &KafkaArgs, topics: Vec<ReadTopic>) -> anyhow::Result<Self> {
        // How far reading has come is known from the log's end; an event for each end reached would be noise.
        let mut settings = kafka.consumer(None);
        settings.set("enable.partition.eof", "false");
        let consumer: Consumer = create(&settings, Quiet)?;
        let known_ids = vec![None; topics.len()];
        Ok(Self {
            consumer: consumer.into(),
            kafka: kafka.clone(),
            topics,
            ids: TopicIds::new(kafka)?,
            known_ids,
            positions: BTreeMap::new(),
        })
    }

    pub fn topic_index(&self, name: &str) -> Option<usize> {
        self.topics.iter().position(|topic| &*topic.name == name)
    }

    pub fn topics(&self) -> &[ReadTopic] {
        &self.topics
    }

    /// Moves past a record.
    pub fn advance(&mut self, topic: usize, partition: i32, offset: i64) {
        if let Some(position) = self.positions.get_mut(&(topic, partition)) {
            position.next = offset + 1;
        }
    }

    /// Whether everything that was there when reading began has been read.
    pub fn caught_up(&self) -> bool {
        let mut awaited = self.positions.iter().filter(|((topic, _), _)| self.topics[*topic].is_awaited);
        awaited.all(|(_, position)| position.next >= position.live_from)
    }

    /// What was written while nothing could be read is to be read before anything is live again.
    ///
    /// # Errors
    /// When a broker does not answer.
    pub fn expect_all(&mut self) -> anyhow::Result<()> {
        for ((topic, partition), position) in &mut self.positions {
            let name = &*self.topics[*topic].name;
            let (_, end) =
                self.consumer.fetch_watermarks(name, *partition, TIMEOUT).context("asking for the log's ends")?;
            position.live_from = position.live_from.max(end);
        }
        Ok(())
    }

    /// Where nothing comes though the log's end is not reached, what is left may be offsets that are never delivered, as a
    /// transaction's marker: a client that is told of a partition's end says so. A broker's silence says nothing. Blocking.
    ///
    /// # Errors
    /// When the client's settings are refused.
    pub fn confirm_ends(&mut self) -> anyhow::Result<()> {
        let is_left = |((topic, _), position): &(&(usize, i32), &mut Position)| {
            self.topics[*topic].is_awaited && position.next < position.live_from
        };
        for ((topic, partition), position) in self.positions.iter_mut().filter(is_left) {
            // One for each: what tells of an end names no topic.
            let consumer: Consumer = create(&self.kafka.consumer(None), Quiet)?;
            let mut assignment = TopicPartitionList::new();
            let name = &*self.topics[*topic].name;
            assignment.add_partition_offset(name, *partition, Offset::Offset(position.next))?;
            consumer.assign(&assignment).context("assigning a partition")?;
            if matches!(consumer.poll(TIMEOUT), Some(Err(KafkaError::PartitionEOF(_)))) {
                position.live_from = position.next;
            }
        }
        Ok(())
    }

    /// What a topic is called in cursors; another one for a topic that was made anew.
    pub fn identity(&self, topic: usize) -> Option<String> {
        let id = self.known_ids[topic]?;
        Some(id.simple().to_string()[..8].to_owned())
    }

    /// The partitions of a topic that are read.
    pub fn begun(&self, topic: usize) -> Vec<Begun> {
        let of_topic = self.positions.iter().filter(|((found, _), _)| *found == topic);
        of_topic.map(|((_, partition), position)| Begun { partition: *partition, first: position.first }).collect()
    }

    pub fn surveyor(&self) -> Surveyor {
        let names = self.topics.iter().map(|topic| topic.name.clone()).collect();
        Surveyor { consumer: self.consumer.clone(), ids: self.ids.clone(), names }
    }

    /// Takes in what there is: begins to read partitions that are new, and topics that were made anew from their look-back.
    /// Gives the topics that are new.
    ///
    /// # Errors
    /// When a broker does not answer.
    pub fn take(&mut self, survey: Survey) -> anyhow::Result<Vec<usize>> {
        let mut found = Vec::new();
        for (index, (id, partitions)) in survey.into_iter().enumerate() {
            if self.known_ids[index].replace(id).is_some_and(|known| known != id) {
                let name = &*self.topics[index].name;
                tracing::warn!(topic = name, "topic {name} was made anew; reading it from its look-back");
                self.positions.retain(|(topic, _), _| *topic != index);
            }
            found.extend(partitions.into_iter().map(|partition| (index, partition)));
        }
        found.retain(|key| !self.positions.contains_key(key));
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let known: Vec<usize> = self.positions.keys().map(|(topic, _)| *topic).collect();
        self.look_back(&found)?;
        self.assign()?;
        Ok((0..self.topics.len()).filter(|topic| !known.contains(topic)).collect())
    }

    /// Partitions whose next offset is no longer in the log go on from the log's start: these are given, by topic. Those whose
    /// next offset is not in it yet start again from their look-back.
    ///
    /// # Errors
    /// When a broker does not answer.
    pub fn reset_out_of_range(&mut self) -> anyhow::Result<Vec<(usize, Begun)>> {
        let (mut deleted, mut beyond) = (Vec::new(), Vec::new());
        for (key, position) in &self.positions {
            let (start, end) = self.consumer.fetch_watermarks(&self.topics[key.0].name, key.1, TIMEOUT)?;
            if position.next < start {
                deleted.push((*key, Position { first: start, next: start, live_from: end }));
            } else if position.next > end {
                beyond.push(*key);
            }
        }
        for (topic, partition) in deleted.iter().map(|(key, _)| key).chain(&beyond) {
            let topic = &*self.topics[*topic].name;
            tracing::warn!(
                topic,
                partition,
                "topic {topic} partition {partition}: where it was read is not in the log"
            );
        }
        self.look_back(&beyond)?;
        self.positions.extend(deleted.iter().copied());
        self.assign()?;
        let begun = |((topic, partition), position): ((usize, i32), Position)| {
            (topic, Begun { partition, first: position.first })
        };
        Ok(deleted.into_iter().map(begun).collect())
    }

    /// Sets the positions of `partitions` to the first of the newest records, or to the log's end.
    fn look_back(&mut self, partitions: &[(usize, i32)]) -> anyhow::Result<()> {
        if partitions.is_empty() {
            return Ok(());
        }
        let now_ms = now_us() / 1000;
        let mut times = TopicPartitionList::new();
        for (topic, partition) in partitions {
            let topic = &self.topics[*topic];
            let from_ms = (now_ms - topic.newest_ms).max(0);
            times.add_partition_offset(&topic.name, *partition, Offset::Offset(from_ms))?;
        }
        let starts = self.consumer.offsets_for_times(times, TIMEOUT).context("asking for offsets by time")?;
        let mut found = Vec::new();
        for key @ (topic, partition) in partitions {
            let name = &*self.topics[*topic].name;
            let start = starts.find_partition(name, *partition).context("an answer without the partition")?;
            start.error()?;
            let (_, end) = self.consumer.fetch_watermarks(name, *partition, TIMEOUT)?;
            let next = match start.offset() {
                Offset::Offset(offset) => offset,
                // No record is that young.
                _ => end,
            };
            found.push((*key, Position { first: next, next, live_from: end }));
        }
        self.positions.extend(found);
        Ok(())
    }

    fn assign(&self) -> anyhow::Result<()> {
        let mut assignment = TopicPartitionList::new();
        for ((topic, partition), position) in &self.positions {
            let topic = &*self.topics[*topic].name;
            assignment.add_partition_offset(topic, *partition, Offset::Offset(position.next))?;
        }
        self.consumer.assign(&assignment).context("assigning partitions")
    }
}
