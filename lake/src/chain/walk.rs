//! The walk along the chain: from an object's start to the tail, confirming each bronze on the way and sending the dead
//! letters that it names. Used at start, and whenever somebody else's object was found. Memory is one raw object, however
//! long the walk. Must never happen here: a link skipped.

use anyhow::anyhow;
use futures::stream::{self, StreamExt};
use pipeline::consume::Fault;
use pipeline::lake::{Link, LinkKind, parse_raw_key, partition_prefix};
use pipeline::store::Head;

use super::Chain;
use crate::world::World;

/// HEADs under way at once.
const LOOK_AHEAD: usize = 8;

impl<W: World> Chain<W> {
    /// Walks from `from`, the origin or a link's end or start, to the tail.
    pub(super) async fn walk(&self, from: i64) -> Result<i64, Fault> {
        let mut tail = from;
        loop {
            let starts = self.starts_from(tail).await?;
            if starts.is_empty() {
                return Ok(tail);
            }
            let mut links = stream::iter(starts).map(|start| self.look(start)).buffered(LOOK_AHEAD);
            while let Some(looked) = links.next().await {
                let (link, stored) = looked?;
                tail = self.pass(tail, &link, stored).await?;
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
        if link.kind == LinkKind::End {
            return Err(Fault::Stop(anyhow!(
                "epoch {:04} of topic {} was closed at offset {tail} of partition {}; start again to go on in the next epoch",
                self.place.epoch,
                self.place.topic,
                self.place.partition,
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
