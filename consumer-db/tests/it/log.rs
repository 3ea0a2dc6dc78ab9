//! Ticks made by hand or by chance, as a broker's log of several partitions.

use std::sync::Arc;

use pipeline::codec::{Encoder, Framing};
use pipeline::consume::PartitionBatch;
use pipeline::decimal::Decimal38;
use pipeline::events::{Gap, PriceTick, event_id};
use pipeline::example;
use pipeline::records::{Record, RecordBuffer};
use pipeline::topics;
use uuid::Uuid;

/// 2026-03-01T12:00:00Z
pub const NOON: i64 = 1_772_366_400_000_000;
pub const SECOND: i64 = 1_000_000;
pub const DAY: i64 = 24 * 3600 * SECOND;

pub fn decimal(text: &str) -> Decimal38 {
    text.parse().expect(text)
}

/// A trade of BTC-USD, `seconds` after noon.
pub fn tick(key: &str, seconds: i64, price: &str) -> PriceTick {
    PriceTick {
        event_id: event_id("coinbase", "matches", "BTC-USD", key),
        price: decimal(price),
        quantity: Some(decimal("0.5")),
        event_time: NOON + seconds * SECOND,
        received_at: NOON + seconds * SECOND + 1,
        sequence: None,
        trade_id: Some(key.to_owned()),
        payload_id: Uuid::nil(),
        ..example::tick()
    }
}

/// The next revision of `tick`, at another time.
pub fn moved(tick: &PriceTick, seconds: i64) -> PriceTick {
    let previous_event_time = Some(tick.event_time);
    PriceTick { revision: tick.revision + 1, event_time: NOON + seconds * SECOND, previous_event_time, ..tick.clone() }
}

pub fn retracted(tick: &PriceTick) -> PriceTick {
    PriceTick { revision: tick.revision + 1, retracted: true, ..tick.clone() }
}

/// The `n`th gap of BTC-USD at coinbase, so many seconds after noon.
pub fn gap(n: u128, started: i64, ended: Option<i64>) -> Gap {
    let at = |seconds: i64| NOON + seconds * SECOND;
    Gap { id: Uuid::from_u128(n), started_at: at(started), ended_at: ended.map(at), ..example::gap() }
}

/// One record: when the broker took it (ms), and its value.
pub type Entry = (i64, Vec<u8>);

/// Records by partition; offsets count from 0.
#[derive(Clone, Default)]
pub struct Log(pub Vec<Vec<Entry>>);

impl Log {
    pub fn partitions(count: usize) -> Self {
        Self(vec![Vec::new(); count])
    }

    /// The records `from..to` of a partition of the ticks as the loop would hand them over.
    pub fn batch(&self, partition: usize, from: usize, to: usize) -> PartitionBatch {
        self.batch_of(topics::TICKS, partition, from, to)
    }

    pub fn batch_of(&self, topic: &str, partition: usize, from: usize, to: usize) -> PartitionBatch {
        let mut buffer = RecordBuffer::new();
        for (offset, (timestamp_ms, value)) in self.0[partition].iter().enumerate().take(to).skip(from) {
            let record = Record { offset: offset as i64, timestamp_ms: *timestamp_ms, key: None, value: Some(value) };
            buffer.push_owned(record, &[]);
        }
        PartitionBatch {
            topic: Arc::from(topic),
            partition: partition as i32,
            start: from as i64,
            next_offset: to as i64,
            records: buffer.finish(),
        }
    }
}

pub async fn encoder() -> Encoder {
    Encoder::new(Framing::SingleObject).await.expect("no registry is asked")
}

/// One batch of partition 0 that holds these ticks, taken by the broker a minute after noon.
pub async fn one_batch(ticks: &[PriceTick]) -> PartitionBatch {
    let encoder = encoder().await;
    batch_of_values(ticks.iter().map(|tick| encoder.tick(tick)).collect())
}

pub fn batch_of_values(values: Vec<Vec<u8>>) -> PartitionBatch {
    batch_of(topics::TICKS, values)
}

/// One batch of a topic's partition 0.
pub fn batch_of(topic: &str, values: Vec<Vec<u8>>) -> PartitionBatch {
    let entries: Vec<Entry> = values.into_iter().map(|value| (NOON / 1000 + 60_000, value)).collect();
    let count = entries.len();
    Log(vec![entries]).batch_of(topic, 0, 0, count)
}
