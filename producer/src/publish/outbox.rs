//! Where sources put what is to be published: encoded here, in the source's own task, and handed over in batches through a
//! bounded channel. Must never happen here: a queue without a bound.

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use pipeline::codec::Encoder;
use pipeline::events::{Gap, IndexWeight, PayloadRecord, PriceTick, SourceHealth};
use pipeline::{payload, topics, trace};
use tokio::sync::mpsc;

use crate::gaps::open_gaps::OpenGaps;
use crate::parse::payload::Payload;
use crate::publish::cross_check::{CrossCheck, OffMedian};
use crate::publish::implied::Implied;

/// Batches between the sources and the publisher. A source waits when it is full; the publisher never stops taking.
const BATCHES: usize = 16;

/// Which topic a record goes to. The number is written into spill files: it never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Target {
    Ticks = 1,
    Gaps = 2,
    Health = 3,
    Payloads = 4,
    Index = 5,
}

impl Target {
    pub const ALL: [Self; 5] = [Self::Ticks, Self::Gaps, Self::Health, Self::Payloads, Self::Index];

    #[must_use]
    pub fn topic(self) -> &'static str {
        match self {
            Self::Ticks => topics::TICKS,
            Self::Gaps => topics::GAPS,
            Self::Health => topics::HEALTH,
            Self::Payloads => topics::PAYLOADS,
            Self::Index => topics::INDEX,
        }
    }

    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|target| *target as u8 == number)
    }
}

/// One encoded record on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub target: Target,
    pub key: Vec<u8>,
    pub payload: Vec<u8>,
    /// Whose record this is, when it is known: a record from an earlier run's spill file has forgotten.
    pub source: Option<&'static str>,
    /// Micros UTC.
    pub received_at: i64,
    /// A tick that is off the other sources' prices says so in a header.
    pub off_median: Option<OffMedian>,
    /// A record that is sampled says in a header which trace it is of.
    pub trace: Option<Box<trace::Sending>>,
}

/// What every tick goes through on its way out.
#[derive(Default)]
pub struct Checks {
    pub cross_check: Option<CrossCheck>,
    pub implied: Option<Implied>,
}

#[derive(Clone)]
pub struct Outbox {
    batches: mpsc::Sender<Vec<Outgoing>>,
    encoder: Arc<Encoder>,
    open_gaps: Arc<OpenGaps>,
    checks: Arc<Checks>,
    leaves_gaps_open: bool,
}

impl Outbox {
    #[must_use]
    pub fn new(encoder: Arc<Encoder>) -> (Self, mpsc::Receiver<Vec<Outgoing>>) {
        let (batches, receiver) = mpsc::channel(BATCHES);
        (
            Self { batches, encoder, open_gaps: Arc::default(), checks: Arc::default(), leaves_gaps_open: false },
            receiver,
        )
    }

    /// Keeps the open gaps there.
    #[must_use]
    pub fn keeping(self, open_gaps: OpenGaps) -> Self {
        Self { open_gaps: Arc::new(open_gaps), ..self }
    }

    /// Sends every tick through these.
    #[must_use]
    pub fn checking(self, checks: Checks) -> Self {
        Self { checks: Arc::new(checks), ..self }
    }

    /// The same with another way out, whose records are to be [handed on](Self::forward) here. A ledger that uses it leaves its
    /// gaps open when it stops.
    #[must_use]
    pub fn leaving_gaps_open(&self) -> (Self, mpsc::Receiver<Vec<Outgoing>>) {
        let (batches, receiver) = mpsc::channel(BATCHES);
        (Self { batches, leaves_gaps_open: true, ..self.clone() }, receiver)
    }

    #[must_use]
    pub fn leaves_gaps_open(&self) -> bool {
        self.leaves_gaps_open
    }

    /// Hands on what came out of another way.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn forward(&self, batch: Vec<Outgoing>) -> anyhow::Result<()> {
        self.send(batch).await
    }

    #[must_use]
    pub fn open_gaps(&self) -> &OpenGaps {
        &self.open_gaps
    }

    /// Closes what an earlier run left open of sources that are no longer read: nothing else will.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn close_left(&self, read: &[&str], at: i64) -> anyhow::Result<()> {
        for mut gap in self.open_gaps.of_others(read) {
            gap.ended_at = Some(at.max(gap.started_at));
            gap.detail.push_str("; closed at restart");
            tracing::info!(source = gap.source, gap = %gap.id, "gap of a source that is no longer read closed");
            self.send(vec![encoded_gap(&self.encoder, None, &gap)]).await?;
            self.open_gaps.closed(gap.id);
        }
        Ok(())
    }

    /// Publishes ticks in their order, keyed by symbol.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn ticks(&self, source: &'static str, ticks: &[PriceTick]) -> anyhow::Result<()> {
        if ticks.is_empty() {
            return Ok(());
        }
        let encode = |tick: &PriceTick, off_median| Outgoing {
            target: Target::Ticks,
            key: tick.symbol.clone().into_bytes(),
            payload: self.encoder.tick(tick),
            source: Some(source),
            received_at: tick.received_at,
            off_median,
            trace: trace::sending(tick.payload_id, topics::TICKS, tick.event_id, tick.symbol.as_bytes()),
        };
        let mut batch: Vec<Outgoing> = match &self.checks.cross_check {
            Some(check) => ticks.iter().zip(check.marks(ticks)).map(|(tick, mark)| encode(tick, mark)).collect(),
            None => ticks.iter().map(|tick| encode(tick, None)).collect(),
        };
        if let Some(implied) = &self.checks.implied {
            batch.extend(implied.from(ticks).iter().map(|tick| encode(tick, None)));
        }
        self.send(batch).await
    }

    /// Publishes rows of index portfolios, keyed by index.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn weights(&self, source: &'static str, weights: &[IndexWeight]) -> anyhow::Result<()> {
        if weights.is_empty() {
            return Ok(());
        }
        let encode = |weight: &IndexWeight| Outgoing {
            target: Target::Index,
            key: weight.index_name.clone().into_bytes(),
            payload: self.encoder.index_weight(weight),
            source: Some(source),
            received_at: weight.received_at,
            off_median: None,
            trace: None,
        };
        self.send(weights.iter().map(encode).collect()).await
    }

    /// Publishes a payload as it was received, keyed by source. `status` is HTTP's; a frame has none. Its ticks go after it.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn payload(
        &self,
        source: &'static str,
        payload: &Payload<'_>,
        status: Option<u16>,
    ) -> anyhow::Result<()> {
        // Encoded a part at a time: all the parts of the longest one are as large as the body again.
        for record in parts(source, payload, status) {
            self.send(vec![self.encoded_part(source, &record)]).await?;
        }
        Ok(())
    }

    /// The same for the frames of a turn, handed over at once.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn payloads(&self, encoded: Vec<Outgoing>) -> anyhow::Result<()> {
        if encoded.is_empty() { Ok(()) } else { self.send(encoded).await }
    }

    /// A payload's records: more than one where it is long.
    #[must_use]
    pub fn encoded_payload(&self, source: &'static str, payload: &Payload<'_>, status: Option<u16>) -> Vec<Outgoing> {
        parts(source, payload, status).iter().map(|record| self.encoded_part(source, record)).collect()
    }

    fn encoded_part(&self, source: &'static str, record: &PayloadRecord) -> Outgoing {
        Outgoing {
            target: Target::Payloads,
            key: source.as_bytes().to_vec(),
            payload: self.encoder.payload(record),
            source: Some(source),
            received_at: record.received_at,
            off_median: None,
            trace: trace::sending(record.payload_id, topics::PAYLOADS, record.payload_id, source.as_bytes()),
        }
    }

    /// Publishes a gap's opening or closing, keyed by source.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn gap(&self, source: &'static str, gap: &Gap) -> anyhow::Result<()> {
        self.send(vec![encoded_gap(&self.encoder, Some(source), gap)]).await
    }

    /// Publishes the word on one source, keyed by source.
    ///
    /// # Errors
    /// When the publisher has ended.
    pub async fn health(&self, source: &'static str, health: &SourceHealth) -> anyhow::Result<()> {
        let payload = self.encoder.health(health);
        let key = source.as_bytes().to_vec();
        let record = Outgoing {
            target: Target::Health,
            key,
            payload,
            source: Some(source),
            received_at: health.at,
            off_median: None,
            trace: None,
        };
        self.send(vec![record]).await
    }

    async fn send(&self, batch: Vec<Outgoing>) -> anyhow::Result<()> {
        self.batches.send(batch).await.ok().context("the publisher has ended")
    }
}

fn parts(source: &str, payload: &Payload<'_>, status: Option<u16>) -> Vec<PayloadRecord> {
    payload::split(&payload::Payload {
        payload_id: payload.id,
        source: source.to_owned(),
        request: payload.request.to_owned(),
        status: status.map(i32::from),
        received_at: payload.received_at,
        body: Bytes::copy_from_slice(payload.bytes),
    })
}

/// A gap as a record, keyed by source.
#[must_use]
pub fn encoded_gap(encoder: &Encoder, source: Option<&'static str>, gap: &Gap) -> Outgoing {
    Outgoing {
        target: Target::Gaps,
        key: gap.source.clone().into_bytes(),
        payload: encoder.gap(gap),
        source,
        received_at: gap.ended_at.unwrap_or(gap.started_at),
        off_median: None,
        trace: None,
    }
}
