//! Reads all topics of a replay together from some time on, into a [`Merge`]. A partition that is far ahead of the others is paused
//! until they have caught up with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use pipeline::codec::RecordType;
use pipeline::kafka::{KafkaArgs, create};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::Source;
use super::merge::{Lane, Merge, Waiting};
use crate::history::reader::Reader;
use crate::positions::{Consumer, Quiet};

/// Messages of one turn.
const A_TURN: usize = 1000;
/// Partitions whose last offsets are never delivered count as read after so much silence.
const SILENCE: Duration = Duration::from_secs(1);

struct Track {
    lane: Lane,
    next: i64,
    end: i64,
    is_paused: bool,
}

pub struct TopicsReader {
    sources: Arc<[Source]>,
    consumer: Consumer,
    /// Asks only.
    asking: Reader,
    tracks: Vec<Track>,
    heard: Instant,
}

impl TopicsReader {
    /// # Errors
    /// When the client's settings are refused.
    pub fn new(kafka: &KafkaArgs, sources: Arc<[Source]>) -> anyhow::Result<Self> {
        let mut settings = kafka.consumer(None);
        settings.set("enable.partition.eof", "false");
        let consumer = create(&settings, Quiet)?;
        Ok(Self { sources, consumer, asking: Reader::new(kafka)?, tracks: Vec::new(), heard: Instant::now() })
    }

    /// The time of the oldest tick that is kept, milliseconds; nothing where there is none, or where the log goes back further
    /// than `time_ms`.
    ///
    /// # Errors
    /// When no broker answers.
    pub fn oldest_after(&self, time_ms: i64) -> anyhow::Result<Option<i64>> {
        let mut oldest = None;
        for source in self.sources.iter().filter(|source| source.record == RecordType::PriceTick) {
            let partitions = self.asking.partitions(&source.name)?;
            let offsets = self.asking.offsets_at(&source.name, &partitions, time_ms)?;
            for (partition, offset) in partitions.into_iter().zip(offsets) {
                let (low, high) = self.asking.ends(&source.name, partition)?;
                if offset > low {
                    return Ok(None);
                }
                let time = if low < high { self.asking.time_at(&source.name, partition, low, high)? } else { None };
                oldest = oldest.into_iter().chain(time).min();
            }
        }
        Ok(oldest)
    }

    /// Begins to read each topic at its time (`from_ms` by the topic's place), into the merge that is given.
    ///
    /// # Errors
    /// When no broker answers.
    pub fn begin(&mut self, from_ms: &[i64]) -> anyhow::Result<Merge> {
        self.tracks.clear();
        let mut assignment = TopicPartitionList::new();
        for (topic, (source, from_ms)) in self.sources.iter().zip(from_ms).enumerate() {
            let partitions = self.asking.partitions(&source.name)?;
            let offsets = self.asking.offsets_at(&source.name, &partitions, *from_ms)?;
            for (partition, next) in partitions.into_iter().zip(offsets) {
                let (_, end) = self.asking.ends(&source.name, partition)?;
                assignment.add_partition_offset(&source.name, partition, Offset::Offset(next))?;
                self.tracks.push(Track { lane: (topic, partition), next, end, is_paused: false });
            }
        }
        self.consumer.assign(&assignment).context("assigning partitions")?;
        self.heard = Instant::now();
        let mut merge = Merge::new(self.tracks.iter().map(|track| track.lane));
        self.tracks.iter().filter(|track| track.next >= track.end).for_each(|track| merge.end(track.lane));
        Ok(merge)
    }

    /// Takes in what comes within `patience`.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn turn(&mut self, merge: &mut Merge, patience: Duration) -> anyhow::Result<()> {
        self.resume(merge)?;
        let mut patience = patience;
        for _ in 0..A_TURN {
            match self.consumer.poll(patience) {
                None => break,
                Some(Ok(message)) => Self::take(&self.sources, &mut self.tracks, &message, merge),
                Some(Err(KafkaError::MessageConsumption(
                    error @ (RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange),
                ))) => anyhow::bail!("the log is not kept so far back any more ({error})"),
                // It mends itself, and meanwhile nothing comes.
                Some(Err(error)) => {
                    tracing::debug!("a replay's client says: {error}");
                    self.heard = Instant::now();
                    continue;
                }
            }
            self.heard = Instant::now();
            patience = Duration::ZERO;
        }
        if self.heard.elapsed() > SILENCE {
            self.tracks.iter().filter(|track| !track.is_paused).for_each(|track| merge.end(track.lane));
        }
        self.pause(merge)
    }

    fn take(sources: &[Source], tracks: &mut [Track], message: &BorrowedMessage<'_>, merge: &mut Merge) {
        let Some(topic) = sources.iter().position(|source| &*source.name == message.topic()) else { return };
        let lane = (topic, message.partition());
        let Some(track) = tracks.iter_mut().find(|track| track.lane == lane) else { return };
        if message.offset() < track.next {
            return;
        }
        track.next = message.offset() + 1;
        let time_ms = message.timestamp().to_millis().unwrap_or(0);
        merge.push(lane, Waiting { time_ms, offset: message.offset(), value: message.payload().map(<[u8]>::to_vec) });
        if track.next >= track.end {
            merge.end(lane);
        }
    }

    fn pause(&mut self, merge: &Merge) -> anyhow::Result<()> {
        let list = self.switch(|track| !track.is_paused && merge.has_enough(track.lane), true)?;
        if list.count() > 0 {
            self.consumer.pause(&list).context("pausing partitions")?;
        }
        Ok(())
    }

    fn resume(&mut self, merge: &Merge) -> anyhow::Result<()> {
        let list = self.switch(|track| track.is_paused && !merge.has_enough(track.lane), false)?;
        if list.count() > 0 {
            self.consumer.resume(&list).context("resuming partitions")?;
        }
        Ok(())
    }

    fn switch(&mut self, which: impl Fn(&Track) -> bool, is_paused: bool) -> anyhow::Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for track in self.tracks.iter_mut().filter(|track| which(track)) {
            track.is_paused = is_paused;
            list.add_partition(&self.sources[track.lane.0].name, track.lane.1);
        }
        Ok(list)
    }
}
