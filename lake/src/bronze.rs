//! Decoded records to a bronze Parquet object: the columns of the newest schema, and where each record stood. Invariant: a
//! function of one raw object, the decoder's version and the compression, nothing else. A record that does not decode is left
//! out, and the footer names it with its reason, so that rows and names together are every record of the raw object, once.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use arrow::array::{Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::EnabledStatistics;
use parquet::schema::types::ColumnPath;
use pipeline::decode::Decoded;
use pipeline::records::Records;

use crate::raw::{Compression, ascending, properties, read, writer};
use crate::world::{Bronze, Letter};

/// To be raised whenever the same raw bytes give another object: bronze objects of a lower version are then made again as
/// they are met.
pub const VERSION: u32 = 3;

const UTC: &str = "+00:00";
const VERSION_KEY: &str = "tickstream-decoder-version";
/// `[[offset, "reason"], …]`, absent when every record decodes.
const BAD_KEY: &str = "tickstream-bad";
/// A reason quotes what it does not understand; a footer is read whole.
const MAX_REASON: usize = 300;

/// Whole numbers that mostly grow from row to row.
const ASCENDING: &[&str] = &[
    "kafka_offset",
    "broker_time",
    "event_time",
    "received_at",
    "sequence",
    "at",
    "started_at",
    "ended_at",
    "last_answer_at",
];
/// Values that hardly repeat: a dictionary of them would be built and thrown away.
const DISTINCT: &[&str] = &[
    "event_id",
    "trade_id",
    "id",
    "price",
    "quantity",
    "bid",
    "ask",
    "volume_24h",
    "quote_volume_24h",
    "market_cap",
    "theoretical_quantity",
    "content",
    "alert_id",
    "message",
];
/// Columns whose least and greatest value help nobody.
const UNORDERED: &[&str] =
    &["event_id", "payload_id", "trade_id", "id", "detail", "request", "content", "alert_id", "message"];

/// Its Bloom filter lets a reader of one symbol pass over whole objects: keys go to partitions by symbol, so most objects have
/// none of it, and the least and greatest symbol of an object do not tell. It costs some hundred bytes.
const SYMBOL: &str = "symbol";
/// More symbols in one object only make its filter less sure.
const SYMBOLS: u64 = 256;

/// Rows that are decoded at a time: what is decoded is a few times larger than its records, and need not all be there at once.
pub const ROWS_AT_A_TIME: usize = 8192;

/// Writes one bronze object, some records at a time.
pub struct BronzeWriter {
    partition: i32,
    writer: ArrowWriter<Vec<u8>>,
    rows: usize,
    bad: Vec<Letter>,
}

impl BronzeWriter {
    /// `columns` are the decoder's.
    ///
    /// # Errors
    /// When Parquet refuses the columns: a bug.
    pub fn new(partition: i32, columns: &Schema, compression: Compression) -> anyhow::Result<Self> {
        let writer = open(&Arc::new(with_coordinates(columns)), compression)?;
        Ok(Self { partition, writer, rows: 0, bad: Vec::new() })
    }

    /// Takes the next records, at most [`ROWS_AT_A_TIME`] of them, and what they decoded to.
    ///
    /// # Errors
    /// When Parquet refuses the columns: a bug.
    pub fn push(&mut self, records: &Records, decoded: Decoded) -> anyhow::Result<()> {
        let (offsets, times) = (records.offsets().values(), records.timestamps_ms().values());
        let bad = decoded.bad.iter().map(|(row, reason)| (offsets[*row as usize], shortened(reason)));
        self.bad.extend(bad);
        self.rows += decoded.rows.len();
        let rows = || decoded.rows.iter().map(|row| *row as usize);
        let offsets: Int64Array = rows().map(|row| offsets[row]).collect::<Vec<i64>>().into();
        let times: TimestampMicrosecondArray =
            rows().map(|row| times[row].saturating_mul(1000)).collect::<Vec<i64>>().into();
        let mut columns = decoded.batch.columns().to_vec();
        columns.push(Arc::new(Int32Array::from(vec![self.partition; decoded.rows.len()])));
        columns.push(Arc::new(offsets));
        columns.push(Arc::new(times.with_timezone(UTC)));
        let schema = Arc::new(with_coordinates(&decoded.batch.schema()));
        self.writer.write(&RecordBatch::try_new(schema, columns)?)?;
        Ok(())
    }

    /// The object.
    ///
    /// # Errors
    /// When Parquet cannot end it: a bug.
    pub fn finish(mut self) -> anyhow::Result<Bronze> {
        if !self.bad.is_empty() {
            let named = serde_json::to_string(&self.bad)?;
            self.writer.append_key_value_metadata(KeyValue::new(BAD_KEY.to_owned(), named));
        }
        Ok(Bronze { bytes: Bytes::from(self.writer.into_inner()?), rows: self.rows, bad: self.bad })
    }
}

fn open(schema: &SchemaRef, compression: Compression) -> anyhow::Result<ArrowWriter<Vec<u8>>> {
    let has = |column: &&&str| schema.field_with_name(column).is_ok();
    let whole: Vec<&str> = ASCENDING.iter().filter(has).copied().collect();
    let footer = vec![KeyValue::new(VERSION_KEY.to_owned(), VERSION.to_string())];
    let mut properties = ascending(properties(footer, compression), &whole);
    for column in DISTINCT.iter().filter(has) {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(*column), false);
    }
    for column in UNORDERED.iter().filter(has) {
        properties = properties.set_column_statistics_enabled(ColumnPath::from(*column), EnabledStatistics::None);
    }
    if has(&&SYMBOL) {
        let symbol = ColumnPath::from(SYMBOL);
        properties = properties
            .set_column_bloom_filter_enabled(symbol.clone(), true)
            .set_column_bloom_filter_max_ndv(symbol, SYMBOLS);
    }
    writer(schema.clone(), properties.build())
}

/// The object of rows that were read from another one, and of what it leaves out.
///
/// # Errors
/// When Parquet refuses the columns: a bug.
pub fn of_rows(rows: &RecordBatch, bad: Vec<Letter>, compression: Compression) -> anyhow::Result<Bronze> {
    // What the footer of the other said stays with its columns.
    let plain = rows
        .schema()
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_metadata(HashMap::new()))
        .collect::<Vec<_>>();
    let schema = Arc::new(Schema::new(plain));
    let mut writer = BronzeWriter { partition: 0, writer: open(&schema, compression)?, rows: rows.num_rows(), bad };
    let rows = RecordBatch::try_new(schema, rows.columns().to_vec())?;
    for from in (0..rows.num_rows()).step_by(ROWS_AT_A_TIME) {
        writer.writer.write(&rows.slice(from, ROWS_AT_A_TIME.min(rows.num_rows() - from)))?;
    }
    writer.finish()
}

/// A bronze object as it stands in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The decoder's.
    pub version: u32,
    pub rows: RecordBatch,
    pub bad: Vec<Letter>,
}

/// Reads a bronze object whole.
///
/// # Errors
/// When the bytes are not a bronze object.
pub fn stored(bronze: Bytes) -> anyhow::Result<Stored> {
    let (footer, rows) = read(bronze)?;
    let version = footer.get(VERSION_KEY).and_then(|version| version.parse().ok());
    let version = version.context("its footer does not say its decoder's version")?;
    Ok(Stored { version, rows, bad: bad_in(&footer)? })
}

/// The records that a bronze object leaves out.
///
/// # Errors
/// When the bytes are not a bronze object.
pub fn bad(bronze: Bytes) -> anyhow::Result<Vec<Letter>> {
    bad_in(&read(bronze)?.0)
}

fn bad_in(footer: &HashMap<String, String>) -> anyhow::Result<Vec<Letter>> {
    let Some(text) = footer.get(BAD_KEY) else { return Ok(Vec::new()) };
    serde_json::from_str(text).context("the footer's list of bad records is not one")
}

/// The decoder's columns, then kafka_partition, kafka_offset and broker_time (micros UTC).
fn with_coordinates(columns: &Schema) -> Schema {
    // Without the Avro names and texts that the decoder leaves on its fields.
    let plain = columns.fields().iter().map(|field| field.as_ref().clone().with_metadata(HashMap::new()));
    let mut fields: Vec<Field> = plain.collect();
    fields.push(Field::new("kafka_partition", DataType::Int32, false));
    fields.push(Field::new("kafka_offset", DataType::Int64, false));
    fields.push(Field::new("broker_time", DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())), false));
    Schema::new(fields)
}

fn shortened(reason: &str) -> String {
    reason.chars().take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::compute::cast;
    use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use pipeline::codec::{Encoder, Framing, RecordType};
    use pipeline::decode::Decoder;
    use pipeline::events::PriceTick;
    use pipeline::example;

    use super::*;
    use crate::raw::tests::records;

    fn tick(price: &str) -> PriceTick {
        PriceTick { price: price.parse().expect("a decimal"), ..example::tick() }
    }

    #[tokio::test]
    async fn rows_and_named_records_are_all_records_and_the_bytes_repeat() {
        let encoder = Encoder::new(Framing::SingleObject).await.expect("no registry");
        let (one, two) = (encoder.tick(&tick("67187.3358936566")), encoder.tick(&tick("-0.000000000000000001")));
        let records = records(&[Some(&one), Some(b"garbage"), Some(&two), None]);
        let make = async || {
            let mut decoder = Decoder::new(RecordType::PriceTick, None);
            let mut writer = BronzeWriter::new(7, &decoder.schema(), Compression::Zstd).expect("columns");
            for from in [0, 2] {
                let some = records.slice(from, 2);
                let decoded = decoder.decode(some.values()).await.expect("no registry");
                writer.push(&some, decoded).expect("written");
            }
            writer.finish().expect("an object")
        };
        let bronze = make().await;
        assert_eq!(bronze.bytes, make().await.bytes, "the same input gives the same object");
        assert_eq!(bronze.rows, 2);
        assert_eq!(bronze.bad.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [11, 14]);
        assert_eq!(bad(bronze.bytes.clone()).expect("a footer"), bronze.bad);
        let stored = stored(bronze.bytes.clone()).expect("a bronze object");
        assert_eq!((stored.version, stored.rows.num_rows()), (VERSION, bronze.rows));
        assert_eq!(stored.bad, bronze.bad);
        let again = of_rows(&stored.rows, stored.bad, Compression::Zstd).expect("columns of bronze");
        assert_eq!(again.bytes, bronze.bytes, "what it reads from an object makes that object");

        let (_, batch) = read(bronze.bytes).expect("parquet");
        let prices = batch.column_by_name("price").expect("price").as_primitive::<Decimal128Type>();
        assert_eq!((prices.value(0), prices.value(1)), (67_187_335_893_656_600_000_000, -1));
        let offsets = batch.column_by_name("kafka_offset").expect("offset").as_primitive::<Int64Type>();
        assert_eq!(offsets.values(), &[10, 13]);
        let times = batch.column_by_name("broker_time").expect("time").as_primitive::<TimestampMicrosecondType>();
        assert_eq!(times.value(1), 1_700_000_000_002_000);
    }

    /// What a schema version more makes readable, a decoder without it names as bad: bronze of a lower VERSION alone is made
    /// again as it is met.
    #[test]
    fn a_schema_version_more_raises_the_decoders() {
        let newest = RecordType::ALL.map(|record| (record.name(), record.newest().version));
        let known =
            [("price_tick", 2), ("gap", 1), ("source_health", 2), ("index_weight", 1), ("payload", 1), ("alert", 1)];
        assert_eq!((VERSION, newest), (3, known), "raise VERSION, and write both here");
    }

    #[tokio::test]
    async fn every_type_of_record_has_a_bronze_object_that_can_be_read() {
        let encoder = Encoder::new(Framing::SingleObject).await.expect("no registry");
        for record in RecordType::ALL {
            let value = match record {
                RecordType::PriceTick => encoder.tick(&example::tick()),
                RecordType::Gap => encoder.gap(&example::gap()),
                RecordType::SourceHealth => encoder.health(&example::health()),
                RecordType::IndexWeight => encoder.index_weight(&example::index_weight()),
                RecordType::Payload => encoder.payload(&example::payload()),
                RecordType::Alert => encoder.alert(&example::alert()),
            };
            let records = records(&[Some(&value), Some(&value)]);
            let mut decoder = Decoder::new(record, None);
            let decoded = decoder.decode(records.values()).await.expect("no registry");
            let expected = decoded.batch.clone();
            let mut writer = BronzeWriter::new(0, &decoder.schema(), Compression::Zstd).expect("columns");
            writer.push(&records, decoded).expect("written");
            let bronze = writer.finish().expect("an object");
            assert_eq!((bronze.rows, bronze.bad.len()), (2, 0), "{record}");
            let (_, batch) = read(bronze.bytes).expect("parquet");
            for (column, found) in expected.columns().iter().zip(batch.columns()) {
                // Parquet has another name for the time zone.
                let column = cast(column, found.data_type()).expect("the same values");
                assert_eq!(&column, found, "{record}");
            }
        }
    }

    #[tokio::test]
    async fn a_reader_of_another_symbol_passes_over_the_object() {
        let encoder = Encoder::new(Framing::SingleObject).await.expect("no registry");
        let [a, z] = ["ADA-USD", "ZEC-USD"]
            .map(|symbol| encoder.tick(&PriceTick { symbol: symbol.to_owned(), ..example::tick() }));
        let records = records(&[Some(&a), Some(&z)]);
        let mut decoder = Decoder::new(RecordType::PriceTick, None);
        let mut writer = BronzeWriter::new(0, &decoder.schema(), Compression::Zstd).expect("columns");
        let decoded = decoder.decode(records.values()).await.expect("no registry");
        writer.push(&records, decoded).expect("written");
        let bytes = writer.finish().expect("an object").bytes;
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("parquet");
        let column = builder.schema().index_of(SYMBOL).expect("a symbol");
        let filter = builder.get_row_group_column_bloom_filter(0, column).expect("readable").expect("a filter");
        assert!(filter.check(&"ADA-USD") && filter.check(&"ZEC-USD"));
        assert!(!filter.check(&"BTC-USD"), "between the least and the greatest, and not there");
        let bytes = builder.metadata().row_group(0).column(column).bloom_filter_length().expect("told");
        assert!(bytes < 512, "{bytes} bytes");
    }

    #[tokio::test]
    async fn nothing_decodes_to_an_object_without_rows() {
        let records = records(&[Some(b"a"), Some(b"b")]);
        let mut decoder = Decoder::new(RecordType::Gap, None);
        let decoded = decoder.decode(records.values()).await.expect("no registry");
        let mut writer = BronzeWriter::new(0, &decoder.schema(), Compression::Zstd).expect("columns");
        writer.push(&records, decoded).expect("written");
        let bronze = writer.finish().expect("an object");
        assert_eq!((bronze.rows, bronze.bad.len()), (0, 2));
        assert_eq!(bad(bronze.bytes).expect("a footer").len(), 2);
    }
}
