//! Dead letters: a record that a consumer cannot take goes to `<topic>.dlq` with its original key, value and headers, and
//! headers of ours that say where it stood, who refused it and why. Sent before the offset is committed, so at least once;
//! its identity is (topic id, partition, offset, group), counted distinct. Must never happen: a letter without its bytes.

use std::time::Duration;

use anyhow::Context;
use arrow::array::Array;
use futures::future::try_join_all;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use uuid::Uuid;

use crate::headers::{insert, key_of};
use crate::kafka::{KafkaArgs, Plain, create};
use crate::records::Records;
use crate::topics;

pub const TOPIC: &str = "tickstream-dlq-topic";
pub const TOPIC_ID: &str = "tickstream-dlq-topic-id";
pub const PARTITION: &str = "tickstream-dlq-partition";
pub const OFFSET: &str = "tickstream-dlq-offset";
pub const GROUP: &str = "tickstream-dlq-group";
pub const REASON: &str = "tickstream-dlq-reason";
/// Broker time of the original record, milliseconds UTC.
pub const TIMESTAMP: &str = "tickstream-dlq-timestamp";

/// The largest letter; the dead-letter topics allow as much.
const LARGEST: usize = 20_000_000;
/// What is left of it for the key, the headers and the framing.
const HEADROOM: usize = 64 * 1024;
/// Letters under way at once.
const AT_ONCE: usize = 2000;

/// A record that cannot be taken, named by where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub reason: String,
}

/// Sends dead letters of one consumer group.
pub struct DeadLetters {
    producer: FutureProducer<Plain>,
    group: String,
}

impl DeadLetters {
    /// # Errors
    /// When the client's settings are refused.
    pub fn new(kafka: &KafkaArgs, group: &str) -> anyhow::Result<Self> {
        let mut settings = kafka.producer();
        settings
            .set("message.timeout.ms", "30000")
            // A letter may come twice and is counted once: without idempotence no fatal error can end the client for good.
            .set("enable.idempotence", "false")
            // A batch waits for its letters, which come all at once.
            .set("linger.ms", "1")
            // A letter is as large as the record that the broker once took, and its headers come on top.
            .set("message.max.bytes", LARGEST.to_string())
            .set("queue.buffering.max.kbytes", (2 * LARGEST / 1024).to_string());
        let producer = create(&settings, Plain)?;
        Ok(Self { producer, group: group.to_owned() })
    }

    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Sends `letters`, all of one partition, whose records are in `records`; returns when the broker has all of them.
    ///
    /// # Errors
    /// When the broker did not acknowledge one of them: an outage, all are worth sending again.
    pub async fn send(&self, records: &Records, topic_id: Option<Uuid>, letters: &[&DeadLetter]) -> anyhow::Result<()> {
        for some in letters.chunks(AT_ONCE) {
            try_join_all(some.iter().map(|letter| self.send_one(records, topic_id, letter))).await?;
        }
        Ok(())
    }

    async fn send_one(&self, records: &Records, topic_id: Option<Uuid>, letter: &DeadLetter) -> anyhow::Result<()> {
        let index = records
            .position(letter.offset)
            .with_context(|| format!("a dead letter names offset {} outside of its batch", letter.offset))?;
        let mut headers = OwnedHeaders::new();
        for (key, value) in records.headers(index) {
            headers = insert(headers, &key_of(&key), value.as_deref());
        }
        let (keys, values) = (records.keys(), records.values());
        let (key, value) =
            (keys.is_valid(index).then(|| keys.value(index)), values.is_valid(index).then(|| values.value(index)));
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        // The broker took it compressed; as large as this no letter can be sent, and it must not stop the others.
        let fits = bytes <= LARGEST - HEADROOM;
        let reason = if fits {
            letter.reason.clone()
        } else {
            format!("{} (its {bytes} bytes are more than a letter holds: see the record itself, or raw)", letter.reason)
        };
        let ours = [
            (TOPIC, letter.topic.clone()),
            (TOPIC_ID, topic_id.map_or_else(String::new, |id| id.to_string())),
            (PARTITION, letter.partition.to_string()),
            (OFFSET, letter.offset.to_string()),
            (GROUP, self.group.clone()),
            (REASON, reason),
            (TIMESTAMP, records.timestamps_ms().value(index).to_string()),
        ];
        for (key, value) in &ours {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let topic = topics::dlq(&letter.topic);
        let mut record = FutureRecord::<[u8], [u8]>::to(&topic).headers(headers);
        if let Some(key) = key.filter(|_| fits) {
            record = record.key(key);
        }
        if let Some(value) = value.filter(|_| fits) {
            record = record.payload(value);
        }
        self.producer
            .send(record, Duration::from_secs(30))
            .await
            .map_err(|(error, _)| anyhow::Error::from(error).context(format!("dead letter to {topic}")))
            .map(drop)
    }
}
