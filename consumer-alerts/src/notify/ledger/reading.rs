//! Reads a topic from where it was read before to its end, and looks up offsets by time. Blocking: on a thread for that.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use jiff::Timestamp;
use pipeline::kafka::{KafkaArgs, Reader, ReaderContext, create};
use pipeline::misconfigured;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use super::Entry;

const TIMEOUT: Duration = Duration::from_secs(10);
/// A broker that gives nothing for so long is away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a topic was not read.
#[derive(Debug)]
pub enum ReadError {
    Outage(anyhow::Error),
    /// It does not exist.
    Missing(anyhow::Error),
}

pub struct Reading {
    pub kafka: KafkaArgs,
    pub topic: String,
    /// What a key begins with that concerns us.
    pub prefix: String,
    pub positions: Vec<i64>,
}

pub struct Read {
    pub positions: Vec<i64>,
    pub entries: Vec<(Uuid, Option<Entry>)>,
}

impl Reading {
    pub fn read(mut self) -> Result<Read, ReadError> {
        let consumer: Reader = create(&self.kafka.consumer(None), ReaderContext).map_err(ReadError::Outage)?;
        let assigned = self.assign(&consumer)?;
        let (mut ended, mut entries) = (HashSet::new(), Vec::new());
        let mut heard = Instant::now();
        while ended.len() < assigned {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let partition = usize::try_from(message.partition()).unwrap_or_default();
                    if let Some(position) = self.positions.get_mut(partition) {
                        *position = message.offset() + 1;
                    }
                    entries.extend(self.entry(message.key(), message.payload()));
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard = Instant::now();
                    ended.insert(partition);
                }
                Some(Err(error)) if heard.elapsed() > PATIENCE => {
                    return Err(ReadError::Outage(anyhow!("cannot read {} to its end: {error}", self.topic)));
                }
                None if heard.elapsed() > PATIENCE => {
                    return Err(ReadError::Outage(anyhow!(
                        "cannot read {} to its end: no record for {PATIENCE:?}",
                        self.topic
                    )));
                }
                Some(Err(_)) | None => {}
            }
        }
        Ok(Read { positions: self.positions, entries })
    }

    /// Assigns every partition from where it was read before. Gives how many.
    fn assign(&mut self, consumer: &Reader) -> Result<usize, ReadError> {
        let metadata = consumer
            .fetch_metadata(Some(&self.topic), TIMEOUT)
            .with_context(|| format!("cannot ask about {}", self.topic))
            .map_err(ReadError::Outage)?;
        let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        if partitions == 0 {
            return Err(ReadError::Missing(misconfigured(format!(
                "topic {} does not exist; `tickstream topics apply` creates the declared topics",
                self.topic
            ))));
        }
        self.positions.resize(partitions, 0);
        let mut list = TopicPartitionList::new();
        for (partition, position) in (0..).zip(&mut self.positions) {
            let (low, high) = consumer
                .fetch_watermarks(&self.topic, partition, TIMEOUT)
                .with_context(|| format!("cannot ask where {} ends", self.topic))
                .map_err(ReadError::Outage)?;
            // One that ends before what was read was made again.
            *position = if *position > high { low } else { (*position).max(low) };
            let added = list.add_partition_offset(&self.topic, partition, Offset::Offset(*position));
            added.map_err(|error| ReadError::Outage(error.into()))?;
        }
        consumer.assign(&list).map_err(|error| ReadError::Outage(error.into()))?;
        Ok(partitions)
    }

    /// The entry of a record that concerns us. What cannot be read is nobody's delivery.
    fn entry(&self, key: Option<&[u8]>, value: Option<&[u8]>) -> Option<(Uuid, Option<Entry>)> {
        let alert = std::str::from_utf8(key?).ok()?.strip_prefix(&self.prefix)?.parse().ok()?;
        let Some(value) = value else { return Some((alert, None)) };
        match serde_json::from_slice(value) {
            Ok(entry) => Some((alert, Some(entry))),
            Err(error) => {
                tracing::warn!(topic = self.topic, %alert, %error, "a record of {} cannot be read: {error}", self.topic);
                None
            }
        }
    }
}

/// The offset of the first record of a partition at or after `at`, in broker time; `None` when all are older.
///
/// # Errors
/// When the broker does not answer.
pub fn first_at(kafka: &KafkaArgs, topic: &str, partition: i32, at: Timestamp) -> anyhow::Result<Option<i64>> {
    let consumer: Reader = create(&kafka.consumer(None), ReaderContext)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(at.as_millisecond()))?;
    let found =
        consumer.offsets_for_times(list, TIMEOUT).with_context(|| format!("cannot look for a time in {topic}"))?;
    let element = found.find_partition(topic, partition).context("the broker did not answer for the partition")?;
    element.error().with_context(|| format!("cannot look for a time in {topic}"))?;
    Ok(match element.offset() {
        Offset::Offset(offset) => Some(offset),
        Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Args {
        #[command(flatten)]
        kafka: KafkaArgs,
    }

    #[test]
    fn a_record_of_another_channel_or_of_nobody_is_passed_over() {
        let kafka = Args::parse_from(["test"]).kafka;
        let reading = Reading { kafka, topic: "t".to_owned(), prefix: "ops/".to_owned(), positions: Vec::new() };
        let id = Uuid::from_u128(7);
        let key = format!("ops/{id}");
        let good = br#"{"at":"2026-03-02T12:03:05Z","status":"delivered","attempts":2}"#;
        let entry = reading.entry(Some(key.as_bytes()), Some(good)).expect("an entry");
        assert_eq!((entry.0, entry.1.expect("a value").attempts), (id, 2));
        assert_eq!(reading.entry(Some(key.as_bytes()), None), Some((id, None)), "taken out");
        for (key, value) in [
            (format!("ops2/{id}"), &good[..]),
            ("ops/not-an-id".to_owned(), &good[..]),
            (key, b"garbage"),
            (String::new(), b""),
        ] {
            assert_eq!(reading.entry(Some(key.as_bytes()), Some(value)), None, "{key}");
        }
        assert_eq!(reading.entry(None, Some(good)), None);
    }
}
