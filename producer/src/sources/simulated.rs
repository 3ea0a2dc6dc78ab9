//! A seeded market that does not exist: random walks on a price grid, for demos, tests and benchmarks. The same seed gives
//! the same prices in the same order. Its source is named `simulated` everywhere, so that nobody takes it for a market.
//! Must never happen here: a trade id that a restart gives to another trade (each run has its own), or a price off its grid
//! (prices are whole numbers of ticks, never floats).

use fastrand::Rng;
use pipeline::decimal::Decimal38;
use pipeline::events::{EventTimeOrigin, Kind, PriceTick, event_id};
use uuid::Uuid;

use super::payload_id;

pub const SOURCE: &str = "simulated";

/// Where a walk starts: the price in ticks, and how many digits after the point a tick is.
const STARTS: &[(&str, i64, u32)] = &[
    ("BTC-USD", 6_718_734, 2),
    ("ETH-USD", 342_115, 2),
    ("SOL-USD", 14_873, 2),
    ("BTC-BRL", 36_612_057, 2),
    ("ETH-BRL", 1_864_286, 2),
    ("USD-BRL", 54_493, 4),
    ("DOGE-USD", 12_345, 5),
    ("ADA-USD", 4_512, 4),
];

/// The symbols that are walked by default.
#[must_use]
pub fn default_symbols() -> Vec<String> {
    STARTS.iter().map(|(symbol, ..)| (*symbol).to_owned()).collect()
}

/// The market at one moment of its walk.
#[derive(Debug)]
pub struct Market {
    walks: Vec<Walk>,
    rng: Rng,
    /// When this run began, micros UTC: the first half of every trade id.
    run: i64,
    trades: u64,
    id_space: String,
}

#[derive(Debug)]
struct Walk {
    symbol: String,
    base: String,
    quote: String,
    start: i64,
    ticks: i64,
    /// One tick times 10^18.
    tick_size: i128,
}

impl Market {
    /// A market of BASE-QUOTE `symbols`. `run` is the time of the start in micros UTC.
    #[must_use]
    pub fn new(seed: u64, symbols: &[String], run: i64) -> Self {
        let walks = symbols.iter().map(|symbol| Walk::new(symbol)).collect();
        Self { walks, rng: Rng::with_seed(seed), run, trades: 0, id_space: format!("trade/seed={seed}") }
    }

    /// The next `count` trades, all received at `now`, micros UTC. None when there is no symbol.
    pub fn trades(&mut self, count: usize, now: i64) -> Vec<PriceTick> {
        if self.walks.is_empty() {
            return Vec::new();
        }
        let payload_id = payload_id(SOURCE, now, &self.trades.to_be_bytes());
        (0..count).map(|_| self.trade(now, payload_id)).collect()
    }

    fn trade(&mut self, now: i64, payload_id: Uuid) -> PriceTick {
        self.trades += 1;
        let trade_id = format!("{}-{}", self.run, self.trades);
        let chosen = self.rng.usize(..self.walks.len());
        let walk = &mut self.walks[chosen];
        walk.step(&mut self.rng);
        // Up to 5 units in steps of a ten-thousandth.
        let quantity = i128::from(self.rng.i64(1..=50_000)) * 10_i128.pow(14);
        PriceTick {
            event_id: event_id(SOURCE, &self.id_space, &walk.symbol, &trade_id),
            revision: 0,
            source: SOURCE.to_owned(),
            symbol: walk.symbol.clone(),
            base: walk.base.clone(),
            quote: walk.quote.clone(),
            kind: Kind::Trade,
            price: Decimal38::from_unscaled(i128::from(walk.ticks) * walk.tick_size).unwrap_or(Decimal38::ZERO),
            quantity: Decimal38::from_unscaled(quantity),
            bid: None,
            ask: None,
            volume_24h: None,
            quote_volume_24h: None,
            market_cap: None,
            change_24h_pct: None,
            event_time: now,
            event_time_origin: EventTimeOrigin::Source,
            received_at: now,
            sequence: None,
            trade_id: Some(trade_id),
            source_symbol: walk.symbol.clone(),
            payload_id,
            previous_event_time: None,
            previous_symbol: None,
            retracted: false,
        }
    }
}

impl Walk {
    fn new(symbol: &str) -> Self {
        // A symbol without a start of its own walks from 100.00.
        let (start, digits) = STARTS
            .iter()
            .find(|(known, ..)| *known == symbol)
            .map_or((10_000, 2), |(_, start, digits)| (*start, *digits));
        let (base, quote) = symbol.split_once('-').unwrap_or((symbol, ""));
        Self {
            symbol: symbol.to_owned(),
            base: base.to_owned(),
            quote: quote.to_owned(),
            start,
            ticks: start,
            tick_size: 10_i128.pow(Decimal38::SCALE - digits),
        }
    }

    /// Up to a twenty-thousandth of the price up or down, turned back at a quarter and at four times the start.
    fn step(&mut self, rng: &mut Rng) {
        let reach = (self.ticks / 20_000).max(1);
        let moved = self.ticks + rng.i64(-reach..=reach);
        self.ticks = moved.clamp(self.start / 4, self.start * 4);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_prices_and_another_run_gives_other_ids() {
        let prices =
            |ticks: &[PriceTick]| ticks.iter().map(|tick| (tick.symbol.clone(), tick.price)).collect::<Vec<_>>();
        let first = Market::new(7, &default_symbols(), 1).trades(1_000, 50);
        let again = Market::new(7, &default_symbols(), 2).trades(1_000, 90);
        let other = Market::new(8, &default_symbols(), 1).trades(1_000, 50);
        assert_eq!(prices(&first), prices(&again));
        assert_ne!(prices(&first), prices(&other));
        let ids: HashSet<Uuid> = first.iter().chain(&again).chain(&other).map(|tick| tick.event_id).collect();
        assert_eq!(ids.len(), 3_000);
    }

    #[test]
    fn prices_stay_on_their_grid_and_positive() {
        let symbols = vec!["USD-BRL".to_owned(), "BTC-USD".to_owned()];
        let ticks = Market::new(1, &symbols, 1).trades(20_000, 5);
        let mut moved = HashSet::new();
        for tick in ticks {
            let digits = if tick.symbol == "USD-BRL" { 14 } else { 16 };
            assert_eq!(tick.price.unscaled() % 10_i128.pow(digits), 0, "{} {}", tick.symbol, tick.price);
            assert!(tick.price > Decimal38::ZERO);
            moved.insert(tick.price);
        }
        assert!(moved.len() > 100, "the walk stands still");
    }
}
