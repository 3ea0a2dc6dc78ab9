//! Candles that a late correction has spoilt, read again as of what memory had read when it was asked: a store that is not so far
//! yet, or further, gives none. From the topic all of a bucket's time up to now is read, in one go for many. Must never happen
//! here: a bucket that is told while a tick of it was not read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::codec::RecordType;
use pipeline::decimal::Decimal38;
use pipeline::decode::Decoder;
use pipeline::events::Kind;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::gather::MAX_TICKS;
use super::reader::{Read, Reader, Stretch};
use super::topic::{AHEAD_MS, MAX_RECORDS, Topic, put_all};
use super::{History, Postgres};
use crate::http::ApiError;
use crate::serve::cursor::Cursor;
use crate::state::candle::Place;
use crate::state::tick::{Position, Told};
use crate::state::{Reread, Spoilt, Timeframe};

/// How long the topic is read in one go.
const PATIENCE: Duration = Duration::from_secs(60);
/// Buckets of one go, from the database one by one.
const AT_ONCE_FROM_POSTGRES: usize = 64;
const AT_ONCE_FROM_THE_TOPIC: usize = 2000;

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Again {
    Found(Box<Reread>),
    /// The store is behind memory, or ahead of it.
    NotYet,
    /// The store does not go back so far, or it is too much to read.
    OutOfReach,
}

impl History {
    /// Buckets that are read again in one go.
    pub fn at_once(&self) -> usize {
        if self.postgres.is_some() { AT_ONCE_FROM_POSTGRES } else { AT_ONCE_FROM_THE_TOPIC }
    }

    /// Reads buckets again, as of `read`. `is_remade`: the topic is not the one that memory began with.
    ///
    /// # Errors
    /// Why the store does not answer.
    pub async fn again(
        &self,
        spoilt: Vec<Spoilt>,
        read: Arc<Cursor>,
        is_remade: bool,
    ) -> Result<Vec<(Spoilt, Again)>, ApiError> {
        match &self.postgres {
            Some(postgres) => from_postgres(postgres, spoilt, &read).await,
            None => self.topic.apart(move |topic| from_the_topic(topic, spoilt, &read, is_remade)).await,
        }
    }
}

async fn from_postgres(
    postgres: &Postgres,
    spoilt: Vec<Spoilt>,
    read: &Cursor,
) -> Result<Vec<(Spoilt, Again)>, ApiError> {
    if !postgres.is_read(read).await? {
        return Ok(spoilt.into_iter().map(|spoilt| (spoilt, Again::NotYet)).collect());
    }
    let kept_from_us = postgres.ticks_from_us().await?.unwrap_or(i64::MIN);
    let mut all = Vec::with_capacity(spoilt.len());
    for spoilt in spoilt {
        let again = if spoilt.start_us() < kept_from_us {
            Again::OutOfReach
        } else {
            postgres.bucket(&spoilt, read).await?.map_or(Again::NotYet, |reread| Again::Found(Box::new(reread)))
        };
        all.push((spoilt, again));
    }
    Ok(all)
}

fn from_the_topic(
    topic: &Topic,
    mut spoilt: Vec<Spoilt>,
    read: &Cursor,
    is_remade: bool,
) -> anyhow::Result<Vec<(Spoilt, Again)>> {
    let reader = Reader::new(&topic.kafka)?;
    let kept_from_us = kept_from_us(&reader, topic, read, is_remade)?;
    let mut told = Vec::with_capacity(spoilt.len());
    let mut leave_out = |spoilt: Vec<Spoilt>| told.extend(spoilt.into_iter().map(|one| (one, Again::OutOfReach)));
    // Newest first: what is too old or too much is cut off behind.
    spoilt.sort_by_key(|spoilt| std::cmp::Reverse(spoilt.start_us()));
    leave_out(spoilt.split_off(spoilt.partition_point(|spoilt| spoilt.start_us() >= kept_from_us)));
    let mut stretches = Vec::new();
    while let Some(oldest) = spoilt.last() {
        stretches = since(&reader, topic, read, oldest.start_us())?;
        let records: i64 = stretches.iter().map(|stretch| (stretch.end - stretch.start).max(0)).sum();
        if records.unsigned_abs() <= MAX_RECORDS {
            break;
        }
        leave_out(spoilt.split_off(spoilt.len() / 2));
    }
    if spoilt.is_empty() {
        return Ok(told);
    }
    let mut gathered = Gathered::new(&spoilt);
    let mut decoder = Decoder::new(RecordType::PriceTick, topic.registry.clone());
    let runtime = Handle::current();
    let whole = reader.read(&topic.ticks, &stretches, Instant::now() + PATIENCE, |partition, batch| {
        put_all(&runtime, &mut decoder, partition, batch, &mut |told| gathered.put(told))
    })?;
    if whole == Read::Part {
        leave_out(spoilt);
        return Ok(told);
    }
    let mut found = gathered.finish();
    told.extend(spoilt.into_iter().map(|spoilt| {
        let reread = found.remove(&spoilt).unwrap_or_default();
        (spoilt, Again::Found(Box::new(reread)))
    }));
    Ok(told)
}

/// All that memory has read since a time.
fn since(reader: &Reader, topic: &Topic, read: &Cursor, from_us: i64) -> anyhow::Result<Vec<Stretch>> {
    let partitions: Vec<i32> = read.read.iter().map(|at| at.partition).collect();
    let starts = reader.offsets_at(&topic.ticks, &partitions, from_us.div_euclid(1000) - AHEAD_MS)?;
    let of = |(at, start): (&Position, i64)| Stretch { partition: at.partition, start, end: at.offset + 1 };
    Ok(read.read.iter().zip(starts).map(of).collect())
}

/// From when on every tick is in the topic.
fn kept_from_us(reader: &Reader, topic: &Topic, read: &Cursor, is_remade: bool) -> anyhow::Result<i64> {
    let mut kept_from_us = i64::MIN;
    for at in &read.read {
        let (low, high) = reader.ends(&topic.ticks, at.partition)?;
        // Nothing was ever deleted.
        if low == 0 && !is_remade {
            continue;
        }
        let oldest_ms = reader.time_at(&topic.ticks, at.partition, low, high)?;
        let oldest_us = oldest_ms.map_or(i64::MAX, |oldest_ms| (oldest_ms + AHEAD_MS) * 1000);
        kept_from_us = kept_from_us.max(oldest_us);
    }
    Ok(kept_from_us)
}

struct Kept {
    revision: i32,
    /// In order of the broker.
    taken: (i64, Position),
    /// Nothing where the event is elsewhere now, or was taken back.
    tick: Option<KeptTick>,
}

struct KeptTick {
    series: usize,
    event_time: i64,
    price: Decimal38,
    quantity: Option<Decimal38>,
}

/// The series of each symbol: source, price basis, number.
type BySymbol = HashMap<Arc<str>, Vec<(Arc<str>, Kind, usize)>>;

/// The ticks of the buckets, whatever order they are read in: each event once, in its highest revision, and among equal ones as
/// the broker took it first.
struct Gathered {
    series: BySymbol,
    buckets: HashMap<(usize, Timeframe, i64), Spoilt>,
    events: HashMap<Uuid, Kept>,
}

impl Gathered {
    fn new(spoilt: &[Spoilt]) -> Self {
        let mut series = BySymbol::new();
        let mut buckets = HashMap::new();
        let mut count = 0;
        for spoilt in spoilt {
            let of_symbol = series.entry(spoilt.symbol.clone()).or_default();
            let known =
                of_symbol.iter().find(|(source, basis, _)| *source == spoilt.source && *basis == spoilt.price_basis);
            let number = known.map_or(count, |(_, _, number)| *number);
            if number == count {
                of_symbol.push((spoilt.source.clone(), spoilt.price_basis, number));
                count += 1;
            }
            buckets.insert((number, spoilt.bucket.tf, spoilt.bucket.start), spoilt.clone());
        }
        Self { series, buckets, events: HashMap::new() }
    }

    /// The series of a source at a symbol, of which a bucket is wanted that holds the time.
    fn at(&self, symbol: &str, source: &str, event_time: i64) -> impl Iterator<Item = (Kind, usize)> {
        let of_symbol = self.series.get(symbol).into_iter().flatten();
        of_symbol.filter_map(move |(known, basis, number)| {
            let has = |tf: &Timeframe| self.buckets.contains_key(&(*number, *tf, tf.bucket(event_time)));
            (**known == *source && Timeframe::ALL.iter().any(has)).then_some((*basis, *number))
        })
    }

    /// Gives whether there was room for it.
    fn put(&mut self, told: &Told<'_>) -> bool {
        let tick = &told.tick;
        let series = self
            .at(told.symbol, told.source, tick.event_time)
            .find(|(basis, _)| *basis == tick.kind)
            .map(|(_, number)| number);
        let corrects = || {
            let mut places = told.earlier_places();
            told.is_correction()
                && (self.events.contains_key(&tick.event_id)
                    || places.any(|(symbol, time)| self.at(symbol, told.source, time).next().is_some()))
        };
        if series.is_none() && !corrects() {
            return true;
        }
        let taken = (tick.broker_time, tick.at);
        if let Some(known) = self.events.get(&tick.event_id) {
            let is_known = known.revision > tick.revision || (known.revision == tick.revision && known.taken <= taken);
            if is_known {
                return true;
            }
        } else if self.events.len() >= MAX_TICKS {
            return false;
        }
        let (event_time, price, quantity) = (tick.event_time, tick.price, tick.quantity);
        let kept = series.filter(|_| !told.retracted).map(|series| KeptTick { series, event_time, price, quantity });
        self.events.insert(tick.event_id, Kept { revision: tick.revision, taken, tick: kept });
        true
    }

    fn finish(self) -> HashMap<Spoilt, Reread> {
        let mut found: HashMap<Spoilt, Reread> = HashMap::new();
        for (event_id, kept) in &self.events {
            let Some(tick) = &kept.tick else { continue };
            let place = Place { event_time: tick.event_time, event_id: *event_id };
            for tf in Timeframe::ALL {
                let Some(spoilt) = self.buckets.get(&(tick.series, tf, tf.bucket(tick.event_time))) else { continue };
                found.entry(spoilt.clone()).or_default().put(tf, place, tick.price, tick.quantity);
            }
        }
        found
    }
}
