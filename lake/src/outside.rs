//! The real world: S3, Kafka and Parquet as the chain asks for them. Must never happen here: a decision, or a retry of a PUT.

use std::collections::HashMap;

use anyhow::Context;
use bytes::Bytes;
use pipeline::dead_letter::{DeadLetter, DeadLetters};
use pipeline::events::Gap;
use pipeline::kafka::KafkaArgs;
use pipeline::lake::{self, Link, LinkRows};
use pipeline::records::Records;
use pipeline::registry::Registry;
use pipeline::store::{Condition, Head, Object, Put, Store};
use pipeline::topic_id::{TopicIdError, TopicIds};
use pipeline::topics;
use uuid::Uuid;

use crate::encodings::Encodings;
use crate::raw::Compression;
use crate::world::{Bronze, Letter, OperatorWorld, Place, World};
use crate::{bronze, gap, raw};

pub struct Outside {
    store: Store,
    kafka: KafkaArgs,
    registry: Option<Registry>,
    topic_ids: TopicIds,
    letters: DeadLetters,
    encodings: Encodings,
}

impl Outside {
    /// Dead letters are sent in the name of `group`.
    ///
    /// # Errors
    /// When Kafka's settings are refused.
    pub fn new(store: Store, kafka: &KafkaArgs, group: &str, registry: Option<Registry>) -> anyhow::Result<Self> {
        Ok(Self {
            store,
            kafka: kafka.clone(),
            registry: registry.clone(),
            topic_ids: TopicIds::new(kafka)?,
            letters: DeadLetters::new(kafka, group)?,
            encodings: Encodings::new(registry),
        })
    }

    /// The same with another compression of what is written.
    #[must_use]
    pub fn compressed(self, compression: Compression) -> Self {
        Self { encodings: self.encodings.compressed(compression), ..self }
    }
}

impl World for Outside {
    type Records = Records;

    async fn head(&self, key: &str) -> anyhow::Result<Option<Head>> {
        Ok(self.store.head(key).await?)
    }

    async fn get(&self, key: &str) -> anyhow::Result<Option<Object>> {
        Ok(self.store.get(key).await?)
    }

    async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        metadata: HashMap<String, String>,
        condition: Condition<'_>,
    ) -> anyhow::Result<Put> {
        let size = bytes.len() as u64;
        let answer = self.store.put(key, bytes, metadata, condition).await;
        let layer = key.split('/').next().unwrap_or_default().to_owned();
        match &answer {
            Ok(Put::Done { .. }) => {
                metrics::counter!("tickstream_lake_objects_total", "layer" => layer.clone()).increment(1);
                metrics::counter!("tickstream_lake_object_bytes_total", "layer" => layer).increment(size);
            }
            Ok(Put::Exists | Put::Racing) => {
                metrics::counter!("tickstream_lake_conflicts_total", "layer" => layer).increment(1)
            }
            Err(_) => metrics::counter!("tickstream_lake_unanswered_puts_total", "layer" => layer).increment(1),
        }
        Ok(answer?)
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> anyhow::Result<Vec<String>> {
        Ok(self.store.list(prefix, after).await?.into_iter().map(|listed| listed.key).collect())
    }

    async fn cluster_id(&self) -> anyhow::Result<String> {
        self.topic_ids.cluster_id().await
    }

    async fn topic_id(&self, topic: &str, partition: i32) -> anyhow::Result<Option<Uuid>> {
        match self.topic_ids.topic_id(topic, partition).await {
            Ok(id) => Ok(Some(id)),
            Err(TopicIdError::UnknownTopic(_)) => Ok(None),
            Err(error @ TopicIdError::Outage { .. }) => Err(error.into()),
        }
    }

    async fn log_range(&self, topic: &str, partition: i32) -> anyhow::Result<(i64, i64)> {
        self.topic_ids.log_range(topic, partition).await
    }

    async fn dead_letters(&self, place: &Place, records: &Records, letters: &[Letter]) -> anyhow::Result<()> {
        let named: Vec<DeadLetter> = letters.iter().map(|letter| dead_letter(place, letter)).collect();
        self.letters.send(records, Some(place.topic_id), &named.iter().collect::<Vec<_>>()).await?;
        let (topic, partition, count) = (&*place.topic, place.partition, letters.len());
        tracing::warn!(
            topic,
            partition,
            count,
            "{count} dead letters of {topic}[{partition}], found in the lake, sent"
        );
        metrics::counter!("tickstream_consumer_dead_letters_total").increment(count as u64);
        Ok(())
    }

    fn version(&self) -> u32 {
        bronze::VERSION
    }

    fn span(&self) -> i64 {
        lake::SPAN
    }

    fn rows(&self, records: &Records) -> Option<LinkRows> {
        raw::rows(records)
    }

    async fn raw(&self, link: &Link, records: &Records) -> anyhow::Result<Bytes> {
        self.encodings.raw(link, records).await
    }

    async fn read_raw(&self, bytes: Bytes) -> anyhow::Result<(Link, Records)> {
        self.encodings.read_raw(bytes).await
    }

    async fn bronze(&self, place: &Place, _link: &Link, records: &Records) -> anyhow::Result<Bronze> {
        let record = topics::record_type(&place.topic).with_context(|| format!("{} has no table", place.topic))?;
        self.encodings.bronze_of(record, place.partition, records).await
    }

    fn bad(&self, bronze: Bytes) -> anyhow::Result<Vec<Letter>> {
        bronze::bad(bronze)
    }
}

impl OperatorWorld for Outside {
    async fn first_time_ms(&self, topic: &str, partition: i32, since_ms: i64) -> anyhow::Result<i64> {
        gap::first_time_ms(&self.kafka, topic, partition, since_ms).await
    }

    async fn gap(&self, gap: &Gap) -> anyhow::Result<()> {
        gap::publish(&self.kafka, self.registry.clone(), gap).await
    }
}

/// A letter with the place it comes from.
pub fn dead_letter(place: &Place, (offset, reason): &Letter) -> DeadLetter {
    DeadLetter { topic: place.topic.to_string(), partition: place.partition, offset: *offset, reason: reason.clone() }
}
