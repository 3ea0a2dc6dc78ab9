//! The lake as it lies in the store's folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use lake::{bronze, raw};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::lake::{Link, Origin, bronze_key, origin_key, partition_prefix, raw_key};
use pipeline::records::Records;
use stack::Stack;

pub struct Lake {
    root: PathBuf,
    pub prefix: String,
}

impl Lake {
    pub fn of(stack: &Stack, prefix: &str) -> Self {
        Self { root: stack.data_dir().join("s3").join(&stack.s3.bucket).join(prefix), prefix: prefix.to_owned() }
    }

    pub fn read(&self, key: &str) -> Option<Bytes> {
        std::fs::read(self.root.join(key)).ok().map(Bytes::from)
    }

    pub fn remove(&self, key: &str) {
        std::fs::remove_file(self.root.join(key)).expect("removed");
    }

    /// The links of a chain with their records; panics where it is not one chain from the origin.
    pub fn chain(&self, topic: &str, partition: i32) -> Vec<(Link, Records)> {
        let Some(origin) = self.read(&origin_key(topic, 0, partition)) else { return Vec::new() };
        let mut next = serde_json::from_slice::<Origin>(&origin).expect("an origin").offset;
        let mut links = Vec::new();
        while let Some(bytes) = self.read(&raw_key(topic, 0, partition, next)) {
            let (link, records) = raw::decode(bytes).expect("a raw object");
            assert_eq!(link.start, next);
            next = link.next_offset;
            links.push((link, records));
        }
        let there = self.files(&partition_prefix(topic, 0, partition)).len();
        assert!(there <= links.len() + 2, "{there} objects, {} on the chain: an overlap or a hole", links.len());
        links
    }

    /// As [`Lake::chain`], once nobody writes any more: every object is on the chain.
    pub fn whole_chain(&self, topic: &str, partition: i32) -> Vec<(Link, Records)> {
        let links = self.chain(topic, partition);
        assert_eq!(
            self.files(&partition_prefix(topic, 0, partition)).len(),
            links.len() + 1,
            "objects beside the chain"
        );
        links
    }

    pub fn tail(&self, topic: &str, partition: i32) -> i64 {
        self.chain(topic, partition).last().map_or(0, |(link, _)| link.next_offset)
    }

    /// The start of the last object, from its name alone.
    pub fn last_start(&self, topic: &str, partition: i32) -> i64 {
        let files = self.files_named(&partition_prefix(topic, 0, partition));
        files.iter().filter_map(|name| name.strip_suffix(".parquet")?.parse().ok()).max().unwrap_or(0)
    }

    fn files_named(&self, prefix: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(prefix)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// All values of a chain, in order.
    pub fn values(&self, topic: &str, partition: i32) -> Vec<Option<Vec<u8>>> {
        let chain = self.whole_chain(topic, partition);
        let of = |records: &Records| records.values().iter().map(|value| value.map(<[u8]>::to_vec)).collect::<Vec<_>>();
        chain.iter().flat_map(|(_, records)| of(records)).collect()
    }

    /// Rows and left-out records of the bronze of each link; panics where one is missing.
    pub fn bronze(&self, table: &str, topic: &str, partition: i32) -> Vec<(usize, usize)> {
        let chain = self.whole_chain(topic, partition);
        let of = |link: &Link| {
            let time = link.rows.expect("records").first_time_ms;
            let bytes = self.read(&bronze_key(table, time, topic, 0, partition, link.start)).expect("a bronze object");
            let rows = ParquetRecordBatchReaderBuilder::try_new(bytes.clone())
                .expect("parquet")
                .metadata()
                .file_metadata()
                .num_rows();
            (usize::try_from(rows).expect("rows"), bronze::bad(bytes).expect("a footer").len())
        };
        chain.iter().map(|(link, _)| of(link)).collect()
    }

    /// Every file under `prefix` with its bytes and when it was last written.
    pub fn files(&self, prefix: &str) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
        let mut files = BTreeMap::new();
        gather(&self.root.join(prefix), &mut files);
        files
    }
}

fn gather(folder: &Path, files: &mut BTreeMap<PathBuf, (Vec<u8>, SystemTime)>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            gather(&path, files);
        } else if path.extension().is_some_and(|end| end == "parquet" || end == "json")
            && let (Ok(bytes), Ok(written)) = (std::fs::read(&path), entry.metadata().and_then(|data| data.modified()))
        {
            files.insert(path, (bytes, written));
        }
    }
}
