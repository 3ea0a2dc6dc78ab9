//! The rows of a topic: its records between two times of the broker, decoded, partition by partition in the order of the log.
//! No group is joined. Must never happen here: a beginning that retention has removed, and nobody is told.

use std::sync::Arc;

use anyhow::Context;
use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use jiff::Timestamp;
use pipeline::codec::RecordType;
use pipeline::decode::{Decoded, Decoder};
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::records::Records;
use pipeline::stretches::{self, Stretch};

use super::ExportArgs;
use super::files::Files;
use super::span::Kept;
use crate::kafka::{Cluster, Ends};
use crate::lake::export::{Layer, check_symbols};
use crate::output::{self, Progress};

pub const BROKER_TIME: &str = "broker_time";
const WHEN_CUT: &str = "export again";

pub async fn export(args: &ExportArgs, table: &str, kept: &mut Kept, files: &mut Files) -> anyhow::Result<()> {
    let record = RecordType::ALL.into_iter().find(|record| pipeline::lake::table(*record) == table);
    let record = record.ok_or_else(|| misconfigured(format!("no topic holds {table}: --source lake has it")))?;
    if args.layer != Layer::Bronze {
        return Err(misconfigured("--layer silver is of the lake: leave it out, or --source topic"));
    }
    check_symbols(table, &args.symbols)?;
    let topic = record.topic();
    let stretches = stretches_of(args, topic, kept).await?;
    let mut decoder = Decoder::new(record, args.registry.registry()?);
    let schema = with_coordinates(&decoder.schema());
    let (mut progress, mut undecodable) = (Progress::default(), 0_u64);
    for stretch in stretches {
        stretches::read(&args.kafka, topic, &[stretch], WHEN_CUT, async |partition, records| {
            let decoded = decoder.decode(records.values()).await?;
            undecodable += decoded.bad.len() as u64;
            let rows = kept.of(&placed(&schema, partition, &records, decoded)?, Some(BROKER_TIME))?;
            files.write(&rows)?;
            let offset = records.last_offset().unwrap_or_default();
            progress.tell(|| format!("{} rows; at offset {offset} of {topic}[{partition}]", files.rows()));
            Ok(())
        })
        .await?;
    }
    if undecodable > 0 {
        output::note(&format!(
            "{undecodable} records of {topic} do not decode and are left out: they are dead letters"
        ));
    }
    Ok(())
}

async fn stretches_of(args: &ExportArgs, topic: &str, kept: &Kept) -> anyhow::Result<Vec<Stretch>> {
    let cluster = Cluster::new(&args.kafka)?;
    let metadata = cluster.metadata().await?;
    let found = metadata.topics.get(topic).ok_or_else(|| {
        let servers = &args.kafka.kafka_bootstrap_servers;
        misconfigured(format!(
            "topic {topic} does not exist at {servers}; `tickstream topics apply` creates the declared topics"
        ))
    })?;
    let mut stretches = Vec::new();
    for &partition in &found.partitions {
        let Ends { start, end } = cluster.ends(topic, partition).await?;
        let offset_at = async |time: Option<Timestamp>, otherwise: i64| match time {
            Some(time) => cluster.offset_at(topic, partition, ms_at_or_after(time)).await,
            None => Ok(otherwise),
        };
        let stretch = Stretch {
            partition,
            start: offset_at(kept.span.from, start).await?.max(start),
            end: offset_at(kept.span.to, end).await?.min(end),
        };
        if let Some(from) = kept.span.from.filter(|_| start > 0 && stretch.start == start && start < end) {
            let oldest = oldest(&args.kafka, topic, Stretch { partition, start, end }).await?;
            if let Some(oldest) = oldest.filter(|oldest| *oldest > from) {
                return Err(misconfigured(format!(
                    "{topic}[{partition}] has lost offsets 0 to {} to retention: {from} is asked for, and what is left begins at \
                     {oldest}; --source lake has the rest",
                    start - 1
                )));
            }
        }
        stretches.push(stretch);
    }
    Ok(stretches)
}

/// The broker counts milliseconds.
fn ms_at_or_after(time: Timestamp) -> i64 {
    let micros = time.as_microsecond();
    micros.div_euclid(1000) + i64::from(micros.rem_euclid(1000) > 0)
}

/// When the broker took the first record that is left.
async fn oldest(kafka: &KafkaArgs, topic: &str, left: Stretch) -> anyhow::Result<Option<Timestamp>> {
    let mut time_ms = None;
    let first = Stretch { end: left.start + 1, ..left };
    stretches::read(kafka, topic, &[first], WHEN_CUT, async |_, records| {
        time_ms = records.timestamps_ms().values().first().copied();
        Ok(())
    })
    .await?;
    Ok(time_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
}

/// The decoder's columns, then where each record stood: as bronze has them.
pub fn with_coordinates(columns: &SchemaRef) -> SchemaRef {
    let plain = columns.fields().iter().map(|field| field.as_ref().clone().with_metadata(Default::default()));
    let mut fields: Vec<Field> = plain.collect();
    fields.push(Field::new("kafka_partition", DataType::Int32, false));
    fields.push(Field::new("kafka_offset", DataType::Int64, false));
    fields.push(Field::new(BROKER_TIME, DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())), false));
    Arc::new(Schema::new(fields))
}

fn placed(schema: &SchemaRef, partition: i32, records: &Records, decoded: Decoded) -> anyhow::Result<RecordBatch> {
    let (offsets, times) = (records.offsets().values(), records.timestamps_ms().values());
    let rows = || decoded.rows.iter().map(|row| *row as usize);
    let mut columns: Vec<ArrayRef> = decoded.batch.columns().to_vec();
    let count = columns.first().map_or(0, Array::len);
    columns.push(Arc::new(Int32Array::from(vec![partition; count])));
    columns.push(Arc::new(Int64Array::from(rows().map(|row| offsets[row]).collect::<Vec<_>>())));
    let micros = rows().map(|row| times[row].saturating_mul(1000)).collect::<Vec<_>>();
    columns.push(Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("+00:00")));
    RecordBatch::try_new(schema.clone(), columns).context("the columns of the newest schema")
}
