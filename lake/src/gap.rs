//! What a known loss asks of Kafka: when the first record behind it was written, and that the gap event gets to
//! market.gaps.v1. Clients are made for one question: a lake has few holes. Must never happen here: an event taken for
//! published before the broker said so.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jiff::Timestamp;
use pipeline::codec::{Encoder, Framing};
use pipeline::events::Gap;
use pipeline::kafka::{KafkaArgs, create};
use pipeline::registry::Registry;
use pipeline::topics;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(30);

/// Broker time of the first record in the log that was written at `since_ms` or later, milliseconds UTC; the present where
/// none is delivered, or there is no such partition.
///
/// # Errors
/// When the broker does not answer in time.
pub(crate) async fn first_time_ms(
    kafka: &KafkaArgs,
    topic: &str,
    partition: i32,
    since_ms: i64,
) -> anyhow::Result<i64> {
    let consumer: BaseConsumer = create(&kafka.consumer(None), DefaultConsumerContext)?;
    let (topic, name) = (topic.to_owned(), format!("{topic}[{partition}]"));
    tokio::task::spawn_blocking(move || -> anyhow::Result<i64> {
        let now = || Timestamp::now().as_millisecond();
        let metadata = consumer.fetch_metadata(Some(topic.as_str()), PATIENCE)?;
        let mut partitions = metadata.topics().iter().flat_map(|found| found.partitions());
        if !partitions.any(|found| found.id() == partition) {
            return Ok(now());
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, partition, Offset::Offset(since_ms.max(0)))?;
        let found = consumer.offsets_for_times(list, PATIENCE)?;
        let offset = found.find_partition(&topic, partition).map(|element| element.offset());
        let Some(Offset::Offset(offset)) = offset else { return Ok(now()) };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, partition, Offset::Offset(offset))?;
        consumer.assign(&list)?;
        let (since, mut trouble) = (Instant::now(), None);
        while since.elapsed() < PATIENCE {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => return Ok(message.timestamp().to_millis().unwrap_or(0)),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(now()),
                Some(Err(error)) => trouble = Some(error),
                None => {}
            }
        }
        match trouble {
            Some(error) => Err(error).with_context(|| format!("reading the first record of {name}")),
            None => bail!("the first record of {name} did not come within {PATIENCE:?}"),
        }
    })
    .await?
}

/// Publishes `gap`, keyed by its source.
///
/// # Errors
/// When the broker, or the schema registry, does not take it.
pub(crate) async fn publish(kafka: &KafkaArgs, registry: Option<Registry>, gap: &Gap) -> anyhow::Result<()> {
    let encoder = Encoder::new(registry.map_or(Framing::SingleObject, Framing::Registry)).await?;
    let value = encoder.gap(gap);
    let mut settings = kafka.producer();
    settings.set("message.timeout.ms", PATIENCE.as_millis().to_string());
    let producer: FutureProducer = create(&settings, DefaultClientContext)?;
    let record = FutureRecord::<str, [u8]>::to(topics::GAPS).key(&gap.source).payload(&value);
    let sent = producer.send(record, PATIENCE).await;
    sent.map(drop)
        .map_err(|(error, _)| anyhow::Error::from(error).context(format!("publishing a gap event to {}", topics::GAPS)))
}
