//! Kafka records as Arrow columns, bytes verbatim. One representation from the poll to the raw Parquet object: nothing is
//! copied a record at a time on the way. A [`RecordBuffer`] owns its offsets and its counts; nothing else adds them up.
//! Must never happen here: a record looked into, changed, or left out.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryBuilder, Int64Array, Int64Builder, ListArray, ListBuilder, RecordBatch,
    StringArray, StringBuilder, StructArray, StructBuilder, TimestampMillisecondArray, TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::headers::{ClientHeaders, UNREADABLE, text_of};

/// Column positions of [`Records::schema`].
const OFFSET: usize = 0;
const TIMESTAMP: usize = 1;
const KEY: usize = 2;
const VALUE: usize = 3;
const HEADERS: usize = 4;

fn header_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)])
}

fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let item = Field::new("item", DataType::Struct(header_fields()), false);
    Arc::new(Schema::new(vec![
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", timestamp_type(), false),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("headers", DataType::List(Arc::new(item)), true),
    ]))
});

/// Records of one partition in offset order: offset, timestamp (broker, ms UTC), key, value, headers.
#[derive(Clone, Debug, PartialEq)]
pub struct Records(RecordBatch);

impl Records {
    /// The columns, which are also those of a raw object in the lake.
    #[must_use]
    pub fn schema() -> SchemaRef {
        SCHEMA.clone()
    }

    #[must_use]
    pub fn empty() -> Self {
        Self(RecordBatch::new_empty(Self::schema()))
    }

    /// Takes a batch read from a raw object.
    ///
    /// # Errors
    /// When its columns are not [`Records::schema`].
    pub fn from_batch(batch: RecordBatch) -> anyhow::Result<Self> {
        let same = batch.num_columns() == SCHEMA.fields().len()
            && batch.schema().fields().iter().zip(SCHEMA.fields()).all(|(got, expected)| {
                got.name() == expected.name() && got.data_type().equals_datatype(expected.data_type())
            });
        anyhow::ensure!(same, "not the columns of a raw object: {:?}", batch.schema().fields());
        Ok(Self(batch))
    }

    #[must_use]
    pub fn batch(&self) -> &RecordBatch {
        &self.0
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.num_rows()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn column<T: 'static>(&self, index: usize) -> &T {
        self.0.column(index).as_any().downcast_ref().expect("the schema was checked when the records were made")
    }

    #[must_use]
    pub fn offsets(&self) -> &Int64Array {
        self.column(OFFSET)
    }

    /// Broker time, milliseconds UTC.
    #[must_use]
    pub fn timestamps_ms(&self) -> &TimestampMillisecondArray {
        self.column(TIMESTAMP)
    }

    #[must_use]
    pub fn keys(&self) -> &BinaryArray {
        self.column(KEY)
    }

    #[must_use]
    pub fn values(&self) -> &BinaryArray {
        self.column(VALUE)
    }

    /// The headers of record `index`, in their order; the keys as [`crate::headers::text_of`] tells them.
    #[must_use]
    pub fn headers(&self, index: usize) -> Vec<(String, Option<Vec<u8>>)> {
        self.headers_of(index).map(|(key, value)| (key.to_owned(), value.map(<[u8]>::to_vec))).collect()
    }

    /// As [`Records::headers`], borrowed.
    pub fn headers_of(&self, index: usize) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        let lists: &ListArray = self.column(HEADERS);
        let pairs: &StructArray = lists.values().as_any().downcast_ref().expect("a header is a struct");
        let keys: &StringArray = pairs.column(0).as_any().downcast_ref().expect("a header key is text");
        let values: &BinaryArray = pairs.column(1).as_any().downcast_ref().expect("a header value is bytes");
        let ends = lists.value_offsets();
        let end = if lists.is_null(index) { ends[index] } else { ends[index + 1] };
        (ends[index] as usize..end as usize).map(|at| (keys.value(at), values.is_valid(at).then(|| values.value(at))))
    }

    /// Where the records stand that have headers.
    pub fn with_headers(&self) -> impl Iterator<Item = usize> {
        let lists: &ListArray = self.column(HEADERS);
        let rows = if lists.null_count() == lists.len() { 0 } else { lists.len() };
        (0..rows).filter(|row| lists.is_valid(*row))
    }

    /// `length` records from the one at `from` on, without copying.
    #[must_use]
    pub fn slice(&self, from: usize, length: usize) -> Self {
        Self(self.0.slice(from, length))
    }

    #[must_use]
    pub fn first_offset(&self) -> Option<i64> {
        (!self.is_empty()).then(|| self.offsets().value(0))
    }

    #[must_use]
    pub fn last_offset(&self) -> Option<i64> {
        (!self.is_empty()).then(|| self.offsets().value(self.len() - 1))
    }

    /// Where the record at `offset` stands.
    #[must_use]
    pub fn position(&self, offset: i64) -> Option<usize> {
        self.offsets().values().binary_search(&offset).ok()
    }
}

/// One record to be kept, borrowed from the client.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub offset: i64,
    /// Broker time, milliseconds UTC.
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// Gathers records of one partition until they become [`Records`].
#[derive(Debug)]
pub struct RecordBuffer {
    offsets: Int64Builder,
    timestamps: TimestampMillisecondBuilder,
    keys: BinaryBuilder,
    values: BinaryBuilder,
    headers: ListBuilder<StructBuilder>,
    bytes: usize,
}

impl Default for Records {
    fn default() -> Self {
        Self::empty()
    }
}

impl Default for RecordBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl RecordBuffer {
    #[must_use]
    pub fn new() -> Self {
        let item = Field::new("item", DataType::Struct(header_fields()), false);
        let pair =
            StructBuilder::new(header_fields(), vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())]);
        Self {
            offsets: Int64Builder::new(),
            timestamps: TimestampMillisecondBuilder::new().with_timezone("UTC"),
            keys: BinaryBuilder::new(),
            values: BinaryBuilder::new(),
            headers: ListBuilder::new(pair).with_field(item),
            bytes: 0,
        }
    }

    pub fn push(&mut self, record: Record<'_>, headers: ClientHeaders<'_>) {
        self.push_fixed(record);
        match headers {
            ClientHeaders::None => {}
            ClientHeaders::Some(native) => {
                native.iter().for_each(|(key, value)| self.push_header(&text_of(key), value))
            }
            ClientHeaders::Unreadable => self.push_header(UNREADABLE, None),
        }
        self.headers.append(!matches!(headers, ClientHeaders::None));
    }

    /// As [`RecordBuffer::push`], for records that do not come from a client.
    pub fn push_owned(&mut self, record: Record<'_>, headers: &[(String, Option<Vec<u8>>)]) {
        self.push_fixed(record);
        if headers.is_empty() {
            self.headers.append_null();
            return;
        }
        for (key, value) in headers {
            self.push_header(key, value.as_deref());
        }
        self.headers.append(true);
    }

    fn push_fixed(&mut self, record: Record<'_>) {
        self.offsets.append_value(record.offset);
        self.timestamps.append_value(record.timestamp_ms);
        self.keys.append_option(record.key);
        self.values.append_option(record.value);
        self.bytes += 32 + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
    }

    fn push_header(&mut self, key: &str, value: Option<&[u8]>) {
        let pair = self.headers.values();
        pair.field_builder::<StringBuilder>(0).expect("a header key is text").append_value(key);
        pair.field_builder::<BinaryBuilder>(1).expect("a header value is bytes").append_option(value);
        pair.append(true);
        self.bytes += 16 + key.len() + value.map_or(0, <[u8]>::len);
    }

    #[must_use]
    pub fn len(&self) -> usize {
        arrow::array::ArrayBuilder::len(&self.offsets)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    #[must_use]
    pub fn last_offset(&self) -> Option<i64> {
        self.offsets.values_slice().last().copied()
    }

    /// Gives what was gathered and starts anew.
    pub fn finish(&mut self) -> Records {
        self.bytes = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.offsets.finish()),
            Arc::new(self.timestamps.finish()),
            Arc::new(self.keys.finish()),
            Arc::new(self.values.finish()),
            Arc::new(self.headers.finish()),
        ];
        Records(RecordBatch::try_new(SCHEMA.clone(), columns).expect("every push appends to each column"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let mut buffer = RecordBuffer::new();
        let headers = vec![("source".to_owned(), Some(b"coinbase".to_vec())), ("empty".to_owned(), None)];
        buffer
            .push_owned(Record { offset: 7, timestamp_ms: 1_700_000_000_000, key: Some(b"k"), value: None }, &headers);
        buffer.push_owned(Record { offset: 9, timestamp_ms: 1, key: None, value: Some(b"\xc3\x01") }, &[]);
        assert_eq!((buffer.len(), buffer.last_offset()), (2, Some(9)));
        let records = buffer.finish();
        assert!(buffer.is_empty() && buffer.bytes() == 0);
        assert_eq!((records.first_offset(), records.last_offset(), records.position(9)), (Some(7), Some(9), Some(1)));
        assert_eq!(records.headers(0), headers);
        assert!(records.headers(1).is_empty());
        assert_eq!(records.with_headers().collect::<Vec<_>>(), [0]);
        let rest = records.slice(1, 1);
        assert!(rest.headers(0).is_empty() && rest.with_headers().next().is_none());
        assert!(records.values().is_null(0) && records.keys().is_null(1));
        assert_eq!(records.values().value(1), b"\xc3\x01");
        assert_eq!(Records::from_batch(records.batch().clone()).expect("the same columns"), records);
    }
}
