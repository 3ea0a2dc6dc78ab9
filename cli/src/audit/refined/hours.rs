//! An hour of silver's ticks beside Postgres' rows of that hour: the same events, saying the same. Both are made of the same
//! records by rules of their own, so whoever altered one of them is found by the other. An hour in memory at a time. Must
//! never happen here: rows that one of the two has not come to yet called missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context;
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, SchemaRef};
use bytes::Bytes;
use jiff::Timestamp;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::codec::RecordType;
use pipeline::decode::{Decoder, Ticks};
use pipeline::store::Store;
use pipeline::topics;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{HOUR_US, State, day_and_hour, ticks_key};
use crate::audit::content;
use crate::audit::database::{Tally, at};
use crate::audit::letters::Coordinates;
use crate::database::explain;

const ROWS_OF_AN_HOUR: &str = include_str!("../../sql/rows_of_an_hour.sql");

type Rows = BTreeMap<Uuid, (Coordinates, u64)>;

/// What is known of the two.
pub struct Between<'a> {
    pub store: &'a Store,
    /// Records that the database's group could not take.
    pub dead: &'a BTreeSet<Coordinates>,
    /// How far the database is, by partition.
    pub positions: &'a BTreeMap<i32, i64>,
}

impl Between<'_> {
    /// The differences of one hour, and how many rows agree.
    pub async fn compare(&self, connection: &mut PgConnection, hour_us: i64) -> anyhow::Result<(u64, Vec<String>)> {
        let state = State::read(self.store).await?.unwrap_or_default();
        let silver = self.silver(hour_us).await?;
        let postgres = postgres(connection, hour_us).await?;
        let (day, hour) = day_and_hour(hour_us);
        if state.waits_for(&format!("ticks/{day}/{hour}")) {
            return Ok((0, Vec::new()));
        }
        let (mut same, mut other, mut not_here, mut not_there) =
            (0, Tally::default(), Tally::default(), Tally::default());
        for (id, (place, content)) in &postgres {
            match silver.get(id) {
                Some((_, in_silver)) if in_silver == content => same += 1,
                _ if !state.has_taken(topics::TICKS, place.0, place.1) => {}
                Some(_) => other.add(|| format!("{id} from {}", at(*place))),
                None => not_here.add(|| format!("{id} from {}", at(*place))),
            }
        }
        for (id, (place, _)) in silver.iter().filter(|(id, _)| !postgres.contains_key(*id)) {
            let is_beyond = self.positions.get(&place.0).is_some_and(|position| place.1 >= *position);
            if !is_beyond && !self.dead.contains(place) {
                not_there.add(|| format!("{id} from {}", at(*place)));
            }
        }
        let key = ticks_key(hour_us);
        let lines = [
            other.line("rows say other than Postgres"),
            not_here.line("rows of Postgres are not in it"),
            not_there.line("of its rows are not in Postgres"),
        ];
        Ok((same, lines.into_iter().flatten().map(|line| format!("{key}: {line}")).collect()))
    }

    async fn silver(&self, hour_us: i64) -> anyhow::Result<Rows> {
        let key = ticks_key(hour_us);
        let Some(object) = self.store.get(&key).await? else { return Ok(Rows::new()) };
        // What cannot be read has been told of already.
        Ok(tokio::task::spawn_blocking(move || rows(object.bytes)).await?.unwrap_or_default())
    }
}

async fn postgres(connection: &mut PgConnection, hour_us: i64) -> anyhow::Result<Rows> {
    let time = |micros| Timestamp::from_microsecond(micros).context("an hour").map(|time| time.to_string());
    let query = sqlx::query_as::<_, (Uuid, i32, i64, i64)>(ROWS_OF_AN_HOUR);
    let rows =
        query.bind(time(hour_us)?).bind(time(hour_us + HOUR_US)?).fetch_all(connection).await.map_err(explain)?;
    let row =
        |(id, partition, offset, content): (Uuid, i32, i64, i64)| (id, ((partition, offset), content.cast_unsigned()));
    Ok(rows.into_iter().map(row).collect())
}

/// The rows of an object of silver's ticks.
fn rows(bytes: Bytes) -> anyhow::Result<Rows> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()?;
    let decoded = Decoder::new(RecordType::PriceTick, None).schema();
    let mut rows = Rows::new();
    for batch in reader {
        let batch = batch?;
        let partitions: ArrayRef = cast(column(&batch, "kafka_partition")?, &DataType::Int32)?;
        let offsets: ArrayRef = cast(column(&batch, "kafka_offset")?, &DataType::Int64)?;
        let (partitions, offsets): (&Int32Array, &Int64Array) =
            (partitions.as_primitive::<Int32Type>(), offsets.as_primitive::<Int64Type>());
        let batch = as_decoded(&batch, &decoded)?;
        let ticks = Ticks::new(&batch);
        for row in 0..ticks.len() {
            let place = (partitions.value(row), offsets.value(row));
            rows.insert(ticks.event_id(row), (place, content::of_tick(&ticks, row)));
        }
    }
    Ok(rows)
}

pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> anyhow::Result<&'a ArrayRef> {
    batch.column_by_name(name).with_context(|| format!("it has no column {name}"))
}

/// With the columns that a decoded record has. No retracted one stands in silver, which has no such column.
pub(super) fn as_decoded(batch: &RecordBatch, schema: &SchemaRef) -> anyhow::Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| {
        if field.name() == "retracted" && batch.column_by_name("retracted").is_none() {
            return Ok(Arc::new(BooleanArray::from(vec![false; batch.num_rows()])) as ArrayRef);
        }
        Ok(cast(column(batch, field.name())?, field.data_type())?)
    });
    let columns = columns.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}
