//! Topics and a lake of a test's own, a file of rules, and the command on them.

use std::collections::HashMap;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use clap::Parser;
use lake::Encodings;
use lake::raw::{self, Compression};
use pipeline::codec::{Encoder, Framing, RecordType};
use pipeline::events::{Gap, PriceTick, SourceHealth};
use pipeline::kafka::KafkaArgs;
use pipeline::lake::{Link, LinkKind, bronze_key, raw_key, table};
use pipeline::records::{Record, RecordBuffer, Records};
use pipeline::store::{Condition, Put, Store, StoreArgs};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use stack::Stack;
use tempfile::NamedTempFile;
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// What a record is.
#[derive(Clone)]
pub enum Said {
    Tick(Box<PriceTick>),
    Gap(Gap),
    Health(SourceHealth),
}

pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub struct Room {
    stack: &'static Stack,
    kafka: KafkaArgs,
    /// Ends each topic's name, and is the lake's prefix.
    suffix: String,
    partitions: i32,
    rules: NamedTempFile,
    encoder: Encoder,
}

impl Answer {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let code = output.status.code().expect("the command ended by itself");
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    pub fn json_lines(&self) -> Vec<Value> {
        let value = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(value).collect()
    }

    /// Standard error is one line.
    pub fn line(&self) -> &str {
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "{}", self.stderr);
        self.stderr.trim_end()
    }

    /// How many records of each type the summary says were read.
    pub fn read(&self) -> &str {
        let (_, rest) = self.stderr.split_once("; read ").expect("a summary");
        rest.split_once(" of the ").expect("a summary").0
    }
}

impl Room {
    pub async fn new(partitions: i32, rules: &str) -> Self {
        let stack = stack::shared().await;
        let kafka = Args::parse_from(["test", "--kafka-bootstrap-servers", &stack.kafka_bootstrap_servers]).kafka;
        let file = NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), rules).expect("written");
        let room = Self {
            stack,
            suffix: Uuid::new_v4().simple().to_string(),
            partitions,
            rules: file,
            encoder: Encoder::new(Framing::SingleObject).await.expect("an encoder"),
            kafka,
        };
        let admin: AdminClient<DefaultClientContext> = room.kafka.admin().create().expect("admin client");
        let names = room.topics();
        let topics: Vec<NewTopic<'_>> = names
            .iter()
            .map(|(record, name)| {
                let partitions = if *record == RecordType::PriceTick { partitions } else { 1 };
                // The test gives the times.
                NewTopic::new(name, partitions, TopicReplication::Fixed(1))
                    .set("message.timestamp.type", "CreateTime")
                    .set("retention.ms", "-1")
            })
            .collect();
        let results = admin.create_topics(&topics, &AdminOptions::new()).await.expect("create topics");
        results.into_iter().for_each(|result| drop(result.expect("created")));
        room
    }

    fn topics(&self) -> Vec<(RecordType, String)> {
        [(RecordType::PriceTick, "ticks"), (RecordType::Gap, "gaps"), (RecordType::SourceHealth, "health")]
            .map(|(record, name)| (record, format!("{name}-{}", self.suffix)))
            .to_vec()
    }

    /// Writes records with their times, milliseconds; a symbol's to one partition.
    pub fn publish(&self, records: &[(i64, Said)]) {
        let producer: BaseProducer = self.kafka.producer().create().expect("producer");
        let names: HashMap<RecordType, String> = self.topics().into_iter().collect();
        for (at_ms, said) in records {
            let (record, partition, value) = match said {
                Said::Tick(tick) => {
                    let partition = tick.symbol.bytes().map(i32::from).sum::<i32>() % self.partitions;
                    (RecordType::PriceTick, partition, self.encoder.tick(tick))
                }
                Said::Gap(gap) => (RecordType::Gap, 0, self.encoder.gap(gap)),
                Said::Health(health) => (RecordType::SourceHealth, 0, self.encoder.health(health)),
            };
            let record =
                BaseRecord::<(), _>::to(&names[&record]).partition(partition).timestamp(*at_ms).payload(&value);
            producer.send(record).expect("queued");
        }
        producer.flush(TIMEOUT).expect("flushed");
    }

    async fn store(&self) -> Store {
        let s3 = &self.stack.s3;
        let args = StoreArgs {
            s3_bucket: s3.bucket.clone(),
            s3_endpoint_url: Some(s3.endpoint_url.clone()),
            s3_prefix: self.suffix.clone(),
            aws_region: s3.region.clone(),
        };
        Store::connect_as(&args, &s3.access_key_id, &s3.secret_access_key).await.expect("the store")
    }

    /// Puts everything that the topics hold into the lake, so many records an object.
    pub async fn fill_lake(&self, rows: usize) {
        let store = self.store().await;
        for (record, topic) in self.topics() {
            let partitions = if record == RecordType::PriceTick { self.partitions } else { 1 };
            for partition in 0..partitions {
                let records = self.read_all(&topic, partition);
                for from in (0..records.len()).step_by(rows) {
                    let some = records.slice(from, rows.min(records.len() - from));
                    put(&store, record, &topic, partition, &some).await;
                }
            }
        }
    }

    /// Puts one object of ticks into the lake, with their broker times, as if the topic had held them.
    pub async fn put_ticks(&self, partition: i32, first_offset: i64, ticks: &[(i64, PriceTick)]) {
        let mut buffer = RecordBuffer::new();
        for (offset, (timestamp_ms, tick)) in (first_offset..).zip(ticks) {
            let value = self.encoder.tick(tick);
            buffer.push_owned(Record { offset, timestamp_ms: *timestamp_ms, key: None, value: Some(&value) }, &[]);
        }
        let topic = format!("ticks-{}", self.suffix);
        put(&self.store().await, RecordType::PriceTick, &topic, partition, &buffer.finish()).await;
    }

    fn read_all(&self, topic: &str, partition: i32) -> Records {
        let consumer: BaseConsumer = self.kafka.consumer(None).create().expect("consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        let (_, end) = consumer.fetch_watermarks(topic, partition, TIMEOUT).expect("watermarks");
        consumer.assign(&list).expect("assigned");
        let (mut buffer, mut next) = (RecordBuffer::new(), 0);
        while next < end {
            let Some(Ok(message)) = consumer.poll(TIMEOUT) else { continue };
            let timestamp_ms = message.timestamp().to_millis().expect("a time");
            next = message.offset() + 1;
            let record = Record { offset: message.offset(), timestamp_ms, key: None, value: message.payload() };
            buffer.push_owned(record, &[]);
        }
        buffer.finish()
    }

    /// As retention does, in every partition that has so many records.
    pub async fn delete_before(&self, offset: i64) {
        let admin: AdminClient<DefaultClientContext> = self.kafka.admin().create().expect("admin client");
        let topic = format!("ticks-{}", self.suffix);
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            let (_, end) = admin.inner().fetch_watermarks(&topic, partition, TIMEOUT).expect("watermarks");
            if end >= offset {
                list.add_partition_offset(&topic, partition, Offset::Offset(offset)).expect("an offset");
            }
        }
        admin.delete_records(&list, &AdminOptions::new()).await.expect("deleted");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consumer-alerts"));
        command.args(["backtest", "--rules"]).arg(self.rules.path()).args(arguments);
        for (flag, name) in ["--ticks-topic", "--gaps-topic", "--health-topic"].iter().zip(self.topics()) {
            command.args([flag, name.1.as_str()]);
        }
        command.stdin(Stdio::null()).env_clear().envs(self.stack.env()).env("S3_PREFIX", &self.suffix);
        command
    }

    /// The most memory that the command has, MiB, and what it answers.
    pub async fn peak(&self, arguments: &[&str]) -> (u64, Answer) {
        let mut command = self.command(arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
        let status = format!("/proc/{}/status", child.id());
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().expect("the command ends"));
        let mut peak = 0;
        while !ended.is_finished() {
            let told = std::fs::read_to_string(&status).unwrap_or_default();
            let line = told.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
            peak = peak.max(kib.unwrap_or(0) / 1024);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (peak, Answer::of(ended.await.expect("no panic")))
    }

    pub async fn run(&self, arguments: &[&str]) -> Answer {
        let mut command = self.command(arguments);
        let output =
            tokio::task::spawn_blocking(move || command.output().expect("the command starts")).await.expect("no panic");
        Answer::of(output)
    }

    /// As [`Room::run`], when nothing is wrong.
    pub async fn done(&self, arguments: &[&str]) -> Answer {
        let answer = self.run(arguments).await;
        assert_eq!(answer.code, 0, "{arguments:?}: {}", answer.stderr);
        answer
    }
}

/// One raw object and its bronze, as consumer-lake writes them.
async fn put(store: &Store, record: RecordType, topic: &str, partition: i32, records: &Records) {
    let rows = raw::rows(records).expect("records");
    let (start, next_offset) = (rows.first, rows.last + 1);
    let link = Link { kind: LinkKind::Data, topic_id: Uuid::nil(), start, next_offset, rows: Some(rows) };
    let metadata: HashMap<String, String> =
        link.pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let object = raw::encode(&link, records, Compression::Zstd).expect("a raw object");
    let written = async |key: &str, bytes, metadata| {
        let put = store.put(key, bytes, metadata, Condition::IfNoneMatch).await.expect("an answer");
        assert!(matches!(put, Put::Done { .. }), "{key}");
    };
    written(&raw_key(topic, 0, partition, start), object, metadata).await;
    let bronze = Encodings::new(None).bronze_of(record, partition, records).await.expect("bronze");
    let key = bronze_key(table(record), rows.first_time_ms, topic, 0, partition, start);
    written(&key, bronze.bytes, HashMap::new()).await;
}
