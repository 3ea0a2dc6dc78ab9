//! Single rows of Parquet objects: which row group, which row of it, and what it says. Must never happen here: a row counted in
//! another group than it stands in.

use anyhow::Context;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use uuid::Uuid;

use crate::lake::export::cells::Cells;

/// A row that was looked for.
#[derive(Clone, Debug)]
pub struct Row {
    pub group: usize,
    /// Within the group, from 0.
    pub row: usize,
    /// That row alone, with the columns that were asked for.
    pub batch: RecordBatch,
}

impl Row {
    /// `row 17 of row group 0`.
    pub fn place(&self) -> String {
        format!("row {} of row group {}", self.row, self.group)
    }

    /// A value as plain text; `None` for null, or a column that the object does not have.
    pub fn text(&self, column: &str) -> Option<String> {
        let (index, field) = self.batch.schema_ref().column_with_name(column)?;
        Cells::new(field, self.batch.column(index)).ok()?.plain(0)
    }

    /// A whole number, or a time in microseconds.
    pub fn number(&self, column: &str) -> Option<i64> {
        numbers(&self.batch, column).ok()?.as_primitive::<Int64Type>().values().first().copied()
    }
}

/// The rows of a batch whose column of whole numbers or times has this value.
pub fn with_number(batch: &RecordBatch, column: &str, value: i64) -> anyhow::Result<Vec<usize>> {
    let numbers = numbers(batch, column)?;
    let numbers = numbers.as_primitive::<Int64Type>();
    Ok((0..numbers.len()).filter(|row| numbers.is_valid(*row) && numbers.value(*row) == value).collect())
}

/// The rows of a batch whose column of 16 bytes is this id.
pub fn with_id(batch: &RecordBatch, column: &str, id: Uuid) -> anyhow::Result<Vec<usize>> {
    // Some engines write ids as bytes of any length.
    let ids = cast(named(batch, column)?, &DataType::Binary)?;
    let ids = ids.as_binary::<i32>();
    Ok((0..ids.len()).filter(|row| ids.value(*row) == id.as_bytes()).collect())
}

/// Of these rows of a batch those whose column of texts has this value.
pub fn with_text(batch: &RecordBatch, rows: Vec<usize>, column: &str, value: &str) -> anyhow::Result<Vec<usize>> {
    let texts = cast(named(batch, column)?, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    Ok(rows.into_iter().filter(|row| texts.value(*row) == value).collect())
}

fn numbers(batch: &RecordBatch, column: &str) -> anyhow::Result<ArrayRef> {
    Ok(cast(named(batch, column)?, &DataType::Int64)?)
}

fn named<'a>(batch: &'a RecordBatch, column: &str) -> anyhow::Result<&'a ArrayRef> {
    batch.column_by_name(column).with_context(|| format!("it has no column {column}"))
}

/// The rows that `select` says of each batch; of the columns these, or all where none is named.
///
/// # Errors
/// When the bytes are not Parquet.
pub fn find(
    bytes: &Bytes,
    columns: &[&str],
    select: impl Fn(&RecordBatch) -> anyhow::Result<Vec<usize>>,
) -> anyhow::Result<Vec<Row>> {
    let groups = ParquetRecordBatchReaderBuilder::try_new(bytes.clone())?.metadata().num_row_groups();
    let mut found = Vec::new();
    for group in 0..groups {
        let mut builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone())?.with_row_groups(vec![group]);
        if !columns.is_empty() {
            let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
            builder = builder.with_projection(mask);
        }
        let mut before = 0;
        for batch in builder.build()? {
            let batch = batch?;
            let rows = select(&batch)?.into_iter();
            found.extend(rows.map(|row| Row { group, row: before + row, batch: batch.slice(row, 1) }));
            before += batch.num_rows();
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use super::*;

    #[test]
    fn a_row_is_counted_within_its_group() {
        let numbers: ArrayRef = Arc::new(Int64Array::from((0..25).collect::<Vec<i64>>()));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).expect("a batch");
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(10)).build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).expect("a writer");
        writer.write(&batch).expect("written");
        writer.close().expect("closed");
        let bytes = Bytes::from(bytes);
        let found = |n: i64| find(&bytes, &["n"], |batch| with_number(batch, "n", n)).expect("read");
        let found = [3, 10, 24].map(found).concat();
        let told: Vec<_> = found.iter().map(|row| (row.group, row.row, row.number("n"), row.text("n"))).collect();
        let expected = [(0, 3, 3), (1, 0, 10), (2, 4, 24)];
        assert_eq!(told, expected.map(|(group, row, n)| (group, row, Some(n), Some(n.to_string()))));
        assert_eq!((found[0].text("other"), found[0].place().as_str()), (None, "row 3 of row group 0"));
    }
}
