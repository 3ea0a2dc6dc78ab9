//! Reads a stretch of one topic: partitions assigned without a group, from the first record at or after a time to the first at or
//! after another, and no further than a deadline. Blocking: give it a thread. Must never happen here: a commit, or a read
//! without an end.

use std::time::{Duration, Instant};

use anyhow::Context;
use pipeline::headers::ClientHeaders;
use pipeline::kafka::{KafkaArgs, create};
use pipeline::records::{Record, RecordBuffer, Records};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::positions::{Consumer, Quiet};

const TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);
const BATCH_RECORDS: usize = 8192;
const BATCH_BYTES: usize = 2 * 1024 * 1024;

pub struct Reader {
    consumer: Consumer,
}

/// Offsets of one partition, `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub partition: i32,
    pub start: i64,
    pub end: i64,
}

/// Whether all of it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Whole,
    /// The deadline came first, or the reader had enough.
    Part,
}

impl Reader {
    /// # Errors
    /// When the client's settings are refused.
    pub fn new(kafka: &KafkaArgs) -> anyhow::Result<Self> {
        Ok(Self { consumer: create(&kafka.consumer(None), Quiet)? })
    }

    /// # Errors
    /// When no broker answers, or the topic is not there.
    pub fn partitions(&self, topic: &str) -> anyhow::Result<Vec<i32>> {
        let metadata = self.consumer.fetch_metadata(Some(topic), TIMEOUT).context("no broker answers")?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let partitions: Vec<i32> = found.into_iter().flat_map(|found| found.partitions()).map(|p| p.id()).collect();
        anyhow::ensure!(!partitions.is_empty(), "topic {topic} is not there");
        Ok(partitions)
    }

    /// The first offset and the one after the last.
    ///
    /// # Errors
    /// When no broker answers.
    pub fn ends(&self, topic: &str, partition: i32) -> anyhow::Result<(i64, i64)> {
        self.consumer.fetch_watermarks(topic, partition, TIMEOUT).context("asking for the log's ends")
    }

    /// In each partition the offset of the first record at or after a time (broker time, milliseconds); the log's end where
    /// there is none.
    ///
    /// # Errors
    /// When no broker answers.
    pub fn offsets_at(&self, topic: &str, partitions: &[i32], time_ms: i64) -> anyhow::Result<Vec<i64>> {
        let mut times = TopicPartitionList::new();
        for partition in partitions {
            times.add_partition_offset(topic, *partition, Offset::Offset(time_ms.max(0)))?;
        }
        let found = self.consumer.offsets_for_times(times, TIMEOUT).context("asking for offsets by time")?;
        let offset = |partition: &i32| {
            let found = found.find_partition(topic, *partition).context("an answer without the partition")?;
            found.error()?;
            match found.offset() {
                Offset::Offset(offset) => Ok(offset),
                _ => self.ends(topic, *partition).map(|(_, end)| end),
            }
        };
        partitions.iter().map(offset).collect()
    }

    /// Hands over the records of the stretches in batches, each of one partition and in its order, until `deadline` or until
    /// `take` says no.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read(
        &self,
        topic: &str,
        stretches: &[Stretch],
        deadline: Instant,
        mut take: impl FnMut(i32, &Records) -> anyhow::Result<bool>,
    ) -> anyhow::Result<Read> {
        let mut assignment = TopicPartitionList::new();
        let mut open: Vec<(Stretch, RecordBuffer)> = Vec::new();
        for stretch in stretches.iter().filter(|stretch| stretch.start < stretch.end) {
            assignment.add_partition_offset(topic, stretch.partition, Offset::Offset(stretch.start))?;
            open.push((*stretch, RecordBuffer::new()));
        }
        if open.is_empty() {
            return Ok(Read::Whole);
        }
        self.consumer.assign(&assignment).context("assigning partitions")?;
        let read = self.read_assigned(&mut open, deadline, &mut take);
        self.consumer.unassign().context("leaving partitions")?;
        read
    }

    fn read_assigned(
        &self,
        open: &mut Vec<(Stretch, RecordBuffer)>,
        deadline: Instant,
        take: &mut impl FnMut(i32, &Records) -> anyhow::Result<bool>,
    ) -> anyhow::Result<Read> {
        while !open.is_empty() {
            if Instant::now() >= deadline {
                return Ok(Read::Part);
            }
            let (partition, is_end) = match self.consumer.poll(POLL) {
                None => continue,
                Some(Ok(message)) => {
                    let Some((stretch, buffer)) = open.iter_mut().find(|(s, _)| s.partition == message.partition())
                    else {
                        continue;
                    };
                    if message.offset() < stretch.end {
                        let timestamp_ms = message.timestamp().to_millis().unwrap_or(0);
                        let offset = message.offset();
                        let record = Record { offset, timestamp_ms, key: None, value: message.payload() };
                        buffer.push(record, ClientHeaders::None);
                    }
                    (stretch.partition, message.offset() + 1 >= stretch.end)
                }
                // What is left are offsets that are never delivered.
                Some(Err(KafkaError::PartitionEOF(partition))) => (partition, true),
                Some(Err(error)) => return Err(error).context("reading the log"),
            };
            let Some(at) = open.iter().position(|(stretch, _)| stretch.partition == partition) else { continue };
            let buffer = &mut open[at].1;
            let is_full = buffer.len() >= BATCH_RECORDS || buffer.bytes() >= BATCH_BYTES;
            if (is_end || is_full) && !buffer.is_empty() && !take(partition, &buffer.finish())? {
                return Ok(Read::Part);
            }
            if is_end {
                open.swap_remove(at);
            }
        }
        Ok(Read::Whole)
    }

    /// The broker time of the record at an offset, milliseconds; nothing where there is none.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn time_at(&self, topic: &str, partition: i32, offset: i64, end: i64) -> anyhow::Result<Option<i64>> {
        let mut found = None;
        let stretch = Stretch { partition, start: offset, end: end.min(offset + 1) };
        self.read(topic, &[stretch], Instant::now() + TIMEOUT, |_, records| {
            found = (!records.is_empty()).then(|| records.timestamps_ms().value(0));
            Ok(false)
        })?;
        Ok(found)
    }
}
