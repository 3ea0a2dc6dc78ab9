//! What could not be kept, told: one OVERFLOW gap a source, open while its records are dropped and closed with their count.
//! Payloads have gaps of their own, which name their topic in place of symbols: without them no price is missing. Must never
//! happen here: a dropped record that no gap counts.

use std::collections::HashMap;
use std::sync::Arc;

use pipeline::codec::Encoder;
use pipeline::events::{Gap, GapReason, event_id};

use crate::drive::clock::now_micros;
use crate::publish::outbox::{Outgoing, Target, encoded_gap};

/// Stands for the source of records that an earlier run spilled: theirs is no longer known.
const UNKNOWN_SOURCE: &str = "producer";

pub struct Overflows {
    encoder: Arc<Encoder>,
    open: HashMap<(&'static str, Lost), Overflow>,
}

/// What kind of record is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lost {
    /// Ticks, and rows of index portfolios.
    Prices,
    Payloads,
}

impl Lost {
    #[must_use]
    pub fn of(target: Target) -> Self {
        if target == Target::Payloads { Self::Payloads } else { Self::Prices }
    }

    /// What the gap names. Of prices, everything: which of them were dropped is not gathered.
    fn symbols(self) -> Vec<String> {
        match self {
            Self::Prices => Vec::new(),
            Self::Payloads => vec![Target::Payloads.topic().to_owned()],
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Prices => "records",
            Self::Payloads => "payload records",
        }
    }
}

struct Overflow {
    gap: Gap,
    dropped: u64,
}

impl Overflows {
    #[must_use]
    pub fn new(encoder: Arc<Encoder>) -> Self {
        Self { encoder, open: HashMap::new() }
    }

    /// Whether records of this kind are being dropped.
    #[must_use]
    pub fn any(&self, lost: Lost) -> bool {
        self.open.keys().any(|(_, open)| *open == lost)
    }

    /// A record is dropped. The first one gives the gap's opening.
    pub fn dropped(&mut self, record: &Outgoing, why: &str) -> Option<Outgoing> {
        let source = record.source.unwrap_or(UNKNOWN_SOURCE);
        let lost = Lost::of(record.target);
        if let Some(overflow) = self.open.get_mut(&(source, lost)) {
            overflow.dropped += 1;
            return None;
        }
        let detail = format!("{} are dropped: {why}", lost.words());
        let gap = gap(source, lost.symbols(), record.received_at, detail);
        tracing::error!(source, gap = %gap.id, why, "{} are dropped", lost.words());
        let opening = encoded_gap(&self.encoder, Some(source), &gap);
        self.open.insert((source, lost), Overflow { gap, dropped: 1 });
        Some(opening)
    }

    /// There is room again for records of this kind: the closing of each gap, with how many were dropped.
    pub fn end(&mut self, lost: Lost) -> Vec<Outgoing> {
        let mut closings = Vec::new();
        for ((source, _), Overflow { mut gap, dropped }) in self.open.extract_if(|(_, open), _| *open == lost) {
            gap.ended_at = Some(now_micros().max(gap.started_at));
            gap.detail = format!("{}; {dropped} records", gap.detail);
            tracing::warn!(source, gap = %gap.id, dropped, "{} are taken again", lost.words());
            closings.push(encoded_gap(&self.encoder, Some(source), &gap));
        }
        closings
    }

    /// A loss that is over when it is noticed: its gap, opening and closing.
    pub fn lost(&self, source: Option<&'static str>, symbols: Vec<String>, at: i64, detail: String) -> [Outgoing; 2] {
        let source = source.unwrap_or(UNKNOWN_SOURCE);
        let opening = gap(source, symbols, at, detail);
        let closing = Gap { ended_at: Some(at), ..opening.clone() };
        [opening, closing].map(|gap| encoded_gap(&self.encoder, Some(source), &gap))
    }
}

fn gap(source: &str, symbols: Vec<String>, started_at: i64, detail: String) -> Gap {
    let id = event_id(source, "gap", &symbols.join(","), &format!("OVERFLOW|{started_at}|{detail}"));
    Gap { id, source: source.to_owned(), symbols, reason: GapReason::Overflow, started_at, ended_at: None, detail }
}
