//! Looks back into the log: from its end backwards in growing pieces, or a range whole, always with both ends known before
//! and until a given time. Must never happen here: a look without a bound, or one that a record can stop.

use std::error::Error;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use pipeline::kafka::{KafkaArgs, create};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, Offset, TopicPartitionList};

/// The first piece of a look backwards has so many offsets, each further one twice as many up to the most.
const FIRST_PIECE: i64 = 1_000;
const LARGEST_PIECE: i64 = 16_000;

/// One look, which may take until a given time in all.
pub struct Log {
    consumer: BaseConsumer<Quiet>,
    until: Instant,
}

/// Coming to the end of the log is reported as an error too, and what lasts ends the look.
struct Quiet;

impl ClientContext for Quiet {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, setting: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        pipeline::kafka::token(setting)
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "kafka: {reason}");
    }
}

impl ConsumerContext for Quiet {}

/// A record that was kept of what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub payload: Vec<u8>,
    /// When the broker wrote it, milliseconds UTC.
    pub broker_ms: i64,
}

impl Log {
    /// # Errors
    /// When the client's settings are refused.
    pub fn open(kafka: &KafkaArgs, patience: Duration) -> anyhow::Result<Self> {
        let mut settings = kafka.consumer(None);
        // A look reads a little of much: what is fetched beyond it is thrown away.
        settings.set("queued.max.messages.kbytes", "1024").set("queued.min.messages", "1000");
        // The broker serves a connection in turn: a question waits for the fetch at the log's end that was asked before it.
        settings.set("fetch.wait.max.ms", "10");
        let consumer = create(&settings, Quiet)?;
        Ok(Self { consumer, until: Instant::now() + patience })
    }

    /// The partitions of a topic, with the offsets that they have now.
    ///
    /// # Errors
    /// When the broker does not say so in time.
    pub fn ranges(&self, topic: &str) -> anyhow::Result<Vec<(i32, Range<i64>)>> {
        let metadata = self.consumer.fetch_metadata(Some(topic), self.left()?).context("asking for the partitions")?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let range = |partition: i32| {
            let ends = self.consumer.fetch_watermarks(topic, partition, self.left()?).context("asking for the ends")?;
            Ok((partition, ends.0..ends.1))
        };
        partitions.map(|partition| range(partition.id())).collect()
    }

    /// The part of `range` whose first record was written at `from_ms` or later and whose last one before `to_ms`.
    ///
    /// # Errors
    /// When the broker does not say so in time.
    pub fn within(
        &self,
        topic: &str,
        partition: i32,
        range: &Range<i64>,
        from_ms: i64,
        to_ms: i64,
    ) -> anyhow::Result<Range<i64>> {
        let offset_at = |at_ms: i64| {
            let mut times = TopicPartitionList::new();
            times.add_partition_offset(topic, partition, Offset::Offset(at_ms))?;
            let offsets = self.consumer.offsets_for_times(times, self.left()?).context("asking for a time's offset")?;
            let found = offsets.elements().first().map(|element| element.offset());
            // Nothing was written since: the end.
            Ok::<i64, anyhow::Error>(match found {
                Some(Offset::Offset(offset)) => offset.clamp(range.start, range.end),
                _ => range.end,
            })
        };
        let (start, end) = (offset_at(from_ms)?, offset_at(to_ms)?);
        Ok(start..end.max(start))
    }

    /// Shows `pick` pieces of `range`, the newest first and each in its own order, until it picks something.
    ///
    /// # Errors
    /// When the broker does not give the records in time, or `pick` fails.
    pub fn newest<T>(
        &self,
        topic: &str,
        partition: i32,
        range: &Range<i64>,
        keep: impl Fn(&[u8]) -> bool,
        mut pick: impl FnMut(Vec<Found>) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<Option<T>> {
        let mut end = range.end;
        let mut length = FIRST_PIECE;
        while end > range.start {
            let start = range.start.max(end - length);
            let found = self.read(topic, partition, &(start..end), &keep)?;
            if let Some(picked) = pick(found)? {
                return Ok(Some(picked));
            }
            (end, length) = (start, LARGEST_PIECE.min(length * 2));
        }
        Ok(None)
    }

    /// Shows `each` all of `range`, in order and in pieces.
    ///
    /// # Errors
    /// When the broker does not give the records in time, or `each` fails.
    pub fn all(
        &self,
        topic: &str,
        partition: i32,
        range: &Range<i64>,
        keep: impl Fn(&[u8]) -> bool,
        mut each: impl FnMut(Vec<Found>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + LARGEST_PIECE);
            each(self.read(topic, partition, &(start..end), &keep)?)?;
            start = end;
        }
        Ok(())
    }

    /// What `keep` wants by its key of the records at these offsets.
    fn read(
        &self,
        topic: &str,
        partition: i32,
        range: &Range<i64>,
        keep: impl Fn(&[u8]) -> bool,
    ) -> anyhow::Result<Vec<Found>> {
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(topic, partition, Offset::Offset(range.start))?;
        self.consumer.assign(&assignment)?;
        let mut found = Vec::new();
        loop {
            match self.consumer.poll(self.left()?.min(Duration::from_millis(100))) {
                None => {}
                Some(Ok(message)) => {
                    if message.offset() < range.end && keep(message.key().unwrap_or_default()) {
                        found.push(Found {
                            payload: message.payload().unwrap_or_default().to_vec(),
                            broker_ms: message.timestamp().to_millis().unwrap_or(0),
                        });
                    }
                    if message.offset() + 1 >= range.end {
                        return Ok(found);
                    }
                }
                // The last offsets of a log may be ones that are never delivered.
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(found),
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => bail!("reading {topic}[{partition}] from {}: {error}", range.start),
            }
        }
    }

    fn left(&self) -> anyhow::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "the log was not read in time");
        Ok(left)
    }
}

/// What the client mends by itself.
fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, LeaderNotAvailable, NotLeaderForPartition};
    let passing = [AllBrokersDown, BrokerTransportFailure, LeaderNotAvailable, NotLeaderForPartition];
    error.rdkafka_error_code().is_some_and(|code| passing.contains(&code))
}
