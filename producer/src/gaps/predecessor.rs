//! Who read a source before, as the log tells it: when it was last alive, what it had spent, and which gaps it left open. The
//! next one closes them. Must never happen here: time in which nobody read a source and no gap says so.
//!
//! Only a record that says that the source was being read is a sign of life. A producer that has just started says
//! CONNECTING before it has looked here: if that counted and it then died, the time before it would be in no gap. For the same
//! reason a look never finds the looker itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arrow::array::{BinaryArray, RecordBatch};
use pipeline::codec::RecordType;
use pipeline::decode::{Decoder, Gaps, Healths, Ticks};
use pipeline::events::{Gap, SourceHealth};
use pipeline::kafka::KafkaArgs;
use pipeline::registry::Registry;
use pipeline::topics;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::drive::status::State;
use crate::gaps::log::{Found, Log};

/// The last that the log knows of a source's earlier reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Until when nothing is missing: the later of its last word on the source's health and its last tick, micros UTC, and a
    /// second less.
    pub at: i64,
    /// Spent of the plan on the UTC day and month of `at`.
    pub used_today: u64,
    pub used_this_month: u64,
    /// Opened and never closed.
    pub open: Vec<Gap>,
}

/// What the log tells of the time before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// `None` when nobody ever read the source.
    pub predecessor: Option<Predecessor>,
    /// Those of the gaps that were asked about that have an end in the log.
    pub closed: Vec<Uuid>,
}

/// How long one look may take, and all tries together: a source that is ours is not left unread for its past.
const PATIENCE: Duration = Duration::from_secs(4);
const PATIENCE_IN_ALL: Duration = Duration::from_secs(10);
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Ticks are looked for this long after the last health record, three of which are to be missed before a producer is down.
const AFTER_HEALTH_MS: i64 = 30_000;
/// What was received just before the last record that is in the log may have been on its way beside it, and lost.
const ON_ITS_WAY: i64 = 1_000_000;
/// Where no health record is left, the last tick is looked for among so many offsets a partition.
const WITHOUT_HEALTH: i64 = 20_000;
/// Looks that are under way at once: each has a client, with its threads and its memory.
const AT_ONCE: usize = 2;

/// Asks the log who read a source before.
#[derive(Clone)]
pub struct Predecessors {
    kafka: KafkaArgs,
    registry: Option<Registry>,
    at_once: Arc<Semaphore>,
}

impl Predecessors {
    #[must_use]
    pub fn new(kafka: KafkaArgs, registry: Option<Registry>) -> Self {
        Self { kafka, registry, at_once: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// What is known of the time before now, and which of `left_open` the log has an end of. When the log cannot be asked, it
    /// says so and goes on: the source is read, and what was missed before stays untold.
    pub async fn of(&self, source: &'static str, left_open: Vec<Uuid>) -> Before {
        match tokio::time::timeout(PATIENCE_IN_ALL, self.until_found(source, left_open)).await {
            Ok(before) => before,
            Err(_) => {
                tracing::warn!(source, "the source is read from now on; time before that may be missing without a gap");
                Before::default()
            }
        }
    }

    async fn until_found(&self, source: &'static str, left_open: Vec<Uuid>) -> Before {
        loop {
            match find(&self.kafka, self.registry.as_ref(), source, left_open.clone(), &self.at_once).await {
                Ok(before) => return before,
                Err(error) => tracing::warn!(source, "cannot find out who read the source before: {error:#}"),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

/// Looks once.
///
/// # Errors
/// When the log, or the registry, cannot be asked in time.
pub async fn find(
    kafka: &KafkaArgs,
    registry: Option<&Registry>,
    source: &'static str,
    left_open: Vec<Uuid>,
    at_once: &Semaphore,
) -> anyhow::Result<Before> {
    let _permit = at_once.acquire().await.context("the semaphore is never closed")?;
    let (kafka, registry, handle) = (kafka.clone(), registry.cloned(), Handle::current());
    let look = move || {
        let log = Log::open(&kafka, PATIENCE)?;
        Look { log, registry, handle, source }.before(&left_open)
    };
    tokio::task::spawn_blocking(look).await.context("looking into the log panicked")?
}

/// What the log tells of a source's gaps.
struct Told {
    /// Those without an end, oldest first.
    open: Vec<Gap>,
    /// Those that were asked about and have one.
    closed: Vec<Uuid>,
    latest_start: Option<i64>,
}

struct Look {
    log: Log,
    registry: Option<Registry>,
    handle: Handle,
    source: &'static str,
}

impl Look {
    fn before(&self, left_open: &[Uuid]) -> anyhow::Result<Before> {
        let Told { open, closed, latest_start } = self.gaps(left_open)?;
        let health = self.last_health()?;
        let last_tick = self.last_tick(health.as_ref().map(|(_, broker_ms)| *broker_ms))?;
        // A gap says when somebody read the source too, but some go by the source's own clock.
        let sign_of_life = health.as_ref().map(|(health, _)| health.at).max(last_tick).or(latest_start);
        let sign_of_life = sign_of_life.map(|at| at - ON_ITS_WAY);
        let used = |used: fn(&SourceHealth) -> Option<i64>| {
            health.as_ref().and_then(|(health, _)| u64::try_from(used(health)?).ok()).unwrap_or(0)
        };
        let predecessor = sign_of_life.map(|at| Predecessor {
            at,
            used_today: used(|health| health.used_today),
            used_this_month: used(|health| health.used_this_month),
            open,
        });
        Ok(Before { predecessor, closed })
    }

    /// The source's last health record that says that somebody read it, and when the broker wrote it.
    fn last_health(&self) -> anyhow::Result<Option<(SourceHealth, i64)>> {
        let mut decoder = self.decoder(RecordType::SourceHealth);
        let mut last: Option<(SourceHealth, i64)> = None;
        for (partition, range) in self.log.ranges(topics::HEALTH)? {
            let of_partition = self.log.newest(
                topics::HEALTH,
                partition,
                &range,
                |key| self.is_ours(key),
                |found| {
                    let (batch, rows) = self.decode(&mut decoder, &found)?;
                    let mut healths = Healths::new(&batch).iter().zip(rows).collect::<Vec<_>>().into_iter().rev();
                    Ok(healths
                        .find(|(health, _)| is_read(&health.state))
                        .map(|(health, row)| (health, found[row].broker_ms)))
                },
            )?;
            last = last.into_iter().chain(of_partition).max_by_key(|(_, broker_ms)| *broker_ms);
        }
        Ok(last)
    }

    /// When the source's last tick was received, as far as it can be told from the ticks that were written soon after
    /// `health_ms`.
    fn last_tick(&self, health_ms: Option<i64>) -> anyhow::Result<Option<i64>> {
        let mut decoder = self.decoder(RecordType::PriceTick);
        let mut last = None;
        for (partition, range) in self.log.ranges(topics::TICKS)? {
            let range = match health_ms {
                Some(from) => self.log.within(topics::TICKS, partition, &range, from, from + AFTER_HEALTH_MS)?,
                None => range.start.max(range.end - WITHOUT_HEALTH)..range.end,
            };
            let of_partition = self.log.newest(
                topics::TICKS,
                partition,
                &range,
                |_| true,
                |found| {
                    let (batch, _) = self.decode(&mut decoder, &found)?;
                    let ticks = Ticks::new(&batch);
                    let ours = (0..ticks.len()).filter(|row| ticks.source(*row) == self.source);
                    Ok(ours.map(|row| ticks.received_at(row)).max())
                },
            )?;
            last = last.max(of_partition);
        }
        Ok(last)
    }

    /// What the log has of the source's gaps, among them those of `asked`.
    fn gaps(&self, asked: &[Uuid]) -> anyhow::Result<Told> {
        let mut decoder = self.decoder(RecordType::Gap);
        let mut open: BTreeMap<Uuid, Gap> = BTreeMap::new();
        let mut closed = Vec::new();
        let mut latest_start = None;
        for (partition, range) in self.log.ranges(topics::GAPS)? {
            self.log.all(
                topics::GAPS,
                partition,
                &range,
                |key| self.is_ours(key),
                |found| {
                    let (batch, _) = self.decode(&mut decoder, &found)?;
                    for gap in Gaps::new(&batch).iter() {
                        latest_start = latest_start.max(Some(gap.started_at));
                        if gap.ended_at.is_none() {
                            open.insert(gap.id, gap);
                            continue;
                        }
                        open.remove(&gap.id);
                        if asked.contains(&gap.id) {
                            closed.push(gap.id);
                        }
                    }
                    Ok(())
                },
            )?;
        }
        closed.retain(|id| !open.contains_key(id));
        let mut open: Vec<Gap> = open.into_values().collect();
        open.sort_by_key(|gap| gap.started_at);
        Ok(Told { open, closed, latest_start })
    }

    fn is_ours(&self, key: &[u8]) -> bool {
        key == self.source.as_bytes()
    }

    fn decoder(&self, record: RecordType) -> Decoder {
        Decoder::new(record, self.registry.clone())
    }

    /// The rows of what can be decoded, and which of `found` each one is. What is no record is not ours to complain about:
    /// the consumers do.
    fn decode(&self, decoder: &mut Decoder, found: &[Found]) -> anyhow::Result<(RecordBatch, Vec<usize>)> {
        let values = BinaryArray::from_iter_values(found.iter().map(|found| &found.payload));
        let decoded = self.handle.block_on(decoder.decode(&values))?;
        Ok((decoded.batch, decoded.rows.into_iter().map(|row| row as usize).collect()))
    }
}

/// Whether a source in this state has a reader that has begun.
fn is_read(state: &str) -> bool {
    [State::Ok, State::Failing, State::Stopped].iter().any(|read| read.as_str() == state)
}
