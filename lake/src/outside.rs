//! The real world: S3, Kafka and Parquet as the chain asks for them. Encoding runs on blocking threads, as many at once as
//! there are processors, so that neither memory nor the poll thread suffers. Must never happen here: a decision, or a retry
//! of a PUT.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use bytes::Bytes;
use pipeline::codec::RecordType;
use pipeline::dead_letter::{DeadLetter, DeadLetters};
use pipeline::decode::Decoder;
use pipeline::lake::{self, Link, LinkRows};
use pipeline::records::Records;
use pipeline::registry::Registry;
use pipeline::store::{Condition, Head, Object, Put, Store};
use pipeline::topic_id::{TopicIdError, TopicIds};
use pipeline::topics;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::bronze::{BronzeWriter, ROWS_AT_A_TIME};
use crate::world::{Bronze, Letter, Place, World};
use crate::{bronze, raw};

pub struct Outside {
    store: Store,
    topic_ids: TopicIds,
    letters: DeadLetters,
    registry: Option<Registry>,
    /// Decoders that wait for work: each remembers the schemas that it met.
    decoders: Mutex<Vec<(RecordType, Decoder)>>,
    processors: Semaphore,
}

impl Outside {
    pub fn new(store: Store, topic_ids: TopicIds, letters: DeadLetters, registry: Option<Registry>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let processors = Semaphore::new(processors);
        Self { store, topic_ids, letters, registry, decoders: Mutex::default(), processors }
    }

    /// Work that keeps a processor busy.
    async fn busy<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let _permit = self.processors.acquire().await.context("the processors are never closed")?;
        tokio::task::spawn_blocking(work).await?
    }

    /// A decoder for `record`, to be given back.
    fn decoder(&self, record: RecordType) -> Decoder {
        let mut idle = self.decoders.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle.iter().position(|(of, _)| *of == record);
        found.map_or_else(|| Decoder::new(record, self.registry.clone()), |index| idle.swap_remove(index).1)
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
                metrics::counter!("tickstream_lake_object_bytes", "layer" => layer).increment(size);
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
        let (link, records) = (*link, records.clone());
        self.busy(move || raw::encode(&link, &records)).await
    }

    async fn read_raw(&self, bytes: Bytes) -> anyhow::Result<(Link, Records)> {
        self.busy(move || raw::decode(bytes)).await
    }

    async fn bronze(&self, place: &Place, _link: &Link, records: &Records) -> anyhow::Result<Bronze> {
        let record = topics::record_type(&place.topic).with_context(|| format!("{} has no table", place.topic))?;
        let mut decoder = self.decoder(record);
        let (partition, records, runtime) = (place.partition, records.clone(), tokio::runtime::Handle::current());
        let work = move || {
            let mut writer = BronzeWriter::new(partition, &decoder.schema())?;
            for from in (0..records.len()).step_by(ROWS_AT_A_TIME) {
                let some = records.slice(from, ROWS_AT_A_TIME.min(records.len() - from));
                // It waits only for a schema registry, and only for an id that is new.
                let decoded = runtime.block_on(decoder.decode(some.values()))?;
                writer.push(&some, decoded)?;
            }
            Ok((writer.finish()?, decoder))
        };
        let (bronze, decoder) = self.busy(work).await?;
        self.decoders.lock().unwrap_or_else(PoisonError::into_inner).push((record, decoder));
        Ok(bronze)
    }

    fn bad(&self, bronze: Bytes) -> anyhow::Result<Vec<Letter>> {
        bronze::bad(bronze)
    }
}

/// A letter with the place it comes from.
pub fn dead_letter(place: &Place, (offset, reason): &Letter) -> DeadLetter {
    DeadLetter { topic: place.topic.to_string(), partition: place.partition, offset: *offset, reason: reason.clone() }
}
