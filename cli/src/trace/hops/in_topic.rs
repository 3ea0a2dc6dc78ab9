//! The hops that the topics tell: the source's own time, the payload, the record, its dead letters.

use arrow::array::RecordBatch;
use jiff::Timestamp;
use pipeline::events::{EventTimeOrigin, PriceTick};
use pipeline::store::Store;
use pipeline::topics;

use super::super::objects::{Row, with_id};
use super::super::topic::Found;
use super::super::way::{Hop, State, Way};
use super::super::world::World;
use super::super::{Subject, lake};
use super::without_tick;
use crate::dlq::{Marks, Place};

const OF_PAYLOADS: &[&str] = &[
    "payload_id",
    "request",
    "status",
    "received_at",
    "part",
    "parts",
    "kafka_partition",
    "kafka_offset",
    "broker_time",
];
const HOUR_US: i64 = crate::audit::refined::HOUR_US;

pub fn source(subject: &Subject, way: &mut Way) {
    let Ok(tick) = &subject.tick else { return without_tick("source", way) };
    let says = match tick.event_time_origin {
        EventTimeOrigin::Source => "the source's own time".to_owned(),
        EventTimeOrigin::Received => "the source tells no time: when it was received".to_owned(),
    };
    let place = format!("{} {}", tick.source, tick.source_symbol);
    way.add_at(Hop::new("source", State::Found, place, says), "event_time", tick.event_time, None);
}

pub async fn payload(world: &World, subject: &Subject, way: &mut Way) -> anyhow::Result<()> {
    let Ok(tick) = &subject.tick else {
        without_tick("payload", way);
        return Ok(());
    };
    let (mut state, mut says) = (State::NotAsked, format!("payload {}", tick.payload_id));
    if let Ok(broker) = &world.broker {
        let (found, looked) = broker.payload(tick, subject.broker_ms, world.registry.clone()).await?;
        if let Some(found) = found {
            let hop = Hop::new("payload", State::Found, found.place.to_string(), of_topic(&found));
            way.add_at(hop, "received_at", found.payload.received_at, Some("source"));
            return Ok(());
        }
        let received_ms = tick.received_at.div_euclid(1000);
        let is_cut = broker.oldest_payload_ms().await?.is_some_and(|oldest_ms| oldest_ms > received_ms);
        state = if looked == 0 && is_cut { State::BeyondRetention } else { State::NotThere };
        says.push_str(&format!(
            ": not among {looked} offsets around its time; --payloads of the producer says whose are kept"
        ));
    }
    if let Ok(store) = &world.store
        && state != State::NotThere
    {
        if let Some((key, row)) = in_bronze(store, tick).await? {
            let text = |column| row.text(column).unwrap_or_default();
            let place = format!("{}:{}:{}", topics::PAYLOADS, text("kafka_partition"), text("kafka_offset"));
            let told = of_payload(&text("request"), row.text("status").as_deref(), &text("part"), &text("parts"));
            let hop = Hop::new("payload", State::Found, place, format!("{told}; {} of {key}", row.place()));
            way.add_at(hop, "received_at", row.number("received_at").unwrap_or(tick.received_at), Some("source"));
            return Ok(());
        }
        says.push_str("; it is not in the bronze of its hour either");
        state = if state == State::NotAsked { State::NotThere } else { state };
    }
    way.add_at(Hop::new("payload", state, topics::PAYLOADS, says), "received_at", tick.received_at, Some("source"));
    Ok(())
}

fn of_topic(found: &Found) -> String {
    let payload = &found.payload;
    let status = payload.status.map(|status| status.to_string());
    let after_ms = found.broker_ms - payload.received_at.div_euclid(1000);
    let told = of_payload(&payload.request, status.as_deref(), &payload.part.to_string(), &payload.parts.to_string());
    format!("{told}; the broker took it {after_ms} ms later")
}

fn of_payload(request: &str, status: Option<&str>, part: &str, parts: &str) -> String {
    let status = status.map_or_else(|| "a frame".to_owned(), |status| format!("status {status}"));
    let parts = if parts == "1" { String::new() } else { format!(", part {part} of {parts}") };
    format!("{request}: {status}{parts}")
}

/// The payload in the bronze of the hour in which it was received, and the hour after.
async fn in_bronze(store: &Store, tick: &PriceTick) -> anyhow::Result<Option<(String, Row)>> {
    let hour = tick.received_at.div_euclid(HOUR_US) * HOUR_US;
    // An object stands under the hour of its first record.
    for start in [hour, hour - HOUR_US, hour + HOUR_US] {
        let Ok(time) = Timestamp::from_microsecond(start) else { continue };
        let prefix = format!("bronze/payloads/{}/", time.strftime("dt=%Y-%m-%d/hour=%H"));
        let mut after = None;
        loop {
            let listed = store.list(&prefix, after.as_deref()).await?;
            let Some(last) = listed.last() else { break };
            after = Some(last.key.clone());
            for object in listed {
                let id = tick.payload_id;
                let select = move |batch: &RecordBatch| with_id(batch, "payload_id", id);
                let rows = lake::rows(store, &object.key, OF_PAYLOADS, select).await?;
                if let Some(row) = rows.into_iter().flatten().min_by_key(|row| row.number("part")) {
                    return Ok(Some((object.key, row)));
                }
            }
        }
    }
    Ok(None)
}

pub fn tick(world: &World, subject: &Subject, way: &mut Way) {
    let (state, mut says) = match (&world.broker, subject.removed_before) {
        (Err(reason), _) => (State::NotAsked, reason.clone()),
        (Ok(_), Some(start)) => (State::BeyondRetention, format!("the log begins at offset {start} now")),
        (Ok(_), None) => (State::Found, String::new()),
    };
    let more = match &subject.tick {
        Ok(tick) => {
            let back = if tick.retracted { ", taken back" } else { "" };
            format!("revision {}: {} {} {}{back}", tick.revision, tick.symbol, tick.kind.as_str(), tick.price)
        }
        Err(reason) => format!("it does not decode: {reason}"),
    };
    says = if says.is_empty() { more } else { format!("{more}; {says}") };
    says.extend(subject.trace_id.iter().map(|id| format!("; trace {id}")));
    let hop = Hop::new("tick", state, subject.place.to_string(), says);
    way.add_at(hop, "broker_time", subject.broker_ms * 1000, Some("payload"));
}

pub async fn letters(world: &World, subject: &Subject, way: &mut Way) -> anyhow::Result<()> {
    let dlq = topics::dlq(&subject.place.topic);
    let (broker, topic_id) = match (&world.broker, subject.topic_id) {
        (Ok(broker), Some(topic_id)) => (broker, topic_id),
        (Err(reason), _) => {
            way.add(Hop::new("dead_letter", State::NotAsked, dlq, reason.clone()));
            return Ok(());
        }
        (Ok(_), None) => return Ok(()),
    };
    if subject.letters.is_empty() {
        way.add(Hop::new("dead_letter", State::None, dlq, "no consumer has refused it since"));
        return Ok(());
    }
    let marks = Marks::read(&broker.kafka, &broker.metadata).await?;
    for letter in &subject.letters {
        let mut says =
            format!("refused by {}: {}; {}", letter.group, letter.reason, marks.state(letter, topic_id).as_str());
        let place = Place { topic_id, partition: subject.place.partition, offset: subject.place.offset };
        if let Some(again) = marks.redriven(place) {
            says.push_str(&format!(
                ": it stands again at {}:{}:{}",
                subject.place.topic, again.partition, again.offset
            ));
        }
        let hop = Hop::new("dead_letter", State::Found, dlq.clone(), says);
        way.add_at(hop, "broker_time", letter.at_ms * 1000, Some("tick"));
    }
    Ok(())
}
