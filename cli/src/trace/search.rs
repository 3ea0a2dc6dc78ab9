//! Where an event is that is known by its id alone. Postgres keeps the coordinates; where it does not have the event, silver of
//! the hours that were named, then the topic between those times. Must never happen here: a search of everything that nobody
//! asked for, or a search that is not told of.

use std::ops::Range;

use anyhow::anyhow;
use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use pipeline::misconfigured;
use pipeline::store::Store;
use pipeline::topics;
use uuid::Uuid;

use super::lake;
use super::objects::{Row, with_id};
use super::postgres;
use super::topic::offsets;
use super::way::Way;
use super::world::World;
use crate::audit::refined::{HOUR_US, ticks_key};
use crate::dlq::Coordinates;
use crate::output::Progress;

/// Hours of silver that are opened at once.
const AT_ONCE: usize = 4;

/// The coordinates of the record that stands for the event.
///
/// # Errors
/// When it is nowhere: what was searched, and what was not.
pub async fn event(
    world: &mut World,
    id: Uuid,
    times: Option<&Range<i64>>,
    way: &mut Way,
) -> anyhow::Result<Coordinates> {
    let at = |partition, offset| Coordinates { topic: topics::TICKS.to_owned(), partition, offset };
    let mut not_asked = Vec::new();
    match &mut world.database {
        Err(reason) => not_asked.push(format!("Postgres ({reason})")),
        Ok(connection) => {
            let (found, days) = postgres::find(connection, id, times).await?;
            let of = times.map_or_else(
                || match days {
                    1 => "one day".to_owned(),
                    days => format!("{days} days, the newest first"),
                },
                said,
            );
            way.searched.push(format!("Postgres: ticks of {of}"));
            if let Some(found) = found {
                return Ok(at(found.kafka_partition, found.kafka_offset));
            }
        }
    }
    let Some(times) = times else {
        not_asked.push("the lake and the topic (--around TIME or --since says where to look)".to_owned());
        return Err(unknown(world, id, way, &not_asked));
    };
    match &world.store {
        Err(reason) => not_asked.push(format!("the lake ({reason})")),
        Ok(store) => {
            let (found, hours) = in_silver(store, id, times).await?;
            way.searched.push(format!("silver: {hours} hours, of {}", said(times)));
            if let Some(place) = found {
                return Ok(at(place.0, place.1));
            }
        }
    }
    match &world.broker {
        Err(reason) => not_asked.push(format!("the topic ({reason})")),
        Ok(broker) => {
            let (from, until) = (times.start.div_euclid(1000), times.end.div_euclid(1000));
            let stretches = broker.between(topics::TICKS, from, Some(until)).await?;
            let count = offsets(&stretches);
            way.searched.push(format!("{}: {count} offsets that the broker took in {}", topics::TICKS, said(times)));
            let found = broker.ticks_of(id, &stretches, world.registry.clone()).await?;
            // The highest revision, and of equal ones the first.
            let best = found.into_iter().rev().max_by_key(|(_, _, tick)| tick.revision);
            if let Some((place, ..)) = best {
                return Ok(place);
            }
        }
    }
    Err(unknown(world, id, way, &not_asked))
}

/// Where nothing could be asked, or not all that was named, it may be there all the same.
fn unknown(world: &World, id: Uuid, way: &Way, not_asked: &[String]) -> anyhow::Error {
    let searched = if way.searched.is_empty() { "nothing".to_owned() } else { way.searched.join("; ") };
    let not_asked = match not_asked.is_empty() {
        true => String::new(),
        false => format!("; not searched: {}", not_asked.join(", ")),
    };
    let said = format!("no event {id} was found; searched: {searched}{not_asked}");
    if way.searched.is_empty() || !world.unreachable.is_empty() { misconfigured(said) } else { anyhow!(said) }
}

fn said(times: &Range<i64>) -> String {
    let text = |micros: i64| Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |t| t.to_string());
    format!("{} to {}", text(times.start), text(times.end))
}

async fn in_silver(store: &Store, id: Uuid, times: &Range<i64>) -> anyhow::Result<(Option<(i32, i64)>, usize)> {
    let first = times.start.div_euclid(HOUR_US);
    let hours: Vec<i64> = (first..=(times.end - 1).div_euclid(HOUR_US)).rev().map(|hour| hour * HOUR_US).collect();
    let mut progress = Progress::default();
    let look = async |hour: i64| {
        let select = move |batch: &RecordBatch| with_id(batch, "event_id", id);
        lake::rows(store, &ticks_key(hour), &["event_id", "kafka_partition", "kafka_offset"], select).await
    };
    let mut looks = std::pin::pin!(stream::iter(hours).map(look).buffered(AT_ONCE));
    let mut looked = 0;
    while let Some(rows) = looks.try_next().await? {
        looked += 1;
        progress.tell(|| format!("{looked} hours of silver looked through"));
        let place =
            |row: &Row| Some((i32::try_from(row.number("kafka_partition")?).ok()?, row.number("kafka_offset")?));
        if let Some(place) = rows.iter().flatten().find_map(place) {
            return Ok((Some(place), looked));
        }
    }
    Ok((None, looked))
}
