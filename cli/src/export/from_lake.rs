//! The rows of the lake: its objects in the order of their keys, each brought to the columns of the newest. Must never happen
//! here: an object of another version that is passed over, or whose columns are told under another's names.

use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use arrow::array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::StreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::codec::RecordType;
use pipeline::decode::Decoder;
use pipeline::store::Store;

use super::ExportArgs;
use super::files::Files;
use super::from_topic::{BROKER_TIME, with_coordinates};
use super::span::Kept;
use crate::lake::export::rows::{Table, damaged, named_in};
use crate::lake::export::selection::{self, Range};
use crate::lake::export::{Layer, fetched};
use crate::output::{Progress, size};

const ROWS_AT_A_TIME: usize = 8192;

pub async fn export(args: &ExportArgs, name: &str, kept: &mut Kept, files: &mut Files) -> anyhow::Result<()> {
    let mut table = Table::new(args.layer, name, &args.symbols)?;
    let store = Store::connect(&args.store).await?;
    let (from, until) = kept.span.days();
    let keys = selection::objects(&store, &mut table, Range::new(from, until)?).await?;
    let mut shape = match args.layer {
        Layer::Bronze => RecordType::ALL
            .into_iter()
            .find(|record| pipeline::lake::table(*record) == name)
            .map(|record| with_coordinates(&Decoder::new(record, None).schema())),
        Layer::Silver => None,
    };
    let time = time_of(args.layer, name);
    let mut progress = Progress::default();
    let mut objects = std::pin::pin!(fetched(&store, keys, args.layer));
    let mut bytes = 0_u64;
    while let Some(object) = objects.next().await {
        let (key, object) = object?;
        bytes += object.len() as u64;
        let builder = ParquetRecordBatchReaderBuilder::try_new(object).with_context(|| damaged(&key))?;
        let shape = shape.get_or_insert_with(|| silver_shape(&key, builder.schema()));
        for batch in builder.with_batch_size(ROWS_AT_A_TIME).build().with_context(|| damaged(&key))? {
            let batch = conformed(&key, &batch.with_context(|| damaged(&key))?, shape)?;
            files.write(&kept.of(&batch, time)?)?;
        }
        progress.tell(|| format!("{} rows, {} read; at {key}", files.rows(), size(bytes)));
    }
    Ok(())
}

/// The column whose time decides; weights are of days, which their keys name.
fn time_of(layer: Layer, table: &str) -> Option<&'static str> {
    match (layer, table) {
        (Layer::Bronze, _) | (Layer::Silver, "quarantined_ticks") => Some(BROKER_TIME),
        (Layer::Silver, "ticks") => Some("event_time"),
        (Layer::Silver, "gaps") => Some("started_at"),
        (Layer::Silver, _) => None,
    }
}

/// The columns of an object of silver, and those that stand in its key.
fn silver_shape(key: &str, schema: &SchemaRef) -> SchemaRef {
    let plain = schema.fields().iter().map(|field| field.as_ref().clone().with_metadata(Default::default()));
    let named = named_in(key).map(|(column, _)| Field::new(column, DataType::Utf8, false));
    Arc::new(Schema::new(plain.chain(named).collect::<Vec<_>>()))
}

fn conformed(key: &str, batch: &RecordBatch, shape: &SchemaRef) -> anyhow::Result<RecordBatch> {
    let schema = batch.schema();
    if let Some(other) = schema.fields().iter().find(|field| shape.column_with_name(field.name()).is_none()) {
        bail!(
            "{key} has a column {} that others of its table do not have: it is of another version; make the table again \
             (`refiner rebuild`), or export the days of each version apart",
            other.name()
        );
    }
    let columns = shape.fields().iter().map(|field| -> anyhow::Result<ArrayRef> {
        if let Some(column) = batch.column_by_name(field.name()) {
            return cast(column, field.data_type()).with_context(|| format!("column {} of {key}", field.name()));
        }
        match named_in(key).find(|(column, _)| column == field.name()) {
            Some((_, text)) => Ok(Arc::new(StringArray::from(vec![text; batch.num_rows()]))),
            None if field.is_nullable() => Ok(new_null_array(field.data_type(), batch.num_rows())),
            None => Err(anyhow!(
                "{key} has no column {}: it is of another version; `refiner rebuild` makes it again",
                field.name()
            )),
        }
    });
    Ok(RecordBatch::try_new(shape.clone(), columns.collect::<anyhow::Result<_>>()?)?)
}
