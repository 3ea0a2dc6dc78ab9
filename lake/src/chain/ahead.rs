//! What can be made of a batch before its turn: the bytes of its objects, which need nothing of the batches before it. So a
//! batch is encoded while the one before is uploaded, and PUTs still go one after the other. Must never happen here: a request
//! to the store.

use std::sync::Arc;

use anyhow::anyhow;
use bytes::Bytes;
use pipeline::consume::Fault;
use pipeline::lake::{Link, LinkKind};

use super::{Batch, Chain, bronze_step};
use crate::world::{Bronze, Place, World};

/// Makes the objects of one chain's batches. Cheap to clone.
pub struct Ahead<W> {
    world: Arc<W>,
    place: Place,
}

/// What was made of a batch.
pub struct Made {
    raw: anyhow::Result<Bytes>,
    /// `None` where there is none to make.
    bronze: anyhow::Result<Option<Bronze>>,
}

impl<W: World> Chain<W> {
    pub fn ahead(&self) -> Ahead<W> {
        Ahead { world: self.world.clone(), place: self.place.clone() }
    }
}

impl<W> Clone for Ahead<W> {
    fn clone(&self) -> Self {
        Self { world: self.world.clone(), place: self.place.clone() }
    }
}

impl<W: World> Ahead<W> {
    /// Makes a batch's objects. A failure is told when the batch is written.
    pub async fn make(&self, batch: &Batch<W::Records>) -> Made {
        let link = link(&*self.world, &self.place, batch);
        let bronze = async {
            if bronze_step::key_of(&self.place, &link).is_none() {
                return Ok(None);
            }
            self.world.bronze(&self.place, &link, &batch.records).await.map(Some)
        };
        let (raw, bronze) = futures::join!(self.world.raw(&link, &batch.records), bronze);
        Made { raw, bronze }
    }
}

impl Made {
    pub(super) fn raw(&self) -> Result<Bytes, Fault> {
        self.raw.as_ref().cloned().map_err(|error| Fault::Stop(anyhow!("{error:#}")))
    }

    pub(super) fn bronze(&self) -> Result<Option<Bronze>, Fault> {
        self.bronze.as_ref().cloned().map_err(bronze_step::fault_of)
    }
}

/// What the batch's raw object says of itself.
pub(super) fn link<W: World>(world: &W, place: &Place, batch: &Batch<W::Records>) -> Link {
    Link {
        kind: LinkKind::Data,
        topic_id: place.topic_id,
        start: batch.start,
        next_offset: batch.next_offset,
        rows: world.rows(&batch.records),
    }
}
