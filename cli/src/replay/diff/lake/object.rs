//! An object of the lake as rows by their keys. Must never happen here: a column of one object taken for another one's of the same
//! place.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::store::Store;

use crate::lake::export::cells::Cells;

const ROWS_AT_A_TIME: usize = 8192;

/// Columns of the batches of one object.
struct Columns {
    names: HashMap<String, usize>,
    batches: Vec<Vec<Cells>>,
}

/// One row, where it stands in its object.
#[derive(Clone)]
pub struct Row {
    key: String,
    columns: Arc<Columns>,
    batch: usize,
    row: usize,
}

/// The rows of the object under `key`, by what the columns named in `by` hold; none where there is no such object.
///
/// # Errors
/// When the store does not answer, or the object cannot be read.
pub async fn read(store: &Store, key: &str, by: &[&str]) -> anyhow::Result<HashMap<String, Row>> {
    let Some(object) = store.get(key).await? else { return Ok(HashMap::new()) };
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(object.bytes).with_context(|| format!("{key} is no Parquet"))?;
    let (mut names, mut batches, mut counts) = (HashMap::new(), Vec::new(), Vec::new());
    for batch in reader.with_batch_size(ROWS_AT_A_TIME).build()? {
        let batch = batch.with_context(|| format!("reading {key}"))?;
        let schema = batch.schema();
        if names.is_empty() {
            names = schema.fields().iter().enumerate().map(|(index, field)| (field.name().clone(), index)).collect();
        }
        let cells = schema.fields().iter().zip(batch.columns()).map(|(field, column)| Cells::new(field, column));
        batches.push(cells.collect::<anyhow::Result<Vec<_>>>().with_context(|| format!("reading {key}"))?);
        counts.push(batch.num_rows());
    }
    let columns = Arc::new(Columns { names, batches });
    let mut rows = HashMap::new();
    for (batch, count) in counts.into_iter().enumerate() {
        for row in 0..count {
            let mut row = Row { key: String::new(), columns: columns.clone(), batch, row };
            let parts: Vec<String> = by.iter().map(|column| row.get(column).unwrap_or_default()).collect();
            row.key = parts.join(" ");
            rows.insert(row.key.clone(), row);
        }
    }
    Ok(rows)
}

impl Row {
    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn get(&self, column: &str) -> Option<String> {
        let column = *self.columns.names.get(column)?;
        self.columns.batches[self.batch][column].plain(self.row)
    }

    pub fn number(&self, column: &str) -> Option<i64> {
        self.get(column)?.parse().ok()
    }

    /// A time in microseconds from 1970.
    pub fn micros(&self, column: &str) -> Option<i64> {
        let time: jiff::Timestamp = self.get(column)?.parse().ok()?;
        Some(time.as_microsecond())
    }

    /// The columns of either that differ: the live value, then this one's, in the order of their names.
    pub fn differs_from(&self, live: &Self, ignored: &[&str]) -> Vec<(String, Option<String>, Option<String>)> {
        let mut names: Vec<&String> = self.columns.names.keys().chain(live.columns.names.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let compared = names.into_iter().filter(|name| !ignored.contains(&name.as_str()));
        let both = compared.map(|name| (name.clone(), live.get(name), self.get(name)));
        both.filter(|(_, live, own)| live != own).collect()
    }
}
