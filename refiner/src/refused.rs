//! Corrections that move an event to an impossible time. One alone changes nothing. Once a higher revision has moved the event
//! on to a sound time, the place that the refused one left is left, though the sound one need not name it: so the hour of that
//! place is made of both. Invariant: such an hour lists the object of the refused correction and those of the sound moves above
//! it, in whatever order they were taken up. The events are few, or a producer is broken: beyond a bound no more are followed,
//! and that is said. Must never happen here: an hour that gives other rows alone than with the whole lake.

use std::collections::{BTreeSet, HashMap};

use anyhow::Context;
use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::fits::{FIRST_US, is_possible};
use pipeline::store::StoreError;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::disk::Disk;
use crate::refiner::Refiner;
use crate::state::State;
use crate::tables::{Group, Table};
use crate::touched::{hour_of, times};

/// Events that are remembered: some megabytes of the state.
const MOST: usize = 10_000;

/// What is known of one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The lowest revision that was refused.
    pub revision: i32,
    /// The hours that refused corrections left.
    pub hours: BTreeSet<Group>,
    /// The objects of these corrections and of the sound moves that came after them.
    pub bronze: BTreeSet<String>,
}

impl Default for Refused {
    fn default() -> Self {
        Self { revision: i32::MAX, hours: BTreeSet::new(), bronze: BTreeSet::new() }
    }
}

impl Refused {
    pub(crate) fn join(&mut self, other: Self) {
        self.revision = self.revision.min(other.revision);
        self.hours.extend(other.hours);
        self.bronze.extend(other.bronze);
    }
}

/// A row of bronze that says where its event stood before.
#[derive(Clone, Copy, Debug)]
struct Correction {
    event_id: Uuid,
    revision: i32,
    event_us: i64,
    left_us: i64,
    broker_us: i64,
}

impl Correction {
    fn is_sound(&self) -> bool {
        is_possible(self.event_us, self.broker_us)
    }

    fn left_a_place(&self) -> bool {
        is_possible(self.left_us, self.broker_us)
    }

    fn id(&self) -> String {
        self.event_id.simple().to_string()
    }
}

/// What was taken up of ticks that are corrections.
#[derive(Debug, Default)]
pub struct Corrected {
    /// Objects with moves.
    pub moves: BTreeSet<String>,
    /// Objects with moves to an impossible time, or from one.
    pub refused: BTreeSet<String>,
}

/// Remembers refused corrections, and makes the hours that they left pending with everything that tells of it.
///
/// # Errors
/// When the store does not answer.
pub async fn follow(
    refiner: &Refiner,
    state: &mut State,
    etags: &HashMap<String, String>,
    corrected: Corrected,
) -> anyhow::Result<()> {
    let Corrected { mut moves, refused } = corrected;
    let (mut news, mut claimed) = (BTreeSet::new(), BTreeSet::new());
    for key in refused {
        let found = corrections_of(refiner, &key, etags).await?;
        // One that is refused and left no place tells nothing; a sound one from an impossible time may be told before the
        // refused one that led there.
        for found in found.into_iter().filter(|found| found.is_sound() != found.left_a_place()) {
            let id = found.id();
            if state.refused.len() >= MOST && !state.refused.contains_key(&id) {
                tracing::warn!(
                    id,
                    key,
                    "{key}: more than {MOST} events were moved to impossible times: {id} is not followed"
                );
                continue;
            }
            let known = state.refused.entry(id.clone()).or_default();
            if !found.is_sound() {
                known.revision = known.revision.min(found.revision);
                known.hours.insert(hour_of(found.left_us)?);
                // By a later clock the time may be possible: who moved the event on from it stands there.
                claimed.extend((found.event_us >= FIRST_US).then(|| hour_of(found.event_us).ok()).flatten());
            }
            known.bronze.insert(key.clone());
            news.insert(id);
        }
    }
    if state.refused.is_empty() {
        return Ok(());
    }
    for hour in claimed {
        moves.extend(state.pending.get(&hour).into_iter().flatten().cloned());
        let values = hour.partitions().into_iter().flatten().next().unwrap_or_default();
        match refiner.objects.made(&refiner.prefixes.key(Table::Ticks, &values)).await {
            Ok(made) => moves.extend(made.into_iter().flat_map(|made| made.inputs.into_keys())),
            Err(error) if error.is::<StoreError>() => return Err(error),
            Err(error) => tracing::warn!(%hour, "{hour} does not say what it was made from: {error:#}"),
        }
    }
    for key in moves {
        for found in corrections_of(refiner, &key, etags).await?.into_iter().filter(Correction::is_sound) {
            let id = found.id();
            if let Some(known) = state.refused.get_mut(&id).filter(|known| found.revision > known.revision) {
                known.bronze.insert(key.clone());
                news.insert(id);
            }
        }
    }
    for known in news.iter().filter_map(|id| state.refused.get(id)) {
        for hour in &known.hours {
            state.pending.entry(hour.clone()).or_default().extend(known.bronze.iter().cloned());
        }
    }
    Ok(())
}

/// The corrections in one object; none where it is gone or damaged, which whoever makes something of it says.
async fn corrections_of(
    refiner: &Refiner,
    key: &str,
    etags: &HashMap<String, String>,
) -> anyhow::Result<Vec<Correction>> {
    let read = async {
        let read = refiner.spool.read(&refiner.objects, key, etags.get(key).map(String::as_str)).await?;
        let Some((_, bytes)) = read else { return Ok(Vec::new()) };
        tokio::task::spawn_blocking(move || corrections(bytes)).await?
    };
    match read.await {
        Err(error) if error.is::<StoreError>() || error.is::<Disk>() => Err(error),
        Err(error) => {
            tracing::warn!(key, "the corrections in {key} cannot be read: {error:#}");
            Ok(Vec::new())
        }
        found => found,
    }
}

/// The hours that refused corrections in one object left.
pub(crate) fn hours_left(bronze: Bytes) -> anyhow::Result<BTreeSet<Group>> {
    let left = corrections(bronze)?.into_iter().filter(|found| !found.is_sound() && found.left_a_place());
    left.map(|found| hour_of(found.left_us)).collect()
}

fn corrections(bronze: Bytes) -> anyhow::Result<Vec<Correction>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bronze)?;
    let columns = ["event_id", "revision", "event_time", "previous_event_time", "broker_time"];
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns);
    let mut found = Vec::new();
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let (events, left) = (times(&batch, "event_time")?, times(&batch, "previous_event_time")?);
        let brokers = times(&batch, "broker_time")?;
        let ids =
            batch.column_by_name("event_id").and_then(|ids| ids.as_fixed_size_binary_opt()).context("no event_id")?;
        let revisions =
            batch.column_by_name("revision").and_then(|revisions| revisions.as_primitive_opt::<Int32Type>());
        let revisions = revisions.context("no revision")?;
        for row in (0..batch.num_rows()).filter(|row| ids.is_valid(*row)) {
            let (Some(event_us), Some(left_us), Some(broker_us)) = (events[row], left[row], brokers[row]) else {
                continue;
            };
            let event_id = Uuid::from_slice(ids.value(row))?;
            found.push(Correction { event_id, revision: revisions.value(row), event_us, left_us, broker_us });
        }
    }
    Ok(found)
}
