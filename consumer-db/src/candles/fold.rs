//! From the ticks of a batch to candles of their minutes, and from those to candles of 5 minutes, hours and days. The candle
//! of more ticks is that of one part merged with that of the other. Must never happen here: a retracted tick in a candle.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pipeline::decimal::Decimal38;

use super::sum::Sum;
use crate::rows::{Batch, Place, Row};
use crate::timestamptz::Timestamptz;

/// Whose candles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series<'a> {
    pub symbol: &'a str,
    pub source: &'a str,
    pub price_basis: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timeframe {
    Minute,
    FiveMinutes,
    Hour,
    Day,
}

impl Timeframe {
    pub const ALL: [Self; 4] = [Self::Minute, Self::FiveMinutes, Self::Hour, Self::Day];

    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    pub fn width_micros(self) -> i64 {
        match self {
            Self::Minute => 60_000_000,
            Self::FiveMinutes => 300_000_000,
            Self::Hour => 3_600_000_000,
            Self::Day => 86_400_000_000,
        }
    }

    /// The start of the bucket that `time` lies in.
    pub fn bucket(self, time: Timestamptz) -> Timestamptz {
        Timestamptz(time.0 - time.0.rem_euclid(self.width_micros()))
    }
}

/// One bucket of one series.
pub type Bucket<'a> = (Series<'a>, Timeframe, Timestamptz);

#[derive(Clone, Debug, PartialEq)]
pub struct Candle {
    pub open: Decimal38,
    pub high: Decimal38,
    pub low: Decimal38,
    pub close: Decimal38,
    pub first: Place,
    pub last: Place,
    pub ticks: i64,
    pub prices: Sum,
    pub traded: Option<Traded>,
}

/// Of the ticks that have a quantity.
#[derive(Clone, Debug, PartialEq)]
pub struct Traded {
    pub quantity: Sum,
    /// Of the quantities below zero, which no market has.
    pub negative: Option<Sum>,
    pub quote_volume: Sum,
}

impl Candle {
    fn of(place: Place, price: Decimal38, quantity: Option<Decimal38>) -> Self {
        let mut prices = Sum::ZERO;
        prices.add(price);
        let traded = quantity.map(|quantity| {
            let (mut sum, mut quote_volume) = (Sum::ZERO, Sum::ZERO);
            sum.add(quantity);
            quote_volume.add_product(price, quantity);
            Traded { quantity: sum, negative: quantity.is_negative().then_some(sum), quote_volume }
        });
        let [open, high, low, close] = [price; 4];
        Self { open, high, low, close, first: place, last: place, ticks: 1, prices, traded }
    }

    fn merge(&mut self, other: &Self) {
        if other.first < self.first {
            (self.first, self.open) = (other.first, other.open);
        }
        if other.last > self.last {
            (self.last, self.close) = (other.last, other.close);
        }
        self.high = self.high.max(other.high);
        self.low = self.low.min(other.low);
        self.ticks += other.ticks;
        self.prices.add_sum(&other.prices);
        match (&mut self.traded, &other.traded) {
            (Some(traded), Some(other)) => {
                traded.quantity.add_sum(&other.quantity);
                traded.quote_volume.add_sum(&other.quote_volume);
                match (&mut traded.negative, &other.negative) {
                    (Some(negative), Some(other)) => negative.add_sum(other),
                    (negative @ None, other) => *negative = *other,
                    (Some(_), None) => {}
                }
            }
            (traded @ None, other) => traded.clone_from(other),
            (Some(_), None) => {}
        }
    }
}

/// The candles of all timeframes that `rows` come to.
pub fn fold<'a, 'b>(batch: &'a Batch<'_>, rows: impl Iterator<Item = &'b Row>) -> BTreeMap<Bucket<'a>, Candle> {
    let mut minutes: HashMap<Bucket<'a>, Candle> = HashMap::new();
    for row in rows.filter(|row| !row.retracted) {
        let ticks = batch.ticks(row);
        let bucket = (batch.series(row), Timeframe::Minute, Timeframe::Minute.bucket(row.place.event_time));
        let tick = Candle::of(row.place, ticks.price(row.index), ticks.quantity(row.index));
        match minutes.get_mut(&bucket) {
            Some(minute) => minute.merge(&tick),
            None => drop(minutes.insert(bucket, tick)),
        }
    }
    let mut candles: BTreeMap<Bucket<'a>, Candle> = BTreeMap::new();
    for ((series, _, minute), candle) in &minutes {
        for timeframe in Timeframe::ALL {
            let bucket = (*series, timeframe, timeframe.bucket(*minute));
            match candles.get_mut(&bucket) {
                Some(wider) => wider.merge(candle),
                None => drop(candles.insert(bucket, candle.clone())),
            }
        }
    }
    candles
}

/// The buckets of all timeframes that the given minutes lie in.
pub fn wider<'a>(minutes: &BTreeSet<(Series<'a>, Timestamptz)>) -> BTreeSet<Bucket<'a>> {
    let of = |(series, minute): &(Series<'a>, Timestamptz)| {
        let (series, minute) = (*series, *minute);
        Timeframe::ALL.map(|timeframe| (series, timeframe, timeframe.bucket(minute)))
    };
    minutes.iter().flat_map(of).collect()
}
