//! The newest price of each symbol and source, by the rule of `latest_prices`: the highest of (event time, sequence, event id),
//! a correction in the place of what it corrects. Must never happen here: memory that grows with the market.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pipeline::decimal::Decimal38;
use pipeline::events::PriceTick;
use uuid::Uuid;

/// Pairs of symbol and source that are kept; further ones are counted.
const MOST_SERIES: usize = 2_000;
/// Ticks a second are told of so long.
const RATE_OVER: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Up,
    Down,
    None,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Price {
    pub symbol: String,
    pub source: String,
    pub kind: &'static str,
    pub price: Decimal38,
    pub bid: Option<Decimal38>,
    pub ask: Option<Decimal38>,
    pub volume_24h: Option<Decimal38>,
    pub change_24h_pct: Option<Decimal38>,
    /// Microseconds UTC, by the source's clock.
    pub event_time: i64,
    /// Ticks that were read of it.
    pub ticks: u64,
    /// Beside the price before.
    pub change: Change,
    pub changed: Instant,
    sequence: Option<i64>,
    event_id: Uuid,
    revision: i32,
}

#[derive(Debug, Default)]
pub struct Prices {
    series: BTreeMap<(String, String), Price>,
    /// Ticks of series beyond the most.
    pub not_shown: u64,
    ticks: u64,
    /// When so many ticks had been read.
    marks: Vec<(Instant, u64)>,
}

impl Prices {
    pub fn add(&mut self, tick: PriceTick, now: Instant) {
        self.ticks += 1;
        let key = (tick.symbol.clone(), tick.source.clone());
        let Some(shown) = self.series.get_mut(&key) else {
            if tick.retracted {
                return;
            }
            if self.series.len() >= MOST_SERIES {
                self.not_shown += 1;
                return;
            }
            self.series.insert(key, Price::new(tick, 1, Change::None, now));
            return;
        };
        shown.ticks += 1;
        let newer = if tick.event_id == shown.event_id {
            tick.revision > shown.revision
        } else {
            (tick.event_time, tick.sequence, tick.event_id) > (shown.event_time, shown.sequence, shown.event_id)
        };
        if !newer {
            return;
        }
        if tick.retracted {
            // The one before it was not kept: there is none until the next.
            if tick.event_id == shown.event_id {
                self.series.remove(&key);
            }
            return;
        }
        let (change, changed) = match tick.price.cmp(&shown.price) {
            std::cmp::Ordering::Greater => (Change::Up, now),
            std::cmp::Ordering::Less => (Change::Down, now),
            std::cmp::Ordering::Equal => (shown.change, shown.changed),
        };
        *shown = Price::new(tick, shown.ticks, change, changed);
    }

    /// By symbol and source.
    pub fn iter(&self) -> impl Iterator<Item = &Price> {
        self.series.values()
    }

    /// Ticks a second, over the last few.
    pub fn rate(&mut self, now: Instant) -> f64 {
        self.marks.push((now, self.ticks));
        let young = |mark: &(Instant, u64)| now.duration_since(mark.0) <= RATE_OVER;
        self.marks.retain(young);
        let Some((since, before)) = self.marks.first() else { return 0.0 };
        let seconds = now.duration_since(*since).as_secs_f64();
        if seconds > 0.0 { (self.ticks - before) as f64 / seconds } else { 0.0 }
    }
}

impl Price {
    fn new(tick: PriceTick, ticks: u64, change: Change, changed: Instant) -> Self {
        Self {
            symbol: tick.symbol,
            source: tick.source,
            kind: tick.kind.as_str(),
            price: tick.price,
            bid: tick.bid,
            ask: tick.ask,
            volume_24h: tick.volume_24h,
            change_24h_pct: tick.change_24h_pct,
            event_time: tick.event_time,
            ticks,
            change,
            changed,
            sequence: tick.sequence,
            event_id: tick.event_id,
            revision: tick.revision,
        }
    }
}

#[cfg(test)]
mod tests {
    use pipeline::example;

    use super::*;

    fn tick(n: u128, event_time: i64, price: &str) -> PriceTick {
        PriceTick {
            event_id: Uuid::from_u128(n),
            event_time,
            price: Decimal38::parse(price).expect("a number"),
            sequence: None,
            ..example::tick()
        }
    }

    fn shown(prices: &Prices) -> Vec<(String, Change)> {
        prices.iter().map(|price| (price.price.to_string(), price.change)).collect()
    }

    #[test]
    fn the_newest_event_is_shown_whatever_the_order() {
        let (mut prices, now) = (Prices::default(), Instant::now());
        prices.add(tick(1, 10, "5"), now);
        prices.add(tick(2, 20, "6"), now);
        prices.add(tick(3, 15, "7"), now);
        assert_eq!(shown(&prices), [("6".to_owned(), Change::Up)]);
        prices.add(PriceTick { revision: 1, ..tick(2, 20, "4") }, now);
        assert_eq!(shown(&prices), [("4".to_owned(), Change::Down)], "a correction");
        prices.add(tick(2, 20, "6"), now);
        assert_eq!(shown(&prices), [("4".to_owned(), Change::Down)], "what it corrected, read again");
        prices.add(PriceTick { revision: 2, retracted: true, ..tick(2, 20, "4") }, now);
        assert_eq!(shown(&prices), []);
        assert_eq!(prices.ticks, 6);
    }

    #[test]
    fn a_rate_is_of_the_last_seconds() {
        let (mut prices, begun) = (Prices::default(), Instant::now());
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(prices.rate(begun), 0.0);
        for n in 0..40 {
            prices.add(tick(n, 1, "1"), begun);
        }
        assert_eq!(prices.rate(after(4)), 10.0);
        assert_eq!(prices.rate(after(8)), 0.0);
    }

    #[test]
    fn further_series_are_counted() {
        let (mut prices, now) = (Prices::default(), Instant::now());
        for n in 0..MOST_SERIES + 3 {
            prices.add(PriceTick { symbol: format!("S{n}-USD"), ..tick(1, 1, "1") }, now);
        }
        assert_eq!((prices.iter().count(), prices.not_shown), (MOST_SERIES, 3));
    }
}
