//! One candle: what the ticks of a bucket come to, exactly. The candle of more ticks is that of one part merged with that of
//! the other, in any order: first and last are by (event_time, event_id), sums are exact. These are the rules of Postgres'
//! `candles` and the lake's `gold/candles`. Must never happen here: a sum that wraps or rounds; one too large for a price's
//! type is null.

use arrow::datatypes::i256;
use pipeline::decimal::Decimal38;
use pipeline::events::Kind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::CandleKey;
use super::timeframe::Timeframe;

/// From here on a sum is none of a market: 9 * 10^19, as in Postgres and the lake.
const MOST: i128 = 90_000_000_000_000_000_000 * 10_i128.pow(Decimal38::SCALE);

/// Where a tick stands among those of its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub event_time: i64,
    pub event_id: Uuid,
}

/// Of the ticks that have a quantity.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Traded {
    /// `None`: beyond what 128 bits hold.
    quantity: Option<i128>,
    /// Each quantity without its sign.
    size: Option<i128>,
    /// Exact, in units of 10^-36. `None`: beyond what 256 bits hold.
    quote_volume: Option<i256>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fold {
    pub open: Decimal38,
    pub high: Decimal38,
    pub low: Decimal38,
    pub close: Decimal38,
    pub first: Place,
    pub last: Place,
    pub ticks: u32,
    /// `None`: beyond what 128 bits hold.
    prices: Option<i128>,
    traded: Option<Traded>,
}

impl Fold {
    pub fn of(place: Place, price: Decimal38, quantity: Option<Decimal38>) -> Self {
        let traded = quantity.map(|quantity| {
            let unscaled = quantity.unscaled();
            let product = i256::from_i128(price.unscaled()).checked_mul(i256::from_i128(unscaled));
            Traded { quantity: Some(unscaled), size: Some(unscaled.abs()), quote_volume: product }
        });
        let [open, high, low, close] = [price; 4];
        Self { open, high, low, close, first: place, last: place, ticks: 1, prices: Some(price.unscaled()), traded }
    }

    pub fn merge(&mut self, other: &Self) {
        if other.first < self.first {
            (self.first, self.open) = (other.first, other.open);
        }
        if other.last > self.last {
            (self.last, self.close) = (other.last, other.close);
        }
        self.high = self.high.max(other.high);
        self.low = self.low.min(other.low);
        self.ticks = self.ticks.saturating_add(other.ticks);
        self.prices = both(self.prices, other.prices, i128::checked_add);
        self.traded = match (self.traded, other.traded) {
            (Some(a), Some(b)) => Some(Traded {
                quantity: both(a.quantity, b.quantity, i128::checked_add),
                size: both(a.size, b.size, i128::checked_add),
                quote_volume: both(a.quote_volume, b.quote_volume, i256::checked_add),
            }),
            (a, b) => a.or(b),
        };
    }

    /// The mean of the prices, each tick counting once, rounded half away from zero at the 18th place.
    pub fn average(&self) -> Option<Decimal38> {
        quotient(i256::from_i128(self.prices?), i256::from_i128(i128::from(self.ticks)))
            .and_then(Decimal38::from_unscaled)
    }

    /// Null where no tick had a quantity, and from 9 * 10^19 on.
    pub fn volume(&self) -> Option<Decimal38> {
        let traded = self.traded?;
        let quantity = traded.quantity?;
        traded.size.filter(|size| *size < MOST).and_then(|_| Decimal38::from_unscaled(quantity))
    }

    /// The exact quotient of the exact sums, rounded half away from zero at the 18th place; null where nothing was traded.
    pub fn vwap(&self) -> Option<Decimal38> {
        let quantity = self.volume().map(Decimal38::unscaled).filter(|quantity| *quantity > 0)?;
        let quote_volume = self.traded?.quote_volume?;
        quotient(quote_volume, i256::from_i128(quantity)).and_then(Decimal38::from_unscaled)
    }
}

fn both<T>(a: Option<T>, b: Option<T>, add: impl Fn(T, T) -> Option<T>) -> Option<T> {
    add(a?, b?)
}

/// `a / b` rounded half away from zero.
pub fn quotient(a: i256, b: i256) -> Option<i128> {
    let (whole, rest) = (a.checked_div(b)?, a.checked_rem(b)?);
    let twice = rest.wrapping_abs().checked_mul(i256::from_i128(2))?;
    let is_up = twice >= b.wrapping_abs();
    let is_negative = (a < i256::ZERO) != (b < i256::ZERO);
    let step = i256::from_i128(i128::from(is_up) * if is_negative { -1 } else { 1 });
    whole.checked_add(step)?.to_i128()
}

/// A candle as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Candle {
    pub symbol: String,
    pub source: String,
    #[schema(value_type = String)]
    pub price_basis: Kind,
    pub tf: Timeframe,
    pub start_us: i64,
    #[schema(value_type = String)]
    pub open: Decimal38,
    #[schema(value_type = String)]
    pub high: Decimal38,
    #[schema(value_type = String)]
    pub low: Decimal38,
    #[schema(value_type = String)]
    pub close: Decimal38,
    /// Units of base; null where no tick had a quantity.
    #[schema(value_type = Option<String>, required)]
    pub volume: Option<Decimal38>,
    #[schema(value_type = Option<String>, required)]
    pub vwap: Option<Decimal38>,
    /// How many ticks it is made of.
    pub trades: u32,
    /// False while the bucket is open, where a gap touches it, and where memory does not hold all of it.
    pub complete: bool,
}

/// One that was told and is none any more: every tick of it was taken back.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct GoneCandle {
    symbol: String,
    source: String,
    #[schema(value_type = String)]
    price_basis: Kind,
    start_us: i64,
}

impl GoneCandle {
    pub fn of(key: &CandleKey) -> Self {
        let (symbol, source) = (key.symbol.to_string(), key.source.to_string());
        Self { symbol, source, price_basis: key.basis, start_us: key.start }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal38 {
        text.parse().expect(text)
    }

    fn place(event_time: i64, id: u128) -> Place {
        Place { event_time, event_id: Uuid::from_u128(id) }
    }

    #[test]
    fn sums_are_exact_and_too_large_ones_null() {
        let mut fold = Fold::of(place(1, 1), decimal("67187.34"), Some(decimal("0.00041205")));
        fold.merge(&Fold::of(place(1, 2), decimal("67187.36"), Some(decimal("0.00041205"))));
        fold.merge(&Fold::of(place(0, 9), decimal("1"), None));
        assert_eq!((fold.open, fold.close), (decimal("1"), decimal("67187.36")));
        assert_eq!(fold.volume(), Some(decimal("0.0008241")));
        assert_eq!(fold.vwap(), Some(decimal("67187.35")));
        fold.merge(&Fold::of(place(2, 1), decimal("1"), Some(decimal("-90000000000000000000"))));
        assert_eq!(
            (fold.volume(), fold.vwap()),
            (None, None),
            "as in Postgres: a sum of sizes near 10^20 is no market's"
        );
        assert_eq!(Fold::of(place(1, 1), decimal("2"), None).volume(), None);
    }

    #[test]
    fn a_quotient_is_rounded_half_away_from_zero() {
        let of = |a, b| quotient(i256::from_i128(a), i256::from_i128(b));
        assert_eq!((of(5, 2), of(-5, 2), of(4, 3), of(0, 7), of(1, 0)), (Some(3), Some(-3), Some(1), Some(0), None));
    }

    proptest! {
        #[test]
        fn any_order_and_any_parts_give_the_same(
            ticks in prop::collection::vec((0..5_i64, 0..4_u128, 1..1000_i128, prop::option::of(-5..50_i128)), 1..20),
            cut in 0..20_usize,
        ) {
            let folds: Vec<Fold> = ticks
                .iter()
                .enumerate()
                .map(|(i, (time, id, price, quantity))| {
                    let unscaled = |n: i128| Decimal38::from_unscaled(n * 10_i128.pow(15)).expect("small");
                    // No two ticks share a place.
                    Fold::of(place(*time, (id << 64) + i as u128), unscaled(*price), quantity.map(unscaled))
                })
                .collect();
            let merged = |folds: &[Fold]| folds.iter().copied().reduce(|mut a, b| { a.merge(&b); a });
            let whole = merged(&folds).expect("one at least");
            let (a, b) = folds.split_at(cut.min(folds.len()));
            let parts: Vec<Fold> = [merged(b), merged(a)].into_iter().flatten().collect();
            prop_assert_eq!(merged(&parts), Some(whole));
            let backwards: Vec<Fold> = folds.iter().rev().copied().collect();
            prop_assert_eq!(merged(&backwards), Some(whole));
        }
    }
}
