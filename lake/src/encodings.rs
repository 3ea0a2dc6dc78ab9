//! Raw and bronze objects made and read on blocking threads, as many at once as there are processors, so that neither memory
//! nor a poll thread suffers. One room for whoever makes a bronze object: the chain's writer, a rebuild, an audit that makes
//! it again to compare. Invariant: what is made is a function of the records and of [`crate::bronze::VERSION`]. Must never
//! happen here: I/O, other than asking a schema registry about an id that was not met before.

use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use arrow::array::RecordBatch;
use bytes::Bytes;
use pipeline::codec::RecordType;
use pipeline::decode::Decoder;
use pipeline::lake::Link;
use pipeline::records::Records;
use pipeline::registry::Registry;
use tokio::sync::Semaphore;

use crate::bronze::{self, BronzeWriter, ROWS_AT_A_TIME, Stored};
use crate::raw::{self, Compression};
use crate::world::{Bronze, Letter};

pub struct Encodings {
    registry: Option<Registry>,
    compression: Compression,
    /// Decoders that wait for work: each remembers the schemas that it met.
    decoders: Mutex<Vec<(RecordType, Decoder)>>,
    processors: Semaphore,
}

impl Encodings {
    #[must_use]
    pub fn new(registry: Option<Registry>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let compression = Compression::default();
        Self { registry, compression, decoders: Mutex::default(), processors: Semaphore::new(processors) }
    }

    /// The same with another compression.
    #[must_use]
    pub fn compressed(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }

    /// The raw object of these records.
    ///
    /// # Errors
    /// When Parquet refuses the columns: a bug.
    pub async fn raw(&self, link: &Link, records: &Records) -> anyhow::Result<Bytes> {
        let (link, records, compression) = (*link, records.clone(), self.compression);
        self.busy(move || raw::encode(&link, &records, compression)).await
    }

    /// A raw object's records, and what its footer says of it.
    ///
    /// # Errors
    /// When the bytes are not a raw object.
    pub async fn read_raw(&self, bytes: Bytes) -> anyhow::Result<(Link, Records)> {
        self.busy(move || raw::decode(bytes)).await
    }

    /// The bronze object of a raw object's records, all of them: rows, and the records that are none by name.
    ///
    /// # Errors
    /// When the schema registry cannot be asked about an id that was not met before.
    pub async fn bronze_of(&self, record: RecordType, partition: i32, records: &Records) -> anyhow::Result<Bronze> {
        let mut decoder = self.decoder(record);
        let (records, compression, runtime) = (records.clone(), self.compression, tokio::runtime::Handle::current());
        let work = move || {
            let mut writer = BronzeWriter::new(partition, &decoder.schema(), compression)?;
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

    /// The bronze object of rows that were read from others.
    ///
    /// # Errors
    /// When Parquet refuses the columns: a bug.
    pub async fn bronze_of_rows(&self, rows: RecordBatch, bad: Vec<Letter>) -> anyhow::Result<Bronze> {
        let compression = self.compression;
        self.busy(move || bronze::of_rows(&rows, bad, compression)).await
    }

    /// What a stored bronze object holds.
    ///
    /// # Errors
    /// When the bytes are not a bronze object.
    pub async fn read_bronze(&self, bytes: Bytes) -> anyhow::Result<Stored> {
        self.busy(move || bronze::stored(bytes)).await
    }

    /// A decoder for `record`, to be given back.
    fn decoder(&self, record: RecordType) -> Decoder {
        let mut idle = self.decoders.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle.iter().position(|(of, _)| *of == record);
        found.map_or_else(|| Decoder::new(record, self.registry.clone()), |index| idle.swap_remove(index).1)
    }

    /// Work that keeps a processor busy.
    async fn busy<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let _permit = self.processors.acquire().await.context("the processors are never closed")?;
        tokio::task::spawn_blocking(work).await?
    }
}
