//! The candles of a day, made of silver's ticks and gaps by the rule of `refiner/sql/gold/candles.sql`: open and close are the
//! first and the last tick in (event_time, event_id), sums are taken as they come, and a gap that overlaps the bucket makes it
//! incomplete.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Context;
use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::events::Kind;
use uuid::Uuid;

use super::super::hours::column;
use crate::audit::database::Tally;

const SCALE: f64 = 1e18;
/// A sum of quantities near what `DECIMAL(38,18)` holds, or beyond, is null.
const MOST: f64 = 9e19;
/// What floats that were added up in another order may differ by, of the sum of their sizes.
const SLACK: f64 = 1e-9;

/// Symbol, source, price basis, start of the bucket.
type Key = (String, String, String, i64);

/// The candles of one timeframe and the gaps that may touch them.
pub struct Day {
    width: i64,
    candles: BTreeMap<Key, Candle>,
    gaps: Vec<Gap>,
}

struct Gap {
    source: String,
    /// Empty: all of the source's.
    symbols: Vec<String>,
    times: Range<i64>,
}

impl Gap {
    fn concerns(&self, symbol: &str, source: &str, basis: &str) -> bool {
        let is_implied = basis == Kind::FxImplied.as_str();
        let has = |name: &str| self.symbols.iter().any(|symbol| symbol == name);
        (self.source == source || self.source == "*" || is_implied)
            && (self.symbols.is_empty()
                || has(symbol)
                || (is_implied && {
                    let (base, quote) = symbol.split_once('-').unwrap_or((symbol, ""));
                    has(&format!("{base}-USD")) || has(&format!("USD-{quote}"))
                }))
    }
}

/// What ticks come to. Decimals as their digits without the point.
#[derive(Clone, Debug, Default)]
struct Candle {
    open: (i64, Uuid, i128),
    close: (i64, Uuid, i128),
    high: i128,
    low: i128,
    volume: Option<i128>,
    /// Sizes of the quantities; none when no tick tells one.
    rough_volume: Option<f64>,
    quote_volume: Option<f64>,
    rough_quote_volume: f64,
    price_sum: f64,
    rough_price_sum: f64,
    ticks: i64,
}

impl Candle {
    fn of(event_us: i64, id: Uuid, price: i128) -> Self {
        let edge = (event_us, id, price);
        Self { open: edge, close: edge, high: price, low: price, ..Self::default() }
    }

    fn take(&mut self, event_us: i64, id: Uuid, price: i128, quantity: Option<i128>) {
        let edge = (event_us, id, price);
        if (event_us, id) < (self.open.0, self.open.1) {
            self.open = edge;
        }
        if (event_us, id) > (self.close.0, self.close.1) {
            self.close = edge;
        }
        (self.high, self.low) = (self.high.max(price), self.low.min(price));
        let price = price as f64 / SCALE;
        (self.price_sum, self.rough_price_sum) = (self.price_sum + price, self.rough_price_sum + price.abs());
        self.ticks += 1;
        if let Some(quantity) = quantity {
            self.volume = Some(self.volume.unwrap_or(0).wrapping_add(quantity));
            let quantity = quantity as f64 / SCALE;
            self.rough_volume = Some(self.rough_volume.unwrap_or(0.0) + quantity.abs());
            self.quote_volume = Some(self.quote_volume.unwrap_or(0.0) + price * quantity);
            self.rough_quote_volume += (price * quantity).abs();
        }
    }

    fn volume(&self) -> Option<i128> {
        self.volume.filter(|_| self.rough_volume.is_some_and(|rough| rough < MOST))
    }

    /// The columns in which the row says something else.
    fn others(&self, row: &Row, complete: bool) -> Vec<&'static str> {
        let volume = self.volume();
        let units = volume.map(|volume| volume as f64 / SCALE).filter(|volume| *volume > 0.0);
        let vwap =
            units.zip(self.quote_volume).map(|(volume, quote)| (quote / volume, self.rough_quote_volume / volume));
        let quote_volume = self.quote_volume.map(|sum| (sum, self.rough_quote_volume));
        let ticks = self.ticks as f64;
        let average = Some((self.price_sum / ticks, self.rough_price_sum / ticks));
        let compared = [
            ("open", self.open.2 == row.open),
            ("high", self.high == row.high),
            ("low", self.low == row.low),
            ("close", self.close.2 == row.close),
            ("volume", volume == row.volume),
            ("vwap", is_near(vwap, row.vwap)),
            ("quote_volume", is_near(quote_volume, row.quote_volume)),
            ("average", is_near(average, row.average)),
            ("ticks", self.ticks == row.ticks),
            ("first_event_time", self.open.0 == row.first_us),
            ("last_event_time", self.close.0 == row.last_us),
            ("complete", complete == row.complete),
        ];
        compared.into_iter().filter_map(|(name, is_same)| (!is_same).then_some(name)).collect()
    }
}

/// Whether a float is the one that was made, with the sum of sizes that its rounding goes by.
fn is_near(made: Option<(f64, f64)>, held: Option<f64>) -> bool {
    match (made, held) {
        (None, None) => true,
        (Some((made, size)), Some(held)) => {
            made == held || (made - held).abs() <= SLACK * size.abs().max(made.abs()) || made.is_nan() && held.is_nan()
        }
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// A row of gold.
struct Row {
    open: i128,
    high: i128,
    low: i128,
    close: i128,
    volume: Option<i128>,
    vwap: Option<f64>,
    quote_volume: Option<f64>,
    average: Option<f64>,
    ticks: i64,
    first_us: i64,
    last_us: i64,
    complete: bool,
}

impl Day {
    pub fn new(width: i64) -> Self {
        Self { width, candles: BTreeMap::new(), gaps: Vec::new() }
    }

    /// Takes an object of silver's gaps.
    pub fn take_gaps(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
            let batch = batch?;
            let (sources, starts, ends) =
                (texts(&batch, "source")?, numbers(&batch, "started_at")?, numbers(&batch, "ended_at")?);
            let (starts, ends) = (starts.as_primitive::<Int64Type>(), ends.as_primitive::<Int64Type>());
            let symbols = column(&batch, "symbols")?.as_list_opt::<i32>().context("symbols are no list")?;
            for row in 0..batch.num_rows() {
                let of_row = if symbols.is_valid(row) {
                    let of_row = cast(&symbols.value(row), &DataType::Utf8)?;
                    of_row.as_string::<i32>().iter().flatten().map(str::to_owned).collect()
                } else {
                    Vec::new()
                };
                let end = if ends.is_valid(row) { ends.value(row) } else { i64::MAX };
                let times = starts.value(row)..end;
                self.gaps.push(Gap { source: sources.value(row).to_owned(), symbols: of_row, times });
            }
        }
        Ok(())
    }

    /// Takes an object of silver's ticks.
    pub fn take_ticks(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
            let batch = batch?;
            let (sources, symbols, kinds) =
                (texts(&batch, "source")?, texts(&batch, "symbol")?, texts(&batch, "kind")?);
            let (prices, quantities) = (decimals(&batch, "price")?, decimals(&batch, "quantity")?);
            let times = numbers(&batch, "event_time")?;
            let times = times.as_primitive::<Int64Type>();
            let ids = cast(column(&batch, "event_id")?, &DataType::Binary)?;
            let ids = ids.as_binary::<i32>();
            for row in 0..batch.num_rows() {
                let (event_us, price) = (times.value(row), prices.value(row));
                let id = Uuid::from_slice(ids.value(row)).context("an id has 16 bytes")?;
                let bucket = event_us - event_us.rem_euclid(self.width);
                let text = |column: &StringArray| column.value(row).to_owned();
                let key = (text(&symbols), text(&sources), text(&kinds), bucket);
                let candle = self.candles.entry(key).or_insert_with(|| Candle::of(event_us, id, price));
                candle.take(event_us, id, price, quantities.is_valid(row).then(|| quantities.value(row)));
            }
        }
        Ok(())
    }

    /// How many candles were made, and a line on those that are others in this object of gold.
    pub fn compare(mut self, gold: Bytes) -> anyhow::Result<(u64, Option<String>)> {
        let made = self.candles.len() as u64;
        let (mut other, mut extra, mut missing) = (Tally::default(), Tally::default(), Tally::default());
        for batch in ParquetRecordBatchReaderBuilder::try_new(gold)?.build()? {
            for (key, row) in rows(&batch?)? {
                let Some(candle) = self.candles.remove(&key) else {
                    extra.add(|| name(&key));
                    continue;
                };
                let columns = candle.others(&row, self.is_complete(&key));
                if !columns.is_empty() {
                    other.add(|| format!("{} ({})", name(&key), columns.join(", ")));
                }
            }
        }
        for key in self.candles.keys() {
            missing.add(|| name(key));
        }
        let lines = [
            other.line("candles are not what silver's ticks come to"),
            missing.line("candles that silver's ticks come to are not in it"),
            extra.line("candles have no ticks in silver"),
        ];
        let lines: Vec<String> = lines.into_iter().flatten().collect();
        Ok((made, (!lines.is_empty()).then(|| lines.join("; "))))
    }

    fn is_complete(&self, (symbol, source, basis, bucket): &Key) -> bool {
        let overlaps = |gap: &&Gap| gap.times.start < bucket + self.width && gap.times.end > *bucket;
        !self.gaps.iter().filter(overlaps).any(|gap| gap.concerns(symbol, source, basis))
    }
}

/// `BTC-USD test TRADE 2026-03-02T07:00:00Z`
fn name((symbol, source, basis, bucket): &Key) -> String {
    let bucket =
        jiff::Timestamp::from_microsecond(*bucket).map_or_else(|_| bucket.to_string(), |time| time.to_string());
    format!("{symbol} {source} {basis} {bucket}")
}

fn rows(batch: &RecordBatch) -> anyhow::Result<Vec<(Key, Row)>> {
    let [symbols, sources, bases] = [texts(batch, "symbol")?, texts(batch, "source")?, texts(batch, "price_basis")?];
    let [opens, highs, lows, closes, volumes] = [
        decimals(batch, "open")?,
        decimals(batch, "high")?,
        decimals(batch, "low")?,
        decimals(batch, "close")?,
        decimals(batch, "volume")?,
    ];
    let [vwaps, quote_volumes, averages] =
        [floats(batch, "vwap")?, floats(batch, "quote_volume")?, floats(batch, "average")?];
    let [buckets, ticks, firsts, lasts] = [
        numbers(batch, "bucket")?,
        numbers(batch, "ticks")?,
        numbers(batch, "first_event_time")?,
        numbers(batch, "last_event_time")?,
    ];
    let completes = column(batch, "complete")?.as_boolean_opt().context("complete is no truth")?;
    let number = |column: &ArrayRef, row: usize| column.as_primitive::<Int64Type>().value(row);
    let float =
        |column: &ArrayRef, row: usize| column.is_valid(row).then(|| column.as_primitive::<Float64Type>().value(row));
    let row = |row: usize| {
        let text = |column: &StringArray| column.value(row).to_owned();
        let key = (text(&symbols), text(&sources), text(&bases), number(&buckets, row));
        let told = Row {
            open: opens.value(row),
            high: highs.value(row),
            low: lows.value(row),
            close: closes.value(row),
            volume: volumes.is_valid(row).then(|| volumes.value(row)),
            vwap: float(&vwaps, row),
            quote_volume: float(&quote_volumes, row),
            average: float(&averages, row),
            ticks: number(&ticks, row),
            first_us: number(&firsts, row),
            last_us: number(&lasts, row),
            complete: completes.value(row),
        };
        (key, told)
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

fn texts(batch: &RecordBatch, name: &str) -> anyhow::Result<StringArray> {
    Ok(cast(column(batch, name)?, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn decimals(batch: &RecordBatch, name: &str) -> anyhow::Result<Decimal128Array> {
    Ok(cast(column(batch, name)?, &DataType::Decimal128(38, 18))?.as_primitive::<Decimal128Type>().clone())
}

fn numbers(batch: &RecordBatch, name: &str) -> anyhow::Result<ArrayRef> {
    Ok(cast(column(batch, name)?, &DataType::Int64)?)
}

fn floats(batch: &RecordBatch, name: &str) -> anyhow::Result<ArrayRef> {
    Ok(cast(column(batch, name)?, &DataType::Float64)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candle_is_what_its_ticks_come_to() {
        let unit = 10_i128.pow(18);
        let ticks = [(30, 2, 5, Some(2)), (10, 1, 7, None), (10, 0, 6, Some(1)), (50, 9, 4, Some(1))];
        let mut candle = Candle::of(30, Uuid::from_u128(2), 5 * unit);
        for (event_us, id, price, quantity) in ticks {
            candle.take(event_us, Uuid::from_u128(id), price * unit, quantity.map(|quantity: i128| quantity * unit));
        }
        let mut row = Row {
            open: 6 * unit,
            high: 7 * unit,
            low: 4 * unit,
            close: 4 * unit,
            volume: Some(4 * unit),
            vwap: Some(5.0 + 1e-12),
            quote_volume: Some(20.0),
            average: Some(5.5),
            ticks: 4,
            first_us: 10,
            last_us: 50,
            complete: true,
        };
        assert_eq!(candle.others(&row, true), [""; 0]);
        (row.high, row.vwap) = (row.high + 1, Some(5.000_001));
        assert_eq!(candle.others(&row, false), ["high", "vwap", "complete"]);
        candle.take(60, Uuid::nil(), unit, Some(95 * 10_i128.pow(36)));
        assert_eq!(candle.volume(), None, "a sum that no market has");
    }

    #[test]
    fn a_gap_concerns_its_symbols_and_what_is_computed_from_them() {
        let gap = |source: &str, symbols: &[&str]| Gap {
            source: source.to_owned(),
            symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
            times: 0..1,
        };
        for (gap, symbol, source, basis, concerns) in [
            (gap("a", &[]), "BTC-USD", "a", "TRADE", true),
            (gap("a", &[]), "BTC-USD", "b", "TRADE", false),
            (gap("*", &[]), "BTC-USD", "b", "TRADE", true),
            (gap("a", &["ETH-USD"]), "BTC-USD", "a", "TRADE", false),
            (gap("a", &["BTC-USD"]), "BTC-BRL", "c", "FX_IMPLIED", true),
            (gap("a", &["USD-BRL"]), "BTC-BRL", "c", "FX_IMPLIED", true),
            (gap("a", &["USD-BRL"]), "BTC-BRL", "a", "TRADE", false),
        ] {
            assert_eq!(gap.concerns(symbol, source, basis), concerns, "{symbol} {source} {basis}");
        }
    }
}
