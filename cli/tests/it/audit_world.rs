//! A small market in a cluster, a lake and a database of its own, filled by the real consumers and the real refiner.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pipeline::codec::{Encoder, Framing};
use pipeline::dead_letter::{DeadLetter, DeadLetters};
use pipeline::events::{Gap, IndexWeight, PriceTick, event_id};
use pipeline::example;
use pipeline::kafka::KafkaArgs;
use pipeline::records::{Record, RecordBuffer};
use pipeline::topic_id::TopicIds;
use pipeline::topics::{ALERTS, GAPS, INDEX, TICKS};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use serde_json::Value;
use sqlx::PgConnection;
use stack::{Kafka, Stack};
use uuid::Uuid;

use crate::lake::Lake;
use crate::{Answer, command, database, run};

const PATIENCE: Timeout = Timeout::After(Duration::from_secs(30));
pub const HOUR: i64 = 3_600_000_000;
pub const MINUTE: i64 = 60_000_000;

pub struct World {
    pub stack: &'static Stack,
    _kafka: Kafka,
    pub args: KafkaArgs,
    pub ids: TopicIds,
    producer: FutureProducer,
    pub encoder: Encoder,
    pub lake: Lake,
    pub rows: PgConnection,
    database_url: String,
    /// The start of the hour that most ticks are of, an hour and more ago.
    pub hour: i64,
    /// Of the first wave, the hour's object of silver as it was then.
    pub old_silver: Vec<u8>,
    pub metrics: tempfile::TempDir,
    prefix: &'static str,
}

/// Event `n`.
pub fn id(n: u64) -> Uuid {
    event_id("test", "trades", "BTC-USD", &n.to_string())
}

impl World {
    /// A world whose cluster, database and lake are called by this name. Two waves: ticks of two symbols in two hours, one of them twice, one corrected, one moved, garbage; a gap that was
    /// closed and one that is open; weights; an alert.
    pub async fn new(prefix: &'static str) -> Self {
        let stack = stack::shared().await;
        let kafka = stack.another_kafka(prefix).await.expect("another broker");
        let args = KafkaArgs { kafka_bootstrap_servers: kafka.bootstrap_servers(), kafka_properties: Vec::new() };
        let ids = TopicIds::new(&args).expect("client");
        let (rows, database_url) = database(stack, &prefix.replace('-', "_")).await;
        let mut world = Self {
            stack,
            _kafka: kafka,
            producer: args.producer().create().expect("producer"),
            encoder: Encoder::new(Framing::SingleObject).await.expect("encoder"),
            lake: Lake::empty(stack, prefix, Uuid::nil()),
            args,
            ids,
            rows,
            database_url,
            hour: jiff::Timestamp::now().as_microsecond() / HOUR * HOUR - 2 * HOUR,
            old_silver: Vec::new(),
            metrics: tempfile::tempdir().expect("a folder"),
            prefix,
        };
        world.ok(&["topics", "apply"]).await;
        for n in 0..60 {
            world.send(TICKS, (n % 2) as i32, world.encoder.tick(&world.tick(n))).await;
        }
        world.send(TICKS, 0, world.encoder.tick(&world.tick(2))).await;
        world.send(TICKS, 1, b"garbage".to_vec()).await;
        world
            .send(TICKS, 0, world.encoder.tick(&PriceTick { revision: 1, price: decimal("70001"), ..world.tick(4) }))
            .await;
        for n in 0..3 {
            world.send(INDEX, 0, world.encoder.index_weight(&world.weight(n))).await;
        }
        world.send(ALERTS, 0, world.encoder.alert(&example::alert())).await;
        let closed = world.gap(1, world.hour + 10 * MINUTE, Some(world.hour + 12 * MINUTE));
        world.send(GAPS, 0, world.encoder.gap(&Gap { ended_at: None, ..closed.clone() })).await;
        world.send(GAPS, 0, world.encoder.gap(&closed)).await;
        let open = world.gap(2, jiff::Timestamp::now().as_microsecond() - MINUTE, None);
        world.send(GAPS, 0, world.encoder.gap(&open)).await;
        world.settle().await;
        world.old_silver = world.lake.bytes(&world.silver()).await;
        for n in 60..70 {
            world.send(TICKS, 0, world.encoder.tick(&world.tick(n))).await;
        }
        let moved = world.tick(6);
        let moved = PriceTick {
            revision: 1,
            previous_event_time: Some(moved.event_time),
            event_time: moved.event_time + 7 * MINUTE,
            ..moved
        };
        world.send(TICKS, 0, world.encoder.tick(&moved)).await;
        world.settle().await;
        world
    }

    /// Of every 20 ticks 15 are of the hour, and five of the one before; from 60 on all are of the hour.
    pub fn tick(&self, n: u64) -> PriceTick {
        let symbol = if n.is_multiple_of(2) { "BTC-USD" } else { "ETH-USD" };
        let before = if n < 60 && n % 20 >= 15 { HOUR } else { 0 };
        let event_time = self.hour - before + n as i64 * 40_000_000;
        PriceTick {
            event_id: id(n),
            source: "test".to_owned(),
            symbol: symbol.to_owned(),
            base: symbol[..3].to_owned(),
            source_symbol: symbol.to_owned(),
            price: decimal(&format!("{}.25", 67_000 + n)),
            bid: Some(decimal("-0.000000000000000001")).filter(|_| n == 8),
            change_24h_pct: Some(decimal("-1.5")).filter(|_| n == 9),
            event_time,
            received_at: event_time + 1000,
            sequence: Some(n as i64),
            trade_id: Some(n.to_string()),
            ..example::tick()
        }
    }

    fn weight(&self, n: u64) -> IndexWeight {
        let code = format!("CODE{n}");
        IndexWeight { event_id: event_id("b3", "portfolio", "IBOV", &code), code, ..example::index_weight() }
    }

    pub fn gap(&self, n: u128, started_at: i64, ended_at: Option<i64>) -> Gap {
        let symbols = vec!["BTC-USD".to_owned()];
        Gap { id: Uuid::from_u128(n), source: "test".to_owned(), symbols, started_at, ended_at, ..example::gap() }
    }

    pub async fn send(&self, topic: &str, partition: i32, value: Vec<u8>) -> i64 {
        let record = FutureRecord::<[u8], [u8]>::to(topic).partition(partition).payload(&value);
        self.producer.send(record, PATIENCE).await.expect("delivered").offset
    }

    pub async fn send_gap(&self, gap: &Gap) -> i64 {
        self.send(GAPS, 0, self.encoder.gap(gap)).await
    }

    pub async fn send_tick(&self, tick: &PriceTick, partition: i32) -> i64 {
        self.send(TICKS, partition, self.encoder.tick(tick)).await
    }

    /// As a consumer of that group would send it.
    pub async fn letter(&self, group: &str, topic: &str, partition: i32, offset: i64) {
        let topic_id = self.ids.topic_id(topic, 0).await.expect("a topic id");
        let mut buffer = RecordBuffer::new();
        let value = Some(&b"bytes"[..]);
        buffer.push_owned(Record { offset, timestamp_ms: 1_772_500_000_000, key: None, value }, &[]);
        let letter = DeadLetter { topic: topic.to_owned(), partition, offset, reason: "test".to_owned() };
        let letters = DeadLetters::new(&self.args, group).expect("producer");
        letters.send(&buffer.finish(), Some(topic_id), &[&letter]).await.expect("sent");
    }

    /// All that the topics hold is in Postgres and in the lake, in objects of a few records, and refined.
    pub async fn settle(&self) {
        self.service("consumer-db", &["--until-caught-up"]).await;
        // Its own dead letters are records, too.
        for _ in 0..2 {
            self.service("consumer-lake", &["--until-caught-up", "--max-rows", "8"]).await;
        }
        self.service("refiner", &["once"]).await;
    }

    async fn service(&self, name: &str, arguments: &[&str]) {
        let program = Path::new(env!("CARGO_BIN_EXE_tickstream")).with_file_name(name);
        assert!(program.exists(), "{} is not built: `cargo build --workspace`", program.display());
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(self.stack.env()).env("RUST_LOG", "error").stdin(Stdio::null());
        command.env("KAFKA_BOOTSTRAP_SERVERS", &self.args.kafka_bootstrap_servers);
        command.env("DATABASE_URL", &self.database_url).env("S3_PREFIX", self.prefix).env("ADMIN_ADDR", "127.0.0.1:0");
        let answer = run(command).await;
        assert_eq!(answer.code, 0, "{name}: {}\n{}", answer.stdout, answer.stderr);
    }

    pub async fn run(&self, arguments: &[&str]) -> Answer {
        let mut command = command(self.stack, arguments);
        command.env("KAFKA_BOOTSTRAP_SERVERS", &self.args.kafka_bootstrap_servers);
        command.env("DATABASE_URL", &self.database_url).env("S3_PREFIX", self.prefix);
        run(command).await
    }

    pub async fn ok(&self, arguments: &[&str]) -> Answer {
        let answer = self.run(arguments).await;
        assert_eq!(answer.code, 0, "{arguments:?}\n{}\n{}", answer.stdout, answer.stderr);
        answer
    }

    pub async fn audit(&self, more: &[&str]) -> Answer {
        self.run(&[&["audit", "-o", "json"], more].concat()).await
    }

    /// Nothing differs; gives the report.
    pub async fn clean(&self, more: &[&str]) -> Value {
        let answer = self.audit(more).await;
        assert_eq!(answer.code, 0, "{more:?}\n{}\n{}", answer.stdout, answer.stderr);
        let report = answer.json();
        assert_eq!((&report["equal"], &report["differences"]), (&true.into(), &serde_json::json!([])));
        report
    }

    pub async fn sql(&mut self, statement: &str) {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        sqlx::raw_sql(statement).execute(&mut self.rows).await.expect("executed");
    }

    /// A time as SQL has it.
    pub fn time(micros: i64) -> String {
        format!("timestamptz '{}'", jiff::Timestamp::from_microsecond(micros).expect("a time"))
    }

    /// Where an hour's ticks stand in silver.
    pub fn silver(&self) -> String {
        let time = jiff::Timestamp::from_microsecond(self.hour).expect("a time").to_string();
        format!("silver/ticks/dt={}/hour={}/part.parquet", &time[..10], &time[11..13])
    }

    /// The hour's day in gold.
    pub fn gold(&self, table: &str) -> String {
        let time = jiff::Timestamp::from_microsecond(self.hour).expect("a time").to_string();
        format!("gold/{table}/dt={}/part.parquet", &time[..10])
    }
}

fn decimal(text: &str) -> pipeline::decimal::Decimal38 {
    text.parse().expect("a decimal")
}
