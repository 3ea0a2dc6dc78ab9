//! Prices in another currency that nobody quotes: base-USD times USD-BRL is base-BRL, told as FX_IMPLIED with the age of the
//! exchange rate. Must never happen here: a rate beyond the set age, a product that is not exact, or an implied price that
//! passes as a quoted one (its source is `implied`, its kind its own).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pipeline::decimal::Decimal38;
use pipeline::events::{Kind, PriceTick, event_id};

use crate::symbols::Pair;

pub const SOURCE: &str = "implied";
/// A symbol is implied from each source once in so long, micros: an exchange's every trade would be noise.
const EVERY: i64 = 1_000_000;

pub struct Implied {
    /// From the symbols that prices come in (`BTC-USD`) to what is implied of them, with the rate that it takes.
    wanted: BTreeMap<String, Vec<Wanted>>,
    /// Beyond this age a rate is refused, micros.
    oldest_rate: i64,
    state: Mutex<State>,
}

struct Wanted {
    pair: Pair,
    /// `USD-BRL`.
    rate: String,
}

#[derive(Default)]
struct State {
    rates: HashMap<String, Rate>,
    /// When a symbol was last implied from a source.
    told: HashMap<(String, String), i64>,
}

struct Rate {
    /// Whose moment it is the rate of, micros UTC.
    of: i64,
    tick: PriceTick,
}

impl Implied {
    /// Implies these symbols from prices in `via` (dollars), with rates that are no older than `oldest_rate`.
    #[must_use]
    pub fn new(symbols: &[Pair], via: &str, oldest_rate: Duration) -> Self {
        let mut wanted: BTreeMap<String, Vec<Wanted>> = BTreeMap::new();
        for pair in symbols {
            let rate = Pair::new(via, &pair.quote).symbol();
            let from = Pair::new(&pair.base, via).symbol();
            wanted.entry(from).or_default().push(Wanted { pair: pair.clone(), rate });
        }
        let oldest_rate = i64::try_from(oldest_rate.as_micros()).unwrap_or(i64::MAX);
        Self { wanted, oldest_rate, state: Mutex::default() }
    }

    /// What these ticks imply; a rate among them is kept for those that follow.
    #[must_use]
    pub fn from(&self, ticks: &[PriceTick]) -> Vec<PriceTick> {
        if self.wanted.is_empty() {
            return Vec::new();
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut implied = Vec::new();
        for tick in ticks {
            if tick.kind == Kind::Fx && self.wanted.values().flatten().any(|wanted| wanted.rate == tick.symbol) {
                // A rate from the future is of now at best: it grows old from its receipt on.
                let of = tick.event_time.min(tick.received_at);
                if state.rates.get(&tick.symbol).is_none_or(|rate| rate.of <= of) {
                    state.rates.insert(tick.symbol.clone(), Rate { of, tick: tick.clone() });
                }
            }
            for wanted in self.wanted.get(&tick.symbol).into_iter().flatten() {
                implied.extend(self.imply(&mut state, tick, wanted));
            }
        }
        implied
    }

    fn imply(&self, state: &mut State, tick: &PriceTick, wanted: &Wanted) -> Option<PriceTick> {
        let now = tick.received_at;
        let symbol = wanted.pair.symbol();
        let told = state.told.entry((symbol.clone(), tick.source.clone())).or_insert(i64::MIN);
        // Also what a source repeats of its history is not implied: the rate of then is not known here.
        if now < told.saturating_add(EVERY) || now.saturating_sub(tick.event_time) > self.oldest_rate {
            return None;
        }
        *told = now;
        let Some(Rate { of, tick: rate }) = state.rates.get(&wanted.rate) else { return refuse("no_rate") };
        let age = now.saturating_sub(*of).max(0);
        if age > self.oldest_rate {
            return refuse("rate_too_old");
        }
        let Some(price) = Decimal38::checked_mul(tick.price, rate.price) else { return refuse("not_exact") };
        let source_symbol = format!("{}:{}*{}:{}", tick.source, tick.symbol, rate.source, rate.symbol);
        Some(PriceTick {
            event_id: event_id(SOURCE, "implied", &source_symbol, &format!("{}|{}", tick.event_id, rate.event_id)),
            source: SOURCE.to_owned(),
            symbol,
            base: wanted.pair.base.clone(),
            quote: wanted.pair.quote.clone(),
            kind: Kind::FxImplied,
            price,
            quantity: None,
            bid: None,
            ask: None,
            volume_24h: None,
            quote_volume_24h: None,
            market_cap: None,
            change_24h_pct: None,
            sequence: None,
            trade_id: None,
            source_symbol,
            fx_age_ms: Some(age / 1_000),
            ..tick.clone()
        })
    }
}

fn refuse(reason: &'static str) -> Option<PriceTick> {
    metrics::counter!("tickstream_producer_implied_refused_total", "reason" => reason).increment(1);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::payload::Payload;
    use crate::parse::tick::{EventTime, Identity, tick};

    const NOW: i64 = 1_774_998_000_000_000;
    const SECOND: i64 = 1_000_000;

    fn said(source: &'static str, pair: (&str, &str), kind: Kind, price: &str, at: i64) -> PriceTick {
        let pair = Pair::new(pair.0, pair.1);
        let identity = Identity { source, id_space: "x", source_symbol: &pair.symbol(), source_key: price };
        let payload = Payload::new(source, price.as_bytes(), at, "");
        tick(identity, &pair, kind, price.parse().expect("a price"), EventTime::Source(at), &payload)
    }

    fn implied() -> Implied {
        Implied::new(&["BTC-BRL".parse().expect("a pair")], "USD", Duration::from_secs(300))
    }

    fn rate(price: &str, at: i64) -> PriceTick {
        said("awesomeapi", ("USD", "BRL"), Kind::Fx, price, at)
    }

    fn bitcoin(price: &str, at: i64) -> PriceTick {
        said("coinbase", ("BTC", "USD"), Kind::Trade, price, at)
    }

    #[test]
    fn a_price_in_dollars_and_a_rate_imply_a_price_in_reais() {
        let implied = implied();
        assert_eq!(implied.from(&[bitcoin("67187.30", NOW)]), [], "no rate is known yet");
        assert_eq!(implied.from(&[rate("5.4321", NOW + SECOND)]), []);
        let told = implied.from(&[bitcoin("67187.30", NOW + 11 * SECOND), bitcoin("67187.40", NOW + 11 * SECOND + 1)]);
        let [one] = &told[..] else { panic!("once a second: {told:?}") };
        // 67187.30 * 5.4321
        assert_eq!((one.symbol.as_str(), one.price.to_string().as_str()), ("BTC-BRL", "364968.13233"));
        assert_eq!((one.kind, one.fx_age_ms, one.source.as_str()), (Kind::FxImplied, Some(10_000), "implied"));
        assert_eq!(one.source_symbol, "coinbase:BTC-USD*awesomeapi:USD-BRL");
        assert_eq!((one.event_time, one.trade_id.as_deref()), (NOW + 11 * SECOND, None));
    }

    #[test]
    fn an_old_rate_and_an_inexact_product_are_refused() {
        let implied = implied();
        assert_eq!(implied.from(&[rate("5.4321", NOW)]), []);
        assert_eq!(implied.from(&[bitcoin("67187.30", NOW + 301 * SECOND)]), []);
        assert_eq!(implied.from(&[rate("5.43210000000001", NOW + 302 * SECOND)]), []);
        assert_eq!(implied.from(&[bitcoin("0.123456789", NOW + 303 * SECOND)]), []);
        // An older rate that comes late does not take a newer one's place.
        assert_eq!(implied.from(&[rate("5", NOW + 100 * SECOND)]), []);
        let told = implied.from(&[bitcoin("1", NOW + 305 * SECOND)]);
        assert_eq!(told[0].price.to_string(), "5.43210000000001");
    }

    #[test]
    fn a_rate_from_the_future_grows_old_all_the_same() {
        let implied = implied();
        let ahead = PriceTick { received_at: NOW, ..rate("9", NOW + 20 * 3_600 * SECOND) };
        assert_eq!(implied.from(&[ahead]), []);
        assert_eq!(implied.from(&[bitcoin("2", NOW + 301 * SECOND)]), [], "too old by then");
        let told = implied.from(&[rate("5", NOW + 302 * SECOND), bitcoin("2", NOW + 303 * SECOND)]);
        assert_eq!(told[0].price.to_string(), "10", "and it does not keep a true one out");
    }

    #[test]
    fn the_same_pair_of_events_implies_the_same_event() {
        let once = |_| {
            let implied = implied();
            implied.from(&[rate("5", NOW), bitcoin("2", NOW + 1)]).remove(0)
        };
        assert_eq!(once(1), once(2));
    }
}
