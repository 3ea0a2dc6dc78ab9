//! Records to a raw Parquet object and back, bytes verbatim. Invariant: the same records, the same link and the same
//! [`Compression`] give the same bytes, whoever writes them and when. Must never happen here: a clock, a host, a writer's name,
//! or a look into a record.

use std::collections::HashMap;

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use pipeline::lake::{Link, LinkRows};
use pipeline::records::Records;

/// Written where Parquet names its writer: a constant, so that an upgrade of a library does not change every object.
const CREATED_BY: &str = "tickstream";

/// How the pages of an object are compressed. Readers find it in the footer, so objects of both kinds stand side by side;
/// with another setting what is written already is left as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    #[default]
    Zstd,
    Snappy,
}

impl From<Compression> for parquet::basic::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Zstd => Self::ZSTD(ZstdLevel::try_new(1).expect("1 is a level of zstd")),
            Compression::Snappy => Self::SNAPPY,
        }
    }
}

/// What a link says of its rows.
pub fn rows(records: &Records) -> Option<LinkRows> {
    let (first, last) = (records.first_offset()?, records.last_offset()?);
    let count = u64::try_from(records.len()).ok()?;
    Some(LinkRows { first, last, count, first_time_ms: records.timestamps_ms().value(0) })
}

/// The raw object.
///
/// # Errors
/// When Parquet refuses the columns: a bug.
pub fn encode(link: &Link, records: &Records, compression: Compression) -> anyhow::Result<Bytes> {
    let value = ColumnPath::from("value");
    let footer = link.pairs().into_iter().map(|(name, value)| KeyValue::new(name.to_owned(), value)).collect();
    let properties = properties(footer, compression)
        // Every value is another one: a dictionary would only be built and thrown away, and a minimum says nothing.
        .set_column_dictionary_enabled(value.clone(), false)
        .set_column_statistics_enabled(value, EnabledStatistics::None);
    let mut writer = writer(Records::schema(), ascending(properties, &["offset", "timestamp"]).build())?;
    writer.write(records.batch())?;
    Ok(Bytes::from(writer.into_inner()?))
}

/// The records of a raw object, and what its footer says.
///
/// # Errors
/// When the bytes are not a raw object.
pub fn decode(bytes: Bytes) -> anyhow::Result<(Link, Records)> {
    let (footer, batch) = read(bytes)?;
    let link = Link::from_pairs(&footer).context("its footer does not say what it holds")?;
    let records = Records::from_batch(batch)?;
    anyhow::ensure!(rows(&records) == link.rows, "its footer says {:?}, it holds {:?}", link.rows, rows(&records));
    Ok((link, records))
}

/// What every object of the lake has in common.
pub fn properties(footer: Vec<KeyValue>, compression: Compression) -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(compression.into())
        .set_statistics_enabled(EnabledStatistics::Chunk)
        // An object is one row group: it holds a few megabytes.
        .set_max_row_group_row_count(None)
        .set_key_value_metadata(Some(footer))
}

/// Columns of whole numbers that mostly grow: their differences are small.
pub fn ascending(mut properties: WriterPropertiesBuilder, columns: &[&str]) -> WriterPropertiesBuilder {
    for column in columns {
        let path = ColumnPath::from(*column);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    properties
}

/// A writer of objects, into memory.
///
/// # Errors
/// When Parquet refuses the columns: a bug.
pub fn writer(schema: SchemaRef, properties: WriterProperties) -> anyhow::Result<ArrowWriter<Vec<u8>>> {
    // Arrow's own copy of the schema holds maps whose order changes from one process to the next.
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    Ok(ArrowWriter::try_new_with_options(Vec::new(), schema, options)?)
}

/// Footer and rows of a Parquet object.
pub(crate) fn read(bytes: Bytes) -> anyhow::Result<(HashMap<String, String>, RecordBatch)> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let file = builder.metadata().file_metadata();
    let rows = usize::try_from(file.num_rows())?;
    let pairs = file.key_value_metadata().into_iter().flatten();
    let footer = pairs.filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?))).collect();
    let schema = builder.schema().clone();
    let batches: Vec<RecordBatch> = builder.with_batch_size(rows.max(1)).build()?.collect::<Result<_, _>>()?;
    Ok((footer, concat_batches(&schema, &batches)?))
}

#[cfg(test)]
pub(crate) mod tests {
    use pipeline::lake::LinkKind;
    use pipeline::records::{Record, RecordBuffer};
    use uuid::Uuid;

    use super::*;

    /// Records with these values at 10, 11, …, the third after a marker.
    pub(crate) fn records(values: &[Option<&[u8]>]) -> Records {
        let mut buffer = RecordBuffer::new();
        for (index, value) in (0..).zip(values) {
            let headers = [("source".to_owned(), Some(b"x".to_vec())), ("none".to_owned(), None)];
            let headers = if index == 1 { &headers[..] } else { &[] };
            let offset = 10 + index + i64::from(index >= 2);
            buffer.push_owned(
                Record {
                    offset,
                    timestamp_ms: 1_700_000_000_000 + index,
                    key: (index != 0).then_some(b"key"),
                    value: *value,
                },
                headers,
            );
        }
        buffer.finish()
    }

    pub(crate) fn link(records: &Records) -> Link {
        let next_offset = records.last_offset().map_or(20, |last| last + 1);
        Link { kind: LinkKind::Data, topic_id: Uuid::from_u128(5), start: 9, next_offset, rows: rows(records) }
    }

    #[test]
    fn bytes_come_back_verbatim_and_are_the_same_each_time() {
        let records = records(&[Some(b"\xc3\x01a"), Some(b""), None, Some(&[0xff; 5000])]);
        let link = link(&records);
        for compression in [Compression::Zstd, Compression::Snappy] {
            let bytes = encode(&link, &records, compression).expect("encoded");
            let again = encode(&link, &records, compression).expect("encoded");
            assert_eq!(bytes, again, "the same input gives the same object");
            let (same_link, back) = decode(bytes).expect("a raw object");
            assert_eq!((same_link, back.len()), (link, 4));
            assert_eq!((back.offsets(), back.timestamps_ms()), (records.offsets(), records.timestamps_ms()));
            assert_eq!((back.keys(), back.values()), (records.keys(), records.values()));
            for row in 0..4 {
                assert_eq!(back.headers(row), records.headers(row));
            }
        }
    }

    #[test]
    fn an_object_without_rows_is_an_object() {
        let link = link(&Records::empty());
        let bytes = encode(&link, &Records::empty(), Compression::Zstd).expect("encoded");
        let (same_link, back) = decode(bytes).expect("a raw object");
        assert!(same_link == link && back.is_empty());
    }

    #[test]
    fn half_an_object_is_none() {
        let records = records(&[Some(b"value")]);
        let bytes = encode(&link(&records), &records, Compression::Zstd).expect("encoded");
        assert!(decode(bytes.slice(..bytes.len() / 2)).is_err());
        assert!(decode(Bytes::new()).is_err());
    }
}
