//! What the chain's writer asks of the world, answered for a generation: its objects stand under the generation's own prefix, its
//! log are the plan's stretches, and its topic is the plan's. Must never happen here: a dead letter that is sent anywhere, or a
//! question to the broker whose answer a later moment would change.

use std::collections::HashMap;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use lake::world::{Bronze, Letter, Place, World};
use lake::{Encodings, bronze, raw};
use pipeline::lake::{Link, LinkRows, SPAN};
use pipeline::records::Records;
use pipeline::registry::Registry;
use pipeline::store::{Condition, Head, Object, Put, Store};
use pipeline::topics;
use uuid::Uuid;

pub struct Shelf {
    store: Store,
    cluster_id: String,
    topic_id: Uuid,
    /// First offset and exclusive last one of each partition.
    ranges: HashMap<i32, (i64, i64)>,
    encodings: Encodings,
}

impl Shelf {
    pub fn new(
        store: Store,
        cluster_id: &str,
        topic_id: Uuid,
        ranges: HashMap<i32, (i64, i64)>,
        registry: Option<Registry>,
    ) -> Self {
        Self { store, cluster_id: cluster_id.to_owned(), topic_id, ranges, encodings: Encodings::new(registry) }
    }
}

impl World for Shelf {
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
        Ok(self.store.put(key, bytes, metadata, condition).await?)
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> anyhow::Result<Vec<String>> {
        Ok(self.store.list(prefix, after).await?.into_iter().map(|listed| listed.key).collect())
    }

    async fn cluster_id(&self) -> anyhow::Result<String> {
        Ok(self.cluster_id.clone())
    }

    async fn topic_id(&self, _topic: &str, _partition: i32) -> anyhow::Result<Option<Uuid>> {
        Ok(Some(self.topic_id))
    }

    async fn log_range(&self, topic: &str, partition: i32) -> anyhow::Result<(i64, i64)> {
        let range = self.ranges.get(&partition).copied();
        range.ok_or_else(|| anyhow!("the generation has no partition {partition} of {topic}"))
    }

    async fn dead_letters(&self, _place: &Place, _records: &Records, _letters: &[Letter]) -> anyhow::Result<()> {
        Ok(())
    }

    fn version(&self) -> u32 {
        bronze::VERSION
    }

    fn span(&self) -> i64 {
        SPAN
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
