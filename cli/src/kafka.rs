//! What every subcommand asks a cluster: which topics there are, and where their partitions begin and end. No group is
//! joined and nothing is committed, so that asking never disturbs a consumer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pipeline::kafka::{KafkaArgs, Reader, ReaderContext, ask_leader, create, renew};
use pipeline::misconfigured;
use pipeline::stretches::Stretch;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::{Offset, TopicPartitionList};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A topic as the cluster's metadata tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Ascending.
    pub partitions: Vec<i32>,
    /// Every partition has a leader.
    pub led: bool,
}

#[derive(Clone, Debug)]
pub struct Metadata {
    pub brokers: usize,
    pub topics: BTreeMap<String, Found>,
}

/// First offset of the log, and the last stable one: what a read-committed consumer can reach, exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub start: i64,
    pub end: i64,
}

/// A client that asks. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    consumer: Arc<BaseConsumer>,
    servers: String,
}

impl Cluster {
    pub fn new(args: &KafkaArgs) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = create(&args.consumer(None), DefaultConsumerContext)?;
        Ok(Self { consumer: Arc::new(consumer), servers: args.kafka_bootstrap_servers.clone() })
    }

    /// Nobody polls it, so that it would never ask for the next token by itself.
    fn renewed(&self) -> &BaseConsumer {
        renew(&*self.consumer);
        &self.consumer
    }

    /// # Errors
    /// [`pipeline::Misconfigured`] when no broker answers.
    pub async fn metadata(&self) -> anyhow::Result<Metadata> {
        let this = self.clone();
        let metadata = tokio::task::spawn_blocking(move || {
            let metadata = this.renewed().fetch_metadata(None, TIMEOUT).map_err(|error| {
                misconfigured(format!(
                    "no Kafka broker answers at {}, set by --kafka-bootstrap-servers (KAFKA_BOOTSTRAP_SERVERS): {error}",
                    this.servers
                ))
            })?;
            let found = |topic: &rdkafka::metadata::MetadataTopic| {
                let mut partitions: Vec<i32> = topic.partitions().iter().map(|partition| partition.id()).collect();
                partitions.sort_unstable();
                let led = topic.partitions().iter().all(|partition| partition.leader() >= 0);
                (topic.name().to_owned(), Found { partitions, led })
            };
            let topics = metadata.topics().iter().filter(|topic| !topic.partitions().is_empty()).map(found).collect();
            anyhow::Ok(Metadata { brokers: metadata.brokers().len(), topics })
        });
        metadata.await?
    }

    /// The first offset of a partition whose record the broker took at or after a time; its end where there is none.
    pub async fn offset_at(&self, topic: &str, partition: i32, time_ms: i64) -> anyhow::Result<i64> {
        let (this, name) = (self.clone(), topic.to_owned());
        let found = tokio::task::spawn_blocking(move || {
            let mut times = TopicPartitionList::with_capacity(1);
            times.add_partition_offset(&name, partition, Offset::Offset(time_ms))?;
            let found = ask_leader(TIMEOUT, || this.renewed().offsets_for_times(times.clone(), TIMEOUT))
                .with_context(|| format!("looking for a time in {name}[{partition}]"))?;
            anyhow::Ok(found.find_partition(&name, partition).and_then(|element| element.offset().to_raw()))
        })
        .await??;
        match found.filter(|offset| *offset >= 0) {
            Some(offset) => Ok(offset),
            None => Ok(self.ends(topic, partition).await?.end),
        }
    }

    pub async fn ends(&self, topic: &str, partition: i32) -> anyhow::Result<Ends> {
        let (this, name) = (self.clone(), topic.to_owned());
        tokio::task::spawn_blocking(move || {
            let (start, end) = ask_leader(TIMEOUT, || this.renewed().fetch_watermarks(&name, partition, TIMEOUT))
                .with_context(|| format!("reading the ends of {name}[{partition}]"))?;
            Ok(Ends { start, end })
        })
        .await?
    }
}

/// All of a topic to its high watermarks, not to where committed records end: what is open may be committed yet.
pub async fn whole_log(kafka: &KafkaArgs, topic: &'static str, partitions: &[i32]) -> anyhow::Result<Vec<Stretch>> {
    let mut settings = kafka.admin();
    settings.set("isolation.level", "read_uncommitted").set("group.id", "tickstream-unused");
    let partitions = partitions.to_vec();
    tokio::task::spawn_blocking(move || {
        let client: Reader = create(&settings, ReaderContext)?;
        let ends = partitions.into_iter().map(|partition| {
            let (start, end) = ask_leader(TIMEOUT, || client.fetch_watermarks(topic, partition, TIMEOUT))
                .with_context(|| format!("reading the ends of {topic}[{partition}]"))?;
            Ok(Stretch { partition, start, end })
        });
        ends.collect()
    })
    .await?
}
