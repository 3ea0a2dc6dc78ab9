//! The hops in the lake: raw, bronze, silver, and the candles of gold.

use anyhow::Context;
use arrow::array::RecordBatch;
use pipeline::events::PriceTick;
use pipeline::store::Store;
use pipeline::topics;

use super::super::lake::{self, BronzeTold, RawTold};
use super::super::objects::{Row, with_id, with_number, with_text};
use super::super::way::{Hop, State, Way};
use super::super::world::World;
use super::{Others, Subject, at, time, without_tick};
use crate::audit::refined::rules::{TIMEFRAMES, is_sound};
use crate::audit::refined::{self, HOUR_US, day_and_hour, object, ticks_key};

const OF_SILVER: &[&str] = &[
    "event_id",
    "revision",
    "symbol",
    "source",
    "kind",
    "event_time",
    "kafka_partition",
    "kafka_offset",
    "copies",
    "revisions",
];
const OF_CANDLES: &[&str] =
    &["symbol", "source", "price_basis", "bucket", "open", "high", "low", "close", "ticks", "complete"];

pub async fn raw(world: &World, subject: &Subject, way: &mut Way) -> anyhow::Result<()> {
    let prefix = format!("raw/{}/", subject.place.topic);
    match (&world.store, &subject.raw) {
        (Err(reason), _) => way.add(Hop::new("raw", State::NotAsked, prefix, reason.clone())),
        (Ok(_), None) => way.add(Hop::new("raw", State::NotAsked, prefix, "")),
        (Ok(store), Some(RawTold::There(raw))) => {
            let count = raw.link.rows.map_or(0, |rows| rows.count);
            let says = format!("{}, of {count} records from offset {}", raw.row.place(), raw.link.start);
            stored(store, Hop::new("raw", State::Found, raw.key.clone(), says), "tick", way).await?;
        }
        (Ok(_), Some(RawTold::NotYet(why))) => way.add(Hop::new("raw", State::NotYet, prefix, why.clone())),
        (Ok(_), Some(RawTold::Lost(why))) => way.add(Hop::new("raw", State::BeyondRetention, prefix, why.clone())),
        (Ok(_), Some(RawTold::Missing(why))) => way.add(Hop::new("raw", State::NotThere, prefix, why.clone())),
    }
    Ok(())
}

/// With the time at which the object was last written.
async fn stored(store: &Store, hop: Hop, after: &'static str, way: &mut Way) -> anyhow::Result<()> {
    match store.modified_at(&hop.place).await? {
        Some(at) => way.add_at(hop, "last_modified", at.as_microsecond(), Some(after)),
        None => way.add(hop),
    }
    Ok(())
}

pub async fn bronze(world: &World, subject: &Subject, way: &mut Way) -> anyhow::Result<()> {
    let (store, raw) = match (&world.store, &subject.raw) {
        (Ok(store), Some(RawTold::There(raw))) => (store, raw),
        (Err(reason), _) => {
            way.add(Hop::new("bronze", State::NotAsked, "bronze/ticks/", reason.clone()));
            return Ok(());
        }
        (Ok(_), Some(RawTold::Lost(_))) => {
            way.add(Hop::new("bronze", State::None, "bronze/ticks/", "raw does not have it"));
            return Ok(());
        }
        (Ok(_), _) => {
            way.add(Hop::new("bronze", State::NotYet, "bronze/ticks/", "raw comes first"));
            return Ok(());
        }
    };
    let (key, told) = lake::bronze(store, "ticks", &subject.place, raw).await?;
    match told {
        BronzeTold::There(row) => stored(store, Hop::new("bronze", State::Found, key, row.place()), "raw", way).await?,
        BronzeTold::LeftOut(reason) => {
            way.add(Hop::new("bronze", State::None, key, format!("left out, since it does not decode: {reason}")));
        }
        // Its writer makes bronze before it goes on: the newest object's may be under way.
        BronzeTold::NotThere(why) if is_newest(store, raw).await? => {
            way.add(Hop::new("bronze", State::NotYet, key, format!("{why}; raw is the chain's newest object")));
        }
        BronzeTold::NotThere(why) => way.add(Hop::new("bronze", State::NotThere, key, why)),
    }
    Ok(())
}

async fn is_newest(store: &Store, raw: &lake::Raw) -> anyhow::Result<bool> {
    let folder = raw.key.rsplit_once('/').map_or("", |(folder, _)| folder);
    let after = store.list(&format!("{folder}/"), Some(&raw.key)).await?;
    Ok(!after.iter().any(|listed| listed.key.ends_with(".parquet")))
}

pub async fn silver_and_gold(
    world: &World,
    subject: &Subject,
    refiner: Option<&refined::State>,
    others: &Others,
    way: &mut Way,
) -> anyhow::Result<()> {
    let Ok(tick) = &subject.tick else {
        without_tick("silver", way);
        return Ok(());
    };
    let key = ticks_key(tick.event_time.div_euclid(HOUR_US) * HOUR_US);
    let (store, refiner) = match (&world.store, refiner) {
        (Err(reason), _) => {
            way.add(Hop::new("silver", State::NotAsked, key, reason.clone()));
            return Ok(());
        }
        (Ok(_), None) => {
            way.add(Hop::new("silver", State::NotYet, key, "no refiner has been at work on this lake"));
            return Ok(());
        }
        (Ok(store), Some(refiner)) => (store, refiner),
    };
    let id = tick.event_id;
    let select = move |batch: &RecordBatch| with_id(batch, "event_id", id);
    let rows = lake::rows(store, &key, OF_SILVER, select).await?;
    let Some(row) = rows.into_iter().flatten().next() else {
        let (state, says) = not_in_silver(subject, tick, refiner, others, &key);
        way.add(Hop::new("silver", state, key, says));
        return Ok(());
    };
    let number = |column: &str| row.number(column).unwrap_or_default();
    let place = &subject.place;
    let stands = (number("kafka_partition"), number("kafka_offset"));
    let (state, mut says) = if stands == (i64::from(place.partition), place.offset) {
        (State::Found, row.place())
    } else {
        let revision = number("revision");
        let other = format!("{}:{}:{}", topics::TICKS, stands.0, stands.1);
        (State::Replaced, format!("{}: revision {revision} of {other} stands", row.place()))
    };
    let (copies, revisions) = (number("copies"), number("revisions"));
    if copies > 1 {
        says.push_str(&format!(", of {copies} records in {revisions} revisions"));
    }
    stored(store, Hop::new("silver", state, key.clone(), says), "bronze", way).await?;
    // The candles count the row that stands, whichever record that is of.
    gold(store, &row, refiner, &key, way).await
}

/// Why silver has no row of the event.
fn not_in_silver(
    subject: &Subject,
    tick: &PriceTick,
    refiner: &refined::State,
    others: &Others,
    key: &str,
) -> (State, String) {
    let place = &subject.place;
    if !refiner.has_taken(&place.topic, place.partition, place.offset) {
        let cursor = refiner.cursor(&place.topic, place.partition).unwrap_or(0);
        return (State::NotYet, format!("the refiner is at offset {cursor}"));
    }
    if refiner.waits_for_object(key) {
        return (State::NotYet, "the refiner is to make it again".to_owned());
    }
    if !is_sound(tick.event_time, subject.broker_ms * 1000) {
        return (State::None, "no market had that time: silver/quarantined_ticks has it".to_owned());
    }
    if let Some(winner) = others.winner(subject) {
        let what = match (winner.retracted, winner.event_us == tick.event_time) {
            (true, _) => "takes it back".to_owned(),
            (false, false) => format!("has it at {}", time(winner.event_us)),
            (false, true) => "stands".to_owned(),
        };
        return (State::Replaced, format!("revision {} of {} {what}", winner.revision, at(winner)));
    }
    if tick.retracted {
        return (State::None, "it takes the event back: silver has no such rows".to_owned());
    }
    (State::NotThere, "it has no row of the event".to_owned())
}

async fn gold(
    store: &Store,
    stands: &Row,
    refiner: &refined::State,
    silver: &str,
    way: &mut Way,
) -> anyhow::Result<()> {
    let etag = store.head(silver).await?.map(|head| head.etag);
    let event_us = stands.number("event_time").context("a row of silver has a time")?;
    let (day, _) = day_and_hour(event_us.div_euclid(HOUR_US) * HOUR_US);
    for (timeframe, width) in TIMEFRAMES {
        let key = format!("gold/candles/timeframe={timeframe}/dt={day}/part.parquet");
        let bucket = event_us.div_euclid(width) * width;
        let [symbol, source, basis] =
            ["symbol", "source", "kind"].map(|column| stands.text(column).unwrap_or_default());
        let select = move |batch: &RecordBatch| {
            let rows = with_number(batch, "bucket", bucket)?;
            let rows = with_text(batch, rows, "symbol", &symbol)?;
            let rows = with_text(batch, rows, "source", &source)?;
            with_text(batch, rows, "price_basis", &basis)
        };
        let row = lake::rows(store, &key, OF_CANDLES, select).await?.into_iter().flatten().next();
        let made = object::read(store, &key, false).await?;
        let is_of_this = matches!(&made, Some(Ok(made)) if made.inputs.get(silver) == etag.as_ref());
        let waits = !is_of_this && (refiner.waits_for_object(&key) || made.is_some());
        let Some(row) = row else {
            let (state, says) = if waits || refiner.waits_for_object(&key) {
                (State::NotYet, "it is to be made again")
            } else {
                (State::NotThere, "it has no such candle")
            };
            way.add(Hop::new("gold", state, key, says));
            continue;
        };
        let text = |column: &str| row.text(column).unwrap_or_default();
        let complete = if text("complete") == "true" { "complete" } else { "a gap touches it" };
        let says = format!(
            "{}: {timeframe} from {}, open {} high {} low {} close {}, {} ticks, {complete}",
            row.place(),
            time(bucket),
            text("open"),
            text("high"),
            text("low"),
            text("close"),
            text("ticks")
        );
        let (state, says) = match is_of_this {
            true => (State::Found, says),
            false => (State::NotYet, format!("{says}; made of the hour as it was before")),
        };
        stored(store, Hop::new("gold", state, key, says), "silver", way).await.context("gold")?;
    }
    Ok(())
}
