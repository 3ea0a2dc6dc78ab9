//! What is missing: open gaps and what each source says of itself. Bounded: sources and open gaps beyond the limits are
//! counted, not kept. A gap that names very many symbols counts as one of its whole source, which says more rather than less.

use std::collections::{BTreeMap, HashMap};

use pipeline::events::{Gap, GapReason, SourceHealth};
use serde::Serialize;
use uuid::Uuid;

use crate::protocol::{Json, MAX_NAME_CHARS};

const MAX_SOURCES: usize = 64;
const MAX_OPEN_GAPS: usize = 1000;
const MAX_GAP_SYMBOLS: usize = 100;
const MAX_DETAIL_CHARS: usize = 200;

#[derive(Serialize)]
struct GapRow<'a> {
    id: Uuid,
    source: &'a str,
    /// Empty: all of the source's.
    symbols: &'a [String],
    reason: GapReason,
    started_at_us: i64,
    ended_at_us: Option<i64>,
    detail: String,
}

#[derive(Serialize)]
struct SourceRow<'a> {
    source: &'a str,
    state: &'a str,
    at_us: i64,
    last_answer_at_us: Option<i64>,
}

#[derive(Debug, Default)]
pub struct Outages {
    open: HashMap<Uuid, Json>,
    /// Closed while it was open here, so that an opening that comes late does not open it again.
    closed: std::collections::VecDeque<Uuid>,
    sources: BTreeMap<String, (i64, Json)>,
    /// Gaps and sources that were not kept because the limits were reached.
    pub refused: u64,
}

impl Outages {
    /// Takes in an opening or a closing. Gives the row when it is news.
    pub fn put_gap(&mut self, gap: &Gap) -> Option<Json> {
        if gap.source.chars().count() > MAX_NAME_CHARS || self.closed.contains(&gap.id) {
            return None;
        }
        let whole_source =
            gap.symbols.len() > MAX_GAP_SYMBOLS || gap.symbols.iter().any(|symbol| symbol.len() > MAX_NAME_CHARS);
        let row = Json::of(&GapRow {
            id: gap.id,
            source: &gap.source,
            symbols: if whole_source { &[] } else { &gap.symbols },
            reason: gap.reason,
            started_at_us: gap.started_at,
            ended_at_us: gap.ended_at,
            detail: gap.detail.chars().take(MAX_DETAIL_CHARS).collect(),
        });
        if gap.ended_at.is_some() {
            self.closed.push_back(gap.id);
            if self.closed.len() > MAX_OPEN_GAPS {
                self.closed.pop_front();
            }
            return self.open.remove(&gap.id).map(|_| row);
        }
        if self.open.len() >= MAX_OPEN_GAPS && !self.open.contains_key(&gap.id) {
            self.refused += 1;
            return None;
        }
        self.open.insert(gap.id, row.clone());
        Some(row)
    }

    pub fn put_health(&mut self, health: &SourceHealth) {
        let known = self.sources.get(&health.source).map(|(at, _)| *at);
        let name_fits =
            health.source.chars().count() <= MAX_NAME_CHARS && health.state.chars().count() <= MAX_NAME_CHARS;
        if known.is_none() && (self.sources.len() >= MAX_SOURCES || !name_fits) {
            self.refused += 1;
        } else if name_fits && known.is_none_or(|at| health.at > at) {
            let row = Json::of(&SourceRow {
                source: &health.source,
                state: &health.state,
                at_us: health.at,
                last_answer_at_us: health.last_answer_at,
            });
            self.sources.insert(health.source.clone(), (health.at, row));
        }
    }

    pub fn open_gaps(&self) -> Vec<Json> {
        self.open.values().cloned().collect()
    }

    pub fn sources(&self) -> Vec<Json> {
        self.sources.values().map(|(_, row)| row.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use pipeline::example;

    use super::*;

    fn gap(id: u128, ended_at: Option<i64>) -> Gap {
        Gap {
            id: Uuid::from_u128(id),
            source: "coinbase".to_owned(),
            symbols: vec!["BTC-USD".to_owned()],
            reason: GapReason::Disconnected,
            started_at: 1,
            ended_at,
            detail: "x".repeat(500),
        }
    }

    #[test]
    fn a_gap_opens_and_closes_once() {
        let mut outages = Outages::default();
        assert!(outages.put_gap(&gap(1, None)).is_some());
        assert_eq!(outages.open_gaps().len(), 1);
        assert!(outages.put_gap(&gap(1, Some(5))).is_some_and(|row| row.get().contains("\"ended_at_us\":5")));
        assert!(outages.open_gaps().is_empty());
        assert!(outages.put_gap(&gap(1, None)).is_none(), "an opening after its closing");
        assert!(outages.put_gap(&gap(2, Some(5))).is_none(), "a closing of what never was open here is no news");
    }

    #[test]
    fn floods_are_bounded() {
        let mut outages = Outages::default();
        for i in 0..5000_u32 {
            outages.put_gap(&gap(u128::from(i), None));
            let source = format!("source-{i}");
            outages.put_health(&SourceHealth { source, at: 1, ..example::health() });
        }
        assert_eq!((outages.open_gaps().len(), outages.sources().len()), (MAX_OPEN_GAPS, MAX_SOURCES));
        assert_eq!(outages.refused, 4000 + 4936);
        let many = Gap { symbols: vec!["A-B".to_owned(); 5000], ..gap(1, None) };
        assert!(
            outages.put_gap(&many).is_some_and(|row| row.get().contains("\"symbols\":[]") && row.get().len() < 500)
        );
    }

    #[test]
    fn the_newest_health_counts() {
        let mut outages = Outages::default();
        let health = |at, state: &str| SourceHealth {
            at,
            last_answer_at: Some(at),
            state: state.to_owned(),
            ..example::health()
        };
        outages.put_health(&health(2, "FAILING"));
        outages.put_health(&health(1, "OK"));
        assert!(outages.sources()[0].get().contains("FAILING"));
    }
}
