//! What a person does when a writer has stopped: [`accept_hole`] lets a chain go on over offsets that retention removed,
//! [`new_epoch`] lets a lake go on with a topic that was made anew or with another cluster.
//!
//! **Invariant.** What the chain promises holds while they run, whoever writes, and however often and by how many at once they
//! are run: a hole covers only what retention removed, a closed chain has every bronze, nothing stands in two epochs. A run
//! that was interrupted is finished by the next one: nothing is remembered but the store.
//!
//! **Crash points of accepting a hole**, in its order, and what the next run finds.
//! 1. The chain's tail and the log's start are read, then the topic id: nothing happened yet.
//! 2. The note is left, create-only: the gap event as it will be published, and where the hole ends. The next run adopts it.
//!    Retention only moves on, so an old note covers nothing that the log still holds. Where data got to the key first, the
//!    note speaks of no hole, and is never told.
//! 3. The hole's PUT is under way: create-only at a proven key, so a zombie's data is there first, or finds the hole.
//! 4. The hole stands and its event is not published: the next run lists the notes, and publishes those whose hole stands.
//! 5. The event is published, and the note that says so is not there: it is published again, under the same id.
//!
//! **Crash points of beginning an epoch**, in its order.
//! 1. Each old chain is walked from its origin and every bronze confirmed. Where another topic takes the place of the old one, what
//!    came behind the tail is lost: a note of that is left, create-only, with the gap event as it will be published. Then the
//!    end object is PUT at the tail, create-only: 412 or no answer means to walk on from there. So where an end object stands,
//!    every bronze below it was confirmed, and the next run passes over that chain; a note without one speaks of nothing.
//! 2. An end stands and its event is not published, or the note that says so is not there: the next run publishes it, under the
//!    same id. No epoch of another topic begins before.
//! 3. Some chains are closed, others not: their writers stop. The next run closes the others, even when the epoch is bound to
//!    what the broker has now: a run against another cluster may have been given up.
//! 4. All are closed; `_epoch.json` is PUT, create-only: the loser reads the winner's, and goes on only if they agree.
//! 5. A writer of the old epoch begins a partition that was not in the lake when the chains were listed: harmless, and closed
//!    when the command is run again.
//!
//! **Must never happen here**: a hole or an end at a key that is not proven; a gap event for a hole or an end that does not stand; an
//! epoch begun before every chain of the one before it was closed.

mod accept_hole;
mod new_epoch;

use std::sync::Arc;

use anyhow::anyhow;
use pipeline::consume::Fault;
use pipeline::lake::{Link, LinkKind};
use pipeline::misconfigured;

use super::start::{epochs, here, name_of, recreated};
use super::{Chain, Landed};
use crate::world::{Place, World};

pub use accept_hole::{Hole, Holes, accept_hole, holes};
pub use new_epoch::{Begun, Closed, Look, OldChain, look, new_epoch};

impl<W: World> Chain<W> {
    /// The last object of the chain.
    async fn last_link(&self, origin: i64) -> Result<Option<Link>, Fault> {
        match self.last_start(origin, i64::MAX).await? {
            Some(start) => Ok(Some(self.read_link(start).await?)),
            None => Ok(None),
        }
    }

    /// Puts an object without rows at the proven key `start`, or finds out that there is one.
    async fn put_mark(&self, kind: LinkKind, start: i64, next_offset: i64) -> Result<Landed, Fault> {
        let link = Link { kind, topic_id: self.place.topic_id, start, next_offset, rows: None };
        let bytes = self.world.raw(&link, &W::Records::default()).await.map_err(Fault::Stop)?;
        self.put_link(&link, bytes).await
    }
}

/// The chain of a partition in the newest epoch, which must be bound to the topic as it is now.
async fn bound<W: World>(world: Arc<W>, topic: &Arc<str>, partition: i32) -> Result<Chain<W>, Fault> {
    let here = here(&*world, topic, partition).await?;
    let epochs = epochs(&*world, topic).await?;
    let Some(newest) = epochs.last() else { return Err(nothing_of(topic)) };
    let epoch = u32::try_from(epochs.len() - 1).map_err(|error| Fault::Stop(error.into()))?;
    if *newest != here {
        return Err(refused(recreated(topic, epoch, &name_of(newest), &name_of(&here))));
    }
    // No bronze is made: the writer that goes on confirms it, and commits nothing before.
    let place = Place { topic: topic.clone(), partition, epoch, topic_id: here.topic_id, table: None };
    Ok(Chain::at(world, place))
}

/// The command is not the one to run here.
fn refused(fault: Fault) -> Fault {
    match fault {
        Fault::Stop(why) => Fault::Stop(misconfigured(why.to_string())),
        outage @ Fault::Outage(_) => outage,
    }
}

fn nothing_of(topic: &str) -> Fault {
    Fault::Stop(misconfigured(format!(
        "the lake holds nothing of topic {topic}: consumer-lake begins its first epoch by itself (is S3_PREFIX right?)"
    )))
}

fn keeps_moving(name: &str) -> Fault {
    Fault::Outage(anyhow!("the tail of {name} keeps moving: somebody writes at this moment; run it again"))
}
