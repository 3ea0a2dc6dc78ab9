//! History from the topic itself, where no database is named: read backwards by broker time in pieces until all of the time
//! asked for is there, or the time or the records that one answer may take are spent. The answer says from when on it is whole.
//! A tick or a correction that came more than [`LATE_MS`] after its time is not looked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use pipeline::codec::RecordType;
use pipeline::decode::{Decoder, Gaps, Ticks};
use pipeline::events::Gap;
use pipeline::kafka::KafkaArgs;
use pipeline::records::Records;
use pipeline::registry::Registry;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::gather::{Gather, MAX_TICKS};
use super::reader::{Read, Reader, Stretch};
use super::{CandleRange, Past, TickRange};
use crate::http::ApiError;
use crate::state::Candle;
use crate::state::gaps::concerns;
use crate::state::row::TickRow;
use crate::state::tick::{Position, Told};

/// How long one answer may read.
const PATIENCE: Duration = Duration::from_secs(8);
/// How many records one answer may read.
pub(super) const MAX_RECORDS: u64 = 4_000_000;
/// Answers that read at once; each holds some ten megabytes.
const READERS: usize = 2;
/// How long after its event time a tick is still looked for.
const LATE_MS: i64 = 10 * 60 * 1000;
/// How far a source's clock may be ahead of the broker's.
pub(super) const AHEAD_MS: i64 = 60 * 1000;
/// The newest piece; each one before it is twice as long.
const FIRST_PIECE_MS: i64 = 15 * 60 * 1000;
/// A gap that is open now may have opened so long ago.
const GAPS_BEFORE_MS: i64 = 24 * 60 * 60 * 1000;

#[derive(Clone)]
pub struct Topic {
    pub kafka: KafkaArgs,
    pub registry: Option<Registry>,
    pub ticks: Arc<str>,
    pub gaps: Arc<str>,
    permits: Arc<Semaphore>,
}

impl Topic {
    pub fn new(kafka: &KafkaArgs, registry: Option<Registry>, ticks: &str, gaps: &str) -> Self {
        let permits = Arc::new(Semaphore::new(READERS));
        Self { kafka: kafka.clone(), registry, ticks: ticks.into(), gaps: gaps.into(), permits }
    }

    /// # Errors
    /// Why the log cannot be read.
    pub async fn candles(&self, range: &CandleRange<'_>) -> Result<Past<Candle>, ApiError> {
        let (symbol, source) = (range.symbol.to_owned(), range.source.map(str::to_owned));
        let (basis, tf, limit) = (range.price_basis, range.tf, range.limit);
        let (from_us, to_us) = (range.from_us, range.to_us);
        self.on_a_thread(move |topic| {
            let mut reading = Reading::begin(&topic)?;
            let mut gather = Gather::new(&symbol, source.as_deref(), basis);
            let whole_from_us = reading.ticks(from_us, to_us, &mut |told| gather.put(told), &mut |_| false)?;
            // A bucket that begins before is not whole.
            let first = tf.bucket(whole_from_us - 1) + tf.width_us();
            let first = if whole_from_us <= from_us { from_us } else { first };
            let mut candles = gather.candles(tf, first, to_us, limit);
            let gaps = reading.gaps(first)?;
            for candle in &mut candles {
                let (start, end) = (candle.start_us, candle.start_us + tf.width_us());
                candle.complete = !gaps.iter().any(|gap| {
                    gap.started_at < end
                        && gap.ended_at.is_none_or(|ended| ended > start)
                        && concerns(&gap.source, &gap.symbols, &candle.symbol, &candle.source, candle.price_basis)
                });
            }
            Ok(Past { rows: candles, complete_from_us: first.max(from_us) })
        })
        .await
    }

    /// Newest first. The same event is told once, in its highest revision.
    ///
    /// # Errors
    /// As [`Self::candles`].
    pub async fn ticks(&self, range: &TickRange<'_>) -> Result<Past<TickRow>, ApiError> {
        let (symbol, source) = (range.symbol.to_owned(), range.source.map(str::to_owned));
        let (before_us, limit) = (range.before_us, range.limit);
        self.on_a_thread(move |topic| {
            let mut reading = Reading::begin(&topic)?;
            let mut found = Found { symbol: &symbol, source: source.as_deref(), before_us, events: Default::default() };
            let found_mut = std::cell::RefCell::new(&mut found);
            let whole_from_us =
                reading.ticks(0, before_us, &mut |told| found_mut.borrow_mut().put(told), &mut |whole_from_us| {
                    found_mut.borrow().count_from(whole_from_us) >= limit
                })?;
            let mut rows: Vec<TickRow> = found.events.into_values().filter_map(|(_, row)| row).collect();
            rows.retain(|row| event_time(row) >= whole_from_us);
            rows.sort_by_key(|row| std::cmp::Reverse((event_time(row), row.event_id)));
            rows.truncate(limit);
            Ok(Past { rows, complete_from_us: whole_from_us })
        })
        .await
    }

    async fn on_a_thread<T: Send + 'static>(
        &self,
        read: impl FnOnce(Self) -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let waiting = tokio::time::timeout(PATIENCE, self.permits.clone().acquire_owned());
        let Ok(Ok(permit)) = waiting.await else {
            let why = format!("{READERS} others are reading the topic; try again in a moment");
            return Err(ApiError::Unavailable(why));
        };
        self.apart(move |topic| {
            let _held = permit;
            read(topic.clone())
        })
        .await
    }

    /// On a thread of its own, besides the answers.
    pub(super) async fn apart<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Self) -> anyhow::Result<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let topic = self.clone();
        let read = tokio::task::spawn_blocking(move || read(&topic));
        let read = read.await.context("reading the topic has panicked").and_then(|read| read);
        read.map_err(|error| {
            tracing::warn!("history from the topic is not to be had: {error:#}");
            ApiError::Unavailable(format!(
                "the topic cannot be read: {error:#}: history beyond memory is not to be had now"
            ))
        })
    }
}

/// The newest versions of what was found so far.
struct Found<'a> {
    symbol: &'a str,
    source: Option<&'a str>,
    before_us: i64,
    events: std::collections::HashMap<uuid::Uuid, (i32, Option<TickRow>)>,
}

impl Found<'_> {
    fn put(&mut self, told: &Told<'_>) -> bool {
        let tick = &told.tick;
        let is_wanted = told.symbol == self.symbol
            && self.source.is_none_or(|source| source == told.source)
            && tick.event_time < self.before_us;
        let corrects = told.is_correction()
            && (told.previous_symbol == Some(self.symbol)
                || told.symbol == self.symbol
                || self.events.contains_key(&tick.event_id));
        if !is_wanted && !corrects {
            return true;
        }
        let known = self.events.get(&tick.event_id);
        let is_first = known.is_none_or(|(revision, row)| {
            // At equal revision the one that the broker took first.
            let taken = row.as_ref().map(|row| (row.broker_time_us, row.partition, row.offset));
            tick.revision > *revision
                || (tick.revision == *revision
                    && taken.is_some_and(|taken| {
                        (Some(tick.broker_time), Some(tick.at.partition), Some(tick.at.offset)) < taken
                    }))
        });
        if is_first {
            let row = (is_wanted && !told.retracted).then(|| row(told));
            self.events.insert(tick.event_id, (tick.revision, row));
        }
        self.events.len() < MAX_TICKS / 4
    }

    fn count_from(&self, from_us: i64) -> usize {
        self.events.values().filter(|(_, row)| row.as_ref().is_some_and(|row| event_time(row) >= from_us)).count()
    }
}

fn row(told: &Told<'_>) -> TickRow {
    let mut row = TickRow::empty(told.symbol, told.source);
    row.tell(&told.tick);
    row
}

fn event_time(row: &TickRow) -> i64 {
    row.event_time_us.unwrap_or_default()
}

struct Reading<'a> {
    topic: &'a Topic,
    reader: Reader,
    partitions: Vec<i32>,
    deadline: Instant,
    records: u64,
    runtime: Handle,
}

impl<'a> Reading<'a> {
    fn begin(topic: &'a Topic) -> anyhow::Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        let reader = Reader::new(&topic.kafka)?;
        let partitions = reader.partitions(&topic.ticks)?;
        Ok(Self { topic, reader, partitions, deadline, records: 0, runtime: Handle::current() })
    }

    /// Reads the ticks of `[from_us, to_us)`, newest pieces first, until `put` has no more room or `is_enough`. Gives from when on
    /// all were read.
    fn ticks(
        &mut self,
        from_us: i64,
        to_us: i64,
        put: &mut dyn FnMut(&Told<'_>) -> bool,
        is_enough: &mut dyn FnMut(i64) -> bool,
    ) -> anyhow::Result<i64> {
        let name = self.topic.ticks.clone();
        let mut decoder = Decoder::new(RecordType::PriceTick, self.topic.registry.clone());
        let from_ms = from_us.div_euclid(1000);
        let mut ends = self.reader.offsets_at(&name, &self.partitions, to_us.div_euclid(1000) + 1 + LATE_MS)?;
        let mut until_ms = to_us.div_euclid(1000) + 1;
        let mut piece_ms = FIRST_PIECE_MS;
        let mut whole_from_us = to_us;
        loop {
            let begin_ms = from_ms.max(until_ms - piece_ms);
            let starts = self.reader.offsets_at(&name, &self.partitions, begin_ms - AHEAD_MS)?;
            let stretches: Vec<Stretch> = (self.partitions.iter().zip(&starts).zip(&ends))
                .map(|((partition, start), end)| Stretch { partition: *partition, start: *start, end: *end })
                .collect();
            let expected: i64 = stretches.iter().map(|stretch| (stretch.end - stretch.start).max(0)).sum();
            if self.records.saturating_add(expected.unsigned_abs()) > MAX_RECORDS {
                break;
            }
            let (runtime, records) = (self.runtime.clone(), &mut self.records);
            let read = self.reader.read(&name, &stretches, self.deadline, |partition, batch| {
                *records += batch.len() as u64;
                put_all(&runtime, &mut decoder, partition, batch, put)
            })?;
            if read == Read::Part {
                break;
            }
            whole_from_us = if begin_ms <= from_ms { from_us } else { begin_ms * 1000 };
            if begin_ms <= from_ms || is_enough(whole_from_us) {
                break;
            }
            if let Some(oldest_us) = self.oldest(&starts)? {
                return Ok(oldest_us.max(from_us));
            }
            (ends, until_ms, piece_ms) = (starts, begin_ms, piece_ms * 2);
        }
        // Of a time before the oldest record nobody knows.
        let starts = self.reader.offsets_at(&name, &self.partitions, whole_from_us.div_euclid(1000))?;
        Ok(self.oldest(&starts)?.map_or(whole_from_us, |oldest| oldest.max(whole_from_us).min(to_us)))
    }

    /// The time of the oldest record that is kept, where reading has come to it in every partition; 0 where nothing was
    /// ever deleted.
    fn oldest(&self, starts: &[i64]) -> anyhow::Result<Option<i64>> {
        let mut oldest_us = 0;
        for (partition, start) in self.partitions.iter().zip(starts) {
            let (low, high) = self.reader.ends(&self.topic.ticks, *partition)?;
            if *start > low {
                return Ok(None);
            }
            if low > 0
                && let Some(time_ms) = self.reader.time_at(&self.topic.ticks, *partition, low, high)?
            {
                oldest_us = oldest_us.max((time_ms + AHEAD_MS) * 1000);
            }
        }
        Ok(Some(oldest_us))
    }

    /// Each gap that may lie in the time from `from_us` on, as its last record tells it.
    fn gaps(&mut self, from_us: i64) -> anyhow::Result<Vec<Gap>> {
        let name = self.topic.gaps.clone();
        let partitions = self.reader.partitions(&name)?;
        let starts = self.reader.offsets_at(&name, &partitions, from_us.div_euclid(1000) - GAPS_BEFORE_MS)?;
        let mut stretches = Vec::new();
        for (partition, start) in partitions.into_iter().zip(starts) {
            let (_, end) = self.reader.ends(&name, partition)?;
            stretches.push(Stretch { partition, start, end });
        }
        let mut decoder = Decoder::new(RecordType::Gap, self.topic.registry.clone());
        let mut gaps: std::collections::HashMap<uuid::Uuid, Gap> = Default::default();
        let deadline = Instant::now() + PATIENCE;
        let read = self.reader.read(&name, &stretches, deadline, |_, batch| {
            let decoded = self.runtime.block_on(decoder.decode(batch.values()))?;
            for gap in Gaps::new(&decoded.batch).iter() {
                let is_closed = gaps.get(&gap.id).is_some_and(|known| known.ended_at.is_some());
                if !is_closed || gap.ended_at.is_some() {
                    gaps.insert(gap.id, gap);
                }
            }
            Ok(gaps.len() < MAX_TICKS)
        })?;
        anyhow::ensure!(read == Read::Whole, "the gaps since then are too many to read in {PATIENCE:?}");
        Ok(gaps.into_values().collect())
    }
}

pub(super) fn put_all(
    runtime: &Handle,
    decoder: &mut Decoder,
    partition: i32,
    records: &Records,
    put: &mut dyn FnMut(&Told<'_>) -> bool,
) -> anyhow::Result<bool> {
    let decoded = runtime.block_on(decoder.decode(records.values()))?;
    let ticks = Ticks::new(&decoded.batch);
    for (row, index) in decoded.rows.iter().enumerate() {
        let index = *index as usize;
        let at = Position { partition, offset: records.offsets().value(index) };
        let broker_time = records.timestamps_ms().value(index).saturating_mul(1000);
        if !put(&Told::new(&ticks, row, broker_time, at)) {
            return Ok(false);
        }
    }
    Ok(true)
}
