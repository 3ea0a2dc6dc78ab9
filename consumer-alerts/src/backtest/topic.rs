//! The records of a topic, found by their times, without a group: nobody is disturbed and nothing is committed. What is there
//! when it begins is read, no more. A client a partition: each is fetched ahead by itself, and none waits for another.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use pipeline::decode::Decoder;
use pipeline::kafka::{KafkaArgs, ReaderContext, ask_leader, create};
use pipeline::misconfigured;
use pipeline::records::{Record, RecordBuffer, Records};
use pipeline::registry::Registry;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Handle;

use super::page::{Outlet, ROWS, Stream, Table};
use super::range::{Span, text};

const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a broker may give nothing.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many bytes are a page, however few records they are.
const BYTES: usize = 4 << 20;

/// What is read of one partition.
#[derive(Clone, Debug)]
struct Part {
    topic: String,
    partition: i32,
    /// Retention has deleted what was before it, unless it is zero.
    log_start: i64,
    from: i64,
    end: i64,
    /// There is a record behind the range.
    goes_on: bool,
}

/// Begins to read every partition of a topic. Blocking. `tells`: whether it matters that its beginning was deleted.
///
/// # Errors
/// [`pipeline::Misconfigured`] when there is no such topic, or no broker.
pub fn open(
    kafka: &KafkaArgs,
    registry: Option<&Registry>,
    (table, topic, span): (Table, &str, Span),
    tells: bool,
    runtime: &Handle,
) -> anyhow::Result<Vec<Stream>> {
    let consumer: BaseConsumer<ReaderContext> = create(&kafka.consumer(None), ReaderContext)?;
    let parts = find(&consumer, kafka, topic, span)?;
    parts
        .into_iter()
        .map(|part| {
            let (kafka, runtime, partition) = (kafka.clone(), runtime.clone(), part.partition);
            let decoder = Decoder::new(table.record(), registry.cloned());
            Stream::start(table, topic, partition, span, move |outlet| {
                let goes_on = part.goes_on;
                let mut reader = Reader::open(&kafka, part)?;
                reader.complain = tells.then_some((table, span));
                reader.read(decoder, &runtime, outlet).map(|()| goes_on)
            })
        })
        .collect()
}

fn partitions(consumer: &BaseConsumer<ReaderContext>, kafka: &KafkaArgs, topic: &str) -> anyhow::Result<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).map_err(|error| {
        misconfigured(format!(
            "no Kafka broker answers at {}, set by --kafka-bootstrap-servers (KAFKA_BOOTSTRAP_SERVERS): {error}",
            kafka.kafka_bootstrap_servers
        ))
    })?;
    let ids: Vec<i32> = metadata.topics().iter().flat_map(|found| found.partitions()).map(|found| found.id()).collect();
    if ids.is_empty() {
        return Err(misconfigured(format!(
            "there is no topic {topic}; `tickstream topics apply` creates the declared topics"
        )));
    }
    Ok(ids)
}

fn find(
    consumer: &BaseConsumer<ReaderContext>,
    kafka: &KafkaArgs,
    topic: &str,
    span: Span,
) -> anyhow::Result<Vec<Part>> {
    let ids = partitions(consumer, kafka, topic)?;
    // In milliseconds, rounded so that no record of the range is left out and none behind it is needed.
    let begins = offsets_at(consumer, topic, &ids, span.begins.div_euclid(1000))?;
    let ends = match span.to {
        i64::MAX => vec![None; ids.len()],
        to => offsets_at(consumer, topic, &ids, to.div_euclid(1000) + i64::from(to.rem_euclid(1000) > 0))?,
    };
    let mut parts = Vec::new();
    for ((partition, from), behind) in ids.into_iter().zip(begins).zip(ends) {
        let (log_start, log_end) = ask_leader(TIMEOUT, || consumer.fetch_watermarks(topic, partition, TIMEOUT))
            .with_context(|| format!("asking where {topic}[{partition}] begins and ends"))?;
        parts.push(Part {
            topic: topic.to_owned(),
            partition,
            log_start,
            from: from.unwrap_or(log_end).max(log_start),
            end: behind.unwrap_or(log_end),
            goes_on: behind.is_some(),
        });
    }
    Ok(parts)
}

/// The offset of each partition's first record that is not before a time; `None` when there is none.
fn offsets_at(
    consumer: &BaseConsumer<ReaderContext>,
    topic: &str,
    ids: &[i32],
    at_ms: i64,
) -> anyhow::Result<Vec<Option<i64>>> {
    let mut list = TopicPartitionList::new();
    for id in ids {
        list.add_partition_offset(topic, *id, Offset::Offset(at_ms))?;
    }
    let ask = || {
        let found = consumer.offsets_for_times(list.clone(), TIMEOUT)?;
        found.elements().iter().try_for_each(rdkafka::topic_partition_list::TopicPartitionListElem::error)?;
        Ok(found)
    };
    let found = ask_leader(TIMEOUT, ask).with_context(|| format!("looking for a time in {topic}"))?;
    ids.iter()
        .map(|id| {
            let element = found.find_partition(topic, *id).with_context(|| format!("no answer about {topic}[{id}]"))?;
            match element.offset() {
                Offset::Offset(offset) => Ok(Some(offset)),
                _ => Ok(None),
            }
        })
        .collect()
}

/// Reads one partition.
struct Reader {
    consumer: BaseConsumer<ReaderContext>,
    part: Part,
    next: i64,
    /// What is said when the log begins too late.
    complain: Option<(Table, Span)>,
}

impl Reader {
    fn open(kafka: &KafkaArgs, part: Part) -> anyhow::Result<Self> {
        let consumer: BaseConsumer<ReaderContext> = create(&kafka.consumer(None), ReaderContext)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&part.topic, part.partition, Offset::Offset(part.from))?;
        consumer.assign(&list).context("assign")?;
        Ok(Self { consumer, next: part.from, part, complain: None })
    }

    fn read(&mut self, mut decoder: Decoder, runtime: &Handle, outlet: &mut Outlet) -> anyhow::Result<()> {
        let mut is_end = false;
        let mut is_first = true;
        while !is_end && self.next < self.part.end {
            let records;
            (records, is_end) = self.gather(outlet)?;
            let times = records.timestamps_ms();
            if std::mem::take(&mut is_first) && !records.is_empty() {
                self.look_at_first(times.value(0).saturating_mul(1000))?;
            }
            let decoded = runtime.block_on(decoder.decode(records.values()))?;
            if let Some((row, reason)) = decoded.bad.first() {
                let (topic, partition, offset) =
                    (&self.part.topic, self.part.partition, records.offsets().value(*row as usize));
                tracing::debug!(
                    topic,
                    partition,
                    offset,
                    "{} records cannot be read, the first: {reason}",
                    decoded.bad.len()
                );
            }
            let of = |row: &u32| *row as usize;
            let offsets: Vec<i64> = decoded.rows.iter().map(|row| records.offsets().value(of(row))).collect();
            let times: Vec<i64> = decoded.rows.iter().map(|row| times.value(of(row)).saturating_mul(1000)).collect();
            if !outlet.push(&offsets, &times, &decoded.batch) {
                break;
            }
        }
        Ok(())
    }

    /// The next records, and whether they are the last.
    fn gather(&mut self, outlet: &Outlet) -> anyhow::Result<(Records, bool)> {
        let Part { topic, partition, end, .. } = &self.part;
        let (mut buffer, mut heard_at) = (RecordBuffer::new(), Instant::now());
        while buffer.len() < ROWS && buffer.bytes() < BYTES && self.next < *end {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) if message.offset() >= *end => return Ok((buffer.finish(), true)),
                Some(Ok(message)) => {
                    let timestamp_ms = message.timestamp().to_millis().unwrap_or(0);
                    let record = Record { offset: message.offset(), timestamp_ms, key: None, value: message.payload() };
                    buffer.push_owned(record, &[]);
                    (self.next, heard_at) = (message.offset() + 1, Instant::now());
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok((buffer.finish(), true)),
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset,
                ))) => {
                    bail!("{topic}[{partition}]: retention deleted offset {} while it was read; begin again", self.next)
                }
                Some(Err(error)) => tracing::debug!(topic, partition, "{error}"),
                None if outlet.is_closed() => return Ok((Records::empty(), true)),
                None if heard_at.elapsed() >= PATIENCE => {
                    bail!("{topic}[{partition}] gave no record behind offset {} within {PATIENCE:?}", self.next)
                }
                None => {}
            }
        }
        Ok((buffer.finish(), false))
    }

    /// Says it when what was to be read is not there any more.
    fn look_at_first(&self, at: i64) -> anyhow::Result<()> {
        let Part { topic, log_start, from, .. } = &self.part;
        let Some((table, span)) = self.complain.filter(|_| from == log_start && *log_start > 0) else { return Ok(()) };
        let begins = format!("{topic} begins at {}: retention has deleted what came before", text(at));
        match table {
            Table::Ticks if at > span.from => {
                return Err(misconfigured(format!("{begins}; --source lake reads the lake, which keeps it")));
            }
            Table::Ticks if at > span.begins => {
                tracing::warn!("{begins}, so windows are not whole at {}", text(span.from))
            }
            Table::Health if at > span.from => {
                tracing::warn!("{begins}, so feeds that are polled may seem silent; --source lake has all of it");
            }
            Table::Gaps if at > span.from => tracing::warn!("{begins}; --source lake has all of it"),
            Table::Ticks | Table::Health | Table::Gaps => {}
        }
        Ok(())
    }
}

/// From when to when there are records, in words.
///
/// # Errors
/// When the broker does not answer.
pub async fn holds(kafka: &KafkaArgs, topic: &str) -> anyhow::Result<String> {
    let (kafka, topic) = (kafka.clone(), topic.to_owned());
    let asked = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer<ReaderContext> = create(&kafka.consumer(None), ReaderContext)?;
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for partition in partitions(&consumer, &kafka, &topic)? {
            let (start, end) = ask_leader(TIMEOUT, || consumer.fetch_watermarks(&topic, partition, TIMEOUT))
                .context("asking where the log ends")?;
            if start < end {
                first.extend(time_at(&consumer, &topic, partition, start)?);
                last.extend(time_at(&consumer, &topic, partition, end - 1)?);
            }
        }
        Ok(match (first.into_iter().min(), last.into_iter().max()) {
            (Some(first), Some(last)) => format!("{topic} holds records from {} to {}", text(first), text(last)),
            (None, _) | (_, None) => format!("{topic} is empty"),
        })
    });
    asked.await?
}

/// The broker time of the record at an offset; `None` when there is none.
fn time_at(
    consumer: &BaseConsumer<ReaderContext>,
    topic: &str,
    partition: i32,
    offset: i64,
) -> anyhow::Result<Option<i64>> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    consumer.assign(&list).context("assign")?;
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => return Ok(message.timestamp().to_millis().map(|at_ms| at_ms.saturating_mul(1000))),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) => tracing::debug!("{error}"),
            None => {}
        }
    }
    bail!("{topic}[{partition}] gave no record within {TIMEOUT:?}")
}
