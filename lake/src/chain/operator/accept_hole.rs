//! Accepting a hole: the chain goes on at the log's start, and the loss is told. The order of its steps, and what an
//! interruption leaves, stand in [`super`]. Must never happen here: a log start that is used before the topic id was asked
//! once more.

use std::sync::Arc;

use anyhow::anyhow;
use pipeline::consume::Fault;
use pipeline::events::{Gap, GapReason, event_id};
use pipeline::lake::{LinkKind, hole_key, hole_told_key, holes_prefix, parse_hole_key, table};
use pipeline::topics;
use serde::{Deserialize, Serialize};

use super::{bound, keeps_moving, refused};
use crate::chain::Chain;
use crate::chain::start::{json, parse};
use crate::world::{OperatorWorld, Place};

/// How often the tail may move under our hands before that counts as an outage.
const ROUNDS: usize = 16;
const MICROS_PER_MS: i64 = 1000;
/// The source of a gap that may concern every source of ticks.
const EVERY_SOURCE: &str = "*";
/// The source of a gap in a topic that holds no ticks.
const LAKE: &str = "lake";

/// Offsets that retention removed before the lake had them: from `start`, up to `next_offset` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    pub start: i64,
    pub next_offset: i64,
}

/// What there is to accept in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holes {
    /// Between the chain's tail and the log's start.
    pub open: Option<Hole>,
    /// Accepted by a run that was interrupted before their gap events were published.
    pub untold: Vec<Hole>,
}

/// Left in the store before the hole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    next_offset: i64,
    gap: Gap,
}

/// Looks for holes of a partition, and changes nothing.
///
/// # Errors
/// [`Fault::Stop`] when the lake is not of this topic, or its epoch was closed.
pub async fn holes<W: OperatorWorld>(world: Arc<W>, topic: Arc<str>, partition: i32) -> Result<Holes, Fault> {
    let chain = bound(world, &topic, partition).await?;
    let Some(origin) = chain.stored_origin().await? else { return Ok(Holes::default()) };
    let untold = chain.untold().await?.iter().map(|(hole, _)| *hole).collect();
    Ok(Holes { open: chain.open_hole(origin).await?, untold })
}

/// Accepts the hole of a partition and publishes its gap event; gives every hole whose event it published. None: there was
/// nothing to accept.
///
/// # Errors
/// As [`holes`]; [`Fault::Outage`] when the store or the broker did not answer: to be run again.
pub async fn accept_hole<W: OperatorWorld>(world: Arc<W>, topic: Arc<str>, partition: i32) -> Result<Vec<Hole>, Fault> {
    let chain = bound(world, &topic, partition).await?;
    let Some(origin) = chain.stored_origin().await? else { return Ok(Vec::new()) };
    let mut told = Vec::new();
    for _ in 0..ROUNDS {
        told.extend(chain.tell_all().await?);
        let Some(hole) = chain.open_hole(origin).await? else { return Ok(told) };
        chain.accept(origin, hole).await?;
    }
    Err(keeps_moving(&chain.name()))
}

impl<W: OperatorWorld> Chain<W> {
    /// What lies between the chain's tail and the log's start.
    async fn open_hole(&self, origin: i64) -> Result<Option<Hole>, Fault> {
        let last = self.last_link(origin).await?;
        let start = last.map_or(origin, |link| link.next_offset);
        let (topic, partition) = (&self.place.topic, self.place.partition);
        if last.is_some_and(|link| link.kind == LinkKind::End) {
            return Err(refused(self.closed(start)));
        }
        let (next_offset, _) = self.world.log_range(topic, partition).await.map_err(Fault::Outage)?;
        self.check_topic_id().await?;
        Ok((start < next_offset).then_some(Hole { start, next_offset }))
    }

    /// Leaves the note, then puts the hole that the note speaks of. Whatever stands at the key afterwards is looked at by the
    /// next round.
    async fn accept(&self, origin: i64, hole: Hole) -> Result<(), Fault> {
        let place = &self.place;
        let key = hole_key(&place.topic, place.epoch, place.partition, hole.start);
        let mine = Note { next_offset: hole.next_offset, gap: self.gap_of(origin, hole).await? };
        let stands = Self::create(&self.world, &key, json(&mine)).await?;
        let note: Note = parse(&key, &stands)?;
        self.put_mark(LinkKind::Hole, hole.start, note.next_offset).await.map(drop)
    }

    /// The event of a hole: from the broker time of the last object with records before it to that of the first record behind.
    async fn gap_of(&self, origin: i64, hole: Hole) -> Result<Gap, Fault> {
        let Place { topic, partition, .. } = &self.place;
        let Hole { start, next_offset } = hole;
        let ended_ms = self.world.first_time_ms(topic, *partition, 0).await.map_err(Fault::Outage)?;
        let started_ms = self.last_time_ms(origin).await?.unwrap_or(ended_ms);
        let last = next_offset - 1;
        let name = self.name();
        let detail =
            format!("retention removed offsets {start} to {last} of {name} before they were written to the lake");
        Ok(self.loss("hole", start, (started_ms, ended_ms), detail))
    }

    /// The gap event of records that the lake does not have: in the chain at `offset`, in broker time from one moment to another.
    pub(super) fn loss(&self, kind: &str, offset: i64, (started_ms, ended_ms): (i64, i64), detail: String) -> Gap {
        let Place { topic, partition, topic_id, .. } = &self.place;
        let of_ticks = topics::record_type(topic).is_some_and(|record| table(record) == "ticks");
        Gap {
            id: event_id(LAKE, kind, &format!("{topic}/{topic_id}/{partition}"), &offset.to_string()),
            source: if of_ticks { EVERY_SOURCE } else { LAKE }.to_owned(),
            symbols: Vec::new(),
            reason: GapReason::Overflow,
            started_at: started_ms.saturating_mul(MICROS_PER_MS),
            ended_at: Some(ended_ms.max(started_ms).saturating_mul(MICROS_PER_MS)),
            detail,
        }
    }

    /// Broker time of the first record in the last object that has one.
    pub(super) async fn last_time_ms(&self, origin: i64) -> Result<Option<i64>, Fault> {
        let mut to = i64::MAX;
        while let Some(start) = self.last_start(origin, to).await? {
            if let Some(rows) = self.read_link(start).await?.rows {
                return Ok(Some(rows.first_time_ms));
            }
            to = start - 1;
        }
        Ok(None)
    }

    /// Publishes the events of all holes that stand and are not told yet.
    pub(super) async fn tell_all(&self) -> Result<Vec<Hole>, Fault> {
        let mut told = Vec::new();
        for (hole, note) in self.untold().await? {
            self.world.gap(&note.gap).await.map_err(Fault::Outage)?;
            let place = &self.place;
            let key = hole_told_key(&place.topic, place.epoch, place.partition, hole.start);
            Self::create(&self.world, &key, json(&note.gap.id)).await?;
            told.push(hole);
        }
        Ok(told)
    }

    /// The holes that stand, and of whose events nobody has noted that they are published.
    async fn untold(&self) -> Result<Vec<(Hole, Note)>, Fault> {
        let place = &self.place;
        let prefix = holes_prefix(&place.topic, place.epoch, place.partition);
        let (mut noted, mut told, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let keys = self.world.list(&prefix, after.as_deref()).await.map_err(Fault::Outage)?;
            for (start, is_told) in keys.iter().filter_map(|key| parse_hole_key(key)) {
                if is_told { &mut told } else { &mut noted }.push(start);
            }
            let Some(last) = keys.into_iter().next_back() else { break };
            after = Some(last);
        }
        let mut untold = Vec::new();
        for start in noted.into_iter().filter(|start| !told.contains(start)) {
            // The note may be older than what got to the key, or the hole's PUT may never have come.
            if self.world.head(&self.raw_key(start)).await.map_err(Fault::Outage)?.is_none() {
                continue;
            }
            let link = self.read_link(start).await?;
            if link.kind != LinkKind::Hole {
                continue;
            }
            let key = hole_key(&place.topic, place.epoch, place.partition, start);
            let object = self.world.get(&key).await.map_err(Fault::Outage)?;
            let object = object.ok_or_else(|| Fault::Stop(anyhow!("{key} was there and is gone")))?;
            untold.push((Hole { start, next_offset: link.next_offset }, parse(&key, &object.bytes)?));
        }
        Ok(untold)
    }
}
