//! What the gaps and health topics say of the sources. Every member reads them whole, without a group: a window is not
//! compared across a gap and an unchanged poll is a sign of life, whoever judges the symbol. A thread polls; what it found is
//! decoded when it is asked for. What cannot be read there is passed over: the group's own reading makes the dead letters.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use pipeline::codec::RecordType;
use pipeline::decode::{Decoder, Gaps, Healths};
use pipeline::events::{Gap, SourceHealth};
use pipeline::kafka::{KafkaArgs, Reader, ReaderContext, create};
use pipeline::records::{Record, RecordBuffer};
use pipeline::registry::Registry;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::engine::{Event, Place};

const TIMEOUT: Duration = Duration::from_secs(10);
/// How long finding out what there is may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Gaps that are kept for engines that begin later. Windows reach back a day at most.
const KEPT_GAPS: usize = 50_000;

/// A record of one of the two topics, and where it stood.
#[derive(Clone, Debug)]
pub struct Item {
    topic: Arc<str>,
    partition: i32,
    offset: i64,
    at: i64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Gap(Gap),
    Health(SourceHealth),
}

impl Item {
    pub fn place(&self) -> Place<'_> {
        Place { topic: &self.topic, partition: self.partition, offset: self.offset, at: self.at }
    }

    pub fn event(&self) -> Event<'_> {
        match &self.what {
            What::Gap(gap) => Event::Gap(gap),
            What::Health(health) => Event::Health(health),
        }
    }

    pub fn is_gap(&self) -> bool {
        matches!(self.what, What::Gap(_))
    }
}

/// What the thread found.
enum Found {
    Record {
        is_gap: bool,
        partition: i32,
        offset: i64,
        at: i64,
        value: Vec<u8>,
    },
    /// Everything that was there when it began has been found, in these partitions.
    End(Vec<(String, i32)>),
}

pub struct News {
    found: UnboundedReceiver<Found>,
    /// Found, but not decoded: the registry did not answer.
    stuck: Option<Found>,
    /// Decoded, but not asked for.
    ready: Vec<Item>,
    /// What is read, once everything that was there at the beginning is known, …
    partitions: Option<Vec<(String, i32)>>,
    /// … and the next offset of each of them that gave a record.
    reached: HashMap<(Arc<str>, i32), i64>,
    topics: [Arc<str>; 2],
    gaps: Decoder,
    healths: Decoder,
    /// For engines that begin later: the last gaps, and the last word on each source.
    kept_gaps: VecDeque<Item>,
    kept_healths: HashMap<String, Item>,
    _stop: DropGuard,
}

impl News {
    /// # Errors
    /// When the client's settings are refused.
    pub fn new(kafka: &KafkaArgs, gaps: &str, health: &str, registry: Option<&Registry>) -> anyhow::Result<Self> {
        let consumer: Reader = create(&kafka.consumer(None), ReaderContext)?;
        let (finds, found) = unbounded_channel();
        let stop = CancellationToken::new();
        let (token, topics) = (stop.clone(), [gaps.to_owned(), health.to_owned()]);
        std::thread::Builder::new().name("news".to_owned()).spawn(move || read(&consumer, &topics, &finds, &token))?;
        Ok(Self {
            found,
            stuck: None,
            ready: Vec::new(),
            partitions: None,
            reached: HashMap::new(),
            topics: [gaps.into(), health.into()],
            gaps: Decoder::new(RecordType::Gap, registry.cloned()),
            healths: Decoder::new(RecordType::SourceHealth, registry.cloned()),
            kept_gaps: VecDeque::new(),
            kept_healths: HashMap::new(),
            _stop: stop.drop_guard(),
        })
    }

    /// Waits until everything that was there at the beginning is known.
    ///
    /// # Errors
    /// When the broker does not give it in time.
    pub async fn catch_up(&mut self) -> anyhow::Result<()> {
        let waiting = async {
            while self.partitions.is_none() {
                let found = match self.stuck.take() {
                    Some(found) => Some(found),
                    None => self.found.recv().await,
                };
                let Some(found) = found else {
                    bail!("nobody reads {} and {} any more", self.topics[0], self.topics[1])
                };
                self.keep(found).await?;
            }
            Ok(())
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        let [gaps, health] = &self.topics;
        waited.map_err(|_| anyhow!("{gaps} and {health} could not be read to their ends within {PATIENCE:?}"))?
    }

    /// What has come since the last time.
    ///
    /// # Errors
    /// When the schema registry does not answer; nothing is lost by that.
    pub async fn take(&mut self) -> anyhow::Result<Vec<Item>> {
        while let Some(found) = self.stuck.take().or_else(|| self.found.try_recv().ok()) {
            self.keep(found).await?;
        }
        Ok(std::mem::take(&mut self.ready))
    }

    /// The partitions that are read, and the next offset of each.
    pub fn reached(&self) -> impl Iterator<Item = (&str, i32, i64)> {
        let partitions = self.partitions.iter().flatten();
        partitions.map(|(topic, partition)| {
            let reached = self.reached.get(&(topic.as_str().into(), *partition)).copied();
            (topic.as_str(), *partition, reached.unwrap_or_default())
        })
    }

    /// What an engine that begins now has to know: gaps as they came, then the last word on each source.
    pub fn kept(&self) -> impl Iterator<Item = &Item> {
        self.kept_gaps.iter().chain(self.kept_healths.values())
    }

    async fn keep(&mut self, found: Found) -> anyhow::Result<()> {
        let (is_gap, partition, offset, at, value) = match &found {
            Found::Record { is_gap, partition, offset, at, value } => (*is_gap, *partition, *offset, *at, value),
            Found::End(partitions) => {
                self.partitions = Some(partitions.clone());
                return Ok(());
            }
        };
        let mut buffer = RecordBuffer::new();
        buffer.push_owned(Record { offset, timestamp_ms: at / 1000, key: None, value: Some(value) }, &[]);
        let records = buffer.finish();
        let decoder = if is_gap { &mut self.gaps } else { &mut self.healths };
        let decoded = match decoder.decode(records.values()).await {
            Ok(decoded) => decoded,
            Err(error) => {
                self.stuck = Some(found);
                return Err(error).context("reading about the sources");
            }
        };
        let what = if is_gap {
            Gaps::new(&decoded.batch).iter().next().map(What::Gap)
        } else {
            Healths::new(&decoded.batch).iter().next().map(What::Health)
        };
        let topic = self.topics[usize::from(!is_gap)].clone();
        self.reached.insert((topic.clone(), partition), offset + 1);
        let Some(what) = what else { return Ok(()) };
        let item = Item { topic, partition, offset, at, what };
        match &item.what {
            What::Gap(_) => {
                if self.kept_gaps.len() == KEPT_GAPS {
                    self.kept_gaps.pop_front();
                }
                self.kept_gaps.push_back(item.clone());
            }
            What::Health(health) => drop(self.kept_healths.insert(health.source.clone(), item.clone())),
        }
        self.ready.push(item);
        Ok(())
    }
}

/// Reads both topics from their beginnings, for as long as somebody listens: gaps are few, and health is kept for two days.
fn read(consumer: &Reader, topics: &[String; 2], finds: &UnboundedSender<Found>, stop: &CancellationToken) {
    let mut waits_for: Option<HashSet<(String, i32)>> = None;
    let mut partitions = Vec::new();
    while !stop.is_cancelled() && !finds.is_closed() {
        if waits_for.is_none() {
            match assign(consumer, topics) {
                Ok(assigned) => {
                    partitions = assigned.iter().cloned().collect();
                    waits_for = Some(assigned);
                }
                Err(error) => {
                    tracing::debug!("{error:#}");
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
            continue;
        }
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let (partition, offset) = (message.partition(), message.offset());
                let at = message.timestamp().to_millis().unwrap_or(0).saturating_mul(1000);
                let value = message.payload().unwrap_or_default().to_vec();
                let is_gap = message.topic() == topics[0];
                drop(finds.send(Found::Record { is_gap, partition, offset, at, value }));
            }
            // The event names a partition without its topic: what is waited for is told by the positions.
            Some(Err(KafkaError::PartitionEOF(_))) => {
                if let Some(left) = waits_for.as_mut().filter(|left| !left.is_empty()) {
                    forget_read(consumer, left);
                    if left.is_empty() {
                        drop(finds.send(Found::End(partitions.clone())));
                    }
                }
            }
            Some(Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset,
            ))) => waits_for = None,
            Some(Err(error)) => tracing::debug!("{error}"),
            None => {}
        }
    }
}

fn assign(consumer: &Reader, topics: &[String; 2]) -> anyhow::Result<HashSet<(String, i32)>> {
    let (mut list, mut partitions) = (TopicPartitionList::new(), HashSet::new());
    for topic in topics {
        let metadata =
            consumer.fetch_metadata(Some(topic), TIMEOUT).with_context(|| format!("asking about {topic}"))?;
        let ids: Vec<i32> =
            metadata.topics().iter().flat_map(|found| found.partitions()).map(|found| found.id()).collect();
        anyhow::ensure!(!ids.is_empty(), "topic {topic} does not exist");
        for id in ids {
            list.add_partition_offset(topic, id, Offset::Beginning)?;
            partitions.insert((topic.clone(), id));
        }
    }
    consumer.assign(&list).context("assign")?;
    Ok(partitions)
}

/// Takes out the partitions that were read to where their logs end.
fn forget_read(consumer: &Reader, left: &mut HashSet<(String, i32)>) {
    let Ok(positions) = consumer.position() else { return };
    left.retain(|(topic, partition)| {
        let at = positions.find_partition(topic, *partition).and_then(|element| element.offset().to_raw());
        let end = consumer.fetch_watermarks(topic, *partition, TIMEOUT);
        match (at, end) {
            // A log without records gives no position.
            (at, Ok((low, high))) => !(low == high || at.is_some_and(|at| at >= high)),
            (_, Err(_)) => true,
        }
    });
}
