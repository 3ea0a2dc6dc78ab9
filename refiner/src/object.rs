//! One object of silver or gold: its rows, and in its footer what it was made from. Invariant: a function of its rows, its
//! inputs and the table's version. Must never happen here: a clock, a host or a writer's name.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::compute::BatchCoalescer;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use lake::raw::Compression;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{KeyValue, ParquetMetaData, ParquetMetaDataReader};

use crate::tables::Table;

const TABLE_KEY: &str = "tickstream-table";
const VERSION_KEY: &str = "tickstream-refiner-version";
/// `[["key", "etag"], …]`, by key.
const INPUTS_KEY: &str = "tickstream-inputs";
/// A reader that wants one symbol skips the row groups of the others.
const ROW_GROUP: usize = 131_072;

/// Rows that are written at once.
const ROWS_AT_ONCE: usize = 8_192;

/// Keys of input objects and the ETags that they were read with.
pub type Inputs = BTreeMap<String, String>;

/// What an object says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub version: u32,
    pub inputs: Inputs,
}

impl Made {
    /// Reads the footer.
    ///
    /// # Errors
    /// When the bytes are not an object of the refiner's.
    pub fn of(object: &Bytes) -> anyhow::Result<Self> {
        Self::of_metadata(&ParquetMetaDataReader::new().parse_and_finish(object)?)
    }

    /// Reads a footer that has been parsed.
    ///
    /// # Errors
    /// When it is not that of an object of the refiner's.
    pub fn of_metadata(metadata: &ParquetMetaData) -> anyhow::Result<Self> {
        let pairs = metadata.file_metadata().key_value_metadata().into_iter().flatten();
        let pairs: HashMap<&str, &str> =
            pairs.filter_map(|pair| Some((pair.key.as_str(), pair.value.as_deref()?))).collect();
        let version = pairs.get(VERSION_KEY).and_then(|version| version.parse().ok());
        let inputs: Vec<(String, String)> =
            serde_json::from_str(pairs.get(INPUTS_KEY).context("its footer does not list what it was made from")?)?;
        Ok(Self {
            version: version.context("its footer does not say its version")?,
            inputs: inputs.into_iter().collect(),
        })
    }
}

/// Writes one object as its rows come: however they are cut, the same rows give the same pages.
pub struct ObjectWriter {
    writer: ArrowWriter<Vec<u8>>,
    waiting: BatchCoalescer,
    rows: usize,
}

impl ObjectWriter {
    /// # Errors
    /// When Parquet refuses the columns: a bug.
    pub fn new(columns: SchemaRef, compression: Compression) -> anyhow::Result<Self> {
        let properties = lake::raw::properties(Vec::new(), compression)
            .set_max_row_group_row_count(Some(ROW_GROUP))
            // Lists as Parquet's own rules name them: Iceberg's readers know no others.
            .set_coerce_types(true)
            .build();
        let waiting = BatchCoalescer::new(columns.clone(), ROWS_AT_ONCE);
        Ok(Self { writer: lake::raw::writer(columns, properties)?, waiting, rows: 0 })
    }

    /// # Errors
    /// When the rows have other columns: a bug.
    pub fn push(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        self.rows += batch.num_rows();
        self.waiting.push_batch(batch.clone())?;
        self.write()
    }

    fn write(&mut self) -> anyhow::Result<()> {
        while let Some(batch) = self.waiting.next_completed_batch() {
            self.writer.write(&batch)?;
        }
        Ok(())
    }

    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// # Errors
    /// When Parquet cannot end it: a bug.
    pub fn finish(mut self, inputs: &Inputs, table: Table) -> anyhow::Result<Bytes> {
        self.waiting.finish_buffered_batch()?;
        self.write()?;
        let listed: Vec<(&String, &String)> = inputs.iter().collect();
        for (key, value) in [
            (TABLE_KEY, table.name().to_owned()),
            (VERSION_KEY, table.version().to_string()),
            (INPUTS_KEY, serde_json::to_string(&listed)?),
        ] {
            self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        Ok(Bytes::from(self.writer.into_inner()?))
    }
}
