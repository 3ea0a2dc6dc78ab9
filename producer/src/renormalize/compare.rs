//! What today's parsers say beside what was published. An event that any payload still tells as it was published is the
//! same; one that is told otherwise is corrected by one revision; one whose payload was read, and that no payload tells any
//! more, is retracted; one that was never published is new. Must never happen here: a retraction for want of a payload.

use std::collections::HashMap;

use anyhow::Context;
use arrow::array::BinaryArray;
use pipeline::decode::{Decoder, Ticks};
use pipeline::events::PriceTick;
use serde::Serialize;
use uuid::Uuid;

use super::published::{Digester, Event, Otherwise, Published, Told, check_bound};

/// Changes that are made at once.
const CHUNK: usize = 1_000;

pub struct Comparison {
    max_ticks: usize,
    digester: Digester,
    decoder: Decoder,
    events: HashMap<Uuid, Box<Event>>,
    /// Never published, as encoded now.
    new: HashMap<Uuid, Box<[u8]>>,
    /// The payloads that published ticks name, and whether they were read.
    named: HashMap<Uuid, bool>,
    /// What may be changed, in the order in which it was found.
    found: Vec<Uuid>,
    /// What is still to be given, last first; `None` while payloads are read.
    left: Option<Vec<Uuid>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub same: u64,
    pub changed: u64,
    pub new: u64,
    pub retracted: u64,
    /// Published, and their payloads were not read.
    pub left_alone: u64,
}

/// One tick that is published, and the one whose place it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub change: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<PriceTick>,
    pub new: PriceTick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Changed,
    New,
    Retracted,
}

impl Comparison {
    pub fn new(published: Published, max_ticks: usize) -> Self {
        let (events, digester, decoder) = published.into_parts();
        let named = events.values().map(|event| (event.payload_id, false)).collect();
        Self { max_ticks, digester, decoder, events, new: HashMap::new(), named, found: Vec::new(), left: None }
    }

    /// A payload was read, whatever it told.
    pub fn read(&mut self, payload_id: Uuid) {
        if let Some(read) = self.named.get_mut(&payload_id) {
            *read = true;
        }
    }

    fn was_read(&self, payload_id: Uuid) -> bool {
        self.named.get(&payload_id).is_some_and(|read| *read)
    }

    pub fn was_published(&self, event_id: Uuid) -> bool {
        self.events.contains_key(&event_id)
    }

    /// A payload tells of an event that was published.
    pub fn told(&mut self, tick: &PriceTick) {
        let Some(event) = self.events.get_mut(&tick.event_id) else { return };
        let same = self.digester.content(tick) == event.content;
        // The payload that the published one came from knows best; else one that agrees; else the first.
        let own = tick.payload_id == event.payload_id;
        let decides = match &event.told {
            Told::Nothing => true,
            Told::Same => own,
            Told::Otherwise(other) => own || (same && other.payload_id != event.payload_id),
        };
        if !decides {
            return;
        }
        if same {
            event.told = Told::Same;
            return;
        }
        let record = self.digester.record(tick).into();
        event.told = Told::Otherwise(Box::new(Otherwise { payload_id: tick.payload_id, record }));
        self.found.push(tick.event_id);
    }

    /// A payload tells of an event that was never published.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] when there are too many.
    pub fn is_new(&mut self, tick: &PriceTick) -> anyhow::Result<()> {
        if !self.new.contains_key(&tick.event_id) {
            self.new.insert(tick.event_id, self.digester.record(tick).into());
            self.found.push(tick.event_id);
        }
        check_bound(self.events.len() + self.new.len(), self.max_ticks)
    }

    pub fn counts(&self) -> Counted {
        let mut counted = Counted { new: self.new.len() as u64, ..Counted::default() };
        for event in self.events.values() {
            match event.told {
                Told::Same => counted.same += 1,
                Told::Otherwise(_) => counted.changed += 1,
                Told::Nothing if !self.was_read(event.payload_id) => counted.left_alone += u64::from(event.in_range),
                Told::Nothing if event.retracted => counted.same += 1,
                Told::Nothing => counted.retracted += 1,
            }
        }
        counted
    }

    /// The next ticks that differ, in the order in which they were received, retracted ones last; `None` after the last.
    pub async fn next_changes(&mut self) -> anyhow::Result<Option<Vec<Change>>> {
        let mut left = match self.left.take() {
            Some(left) => left,
            None => self.changed_ids(),
        };
        let ids = left.split_off(left.len().saturating_sub(CHUNK));
        self.left = Some(left);
        let mut changes = Vec::with_capacity(ids.len());
        if ids.is_empty() {
            return Ok(None);
        }
        for id in ids.into_iter().rev() {
            if let Some(event) = self.events.remove(&id) {
                changes.push(self.correction(*event).await?);
            } else if let Some(record) = self.new.remove(&id) {
                changes.push(Change { change: Kind::New, old: None, new: self.decode(&record).await? });
            }
            // Else it was found more than once, and is given already.
        }
        Ok(Some(changes))
    }

    fn changed_ids(&mut self) -> Vec<Uuid> {
        let found = std::mem::take(&mut self.found);
        let differs = |id: &Uuid| self.events.get(id).is_none_or(|event| matches!(event.told, Told::Otherwise(_)));
        let mut ids: Vec<Uuid> = found.into_iter().filter(differs).collect();
        let gone =
            |event: &Event| matches!(event.told, Told::Nothing) && !event.retracted && self.was_read(event.payload_id);
        let gone = self.events.iter().filter(|(_, event)| gone(event));
        let mut retracted: Vec<_> = gone.map(|(id, event)| (event.place, *id)).collect();
        retracted.sort_unstable();
        ids.extend(retracted.into_iter().map(|(_, id)| id));
        ids.reverse();
        ids
    }

    async fn correction(&mut self, event: Event) -> anyhow::Result<Change> {
        let old = self.decode(&event.record).await?;
        let revision = old.revision.checked_add(1).context("an event with 2^31 revisions")?;
        // A revision that every sink refused has moved nothing: the tick stands where the one before it put it.
        let stands = match &event.stands {
            Some(stands) => &self.decode(&stands.record).await?,
            None => &old,
        };
        let (change, told) = match event.told {
            Told::Otherwise(told) => (Kind::Changed, self.decode(&told.record).await?),
            Told::Nothing | Told::Same => (Kind::Retracted, PriceTick { retracted: true, ..stands.clone() }),
        };
        let new = PriceTick {
            revision,
            previous_event_time: (told.event_time != stands.event_time).then_some(stands.event_time),
            previous_symbol: (told.symbol != stands.symbol).then(|| stands.symbol.clone()),
            ..told
        };
        Ok(Change { change, old: Some(old), new })
    }

    async fn decode(&mut self, record: &[u8]) -> anyhow::Result<PriceTick> {
        let decoded = self.decoder.decode(&BinaryArray::from_vec(vec![record])).await?;
        let columns = Ticks::new(&decoded.batch);
        columns.iter().next().context("a record that was decoded before")
    }
}
