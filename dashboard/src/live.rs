//! Everything the page shows, in bounded memory: series, gaps, sources. One lock holds it; nothing slow happens under that
//! lock. What changed since the last frame is remembered, so that a frame costs what changed and not what is known. Must
//! never happen here: memory that grows with a flood of symbols, or an older revision over a newer one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use pipeline::events::{Gap, PriceTick, SourceHealth};
use uuid::Uuid;

use crate::outages::Outages;
use crate::protocol::{Json, MAX_NAME_CHARS};
use crate::series::{Series, Span};

/// Corrected events whose revision is remembered.
const MAX_CORRECTED: usize = 4096;

/// What changed since the frame before. Numbered in the order in which they were taken.
#[derive(Debug, Default)]
pub struct Changes {
    pub number: u64,
    pub rows: Vec<ChangedRow>,
    pub gaps: Vec<Json>,
}

#[derive(Clone, Debug)]
pub struct ChangedRow {
    pub symbol: Arc<str>,
    pub source: Arc<str>,
    pub row: Json,
}

/// What a page starts from: everything up to frame `number`.
#[derive(Debug)]
pub struct Snapshot {
    pub number: u64,
    pub rows: Vec<ChangedRow>,
    pub gaps: Vec<Json>,
    pub sources: Vec<Json>,
}

#[derive(Debug)]
pub struct Live {
    span: Span,
    max_series: usize,
    /// By symbol; a symbol has few sources.
    symbols: HashMap<Arc<str>, Vec<Series>>,
    series: usize,
    corrected: HashMap<Uuid, i32>,
    corrected_order: VecDeque<Uuid>,
    pub outages: Outages,
    changed: HashSet<(Arc<str>, Arc<str>)>,
    changed_gaps: VecDeque<Json>,
    frame: u64,
    next_eviction_us: i64,
    /// Ticks that were not taken in: a name too long, or too many series.
    pub refused: u64,
}

impl Live {
    pub fn new(look_back_us: i64, max_series: usize) -> Self {
        Self {
            span: Span::new(look_back_us),
            max_series,
            symbols: HashMap::new(),
            series: 0,
            corrected: HashMap::new(),
            corrected_order: VecDeque::new(),
            outages: Outages::default(),
            changed: HashSet::new(),
            changed_gaps: VecDeque::new(),
            frame: 0,
            next_eviction_us: 0,
            refused: 0,
        }
    }

    pub fn step_us(&self) -> i64 {
        self.span.step_us
    }

    pub fn series(&self) -> usize {
        self.series
    }

    /// Takes in a tick that the broker got at `broker_time` (microseconds).
    pub fn put_tick(&mut self, tick: &PriceTick, broker_time: i64) {
        if tick.symbol.chars().count() > MAX_NAME_CHARS || tick.source.chars().count() > MAX_NAME_CHARS {
            self.refused += 1;
            return;
        }
        if self.corrected.get(&tick.event_id).is_some_and(|revision| *revision >= tick.revision) {
            return;
        }
        if tick.revision > 0 || tick.retracted {
            self.remember_correction(tick);
            // Also under the symbol that it keeps: the revision before may not have been the one that moved it.
            for symbol in tick.previous_symbol.iter().chain([&tick.symbol]) {
                self.remove(symbol, &tick.source, tick.event_id);
            }
        }
        if tick.retracted {
            return;
        }
        let span = self.span;
        let Some(series) = self.series_for(&tick.symbol, &tick.source, broker_time) else {
            self.refused += 1;
            return;
        };
        if series.put(tick, broker_time, span) {
            let key = (series.symbol.clone(), series.source.clone());
            self.changed.insert(key);
        }
    }

    pub fn put_gap(&mut self, gap: &Gap) {
        if let Some(row) = self.outages.put_gap(gap) {
            self.changed_gaps.push_back(row);
            // Frames are taken ten times a second; a snapshot tells the open ones anyway.
            if self.changed_gaps.len() > 1000 {
                self.changed_gaps.pop_front();
            }
        }
    }

    pub fn put_health(&mut self, health: &SourceHealth) {
        self.outages.put_health(health);
    }

    fn remember_correction(&mut self, tick: &PriceTick) {
        if self.corrected.insert(tick.event_id, tick.revision).is_none() {
            self.corrected_order.push_back(tick.event_id);
        }
        if self.corrected_order.len() > MAX_CORRECTED
            && let Some(oldest) = self.corrected_order.pop_front()
        {
            self.corrected.remove(&oldest);
        }
    }

    fn remove(&mut self, symbol: &str, source: &str, event_id: Uuid) {
        if let Some(series) = self.find(symbol, source)
            && series.remove(event_id)
        {
            let key = (series.symbol.clone(), series.source.clone());
            self.changed.insert(key);
        }
    }

    fn find(&mut self, symbol: &str, source: &str) -> Option<&mut Series> {
        self.symbols.get_mut(symbol)?.iter_mut().find(|series| &*series.source == source)
    }

    /// The series of a tick, made when there is room for it.
    fn series_for(&mut self, symbol: &str, source: &str, broker_time: i64) -> Option<&mut Series> {
        if self.find(symbol, source).is_none() {
            if self.series >= self.max_series && !self.evict_silent(broker_time) {
                return None;
            }
            let series = Series::new(symbol, source);
            self.symbols.entry(series.symbol.clone()).or_default().push(series);
            self.series += 1;
        }
        self.find(symbol, source)
    }

    /// Makes room by dropping series without a record for a look-back. Looks at most once a second, so that a flood of
    /// symbols does not make each of its ticks walk over all series.
    fn evict_silent(&mut self, broker_time: i64) -> bool {
        if broker_time < self.next_eviction_us {
            return false;
        }
        self.next_eviction_us = broker_time + 1_000_000;
        let oldest = broker_time - self.span.look_back_us;
        self.symbols.retain(|_, sources| {
            sources.retain(|series| series.last_record_us >= oldest);
            !sources.is_empty()
        });
        self.series = self.symbols.values().map(Vec::len).sum();
        self.series < self.max_series
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        let mut rows = Vec::with_capacity(self.changed.len());
        for (symbol, source) in std::mem::take(&mut self.changed) {
            if let Some(row) = self.find(&symbol, &source).map(Series::row) {
                rows.push(ChangedRow { symbol, source, row });
            }
        }
        self.frame += 1;
        Changes { number: self.frame, rows, gaps: std::mem::take(&mut self.changed_gaps).into() }
    }

    /// Everything known of the symbols that `wanted` accepts.
    pub fn snapshot(&mut self, wanted: impl Fn(&str) -> bool) -> Snapshot {
        let mut rows = Vec::new();
        for (symbol, sources) in self.symbols.iter_mut().filter(|(symbol, _)| wanted(symbol)) {
            for series in sources.iter_mut().filter(|series| !series.is_empty()) {
                rows.push(ChangedRow { symbol: symbol.clone(), source: series.source.clone(), row: series.row() });
            }
        }
        rows.sort_by(|a, b| (&a.symbol, &a.source).cmp(&(&b.symbol, &b.source)));
        Snapshot { number: self.frame, rows, gaps: self.outages.open_gaps(), sources: self.outages.sources() }
    }

    /// The chart of one series: seconds UTC and the exact price.
    pub fn history(&mut self, symbol: &str, source: &str) -> Option<Vec<(i64, String)>> {
        let series = self.find(symbol, source)?;
        Some(series.points().map(|point| (point.event_time.div_euclid(1_000_000), point.price.to_string())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::tests::{NOW, tick};

    const HOUR: i64 = 3_600_000_000;

    fn prices(live: &mut Live) -> Vec<(String, String)> {
        let row = |row: &ChangedRow| serde_json::from_str::<serde_json::Value>(row.row.get()).expect("JSON");
        live.snapshot(|_| true)
            .rows
            .iter()
            .map(|changed| (changed.symbol.to_string(), row(changed)["price"].as_str().expect("a price").to_owned()))
            .collect()
    }

    #[test]
    fn a_frame_holds_what_changed_and_each_series_once() {
        let mut live = Live::new(HOUR, 10);
        for i in 0..1000 {
            live.put_tick(&tick("BTC-USD", &i.to_string(), &i.to_string(), NOW + i), NOW);
        }
        live.put_tick(&tick("ETH-USD", "1", "3000.5", NOW), NOW);
        let changes = live.take_changes();
        assert_eq!((changes.number, changes.rows.len()), (1, 2));
        assert!(changes.rows.iter().any(|row| row.row.get().contains("\"price\":\"999\"")), "the latest of a thousand");
        live.put_tick(&tick("ETH-USD", "1", "3000.5", NOW), NOW);
        assert!(live.take_changes().rows.is_empty(), "a repeat is no change");
        assert_eq!(live.snapshot(|_| true).number, 2);
    }

    #[test]
    fn a_flood_of_symbols_is_refused_until_room_is_made_by_silence() {
        let mut live = Live::new(HOUR, 10);
        for i in 0..10_000 {
            live.put_tick(&tick(&format!("S{i}-USD"), "1", "1", NOW), NOW);
        }
        assert_eq!((live.series(), live.refused), (10, 9990));
        live.put_tick(&tick("S3-USD", "2", "2", NOW + HOUR), NOW + HOUR);
        live.put_tick(&tick("NEW-USD", "1", "7", NOW + 2 * HOUR), NOW + HOUR + 1);
        assert_eq!(prices(&mut live), [("NEW-USD".to_owned(), "7".to_owned()), ("S3-USD".to_owned(), "2".to_owned())]);
        let long = "X".repeat(65);
        live.put_tick(&tick(&long, "1", "1", NOW), NOW);
        assert_eq!(live.refused, 9991);
    }

    #[test]
    fn a_correction_moves_a_tick_and_an_older_revision_does_not_come_back() {
        let mut live = Live::new(HOUR, 10);
        let wrong = tick("BTC-USD", "1", "108.079", NOW);
        live.put_tick(&wrong, NOW);
        let right = PriceTick {
            revision: 1,
            symbol: "BTC-BRL".to_owned(),
            previous_symbol: Some("BTC-USD".to_owned()),
            price: "108079".parse().expect("a price"),
            ..wrong.clone()
        };
        live.put_tick(&right, NOW);
        live.put_tick(&wrong, NOW);
        assert_eq!(prices(&mut live), [("BTC-BRL".to_owned(), "108079".to_owned())]);
        live.put_tick(&PriceTick { revision: 2, retracted: true, ..right.clone() }, NOW);
        live.put_tick(&right, NOW);
        assert!(prices(&mut live).is_empty());
    }

    #[test]
    fn what_is_remembered_of_corrections_is_bounded() {
        let mut live = Live::new(HOUR, 10);
        for i in 0..20_000 {
            live.put_tick(&PriceTick { revision: 1, ..tick("BTC-USD", &i.to_string(), "1", NOW) }, NOW);
        }
        assert_eq!((live.corrected.len(), live.corrected_order.len()), (MAX_CORRECTED, MAX_CORRECTED));
    }
}
