//! The hops in Postgres: the row, the candles, the latest price, the alerts; these from their topic where no database is named.

use pipeline::events::PriceTick;
use pipeline::topics;
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::postgres::{self, Row};
use super::super::way::{Hop, State, Way};
use super::super::world::World;
use super::{Others, Subject, at, time, without_tick};
use crate::audit::database::{horizon, positions};

pub async fn row_and_candles(
    world: &mut World,
    subject: &Subject,
    others: &Others,
    way: &mut Way,
) -> anyhow::Result<()> {
    let connection = match &mut world.database {
        Ok(connection) => connection,
        Err(reason) => {
            way.add(Hop::new("postgres", State::NotAsked, "ticks", reason.clone()));
            return Ok(());
        }
    };
    let Ok(tick) = &subject.tick else {
        without_tick("postgres", way);
        return Ok(());
    };
    let mut times = vec![tick.event_time];
    times.extend(tick.previous_event_time);
    times.extend(others.records.iter().map(|other| other.event_us));
    let rows = postgres::rows(connection, tick.event_id, &times).await?;
    let own = (subject.place.partition, subject.place.offset);
    let Some(row) = rows.iter().find(|row| (row.kafka_partition, row.kafka_offset) == own).or(rows.first()) else {
        let (state, says) = not_in_postgres(connection, subject, tick, others).await?;
        way.add(Hop::new("postgres", state, "ticks", says));
        return Ok(());
    };
    tell_row(row, own, way);
    if row.retracted {
        return Ok(());
    }
    candles(connection, tick, row, way).await?;
    latest(connection, tick, way).await
}

fn tell_row(row: &Row, own: (i32, i64), way: &mut Way) {
    let Row { revision, price, symbol, kafka_partition, kafka_offset, .. } = row;
    let mut says = format!("revision {revision}: {symbol} {price}");
    let state = if (*kafka_partition, *kafka_offset) == own {
        State::Found
    } else {
        says.push_str(&format!(", of {}:{kafka_partition}:{kafka_offset}", topics::TICKS));
        State::Replaced
    };
    if row.retracted {
        says.push_str(", taken back");
    }
    way.add_at(Hop::new("postgres", state, row.stands_in.clone(), says), "inserted_at", row.inserted_us, Some("tick"));
}

/// Why there is no row.
async fn not_in_postgres(
    connection: &mut PgConnection,
    subject: &Subject,
    tick: &PriceTick,
    others: &Others,
) -> anyhow::Result<(State, String)> {
    let place = &subject.place;
    if let Some(from) = horizon(connection).await?.filter(|from| tick.event_time < *from) {
        return Ok((State::BeyondRetention, format!("ticks are kept from {} on", time(from))));
    }
    if let Some(topic_id) = subject.topic_id {
        let position = positions(connection, topic_id).await?.get(&place.partition).copied().unwrap_or(0);
        if place.offset >= position {
            return Ok((State::NotYet, format!("consumer-db is at offset {position}")));
        }
    }
    if !subject.letters.is_empty() {
        let groups: Vec<&str> = subject.letters.iter().map(|letter| letter.group.as_str()).collect();
        return Ok((State::None, format!("it is a dead letter of {}", groups.join(", "))));
    }
    Ok(match others.winner(subject) {
        Some(winner) => (State::Replaced, format!("revision {} of {} wins over it", winner.revision, at(winner))),
        None => (State::NotThere, "it has no row of the event".to_owned()),
    })
}

async fn candles(connection: &mut PgConnection, tick: &PriceTick, row: &Row, way: &mut Way) -> anyhow::Result<()> {
    let basis = tick.kind.as_str();
    let found = postgres::candles(connection, &row.symbol, &tick.source, basis, row.event_us).await?;
    if found.is_empty() {
        way.add(Hop::new("candle", State::NotThere, "candles", "there is no candle of its time"));
    }
    for candle in found {
        let complete = if candle.complete { "complete" } else { "a gap touches it" };
        let says = format!(
            "{} from {}: open {} high {} low {} close {}, {} ticks, {complete}",
            candle.timeframe, candle.bucket, candle.open, candle.high, candle.low, candle.close, candle.ticks
        );
        way.add_at(
            Hop::new("candle", State::Found, "candles", says),
            "updated_at",
            candle.updated_us,
            Some("postgres"),
        );
    }
    Ok(())
}

async fn latest(connection: &mut PgConnection, tick: &PriceTick, way: &mut Way) -> anyhow::Result<()> {
    let hop = |state, says: String| Hop::new("latest", state, "latest_prices", says);
    match postgres::latest(connection, &tick.symbol, &tick.source).await? {
        None => way.add(hop(State::None, format!("there is none of {} at {}", tick.symbol, tick.source))),
        Some(latest) if latest.event_id == tick.event_id => {
            let says = format!("it is the latest price, revision {}: {}", latest.revision, latest.price);
            way.add_at(hop(State::Found, says), "updated_at", latest.updated_us, Some("postgres"));
        }
        Some(latest) => {
            let says =
                format!("a later one is: {} at {}, event {}", latest.price, time(latest.event_us), latest.event_id);
            way.add(hop(State::None, says));
        }
    }
    Ok(())
}

pub async fn alerts(world: &mut World, subject: &Subject, way: &mut Way) -> anyhow::Result<()> {
    let id = subject.tick.as_ref().map_or(Uuid::nil(), |tick| tick.event_id);
    let mut told: Vec<(String, String, i64)> = Vec::new();
    let asked = match (&mut world.database, &world.broker) {
        (Ok(connection), _) => {
            for alert in postgres::alerts(connection, id, &subject.place).await? {
                let place = format!("{}:{}:{}", topics::ALERTS, alert.kafka_partition, alert.kafka_offset);
                told.push((place, format!("{} {}: {}", alert.rule, alert.state, alert.message), alert.fired_us));
            }
            "alerts"
        }
        (Err(_), Ok(broker)) => {
            let found = broker.alerts(&subject.place, id, subject.broker_ms, world.registry.clone()).await?;
            for (place, alert) in found {
                let says = format!("{} {}: {}", alert.rule, alert.state.as_str(), alert.message);
                told.push((place.to_string(), says, alert.fired_at));
            }
            topics::ALERTS
        }
        (Err(reason), Err(_)) => {
            way.add(Hop::new("alert", State::NotAsked, "alerts", reason.clone()));
            return Ok(());
        }
    };
    if told.is_empty() {
        way.add(Hop::new("alert", State::None, asked, "none names it"));
    }
    for (place, says, fired_us) in told {
        way.add_at(Hop::new("alert", State::Found, place, says), "fired_at", fired_us, Some("tick"));
    }
    Ok(())
}
