//! The chain writer of one partition.
//!
//! **Invariant.** The raw objects of one (topic, epoch, partition) are one chain: the first begins at the origin, each next one
//! where its predecessor's `next_offset` says, each holds exactly the delivered records of its range, all of the epoch's topic
//! id. A bronze object is the decoding of the raw object that stands in the store. The offset to commit never passes the first
//! raw object whose bronze is not confirmed.
//!
//! **How.** Three rules carry it. (1) A raw PUT is create-only, and is sent only at a *proven* key: the origin, or the
//! `next_offset` of an object that was seen. One key has one successor, so whoever loses a race finds the winner there.
//! (2) The topic id is asked of the partition's leader after the last record came and before the PUT. (3) Bronze is made of
//! one's own buffer only when one's own PUT was acknowledged; in every other case of what the store holds.
//!
//! **Crash points of one batch**, and what the next writer finds. Nothing is remembered but the store and the commit.
//! 1. Before the raw PUT: nothing happened. The batch is read again from the tail.
//! 2. The raw PUT is under way: it lands or never does, perhaps long after. The next writer reaches the same key: it finds the
//!    object at start, or writes its own and the late PUT gets 412, or the late PUT wins and it gets 412. Whose object it is
//!    does not matter: both hold the delivered records of their range.
//! 3. After the raw PUT, before bronze: the commit is still below, so the next writer's walk passes this object and makes
//!    its bronze.
//! 4. The bronze PUT is under way: If-None-Match, or If-Match on what was read, so a late one cannot replace a newer one.
//! 5. A rewrite's note is there, the new bronze is not: the refiner keeps the note open until the version it names.
//! 6. After bronze, before its dead letters are sent: bronze names them, the walk sends them (a letter may come twice; its
//!    identity is its coordinates).
//! 7. After the dead letters, before the commit: the walk finds everything confirmed.
//! 8. While the epoch or the origin is created: create-only; the loser reads the winner's.
//!
//! **Must never happen here**: an unconditional PUT; two raw PUTs of a partition at once; a 412 or a lost answer taken for
//! one's own success; a key that depends on a clock, a host or a writer.

mod ahead;
pub(crate) mod bronze_step;
#[cfg(test)]
mod model;
pub mod operator;
mod start;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use pipeline::consume::Fault;
use pipeline::lake::{Link, raw_key};
use pipeline::store::{Condition, Head, Put};

use crate::world::{Letter, Place, World};

pub use ahead::{Ahead, Made};
pub use start::Given;

/// A racing PUT (409) is tried again so often before it counts as an outage.
const RACES: usize = 5;

/// Records of one partition, to be written at `start`.
#[derive(Clone, Debug)]
pub struct Batch<R> {
    pub start: i64,
    pub next_offset: i64,
    pub records: R,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Every raw object below has its bronze: the offset to commit.
    pub commit: i64,
    /// Where the chain goes on.
    pub resume_at: i64,
    /// Records of this batch that do not decode. Those of other writers' objects have been sent already.
    pub bad: Vec<Letter>,
}

/// The writer of one partition's chain.
pub struct Chain<W> {
    world: Arc<W>,
    place: Place,
    /// The key that may be written: the origin, or `next_offset` of an object that was seen.
    proven: i64,
    /// The last batch and what became of it: it comes again when another partition's batch met an outage.
    last: Option<(i64, i64, Step)>,
}

/// Whose object stands at the key.
enum Landed {
    Ours,
    /// Another writer's, or perhaps ours, of whose PUT no answer came.
    Found,
}

impl<W: World> Chain<W> {
    /// Where the next batch begins.
    pub fn tail(&self) -> i64 {
        self.proven
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The commit's metadata: a commit of another epoch counts as none.
    pub fn commit_metadata(&self) -> String {
        start::commit_metadata(self.place.epoch)
    }

    /// Makes the batch part of the chain, and its bronze. After an outage it may be called again with the same batch.
    pub async fn write(&mut self, batch: &Batch<W::Records>) -> Result<Step, Fault> {
        let made = self.ahead().make(batch).await;
        self.write_made(batch, &made).await
    }

    /// As [`Chain::write`], of what [`Ahead::make`] made of the same batch.
    pub async fn write_made(&mut self, batch: &Batch<W::Records>, made: &Made) -> Result<Step, Fault> {
        if let Some((start, next_offset, step)) = &self.last
            && (*start, *next_offset) == (batch.start, batch.next_offset)
        {
            return Ok(step.clone());
        }
        let step = self.write_new(batch, made).await?;
        self.proven = step.resume_at;
        self.tell_tail();
        self.last = Some((batch.start, batch.next_offset, step.clone()));
        Ok(step)
    }

    fn tell_tail(&self) {
        let labels = [("topic", self.place.topic.to_string()), ("partition", self.place.partition.to_string())];
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!("tickstream_lake_tail", &labels).set(self.proven as f64);
    }

    async fn write_new(&self, batch: &Batch<W::Records>, made: &Made) -> Result<Step, Fault> {
        let length = batch.next_offset - batch.start;
        if batch.start != self.proven || length <= 0 || length > self.world.span() {
            return Err(Fault::Stop(anyhow!(
                "a batch of {} from {} to {} does not continue the chain at {}",
                self.name(),
                batch.start,
                batch.next_offset,
                self.proven
            )));
        }
        let link = ahead::link(&*self.world, &self.place, batch);
        match self.put_raw(&link, made.raw()?).await? {
            Landed::Ours => {
                let bad = self.put_bronze(&link, made.bronze()?).await?;
                Ok(Step { commit: link.next_offset, resume_at: link.next_offset, bad })
            }
            Landed::Found => {
                let tail = self.walk_found(batch.start).await?;
                Ok(Step { commit: tail, resume_at: tail, bad: Vec::new() })
            }
        }
    }

    /// As [`Chain::put_link`], once the topic has turned out to be the one that the records came from.
    async fn put_raw(&self, link: &Link, bytes: Bytes) -> Result<Landed, Fault> {
        self.check_topic_id().await?;
        self.put_link(link, bytes).await
    }

    /// Puts the object at its key, or finds out that there is one.
    async fn put_link(&self, link: &Link, bytes: Bytes) -> Result<Landed, Fault> {
        let key = self.raw_key(link.start);
        for _ in 0..RACES {
            let answer = self.world.put(&key, bytes.clone(), metadata(link), Condition::IfNoneMatch).await;
            if let Ok(Put::Done { .. }) = answer {
                return Ok(Landed::Ours);
            }
            // 412, 409, no answer: only the store can tell what happened.
            if self.world.head(&key).await.map_err(Fault::Outage)?.is_some() {
                return Ok(Landed::Found);
            }
            match answer {
                Ok(Put::Racing) => {}
                Ok(Put::Done { .. } | Put::Exists) => {
                    return Err(Fault::Outage(anyhow!("the store says that {key} exists and does not show it")));
                }
                Err(error) => return Err(Fault::Outage(error)),
            }
        }
        Err(Fault::Outage(anyhow!("another PUT of {key} is always under way")))
    }

    /// Stops when the topic is no longer the one that this epoch is bound to.
    pub async fn check_topic_id(&self) -> Result<(), Fault> {
        let Place { topic, partition, epoch, topic_id, .. } = &self.place;
        match self.world.topic_id(topic, *partition).await.map_err(Fault::Outage)? {
            Some(now) if now == *topic_id => Ok(()),
            Some(now) => {
                Err(start::recreated(topic, *epoch, &format!("topic id {topic_id}"), &format!("topic id {now}")))
            }
            None => Err(Fault::Stop(anyhow!("topic {topic} no longer exists; nothing more was written"))),
        }
    }

    /// What a raw object says of itself.
    async fn read_link(&self, start: i64) -> Result<Link, Fault> {
        let key = self.raw_key(start);
        let head = self.world.head(&key).await.map_err(Fault::Outage)?;
        let head = head.ok_or_else(|| vanished(&key))?;
        if let Some(link) = Link::from_pairs(&head.metadata) {
            return Ok(link);
        }
        // A copy made by a tool may have lost its metadata; the footer says the same.
        Ok(self.read_raw(start).await?.0)
    }

    async fn read_raw(&self, start: i64) -> Result<(Link, W::Records), Fault> {
        let key = self.raw_key(start);
        let object = self.world.get(&key).await.map_err(Fault::Outage)?.ok_or_else(|| vanished(&key))?;
        if object.is_as_written() == Some(false) {
            // Parquet itself does not notice every other byte, and bronze would be made of it.
            return Err(Fault::Stop(anyhow!(
                "the bytes of {key} are not those that were written: `tickstream lake restore {key}` writes them anew while the \
                 topic has the records; else put back a version or a backup of it"
            )));
        }
        self.world
            .read_raw(object.bytes)
            .await
            .with_context(|| format!("{key} is not a raw object"))
            .map_err(Fault::Stop)
    }

    fn raw_key(&self, start: i64) -> String {
        raw_key(&self.place.topic, self.place.epoch, self.place.partition, start)
    }

    fn name(&self) -> String {
        format!("{}[{}]", self.place.topic, self.place.partition)
    }

    /// The object under `key`, created with `bytes` when there is none; whoever was first, the same answer for all.
    async fn create(world: &W, key: &str, bytes: Bytes) -> Result<Bytes, Fault> {
        if let Some(object) = world.get(key).await.map_err(Fault::Outage)? {
            return Ok(object.bytes);
        }
        let answer = world.put(key, bytes.clone(), HashMap::new(), Condition::IfNoneMatch).await;
        if let Ok(Put::Done { .. }) = answer {
            return Ok(bytes);
        }
        match (world.get(key).await.map_err(Fault::Outage)?, answer) {
            (Some(object), _) => Ok(object.bytes),
            (None, Err(error)) => Err(Fault::Outage(error)),
            (None, Ok(_)) => Err(Fault::Outage(anyhow!("{key} was being created and is not there yet"))),
        }
    }
}

fn metadata(link: &Link) -> HashMap<String, String> {
    link.pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn vanished(key: &str) -> Fault {
    Fault::Stop(anyhow!("{key} was there and is gone: raw objects must never be deleted or expired"))
}

/// A number in an object's metadata.
pub(crate) fn number(head: &Head, name: &str) -> Option<u64> {
    head.metadata.get(name)?.parse().ok()
}
