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
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::clock::now_us;
use crate::intake::{Batch, Intake};
use crate::positions::{Begun, Consumer, Quiet, ReadTopic};
use crate::protocol::Channel;
use crate::serve::{Hub, Showing};

/// Offsets of a partition in one chunk.
const CHUNK: i64 = 8192;
const TIMEOUT: Duration = Duration::from_secs(5);
/// Offsets that are never delivered (markers of transactions, at the log's end) end a chunk after this much silence, so many
/// times over: a broker that is slow is silent, too.
const SILENCE: Duration = Duration::from_secs(2);
const SILENCES: u32 = 3;
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// A partition on its way back.
#[derive(Clone, Debug)]
struct Way {
    topic: usize,
    name: Arc<str>,
    partition: i32,
    /// Everything from here on is read.
    from: i64,
    /// Where it ends.
    low: i64,
    /// Broker time, microseconds, from which on it is read.
    whole_from_us: i64,
    /// What it comes to in the end, where that is the look-back and not the log's start.
    look_back_us: Option<i64>,
    is_ticks: bool,
}

pub struct Filling {
    pub hub: Arc<Hub>,
    pub kafka: KafkaArgs,
    pub runtime: Handle,
    pub shutdown: CancellationToken,
    /// Makes an intake for the thread that reads.
    pub intake: Arc<dyn Fn() -> Intake + Send + Sync>,
    waiting: Vec<(usize, ReadTopic, Vec<Begun>, i64)>,
}

impl Filling {
    pub fn new(
        hub: Arc<Hub>,
        kafka: KafkaArgs,
        runtime: Handle,
        shutdown: CancellationToken,
        intake: Arc<dyn Fn() -> Intake + Send + Sync>,
    ) -> Self {
        Self { hub, kafka, runtime, shutdown, intake, waiting: Vec::new() }
    }

    /// A topic is read forward from there: what is older is to be filled in.
    pub fn add(&mut self, index: usize, topic: &ReadTopic, begun: Vec<Begun>) {
        let now = now_us();
        if topic.channel == Channel::Ticks {
            self.hub.live().set_whole_from(now - topic.newest_ms * 1000, topic.look_back_ms > topic.newest_ms);
        }
        if topic.look_back_ms > topic.newest_ms {
            self.waiting.push((index, topic.clone(), begun, now));
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
            silences: 0,
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
    /// How often the chunk that is under way has ended in silence.
    silences: u32,
}

impl Work {
    fn run(mut self, waiting: &[(usize, ReadTopic, Vec<Begun>, i64)]) {
        let started = Instant::now();
        let mut ways: Option<(Consumer, Vec<Way>)> = None;
        while !self.shutdown.is_cancelled() {
            let done = match &mut ways {
                None => self.prepare(waiting).map(|found| {
                    ways = Some(found);
                    false
                }),
                Some((consumer, ways)) => self.go_back(consumer, ways),
            };
            match done {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!("reading history again in a moment: {error:#}");
                    let pause = self.shutdown.run_until_cancelled(tokio::time::sleep(RETRY_EVERY));
                    // A shutdown is seen above.
                    let _ = self.runtime.block_on(pause);
                }
            }
        }
        tracing::info!(seconds = started.elapsed().as_secs_f64(), "history is in memory");
    }

    fn prepare(&self, waiting: &[(usize, ReadTopic, Vec<Begun>, i64)]) -> anyhow::Result<(Consumer, Vec<Way>)> {
        let mut settings = self.kafka.consumer(None);
        settings.set("enable.partition.eof", "false");
        let consumer: Consumer = create(&settings, Quiet)?;
        let mut ways = Vec::new();
        for (topic, read, begun, now) in waiting {
            let look_back_us = now - read.look_back_ms * 1000;
            let mut times = TopicPartitionList::new();
            for begun in begun {
                times.add_partition_offset(
                    &read.name,
                    begun.partition,
                    Offset::Offset((look_back_us / 1000).max(0)),
                )?;
            }
            let starts = consumer.offsets_for_times(times, TIMEOUT).context("asking for offsets by time")?;
            for Begun { partition, first } in begun.iter().copied() {
                let start = starts.find_partition(&read.name, partition).context("an answer without the partition")?;
                start.error()?;
                let (log_start, _) = consumer.fetch_watermarks(&read.name, partition, TIMEOUT)?;
                let low = match start.offset() {
                    Offset::Offset(offset) => offset.min(first),
                    _ => first,
                };
                ways.push(Way {
                    topic: *topic,
                    name: read.name.clone(),
                    partition,
                    from: first,
                    low,
                    whole_from_us: now - read.newest_ms * 1000,
                    // From a log that begins at 0 nothing was ever deleted.
                    look_back_us: (low > log_start || log_start == 0).then_some(look_back_us),
                    is_ticks: read.channel == Channel::Ticks,
                });
            }
        }
        Ok((consumer, ways))
    }

    /// One chunk of each partition; gives whether that was all.
    fn go_back(&mut self, consumer: &Consumer, ways: &mut [Way]) -> anyhow::Result<bool> {
        let mut assignment = TopicPartitionList::new();
        let mut ends: BTreeMap<(usize, i32), (i64, i64)> = BTreeMap::new();
        for way in ways.iter().filter(|way| way.from > way.low) {
            let start = way.low.max(way.from - CHUNK);
            assignment.add_partition_offset(&way.name, way.partition, Offset::Offset(start))?;
            ends.insert((way.topic, way.partition), (start, way.from));
        }
        if !ends.is_empty() {
            consumer.assign(&assignment).context("assigning partitions")?;
            // What was paused at the end of the chunk before stays so over an assignment.
            consumer.resume(&assignment).context("resuming partitions")?;
            for batch in self.read(consumer, ways, &ends)? {
                batch.put(&self.hub, Showing::Latest);
            }
        }
        for way in ways.iter_mut() {
            if let Some((start, _)) = ends.get(&(way.topic, way.partition)) {
                way.from = *start;
            }
            if way.from <= way.low
                && let Some(look_back) = way.look_back_us
            {
                way.whole_from_us = way.whole_from_us.min(look_back);
            }
        }
        let is_done = ways.iter().all(|way| way.from <= way.low);
        if let Some(whole_from) = ways.iter().filter(|way| way.is_ticks).map(|way| way.whole_from_us).max() {
            self.hub.live().set_whole_from(whole_from, !is_done);
        }
        Ok(is_done)
    }

    fn read(
        &mut self,
        consumer: &Consumer,
        ways: &mut [Way],
        ends: &BTreeMap<(usize, i32), (i64, i64)>,
    ) -> anyhow::Result<Vec<Batch>> {
        let mut buffers: BTreeMap<(usize, i32), RecordBuffer> = BTreeMap::new();
        let mut open: Vec<(usize, i32)> = ends.keys().copied().collect();
        let mut last_record = Instant::now();
        while !open.is_empty() && !self.shutdown.is_cancelled() && last_record.elapsed() < SILENCE {
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message?;
            last_record = Instant::now();
            let Some(way) =
                ways.iter().find(|way| *way.name == *message.topic() && way.partition == message.partition())
            else {
                continue;
            };
            let key = (way.topic, way.partition);
            let Some((_, end)) = ends.get(&key) else { continue };
            if message.offset() < *end {
                let timestamp_ms = message.timestamp().to_millis().unwrap_or(0);
                let record = Record { offset: message.offset(), timestamp_ms, key: None, value: message.payload() };
                buffers.entry(key).or_default().push(record, ClientHeaders::None);
            }
            if message.offset() + 1 >= *end {
                open.retain(|other| *other != key);
                // What lies behind was fetched for nothing; no more of it.
                let mut finished = TopicPartitionList::new();
                finished.add_partition(&way.name, way.partition);
                consumer.pause(&finished)?;
            }
        }
        if !open.is_empty() {
            self.silences += 1;
            anyhow::ensure!(self.silences >= SILENCES, "the broker was silent for {SILENCE:?}");
        }
        self.silences = 0;
        let mut batches = Vec::new();
        for ((topic, partition), mut buffer) in buffers {
            let records = buffer.finish();
            let decoded = self.runtime.block_on(self.intake.decode(topic, partition, &records));
            let batch = decoded.map_err(|reason| anyhow::anyhow!(reason))?;
            batch.announce(&self.hub);
            if let (Some(oldest), Some(way)) =
                (batch.oldest_us(), ways.iter_mut().find(|way| way.topic == topic && way.partition == partition))
            {
                way.whole_from_us = way.whole_from_us.min(oldest);
            }
            batches.push(batch);
        }
        Ok(batches)
    }
}
