//! Bytes to columns, safe against poison. Every value that comes in comes out again, once: as a row, or as a bad record
//! with its reason; nothing in a record can stop a batch, lose another record, or make us allocate what it claims.
//! arrow-avro alone promises none of that (a truncated record spoils every one after it, two records in one value become
//! two rows), so a record is walked over before it gets there, and what it then did is checked: all bytes consumed, one
//! row more. A decoder that ever failed is thrown away. An outage of the registry is no record's fault and is an error.

mod rows;
mod shape;
mod ticks;
mod writer;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use arrow::array::{Array, BinaryArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;

use crate::codec::{CONFLUENT, RecordType, SINGLE_OBJECT, fingerprint_of};
use crate::registry::{Registry, RegistryOutage, Stored, subject};
pub use rows::{Alerts, Gaps, Healths, IndexWeights, Payloads};
pub use ticks::Ticks;
use writer::{Header, Writer};

/// A larger value is a bad record, whatever is in it.
pub const MAX_RECORD_BYTES: usize = 1 << 20;
/// How long the registry is not asked again about what it did not know.
const UNKNOWN_FOR: Duration = Duration::from_secs(30);

/// Decodes the records of one type, whatever version and framing they were written with, into the newest version's columns.
pub struct Decoder {
    record: RecordType,
    schema: SchemaRef,
    registry: Option<Registry>,
    /// What is known about each schema that records named, good or not.
    writers: HashMap<Header, Result<Writer, String>>,
    /// When an id was refused by the registry; it may have been registered since.
    refused: HashMap<u32, Instant>,
    /// When the registry was asked for all schemas of the record type.
    asked_for_all: Option<Instant>,
}

/// One batch, decoded. `rows` and the indexes of `bad` together are every input index, once.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// One row a good record, in input order, columns of the newest schema (possibly no rows).
    pub batch: RecordBatch,
    /// The input index of each row, ascending.
    pub rows: Vec<u32>,
    /// Input index and reason of each record that is none, ascending.
    pub bad: Vec<(u32, String)>,
}

/// Whether a record is none here only because its schema is not known: a registry, or a newer program, may read it.
pub fn is_unknown_schema(reason: &str) -> bool {
    reason.starts_with("schema id ") || reason.starts_with("unknown schema fingerprint ")
}

/// Decoding has to wait for something that is not the records' fault; the same call may work later.
#[derive(Debug, thiserror::Error)]
#[error("cannot decode: {0}")]
pub struct DecodeOutage(#[from] RegistryOutage);

impl Decoder {
    pub fn new(record: RecordType, registry: Option<Registry>) -> Self {
        let mut writers = HashMap::new();
        for text in record.schemas() {
            let header = Header::Fingerprint(text.fingerprint());
            writers.insert(header, Writer::new(header, text.json, record));
        }
        Self {
            record,
            schema: writer::columns(record),
            registry,
            writers,
            refused: HashMap::new(),
            asked_for_all: None,
        }
    }

    /// The columns of every batch: text as Utf8, decimals as Decimal128(38, 18), times as Timestamp(µs, "+00:00"), days as
    /// Date32, ids as FixedSizeBinary(16), bytes as Binary, enumerations as Utf8.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Decodes Kafka values; a null is a bad record like any other.
    ///
    /// # Errors
    /// Only when the schema registry cannot be asked about a schema; nothing is consumed then.
    pub async fn decode(&mut self, values: &BinaryArray) -> Result<Decoded, DecodeOutage> {
        let mut bad = Vec::new();
        // Nearly always one writer; records of several are decoded apart and put back in order.
        let mut by_writer: Vec<(Header, Vec<u32>)> = Vec::new();
        for index in 0..values.len() {
            let row = u32::try_from(index).expect("a batch has less than 2^32 rows");
            if values.is_null(index) {
                bad.push((row, "no value".to_owned()));
                continue;
            }
            match header(values.value(index)) {
                Ok(header) => match by_writer.iter_mut().find(|(known, _)| *known == header) {
                    Some((_, rows)) => rows.push(row),
                    None => by_writer.push((header, vec![row])),
                },
                Err(reason) => bad.push((row, reason)),
            }
        }
        for (header, _) in &by_writer {
            self.learn(*header).await?;
        }

        let mut pieces = Vec::new();
        for (header, rows) in by_writer {
            match self.writers.get_mut(&header) {
                Some(Ok(writer)) => writer.decode(values, &rows, &mut pieces, &mut bad),
                Some(Err(reason)) => bad.extend(rows.into_iter().map(|row| (row, reason.clone()))),
                None => bad.extend(rows.into_iter().map(|row| (row, self.unknown(header)))),
            }
        }
        bad.sort_unstable_by_key(|(row, _)| *row);
        let (batch, rows) = self.in_input_order(pieces);
        Ok(Decoded { batch, rows, bad })
    }

    /// Asks the registry about a schema that was not met before.
    async fn learn(&mut self, header: Header) -> Result<(), DecodeOutage> {
        let Some(registry) = self.registry.clone() else { return Ok(()) };
        match header {
            Header::Id(id) => self.learn_id(&registry, id).await,
            Header::Fingerprint(fingerprint) => self.learn_fingerprint(&registry, fingerprint).await,
        }
    }

    async fn learn_id(&mut self, registry: &Registry, id: u32) -> Result<(), DecodeOutage> {
        let header = Header::Id(id);
        let refused_lately = self.refused.get(&id).is_some_and(|at| at.elapsed() < UNKNOWN_FOR);
        let known = match self.writers.get(&header) {
            Some(Ok(_)) => true,
            Some(Err(_)) => refused_lately,
            None => false,
        };
        if known {
            return Ok(());
        }
        let writer = match registry.schema(id).await? {
            Stored::Avro(json) => Writer::new(header, &json, self.record)
                .map_err(|reason| format!("schema id {id} cannot be read as {}: {reason}", self.record)),
            Stored::Unusable(reason) => Err(reason),
        };
        if writer.is_err() {
            self.refused.insert(id, Instant::now());
        }
        self.writers.insert(header, writer);
        Ok(())
    }

    /// A registry does not know fingerprints: all schemas of the record type are asked for, and their fingerprints taken here.
    async fn learn_fingerprint(&mut self, registry: &Registry, fingerprint: u64) -> Result<(), DecodeOutage> {
        let asked_lately = self.asked_for_all.is_some_and(|at| at.elapsed() < UNKNOWN_FOR);
        if asked_lately || self.writers.contains_key(&Header::Fingerprint(fingerprint)) || of(fingerprint).is_some() {
            return Ok(());
        }
        for json in registry.schemas_of(self.record).await? {
            let Some(fingerprint) = fingerprint_of(&json) else { continue };
            let header = Header::Fingerprint(fingerprint);
            let writer = || {
                Writer::new(header, &json, self.record).map_err(|reason| {
                    format!("schema {fingerprint:016x} of the registry cannot be read as {}: {reason}", self.record)
                })
            };
            self.writers.entry(header).or_insert_with(writer);
        }
        self.asked_for_all = Some(Instant::now());
        Ok(())
    }

    fn unknown(&self, header: Header) -> String {
        match header {
            Header::Id(id) => format!("schema id {id}, but no schema registry is configured (SCHEMA_REGISTRY_URL)"),
            Header::Fingerprint(fingerprint) => match (of(fingerprint), &self.registry) {
                (Some(other), _) => format!("a {other} record, not {}", self.record),
                (None, None) => format!("unknown schema fingerprint {fingerprint:016x}"),
                (None, Some(_)) => format!(
                    "unknown schema fingerprint {fingerprint:016x}, and {} of the registry has none with it",
                    subject(self.record)
                ),
            },
        }
    }

    fn in_input_order(&self, mut pieces: Vec<(RecordBatch, Vec<u32>)>) -> (RecordBatch, Vec<u32>) {
        if pieces.len() < 2 {
            return pieces.pop().unwrap_or_else(|| (RecordBatch::new_empty(self.schema.clone()), Vec::new()));
        }
        let batches = pieces.iter().map(|(batch, _)| batch);
        let batch =
            concat_batches(&self.schema, batches).expect("the pieces are of one schema and smaller than the input");
        let rows: Vec<u32> = pieces.into_iter().flat_map(|(_, rows)| rows).collect();
        if rows.is_sorted() {
            return (batch, rows);
        }
        let mut order: Vec<u32> = (0..).take(rows.len()).collect();
        order.sort_unstable_by_key(|&place| rows[place as usize]);
        let sorted = order.iter().map(|&place| rows[place as usize]).collect();
        let batch = take_record_batch(&batch, &UInt32Array::from(order)).expect("every place is a row of the batch");
        (batch, sorted)
    }
}

/// The record type that this program was built with a schema of that fingerprint for.
fn of(fingerprint: u64) -> Option<RecordType> {
    let has = |record: &RecordType| record.schemas().iter().any(|text| text.fingerprint() == fingerprint);
    RecordType::ALL.into_iter().find(has)
}

/// What a value says about its schema.
fn header(value: &[u8]) -> Result<Header, String> {
    if value.len() > MAX_RECORD_BYTES {
        return Err(format!("{} bytes, {MAX_RECORD_BYTES} are the most", value.len()));
    }
    if value.is_empty() {
        return Err("empty value".to_owned());
    }
    if let Some(rest) = value.strip_prefix(&SINGLE_OBJECT) {
        let fingerprint = rest.first_chunk().ok_or("truncated in the schema fingerprint")?;
        return Ok(Header::Fingerprint(u64::from_le_bytes(*fingerprint)));
    }
    if let Some(rest) = value.strip_prefix(&CONFLUENT) {
        let id = rest.first_chunk().ok_or("truncated in the schema id")?;
        let id = u32::from_be_bytes(*id);
        // Registries count in Java's int: none ever gave this id, and asked for it they answer as if they were broken.
        return if i32::try_from(id).is_ok() {
            Ok(Header::Id(id))
        } else {
            Err(format!("no registry gives schema id {id}"))
        };
    }
    let start: String = value.iter().take(4).map(|byte| format!(" {byte:02x}")).collect();
    Err(format!("no Avro framing: starts with{start}"))
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("record", &self.record)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
