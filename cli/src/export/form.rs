//! Rows as Parquet, as comma-separated values, or as a line of JSON each. Decimals are `DECIMAL(38,18)` in Parquet and plain
//! digits elsewhere. Invariant: what waits in memory is bounded, however many rows come. Must never happen here: a value in
//! another column's place.

use std::io::{self, BufWriter, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use clap::ValueEnum;
use csv::{Terminator, WriterBuilder};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::files::Out;
use crate::lake::export::cells::Cells;

/// A row group is closed at so many rows, or so many bytes in memory.
const GROUP_ROWS: usize = 128 * 1024;
const GROUP_BYTES: usize = 16 << 20;
const BUFFER: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns, compressed by zstd; decimals are DECIMAL(38,18), times microseconds UTC.
    Parquet,
    /// Comma-separated values with headings (RFC 4180, UTF-8).
    Csv,
    /// A JSON object a line; decimals are text, digit for digit.
    Jsonl,
}

impl Format {
    pub fn of_ending(end: &str) -> Option<Self> {
        match end.to_ascii_lowercase().as_str() {
            "parquet" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        }
    }

    pub fn ending(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// One file that is being written.
pub enum Form {
    Parquet(Box<ArrowWriter<Out>>),
    Csv(Box<csv::Writer<Out>>),
    Jsonl(BufWriter<Out>),
}

impl Form {
    /// # Errors
    /// When the first bytes cannot be written.
    pub fn new(format: Format, schema: &SchemaRef, out: Out) -> anyhow::Result<Self> {
        Ok(match format {
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_created_by("tickstream".to_owned())
                    .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
                    .set_max_row_group_row_count(Some(GROUP_ROWS))
                    .build();
                // Without Arrow's own copy of the schema, whose order changes from one process to the next.
                let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
                Self::Parquet(Box::new(ArrowWriter::try_new_with_options(out, schema.clone(), options)?))
            }
            Format::Csv => {
                let mut writer =
                    WriterBuilder::new().terminator(Terminator::CRLF).buffer_capacity(BUFFER).from_writer(out);
                writer.write_record(schema.fields().iter().map(|field| field.name())).map_err(of_csv)?;
                Self::Csv(Box::new(writer))
            }
            Format::Jsonl => Self::Jsonl(BufWriter::with_capacity(BUFFER, out)),
        })
    }

    /// # Errors
    /// When they cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        match self {
            Self::Parquet(writer) => {
                writer.write(batch)?;
                if writer.in_progress_size() > GROUP_BYTES {
                    writer.flush()?;
                }
            }
            Self::Csv(writer) => {
                let (columns, mut cell) = (cells(batch)?, String::new());
                for row in 0..batch.num_rows() {
                    for (_, column) in &columns {
                        cell.clear();
                        column.write(row, &mut cell);
                        writer.write_field(&cell).map_err(of_csv)?;
                    }
                    writer.write_record(None::<&[u8]>).map_err(of_csv)?;
                }
            }
            Self::Jsonl(writer) => {
                let columns = cells(batch)?;
                for row in 0..batch.num_rows() {
                    for (index, (name, column)) in columns.iter().enumerate() {
                        writer.write_all(if index == 0 { b"{" } else { b"," })?;
                        writer.write_all(name.as_bytes())?;
                        serde_json::to_writer(&mut *writer, &column.json(row)).map_err(io::Error::from)?;
                    }
                    writer.write_all(b"}\n")?;
                }
            }
        }
        Ok(())
    }

    /// Writes what waits, and gives the rest of the work back.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> anyhow::Result<Out> {
        Ok(match self {
            Self::Parquet(writer) => writer.into_inner()?,
            Self::Csv(writer) => writer.into_inner().map_err(|error| error.into_error())?,
            Self::Jsonl(writer) => writer.into_inner().map_err(|error| error.into_error())?,
        })
    }
}

/// What the system said, which the CSV writer tells as text alone.
fn of_csv(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Each column with its name as a key of JSON: `"price":`.
fn cells(batch: &RecordBatch) -> anyhow::Result<Vec<(String, Cells)>> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
        let name = format!("{}:", serde_json::to_string(field.name())?);
        anyhow::Ok((name, Cells::new(field, column)?))
    });
    columns.collect()
}
