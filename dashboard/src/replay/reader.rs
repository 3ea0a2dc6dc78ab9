//! Reads all topics of a replay together from some time on, into a [`Merge`]. A partition that is far ahead of the others is paused
//! until they have caught up with it. Must never happen here: a partition taken to have ended because its broker was silent.

use std::sync::Arc;
use std::time::Duration;

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

struct Track {
    lane: Lane,
    next: i64,
    /// The log's end when reading began.
    end: i64,
    is_paused: bool,
}

pub struct TopicsReader {
    sources: Arc<[Source]>,
    /// One for each topic: what tells of a partition's end names no topic.
    consumers: Vec<Consumer>,
    /// Asks only.
    asking: Reader,
    tracks: Vec<Track>,
}

impl TopicsReader {
    /// # Errors
    /// When the client's settings are refused.
    pub fn new(kafka: &KafkaArgs, sources: Arc<[Source]>) -> anyhow::Result<Self> {
        let consumers = sources.iter().map(|_| create(&kafka.consumer(None), Quiet));
        let consumers = consumers.collect::<Result<_, _>>()?;
        Ok(Self { sources, consumers, asking: Reader::new(kafka)?, tracks: Vec::new() })
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
        // Before anything is assigned anew: a pause stays over an assignment, and its end moves where that begins.
        for track in self.tracks.drain(..).filter(|track| track.is_paused) {
            self.consumers[track.lane.0].resume(&track.list(&self.sources)).context("resuming a partition")?;
        }
        for (topic, (source, from_ms)) in self.sources.iter().zip(from_ms).enumerate() {
            let mut assignment = TopicPartitionList::new();
            let partitions = self.asking.partitions(&source.name)?;
            let offsets = self.asking.offsets_at(&source.name, &partitions, *from_ms)?;
            for (partition, next) in partitions.into_iter().zip(offsets) {
                let (_, end) = self.asking.ends(&source.name, partition)?;
                assignment.add_partition_offset(&source.name, partition, Offset::Offset(next))?;
                self.tracks.push(Track { lane: (topic, partition), next, end, is_paused: false });
            }
            self.consumers[topic].unassign().context("leaving partitions")?;
            self.consumers[topic].assign(&assignment).context("assigning partitions")?;
        }
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
        let mut has_heard = false;
        for topic in 0..self.consumers.len() {
            has_heard |= self.drain(topic, merge)?;
        }
        if !has_heard {
            std::thread::sleep(patience);
        }
        self.pause(merge)
    }

    /// Takes in what has come of one topic; gives whether it was anything.
    fn drain(&mut self, topic: usize, merge: &mut Merge) -> anyhow::Result<bool> {
        for count in 0..A_TURN {
            match self.consumers[topic].poll(Duration::ZERO) {
                None => return Ok(count > 0),
                Some(Ok(message)) => Self::take(&mut self.tracks, topic, &message, merge),
                // Told whenever all that is there was read, also where the last offsets are never delivered, as markers of
                // transactions are not. A partition that is written to goes on.
                Some(Err(KafkaError::PartitionEOF(partition))) => merge.end((topic, partition)),
                Some(Err(KafkaError::MessageConsumption(
                    error @ (RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange),
                ))) => anyhow::bail!("the log is not kept so far back any more ({error})"),
                // It mends itself, and meanwhile nothing comes.
                Some(Err(error)) => tracing::debug!("a replay's client says: {error}"),
            }
        }
        Ok(true)
    }

    fn take(tracks: &mut [Track], topic: usize, message: &BorrowedMessage<'_>, merge: &mut Merge) {
        let lane = (topic, message.partition());
        let Some(track) = tracks.iter_mut().find(|track| track.lane == lane) else { return };
        if message.offset() < track.next {
            return;
        }
        track.next = message.offset() + 1;
        let time_ms = message.timestamp().to_millis().unwrap_or(0);
        merge.push(lane, Waiting { time_ms, offset: message.offset(), value: message.payload().map(<[u8]>::to_vec) });
        // What is written from here on is younger than the replay; where its end is the client tells, after a moment.
        if track.next == track.end {
            merge.end(lane);
        }
    }

    fn pause(&mut self, merge: &Merge) -> anyhow::Result<()> {
        for track in self.tracks.iter_mut().filter(|track| !track.is_paused && merge.has_enough(track.lane)) {
            self.consumers[track.lane.0].pause(&track.list(&self.sources)).context("pausing a partition")?;
            track.is_paused = true;
        }
        Ok(())
    }

    fn resume(&mut self, merge: &Merge) -> anyhow::Result<()> {
        for track in self.tracks.iter_mut().filter(|track| track.is_paused && !merge.has_enough(track.lane)) {
            self.consumers[track.lane.0].resume(&track.list(&self.sources)).context("resuming a partition")?;
            track.is_paused = false;
        }
        Ok(())
    }
}

impl Track {
    fn list(&self, sources: &[Source]) -> TopicPartitionList {
        let (topic, partition) = self.lane;
        let mut list = TopicPartitionList::new();
        list.add_partition(&sources[topic].name, partition);
        list
    }
}
