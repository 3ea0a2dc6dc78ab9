//! The walk along the chain: from an object's start to the tail, confirming each bronze on the way and sending the dead
//! letters that it names. Used at start, whenever somebody else's object was found, and by whoever closes an epoch. A listing is
//! no snapshot: an object that was written later may show, and the one before it not yet, so only a HEAD says that a link is
//! missing. Memory is a page of keys and one raw object with what it decodes to, however long the walk. Must never happen here:
//! a link skipped.

use anyhow::anyhow;
use futures::stream::{self, StreamExt};
use pipeline::consume::Fault;
use pipeline::lake::{Link, LinkKind, parse_raw_key, partition_prefix};
use pipeline::store::Head;

use super::Chain;
use crate::world::{Place, World};

/// HEADs under way at once.
const LOOK_AHEAD: usize = 8;

/// Where a walk came to its end.
pub(super) struct Walked {
    pub tail: i64,
    /// An end object stands there: nothing may follow.
    pub closed: bool,
}

impl<W: World> Chain<W> {
    /// Walks from `from`, the origin or a link's end or start, to the tail of a chain that goes on.
    pub(super) async fn walk(&self, from: i64) -> Result<i64, Fault> {
        let Walked { tail, closed } = self.walk_to_end(from).await?;
        if !closed {
            return Ok(tail);
        }
        Err(self.closed(tail))
    }

    /// As [`Chain::walk`], from an object that was seen, whether it is listed or not: a store's listing may be behind.
    pub(super) async fn walk_found(&self, start: i64) -> Result<i64, Fault> {
        let (link, stored) = self.look(start).await?;
        let tail = self.pass(start, &link, stored).await?;
        if link.kind == LinkKind::End { Err(self.closed(tail)) } else { self.walk(tail).await }
    }

    pub(super) fn closed(&self, tail: i64) -> Fault {
        let Place { topic, partition, epoch, .. } = &self.place;
        Fault::Stop(anyhow!(
            "epoch {epoch:04} of topic {topic} was closed at offset {tail} of partition {partition}; start again to go on in the \
             next epoch; where there is none yet, `tickstream lake new-epoch --topic {topic}` begins it",
        ))
    }

    /// As [`Chain::walk`], in a chain that may have been closed.
    pub(super) async fn walk_to_end(&self, from: i64) -> Result<Walked, Fault> {
        let (mut tail, mut not_listed) = (from, None);
        loop {
            let starts = match not_listed.take() {
                Some(start) => vec![start],
                None => self.starts_from(tail).await?,
            };
            if starts.is_empty() {
                return Ok(Walked { tail, closed: false });
            }
            let mut links = stream::iter(starts).map(|start| self.look(start)).buffered(LOOK_AHEAD);
            while let Some(looked) = links.next().await {
                let (link, stored) = looked?;
                if link.start > tail && self.stands(tail).await? {
                    not_listed = Some(tail);
                    break;
                }
                tail = self.pass(tail, &link, stored).await?;
                if link.kind == LinkKind::End {
                    return Ok(Walked { tail, closed: true });
                }
            }
        }
    }

    /// The next objects that begin at `from` or above; none only at the tail.
    pub(super) async fn starts_from(&self, from: i64) -> Result<Vec<i64>, Fault> {
        let prefix = partition_prefix(&self.place.topic, self.place.epoch, self.place.partition);
        // A listing begins *after* a key, and `from` itself is wanted.
        let after = (from > 0).then(|| self.raw_key(from - 1));
        let keys = self.world.list(&prefix, after.as_deref()).await.map_err(Fault::Outage)?;
        Ok(keys.iter().filter_map(|key| parse_raw_key(key)).map(|(.., start)| start).collect())
    }

    pub(super) async fn stands(&self, start: i64) -> Result<bool, Fault> {
        Ok(self.world.head(&self.raw_key(start)).await.map_err(Fault::Outage)?.is_some())
    }

    async fn look(&self, start: i64) -> Result<(Link, Option<Head>), Fault> {
        let link = self.read_link(start).await?;
        let stored = match self.bronze_key(&link) {
            Some(key) => self.world.head(&key).await.map_err(Fault::Outage)?,
            None => None,
        };
        Ok((link, stored))
    }

    async fn pass(&self, tail: i64, link: &Link, stored: Option<Head>) -> Result<i64, Fault> {
        if link.start != tail {
            return Err(Fault::Stop(anyhow!(
                "the chain of {} is broken: {} should begin at offset {tail}; was a raw object deleted, or put there by hand?",
                self.name(),
                self.raw_key(link.start),
            )));
        }
        let letters = self.confirm_bronze(link, stored).await?;
        if !letters.is_empty() {
            let (_, records) = self.read_raw(link.start).await?;
            self.world.dead_letters(&self.place, &records, &letters).await.map_err(Fault::Outage)?;
        }
        Ok(link.next_offset)
    }
}
