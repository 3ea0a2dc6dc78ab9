//! Dead letters: a record that a consumer cannot take goes to `<topic>.dlq` with its original key, value and headers, and
//! headers of ours that say where it stood, who refused it and why. Sent before the offset is committed, so at least once;
//! its identity is (topic id, partition, offset, group), counted distinct. Must never happen: a letter without its bytes.

use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use uuid::Uuid;

use crate::kafka::KafkaArgs;
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
    producer: FutureProducer,
    group: String,
}

impl DeadLetters {
    /// # Errors
    /// When the client's settings are refused.
    pub fn new(kafka: &KafkaArgs, group: &str) -> anyhow::Result<Self> {
        let producer = kafka
            .producer()
            .set("message.timeout.ms", "30000")
            .set("queue.buffering.max.kbytes", "16384")
            // A letter is as large as the record that the broker once took, and its headers come on top.
            .set("message.max.bytes", "20000000")
            .create()
            .context("Kafka producer settings for dead letters")?;
        Ok(Self { producer, group: group.to_owned() })
    }

    /// Sends `letters`, all of one partition, whose records are in `records`; returns when the broker has all of them.
    ///
    /// # Errors
    /// When the broker did not acknowledge one of them: an outage, all are worth sending again.
    pub async fn send(&self, records: &Records, topic_id: Option<Uuid>, letters: &[&DeadLetter]) -> anyhow::Result<()> {
        let sends = letters.iter().map(|letter| async move {
            let index = records
                .position(letter.offset)
                .with_context(|| format!("a dead letter names offset {} outside of its batch", letter.offset))?;
            let mut headers = OwnedHeaders::new();
            for (key, value) in records.headers(index) {
                headers = headers.insert(Header { key: &key, value: value.as_ref() });
            }
            let ours = [
                (TOPIC, letter.topic.clone()),
                (TOPIC_ID, topic_id.map_or_else(String::new, |id| id.to_string())),
                (PARTITION, letter.partition.to_string()),
                (OFFSET, letter.offset.to_string()),
                (GROUP, self.group.clone()),
                (REASON, letter.reason.clone()),
                (TIMESTAMP, records.timestamps_ms().value(index).to_string()),
            ];
            for (key, value) in &ours {
                headers = headers.insert(Header { key, value: Some(value) });
            }
            let topic = topics::dlq(&letter.topic);
            let mut record = FutureRecord::<[u8], [u8]>::to(&topic).headers(headers);
            let (keys, values) = (records.keys(), records.values());
            if arrow::array::Array::is_valid(keys, index) {
                record = record.key(keys.value(index));
            }
            if arrow::array::Array::is_valid(values, index) {
                record = record.payload(values.value(index));
            }
            self.producer
                .send(record, Duration::from_secs(30))
                .await
                .map_err(|(error, _)| anyhow::Error::from(error).context(format!("dead letter to {topic}")))
        });
        try_join_all(sends).await?;
        Ok(())
    }
}
