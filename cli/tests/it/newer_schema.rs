//! Records of a schema version that is newer than every consumer: kept by raw, dead letters everywhere else, and nothing stops.
//! Once a registry has the schema they come to everything, each once.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::{Timestamp, ToSpan};
use pipeline::codec::fingerprint_of;
use pipeline::events::{PriceTick, event_id};
use pipeline::example;
use pipeline::topics::TICKS;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use serde_json::{Value, json};
use sqlx::Row;

use crate::replay_installation::Installation;
use crate::schema::{changed, fields, registry};
use crate::{Answer, run};

const PATIENCE: Timeout = Timeout::After(Duration::from_secs(60));
const REGISTRY: &str = "SCHEMA_REGISTRY_URL";

fn tick(number: u64) -> PriceTick {
    let now = Timestamp::now().as_microsecond();
    PriceTick {
        event_id: event_id("test", "trades", "BTC-USD", &number.to_string()),
        event_time: now,
        received_at: now,
        ..example::tick()
    }
}

/// With one field more, which is null.
fn of_version_3(schema: &str, record: &[u8]) -> Vec<u8> {
    let fingerprint = fingerprint_of(schema).expect("a schema");
    let header = [&[0xC3, 0x01][..], &fingerprint.to_le_bytes()].concat();
    [&header, &record[header.len()..], &[0]].concat()
}

struct World {
    installation: Installation,
    producer: FutureProducer,
    /// Once it is known.
    registry: Option<String>,
}

impl World {
    async fn send(&self, value: Vec<u8>) {
        let record = FutureRecord::<str, [u8]>::to(TICKS).key("BTC-USD").payload(&value);
        self.producer.send(record, PATIENCE).await.expect("delivered");
    }

    async fn service(&self, name: &str, arguments: &[&str]) -> Answer {
        let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_tickstream")).with_file_name(name));
        let installation = &self.installation;
        command.args(arguments).env_clear().envs(installation.stack.env()).env("RUST_LOG", "error");
        command.env("KAFKA_BOOTSTRAP_SERVERS", &installation.args.kafka_bootstrap_servers);
        command.env("DATABASE_URL", &installation.database_url).env("S3_PREFIX", &installation.prefix);
        command.env("ADMIN_ADDR", "127.0.0.1:0").stdin(Stdio::null());
        command.envs(self.registry.iter().map(|url| (REGISTRY, url)));
        let answer = run(command).await;
        assert_eq!(answer.code, 0, "{name} {arguments:?}: {}\n{}", answer.stdout, answer.stderr);
        answer
    }

    /// What the topics hold is in Postgres and in the lake.
    async fn settle(&self) {
        self.service("consumer-db", &["--until-caught-up"]).await;
        // Its own dead letters are records, too.
        for _ in 0..2 {
            self.service("consumer-lake", &["--until-caught-up"]).await;
        }
        self.service("refiner", &["once"]).await;
    }

    async fn tickstream(&self, code: i32, arguments: &[&str]) -> Answer {
        let mut command = self.installation.command(arguments);
        command.envs(self.registry.iter().map(|url| (REGISTRY, url)));
        let answer = run(command).await;
        assert_eq!(answer.code, code, "{arguments:?}\n{}\n{}", answer.stdout, answer.stderr);
        answer
    }

    /// The audit finds nothing: delivered, rows of bronze, dead letters and rows of Postgres.
    async fn totals(&self) -> [Option<u64>; 4] {
        self.tickstream(0, &["audit", "--deep", "--only", "lake"]).await;
        let report = self.tickstream(0, &["audit", "--topic", TICKS, "-o", "json"]).await.json();
        ["delivered", "bronze_rows", "dead_letters", "postgres_rows"].map(|name| report["totals"][name].as_u64())
    }

    /// The ticks that the day's candles are made of, in Postgres.
    async fn counted(&self) -> i64 {
        let mut rows = self.installation.connect().await;
        let sum = "select coalesce(sum(ticks), 0)::bigint from candles where timeframe = '1d'";
        sqlx::query(sum).fetch_one(&mut rows).await.expect("a sum").get(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_later_version_are_dead_letters_until_the_schema_is_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = changed(folder.path(), "price_tick-v3.avsc", |schema| {
        fields(schema).push(json!({"name": "venue", "type": ["null", "string"], "default": null}));
    });
    let schema = std::fs::read_to_string(&file).expect("written");
    let installation = Installation::without_services("cli-newer-schema").await;
    let producer = installation.args.producer().create().expect("producer");
    let mut world = World { installation, producer, registry: None };
    for number in 0..11 {
        let record = world.installation.encoder.tick(&tick(number));
        world.send(if (3..8).contains(&number) { of_version_3(&schema, &record) } else { record }).await;
    }
    world.settle().await;
    assert_eq!(world.totals().await, [Some(11), Some(6), Some(5), Some(6)], "raw has them, byte for byte");
    assert_eq!(world.counted().await, 6, "what came after them too");
    let letters = world.tickstream(0, &["dlq", "list", "-o", "json"]).await;
    let letters = letters.json();
    let groups: Vec<(&str, u64)> = letters
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| {
            assert!(
                row["reason"].as_str().is_some_and(|reason| reason.starts_with("unknown schema fingerprint")),
                "{row}"
            );
            (row["group"].as_str().expect("a group"), row["letters"].as_u64().expect("a count"))
        })
        .collect();
    assert_eq!(groups, [("consumer-db", 5), ("consumer-lake", 5)]);
    let redrive = ["dlq", "redrive", "--topic", TICKS, "--execute"];
    let refused = world.tickstream(1, &redrive).await;
    assert!(refused.stderr.contains("0 letters redriven (0 records), 10 refused"), "{}", refused.stderr);

    let (url, _fake) = registry("BACKWARD").await;
    world.registry = Some(url);
    let history = folder.path().to_str().expect("text");
    world.tickstream(0, &["schema", "check", &file]).await;
    world.tickstream(0, &["schema", "register", "price_tick", "--history", history]).await;
    let again = world.tickstream(0, &redrive).await;
    assert!(again.stderr.contains("10 letters redriven (5 records)"), "{}", again.stderr);
    world.settle().await;
    assert_eq!(world.counted().await, 11);
    let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let [from, to] = [today - 1.day(), today + 1.day()].map(|day| day.to_string());
    let rebuilt = world.service("refiner", &["rebuild", "--layer", "bronze", "--from", &from, "--to", &to]).await;
    assert!(rebuilt.stdout.contains("bronze: 1 objects written"), "{}", rebuilt.stdout);
    world.settle().await;
    assert_eq!(world.totals().await, [Some(16), Some(16), Some(5), Some(11)], "each again, and where it first stood");
    assert_eq!(world.counted().await, 11);
    let silver = world.tickstream(0, &["audit", "--only", "lake", "-o", "json"]).await.json();
    assert_eq!(silver["differences"], Value::Array(Vec::new()));
}
