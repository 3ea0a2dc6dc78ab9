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
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::judged::LONGEST_NAME;
use crate::engine::{Event, Place};

const TIMEOUT: Duration = Duration::from_secs(10);
/// How long finding out what there is may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Gaps that are kept for engines that begin later. Windows reach back a day at most.
const KEPT_GAPS: usize = 50_000;
/// So many records are found ahead of who takes them; then reading waits, as long as this member has no partition.
const AHEAD: usize = 2_000;

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
    found: Receiver<Found>,
    /// Found, and not decoded yet: the registry may not answer, and whoever waits for it may be gone before it does.
    next: Option<Found>,
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
        let (finds, found) = channel(AHEAD);
        let stop = CancellationToken::new();
        let (token, topics) = (stop.clone(), [gaps.to_owned(), health.to_owned()]);
        std::thread::Builder::new().name("news".to_owned()).spawn(move || read(&consumer, &topics, &finds, &token))?;
        Ok(Self {
            found,
            next: None,
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

    /// Waits until everything that was there at the beginning was found.
    ///
    /// # Errors
    /// When the broker does not give it in time.
    pub async fn catch_up(&mut self) -> anyhow::Result<()> {
        let waiting = async {
            while self.partitions.is_none() {
                if self.next.is_none() {
                    self.next = self.found.recv().await;
                }
                if self.next.is_none() {
                    bail!("nobody reads {} and {} any more", self.topics[0], self.topics[1])
                }
                self.keep().await?;
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
        loop {
            if self.next.is_none() {
                self.next = self.found.try_recv().ok();
            }
            if self.next.is_none() {
                break;
            }
            self.keep().await?;
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

    async fn keep(&mut self) -> anyhow::Result<()> {
        let (is_gap, partition, offset, at, value) = match &self.next {
            None => return Ok(()),
            Some(Found::Record { is_gap, partition, offset, at, value }) => (*is_gap, *partition, *offset, *at, value),
            Some(Found::End(partitions)) => {
                self.partitions = Some(partitions.clone());
                self.next = None;
                return Ok(());
            }
        };
        let mut buffer = RecordBuffer::new();
        buffer.push_owned(Record { offset, timestamp_ms: at / 1000, key: None, value: Some(value) }, &[]);
        let records = buffer.finish();
        let decoder = if is_gap { &mut self.gaps } else { &mut self.healths };
        let decoded = decoder.decode(records.values()).await.context("reading about the sources")?;
        self.next = None;
        let what = if is_gap {
            Gaps::new(&decoded.batch).iter().next().map(What::Gap)
        } else {
            Healths::new(&decoded.batch).iter().next().map(What::Health)
        };
        let topic = self.topics[usize::from(!is_gap)].clone();
        self.reached.insert((topic.clone(), partition), offset + 1);
        let of_nobody = |what: &What| matches!(what, What::Health(health) if health.source.len() > LONGEST_NAME);
        let Some(what) = what.filter(|what| !of_nobody(what)) else { return Ok(()) };
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
fn read(consumer: &Reader, topics: &[String; 2], finds: &Sender<Found>, stop: &CancellationToken) {
    let mut waits_for: Option<HashSet<(String, i32)>> = None;
    let mut partitions = Vec::new();
    let mut reached: HashMap<(bool, i32), i64> = HashMap::new();
    while !stop.is_cancelled() && !finds.is_closed() {
        if waits_for.is_none() {
            match assign(consumer, topics, &reached) {
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
                reached.insert((is_gap, partition), offset + 1);
                drop(finds.blocking_send(Found::Record { is_gap, partition, offset, at, value }));
            }
            // The event names a partition without its topic: what is waited for is told by the positions.
            Some(Err(KafkaError::PartitionEOF(_))) => {
                if let Some(left) = waits_for.as_mut().filter(|left| !left.is_empty()) {
                    forget_read(consumer, left);
                    if left.is_empty() {
                        drop(finds.blocking_send(Found::End(partitions.clone())));
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

/// `reached`: the next offset of each partition, by whether it is one of gaps.
fn assign(
    consumer: &Reader,
    topics: &[String; 2],
    reached: &HashMap<(bool, i32), i64>,
) -> anyhow::Result<HashSet<(String, i32)>> {
    let (mut list, mut partitions) = (TopicPartitionList::new(), HashSet::new());
    for topic in topics {
        let metadata =
            consumer.fetch_metadata(Some(topic), TIMEOUT).with_context(|| format!("asking about {topic}"))?;
        let ids: Vec<i32> =
            metadata.topics().iter().flat_map(|found| found.partitions()).map(|found| found.id()).collect();
        anyhow::ensure!(!ids.is_empty(), "topic {topic} does not exist");
        for id in ids {
            let range = consumer.fetch_watermarks(topic, id, TIMEOUT);
            let range = range.with_context(|| format!("asking where {topic}[{id}] begins and ends"))?;
            let begins = begins(reached.get(&(*topic == topics[0], id)).copied(), range);
            list.add_partition_offset(topic, id, Offset::Offset(begins))?;
            partitions.insert((topic.clone(), id));
        }
    }
    consumer.assign(&list).context("assign")?;
    Ok(partitions)
}

/// Where reading goes on in a log of this range: what was read is not read again, but for a topic that was made anew.
fn begins(reached: Option<i64>, (low, high): (i64, i64)) -> i64 {
    match reached {
        Some(reached) if reached <= high => reached.max(low),
        Some(_) | None => low,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_not_read_again() {
        assert_eq!(begins(None, (3, 9)), 3);
        assert_eq!(begins(Some(7), (3, 9)), 7);
        assert_eq!(begins(Some(9), (3, 9)), 9);
        assert_eq!(begins(Some(2), (3, 9)), 3, "retention deleted the rest");
        assert_eq!(begins(Some(10), (3, 9)), 3, "another topic of that name");
    }
}
