//! Where sources put what is to be published: encoded here, in the source's own task, and handed over in batches through a
//! bounded channel. Must never happen here: a queue without a bound.

use std::sync::Arc;

use anyhow::Context;
use pipeline::codec::Encoder;
use pipeline::events::{Gap, PriceTick, SourceHealth};
use pipeline::topics;
use tokio::sync::mpsc;

use crate::open_gaps::OpenGaps;

/// Batches between the sources and the publisher. A source waits when it is full; the publisher never stops taking.
const BATCHES: usize = 16;

/// Which topic a record goes to. The number is written into spill files: it never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Target {
    Ticks = 1,
    Gaps = 2,
    Health = 3,
}

impl Target {
    #[must_use]
    pub fn topic(self) -> &'static str {
        match self {
            Self::Ticks => topics::TICKS,
            Self::Gaps => topics::GAPS,
            Self::Health => topics::HEALTH,
        }
    }

    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Ticks, Self::Gaps, Self::Health].into_iter().find(|target| *target as u8 == number)
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
}

#[derive(Clone)]
pub struct Outbox {
    batches: mpsc::Sender<Vec<Outgoing>>,
    encoder: Arc<Encoder>,
    open_gaps: Arc<OpenGaps>,
}

impl Outbox {
    #[must_use]
    pub fn new(encoder: Arc<Encoder>) -> (Self, mpsc::Receiver<Vec<Outgoing>>) {
        let (batches, receiver) = mpsc::channel(BATCHES);
        (Self { batches, encoder, open_gaps: Arc::default() }, receiver)
    }

    /// Keeps the open gaps there.
    #[must_use]
    pub fn keeping(self, open_gaps: OpenGaps) -> Self {
        Self { open_gaps: Arc::new(open_gaps), ..self }
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
        let encode = |tick: &PriceTick| Outgoing {
            target: Target::Ticks,
            key: tick.symbol.clone().into_bytes(),
            payload: self.encoder.tick(tick),
            source: Some(source),
            received_at: tick.received_at,
        };
        self.send(ticks.iter().map(encode).collect()).await
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
        let record = Outgoing { target: Target::Health, key, payload, source: Some(source), received_at: health.at };
        self.send(vec![record]).await
    }

    async fn send(&self, batch: Vec<Outgoing>) -> anyhow::Result<()> {
        self.batches.send(batch).await.ok().context("the publisher has ended")
    }
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
    }
}
