//! The hops of one record, in order: each place that it must come to is asked whether it has. What stands in for the record
//! there, or keeps it away, is told beside it. Must never happen here: "not there" for what is under way, was taken back, or
//! was refused with a dead letter.

mod in_database;
mod in_lake;
mod in_topic;

use std::collections::BTreeMap;
use std::ops::Range;

use pipeline::events::PriceTick;
use pipeline::topics;

use super::Subject;
use super::lake::{self, Other};
use super::topic::offsets;
use super::way::{Hop, State, Way};
use super::world::World;
use crate::audit::refined;
use crate::dlq::Coordinates;

/// Offsets that are read to find other records of an event, where nobody said from when to when.
const MOST_OFFSETS: i64 = 1_000_000;
/// What a broker's clock and the record's may be apart.
const CLOCKS_MS: i64 = 60_000;

pub async fn follow(
    world: &mut World,
    subject: &Subject,
    times: Option<&Range<i64>>,
    way: &mut Way,
) -> anyhow::Result<()> {
    let refiner = match &world.store {
        Ok(store) => refined::State::read(store).await?,
        Err(_) => None,
    };
    let others = match &subject.tick {
        Ok(tick) => others(world, subject, tick, times, refiner.as_ref()).await?,
        Err(_) => Others::default(),
    };
    in_topic::source(subject, way);
    in_topic::payload(world, subject, way).await?;
    in_topic::tick(world, subject, way);
    in_lake::raw(world, subject, way).await?;
    in_lake::bronze(world, subject, way).await?;
    in_lake::silver_and_gold(world, subject, refiner.as_ref(), &others, way).await?;
    in_database::row_and_candles(world, subject, &others, way).await?;
    in_database::alerts(world, subject, way).await?;
    in_topic::letters(world, subject, way).await?;
    tell_others(subject, &others, way);
    Ok(())
}

/// The other records of the event, and how they were looked for.
#[derive(Default)]
struct Others {
    records: Vec<Other>,
    searched: Vec<String>,
    not_searched: Vec<String>,
}

impl Others {
    /// The record that wins over this one, if any does: the higher revision, of equal ones the first that the broker took.
    fn winner(&self, subject: &Subject) -> Option<&Other> {
        let tick = subject.tick.as_ref().ok()?;
        let rank = |revision: i32, broker_us: i64, partition: i32, offset: i64| {
            (-i64::from(revision), broker_us, partition, offset)
        };
        let place = &subject.place;
        let own = rank(tick.revision, subject.broker_ms * 1000, place.partition, place.offset);
        let of = |other: &&Other| rank(other.revision, other.broker_us, other.partition, other.offset);
        self.records.iter().min_by_key(of).filter(|other| of(other) < own)
    }
}

/// `market.ticks.v1:2:1234`
fn at(other: &Other) -> Coordinates {
    Coordinates { topic: topics::TICKS.to_owned(), partition: other.partition, offset: other.offset }
}

/// Silver says which bronze touches the event's hours; what the refiner has not come to is read from the topic.
async fn others(
    world: &World,
    subject: &Subject,
    tick: &PriceTick,
    times: Option<&Range<i64>>,
    refiner: Option<&refined::State>,
) -> anyhow::Result<Others> {
    let mut found = Others::default();
    let mut known: BTreeMap<(i32, i64), Other> = BTreeMap::new();
    let own: Vec<i64> = [Some(tick.event_time), tick.previous_event_time].into_iter().flatten().collect();
    let in_bronze = match (&world.store, refiner) {
        (Ok(store), Some(_)) => lake::others(store, tick.event_id, &own).await?,
        _ => None,
    };
    if let Some((records, objects)) = &in_bronze {
        found.searched.push(format!("{objects} bronze objects of its hours"));
        known.extend(records.iter().map(|other| ((other.partition, other.offset), other.clone())));
    }
    match &world.broker {
        Err(reason) => found.not_searched.push(format!("the topic ({reason})")),
        Ok(broker) => {
            let (from_ms, until_ms) = match times {
                Some(times) => (times.start.div_euclid(1000), Some(times.end.div_euclid(1000))),
                None => (subject.broker_ms - CLOCKS_MS, None),
            };
            let mut stretches = broker.between(topics::TICKS, from_ms, until_ms).await?;
            if let (Some(refiner), true) = (refiner, in_bronze.is_some()) {
                for stretch in &mut stretches {
                    stretch.start = refiner.cursor(topics::TICKS, stretch.partition).unwrap_or(0).max(stretch.start);
                }
            }
            let count = offsets(&stretches);
            if count > MOST_OFFSETS && times.is_none() {
                found.not_searched.push(format!("{count} offsets of the topic (--since or --around says which)"));
            } else {
                found.searched.push(format!("{count} offsets of the topic"));
                let records = broker.ticks_of(tick.event_id, &stretches, world.registry.clone()).await?;
                for (place, broker_ms, tick) in records {
                    known.insert((place.partition, place.offset), other(&place, broker_ms, &tick));
                }
            }
        }
    }
    known.remove(&(subject.place.partition, subject.place.offset));
    found.records = known.into_values().collect();
    Ok(found)
}

fn other(place: &Coordinates, broker_ms: i64, tick: &PriceTick) -> Other {
    Other {
        partition: place.partition,
        offset: place.offset,
        revision: tick.revision,
        event_us: tick.event_time,
        previous_us: tick.previous_event_time,
        broker_us: broker_ms * 1000,
        price: tick.price.to_string(),
        symbol: tick.symbol.clone(),
        retracted: tick.retracted,
    }
}

fn tell_others(subject: &Subject, others: &Others, way: &mut Way) {
    let Ok(tick) = &subject.tick else { return };
    for other in &others.records {
        let hop = if other.revision == tick.revision { "repetition" } else { "correction" };
        let mut says = format!("revision {}: {} {}", other.revision, other.symbol, other.price);
        if other.event_us != tick.event_time {
            says.push_str(&format!(", at {}", time(other.event_us)));
        }
        if other.retracted {
            says.push_str(", taken back");
        }
        let hop = Hop::new(hop, State::Found, at(other).to_string(), says);
        way.add_at(hop, "broker_time", other.broker_us, Some("tick"));
    }
    if others.records.is_empty() {
        let state = if others.searched.is_empty() { State::NotAsked } else { State::None };
        let mut says = format!("no other record of the event in {}", others.searched.join(" and "));
        if others.searched.is_empty() {
            says = "other records of the event were not looked for".to_owned();
        }
        if !others.not_searched.is_empty() {
            says.push_str(&format!("; not searched: {}", others.not_searched.join(", ")));
        }
        way.add(Hop::new("correction", state, topics::TICKS, says));
    }
}

/// Microseconds UTC, for people.
fn time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |time| time.to_string())
}

/// One hop for each thing that needs a tick, where the record is none.
fn without_tick(hop: &'static str, way: &mut Way) {
    way.add(Hop::new(hop, State::None, "", "the record does not decode"));
}
