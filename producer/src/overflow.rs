//! What could not be kept, told: one OVERFLOW gap a source, open while its records are dropped and closed with their count.
//! Must never happen here: a dropped record that no gap counts.

use std::collections::HashMap;
use std::sync::Arc;

use pipeline::codec::Encoder;
use pipeline::events::{Gap, GapReason, event_id};

use crate::outbox::{Outgoing, encoded_gap};
use crate::status::now_micros;

/// Stands for the source of records that an earlier run spilled: theirs is no longer known.
const UNKNOWN_SOURCE: &str = "producer";

pub struct Overflows {
    encoder: Arc<Encoder>,
    open: HashMap<&'static str, Overflow>,
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

    /// Whether records are being dropped.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.open.is_empty()
    }

    /// A record is dropped. The first one gives the gap's opening.
    pub fn dropped(&mut self, record: &Outgoing, why: &str) -> Option<Outgoing> {
        let source = record.source.unwrap_or(UNKNOWN_SOURCE);
        if let Some(overflow) = self.open.get_mut(source) {
            overflow.dropped += 1;
            return None;
        }
        let gap = gap(source, Vec::new(), record.received_at, format!("records are dropped: {why}"));
        tracing::error!(source, gap = %gap.id, why, "records are dropped");
        let opening = encoded_gap(&self.encoder, Some(source), &gap);
        self.open.insert(source, Overflow { gap, dropped: 1 });
        Some(opening)
    }

    /// There is room again: the closing of each gap, with how many records were dropped.
    pub fn end(&mut self) -> Vec<Outgoing> {
        let mut closings = Vec::new();
        for (source, Overflow { mut gap, dropped }) in self.open.drain() {
            gap.ended_at = Some(now_micros().max(gap.started_at));
            gap.detail = format!("{}; {dropped} records", gap.detail);
            tracing::warn!(source, gap = %gap.id, dropped, "records are taken again");
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
