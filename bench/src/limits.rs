//! What the machine itself can do, with nothing of ours in the way: the figures that ours are divided by. Each limit does
//! the least that any program of its kind must do.

use std::time::{Duration, Instant};

use anyhow::Context;
use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use pipeline::headers::ClientHeaders;
use pipeline::kafka::KafkaArgs;
use pipeline::records::{Record, RecordBuffer, Records};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

/// Sends `count` copies of ready-made values and waits until the broker has all: records a second.
pub fn produce_only(
    kafka: &KafkaArgs,
    topic: &str,
    partitions: i32,
    values: &[Vec<u8>],
    count: usize,
) -> anyhow::Result<f64> {
    let producer: BaseProducer = kafka.producer().set("queue.buffering.max.messages", "1000000").create()?;
    let begun = Instant::now();
    for (i, partition) in (0..count).zip((0..partitions).cycle()) {
        let mut record =
            BaseRecord::<[u8], [u8]>::to(topic).partition(partition).key(b"BTC-USD").payload(&values[i % values.len()]);
        while let Err((error, back)) = producer.send(record) {
            anyhow::ensure!(error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), "produce: {error}");
            producer.poll(Duration::from_millis(1));
            record = back;
        }
        if i % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(rate(count, begun))
}

/// The end of a partition is reported as an error; here it is what is waited for.
struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Quiet {}

/// Reads every partition from its start to its end and looks at nothing: records a second, and the records.
pub fn consume_only(
    kafka: &KafkaArgs,
    topic: &str,
    partitions: i32,
    keep: bool,
) -> anyhow::Result<(f64, Vec<Records>)> {
    let consumer: BaseConsumer<Quiet> = kafka
        .consumer(None)
        // Limits are given every advantage: as much is fetched ahead as helps.
        .set("queued.max.messages.kbytes", "65536")
        .set("queued.min.messages", "200000")
        .create_with_context(Quiet)?;
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    // Warmed up before the clock starts: connections and metadata are not what is measured.
    consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
    let begun = Instant::now();
    consumer.assign(&list)?;
    let (mut count, mut ended) = (0, 0);
    let mut buffers: Vec<RecordBuffer> = (0..partitions).map(|_| RecordBuffer::new()).collect();
    while ended < partitions {
        match consumer.poll(Duration::from_secs(10)).context("no record for 10 s")? {
            Ok(message) => {
                count += 1;
                if keep {
                    let record = Record {
                        offset: message.offset(),
                        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
                        key: message.key(),
                        value: message.payload(),
                    };
                    buffers[usize::try_from(message.partition())?].push(record, ClientHeaders::of(&message));
                }
            }
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok((rate(count, begun), buffers.iter_mut().map(RecordBuffer::finish).collect()))
}

/// Writes batches that are in memory as one Parquet file in memory: rows a second, and bytes a row.
pub fn parquet_write(batches: &[RecordBatch]) -> anyhow::Result<(f64, f64)> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?)).build();
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let schema = batches.first().context("no batch to write")?.schema();
    let begun = Instant::now();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))?;
    for batch in batches {
        writer.write(batch)?;
    }
    let bytes = writer.into_inner()?.len();
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    Ok((rate(rows, begun), bytes as f64 / rows as f64))
}

/// Records a second.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
pub fn rate(count: usize, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}
