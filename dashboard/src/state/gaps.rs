//! Gaps: the open ones, and those of the last day. A gap that names very many symbols counts as one of its whole source,
//! which says more rather than less. Bounded: beyond the limits gaps are counted, not kept.

use std::collections::{HashMap, HashSet, VecDeque};

use pipeline::events::{Gap, Kind};
use uuid::Uuid;

use super::row::GapRow;
use super::tick::Position;
use crate::protocol::{Json, MAX_NAME_CHARS};

const MAX_OPEN: usize = 1000;
const MAX_CLOSED: usize = 5000;
const MAX_SYMBOLS: usize = 100;
const MAX_DETAIL_CHARS: usize = 200;
const KEPT_US: i64 = 24 * 3_600_000_000;

/// A gap as it is known, and by which record.
#[derive(Clone, Debug)]
pub struct KnownGap {
    pub row: GapRow,
    pub json: Json,
    pub at: Position,
}

impl KnownGap {
    pub fn overlaps(&self, from: i64, to: i64) -> bool {
        self.row.started_at_us < to && self.row.ended_at_us.unwrap_or(i64::MAX) > from
    }
}

#[derive(Debug, Default)]
pub struct Gaps {
    open: HashMap<Uuid, KnownGap>,
    /// In the order of their closing.
    closed: VecDeque<KnownGap>,
    closed_ids: HashSet<Uuid>,
    /// Closed ones that found no room, until they are asked for.
    dropped: Vec<GapRow>,
    /// Records up to here may be missing here.
    pub forgotten: Vec<Position>,
    pub refused: u64,
}

/// Whether a gap is one in the candles of a series: the rule of Postgres' `gap_concerns`. A price of basis FX_IMPLIED is
/// computed from what others said.
pub fn concerns(gap_source: &str, gap_symbols: &[String], symbol: &str, source: &str, basis: Kind) -> bool {
    let is_implied = basis == Kind::FxImplied;
    if gap_source != source && gap_source != "*" && !is_implied {
        return false;
    }
    let names = |wanted: &str| gap_symbols.iter().any(|symbol| symbol == wanted);
    let implied_by = || {
        let (base, quote) = symbol.split_once('-').unwrap_or((symbol, ""));
        names(&format!("{base}-USD")) || names(&format!("USD-{quote}"))
    };
    gap_symbols.is_empty() || names(symbol) || (is_implied && implied_by())
}

impl Gaps {
    /// Takes in an opening or a closing; gives it when it is news.
    pub fn put(&mut self, gap: &Gap, at: Position) -> Option<&KnownGap> {
        if gap.source.chars().count() > MAX_NAME_CHARS || self.closed_ids.contains(&gap.id) {
            return None;
        }
        let is_wide = gap.symbols.len() > MAX_SYMBOLS || gap.symbols.iter().any(|symbol| symbol.len() > MAX_NAME_CHARS);
        let row = GapRow {
            id: gap.id,
            source: gap.source.clone(),
            symbols: if is_wide { Vec::new() } else { gap.symbols.clone() },
            reason: gap.reason,
            started_at_us: gap.started_at,
            ended_at_us: gap.ended_at,
            detail: gap.detail.chars().take(MAX_DETAIL_CHARS).collect(),
        };
        if self.open.get(&gap.id).is_some_and(|known| known.row == row) {
            return None;
        }
        let known = KnownGap { json: Json::of(&row), row, at };
        if gap.ended_at.is_some() {
            self.open.remove(&gap.id);
            self.closed_ids.insert(gap.id);
            self.closed.push_back(known);
            if self.closed.len() > MAX_CLOSED {
                self.drop_oldest();
            }
            return self.closed.back();
        }
        if self.open.len() >= MAX_OPEN && !self.open.contains_key(&gap.id) {
            self.refused += 1;
            at.raise(&mut self.forgotten);
            return None;
        }
        self.open.insert(gap.id, known);
        self.open.get(&gap.id)
    }

    pub fn is_open(&self, id: Uuid) -> bool {
        self.open.contains_key(&id)
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.closed.pop_front() else { return };
        oldest.at.raise(&mut self.forgotten);
        self.closed_ids.remove(&oldest.row.id);
        if self.dropped.len() < MAX_CLOSED {
            self.dropped.push(oldest.row);
        } else {
            self.refused += 1;
        }
    }

    /// Forgets closed ones that are too old; gives them, and those that found no room.
    pub fn trim(&mut self, now: i64) -> Vec<GapRow> {
        while self.closed.front().is_some_and(|oldest| oldest.row.ended_at_us.is_some_and(|at| at < now - KEPT_US)) {
            self.drop_oldest();
        }
        std::mem::take(&mut self.dropped)
    }

    pub fn all(&self) -> impl Iterator<Item = &KnownGap> {
        self.closed.iter().chain(self.open.values())
    }

    pub fn open(&self) -> Vec<&KnownGap> {
        let mut open: Vec<&KnownGap> = self.open.values().collect();
        open.sort_by_key(|gap| (gap.row.started_at_us, gap.row.id));
        open
    }

    /// Those that overlap `[from, to)`, by start.
    pub fn between(&self, from: i64, to: i64) -> Vec<&KnownGap> {
        let mut found: Vec<&KnownGap> = self.all().filter(|gap| gap.overlaps(from, to)).collect();
        found.sort_by_key(|gap| (gap.row.started_at_us, gap.row.id));
        found
    }

    /// Told by records behind `known`, in their order.
    pub fn since(&self, known: &[Position]) -> Vec<&KnownGap> {
        let mut found: Vec<&KnownGap> = self.all().filter(|gap| gap.at.is_after(known)).collect();
        found.sort_by_key(|gap| gap.at);
        found
    }
}

#[cfg(test)]
mod tests {
    use pipeline::events::GapReason;

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

    fn at(offset: i64) -> Position {
        Position { partition: 0, offset }
    }

    #[test]
    fn a_gap_opens_and_closes_once() {
        let mut gaps = Gaps::default();
        assert!(gaps.put(&gap(1, None), at(0)).is_some());
        assert!(gaps.put(&gap(1, None), at(1)).is_none(), "a repeat is no news");
        assert!(gaps.put(&gap(1, Some(5)), at(2)).is_some_and(|gap| gap.row.ended_at_us == Some(5)));
        assert!(gaps.open().is_empty());
        assert!(gaps.put(&gap(1, None), at(3)).is_none(), "an opening after its closing");
        assert_eq!((gaps.between(0, 2).len(), gaps.between(5, 9).len(), gaps.since(&[at(2)]).len()), (1, 0, 0));
        assert_eq!(gaps.trim(KEPT_US + 6).len(), 1);
        assert_eq!(gaps.forgotten, [at(2)]);
    }

    #[test]
    fn floods_are_bounded() {
        let mut gaps = Gaps::default();
        for i in 0..5000 {
            gaps.put(&gap(i, None), at(0));
        }
        assert_eq!((gaps.open().len(), gaps.refused), (MAX_OPEN, 4000));
        for i in 5000..25_000 {
            gaps.put(&gap(i, Some(5)), at(i as i64));
        }
        assert_eq!((gaps.closed.len(), gaps.closed_ids.len(), gaps.forgotten[0]), (MAX_CLOSED, MAX_CLOSED, at(19_999)));
        assert_eq!((gaps.dropped.len(), gaps.refused), (MAX_CLOSED, 14_000));
        let many = Gap { symbols: vec!["A-B".to_owned(); 5000], ..gap(1, None) };
        assert!(gaps.put(&many, at(1)).is_some_and(|gap| gap.row.symbols.is_empty() && gap.json.get().len() < 500));
    }

    #[test]
    fn which_series_a_gap_concerns() {
        let check = |gap_source, symbols: &[&str], symbol, source, basis, expected| {
            let symbols: Vec<String> = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
            assert_eq!(
                concerns(gap_source, &symbols, symbol, source, basis),
                expected,
                "{gap_source} {symbols:?} {symbol}"
            );
        };
        check("coinbase", &[], "BTC-USD", "coinbase", Kind::Trade, true);
        check("coinbase", &["BTC-USD"], "BTC-USD", "coinbase", Kind::Trade, true);
        check("coinbase", &["ETH-USD"], "BTC-USD", "coinbase", Kind::Trade, false);
        check("coinbase", &[], "BTC-USD", "kraken", Kind::Trade, false);
        check("*", &[], "BTC-USD", "kraken", Kind::Trade, true);
        check("bcb", &["USD-BRL"], "BTC-BRL", "implied", Kind::FxImplied, true);
        check("coinbase", &["BTC-USD"], "BTC-BRL", "implied", Kind::FxImplied, true);
        check("coinbase", &["ETH-USD"], "BTC-BRL", "implied", Kind::FxImplied, false);
    }
}
