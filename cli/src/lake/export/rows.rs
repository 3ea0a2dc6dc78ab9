//! Objects to lines: the columns of a table in one order for all of its objects, however old, each row under its day and its
//! symbol. Must never happen here: a value in another column's place because an object has more columns, or fewer.

use std::collections::HashMap;

use anyhow::{Context, anyhow, bail};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use bytes::Bytes;
use csv::{Terminator, WriterBuilder};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::codec::RecordType;
use pipeline::decode::Decoder;
use pipeline::misconfigured;
use pipeline::store::Store;

use super::cells::Cells;
use super::day_files::DayFiles;
use super::selection::{Range, day_of, hour_of};
use super::{Layer, folder};

/// What `--table` can name.
pub const TABLES: [&str; 7] = ["ticks", "gaps", "health", "index_weights", "payloads", "alerts", "quarantined_ticks"];
const SILVER: [&str; 4] = ["ticks", "gaps", "index_weights", "quarantined_ticks"];
/// What each bronze row ends with.
const COORDINATES: [&str; 3] = ["kafka_partition", "kafka_offset", "broker_time"];
const SYMBOL: &str = "symbol";
const ROWS_AT_A_TIME: usize = 8192;
const MICROS_A_DAY: i64 = 86_400_000_000;

/// One table of one layer, and what is wanted of it.
#[derive(Debug)]
pub struct Table {
    layer: Layer,
    name: String,
    /// In capitals; none for all.
    symbols: Vec<String>,
    /// Known at once for bronze; learnt from the newest object for silver.
    columns: Vec<String>,
}

impl Table {
    /// # Errors
    /// [`pipeline::Misconfigured`] when the layer has no such table, or the table no symbols.
    pub fn new(layer: Layer, name: &str, symbols: &[String]) -> anyhow::Result<Self> {
        let record = RecordType::ALL.into_iter().find(|record| pipeline::lake::table(*record) == name);
        let columns = match (layer, record) {
            (Layer::Bronze, None) => {
                return Err(misconfigured(format!("bronze has no table {name}: --layer silver has it")));
            }
            (Layer::Silver, _) if !SILVER.contains(&name) => {
                return Err(misconfigured(format!("silver has no table {name}: --layer bronze has it")));
            }
            (Layer::Silver, _) => Vec::new(),
            (Layer::Bronze, Some(record)) => {
                let schema = Decoder::new(record, None).schema();
                let columns = schema.fields().iter().map(|field| field.name().clone());
                columns.chain(COORDINATES.map(str::to_owned)).collect()
            }
        };
        let symbols: Vec<String> = symbols.iter().map(|symbol| symbol.to_ascii_uppercase()).collect();
        check_symbols(name, &symbols)?;
        Ok(Self { layer, name: name.to_owned(), symbols, columns })
    }

    fn has_symbols(&self) -> bool {
        has_symbols(&self.name)
    }

    pub fn layer(&self) -> Layer {
        self.layer
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its objects are.
    pub fn prefix(&self) -> String {
        format!("{}/{}/", self.layer.name(), self.name)
    }

    /// Takes the columns of an object, and those that its key names.
    pub async fn learn_columns(&mut self, store: &Store, key: &str) -> anyhow::Result<()> {
        let object = store.get(key).await?.ok_or_else(|| anyhow!("{key} was there and is gone: export again"))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(object.bytes).with_context(|| damaged(key))?;
        self.columns = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
        let named: Vec<String> = named_in(key).map(|(column, _)| column.to_owned()).collect();
        self.columns.extend(named);
        Ok(())
    }

    /// What there is nothing of.
    pub fn nothing(&self, range: Range) -> String {
        let of = if self.symbols.is_empty() { String::new() } else { format!(" of {}", self.symbols.join(", ")) };
        let made = if self.layer == Layer::Silver { "; the refiner makes silver" } else { "" };
        format!("{} has no rows{of} {range}{made}", self.prefix().trim_end_matches('/'))
    }
}

/// Whether each row of a table is of one symbol. An alert may be of a source alone.
fn has_symbols(table: &str) -> bool {
    table.ends_with("ticks")
}

/// # Errors
/// [`pipeline::Misconfigured`] when symbols are asked for of a table that has none.
pub fn check_symbols(table: &str, symbols: &[String]) -> anyhow::Result<()> {
    if symbols.is_empty() || has_symbols(table) {
        return Ok(());
    }
    Err(misconfigured(format!("--symbol: the rows of {table} are not of one symbol each; leave it out")))
}

/// Writes objects, in the order of their keys, to the files of their days.
pub struct Writer<'a> {
    table: &'a Table,
    range: Range,
    has_header: bool,
}

impl<'a> Writer<'a> {
    pub fn new(table: &'a Table, range: Range) -> Self {
        Self { table, range, has_header: false }
    }

    /// The day before which no row is to come any more, once the object under `key` has been reached.
    pub fn before(&self, key: &str) -> Option<Date> {
        match self.table.layer {
            Layer::Silver => day_of(key),
            Layer::Bronze => Some(hour_of(key)?.checked_sub(1.hour()).unwrap_or(DateTime::MIN).date()),
        }
    }

    /// # Errors
    /// When the object cannot be read, or the disk takes no more.
    pub fn write(&mut self, key: &str, object: Bytes, files: &mut DayFiles) -> anyhow::Result<()> {
        if !self.has_header {
            let mut writer = lines();
            writer.write_record(&self.table.columns)?;
            files.set_header(writer.into_inner().map_err(|error| error.into_error())?);
            self.has_header = true;
        }
        let reader = ParquetRecordBatchReaderBuilder::try_new(object).with_context(|| damaged(key))?;
        for batch in reader.with_batch_size(ROWS_AT_A_TIME).build().with_context(|| damaged(key))? {
            self.write_batch(key, &batch.with_context(|| damaged(key))?, files)?;
        }
        Ok(())
    }

    fn write_batch(&self, key: &str, batch: &RecordBatch, files: &mut DayFiles) -> anyhow::Result<()> {
        let columns = self.columns(key, batch)?;
        let (folders, mut places) = self.places(key, batch)?;
        // Rows of one file keep their order.
        places.sort_by_key(|(day, folder, _)| (*day, *folder));
        let mut cell = String::new();
        for rows in places.chunk_by(|one, next| (one.0, one.1) == (next.0, next.1)) {
            let mut writer = lines();
            for (.., row) in rows {
                for column in &columns {
                    cell.clear();
                    column.write(*row, &mut cell);
                    writer.write_field(&cell)?;
                }
                writer.write_record(None::<&[u8]>)?;
            }
            let lines = writer.into_inner().map_err(|error| error.into_error())?;
            let (day, folder, _) = rows[0];
            files.append(day, &folders[folder], &lines, rows.len() as u64)?;
        }
        Ok(())
    }

    /// One a column of the table, in its order.
    fn columns(&self, key: &str, batch: &RecordBatch) -> anyhow::Result<Vec<Cells>> {
        let named: HashMap<&str, String> = match self.table.layer {
            Layer::Bronze => HashMap::new(),
            Layer::Silver => named_in(key).collect(),
        };
        let schema = batch.schema();
        if let Some(other) = schema.fields().iter().find(|field| !self.table.columns.contains(field.name())) {
            bail!(
                "{key} has a column {} that the newest object of {} does not have: it is of another version; \
                 make the table again (`refiner rebuild`), or export the days of each version apart",
                other.name(),
                self.table.name
            );
        }
        let cells = |name: &String| match (schema.column_with_name(name), named.get(name.as_str())) {
            (Some((index, field)), _) => Cells::new(field, batch.column(index)).with_context(|| key.to_owned()),
            (None, Some(text)) => Ok(Cells::Constant(text.clone())),
            (None, None) => Ok(Cells::Missing),
        };
        self.table.columns.iter().map(cells).collect()
    }

    /// The day, the folder and the row of each row that is wanted; the folders by name.
    fn places(&self, key: &str, batch: &RecordBatch) -> anyhow::Result<(Vec<String>, Vec<Place>)> {
        let mut days = Days::new(self.table.layer, key, batch)?;
        let symbols = batch
            .column_by_name(SYMBOL)
            .filter(|_| self.table.has_symbols())
            .map(|column| arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8));
        let symbols = symbols.transpose()?;
        let symbols = symbols.as_ref().map(|column| column.as_string::<i32>());
        let mut folders = Vec::new();
        // Each symbol's folder; `None` for one that is not wanted.
        let mut of_symbol: HashMap<&str, Option<usize>> = HashMap::new();
        let mut places = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let day = days.of(row);
            if !self.range.has(day) {
                continue;
            }
            let symbol = symbols.map_or("", |symbols| symbols.value(row));
            let folder = *of_symbol.entry(symbol).or_insert_with(|| {
                let wanted = &self.table.symbols;
                if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(symbol)) {
                    return None;
                }
                folders.push(if symbols.is_some() { folder::of(symbol) } else { self.table.name.clone() });
                Some(folders.len() - 1)
            });
            if let Some(folder) = folder {
                places.push((day, folder, row));
            }
        }
        Ok((folders, places))
    }
}

/// A row's day, folder and number.
type Place = (Date, usize, usize);

/// The day of each row: the broker's for bronze, the one that the key names for silver.
enum Days<'a> {
    Same(Date),
    Broker { micros: &'a [i64], last: Option<(i64, Date)> },
}

impl<'a> Days<'a> {
    fn new(layer: Layer, key: &str, batch: &'a RecordBatch) -> anyhow::Result<Self> {
        match layer {
            Layer::Silver => Ok(Self::Same(day_of(key).with_context(|| format!("{key} names no day"))?)),
            Layer::Bronze => {
                let times = batch
                    .column_by_name("broker_time")
                    .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
                let times = times.with_context(|| format!("{key} has no column broker_time"))?;
                Ok(Self::Broker { micros: times.values(), last: None })
            }
        }
    }

    fn of(&mut self, row: usize) -> Date {
        match self {
            Self::Same(day) => *day,
            Self::Broker { micros, last } => {
                let number = micros[row].div_euclid(MICROS_A_DAY);
                match last {
                    Some((same, day)) if *same == number => *day,
                    _ => {
                        let day = broker_day(micros[row]);
                        *last = Some((number, day));
                        day
                    }
                }
            }
        }
    }
}

/// A time that the calendar does not have is filed at its edge, as in the lake.
fn broker_day(micros: i64) -> Date {
    let limit = if micros < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_microsecond(micros).unwrap_or(limit).to_zoned(TimeZone::UTC).date()
}

/// The columns that stand in a key and in no object, with their values: `action` in `…/action=PETR4/…`. A file's own place
/// tells day and hour.
pub fn named_in(key: &str) -> impl Iterator<Item = (&str, String)> {
    let parts = key.split('/').filter_map(|part| part.split_once('='));
    parts.filter(|(column, _)| !matches!(*column, "dt" | "hour")).map(|(column, value)| (column, unescaped(value)))
}

/// Hive writes what a path cannot hold as `%` and two hexadecimal digits.
fn unescaped(value: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), value.as_bytes());
    while let [first, others @ ..] = rest {
        let digits = others.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &others[2..] } else { others };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| value.to_owned())
}

/// Lines as RFC 4180 has them.
fn lines() -> csv::Writer<Vec<u8>> {
    WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new())
}

pub fn damaged(key: &str) -> String {
    format!("{key} cannot be read; `tickstream audit --deep` names every damaged object and what to do")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_asked_for_what_it_has() {
        let columns = |layer, name| Table::new(layer, name, &[]).map(|table| table.columns);
        let ticks = columns(Layer::Bronze, "ticks").expect("bronze has ticks");
        assert!(ticks.starts_with(&["event_id".to_owned()]) && ticks.ends_with(&COORDINATES.map(str::to_owned)));
        assert!(columns(Layer::Silver, "ticks").expect("silver has ticks").is_empty());
        let nowhere = [("health", Layer::Silver), ("payloads", Layer::Silver), ("alerts", Layer::Silver)];
        for (name, layer) in nowhere.into_iter().chain([("quarantined_ticks", Layer::Bronze)]) {
            assert!(columns(layer, name).is_err(), "{name}");
        }
        for name in ["gaps", "alerts"] {
            assert!(Table::new(Layer::Bronze, name, &["BTC-USD".to_owned()]).is_err(), "{name}");
        }
    }

    #[test]
    fn columns_of_the_key_come_back_as_they_were() {
        let key = "silver/index_weights/pregao_date=2026-03-02/action=B%2FC%3D4/part.parquet";
        let named: Vec<_> = named_in(key).collect();
        assert_eq!(named, [("pregao_date", "2026-03-02".to_owned()), ("action", "B/C=4".to_owned())]);
        assert_eq!(named_in("silver/ticks/dt=2026-11-22/hour=07/part.parquet").count(), 0);
        assert_eq!((unescaped("100%"), unescaped("%zz"), unescaped("%4")), ("100%".into(), "%zz".into(), "%4".into()));
    }

    #[test]
    fn a_broker_that_gives_no_time_has_a_day_all_the_same() {
        assert_eq!(broker_day(-1000).to_string(), "1969-12-31");
        assert_eq!(broker_day(i64::MAX).year(), 9999);
        assert_eq!(broker_day(i64::MIN).year(), -9999);
    }
}
