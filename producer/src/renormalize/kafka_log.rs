//! Reads a topic from a time to where it ends now: by assignment, without a group, so nothing is committed and no consumer
//! is disturbed. Must never happen here: a topic that is read in part and taken for whole.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use pipeline::kafka::{KafkaArgs, create};
use pipeline::misconfigured;
use pipeline::records::Records;
use pipeline::stretches::{self, Stretch};
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::{Offset, TopicPartitionList};

const TIMEOUT: Duration = Duration::from_secs(10);

pub struct Log {
    kafka: KafkaArgs,
    client: Arc<BaseConsumer>,
}

impl Log {
    /// # Errors
    /// [`pipeline::Misconfigured`] when no broker answers.
    pub async fn connect(kafka: &KafkaArgs) -> anyhow::Result<Self> {
        let client: Arc<BaseConsumer> = Arc::new(create(&kafka.consumer(None), DefaultConsumerContext)?);
        let (asking, servers) = (client.clone(), kafka.kafka_bootstrap_servers.clone());
        let asked = tokio::task::spawn_blocking(move || asking.fetch_metadata(None, TIMEOUT).map(drop));
        asked.await?.map_err(|error| {
            misconfigured(format!(
                "no Kafka broker answers at {servers}, set by --kafka-bootstrap-servers (KAFKA_BOOTSTRAP_SERVERS): {error}; \
                 start the broker or name another"
            ))
        })?;
        Ok(Self { kafka: kafka.clone(), client })
    }

    /// Where the records since `from` (micros UTC, the broker's time) lie.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] when there is no such topic.
    pub async fn since(&self, topic: &'static str, from: i64) -> anyhow::Result<Vec<Stretch>> {
        let client = self.client.clone();
        let asked = tokio::task::spawn_blocking(move || since(&client, topic, from.max(0) / 1_000));
        asked.await?.with_context(|| format!("asking where {topic} begins and ends"))
    }

    /// Gives all records of the stretches to `take` with where they stand, those of a partition in order.
    ///
    /// # Errors
    /// When they cannot be read to their end.
    pub async fn read(
        &self,
        topic: &'static str,
        stretches: &[Stretch],
        take: impl AsyncFnMut(i32, Records) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        stretches::read(&self.kafka, topic, stretches, "begin later, or use --lake", take).await
    }
}

fn since(client: &BaseConsumer, topic: &str, from_ms: i64) -> anyhow::Result<Vec<Stretch>> {
    let metadata = client.fetch_metadata(None, TIMEOUT)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic && !found.partitions().is_empty());
    let found =
        found.ok_or_else(|| misconfigured(format!("the topic {topic} is not there; run `tickstream topics apply`")))?;
    let mut times = TopicPartitionList::new();
    for partition in found.partitions() {
        times.add_partition_offset(topic, partition.id(), Offset::Offset(from_ms))?;
    }
    let offsets = client.offsets_for_times(times, TIMEOUT)?;
    let mut stretches = Vec::new();
    for partition in found.partitions() {
        let (low, high) = client.fetch_watermarks(topic, partition.id(), TIMEOUT)?;
        let since = offsets.find_partition(topic, partition.id()).map(|element| element.offset());
        let start = match since {
            Some(Offset::Offset(offset)) => offset.max(low),
            // Nothing is as late as that.
            Some(Offset::End) => high,
            other => bail!("the broker does not say where partition {} was then: {other:?}", partition.id()),
        };
        stretches.push(Stretch { partition: partition.id(), start, end: high });
    }
    Ok(stretches)
}
