//! What every subcommand asks a cluster: which topics there are, and where their partitions begin and end. No group is
//! joined and nothing is committed, so that asking never disturbs a consumer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pipeline::kafka::{KafkaArgs, ask_leader, create};
use pipeline::misconfigured;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};

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

    /// # Errors
    /// [`pipeline::Misconfigured`] when no broker answers.
    pub async fn metadata(&self) -> anyhow::Result<Metadata> {
        let this = self.clone();
        let metadata = tokio::task::spawn_blocking(move || {
            let metadata = this.consumer.fetch_metadata(None, TIMEOUT).map_err(|error| {
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

    pub async fn ends(&self, topic: &str, partition: i32) -> anyhow::Result<Ends> {
        let (this, name) = (self.clone(), topic.to_owned());
        tokio::task::spawn_blocking(move || {
            let (start, end) = ask_leader(TIMEOUT, || this.consumer.fetch_watermarks(&name, partition, TIMEOUT))
                .with_context(|| format!("reading the ends of {name}[{partition}]"))?;
            Ok(Ends { start, end })
        })
        .await?
    }
}
