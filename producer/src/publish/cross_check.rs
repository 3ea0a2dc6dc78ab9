//! Whether the sources agree. Each tick is held against the median of the latest prices that the sources have for its
//! symbol; one that is off by more than the set share is marked, counted, and goes out all the same: which of two sources is
//! right is not ours to say. Must never happen here: a tick that is dropped or changed, or a derived price that speaks for
//! itself in the median.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::Counter;
use pipeline::decimal::Decimal38;
use pipeline::events::{Kind, PriceTick};

/// How far a price is off the median, in millionths of the median.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffMedian(pub u32);

impl OffMedian {
    /// The header of a marked record.
    pub const HEADER: &'static str = "tickstream-off-median";

    /// The share, as the header has it: `0.031250` is a little more than three percent.
    #[must_use]
    pub fn share(self) -> String {
        format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

pub struct CrossCheck {
    /// Millionths.
    most: u32,
    /// A price that is older is no one's opinion any more, micros.
    fresh: i64,
    latest: Mutex<HashMap<String, Vec<Latest>>>,
}

struct Latest {
    source: String,
    price: Decimal38,
    received_at: i64,
    off: Counter,
}

impl CrossCheck {
    /// Marks what is off by more than `share` (0.02 is two percent) of the prices of the last `fresh`.
    #[must_use]
    pub fn new(share: f64, fresh: Duration) -> Self {
        let fresh = i64::try_from(fresh.as_micros()).unwrap_or(i64::MAX);
        Self { most: (share * 1e6) as u32, fresh, latest: Mutex::default() }
    }

    /// The marks of these ticks, in their order.
    #[must_use]
    pub fn marks(&self, ticks: &[PriceTick]) -> Vec<Option<OffMedian>> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        ticks.iter().map(|tick| self.mark(&mut latest, tick)).collect()
    }

    fn mark(&self, latest: &mut HashMap<String, Vec<Latest>>, tick: &PriceTick) -> Option<OffMedian> {
        // History that is told again says nothing of now, and a derived price is no source.
        let now = tick.received_at;
        if tick.kind == Kind::FxImplied || now.saturating_sub(tick.event_time) > self.fresh {
            return None;
        }
        if !latest.contains_key(&tick.symbol) {
            latest.insert(tick.symbol.clone(), Vec::new());
        }
        let of_symbol = latest.get_mut(&tick.symbol)?;
        let place = match of_symbol.iter().position(|one| one.source == tick.source) {
            Some(place) => place,
            None => {
                let off = metrics::counter!(
                    "tickstream_producer_off_median_total", "source" => tick.source.clone(), "symbol" => tick.symbol.clone()
                );
                of_symbol.push(Latest { source: tick.source.clone(), price: tick.price, received_at: now, off });
                of_symbol.len() - 1
            }
        };
        let own = &mut of_symbol[place];
        (own.price, own.received_at) = (tick.price, now);
        if of_symbol.len() < 2 {
            return None;
        }
        let oldest = now.saturating_sub(self.fresh);
        let mut prices: Vec<i128> =
            of_symbol.iter().filter(|one| one.received_at >= oldest).map(|one| one.price.unscaled()).collect();
        if prices.len() < 2 {
            return None;
        }
        let off = millionths_off(tick.price.unscaled(), &mut prices);
        if off <= self.most {
            return None;
        }
        of_symbol[place].off.increment(1);
        Some(OffMedian(off))
    }
}

/// How far `price` is off the median of `prices` (which has it), in millionths of the median.
fn millionths_off(price: i128, prices: &mut [i128]) -> u32 {
    prices.sort_unstable();
    let middle = prices.len() / 2;
    let median = if prices.len() % 2 == 1 {
        prices[middle] as f64
    } else {
        f64::midpoint(prices[middle - 1] as f64, prices[middle] as f64)
    };
    // Prices are positive. A share for a mark needs no more digits than a float has.
    (((price as f64 - median).abs() / median) * 1e6) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::payload::Payload;
    use crate::parse::tick::{EventTime, Identity, tick};
    use crate::symbols::Pair;

    const NOW: i64 = 1_774_998_000_000_000;

    fn said(source: &'static str, price: &str, at: i64) -> PriceTick {
        let identity = Identity { source, id_space: "trade", source_symbol: "BTC-USD", source_key: price };
        let payload = Payload::new(source, b"", at, "");
        let price = price.parse().expect("a price");
        tick(identity, &Pair::new("BTC", "USD"), Kind::Trade, price, EventTime::Source(at), &payload)
    }

    fn off(check: &CrossCheck, source: &'static str, price: &str, at: i64) -> Option<u32> {
        check.marks(&[said(source, price, at)])[0].map(|mark| mark.0)
    }

    #[test]
    fn the_one_that_is_off_is_marked_and_the_others_are_not() {
        let check = CrossCheck::new(0.02, Duration::from_secs(300));
        assert_eq!(off(&check, "a", "100", NOW), None);
        assert_eq!(off(&check, "b", "101", NOW), None);
        assert_eq!(off(&check, "c", "0.5", NOW + 1), Some(995_000));
        assert_eq!(off(&check, "a", "100.5", NOW + 2), None);
        assert_eq!(off(&check, "c", "100.5", NOW + 3), None);
        assert_eq!(OffMedian(31_250).share(), "0.031250");
    }

    #[test]
    fn of_two_that_disagree_both_are_marked() {
        let check = CrossCheck::new(0.02, Duration::from_secs(300));
        assert_eq!(off(&check, "a", "90", NOW), None);
        assert_eq!(off(&check, "b", "110", NOW), Some(100_000));
        assert_eq!(off(&check, "a", "90", NOW), Some(100_000));
    }

    #[test]
    fn what_is_old_is_no_opinion_of_now() {
        let check = CrossCheck::new(0.02, Duration::from_secs(300));
        assert_eq!(off(&check, "a", "90", NOW), None);
        assert_eq!(off(&check, "b", "110", NOW + 301_000_000), None, "a is silent for too long");
        let repeated = PriceTick { received_at: NOW + 302_000_000, ..said("a", "90", NOW) };
        assert_eq!(check.marks(&[repeated]), [None], "history told again");
        assert_eq!(off(&check, "b", "110", NOW + 303_000_000), None);
    }
}
