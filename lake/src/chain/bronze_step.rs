//! Bronze of one raw object: made, put under a condition, confirmed. Invariant: what is confirmed is the decoding of the raw
//! object that stands in the store, by this decoder or a newer one. Must never happen here: an older version over a newer one.

use std::collections::HashMap;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use pipeline::consume::Fault;
use pipeline::lake::{Link, bronze_key, note_key};
use pipeline::registry::RegistryOutage;
use pipeline::store::{Condition, Head, Put};

use super::{Chain, number};
use crate::world::{Bronze, Letter, Place, World};

pub(crate) const VERSION: &str = "tickstream-decoder-version";
pub(crate) const ROWS: &str = "tickstream-rows";
pub(crate) const BAD: &str = "tickstream-bad";

/// How often a bronze object may change under our hands before that counts as an outage.
const ROUNDS: usize = 8;

impl<W: World> Chain<W> {
    pub(super) fn bronze_key(&self, link: &Link) -> Option<String> {
        key_of(&self.place, link)
    }

    /// Confirms the bronze of a raw object that is ours, made from our own buffer. Gives the records that it leaves out.
    pub(super) async fn put_bronze(&self, link: &Link, made: Option<Bronze>) -> Result<Vec<Letter>, Fault> {
        self.settle_bronze(link, None, made).await
    }

    /// Confirms the bronze of the raw object `link` in the store, where `stored` was just seen. Gives what it leaves out.
    pub(super) async fn confirm_bronze(&self, link: &Link, stored: Option<Head>) -> Result<Vec<Letter>, Fault> {
        self.settle_bronze(link, stored, None).await
    }

    async fn settle_bronze(
        &self,
        link: &Link,
        stored: Option<Head>,
        made: Option<Bronze>,
    ) -> Result<Vec<Letter>, Fault> {
        let Some(key) = self.bronze_key(link) else { return Ok(Vec::new()) };
        let is_new = made.is_some();
        let (mut stored, mut made) = (stored, made);
        for _ in 0..ROUNDS {
            if let Some(head) = &stored
                && version_of(head) >= u64::from(self.world.version())
            {
                return self.stored_letters(&key, head).await;
            }
            if made.is_none() {
                made = Some(self.bronze_of_winner(link).await?);
            }
            let Some(bronze) = &made else { continue };
            let condition = match &stored {
                None => {
                    // The next raw object was put when this bronze stood: it was deleted, and silver may have rows of it that an
                    // older decoder made.
                    if !is_new && self.stands(link.next_offset).await? {
                        self.leave_note(link, &key).await?;
                    }
                    Condition::IfNoneMatch
                }
                Some(head) => {
                    self.leave_note(link, &key).await?;
                    Condition::IfMatch(&head.etag)
                }
            };
            let answer =
                self.world.put(&key, bronze.bytes.clone(), metadata_of(self.world.version(), bronze), condition).await;
            if let Ok(Put::Done { .. }) = answer {
                return Ok(bronze.bad.clone());
            }
            let found = self.world.head(&key).await.map_err(Fault::Outage)?;
            let etag = |head: &Option<Head>| head.as_ref().map(|head| head.etag.clone());
            if let Err(error) = answer
                && etag(&found) == etag(&stored)
            {
                // Nothing happened, and the store said why.
                return Err(Fault::Outage(error));
            }
            stored = found;
        }
        Err(Fault::Outage(anyhow!("{key} keeps changing")))
    }

    async fn bronze_of_winner(&self, link: &Link) -> Result<Bronze, Fault> {
        let (_, records) = self.read_raw(link.start).await?;
        self.world.bronze(&self.place, link, &records).await.map_err(|error| fault_of(&error))
    }

    /// Tells the refiner, before it happens, that a bronze object is replaced: it closes the note when it has read this
    /// version or a higher one.
    async fn leave_note(&self, link: &Link, bronze_key: &str) -> Result<(), Fault> {
        let (place, version) = (&self.place, self.world.version());
        let Some(table) = place.table else { return Ok(()) };
        let key = note_key(table, &place.topic, place.epoch, place.partition, link.start, version);
        let note = serde_json::json!({ "bronze": bronze_key, "version": version });
        Self::create(&self.world, &key, Bytes::from(note.to_string())).await.map(drop)
    }

    /// What a confirmed bronze leaves out: in its footer, so that the letters are those of the decoder that made it.
    async fn stored_letters(&self, key: &str, head: &Head) -> Result<Vec<Letter>, Fault> {
        if number(head, BAD) == Some(0) {
            return Ok(Vec::new());
        }
        let object = self.world.get(key).await.map_err(Fault::Outage)?;
        let object = object.ok_or_else(|| Fault::Outage(anyhow!("{key} was there and is gone")))?;
        self.world.bad(object.bytes).with_context(|| format!("{key} is not a bronze object")).map_err(Fault::Stop)
    }
}

/// Why a bronze object could not be made: waiting mends a schema registry that is out of reach, and nothing else.
pub(super) fn fault_of(error: &anyhow::Error) -> Fault {
    let why = anyhow!("{error:#}");
    if error.chain().any(|cause| cause.is::<RegistryOutage>()) { Fault::Outage(why) } else { Fault::Stop(why) }
}

/// The key of the bronze of `link`; `None` for a topic without a table, and for an object without rows: it has no hour.
pub(super) fn key_of(place: &Place, link: &Link) -> Option<String> {
    let time = link.rows?.first_time_ms;
    Some(bronze_key(place.table?, time, &place.topic, place.epoch, place.partition, link.start))
}

/// What a bronze object's metadata says.
pub(crate) fn metadata_of(version: u32, bronze: &Bronze) -> HashMap<String, String> {
    HashMap::from([
        (VERSION.to_owned(), version.to_string()),
        (ROWS.to_owned(), bronze.rows.to_string()),
        (BAD.to_owned(), bronze.bad.len().to_string()),
    ])
}

pub(crate) fn version_of(head: &Head) -> u64 {
    number(head, VERSION).unwrap_or(0)
}
