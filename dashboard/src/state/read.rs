//! What can be asked of the live state. Everything is copied out, so that the lock is held for microseconds.

use std::sync::Arc;

use pipeline::decimal::Decimal38;
use pipeline::events::Kind;
use serde::Serialize;

use super::candle::{Candle, Fold};
use super::chart::{Bucket, Chart, Reach, Reread, SpoiltBucket};
use super::gaps::{KnownGap, concerns};
use super::row::TickRow;
use super::series::Series;
use super::tick::Position;
use super::{CandleKey, Live, MINUTE_US, Timeframe};
use crate::protocol::Json;

/// A series that is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Known {
    pub symbol: String,
    pub source: String,
    /// Of the latest tick.
    pub kind: Kind,
    /// The first event in memory, and the last.
    pub first_us: i64,
    pub last_us: i64,
}

/// Of the prices of one series, each tick counting once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    pub symbol: String,
    pub source: String,
    pub price_basis: Kind,
    /// Rounded at the 18th place.
    pub avg: Decimal38,
    pub min: Decimal38,
    pub max: Decimal38,
    pub count: u32,
    pub first_us: i64,
    pub last_us: i64,
    /// Of the minutes' closing prices.
    pub stddev: f64,
}

/// A bucket that a correction has made wrong, to be read again from where all ticks are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spoilt {
    pub symbol: Arc<str>,
    pub source: Arc<str>,
    pub price_basis: Kind,
    pub bucket: SpoiltBucket,
}

impl Spoilt {
    pub fn start_us(&self) -> i64 {
        self.bucket.start
    }

    pub fn end_us(&self) -> i64 {
        self.bucket.start + self.bucket.tf.width_us()
    }
}

impl Live {
    /// By symbol and source.
    pub fn symbols(&self) -> Vec<Known> {
        let mut known: Vec<Known> = self.sorted().into_iter().filter_map(known).collect();
        known.dedup();
        known
    }

    fn sorted(&self) -> Vec<&Series> {
        let mut series: Vec<&Series> = self.symbols.values().flatten().filter(|series| !series.is_empty()).collect();
        series.sort_by(|a, b| (&a.symbol, &a.source).cmp(&(&b.symbol, &b.source)));
        series
    }

    pub fn series(&self) -> usize {
        self.series
    }

    /// The rows of the symbols that `wanted` accepts, by symbol and source, with how often each has changed. Where `known`
    /// says what a client has read, only the rows that records behind that have changed.
    pub fn rows(&mut self, wanted: impl Fn(&str) -> bool, known: Option<&[Position]>) -> Vec<KnownRow> {
        let (now, whole_from) = (self.now_us, self.whole_from_us);
        let mut rows = Vec::new();
        for (symbol, sources) in self.symbols.iter_mut().filter(|(symbol, _)| wanted(symbol)) {
            for series in sources.iter_mut() {
                let is_wanted = match known {
                    None => !series.is_empty(),
                    Some(known) => series.changed_after(known),
                };
                if is_wanted {
                    let (row, ticks) = (series.row(now, whole_from), series.ticks);
                    rows.push(KnownRow { symbol: symbol.clone(), source: series.source.clone(), row, ticks });
                }
            }
        }
        rows.sort_by(|a, b| (&a.symbol, &a.source).cmp(&(&b.symbol, &b.source)));
        rows
    }

    /// Newest first, of all sources or one, as rows without what is known of the day.
    pub fn ticks(&self, symbol: &str, source: Option<&str>, limit: usize) -> Vec<TickRow> {
        let sources = self.symbols.get(symbol).into_iter().flatten();
        let mut found: Vec<_> = sources
            .filter(|series| source.is_none_or(|source| *series.source == *source))
            .flat_map(|series| series.recent().map(move |tick| (series, tick)))
            .collect();
        found.sort_by_key(|(series, tick)| (std::cmp::Reverse(tick.order()), series.source.clone()));
        found.truncate(limit);
        let row = |(series, tick): (&Series, _)| {
            let mut row = TickRow::empty(&series.symbol, &series.source);
            row.tell(tick);
            row
        };
        found.into_iter().map(row).collect()
    }

    /// Those of buckets that start in `[from_us, to_us)`, by source, price basis and start.
    pub fn candles(&self, symbol: &str, source: Option<&str>, tf: Timeframe, from_us: i64, to_us: i64) -> Vec<Candle> {
        let mut sources: Vec<&Series> = self.symbols.get(symbol).into_iter().flatten().collect();
        sources.retain(|series| source.is_none_or(|source| *series.source == *source));
        sources.sort_by(|a, b| a.source.cmp(&b.source));
        let mut candles = Vec::new();
        for series in sources {
            for chart in &series.charts {
                let gaps = self.gaps_of(series, chart.basis);
                let buckets = chart.line(tf).range(from_us, to_us);
                candles.extend(buckets.map(|bucket| self.describe(series, chart, tf, bucket, &gaps)));
            }
        }
        candles
    }

    /// The bucket that is open and the one before, of these symbols (none: of all). What memory does not hold whole is left out.
    pub fn newest_candles<S: AsRef<str>>(&self, symbols: &[S], tf: Timeframe) -> Vec<Json> {
        let from = tf.bucket(self.now_us) - tf.width_us();
        let mut names: Vec<&str> = symbols.iter().map(AsRef::as_ref).collect();
        if names.is_empty() {
            names.extend(self.symbols.keys().map(AsRef::<str>::as_ref));
        }
        names.sort_unstable();
        names.dedup();
        let candles = names.into_iter().flat_map(|symbol| self.candles(symbol, None, tf, from, i64::MAX));
        let whole =
            candles.filter(|candle| candle.start_us >= self.covers_from_us(&candle.symbol, &candle.source, candle.tf));
        whole.map(|candle| Json::of(&candle)).collect()
    }

    /// One that is known by its key.
    pub fn candle(&self, key: &CandleKey) -> Option<Candle> {
        let series = self.symbols.get(&key.symbol)?.iter().find(|series| series.source == key.source)?;
        let chart = series.charts.iter().find(|chart| chart.basis == key.basis)?;
        let bucket = chart.line(key.tf).get(key.start)?;
        Some(self.describe(series, chart, key.tf, bucket, &self.gaps_of(series, chart.basis)))
    }

    fn gaps_of(&self, series: &Series, basis: Kind) -> Vec<&KnownGap> {
        let is_one =
            |gap: &&KnownGap| concerns(&gap.row.source, &gap.row.symbols, &series.symbol, &series.source, basis);
        self.gaps.all().filter(is_one).collect()
    }

    fn describe(&self, series: &Series, chart: &Chart, tf: Timeframe, bucket: &Bucket, gaps: &[&KnownGap]) -> Candle {
        let end = bucket.start + tf.width_us();
        let is_whole =
            bucket.start >= self.whole_from_us.max(series.whole_from_us) && bucket.spoilt == 0 && !bucket.touched;
        let complete = is_whole && end <= self.now_us && !gaps.iter().any(|gap| gap.overlaps(bucket.start, end));
        candle(&series.symbol, &series.source, chart.basis, tf, bucket.start, &bucket.fold, complete)
    }

    /// Memory holds all there is of a series' candles from here on, but for those that say that they are not complete.
    /// `i64::MAX`: a series that is not known, or nothing was read yet.
    pub fn covers_from_us(&self, symbol: &str, source: &str, tf: Timeframe) -> i64 {
        let found =
            self.symbols.get(symbol).and_then(|sources| sources.iter().find(|series| &*series.source == source));
        found.map_or(i64::MAX, |series| {
            let kept = tf.bucket(self.now_us - tf.kept_us()) + tf.width_us();
            self.whole_from_us.max(series.whole_from_us).max(kept)
        })
    }

    /// Memory is whole from this broker time on, whatever the series.
    pub fn whole_from_us(&self) -> i64 {
        self.whole_from_us
    }

    /// Of the last whole `hours`, at most a day, and the minute that is open; by source.
    pub fn statistics(&self, symbol: &str, hours: u32) -> Vec<Statistics> {
        let width = i64::from(hours.clamp(1, 24)) * Timeframe::Hour.width_us();
        let from = Timeframe::Minute.bucket(self.now_us - width) + MINUTE_US;
        let mut found: Vec<Statistics> = Vec::new();
        for series in self.symbols.get(symbol).into_iter().flatten() {
            for chart in &series.charts {
                let buckets = || chart.line(Timeframe::Minute).range(from, i64::MAX);
                let fold = buckets().map(|bucket| bucket.fold).reduce(|mut a, b| {
                    a.merge(&b);
                    a
                });
                let Some((fold, avg)) = fold.and_then(|fold| Some((fold, fold.average()?))) else { continue };
                let closes: Vec<f64> = buckets().map(|bucket| to_float(bucket.fold.close)).collect();
                found.push(Statistics {
                    symbol: series.symbol.to_string(),
                    source: series.source.to_string(),
                    price_basis: chart.basis,
                    avg,
                    min: fold.low,
                    max: fold.high,
                    count: fold.ticks,
                    first_us: fold.first.event_time,
                    last_us: fold.last.event_time,
                    stddev: deviation(&closes),
                });
            }
        }
        found.sort_by(|a, b| (&a.source, a.price_basis).cmp(&(&b.source, b.price_basis)));
        found
    }

    /// Whether older records are still to come.
    pub fn is_filling(&self) -> bool {
        self.is_filling
    }

    /// Buckets that a correction has made wrong, at most `limit` of those that `wanted` accepts.
    pub fn spoilt(&mut self, limit: usize, wanted: impl Fn(&Spoilt) -> bool) -> Vec<Spoilt> {
        let mut found = Vec::new();
        let (now, whole_from) = (self.now_us, self.whole_from_us);
        for series in self.symbols.values_mut().flatten() {
            let reach = Reach { now, whole_from: whole_from.max(series.whole_from_us) };
            for chart in &mut series.charts {
                for bucket in chart.spoilt(reach) {
                    let (symbol, source) = (series.symbol.clone(), series.source.clone());
                    let spoilt = Spoilt { symbol, source, price_basis: chart.basis, bucket };
                    if wanted(&spoilt) {
                        found.push(spoilt);
                    }
                    if found.len() >= limit {
                        return found;
                    }
                }
            }
        }
        found
    }

    /// What such a bucket holds, read again; gives whether it was taken.
    pub fn replace(&mut self, spoilt: &Spoilt, reread: &Reread) -> bool {
        let now = self.now_us;
        let Some(sources) = self.symbols.get_mut(&spoilt.symbol) else { return false };
        let Some(series) = sources.iter_mut().find(|series| series.source == spoilt.source) else { return false };
        let Some(chart) = series.charts.iter_mut().find(|chart| chart.basis == spoilt.price_basis) else {
            return false;
        };
        let taken = chart.replace(&spoilt.bucket, reread, now);
        if taken {
            series.forget_row();
            if self.watches_candles {
                super::tell_candles(series, spoilt.price_basis, spoilt.start_us(), &mut self.changed_candles);
                let seconds = reread.seconds.keys();
                let seconds = seconds.map(|second| super::key(series, spoilt.price_basis, Timeframe::Second, *second));
                self.changed_candles.extend(seconds);
            }
        }
        taken
    }
}

/// A row and how often it has changed.
#[derive(Clone, Debug)]
pub struct KnownRow {
    pub symbol: Arc<str>,
    pub source: Arc<str>,
    pub row: Json,
    pub ticks: u64,
}

/// A fold as a candle.
pub fn candle(
    symbol: &str,
    source: &str,
    basis: Kind,
    tf: Timeframe,
    start_us: i64,
    fold: &Fold,
    complete: bool,
) -> Candle {
    Candle {
        symbol: symbol.to_owned(),
        source: source.to_owned(),
        price_basis: basis,
        tf,
        start_us,
        open: fold.open,
        high: fold.high,
        low: fold.low,
        close: fold.close,
        volume: fold.volume(),
        vwap: fold.vwap(),
        trades: fold.ticks,
        complete,
    }
}

fn known(series: &Series) -> Option<Known> {
    let newest = series.recent().next()?;
    Some(Known {
        symbol: series.symbol.to_string(),
        source: series.source.to_string(),
        kind: newest.kind,
        first_us: series.first_us,
        last_us: newest.event_time,
    })
}

/// For statistics alone: it never becomes a price again.
fn to_float(price: Decimal38) -> f64 {
    price.unscaled() as f64 / 10_f64.powi(Decimal38::SCALE as i32)
}

fn deviation(values: &[f64]) -> f64 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
}
