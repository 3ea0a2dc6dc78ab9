//! A lake on a shelf: objects with their metadata, in a folder of the repository or in memory, and a broker that stands
//! still. The encodings are the real ones.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use bytes::Bytes;
use lake::encodings::Encodings;
use lake::world::{Bronze, Letter, Place, World};
use lake::{bronze, raw};
use pipeline::lake::{Link, LinkRows};
use pipeline::records::Records;
use pipeline::store::{Condition, Head, Object, Put};
use pipeline::topics;
use uuid::Uuid;

pub const CLUSTER: &str = "golden-cluster";

type Metadata = HashMap<String, String>;
type Objects = BTreeMap<String, (Bytes, Metadata)>;

pub struct Shelf {
    objects: Mutex<Objects>,
    encodings: Encodings,
    /// What the decoder says of its version.
    pub version: u32,
    pub topic_id: Uuid,
    pub log_end: i64,
    letters: Mutex<Vec<Letter>>,
    requests: AtomicU64,
    /// A key that no listing shows.
    hidden: Mutex<String>,
}

/// Keys of one answer to a listing.
const PAGE: usize = 1000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn metadata_file(root: &Path) -> PathBuf {
    root.join("metadata.json")
}

impl Shelf {
    pub fn empty() -> Self {
        Self {
            objects: Mutex::default(),
            encodings: Encodings::new(None),
            version: bronze::VERSION,
            topic_id: Uuid::nil(),
            log_end: i64::MAX,
            letters: Mutex::default(),
            requests: AtomicU64::new(0),
            hidden: Mutex::default(),
        }
    }

    /// What the store was asked so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        lock(&self.objects)
    }

    /// Lays an object down as it is.
    pub fn lay(&self, key: String, bytes: Bytes, metadata: Metadata) {
        lock(&self.objects).insert(key, (bytes, metadata));
    }

    pub fn remove(&self, key: &str) {
        lock(&self.objects).remove(key);
    }

    pub fn hide(&self, key: &str) {
        key.clone_into(&mut lock(&self.hidden));
    }

    /// Takes the objects under `root`, their metadata from one file beside them.
    pub fn load(root: &Path) -> Self {
        let text = std::fs::read_to_string(metadata_file(root)).expect("the objects' metadata");
        let metadata: BTreeMap<String, Metadata> = serde_json::from_str(&text).expect("a metadata a key");
        let object = |(key, metadata): (String, Metadata)| {
            let bytes = std::fs::read(root.join(&key)).expect("the object that has this metadata");
            (key, (Bytes::from(bytes), metadata))
        };
        Self { objects: Mutex::new(metadata.into_iter().map(object).collect()), ..Self::empty() }
    }

    pub fn save(&self, root: &Path) {
        let objects = lock(&self.objects);
        for (key, (bytes, _)) in &*objects {
            let path = root.join(key);
            std::fs::create_dir_all(path.parent().expect("a key has folders")).expect("created");
            std::fs::write(path, bytes).expect("written");
        }
        let metadata = |(_, metadata): &(Bytes, Metadata)| metadata.clone().into_iter().collect::<BTreeMap<_, _>>();
        let all: BTreeMap<_, _> = objects.iter().map(|(key, object)| (key, metadata(object))).collect();
        let text = serde_json::to_string_pretty(&all).expect("plain text");
        std::fs::write(metadata_file(root), text + "\n").expect("written");
    }

    pub fn keys(&self, prefix: &str) -> Vec<String> {
        lock(&self.objects).keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    pub fn bytes(&self, key: &str) -> Bytes {
        lock(&self.objects).get(key).unwrap_or_else(|| panic!("{key} is not in the lake")).0.clone()
    }

    pub fn metadata(&self, key: &str) -> Metadata {
        lock(&self.objects)[key].1.clone()
    }

    /// The dead letters that were sent.
    pub fn letters(&self) -> Vec<Letter> {
        lock(&self.letters).clone()
    }
}

fn head(bytes: &Bytes, metadata: &Metadata) -> Head {
    let mut hasher = DefaultHasher::new();
    (bytes, metadata.len()).hash(&mut hasher);
    Head { etag: format!("\"{:016x}\"", hasher.finish()), size: bytes.len() as u64, metadata: metadata.clone() }
}

impl World for Shelf {
    type Records = Records;

    async fn head(&self, key: &str) -> anyhow::Result<Option<Head>> {
        Ok(self.objects().get(key).map(|(bytes, metadata)| head(bytes, metadata)))
    }

    async fn get(&self, key: &str) -> anyhow::Result<Option<Object>> {
        let objects = self.objects();
        let object =
            |(bytes, metadata): &(Bytes, Metadata)| Object { head: head(bytes, metadata), bytes: bytes.clone() };
        Ok(objects.get(key).map(object))
    }

    async fn put(&self, key: &str, bytes: Bytes, metadata: Metadata, condition: Condition<'_>) -> anyhow::Result<Put> {
        let mut objects = self.objects();
        let there = objects.get(key).map(|(bytes, metadata)| head(bytes, metadata).etag);
        let holds = match condition {
            Condition::IfNoneMatch => there.is_none(),
            Condition::IfMatch(etag) => there.as_deref() == Some(etag),
        };
        if !holds {
            return Ok(Put::Exists);
        }
        let etag = head(&bytes, &metadata).etag;
        objects.insert(key.to_owned(), (bytes, metadata));
        Ok(Put::Done { etag })
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> anyhow::Result<Vec<String>> {
        let objects = self.objects();
        let from = after.filter(|after| *after >= prefix).map_or(Bound::Included(prefix), Bound::Excluded);
        let keys = objects.range::<str, _>((from, Bound::Unbounded)).map(|(key, _)| key);
        let hidden = lock(&self.hidden);
        let shown = keys.take_while(|key| key.starts_with(prefix)).filter(|key| **key != *hidden);
        Ok(shown.take(PAGE).cloned().collect())
    }

    async fn cluster_id(&self) -> anyhow::Result<String> {
        Ok(CLUSTER.to_owned())
    }

    async fn topic_id(&self, _topic: &str, _partition: i32) -> anyhow::Result<Option<Uuid>> {
        Ok(Some(self.topic_id))
    }

    async fn log_range(&self, _topic: &str, _partition: i32) -> anyhow::Result<(i64, i64)> {
        Ok((0, self.log_end))
    }

    async fn dead_letters(&self, _place: &Place, _records: &Records, letters: &[Letter]) -> anyhow::Result<()> {
        lock(&self.letters).extend_from_slice(letters);
        Ok(())
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn span(&self) -> i64 {
        pipeline::lake::SPAN
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
