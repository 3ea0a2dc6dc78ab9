//! Beginning an epoch: every chain of the old one is closed, then the next is bound to the topic as it is now. The order of
//! the steps, and what an interruption leaves, stand in [`super`]. The old topic may be gone, so its id is not asked for here:
//! an end object carries the old epoch's, and what came behind it in the old topic is told as lost. Must never happen here: a
//! chain closed before its last bronze was confirmed, or an epoch of another topic begun before that loss was told.

use std::sync::Arc;

use anyhow::anyhow;
use pipeline::consume::Fault;
use pipeline::events::Gap;
use pipeline::lake::{
    Epoch, LinkKind, end_key, end_told_key, epoch_key, epoch_prefix, parse_partition, partition_prefix,
};
use pipeline::misconfigured;

use super::nothing_of;
use crate::chain::start::{epochs, here, json, name_of, parse};
use crate::chain::walk::Walked;
use crate::chain::{Chain, Landed};
use crate::world::{OperatorWorld, Place, World};

/// The partition whose leader is asked for the topic id.
const ANY_PARTITION: i32 = 0;

/// What stands in the lake, and what the broker has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The newest epoch, and what it is bound to.
    pub epoch: u32,
    pub bound: Epoch,
    /// The topic as it is now.
    pub here: Epoch,
    /// The chains of that epoch, and those of earlier ones that are not closed.
    pub chains: Vec<OldChain>,
}

/// A chain that a new epoch would close, or has found closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldChain {
    pub epoch: u32,
    pub partition: i32,
    /// The offset of its end object.
    pub closed_at: Option<i64>,
    /// It was closed by a run that was interrupted before it told what is lost behind it.
    pub untold: bool,
}

/// A chain that a run has closed, or has seen closed while it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    pub epoch: u32,
    pub partition: i32,
    pub offset: i64,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The newest epoch, which is bound to the topic as it is now.
    pub epoch: u32,
    pub bound: Epoch,
    /// It was begun before, and only chains of older epochs were left to close.
    pub was_there: bool,
    pub closed: Vec<Closed>,
}

impl Look {
    /// A new epoch is wanted: the newest is of another topic, or somebody has begun to close it.
    #[must_use]
    pub fn wants_epoch(&self) -> bool {
        let closing = |chain: &OldChain| chain.epoch == self.epoch && chain.closed_at.is_some();
        self.bound != self.here || self.chains.iter().any(closing)
    }

    /// # Errors
    /// [`Fault::Stop`] when there is no epoch to begin and no chain to close.
    pub fn refuse_if_nothing_to_do(&self, topic: &str) -> Result<(), Fault> {
        if self.wants_epoch() || self.open().next().is_some() || self.chains.iter().any(|chain| chain.untold) {
            return Ok(());
        }
        Err(Fault::Stop(misconfigured(format!(
            "epoch {:04} of topic {topic} in the lake is bound to the topic as it is now ({}): there is no new epoch to begin",
            self.epoch,
            name_of(&self.here)
        ))))
    }

    /// The chains that a run would close.
    pub fn open(&self) -> impl Iterator<Item = &OldChain> {
        let all = self.wants_epoch();
        self.chains.iter().filter(move |chain| chain.closed_at.is_none() && (all || chain.epoch < self.epoch))
    }
}

/// Looks, and changes nothing.
///
/// # Errors
/// [`Fault::Stop`] when the lake holds nothing of the topic, or the broker has no such topic.
pub async fn look<W: World>(world: &Arc<W>, topic: &Arc<str>) -> Result<Look, Fault> {
    let all = epochs(&**world, topic).await?;
    let Some(bound) = all.last().cloned() else { return Err(nothing_of(topic)) };
    let here = here(&**world, topic, ANY_PARTITION).await?;
    let newest = u32::try_from(all.len() - 1).map_err(|error| Fault::Stop(error.into()))?;
    let mut chains = Vec::new();
    for (epoch, bound) in (0..).zip(&all) {
        for partition in partitions(&**world, topic, epoch).await? {
            let chain = old_chain(world, topic, epoch, bound, partition, None);
            let origin = chain.begun_at().await?;
            let end = chain.last_link(origin).await?.filter(|link| link.kind == LinkKind::End);
            let closed_at = end.map(|link| link.start);
            let untold = match closed_at {
                Some(end) if *bound != here => chain.end_is_untold(end).await?,
                Some(_) | None => false,
            };
            if epoch == newest || closed_at.is_none() || untold {
                chains.push(OldChain { epoch, partition, closed_at, untold });
            }
        }
    }
    Ok(Look { epoch: newest, bound, here, chains })
}

/// Closes what is to be closed and begins the next epoch. `table` is where the topic's decoded records go.
///
/// # Errors
/// [`Fault::Stop`] when there is nothing to do, or somebody began another epoch meanwhile; [`Fault::Outage`] when the store or
/// the broker did not answer: to be run again.
pub async fn new_epoch<W: OperatorWorld>(
    world: Arc<W>,
    topic: Arc<str>,
    table: Option<&'static str>,
) -> Result<Begun, Fault> {
    let found = look(&world, &topic).await?;
    found.refuse_if_nothing_to_do(&topic)?;
    let all = epochs(&*world, &topic).await?;
    let mut closed = Vec::new();
    for chain in &found.chains {
        let OldChain { epoch, partition, closed_at, .. } = *chain;
        if epoch == found.epoch && !found.wants_epoch() {
            continue;
        }
        let bound = all.get(epoch as usize).unwrap_or(&found.bound);
        let old = old_chain(&world, &topic, epoch, bound, partition, table);
        // What the lake does not have of a topic that goes on is read from there.
        let loses = *bound != found.here;
        let offset = match closed_at {
            Some(offset) => offset,
            None => old.close(loses).await?,
        };
        if closed_at.is_none() {
            closed.push(Closed { epoch, partition, offset });
        }
        // Where the chain was closed before, its holes, and what is lost behind it, may not have been told yet.
        old.tell_all().await?;
        if loses {
            old.tell_end(offset).await?;
        }
    }
    if !found.wants_epoch() {
        return Ok(Begun { epoch: found.epoch, bound: found.bound, was_there: true, closed });
    }

    let epoch = found.epoch + 1;
    let here = here(&*world, &topic, ANY_PARTITION).await?;
    if here != found.here {
        return Err(Fault::Outage(anyhow!("topic {topic} was made anew at this moment: {} now", name_of(&here))));
    }
    let key = epoch_key(&topic, epoch);
    let stands: Epoch = parse(&key, &Chain::<W>::create(&*world, &key, json(&here)).await?)?;
    if stands != here {
        return Err(Fault::Stop(anyhow!(
            "somebody else has just begun epoch {epoch:04} of topic {topic}, bound to {}; the broker has {}; run it again if that is wrong",
            name_of(&stands),
            name_of(&here)
        )));
    }
    Ok(Begun { epoch, bound: stands, was_there: false, closed })
}

/// The partitions of an epoch of which the lake holds anything.
async fn partitions<W: World>(world: &W, topic: &str, epoch: u32) -> Result<Vec<i32>, Fault> {
    let prefix = epoch_prefix(topic, epoch);
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let keys: Vec<String> = world.list(&prefix, after.as_deref()).await.map_err(Fault::Outage)?;
        after = match keys.iter().find_map(|key| parse_partition(key)) {
            Some(partition) => {
                found.push(partition);
                // Behind every key of this partition.
                Some(format!("{}~", partition_prefix(topic, epoch, partition)))
            }
            None => match keys.into_iter().next_back() {
                Some(last) => Some(last),
                None => return Ok(found),
            },
        };
    }
}

fn old_chain<W: World>(
    world: &Arc<W>,
    topic: &Arc<str>,
    epoch: u32,
    bound: &Epoch,
    partition: i32,
    table: Option<&'static str>,
) -> Chain<W> {
    let place = Place { topic: topic.clone(), partition, epoch, topic_id: bound.topic_id, table };
    Chain::at(world.clone(), place)
}

impl<W: World> Chain<W> {
    async fn begun_at(&self) -> Result<i64, Fault> {
        let origin = self.stored_origin().await?;
        origin.ok_or_else(|| {
            let epoch = self.place.epoch;
            Fault::Stop(anyhow!("epoch {epoch:04} of {} has objects and no _origin.json: was it deleted?", self.name()))
        })
    }

    /// Confirms every bronze and puts the end object; gives where it stands. A chain that grows meanwhile is followed. Where it
    /// `loses` what came behind, a note of that is left before.
    async fn close(&self, loses: bool) -> Result<i64, Fault>
    where
        W: OperatorWorld,
    {
        let mut tail = self.begun_at().await?;
        loop {
            let walked: Walked = self.walk_to_end(tail).await?;
            tail = walked.tail;
            if walked.closed {
                return Ok(tail);
            }
            if loses {
                self.note_end(tail).await?;
            }
            match self.put_mark(LinkKind::End, tail, tail).await? {
                Landed::Ours => return Ok(tail),
                // An end object, whose PUT was perhaps ours, or another link to pass.
                Landed::Found => {}
            }
        }
    }

    /// Where the chain was closed; `None` when nothing was ever begun.
    pub(in crate::chain) async fn closed_at(&self) -> Result<Option<i64>, Fault> {
        let Some(origin) = self.stored_origin().await? else { return Ok(None) };
        match self.last_link(origin).await?.filter(|link| link.kind == LinkKind::End) {
            Some(end) => Ok(Some(end.start)),
            None => {
                let (epoch, topic) = (self.place.epoch, &self.place.topic);
                Err(Fault::Stop(anyhow!(
                    "epoch {epoch:04} of {} was not closed before a later one began; `tickstream lake new-epoch --topic {topic}` closes it",
                    self.name()
                )))
            }
        }
    }

    /// Closes a chain in which nothing was begun, where it would have begun; gives where it was closed.
    pub(in crate::chain) async fn seal(&self, offset: i64) -> Result<i64, Fault> {
        let origin = self.create_origin(offset).await?;
        match self.put_mark(LinkKind::End, origin, origin).await? {
            Landed::Ours => Ok(origin),
            Landed::Found => Ok(self.closed_at().await?.unwrap_or(origin)),
        }
    }
}

impl<W: OperatorWorld> Chain<W> {
    /// The gap event of what came behind `end` in the topic of this epoch, as it was noted; `None` for a chain without records,
    /// of which nobody knows since when.
    async fn note_end(&self, end: i64) -> Result<Option<Gap>, Fault> {
        let Place { topic, partition, epoch, topic_id, .. } = &self.place;
        let key = end_key(topic, *epoch, *partition, end);
        if let Some(noted) = self.world.get(&key).await.map_err(Fault::Outage)? {
            return parse(&key, &noted.bytes).map(Some);
        }
        let Some(started_ms) = self.last_time_ms(self.begun_at().await?).await? else { return Ok(None) };
        let ended_ms = self.world.first_time_ms(topic, *partition, started_ms).await.map_err(Fault::Outage)?;
        let name = self.name();
        let detail = format!(
            "the lake has {name} of topic id {topic_id} up to offset {end}, where another topic took its place: what came behind is lost"
        );
        let mine = self.loss("end", end, (started_ms, ended_ms), detail);
        parse(&key, &Self::create(&*self.world, &key, json(&mine)).await?).map(Some)
    }

    /// Publishes what is lost behind the end object at `end`, once.
    async fn tell_end(&self, end: i64) -> Result<(), Fault> {
        if self.is_told(end).await? {
            return Ok(());
        }
        let Some(gap) = self.note_end(end).await? else { return Ok(()) };
        self.world.gap(&gap).await.map_err(Fault::Outage)?;
        let Place { topic, partition, epoch, .. } = &self.place;
        let key = end_told_key(topic, *epoch, *partition, end);
        Self::create(&*self.world, &key, json(&gap.id)).await.map(drop)
    }
}

impl<W: World> Chain<W> {
    /// A note was left, and nobody has noted that its event is published.
    async fn end_is_untold(&self, end: i64) -> Result<bool, Fault> {
        let Place { topic, partition, epoch, .. } = &self.place;
        let key = end_key(topic, *epoch, *partition, end);
        Ok(self.world.head(&key).await.map_err(Fault::Outage)?.is_some() && !self.is_told(end).await?)
    }

    async fn is_told(&self, end: i64) -> Result<bool, Fault> {
        let Place { topic, partition, epoch, .. } = &self.place;
        let key = end_told_key(topic, *epoch, *partition, end);
        Ok(self.world.head(&key).await.map_err(Fault::Outage)?.is_some())
    }
}
