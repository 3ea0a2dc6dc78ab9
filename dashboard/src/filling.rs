//! What is older than the newest minutes, read backwards in chunks once those are shown: the latest prices are there at once, and
//! a day of history fills in behind them. Each partition goes back by offsets, so a chunk is bounded however many ticks a
//! minute has; within a chunk what is corrected is known before it is worked in. Rows and candles merge in any order. What
//! memory does not hold yet it says not to hold ([`crate::state::Live::set_whole_from`]). Must never happen here: a live record that
//! waits for history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use pipeline::headers::ClientHeaders;
use pipeline::kafka::{KafkaArgs, create};
use pipeline::records::{Record, RecordBuffer};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::clock::now_us;
use crate::intake::Intake;
use crate::positions::{Begun, Consumer, Quiet, ReadTopic};
use crate::protocol::Channel;
use crate::serve::{Hub, Showing};

/// Offsets of a partition in one chunk.
const CHUNK: i64 = 8192;
const TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// A topic on its way back. It has a client of its own: what tells of a partition's end names no topic.
struct Topic {
    index: usize,
    name: Arc<str>,
    is_ticks: bool,
    consumer: Consumer,
    ways: Vec<Way>,
    /// The topic was made anew, and goes another way.
    is_over: CancellationToken,
    /// All of it is in, and everybody was told.
    is_told: bool,
}

/// A partition on its way back.
#[derive(Clone, Debug)]
struct Way {
    partition: i32,
    /// Everything from here on is read.
    from: i64,
    /// Where it ends.
    low: i64,
    /// Broker time, microseconds, from which on it is read.
    whole_from_us: i64,
    /// What it comes to in the end, where that is the look-back and not the log's start.
    look_back_us: Option<i64>,
}

impl Way {
    fn is_done(&self) -> bool {
        self.from <= self.low
    }
}

/// A topic whose history is to be filled in.
#[derive(Clone, Debug)]
struct Waiting {
    index: usize,
    topic: ReadTopic,
    begun: Vec<Begun>,
    /// Microseconds, when it began to be read forward.
    now: i64,
    is_over: CancellationToken,
}

pub struct Filling {
    pub hub: Arc<Hub>,
    pub kafka: KafkaArgs,
    pub runtime: Handle,
    pub shutdown: CancellationToken,
    /// Makes an intake for the thread that reads.
    pub intake: Arc<dyn Fn() -> Intake + Send + Sync>,
    waiting: Vec<Waiting>,
    /// Of each topic what ends its filling.
    ends: BTreeMap<usize, CancellationToken>,
}

impl Filling {
    pub fn new(
        hub: Arc<Hub>,
        kafka: KafkaArgs,
        runtime: Handle,
        shutdown: CancellationToken,
        intake: Arc<dyn Fn() -> Intake + Send + Sync>,
    ) -> Self {
        Self { hub, kafka, runtime, shutdown, intake, waiting: Vec::new(), ends: BTreeMap::new() }
    }

    /// A topic is read forward from there: what is older is to be filled in.
    pub fn add(&mut self, index: usize, topic: &ReadTopic, begun: Vec<Begun>) {
        let now = now_us();
        let is_over = self.shutdown.child_token();
        if let Some(before) = self.ends.insert(index, is_over.clone()) {
            before.cancel();
        }
        if topic.channel == Channel::Ticks {
            self.hub.live().set_whole_from(now - topic.newest_ms * 1000, topic.look_back_ms > topic.newest_ms);
        }
        if topic.look_back_ms > topic.newest_ms {
            self.waiting.push(Waiting { index, topic: topic.clone(), begun, now, is_over });
        }
    }

    /// The newest are shown: fills in what is older, on a thread of its own.
    pub fn begin(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return;
        }
        let work = Work {
            hub: self.hub.clone(),
            kafka: self.kafka.clone(),
            runtime: self.runtime.clone(),
            shutdown: self.shutdown.clone(),
            intake: (self.intake)(),
        };
        self.runtime.spawn_blocking(move || work.run(&waiting));
    }
}

struct Work {
    hub: Arc<Hub>,
    kafka: KafkaArgs,
    runtime: Handle,
    shutdown: CancellationToken,
    intake: Intake,
}

impl Work {
    fn run(mut self, waiting: &[Waiting]) {
        let started = Instant::now();
        let mut topics: Option<Vec<Topic>> = None;
        while !self.shutdown.is_cancelled() {
            let done = match &mut topics {
                None => self.prepare(waiting).map(|found| {
                    topics = Some(found);
                    false
                }),
                Some(topics) => self.go_back(topics),
            };
            match done {
                Ok(true) => break,
                Ok(false) => {}
                // The others go on.
                Err(_) if topics.iter().flatten().any(|topic| topic.is_over.is_cancelled()) => {}
                Err(error) => {
                    tracing::warn!("reading history again in a moment: {error:#}");
                    let pause = self.shutdown.run_until_cancelled(tokio::time::sleep(RETRY_EVERY));
                    // A shutdown is seen above.
                    let _ = self.runtime.block_on(pause);
                    topics.iter_mut().flatten().for_each(Topic::forget_deleted);
                }
            }
        }
        if !self.shutdown.is_cancelled() {
            tracing::info!(seconds = started.elapsed().as_secs_f64(), "history is in memory");
        }
    }

    fn prepare(&self, waiting: &[Waiting]) -> anyhow::Result<Vec<Topic>> {
        waiting.iter().filter(|waiting| !waiting.is_over.is_cancelled()).map(|waiting| self.topic(waiting)).collect()
    }

    fn topic(&self, waiting: &Waiting) -> anyhow::Result<Topic> {
        let Waiting { index, topic: read, begun, now, is_over } = waiting;
        let mut settings = self.kafka.consumer(None);
        // What is fetched behind a chunk's end is fetched for nothing.
        settings.set("queued.max.messages.kbytes", "512");
        let consumer: Consumer = create(&settings, Quiet)?;
        let look_back_us = now - read.look_back_ms * 1000;
        let mut times = TopicPartitionList::new();
        for begun in begun {
            times.add_partition_offset(&read.name, begun.partition, Offset::Offset((look_back_us / 1000).max(0)))?;
        }
        let starts = consumer.offsets_for_times(times, TIMEOUT).context("asking for offsets by time")?;
        let way = |&Begun { partition, first }: &Begun| {
            let start = starts.find_partition(&read.name, partition).context("an answer without the partition")?;
            start.error()?;
            let (log_start, _) = consumer.fetch_watermarks(&read.name, partition, TIMEOUT)?;
            let low = match start.offset() {
                Offset::Offset(offset) => offset.min(first),
                _ => first,
            };
            anyhow::Ok(Way {
                partition,
                from: first,
                low,
                whole_from_us: now - read.newest_ms * 1000,
                // From a log that begins at 0 nothing was ever deleted.
                look_back_us: (low > log_start || log_start == 0).then_some(look_back_us),
            })
        };
        let ways = begun.iter().map(way).collect::<anyhow::Result<_>>()?;
        let (name, is_ticks) = (read.name.clone(), read.channel == Channel::Ticks);
        Ok(Topic { index: *index, name, is_ticks, consumer, ways, is_over: is_over.clone(), is_told: false })
    }

    /// One chunk of each partition; gives whether that was all.
    fn go_back(&mut self, topics: &mut Vec<Topic>) -> anyhow::Result<bool> {
        topics.retain(|topic| !topic.is_over.is_cancelled());
        for topic in topics.iter_mut() {
            self.go_back_in(topic)?;
        }
        for topic in topics.iter_mut().filter(|topic| topic.is_ticks && !topic.is_told && !topic.is_over.is_cancelled())
        {
            let Some(whole_from) = topic.ways.iter().map(|way| way.whole_from_us).max() else { continue };
            topic.is_told = topic.ways.iter().all(Way::is_done);
            if topic.is_told {
                self.hub.set_filled(whole_from);
            } else {
                self.hub.live().set_whole_from(whole_from, true);
            }
        }
        Ok(topics.iter().flat_map(|topic| &topic.ways).all(Way::is_done))
    }

    fn go_back_in(&mut self, topic: &mut Topic) -> anyhow::Result<()> {
        let mut assignment = TopicPartitionList::new();
        let mut chunks: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
        for way in topic.ways.iter().filter(|way| !way.is_done()) {
            let start = way.low.max(way.from - CHUNK);
            assignment.add_partition_offset(&topic.name, way.partition, Offset::Offset(start))?;
            chunks.insert(way.partition, (start, way.from));
        }
        let oldest = if chunks.is_empty() { BTreeMap::new() } else { self.take_in(topic, &assignment, &chunks)? };
        for way in &mut topic.ways {
            way.from = chunks.get(&way.partition).map_or(way.from, |(start, _)| *start);
            let reached = way.look_back_us.filter(|_| way.is_done());
            for reached in oldest.get(&way.partition).copied().into_iter().chain(reached) {
                way.whole_from_us = way.whole_from_us.min(reached);
            }
        }
        Ok(())
    }

    /// Reads chunks and shows them; gives the oldest time that each partition's chunk brought, microseconds. Nothing of them is
    /// shown before all of them are read and decoded, so they can be tried again.
    fn take_in(
        &mut self,
        topic: &Topic,
        assignment: &TopicPartitionList,
        chunks: &BTreeMap<i32, (i64, i64)>,
    ) -> anyhow::Result<BTreeMap<i32, i64>> {
        topic.consumer.assign(assignment).context("assigning partitions")?;
        let read = self.read(topic, chunks);
        // Nothing is paused here: where a pause ends and where an assignment begins, the client mixes up.
        topic.consumer.unassign().context("leaving partitions")?;
        let mut batches = Vec::new();
        for (partition, mut buffer) in read? {
            let records = buffer.finish();
            let decoded = self.runtime.block_on(self.intake.decode(topic.index, partition, &records));
            batches.push((partition, decoded.map_err(|reason| anyhow::anyhow!(reason))?));
        }
        batches.iter().for_each(|(_, batch)| batch.announce(&self.hub));
        batches.iter().for_each(|(_, batch)| batch.put(&self.hub, Showing::Older));
        Ok(batches.iter().filter_map(|(partition, batch)| Some((*partition, batch.oldest_us()?))).collect())
    }

    /// Reads one chunk; an end of it that is never delivered, as markers of transactions are not, is told by the log's end.
    fn read(&self, topic: &Topic, chunks: &BTreeMap<i32, (i64, i64)>) -> anyhow::Result<BTreeMap<i32, RecordBuffer>> {
        let mut buffers: BTreeMap<i32, RecordBuffer> = BTreeMap::new();
        let mut open = chunks.clone();
        while !open.is_empty() {
            anyhow::ensure!(!topic.is_over.is_cancelled(), "the topic is another one now, or the service ends");
            let (partition, is_end) = match topic.consumer.poll(Duration::from_millis(100)) {
                None => continue,
                Some(Err(KafkaError::PartitionEOF(partition))) => (partition, true),
                Some(message) => {
                    let message = message?;
                    let partition = message.partition();
                    let Some((_, end)) = open.get(&partition) else { continue };
                    if message.offset() < *end {
                        let timestamp_ms = message.timestamp().to_millis().unwrap_or(0);
                        let value = message.payload();
                        let record = Record { offset: message.offset(), timestamp_ms, key: None, value };
                        buffers.entry(partition).or_default().push(record, ClientHeaders::None);
                    }
                    (partition, message.offset() + 1 >= *end)
                }
            };
            if is_end {
                open.remove(&partition);
            }
        }
        Ok(buffers)
    }
}

impl Topic {
    /// Does not go back to what has been deleted meanwhile.
    fn forget_deleted(&mut self) {
        for way in self.ways.iter_mut().filter(|way| !way.is_done()) {
            match self.consumer.fetch_watermarks(&self.name, way.partition, TIMEOUT) {
                Ok((log_start, _)) if log_start > way.low => (way.low, way.look_back_us) = (log_start, None),
                // Asked again after the next failure.
                _ => {}
            }
        }
    }
}
