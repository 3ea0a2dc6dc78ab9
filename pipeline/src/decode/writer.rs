//! One writer's schema and the arrow-avro decoder that reads it into the reader's columns. The rule of the house: rows
//! leave a decoder only if each record consumed all of its bytes and made exactly one row; after any failure that decoder
//! is thrown away, since its columns may differ in length, and the records before the bad one are decoded again.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, BinaryArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_avro::reader::{Decoder as AvroDecoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use serde_json::Value;

use super::shape::Shape;
use crate::codec::RecordType;

/// A record's claim about its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Header {
    Fingerprint(u64),
    Id(u32),
}

impl Header {
    /// Its bytes in front of the record.
    fn len(self) -> usize {
        match self {
            Self::Fingerprint(_) => 10,
            Self::Id(_) => 5,
        }
    }
}

pub(super) struct Writer {
    header: Header,
    schema: AvroSchema,
    reader: AvroSchema,
    columns: SchemaRef,
    shape: Shape,
    /// Never one that failed.
    decoder: AvroDecoder,
}

impl Writer {
    /// # Errors
    /// Why records with this schema cannot be read as `record`.
    pub(super) fn new(header: Header, json: &str, record: RecordType) -> Result<Self, String> {
        let reader_json = record.newest().json;
        let parse = |json: &str| serde_json::from_str::<Value>(json).map_err(|error| format!("no JSON: {error}"));
        let (writer, reader) = (parse(json)?, parse(reader_json)?);
        agree(&writer, &reader)?;
        let shape = Shape::compile(&writer, &reader)?;
        let schema = AvroSchema::new(json.to_owned());
        let reader = AvroSchema::new(reader_json.to_owned());
        let decoder = build(header, &schema, &reader).map_err(|error| error.to_string())?;
        let columns = plain(&decoder.schema());
        if columns != self::columns(record) {
            return Err("its columns are of other types".to_owned());
        }
        Ok(Self { header, schema, reader, columns, shape, decoder })
    }

    /// Decodes the values at `rows`, all of them with this writer's header.
    pub(super) fn decode(
        &mut self,
        values: &BinaryArray,
        rows: &[u32],
        pieces: &mut Vec<(RecordBatch, Vec<u32>)>,
        bad: &mut Vec<(u32, String)>,
    ) {
        let mut whole = Vec::with_capacity(rows.len());
        for &row in rows {
            match self.shape.check(&values.value(row as usize)[self.header.len()..]) {
                Ok(()) => whole.push(row),
                Err(reason) => bad.push((row, reason)),
            }
        }
        self.decode_whole(values, &whole, pieces, bad);
    }

    /// Decodes records that passed the walk; any that still fails costs the ones before it a second decoding, no more.
    pub(super) fn decode_whole(
        &mut self,
        values: &BinaryArray,
        mut rows: &[u32],
        pieces: &mut Vec<(RecordBatch, Vec<u32>)>,
        bad: &mut Vec<(u32, String)>,
    ) {
        while !rows.is_empty() {
            let Err((good, reason)) = self.feed(values, rows) else {
                return self.flush(values, rows, pieces, bad);
            };
            self.start_over();
            bad.push((rows[good], reason));
            let again = &rows[..good];
            match self.feed(values, again) {
                Ok(()) => self.flush(values, again, pieces, bad),
                // It decoded a moment ago, so it depends on what came before: nothing that we would call decoded.
                Err((_, reason)) => {
                    self.start_over();
                    bad.extend(again.iter().map(|&row| (row, reason.clone())));
                }
            }
            rows = &rows[good + 1..];
        }
    }

    /// Feeds the decoder; on failure, how many went well and why the next did not.
    fn feed(&mut self, values: &BinaryArray, rows: &[u32]) -> Result<(), (usize, String)> {
        for (fed, &row) in rows.iter().enumerate() {
            let value = values.value(row as usize);
            let before = self.decoder.capacity();
            let consumed = self.decoder.decode(value).map_err(|error| (fed, error.to_string()))?;
            if consumed != value.len() {
                return Err((fed, format!("{consumed} of {} bytes are a record", value.len())));
            }
            let made = before - self.decoder.capacity();
            if made != 1 {
                return Err((fed, format!("{made} records in one value")));
            }
        }
        Ok(())
    }

    /// Takes the columns out. A fault that shows only here is found by halving.
    fn flush(
        &mut self,
        values: &BinaryArray,
        rows: &[u32],
        pieces: &mut Vec<(RecordBatch, Vec<u32>)>,
        bad: &mut Vec<(u32, String)>,
    ) {
        if rows.is_empty() {
            return;
        }
        let flushed = self.decoder.flush().map_err(|error| error.to_string());
        let batch = flushed.and_then(|batch| as_columns(batch, &self.columns, rows.len()));
        match (batch, rows) {
            (Ok(batch), rows) => pieces.push((batch, rows.to_vec())),
            (Err(reason), [row]) => {
                self.start_over();
                bad.push((*row, reason));
            }
            (Err(_), rows) => {
                self.start_over();
                let (first, second) = rows.split_at(rows.len() / 2);
                self.decode_whole(values, first, pieces, bad);
                self.decode_whole(values, second, pieces, bad);
            }
        }
    }

    fn start_over(&mut self) {
        self.decoder = build(self.header, &self.schema, &self.reader).expect("the same schemas made a decoder before");
    }
}

fn build(header: Header, writer: &AvroSchema, reader: &AvroSchema) -> Result<AvroDecoder, arrow::error::ArrowError> {
    let (fingerprint, algorithm) = match header {
        Header::Fingerprint(fingerprint) => (Fingerprint::Rabin(fingerprint), FingerprintAlgorithm::Rabin),
        Header::Id(id) => (Fingerprint::Id(id), FingerprintAlgorithm::Id),
    };
    let mut store = SchemaStore::new_with_type(algorithm);
    store.set(fingerprint, writer.clone())?;
    ReaderBuilder::new()
        // Only a count: a batch is never full before it is flushed.
        .with_batch_size(usize::MAX)
        .with_reader_schema(reader.clone())
        .with_writer_schema_store(store)
        .with_active_fingerprint(fingerprint)
        .build_decoder()
}

/// The columns of a record type's newest schema.
pub(super) fn columns(record: RecordType) -> SchemaRef {
    let newest = record.newest();
    let schema = AvroSchema::new(newest.json.to_owned());
    let decoder = build(Header::Fingerprint(newest.fingerprint()), &schema, &schema)
        .expect("a test decodes every compiled-in schema");
    plain(&decoder.schema())
}

/// What services work with: enumerations as text, and no Avro metadata, so that no version leaves a trace in the columns.
fn plain(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|field| plain_field(field)).collect::<Vec<_>>()))
}

fn plain_field(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        DataType::List(item) => DataType::List(Arc::new(plain_field(item))),
        other => other.clone(),
    };
    let field = Field::new(field.name(), data_type, field.is_nullable());
    match field.data_type() {
        // Tells Parquet and Arrow readers that the sixteen bytes are a UUID.
        DataType::FixedSizeBinary(16) => {
            field.with_metadata(HashMap::from([("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())]))
        }
        _ => field,
    }
}

fn as_columns(batch: Option<RecordBatch>, columns: &SchemaRef, expected: usize) -> Result<RecordBatch, String> {
    let batch = batch.ok_or("no rows came out")?;
    if batch.num_rows() != expected {
        return Err(format!("{} rows came out of {expected} records", batch.num_rows()));
    }
    let arrays = batch.columns().iter().zip(columns.fields()).map(|(array, field)| match array.data_type() {
        DataType::Dictionary(..) => cast(array, field.data_type()),
        _ => Ok(array.clone()),
    });
    let arrays = arrays.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    RecordBatch::try_new(columns.clone(), arrays).map_err(|error| error.to_string())
}

/// arrow-avro resolves by Avro's base types only: it would read a decimal of scale 8 as one of scale 18, and milliseconds
/// as microseconds. Fields that both schemas have must mean the same.
fn agree(writer: &Value, reader: &Value) -> Result<(), String> {
    let meaning = |schema: &Value, name: &str| -> Option<(Option<Value>, Option<Value>)> {
        let field = schema["fields"].as_array()?.iter().find(|field| field["name"] == name)?;
        let logical = match &field["type"] {
            Value::Array(branches) => branches.iter().find(|branch| branch.is_object()).unwrap_or(&Value::Null),
            one => one,
        };
        // A UUID is told by its type, and may stand there by name only.
        let kind = logical.get("logicalType").filter(|kind| *kind != "uuid");
        Some((kind.cloned(), logical.get("scale").cloned()))
    };
    for field in reader["fields"].as_array().into_iter().flatten() {
        let Some(name) = field["name"].as_str() else { continue };
        let Some(found) = meaning(writer, name) else { continue };
        let expected = meaning(reader, name).unwrap_or_default();
        if found != expected {
            return Err(format!("{name} is {}, {} is needed", describe(&found), describe(&expected)));
        }
    }
    Ok(())
}

fn describe((logical, scale): &(Option<Value>, Option<Value>)) -> String {
    let logical = logical.as_ref().and_then(Value::as_str).unwrap_or("of no logical type");
    scale.as_ref().map_or_else(|| logical.to_owned(), |scale| format!("{logical} of scale {scale}"))
}
