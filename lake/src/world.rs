//! What the chain asks of the world: an object store, a broker, and the two encodings. The service answers with S3, Kafka
//! and Parquet; the model test with a simulated world that crashes, loses answers and delivers them late. Invariant: each
//! method is one request, so that nothing can happen unseen between two of them. Must never happen here: a decision.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use pipeline::events::Gap;
use pipeline::lake::{Link, LinkRows};
use pipeline::store::{Condition, Head, Object, Put};
use uuid::Uuid;

/// One chain of raw objects: a partition of one epoch.
#[derive(Clone, Debug)]
pub struct Place {
    pub topic: Arc<str>,
    pub partition: i32,
    pub epoch: u32,
    pub topic_id: Uuid,
    /// Where decoded records go; `None` for a topic whose records stay raw.
    pub table: Option<&'static str>,
}

/// A record that does not decode: its offset, and why.
pub type Letter = (i64, String);

/// The decoding of one raw object.
#[derive(Clone, Debug)]
pub struct Bronze {
    pub bytes: Bytes,
    pub rows: usize,
    /// The records that are left out, ascending. They stand in the object's footer too.
    pub bad: Vec<Letter>,
}

pub trait World: Send + Sync + 'static {
    /// The default is no record.
    type Records: Clone + Default + Send + Sync + 'static;

    // The store. An error of `put` says nothing about whether the object is there, now or later.
    fn head(&self, key: &str) -> impl Future<Output = anyhow::Result<Option<Head>>> + Send;
    fn get(&self, key: &str) -> impl Future<Output = anyhow::Result<Option<Object>>> + Send;
    fn put(
        &self,
        key: &str,
        bytes: Bytes,
        metadata: HashMap<String, String>,
        condition: Condition<'_>,
    ) -> impl Future<Output = anyhow::Result<Put>> + Send;
    /// Some of the keys under `prefix` greater than `after`, in order; none only when there is no further one.
    fn list(&self, prefix: &str, after: Option<&str>) -> impl Future<Output = anyhow::Result<Vec<String>>> + Send;

    // The broker.
    fn cluster_id(&self) -> impl Future<Output = anyhow::Result<String>> + Send;
    /// The topic's id as the partition's leader knows it now; `None` when there is no such topic any more.
    fn topic_id(&self, topic: &str, partition: i32) -> impl Future<Output = anyhow::Result<Option<Uuid>>> + Send;
    /// The first offset of the log, and one that nothing in it has reached yet, read now.
    fn log_range(&self, topic: &str, partition: i32) -> impl Future<Output = anyhow::Result<(i64, i64)>> + Send;
    /// Sends records to the dead-letter topic; done when the broker has them.
    fn dead_letters(
        &self,
        place: &Place,
        records: &Self::Records,
        letters: &[Letter],
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    // The encodings. The same input gives the same bytes, whoever asks.
    /// The decoder's version: a bronze object of a lower one is made again.
    fn version(&self) -> u32;
    /// The most offsets that an object spans.
    fn span(&self) -> i64;
    fn rows(&self, records: &Self::Records) -> Option<LinkRows>;
    fn raw(&self, link: &Link, records: &Self::Records) -> impl Future<Output = anyhow::Result<Bytes>> + Send;
    /// A raw object's records, and what its footer says of it.
    fn read_raw(&self, bytes: Bytes) -> impl Future<Output = anyhow::Result<(Link, Self::Records)>> + Send;
    fn bronze(
        &self,
        place: &Place,
        link: &Link,
        records: &Self::Records,
    ) -> impl Future<Output = anyhow::Result<Bronze>> + Send;
    /// [`Bronze::bad`] from a stored bronze object.
    fn bad(&self, bronze: Bytes) -> anyhow::Result<Vec<Letter>>;
}

/// What the commands of [`crate::chain::operator`] ask of the broker besides.
pub trait OperatorWorld: World {
    /// Broker time of the first record in the log that was written at `since_ms` or later, milliseconds UTC; the present where
    /// there is none, or no such partition.
    fn first_time_ms(
        &self,
        topic: &str,
        partition: i32,
        since_ms: i64,
    ) -> impl Future<Output = anyhow::Result<i64>> + Send;
    /// Publishes a gap event; done when the broker has it.
    fn gap(&self, gap: &Gap) -> impl Future<Output = anyhow::Result<()>> + Send;
}
