//! Topics of a test's own, what is said in them, and the service as a process.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use jiff::Timestamp;
use pipeline::codec::{Encoder, Framing, RecordType};
use pipeline::decode::{Alerts, Decoder};
use pipeline::events::{Alert, PriceTick, SourceHealth};
use pipeline::kafka::KafkaArgs;
use pipeline::records::{Record, RecordBuffer};
use pipeline::{example, topics};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

pub const TIMEOUT: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    kafka: KafkaArgs,
}

pub struct Room {
    pub kafka: KafkaArgs,
    pub ticks: String,
    pub gaps: String,
    pub health: String,
    pub alerts: String,
    pub state: String,
    pub group: String,
    pub encoder: Encoder,
    rules: tempfile::NamedTempFile,
    producer: BaseProducer,
}

impl Room {
    pub async fn new(partitions: i32, rules: &str) -> Self {
        Self::with_times(partitions, rules, "LogAppendTime").await
    }

    /// With ticks that have the times that they are sent with: what lies hours back, in a test of seconds.
    pub async fn of_times_sent(rules: &str) -> Self {
        Self::with_times(1, rules, "CreateTime").await
    }

    async fn with_times(partitions: i32, rules: &str, times: &str) -> Self {
        let stack = stack::shared().await;
        let kafka = Args::parse_from(["test", "--kafka-bootstrap-servers", &stack.kafka_bootstrap_servers]).kafka;
        let suffix = Uuid::new_v4().simple().to_string();
        let name = |what: &str| format!("{what}-{suffix}");
        let room = Self {
            ticks: name("ticks"),
            gaps: name("gaps"),
            health: name("health"),
            alerts: name("alerts"),
            state: name("state"),
            group: name("alerting"),
            encoder: Encoder::new(Framing::SingleObject).await.expect("an encoder"),
            rules: tempfile::NamedTempFile::new().expect("a file"),
            producer: kafka.producer().create().expect("a producer"),
            kafka,
        };
        room.write_rules(rules);
        let letters = topics::dlq(&room.ticks);
        room.create(&[(&room.ticks, partitions, "delete")], times).await;
        let others = [(&letters, 1, "delete"), (&room.gaps, 1, "delete"), (&room.health, 1, "delete")];
        room.create(&others, "LogAppendTime").await;
        room.create(&[(&room.alerts, 1, "delete"), (&room.state, 1, "compact")], "LogAppendTime").await;
        room
    }

    async fn create(&self, topics: &[(&String, i32, &str)], times: &str) {
        let admin: AdminClient<DefaultClientContext> = self.kafka.admin().create().expect("an admin client");
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|(name, partitions, cleanup)| {
                NewTopic::new(name, *partitions, TopicReplication::Fixed(1))
                    .set("message.timestamp.type", times)
                    .set("cleanup.policy", cleanup)
            })
            .collect();
        let results = admin.create_topics(&new, &AdminOptions::new()).await.expect("an answer");
        results.into_iter().for_each(|result| drop(result.expect("created")));
    }

    pub fn write_rules(&self, text: &str) {
        let mut file = std::fs::File::create(self.rules.path()).expect("the file");
        file.write_all(text.as_bytes()).expect("written");
    }

    pub fn start(&self) -> Service {
        self.start_at(&self.kafka.kafka_bootstrap_servers)
    }

    /// Its broker is asked for there.
    pub fn start_at(&self, bootstrap_servers: &str) -> Service {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consumer-alerts"));
        command
            .arg("run")
            .env("ALERT_RULES", self.rules.path())
            .env("ALERT_GROUP", &self.group)
            .env("KAFKA_BOOTSTRAP_SERVERS", bootstrap_servers)
            .args(["--ticks-topic", &self.ticks, "--gaps-topic", &self.gaps, "--health-topic", &self.health])
            .args(["--alerts-topic", &self.alerts, "--state-topic", &self.state])
            .envs([("RUST_LOG", "info"), ("ADMIN_ADDR", "127.0.0.1:0")]);
        Service(command.stderr(Stdio::null()).spawn().expect("started"))
    }

    /// Waits until somebody has told where judging begins.
    pub fn wait_begun(&self) {
        self.wait_for("a commit", |room| room.committed().is_some_and(|committed| committed.iter().all(|at| *at >= 0)));
    }

    /// The committed offsets of all partitions of ticks.
    fn committed(&self) -> Option<Vec<i64>> {
        let consumer: BaseConsumer = self.kafka.consumer(Some(&self.group)).create().expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(&self.ticks), TIMEOUT).ok()?;
        let mut list = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            list.add_partition(&self.ticks, partition.id());
        }
        let committed = consumer.committed_offsets(list, TIMEOUT).ok()?;
        committed.elements().iter().map(|element| element.offset().to_raw()).collect()
    }

    /// Waits until all that was sent was judged and committed.
    pub fn wait_judged(&self) {
        let consumer: BaseConsumer = self.kafka.consumer(None).create().expect("a consumer");
        self.wait_for("everything to be judged", |room| {
            let Some(committed) = room.committed() else { return false };
            (0..).zip(committed).all(|(partition, at)| {
                consumer.fetch_watermarks(&room.ticks, partition, TIMEOUT).is_ok_and(|(_, end)| at == end)
            })
        });
    }

    /// As `kafka-consumer-groups --reset-offsets` does, while nobody is in the group.
    pub fn reset(&self, to: i64) {
        let consumer: BaseConsumer = self.kafka.consumer(Some(&self.group)).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.ticks, 0, Offset::Offset(to)).expect("an offset");
        consumer.commit(&list, CommitMode::Sync).expect("committed");
    }

    pub fn send(&self, topic: &str, key: &str, value: &[u8]) {
        self.producer.send(BaseRecord::to(topic).key(key).payload(value)).expect("queued");
    }

    pub fn flush(&self) {
        self.producer.flush(TIMEOUT).expect("flushed");
    }

    /// One trade now.
    pub fn tick(&self, symbol: &str, price: &str) {
        self.tick_at(symbol, price, Timestamp::now());
    }

    pub fn tick_at(&self, symbol: &str, price: &str, at: Timestamp) {
        let micros = at.as_microsecond();
        let tick = PriceTick {
            event_id: Uuid::new_v4(),
            symbol: symbol.to_owned(),
            price: price.parse().expect("a price"),
            event_time: micros,
            received_at: micros,
            ..example::tick()
        };
        let value = self.encoder.tick(&tick);
        let record = BaseRecord::to(&self.ticks).key(symbol).payload(&value).timestamp(at.as_millisecond());
        self.producer.send(record).expect("queued");
    }

    pub fn health(&self) {
        let at = Timestamp::now().as_microsecond();
        let health = SourceHealth { at, last_answer_at: Some(at), ..example::health() };
        self.send(&self.health, "coinbase", &self.encoder.health(&health));
        self.flush();
    }

    /// What is committed in the alerts topic.
    pub async fn alerts(&self) -> Vec<Alert> {
        let values = self.read(&self.alerts);
        let mut buffer = RecordBuffer::new();
        for (offset, value) in (0..).zip(&values) {
            buffer.push_owned(Record { offset, timestamp_ms: 0, key: None, value: Some(value) }, &[]);
        }
        let decoded =
            Decoder::new(RecordType::Alert, None).decode(buffer.finish().values()).await.expect("no registry");
        assert!(decoded.bad.is_empty(), "{:?}", decoded.bad);
        Alerts::new(&decoded.batch).iter().collect()
    }

    /// The values of a topic's committed records.
    pub fn read(&self, topic: &str) -> Vec<Vec<u8>> {
        let consumer: BaseConsumer = self.kafka.consumer(None).create().expect("a consumer");
        let (_, end) = consumer.fetch_watermarks(topic, 0, TIMEOUT).expect("watermarks");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning).expect("an offset");
        consumer.assign(&list).expect("assigned");
        let mut values = Vec::new();
        loop {
            let position = consumer.position().expect("positions").elements()[0].offset().to_raw();
            if end == 0 || position.is_some_and(|at| at >= end) {
                return values;
            }
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                values.push(message.payload().unwrap_or_default().to_vec());
            }
        }
    }

    pub fn wait_for(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits for so many alerts and gives them.
    pub async fn wait_alerts(&self, count: usize) -> Vec<Alert> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let alerts = self.alerts().await;
            if alerts.len() >= count {
                return alerts;
            }
            assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {count} alerts: {alerts:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Ends with the test.
pub struct Service(Child);

impl Service {
    pub fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("ended");
    }

    /// As an orchestrator ends it.
    pub fn stop(mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).expect("a process id"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("told");
        assert!(self.0.wait().expect("ended").success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
