//! The ticks of one symbol in a time, whatever order they are read in: each event once, in its highest revision, and among equal
//! ones as the broker took it first. These are the rules of the database. What they come to are candles by the fold that memory
//! uses. Must never happen here: memory that grows beyond [`MAX_TICKS`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pipeline::decimal::Decimal38;
use pipeline::events::Kind;
use uuid::Uuid;

use crate::state::candle::Place;
use crate::state::tick::{Position, Told};
use crate::state::{Candle, Fold, Timeframe, candle_of};

/// Of a hundred bytes each.
pub const MAX_TICKS: usize = 300_000;

struct Kept {
    revision: i32,
    /// In order of the broker.
    taken: (i64, Position),
    event_time: i64,
    /// Nothing where the event is of another symbol or source now, or was taken back.
    tick: Option<KeptTick>,
}

struct KeptTick {
    source: Arc<str>,
    kind: Kind,
    price: Decimal38,
    quantity: Option<Decimal38>,
}

pub struct Gather<'a> {
    symbol: &'a str,
    source: Option<&'a str>,
    basis: Option<Kind>,
    events: HashMap<Uuid, Kept>,
    sources: Vec<Arc<str>>,
}

impl<'a> Gather<'a> {
    pub fn new(symbol: &'a str, source: Option<&'a str>, basis: Option<Kind>) -> Self {
        Self { symbol, source, basis, events: HashMap::new(), sources: Vec::new() }
    }

    /// Gives whether there was room for it.
    pub fn put(&mut self, told: &Told<'_>) -> bool {
        let is_wanted = told.symbol == self.symbol
            && self.source.is_none_or(|source| source == told.source)
            && self.basis.is_none_or(|basis| basis == told.tick.kind);
        let tick = &told.tick;
        let corrects = told.is_correction()
            && (told.previous_symbol == Some(self.symbol) || self.events.contains_key(&tick.event_id));
        if !is_wanted && !corrects {
            return true;
        }
        let taken = (tick.broker_time, tick.at);
        if let Some(known) = self.events.get(&tick.event_id) {
            if (known.revision, Reverse(known.taken)) >= (tick.revision, Reverse(taken)) {
                return true;
            }
        } else if self.events.len() >= MAX_TICKS {
            return false;
        }
        let kept = (is_wanted && !told.retracted).then(|| KeptTick {
            source: self.source_of(told.source),
            kind: tick.kind,
            price: tick.price,
            quantity: tick.quantity,
        });
        let kept = Kept { revision: tick.revision, taken, event_time: tick.event_time, tick: kept };
        self.events.insert(tick.event_id, kept);
        true
    }

    /// The source's name, kept once.
    fn source_of(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.sources.iter().find(|known| &***known == name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.sources.push(name.clone());
        name
    }

    /// In order of time: the newest `limit` of each source and price basis that begin in `[from_us, to_us)`. All are told as
    /// complete: gaps are not known here.
    pub fn candles(&self, tf: Timeframe, from_us: i64, to_us: i64, limit: usize) -> Vec<Candle> {
        let mut folds: BTreeMap<(&str, Kind, i64), Fold> = BTreeMap::new();
        for (event_id, kept) in &self.events {
            let Some(tick) = &kept.tick else { continue };
            let start = tf.bucket(kept.event_time);
            if start < from_us || start >= to_us {
                continue;
            }
            let place = Place { event_time: kept.event_time, event_id: *event_id };
            let fold = Fold::of(place, tick.price, tick.quantity);
            folds.entry((&*tick.source, tick.kind, start)).and_modify(|known| known.merge(&fold)).or_insert(fold);
        }
        let mut counts: HashMap<(&str, Kind), usize> = HashMap::new();
        let mut candles: Vec<Candle> = folds
            .iter()
            .rev()
            .filter(|((source, kind, _), _)| {
                let count = counts.entry((source, *kind)).or_default();
                *count += 1;
                *count <= limit
            })
            .map(|((source, kind, start), fold)| candle_of(self.symbol, source, *kind, tf, *start, fold, true))
            .collect();
        candles.sort_by(|a, b| {
            (a.start_us, &a.source, a.price_basis.as_str()).cmp(&(b.start_us, &b.source, b.price_basis.as_str()))
        });
        candles
    }
}

#[cfg(test)]
mod tests {
    use pipeline::events::PriceTick;

    use super::*;
    use crate::state::tests::{NOW, tick};

    fn candles(ticks: &[PriceTick]) -> Vec<(String, String, u32)> {
        let mut gather = Gather::new("BTC-USD", None, None);
        for (offset, tick) in ticks.iter().enumerate() {
            let at = Position { partition: 0, offset: offset as i64 };
            assert!(gather.put(&Told::of(tick, NOW + offset as i64, at)));
        }
        let candles = gather.candles(Timeframe::Minute, i64::MIN, i64::MAX, 100);
        candles.iter().map(|candle| (candle.open.to_string(), candle.close.to_string(), candle.trades)).collect()
    }

    #[test]
    fn each_event_counts_once_in_its_highest_revision_whatever_the_order() {
        let first = tick("BTC-USD", "1", "100", NOW);
        let second = tick("BTC-USD", "2", "101", NOW + 1);
        let other = tick("ETH-USD", "3", "7", NOW + 1);
        let corrected = PriceTick { revision: 1, price: "99".parse().expect("a price"), ..first.clone() };
        let moved = PriceTick {
            revision: 1,
            symbol: "BTC-BRL".to_owned(),
            previous_symbol: Some("BTC-USD".to_owned()),
            ..second.clone()
        };
        let taken_back = PriceTick { revision: 2, retracted: true, ..corrected.clone() };
        let text = |open: &str, close: &str, trades| vec![(open.to_owned(), close.to_owned(), trades)];
        assert_eq!(candles(&[first.clone(), second.clone(), other, first.clone()]), text("100", "101", 2));
        assert_eq!(candles(&[corrected.clone(), second.clone(), first.clone()]), text("99", "101", 2));
        assert_eq!(candles(&[moved.clone(), first.clone(), second.clone()]), text("100", "100", 1));
        assert_eq!(candles(&[second.clone(), moved, first.clone(), corrected.clone()]), text("99", "99", 1));
        assert_eq!(candles(&[taken_back, corrected, first, second]), text("101", "101", 1));
    }

    #[test]
    fn the_newest_of_each_series_are_told_in_order_of_time() {
        let mut gather = Gather::new("BTC-USD", None, None);
        for minute in 0..10 {
            for source in ["a", "b"] {
                let told = PriceTick {
                    source: source.to_owned(),
                    ..tick("BTC-USD", &format!("{source}{minute}"), "1", NOW + minute * 60_000_000)
                };
                gather.put(&Told::of(&told, NOW, Position::default()));
            }
        }
        let candles = gather.candles(Timeframe::Minute, i64::MIN, i64::MAX, 3);
        let seen: Vec<(i64, &str)> = candles.iter().map(|c| ((c.start_us - NOW) / 60_000_000, &*c.source)).collect();
        assert_eq!(seen, [(7, "a"), (7, "b"), (8, "a"), (8, "b"), (9, "a"), (9, "b")]);
    }
}
