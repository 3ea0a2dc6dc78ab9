//! Reads stretches of a topic, every record that a read-committed consumer is given: by assignment, without a group, so
//! nothing is committed and no consumer is disturbed. Must never happen here: a stretch that ends early and is taken for
//! whole.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::{Sender, channel};

use crate::headers::ClientHeaders;
use crate::kafka::{KafkaArgs, Reader, ReaderContext, create};
use crate::records::{Record, RecordBuffer, Records};

const BATCH_ROWS: usize = 20_000;
const BATCH_BYTES: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// Offsets of one partition: from `start`, up to `end` exclusive, which the log has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub partition: i32,
    pub start: i64,
    pub end: i64,
}

/// Gives all records of the stretches to `take` with their partition, those of a partition in order. `when_cut` says what to
/// do when retention removes some meanwhile.
///
/// # Errors
/// When they cannot be read to their end, or `take` fails.
pub async fn read(
    kafka: &KafkaArgs,
    topic: &str,
    stretches: &[Stretch],
    when_cut: &'static str,
    mut take: impl AsyncFnMut(i32, Records) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let open: Vec<Open> = stretches.iter().filter(|stretch| stretch.start < stretch.end).map(Open::new).collect();
    if open.is_empty() {
        return Ok(());
    }
    let consumer: Reader = create(&kafka.consumer(None), ReaderContext)?;
    let (sender, mut batches) = channel(2);
    let name = topic.to_owned();
    let reading = tokio::task::spawn_blocking(move || read_blocking(&consumer, &name, open, when_cut, &sender));
    while let Some((partition, records)) = batches.recv().await {
        take(partition, records).await?;
    }
    reading.await?
}

/// A stretch that is being read.
struct Open {
    stretch: Stretch,
    buffer: RecordBuffer,
    done: bool,
}

impl Open {
    fn new(stretch: &Stretch) -> Self {
        Self { stretch: *stretch, buffer: RecordBuffer::new(), done: false }
    }

    fn flush(&mut self, to: &Sender<(i32, Records)>) -> anyhow::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        // The receiver goes away only with an error of its own, or an interruption, and that is what is reported.
        to.blocking_send((self.stretch.partition, self.buffer.finish()))
            .map_err(|_| anyhow!("nobody takes the records"))
    }
}

fn read_blocking(
    consumer: &Reader,
    topic: &str,
    mut open: Vec<Open>,
    when_cut: &str,
    to: &Sender<(i32, Records)>,
) -> anyhow::Result<()> {
    let mut list = TopicPartitionList::new();
    for Open { stretch, .. } in &open {
        list.add_partition_offset(topic, stretch.partition, Offset::Offset(stretch.start))?;
    }
    consumer.assign(&list).context("assign")?;
    let (mut last_heard, mut trouble) = (Instant::now(), None);
    while open.iter().any(|open| !open.done) {
        if to.is_closed() {
            bail!("nobody takes the records");
        }
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => {
                last_heard = Instant::now();
                let Some(open) = open.iter_mut().find(|open| open.stretch.partition == message.partition()) else {
                    continue;
                };
                if open.done {
                    continue;
                }
                let offset = message.offset();
                if offset < open.stretch.end {
                    let record = Record {
                        offset,
                        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
                        key: message.key(),
                        value: message.payload(),
                    };
                    open.buffer.push(record, ClientHeaders::of(&message));
                }
                if offset + 1 >= open.stretch.end {
                    finish(consumer, topic, open, to)?;
                } else if open.buffer.len() >= BATCH_ROWS || open.buffer.bytes() >= BATCH_BYTES {
                    open.flush(to)?;
                }
            }
            // The last offsets of a stretch may be ones that are never delivered: then only the position tells.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                last_heard = Instant::now();
                let positions = consumer.position().context("asking for positions")?;
                let position = positions.find_partition(topic, partition).map(|element| element.offset());
                let reached = |end| matches!(position, Some(Offset::Offset(position)) if position >= end);
                if let Some(open) = open.iter_mut().find(|open| open.stretch.partition == partition && !open.done)
                    && reached(open.stretch.end)
                {
                    finish(consumer, topic, open, to)?;
                }
            }
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::NoOffset,
            ))) => bail!(
                "the log of {topic} was cut while it was read (retention, or the topic was made anew): {when_cut}"
            ),
            Some(Err(error)) => trouble = Some(error),
        }
        if last_heard.elapsed() > PATIENCE {
            let cause = trouble.map_or_else(|| "no record and no word".to_owned(), |error| error.to_string());
            bail!("reading {topic} came to a halt for {PATIENCE:?}: {cause}");
        }
    }
    Ok(())
}

fn finish(consumer: &Reader, topic: &str, open: &mut Open, to: &Sender<(i32, Records)>) -> anyhow::Result<()> {
    open.done = true;
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, open.stretch.partition);
    consumer.pause(&list).context("pause")?;
    open.flush(to)
}
