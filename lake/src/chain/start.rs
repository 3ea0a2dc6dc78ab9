//! Where a writer starts: the epoch it may write in, the chain's origin, the object that covers the committed offset, and
//! from there the tail. Invariant: the chain's tail is the truth and the commit a hint, so the worst that a wrong commit can
//! do is a longer walk. An epoch begins at the log's start; one of a topic that an earlier epoch was written from already (the
//! way back to a first cluster) begins where that one was closed, so that no record stands in two epochs. Must never happen
//! here: a chain begun above the log's start otherwise, or a topic id that was asked before the log's start was read.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use pipeline::consume::Fault;
use pipeline::lake::{Epoch, LinkKind, Origin, epoch_key, origin_key};

use super::Chain;
use crate::world::{Place, World};

/// Offsets below the committed one that are looked through before a whole span is.
const NEAR: [i64; 2] = [1 << 10, 1 << 15];

/// What a writer is told of the partition that it has been given.
#[derive(Clone, Debug)]
pub struct Given {
    pub topic: Arc<str>,
    pub partition: i32,
    pub table: Option<&'static str>,
    /// The committed offset and the metadata that was committed with it.
    pub committed: Option<(i64, String)>,
    pub log_start: i64,
    pub log_end: i64,
}

impl<W: World> Chain<W> {
    /// Finds the tail, with every bronze below it confirmed.
    pub async fn open(world: Arc<W>, given: &Given) -> Result<Self, Fault> {
        let (place, earlier) = bind(&*world, given).await?;
        let mut chain = Self::at(world, place);
        let origin = chain.origin(&earlier).await?;
        let hint = committed_offset(given, chain.place.epoch).filter(|offset| *offset > origin);
        let from = match hint {
            Some(offset) => chain.covering(origin, offset).await?,
            None => origin,
        };
        chain.proven = chain.walk(from).await?;
        chain.check_log(given).await?;
        Ok(chain)
    }

    pub(super) fn at(world: Arc<W>, place: Place) -> Self {
        Self { world, place, proven: 0, last: None }
    }

    /// The first offset of the chain, whatever is committed. `earlier` are the epochs that were written from the same topic.
    async fn origin(&self, earlier: &[u32]) -> Result<i64, Fault> {
        if let Some(offset) = self.stored_origin().await? {
            return Ok(offset);
        }
        // Read between two askings of the topic id: a start that was read before the first may be that of a topic which has
        // been re-created since.
        let Place { topic, partition, .. } = &self.place;
        let (log_start, _) = self.world.log_range(topic, *partition).await.map_err(Fault::Outage)?;
        self.check_topic_id().await?;
        let offset = self.resumed(earlier, log_start).await?;
        self.create_origin(offset).await
    }

    /// Where the last epoch of the same topic was closed; `log_start` where none held this partition.
    async fn resumed(&self, earlier: &[u32], log_start: i64) -> Result<i64, Fault> {
        let (mut offset, mut unbegun) = (log_start, Vec::new());
        for epoch in earlier.iter().rev() {
            let chain = Self::at(self.world.clone(), Place { epoch: *epoch, ..self.place.clone() });
            if let Some(end) = chain.closed_at().await? {
                offset = end;
                break;
            }
            unbegun.push(chain);
        }
        // A writer that was given such an epoch, and stalled before it began the chain there, must find it closed.
        for chain in unbegun.iter().rev() {
            offset = chain.seal(offset).await?;
        }
        Ok(offset)
    }

    /// The origin, where somebody has written to the chain.
    pub(super) async fn stored_origin(&self) -> Result<Option<i64>, Fault> {
        let key = self.origin_key();
        let object = self.world.get(&key).await.map_err(Fault::Outage)?;
        object.map(|object| Ok(parse::<Origin>(&key, &object.bytes)?.offset)).transpose()
    }

    /// The origin that stands, `offset` if nobody was first.
    pub(super) async fn create_origin(&self, offset: i64) -> Result<i64, Fault> {
        let key = self.origin_key();
        let bytes = Self::create(&self.world, &key, json(&Origin { offset })).await?;
        Ok(parse::<Origin>(&key, &bytes)?.offset)
    }

    fn origin_key(&self) -> String {
        origin_key(&self.place.topic, self.place.epoch, self.place.partition)
    }

    /// Where to begin the walk: the start of the object that covers `offset`, or the end of the last one below it.
    async fn covering(&self, origin: i64, offset: i64) -> Result<i64, Fault> {
        // Small objects stand close by, large ones are few: either way a page or two is listed, however long the chain is. A hole
        // may be longer than the last window: then everything below is listed.
        let span = self.world.span();
        let windows = NEAR.into_iter().filter(|near| *near < span).chain([span]);
        for from in windows.map(|window| (offset - window).max(origin)).chain([origin]) {
            if let Some(start) = self.last_start(from, offset).await? {
                let link = self.read_link(start).await?;
                return Ok(if offset < link.next_offset || link.kind == LinkKind::End {
                    start
                } else {
                    link.next_offset
                });
            }
        }
        Ok(origin)
    }

    /// The last object that begins in `from..=to`.
    pub(super) async fn last_start(&self, from: i64, to: i64) -> Result<Option<i64>, Fault> {
        let (mut next, mut found) = (from, None);
        loop {
            let starts = self.starts_from(next).await?;
            let Some(last) = starts.last().copied() else { return Ok(found) };
            found = starts.into_iter().take_while(|start| *start <= to).last().or(found);
            if last > to {
                return Ok(found);
            }
            next = last + 1;
        }
    }

    /// The tail must lie within the log.
    async fn check_log(&self, given: &Given) -> Result<(), Fault> {
        let (tail, name) = (self.proven, self.name());
        let Place { topic, partition, .. } = &self.place;
        if tail < given.log_start {
            return Err(Fault::Stop(anyhow!(
                "retention removed offsets {tail} to {} of {name} before they were written to the lake; \
                 a lake never goes on over a hole by itself; `tickstream lake accept-hole --topic {topic} --partition {partition}` \
                 goes on without them; another S3_PREFIX begins a new lake beside this one",
                given.log_start - 1,
            )));
        }
        // Another writer may have gone on since the log's end was read: only a fresh look tells.
        if tail > given.log_end && tail > self.world.log_range(topic, *partition).await.map_err(Fault::Outage)?.1 {
            return Err(Fault::Stop(anyhow!(
                "the lake has {name} up to offset {tail}, but the log ends at {}: the log was cut back or replaced; \
                 nothing was written; find out why before going on",
                given.log_end,
            )));
        }
        Ok(())
    }
}

/// The epoch that may be written: the newest, if it is bound to this cluster and this topic. And the earlier ones that were.
async fn bind<W: World>(world: &W, given: &Given) -> Result<(Place, Vec<u32>), Fault> {
    let (topic, partition) = (&given.topic, given.partition);
    let here = here(world, topic, partition).await?;
    let mut epochs = epochs(world, topic).await?;
    if epochs.is_empty() {
        let key = epoch_key(topic, 0);
        epochs.push(parse(&key, &Chain::<W>::create(world, &key, json(&here)).await?)?);
    }
    let mut same = same_binding(&epochs, &here);
    let newest = u32::try_from(epochs.len() - 1).unwrap_or(u32::MAX);
    if same.pop_if(|epoch| *epoch == newest).is_none() {
        return Err(recreated(topic, newest, &name_of(&epochs[epochs.len() - 1]), &name_of(&here)));
    }
    let place = Place { topic: topic.clone(), partition, epoch: newest, topic_id: here.topic_id, table: given.table };
    Ok((place, same))
}

/// What the broker has under this name now.
pub(super) async fn here<W: World>(world: &W, topic: &str, partition: i32) -> Result<Epoch, Fault> {
    let cluster_id = world.cluster_id().await.map_err(Fault::Outage)?;
    let topic_id = world.topic_id(topic, partition).await.map_err(Fault::Outage)?;
    let topic_id = topic_id.ok_or_else(|| Fault::Stop(anyhow!("topic {topic} no longer exists")))?;
    Ok(Epoch { cluster_id, topic_id })
}

/// What each epoch of the topic is bound to, from the first to the newest.
pub(super) async fn epochs<W: World>(world: &W, topic: &str) -> Result<Vec<Epoch>, Fault> {
    let mut epochs = Vec::new();
    for epoch in 0.. {
        let key = epoch_key(topic, epoch);
        let Some(object) = world.get(&key).await.map_err(Fault::Outage)? else { break };
        epochs.push(parse(&key, &object.bytes)?);
    }
    Ok(epochs)
}

/// The epochs that are bound to `here`.
fn same_binding(epochs: &[Epoch], here: &Epoch) -> Vec<u32> {
    (0..).zip(epochs).filter(|(_, bound)| *bound == here).map(|(epoch, _)| epoch).collect()
}

pub(super) fn json(value: &impl serde::Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("plain fields always serialize"))
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).with_context(|| format!("{key} is not what it should be")).map_err(Fault::Stop)
}

pub(super) fn name_of(epoch: &Epoch) -> String {
    format!("topic id {} in cluster {}", epoch.topic_id, epoch.cluster_id)
}

pub(super) fn recreated(topic: &str, epoch: u32, bound: &str, now: &str) -> Fault {
    Fault::Stop(anyhow!(
        "topic {topic} is not the one in the lake: epoch {epoch:04} was written from {bound}, and the broker has {now}; \
         the topic was recreated, or this is another cluster; nothing of it was written; \
         `tickstream lake new-epoch --topic {topic}` goes on with it in this lake; another S3_PREFIX begins a new lake beside this one"
    ))
}

pub(super) fn commit_metadata(epoch: u32) -> String {
    format!("epoch={epoch:04}")
}

/// The committed offset, unless it speaks of another epoch. A commit that names no epoch was made by a tool, and is believed.
fn committed_offset(given: &Given, epoch: u32) -> Option<i64> {
    let (offset, metadata) = given.committed.as_ref()?;
    (!metadata.starts_with("epoch=") || *metadata == commit_metadata(epoch)).then_some(*offset)
}
