//! Topics of a test's own, alerts in them, what the ledger says, and commits as Kafka's own tools make them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use consumer_alerts::notify::{Clock, Notifier, parse_channels};
use jiff::Timestamp;
use pipeline::admin::Health;
use pipeline::codec::{Encoder, Framing};
use pipeline::events::Alert;
use pipeline::kafka::KafkaArgs;
use pipeline::{example, topics};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// The topics of one test, and its channels' names.
pub struct Room {
    pub kafka: KafkaArgs,
    pub alerts: String,
    pub deliveries: String,
    /// Ends the name of each channel.
    pub suffix: String,
    encoder: Encoder,
}

/// A running notifier.
pub struct Running {
    pub health: Health,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Room {
    pub async fn new() -> Self {
        let stack = stack::shared().await;
        let kafka = Args::parse_from(["test", "--kafka-bootstrap-servers", &stack.kafka_bootstrap_servers]).kafka;
        let suffix = Uuid::new_v4().simple().to_string();
        let room = Self {
            alerts: format!("alerts-{suffix}"),
            deliveries: format!("deliveries-{suffix}"),
            encoder: Encoder::new(Framing::SingleObject).await.expect("an encoder"),
            kafka,
            suffix,
        };
        let dead_letters = topics::dlq(&room.alerts);
        create(&room.kafka, &[&room.alerts, &dead_letters], "delete").await;
        create(&room.kafka, &[&room.deliveries], "compact").await;
        room
    }

    /// A channel of this test, as the file has it.
    pub fn channel(&self, name: &str, lines: &str) -> String {
        format!("[[channel]]\nname = \"{name}-{}\"\n{lines}\n", self.suffix)
    }

    pub fn start(&self, channels: &[String]) -> Running {
        self.start_at(channels, Arc::new(Timestamp::now))
    }

    pub fn start_at(&self, channels: &[String], clock: Clock) -> Running {
        let environment = |name: &str| match name {
            "TOKEN" => Some(super::server::TOKEN.to_owned()),
            "SECRET" => Some(super::server::SECRET.to_owned()),
            _ => None,
        };
        let notifier = Notifier {
            kafka: self.kafka.clone(),
            registry: None,
            channels: parse_channels(&channels.concat(), &environment).expect("good channels"),
            dashboard_url: Some("https://prices.example/".parse().expect("an address")),
            alerts_topic: self.alerts.clone(),
            deliveries_topic: self.deliveries.clone(),
            clock,
        };
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        let task = tokio::spawn(notifier.run(health.clone(), shutdown.clone()));
        Running { health, shutdown, task }
    }

    /// Publishes records as they are.
    pub fn send(&self, values: &[Vec<u8>]) {
        let producer: BaseProducer = self.kafka.producer().create().expect("producer");
        for value in values {
            producer.send(BaseRecord::<(), _>::to(&self.alerts).payload(value)).expect("queued");
        }
        producer.flush(TIMEOUT).expect("flushed");
    }

    pub fn fire(&self, alerts: &[Alert]) {
        self.send(&alerts.iter().map(|alert| self.encoder.alert(alert)).collect::<Vec<_>>());
    }

    /// Alerts that are told apart by their sentences, fired so many minutes ago.
    pub fn alerts(&self, names: &[&str], minutes_ago: i64) -> Vec<Alert> {
        let fired_at = Timestamp::now().as_microsecond() - minutes_ago * 60_000_000;
        let alert = |name: &&str| Alert {
            alert_id: Uuid::new_v4(),
            message: (*name).to_owned(),
            event_time: fired_at,
            fired_at,
            ..example::alert()
        };
        names.iter().map(alert).collect()
    }

    /// Status by alert of a channel, of all the ledger's records the last ones.
    pub fn ledger(&self, channel: &str) -> BTreeMap<Uuid, serde_json::Value> {
        let prefix = format!("{channel}-{}/", self.suffix);
        let mut ledger = BTreeMap::new();
        for (key, value) in read_all(&self.kafka, &self.deliveries) {
            let key = String::from_utf8(key.expect("a key")).expect("text");
            let Some(alert) = key.strip_prefix(&prefix).map(|id| id.parse().expect("an id")) else { continue };
            match value {
                Some(value) => drop(ledger.insert(alert, serde_json::from_slice(&value).expect("JSON"))),
                None => drop(ledger.remove(&alert)),
            }
        }
        ledger
    }

    pub fn dead_letters(&self) -> Vec<Vec<u8>> {
        read_all(&self.kafka, &topics::dlq(&self.alerts)).into_iter().filter_map(|(_, value)| value).collect()
    }

    fn group(&self, channel: &str) -> (BaseConsumer, TopicPartitionList) {
        let group = format!("notifier-{channel}-{}", self.suffix);
        let consumer = self.kafka.consumer(Some(&group)).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.alerts, 0);
        (consumer, list)
    }

    pub fn committed(&self, channel: &str) -> Option<i64> {
        let (consumer, list) = self.group(channel);
        let committed = consumer.committed_offsets(list, TIMEOUT).expect("an answer");
        match committed.elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    /// As `kafka-consumer-groups --reset-offsets` does, while nobody is in the group.
    pub fn rewind(&self, channel: &str, to: i64) {
        let (consumer, mut list) = self.group(channel);
        list.set_all_offsets(Offset::Offset(to)).expect("an offset");
        consumer.commit(&list, CommitMode::Sync).expect("committed");
    }
}

impl Running {
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("no panic").expect("no error");
    }

    /// Ends it as it may be, and gives what it says.
    pub async fn ended(self) -> anyhow::Error {
        self.task.await.expect("no panic").expect_err("it cannot go on")
    }
}

async fn create(kafka: &KafkaArgs, names: &[&str], cleanup: &str) {
    let admin: AdminClient<DefaultClientContext> = kafka.admin().create().expect("admin client");
    let new: Vec<NewTopic<'_>> = names
        .iter()
        .map(|name| {
            NewTopic::new(name, 1, TopicReplication::Fixed(1))
                .set("message.timestamp.type", "LogAppendTime")
                .set("cleanup.policy", cleanup)
        })
        .collect();
    let results = admin.create_topics(&new, &AdminOptions::new()).await.expect("create topics");
    results.into_iter().for_each(|result| drop(result.expect("created")));
}

type Raw = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Key and value of each record.
fn read_all(kafka: &KafkaArgs, topic: &str) -> Vec<Raw> {
    let consumer: BaseConsumer = kafka.consumer(None).create().expect("consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).expect("an offset");
    let (_, end) = consumer.fetch_watermarks(topic, 0, TIMEOUT).expect("watermarks");
    consumer.assign(&list).expect("assigned");
    let mut records = Vec::new();
    let mut next = 0;
    while next < end {
        let Some(Ok(message)) = consumer.poll(TIMEOUT) else { continue };
        next = message.offset() + 1;
        records.push((message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec)));
    }
    records
}
