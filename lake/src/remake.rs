//! Bronze of one raw object made again from that object alone, without the chain's writer and without Kafka. Invariant: the
//! chain's own rule for bronze: a stored object of a higher decoder version is left alone, one that differs is replaced under
//! If-Match, and a note for the refiner is there before. Must never happen here: a PUT where the bytes are the same.

use std::collections::HashMap;

use anyhow::Context;
use bytes::Bytes;
use pipeline::lake::{bronze_key, note_key, parse_raw_key, table};
use pipeline::topics;

use crate::bronze;
use crate::chain::bronze_step::{BAD, ROWS, VERSION, metadata_of, version_of};
use crate::chain::number;
use crate::encodings::Encodings;
use crate::world::Bronze;
use pipeline::store::{Head, Object};

/// What a bronze object should be.
#[derive(Clone, Debug)]
pub struct Remade {
    pub key: String,
    pub bytes: Bytes,
    pub metadata: HashMap<String, String>,
    note_key: String,
}

impl Remade {
    /// Whether `stored` needs no replacing: it is the same, or a newer decoder's.
    #[must_use]
    pub fn is_settled_by(&self, stored: &Object) -> bool {
        let version = version_of(&stored.head);
        version > u64::from(bronze::VERSION)
            || (stored.bytes == self.bytes && stored.head.metadata.get(VERSION) == self.metadata.get(VERSION))
    }

    /// The note for the refiner that must be there before this object takes the place of `stored`: its key and its bytes. The
    /// version tells the refiner which of the two it reads; where both are of one version, since a schema was registered
    /// meanwhile or bytes were damaged, the ETag does.
    #[must_use]
    pub fn note(&self, stored: Option<&Head>) -> (String, Bytes) {
        let replaced = stored.filter(|head| version_of(head) == u64::from(bronze::VERSION));
        let Some(Head { etag, .. }) = replaced else {
            let note = serde_json::json!({ "bronze": self.key, "version": bronze::VERSION });
            return (self.note_key.clone(), Bytes::from(note.to_string()));
        };
        replacing(&self.note_key, &self.key, bronze::VERSION, etag)
    }
}

/// The note for the refiner that must be there before an object of decoder version `version` is put back under the bronze key
/// `bronze`, where one with the ETag `etag` stands; `None` when it is no such key.
#[must_use]
pub fn note_of_older(bronze: &str, version: u32, etag: &str) -> Option<(String, Bytes)> {
    let table = bronze.split('/').nth(1)?;
    let mut parts = bronze.rsplit('/').next()?.strip_suffix(".parquet")?.rsplitn(4, '+');
    let (start, partition, epoch, topic) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let place = note_key(table, topic, epoch.parse().ok()?, partition.parse().ok()?, start.parse().ok()?, version);
    Some(replacing(&place, bronze, version, etag))
}

/// A note that is taken up once another object than that with the ETag `etag` stands there.
fn replacing(note_key: &str, bronze: &str, version: u32, etag: &str) -> (String, Bytes) {
    let note = serde_json::json!({ "bronze": bronze, "version": version, "replaces": etag });
    let plain: String = etag.chars().filter(|char| char.is_ascii_alphanumeric() || *char == '-').collect();
    let place = note_key.trim_end_matches(".json");
    (format!("{place}+{plain}.json"), Bytes::from(note.to_string()))
}

/// The decoder's version that a stored bronze object says it is of; 0 where it does not say.
#[must_use]
pub fn decoder_of(bronze: &Head) -> u32 {
    u32::try_from(version_of(bronze)).unwrap_or(u32::MAX)
}

/// What the metadata of a bronze object made by today's decoder says.
#[must_use]
pub fn metadata(made: &Bronze) -> HashMap<String, String> {
    metadata_of(bronze::VERSION, made)
}

/// Whether its metadata says of it what it holds.
#[must_use]
pub fn says_what_it_holds(bronze: &Head, rows: usize, left_out: usize) -> bool {
    (number(bronze, ROWS), number(bronze, BAD)) == (u64::try_from(rows).ok(), u64::try_from(left_out).ok())
}

/// Of how many records a stored bronze object is: its rows, and those that it leaves out.
#[must_use]
pub fn records_of(bronze: &Head) -> Option<u64> {
    Some(number(bronze, ROWS)? + number(bronze, BAD)?)
}

/// What the bronze of the raw object under `raw_key` should be; `None` where it has none: its topic has no table, or it has no
/// records.
///
/// # Errors
/// When the object is not a raw object, or the schema registry cannot be asked.
pub async fn bronze_of_raw(encodings: &Encodings, raw_key: &str, raw: Bytes) -> anyhow::Result<Option<Remade>> {
    let (topic, epoch, partition, start) =
        parse_raw_key(raw_key).with_context(|| format!("{raw_key} is no raw key"))?;
    let Some(record) = topics::record_type(topic) else { return Ok(None) };
    let (link, records) = encodings.read_raw(raw).await.with_context(|| format!("{raw_key} is not a raw object"))?;
    let Some(rows) = link.rows else { return Ok(None) };
    let key = bronze_key(table(record), rows.first_time_ms, topic, epoch, partition, start);
    let made = encodings.bronze_of(record, partition, &records).await?;
    let note_key = note_key(table(record), topic, epoch, partition, start, bronze::VERSION);
    let metadata = metadata_of(bronze::VERSION, &made);
    Ok(Some(Remade { key, bytes: made.bytes, metadata, note_key }))
}
