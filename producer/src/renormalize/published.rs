//! What was published: of each event its highest revision, and among equals the first. Kept small: the record as it was
//! encoded, and a digest of what a correction may change. Must never happen here: memory without a bound.

use std::collections::{BTreeSet, HashMap};

use anyhow::Context;
use pipeline::codec::{Encoder, Framing, RecordType};
use pipeline::decode::{Decoder, Ticks};
use pipeline::events::{EventTimeOrigin, PriceTick};
use pipeline::fits;
use pipeline::misconfigured;
use pipeline::records::Records;
use pipeline::registry::Registry;
use twox_hash::XxHash3_128;
use uuid::Uuid;

use super::Range;

pub struct Published {
    range: Range,
    /// Sources whose payloads are read.
    sources: BTreeSet<&'static str>,
    max_ticks: usize,
    decoder: Decoder,
    digester: Digester,
    /// Boxed: half of a table's places may be empty.
    events: HashMap<Uuid, Box<Event>>,
}

/// One event as it was last published.
pub struct Event {
    /// Received in the range; else it is only a correction that may matter.
    pub in_range: bool,
    pub revision: i32,
    pub retracted: bool,
    /// Whether its time was possible when the broker took it.
    pub is_possible: bool,
    pub content: u128,
    pub payload_id: Uuid,
    /// Broker time, partition, offset: the first of equal revisions is what counts.
    pub place: (i64, i32, i64),
    pub record: Box<[u8]>,
    /// The highest revision below this one whose time was possible, where this one's was not: every sink refused this one,
    /// so the tick stands there.
    pub stands: Option<Box<Stands>>,
    pub told: Told,
}

impl Event {
    /// Takes in what an older revision, or a later copy, says of where the tick stands.
    fn stood(&mut self, stands: Option<Box<Stands>>) {
        let Some(stands) = stands else { return };
        if !self.is_possible && self.stands.as_ref().is_none_or(|known| known.revision < stands.revision) {
            self.stands = Some(stands);
        }
    }
}

/// A revision that sinks took.
pub struct Stands {
    revision: i32,
    pub record: Box<[u8]>,
}

/// What today's parsers say of a published event.
pub enum Told {
    Nothing,
    Same,
    Otherwise(Box<Otherwise>),
}

/// The tick as it would be published now.
pub struct Otherwise {
    pub payload_id: Uuid,
    pub record: Box<[u8]>,
}

impl Published {
    pub async fn new(
        range: Range,
        sources: BTreeSet<&'static str>,
        max_ticks: usize,
        registry: Option<Registry>,
    ) -> anyhow::Result<Self> {
        let decoder = Decoder::new(RecordType::PriceTick, registry);
        Ok(Self { range, sources, max_ticks, decoder, digester: Digester::new().await?, events: HashMap::new() })
    }

    /// Takes records of the topic of ticks, or of its raw objects. What does not decode is in the dead letters already.
    pub async fn take(&mut self, partition: i32, records: &Records) -> anyhow::Result<()> {
        let decoded = self.decoder.decode(records.values()).await?;
        let columns = Ticks::new(&decoded.batch);
        for (row, index) in decoded.rows.iter().enumerate() {
            // A correction counts whenever its event was received: a source may have told of it again since.
            let in_range = self.range.contains(columns.received_at(row));
            if !(in_range || columns.revision(row) > 0) || !self.sources.contains(columns.source(row)) {
                continue;
            }
            let index = *index as usize;
            let (time, offset) = (records.timestamps_ms().value(index), records.offsets().value(index));
            let (id, revision, place) = (columns.event_id(row), columns.revision(row), (time, partition, offset));
            let is_possible = fits::is_possible(columns.event_time(row), time.saturating_mul(1000));
            let record = || Box::<[u8]>::from(records.values().value(index));
            let stands = || is_possible.then(|| Box::new(Stands { revision, record: record() }));
            let known = self.events.get_mut(&id);
            if let Some(known) = known
                && (known.revision > revision || (known.revision == revision && known.place <= place))
            {
                if known.revision > revision && !known.is_possible {
                    known.stood(stands());
                }
                continue;
            }
            let known = self.events.remove(&id);
            let tick = columns.get(row);
            let mut event = Event {
                is_possible,
                in_range: in_range || known.as_ref().is_some_and(|known| known.in_range),
                revision,
                retracted: tick.retracted,
                content: self.digester.content(&tick),
                payload_id: tick.payload_id,
                place,
                record: record(),
                stands: None,
                told: Told::Nothing,
            };
            if let Some(known) = known {
                let Event { revision, is_possible, record, stands, .. } = *known;
                event.stood(stands);
                event.stood(is_possible.then(|| Box::new(Stands { revision, record })));
            }
            self.events.insert(id, Box::new(event));
            check_bound(self.events.len(), self.max_ticks)?;
        }
        Ok(())
    }

    pub fn into_parts(self) -> (HashMap<Uuid, Box<Event>>, Digester, Decoder) {
        (self.events, self.digester, self.decoder)
    }
}

pub fn check_bound(ticks: usize, max_ticks: usize) -> anyhow::Result<()> {
    if ticks <= max_ticks {
        return Ok(());
    }
    Err(misconfigured(format!(
        "more than {max_ticks} ticks (--max-ticks, RENORMALIZE_MAX_TICKS) are between --from and --to: take a shorter time, \
         or one --source after another; nothing was published"
    )))
}

/// What of a tick a correction may change.
pub struct Digester(Encoder);

impl Digester {
    async fn new() -> anyhow::Result<Self> {
        Ok(Self(Encoder::new(Framing::SingleObject).await.context("an encoder without a registry")?))
    }

    /// The same for two ticks that say the same, whichever payload said it, when, and in which revision.
    pub fn content(&self, tick: &PriceTick) -> u128 {
        let event_time = match tick.event_time_origin {
            EventTimeOrigin::Source => tick.event_time,
            // The time of receipt is that of a payload: what counts is whether it is taken as it is.
            EventTimeOrigin::Received => tick.event_time - tick.received_at,
        };
        let content = PriceTick {
            revision: 0,
            event_time,
            received_at: 0,
            payload_id: Uuid::nil(),
            previous_event_time: None,
            previous_symbol: None,
            ..tick.clone()
        };
        XxHash3_128::oneshot(&self.record(&content))
    }

    pub fn record(&self, tick: &PriceTick) -> Vec<u8> {
        self.0.tick(tick)
    }
}
