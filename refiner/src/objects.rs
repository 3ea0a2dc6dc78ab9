//! The lake as the refiner sees it: the store, and, in a dry run, what would have been written laid over it. Invariant: in a
//! dry run nothing reaches the store, and everything later in the same run sees what would be there. Must never happen
//! here: a PUT without a condition.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;
use pipeline::store::{Condition, Failure, Head, Listed, Object, Put, Store, StoreError};
use serde::Serialize;
use tempfile::TempDir;
use twox_hash::XxHash3_128;

use crate::disk::{self, Disk};
use crate::object::Made;

/// How often a PUT is sent that the store does not answer plainly.
const PUTS: u32 = 5;
/// How often somebody else may be first at an object before that counts as an outage.
const ROUNDS: u32 = 8;
/// What is asked for of an object's end at first: its footer, mostly.
const TAIL: u64 = 64 * 1024;

pub struct Objects {
    store: Store,
    overlay: Option<Overlay>,
    requests: AtomicU64,
}

/// What a dry run would have written: as files, since it may be a whole lake.
struct Overlay {
    folder: TempDir,
    heads: Mutex<BTreeMap<String, (Head, PathBuf)>>,
}

impl Overlay {
    fn heads(&self) -> MutexGuard<'_, BTreeMap<String, (Head, PathBuf)>> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, key: &str, head: Head, bytes: &Bytes) -> anyhow::Result<()> {
        let mut heads = self.heads();
        let next = heads.len();
        let place = heads
            .entry(key.to_owned())
            .or_insert_with(|| (head.clone(), self.folder.path().join(format!("{next:08}"))));
        let written = std::fs::write(&place.1, bytes).with_context(|| format!("a copy of what {key} would be"));
        written.map_err(|error| disk::failed(error, self.folder.path()))?;
        place.0 = head;
        Ok(())
    }
}

/// What is to stand under a key.
pub struct New {
    pub bytes: Bytes,
    pub metadata: HashMap<String, String>,
}

impl New {
    /// A note of the refiner's own.
    ///
    /// # Errors
    /// When it is not JSON: a bug.
    pub fn json(value: &impl Serialize) -> anyhow::Result<Self> {
        Ok(Self { bytes: Bytes::from(serde_json::to_vec(value)?), metadata: HashMap::new() })
    }
}

/// Longer from round to round, and never the same for two.
fn pause(round: u32) -> Duration {
    Duration::from_millis(100 << round).mul_f64(0.5 + fastrand::f64())
}

impl Objects {
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, overlay: None, requests: AtomicU64::new(0) }
    }

    /// Nothing is written to the store; what would be lies in a folder below `folder`.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn dry(store: Store, folder: &Path) -> anyhow::Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("dry-run-").tempdir_in(folder).context("a folder for a dry run")?;
        let overlay = Overlay { folder, heads: Mutex::default() };
        Ok(Self { store, overlay: Some(overlay), requests: AtomicU64::new(0) })
    }

    #[must_use]
    pub fn is_dry(&self) -> bool {
        self.overlay.is_some()
    }

    /// The store itself, for one more request.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.requests.fetch_add(1, Ordering::Relaxed);
        &self.store
    }

    /// Requests sent so far: what a run costs, whatever the machine.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn laid_over(&self, key: &str) -> Option<(Head, PathBuf)> {
        self.overlay.as_ref()?.heads().get(key).cloned()
    }

    /// The object, or `None`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn get(&self, key: &str) -> anyhow::Result<Option<Object>> {
        if let Some((head, place)) = self.laid_over(key) {
            let bytes = std::fs::read(&place).with_context(|| format!("a copy of what {key} would be"))?;
            return Ok(Some(Object { head, bytes: Bytes::from(bytes) }));
        }
        Ok(self.store().get(key).await?)
    }

    /// ETag, size and metadata, or `None`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn head(&self, key: &str) -> anyhow::Result<Option<Head>> {
        if let Some((head, _)) = self.laid_over(key) {
            return Ok(Some(head));
        }
        Ok(self.store().head(key).await?)
    }

    /// What an object of the refiner's says of itself, from its end alone.
    ///
    /// # Errors
    /// When the store does not answer, or the object is not one of the refiner's.
    pub async fn made(&self, key: &str) -> anyhow::Result<Option<Made>> {
        if self.laid_over(key).is_some() {
            return self.get(key).await?.map(|object| Made::of(&object.bytes)).transpose();
        }
        let mut wanted = TAIL;
        loop {
            let Some((tail, size)) = self.store().get_tail(key, wanted).await? else { return Ok(None) };
            let mut reader = ParquetMetaDataReader::new();
            match reader.try_parse_sized(&tail, size) {
                Ok(()) => return Made::of_metadata(&reader.finish()?).map(Some),
                Err(ParquetError::NeedMoreData(more)) if wanted < size => {
                    wanted = (more as u64).max(2 * wanted).min(size)
                }
                Err(error) => return Err(error).with_context(|| format!("{key} is not a Parquet object")),
            }
        }
    }

    /// The first key under `prefix` whose rest is not less than `rest`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn first(&self, prefix: &str, rest: &str) -> anyhow::Result<Option<String>> {
        let after = format!("{prefix}{rest}");
        let stored = self.store().list(prefix, Some(&after)).await?.into_iter().next().map(|listed| listed.key);
        let laid_over = self.overlay.as_ref().and_then(|overlay| {
            overlay.heads().range(after..).next().map(|(key, _)| key.clone()).filter(|key| key.starts_with(prefix))
        });
        Ok(stored.into_iter().chain(laid_over).min())
    }

    /// Everything under `prefix` greater than `after`, in order.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(&self, prefix: &str, after: Option<&str>) -> anyhow::Result<Vec<Listed>> {
        let mut all: Vec<Listed> = Vec::new();
        let mut from = after.map(str::to_owned);
        loop {
            let page = self.store().list(prefix, from.as_deref()).await?;
            let Some(last) = page.last() else { break };
            from = Some(last.key.clone());
            all.extend(page);
        }
        if let Some(overlay) = &self.overlay {
            let wanted = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
            let mut joined: BTreeMap<String, Listed> =
                all.into_iter().map(|listed| (listed.key.clone(), listed)).collect();
            for (key, (head, _)) in overlay.heads().iter().filter(|(key, _)| wanted(key)) {
                let listed = Listed { key: key.clone(), etag: head.etag.clone(), size: head.size };
                joined.insert(key.clone(), listed);
            }
            all = joined.into_values().collect();
        }
        Ok(all)
    }

    /// Writes a whole object when `condition` holds.
    ///
    /// # Errors
    /// When the answer did not come or was not a plain yes or no: the object may be there all the same.
    pub async fn put(
        &self,
        key: &str,
        bytes: Bytes,
        metadata: HashMap<String, String>,
        condition: Condition<'_>,
    ) -> anyhow::Result<Put> {
        if !self.is_dry() {
            return Ok(self.store().put(key, bytes, metadata, condition).await?);
        }
        let etag = format!("\"dry-run-{:032x}\"", XxHash3_128::oneshot(&bytes));
        let head = Head { etag: etag.clone(), size: bytes.len() as u64, metadata };
        if let Some(overlay) = &self.overlay {
            overlay.keep(key, head, &bytes)?;
        }
        Ok(Put::Done { etag })
    }

    /// Puts what `make` gives in the place of what stands under `key`, which it is shown, and begins again where somebody else
    /// was first. Gives the new ETag; `None` when `make` gave nothing, since what stands there will do.
    ///
    /// # Errors
    /// `make`'s own, the store's own reason, or that others are first again and again.
    pub async fn update<F, R>(&self, key: &str, mut make: F) -> anyhow::Result<Option<String>>
    where
        F: FnMut(Option<Object>) -> R,
        R: Future<Output = anyhow::Result<Option<New>>>,
    {
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(pause(round)).await;
            }
            let stored = self.get(key).await?;
            let base = stored.as_ref().map(|object| object.head.etag.clone());
            let Some(New { bytes, metadata }) = make(stored).await? else { return Ok(None) };
            let put = self.put_surely(key, &bytes, &metadata, base.as_deref()).await;
            if let Some(etag) = put.with_context(|| format!("{key} could not be written"))? {
                return Ok(Some(etag));
            }
        }
        Err(anyhow!("{key} keeps changing: are many refiners at work on one lake?"))
    }

    /// Puts `bytes` where the object with the ETag `base` stands, or where none does, and gives their ETag; `None` when
    /// something else is there now. No plain answer: what is there is asked for, and the same bytes are sent again.
    ///
    /// # Errors
    /// The store's own reason, when it refuses, or does not answer again and again.
    pub async fn put_surely(
        &self,
        key: &str,
        bytes: &Bytes,
        metadata: &HashMap<String, String>,
        base: Option<&str>,
    ) -> anyhow::Result<Option<String>> {
        let condition = base.map_or(Condition::IfNoneMatch, Condition::IfMatch);
        let mut attempt = 1;
        loop {
            let error = match self.put(key, bytes.clone(), metadata.clone(), condition).await {
                Ok(Put::Done { etag }) => return Ok(Some(etag)),
                Ok(Put::Exists | Put::Racing) => return Ok(None),
                Err(error) => error,
            };
            let failure = error.downcast_ref::<StoreError>().map(|error| error.failure);
            let refused = matches!(failure, Some(Failure::NoBucket | Failure::Unsupported));
            if refused || attempt >= PUTS || error.is::<Disk>() {
                return Err(error);
            }
            tracing::info!(key, "no plain answer to the PUT of {key}: {error:#}");
            tokio::time::sleep(pause(attempt)).await;
            attempt += 1;
            let now = self.head(key).await?;
            if now.as_ref().map(|head| head.etag.as_str()) != base {
                // It may have landed after all: the same bytes list the same inputs.
                let ours =
                    |head: &Head| Object { head: head.clone(), bytes: bytes.clone() }.is_as_written() == Some(true);
                return Ok(now.filter(ours).map(|head| head.etag));
            }
        }
    }
}
