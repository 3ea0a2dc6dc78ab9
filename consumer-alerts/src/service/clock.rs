//! Broker time, asked for by writing a record and looking at the time that the broker gave it. All members write the same
//! key to the compacted state topic, so one is kept. Must never happen here: the time of this machine.

use std::time::Duration;

use anyhow::{Context, anyhow};
use pipeline::kafka::{KafkaArgs, Plain, create};
use rdkafka::producer::{FutureProducer, FutureRecord};

/// The key of clock records; no state's key is like it.
pub const KEY: &str = "clock";

pub struct BrokerClock {
    producer: FutureProducer<Plain>,
    topic: String,
}

impl BrokerClock {
    /// # Errors
    /// When the client's settings are refused.
    pub fn new(kafka: &KafkaArgs, topic: &str) -> anyhow::Result<Self> {
        let mut settings = kafka.producer();
        // A second record would do no harm, and without idempotence no fatal error can end the client for good.
        settings.set("message.timeout.ms", "10000").set("enable.idempotence", "false").set("linger.ms", "0");
        Ok(Self { producer: create(&settings, Plain)?, topic: topic.to_owned() })
    }

    /// Microseconds UTC. Everything that the broker took before has a time at most this, and a smaller offset than what it
    /// takes from now on.
    ///
    /// # Errors
    /// When the broker does not take the record in time.
    pub async fn now(&self) -> anyhow::Result<i64> {
        let record = FutureRecord::to(&self.topic).key(KEY).payload("{}");
        let taken = self.producer.send(record, Duration::from_secs(10)).await;
        let delivery = taken.map_err(|(error, _)| anyhow!("cannot ask for the broker's time: {error}"))?;
        let at_ms = delivery.timestamp.to_millis().context("the broker gave a record no time")?;
        Ok(at_ms.saturating_mul(1000))
    }
}
