//! What the topics tell: the record itself, the payload that it was read from, its dead letters, the alerts that name it. Each
//! is asked for by offset, or by the broker's times around the record's, never from a topic's beginning to its end. Must never
//! happen here: an answer of the broker's own retention taken for a record that never was.

use anyhow::Context;
use pipeline::codec::RecordType;
use pipeline::decode::{Alerts, Decoder, Payloads, Ticks};
use pipeline::events::{Alert, PayloadRecord, PriceTick};
use pipeline::records::Records;
use pipeline::registry::Registry;
use pipeline::stretches::{self, Stretch};
use pipeline::topics;
use uuid::Uuid;

use super::world::Broker;
use crate::dlq::{Coordinates, Letter, Place};

const WHEN_CUT: &str = "trace it again";
/// How far the clocks of two machines may be apart.
const CLOCKS_MS: i64 = 60_000;

/// What the topic has at an offset.
pub enum Told {
    Record(Records),
    /// Retention has removed it; the log begins here now.
    BeforeLog(i64),
    /// The log ends here.
    BeyondEnd(i64),
    /// A transaction's marker, or a record of one that was aborted.
    NeverDelivered,
}

/// A payload's record and where it stands.
pub struct Found {
    pub place: Coordinates,
    pub broker_ms: i64,
    pub payload: PayloadRecord,
}

impl Broker {
    pub async fn record(&self, place: &Coordinates) -> anyhow::Result<Told> {
        let Coordinates { topic, partition, offset } = place;
        let ends = self.cluster.ends(topic, *partition).await?;
        if *offset < ends.start {
            return Ok(Told::BeforeLog(ends.start));
        }
        if *offset >= ends.end {
            return Ok(Told::BeyondEnd(ends.end));
        }
        let stretch = Stretch { partition: *partition, start: *offset, end: offset + 1 };
        let mut found = None;
        stretches::read(&self.kafka, topic, &[stretch], WHEN_CUT, async |_, records| {
            found = Some(records);
            Ok(())
        })
        .await?;
        Ok(found.map_or(Told::NeverDelivered, Told::Record))
    }

    /// The offsets of a topic whose records the broker took from one time to another, milliseconds UTC; to its end where none
    /// is named.
    pub async fn between(&self, topic: &str, from_ms: i64, until_ms: Option<i64>) -> anyhow::Result<Vec<Stretch>> {
        let mut stretches = Vec::new();
        for &partition in self.metadata.topics.get(topic).iter().flat_map(|found| &found.partitions) {
            let start = self.cluster.offset_at(topic, partition, from_ms.max(0)).await?;
            let end = match until_ms {
                Some(until_ms) => self.cluster.offset_at(topic, partition, until_ms.max(0)).await?,
                None => self.cluster.ends(topic, partition).await?.end,
            };
            stretches.push(Stretch { partition, start, end });
        }
        Ok(stretches)
    }

    /// The ticks of these stretches of market.ticks.v1 that are of the event, with the broker's time.
    pub async fn ticks_of(
        &self,
        id: Uuid,
        stretches: &[Stretch],
        registry: Option<Registry>,
    ) -> anyhow::Result<Vec<(Coordinates, i64, PriceTick)>> {
        let mut decoder = Decoder::new(RecordType::PriceTick, registry);
        let mut found = Vec::new();
        stretches::read(&self.kafka, topics::TICKS, stretches, WHEN_CUT, async |partition, records| {
            let decoded = decoder.decode(records.values()).await?;
            let ticks = Ticks::new(&decoded.batch);
            for row in (0..ticks.len()).filter(|row| ticks.event_id(*row) == id) {
                let index = decoded.rows[row] as usize;
                let offset = records.offsets().value(index);
                let place = Coordinates { topic: topics::TICKS.to_owned(), partition, offset };
                found.push((place, records.timestamps_ms().value(index), ticks.get(row)));
            }
            Ok(())
        })
        .await?;
        Ok(found)
    }

    /// The first record of a payload, and how many offsets were looked through.
    pub async fn payload(
        &self,
        tick: &PriceTick,
        broker_ms: i64,
        registry: Option<Registry>,
    ) -> anyhow::Result<(Option<Found>, i64)> {
        // A payload is published as it is received. One that was spilled came with its ticks.
        let received_ms = tick.received_at.div_euclid(1000);
        let near = |ms: i64| (ms - CLOCKS_MS, ms + CLOCKS_MS);
        let mut windows = vec![near(received_ms)];
        if tick.revision == 0 && (broker_ms - received_ms).abs() > 2 * CLOCKS_MS {
            windows.push(near(broker_ms));
        }
        let mut decoder = Decoder::new(RecordType::Payload, registry);
        let (mut found, mut looked): (Option<Found>, i64) = (None, 0);
        for (from, until) in windows {
            let stretches = self.between(topics::PAYLOADS, from, Some(until)).await?;
            looked += offsets(&stretches);
            stretches::read(&self.kafka, topics::PAYLOADS, &stretches, WHEN_CUT, async |partition, records| {
                let decoded = decoder.decode(records.values()).await?;
                let payloads = Payloads::new(&decoded.batch);
                let rows = (0..payloads.len()).map(|row| (row, payloads.get(row)));
                for (row, payload) in rows.filter(|(_, payload)| payload.payload_id == tick.payload_id) {
                    let index = decoded.rows[row] as usize;
                    let offset = records.offsets().value(index);
                    let place = Coordinates { topic: topics::PAYLOADS.to_owned(), partition, offset };
                    let broker_ms = records.timestamps_ms().value(index);
                    if found.as_ref().is_none_or(|known| payload.part < known.payload.part) {
                        found = Some(Found { place, broker_ms, payload });
                    }
                }
                Ok(())
            })
            .await?;
            if found.is_some() {
                break;
            }
        }
        Ok((found, looked))
    }

    /// When the broker took the oldest payload that is left; `None` where there is none.
    pub async fn oldest_payload_ms(&self) -> anyhow::Result<Option<i64>> {
        let mut oldest = None::<i64>;
        for &partition in self.metadata.topics.get(topics::PAYLOADS).iter().flat_map(|found| &found.partitions) {
            let ends = self.cluster.ends(topics::PAYLOADS, partition).await?;
            let place = Coordinates { topic: topics::PAYLOADS.to_owned(), partition, offset: ends.start };
            if let Told::Record(records) = self.record(&place).await? {
                oldest = oldest.into_iter().chain([records.timestamps_ms().value(0)]).min();
            }
        }
        Ok(oldest)
    }

    /// The dead letters of a record, each group's once.
    pub async fn letters(&self, place: &Coordinates, topic_id: Uuid, broker_ms: i64) -> anyhow::Result<Vec<Letter>> {
        let dlq = topics::dlq(&place.topic);
        let stretches = self.between(&dlq, broker_ms - CLOCKS_MS, None).await?;
        let of = Place { topic_id, partition: place.partition, offset: place.offset };
        let mut letters: Vec<Letter> = Vec::new();
        let read = stretches::read(&self.kafka, &dlq, &stretches, WHEN_CUT, async |_, records| {
            for letter in (0..records.len()).filter_map(|row| Letter::read(&records, row)) {
                if letter.place == of && !letters.iter().any(|known| known.group == letter.group) {
                    letters.push(letter);
                }
            }
            Ok(())
        });
        read.await.with_context(|| format!("reading the dead letters in {dlq}"))?;
        Ok(letters)
    }

    /// The alerts that name the event or the record, and when the broker took them.
    pub async fn alerts(
        &self,
        place: &Coordinates,
        id: Uuid,
        broker_ms: i64,
        registry: Option<Registry>,
    ) -> anyhow::Result<Vec<(Coordinates, Alert)>> {
        let stretches = self.between(topics::ALERTS, broker_ms - CLOCKS_MS, None).await?;
        let mut decoder = Decoder::new(RecordType::Alert, registry);
        let mut found = Vec::new();
        stretches::read(&self.kafka, topics::ALERTS, &stretches, WHEN_CUT, async |partition, records| {
            let decoded = decoder.decode(records.values()).await?;
            let alerts = Alerts::new(&decoded.batch);
            for (row, alert) in (0..alerts.len()).map(|row| (row, alerts.get(row))) {
                let is_trigger = alert.trigger_topic == place.topic
                    && (alert.trigger_partition, alert.trigger_offset) == (place.partition, place.offset);
                if alert.event_id == Some(id) || is_trigger {
                    let offset = records.offsets().value(decoded.rows[row] as usize);
                    found.push((Coordinates { topic: topics::ALERTS.to_owned(), partition, offset }, alert));
                }
            }
            Ok(())
        })
        .await?;
        Ok(found)
    }
}

/// How many offsets these are.
pub fn offsets(stretches: &[Stretch]) -> i64 {
    stretches.iter().map(|stretch| (stretch.end - stretch.start).max(0)).sum()
}
