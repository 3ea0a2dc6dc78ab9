//! What an accepted hole asks of Kafka besides: when the first record was written that the log still holds, and that the gap
//! event gets to market.gaps.v1. Clients are made for one question: a lake has few holes. Must never happen here: an event
//! taken for published before the broker said so.

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

/// Broker time of the first record in the log, milliseconds UTC; the present where it delivers none.
///
/// # Errors
/// When the broker does not answer in time.
pub(crate) async fn first_time_ms(kafka: &KafkaArgs, topic: &str, partition: i32) -> anyhow::Result<i64> {
    let consumer: BaseConsumer = create(&kafka.consumer(None), DefaultConsumerContext)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Beginning)?;
    consumer.assign(&list)?;
    let name = format!("{topic}[{partition}]");
    tokio::task::spawn_blocking(move || {
        let (since, mut trouble) = (Instant::now(), None);
        while since.elapsed() < PATIENCE {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => return Ok(message.timestamp().to_millis().unwrap_or(0)),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(Timestamp::now().as_millisecond()),
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
