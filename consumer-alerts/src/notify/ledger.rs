//! What a channel was sent: a compacted topic with a key a channel and alert, read to its end at each start. Invariants: an
//! alert is settled in memory the moment its channel's server has taken it, and in the topic before its offset is committed;
//! what is settled is not sent again. Ids are kept for longer than the alerts topic keeps alerts, and then forgotten, here and
//! in the topic.
//!
//! Crash points: before the channel's server answers (sent again: the one message that may come twice); after the record,
//! before the commit (read again, known, passed over). Must never happen here: an outage that is taken for an empty ledger.

mod reading;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::anyhow;
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use pipeline::kafka::{KafkaArgs, Plain, create};
use pipeline::topics;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use reading::Reading;
pub use reading::{ReadError, first_at};

/// Records under way at once.
const AT_ONCE: usize = 500;
/// Brokers delete whole segments, which may be a week younger at one end than at the other.
const SEGMENTS: SignedDuration = SignedDuration::from_hours(10 * 24);

/// The value of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub at: Timestamp,
    pub status: Status,
    /// Tries that it took.
    pub attempts: u32,
    /// Why it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A message named it.
    Delivered,
    /// A message counted it, among more than it could name.
    Counted,
    /// The channel refused it for good. It is tried again if somebody rewinds the channel's group.
    GivenUp,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Counted => "counted",
            Self::GivenUp => "given_up",
        }
    }
}

pub struct Ledger {
    kafka: KafkaArgs,
    topic: String,
    channel: String,
    producer: FutureProducer<Plain>,
    /// How far each partition of the topic was read.
    positions: Vec<i64>,
    /// When each known alert was settled, …
    settled: HashMap<Uuid, Timestamp>,
    /// … and those that an earlier run has given up.
    given_up: HashMap<Uuid, Timestamp>,
    /// What the topic does not have yet; `None` takes a key out of it.
    unsaved: Vec<(Uuid, Option<Entry>)>,
}

/// For how long ids are kept. An alert that is older than this is not sent any more: nobody would know whether it was.
pub fn kept_for() -> SignedDuration {
    let alerts = topics::declared().into_iter().find(|topic| topic.name == topics::ALERTS);
    SignedDuration::from_millis(alerts.map_or(0, |topic| topic.retention_ms)) + SEGMENTS
}

impl Ledger {
    /// # Errors
    /// When the client's settings are refused.
    pub fn new(kafka: &KafkaArgs, topic: &str, channel: &str) -> anyhow::Result<Self> {
        let mut settings = kafka.producer();
        // A record may be there twice and is one: without idempotence no fatal error can end the client for good.
        settings.set("message.timeout.ms", "30000").set("enable.idempotence", "false");
        Ok(Self {
            producer: create(&settings, Plain)?,
            kafka: kafka.clone(),
            topic: topic.to_owned(),
            channel: channel.to_owned(),
            positions: Vec::new(),
            settled: HashMap::new(),
            given_up: HashMap::new(),
            unsaved: Vec::new(),
        })
    }

    pub fn kafka(&self) -> &KafkaArgs {
        &self.kafka
    }

    pub fn is_settled(&self, alert: &Uuid) -> bool {
        self.settled.contains_key(alert)
    }

    pub fn settle(&mut self, alert: Uuid, entry: Entry) {
        self.given_up.remove(&alert);
        self.settled.insert(alert, entry.at);
        self.unsaved.push((alert, Some(entry)));
    }

    /// Gets what was settled into the topic.
    ///
    /// # Errors
    /// When the broker does not take it: it is kept, and the same call is worth another try.
    pub async fn save(&mut self) -> anyhow::Result<()> {
        for some in self.unsaved.chunks(AT_ONCE) {
            try_join_all(some.iter().map(|(alert, entry)| self.save_one(alert, entry.as_ref()))).await?;
        }
        self.unsaved.clear();
        Ok(())
    }

    async fn save_one(&self, alert: &Uuid, entry: Option<&Entry>) -> anyhow::Result<()> {
        let key = format!("{}{alert}", prefix(&self.channel));
        let value = entry.map(|entry| serde_json::to_vec(entry).expect("an entry is JSON"));
        let mut record = FutureRecord::<str, [u8]>::to(&self.topic).key(&key);
        if let Some(value) = &value {
            record = record.payload(value);
        }
        let sent = self.producer.send(record, Duration::from_secs(30)).await;
        sent.map(drop).map_err(|(error, _)| anyhow!("cannot record deliveries in {}: {error}", self.topic))
    }

    /// Reads what other members of the group, or an earlier run, have settled.
    ///
    /// # Errors
    /// When the topic cannot be read to its end, or is not there.
    pub async fn read_to_end(&mut self) -> Result<(), ReadError> {
        let reading = Reading {
            kafka: self.kafka.clone(),
            topic: self.topic.clone(),
            prefix: prefix(&self.channel),
            positions: self.positions.clone(),
        };
        let read = tokio::task::spawn_blocking(move || reading.read()).await;
        let read = read.map_err(|error| ReadError::Outage(error.into()))??;
        self.positions = read.positions;
        read.entries.into_iter().for_each(|(alert, entry)| self.take(alert, entry));
        Ok(())
    }

    fn take(&mut self, alert: Uuid, entry: Option<Entry>) {
        self.settled.remove(&alert);
        self.given_up.remove(&alert);
        match entry {
            Some(Entry { status: Status::Delivered | Status::Counted, at, .. }) => drop(self.settled.insert(alert, at)),
            // An alert that was given up may be tried again by somebody who has mended the channel.
            Some(Entry { status: Status::GivenUp, at, .. }) => drop(self.given_up.insert(alert, at)),
            None => {}
        }
    }

    /// Forgets what is older than any alert that can still be read.
    pub fn forget_before(&mut self, at: Timestamp) {
        for known in [&mut self.settled, &mut self.given_up] {
            let old = known.extract_if(|_, settled| *settled < at);
            self.unsaved.extend(old.map(|(alert, _)| (alert, None)));
        }
    }
}

/// What the keys of a channel begin with; then comes the alert's id.
fn prefix(channel: &str) -> String {
    format!("{channel}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_outlive_the_alerts() {
        assert_eq!(kept_for(), SignedDuration::from_hours(40 * 24));
    }

    #[test]
    fn what_is_old_is_taken_out_whatever_became_of_it() {
        let kafka = KafkaArgs { kafka_bootstrap_servers: "127.0.0.1:1".to_owned(), kafka_properties: Vec::new() };
        let mut ledger = Ledger::new(&kafka, "t", "c").expect("a producer");
        let second = |second| Timestamp::from_second(second).expect("a time");
        let entry = |at, status| Some(Entry { at: second(at), status, attempts: 1, reason: None });
        let id = Uuid::from_u128;
        ledger.take(id(1), entry(10, Status::Delivered));
        ledger.take(id(2), entry(10, Status::GivenUp));
        ledger.take(id(3), entry(30, Status::Counted));
        ledger.take(id(4), entry(30, Status::GivenUp));
        let settled: Vec<bool> = (1..5).map(|n| ledger.is_settled(&id(n))).collect();
        assert_eq!(settled, [true, false, true, false], "what was given up may be tried again");
        ledger.forget_before(second(20));
        assert_eq!(ledger.unsaved, [(id(1), None), (id(2), None)]);
        assert!(!ledger.is_settled(&id(1)) && ledger.is_settled(&id(3)));
    }

    #[test]
    fn an_entry_reads_well() {
        let entry =
            Entry { at: Timestamp::UNIX_EPOCH, status: Status::GivenUp, attempts: 1, reason: Some("no".to_owned()) };
        let text = r#"{"at":"1970-01-01T00:00:00Z","status":"given_up","attempts":1,"reason":"no"}"#;
        assert_eq!(serde_json::to_string(&entry).expect("JSON"), text);
        assert_eq!(serde_json::from_str::<Entry>(text).expect("an entry"), entry);
    }
}
