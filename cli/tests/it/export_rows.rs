//! `tickstream export` of 200,000 ticks, out of the topic and out of the lake, in each format: every row comes back digit for
//! digit, in bounded memory; and what is said of a file that is there, a full disk, a reader that goes away.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pipeline::codec::{Encoder, Framing};
use pipeline::decimal::Decimal38;
use pipeline::events::{PriceTick, event_id};
use pipeline::example;
use pipeline::kafka::KafkaArgs;
use pipeline::topics::TICKS;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use stack::{Kafka, Stack};
use uuid::Uuid;

use crate::audit_world::World;
use crate::{Answer, command, run};

const ROWS: u64 = 200_000;
const PREFIX: &str = "cli-export-rows";
/// What a debug build may take at most; the rows are some 100 MB as JSON lines.
const MEMORY_KB: u64 = 200_000;

fn id(n: u64) -> Uuid {
    event_id("test", "rows", "BTC-USD", &n.to_string())
}

/// A price of all digits that there are.
fn price(n: u64) -> Decimal38 {
    format!("{}.{:018}", 60_000 + n, n * 4_999_999_999_999 + 1).parse().expect("a decimal")
}

fn symbol(n: u64) -> &'static str {
    if n.is_multiple_of(4) { "ETH-USD" } else { "BTC-USD" }
}

struct Rows {
    stack: &'static Stack,
    kafka: Kafka,
}

impl Rows {
    fn args(&self) -> KafkaArgs {
        KafkaArgs { kafka_bootstrap_servers: self.kafka.bootstrap_servers(), kafka_properties: Vec::new() }
    }

    /// The topic is filled, and the lake by the real consumer.
    async fn new() -> Self {
        let stack = stack::shared().await;
        let rows = Self { stack, kafka: stack.another_kafka("cli-export").await.expect("another broker") };
        let answer = run(rows.command(&["topics", "apply"])).await;
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        let encoder = Encoder::new(Framing::SingleObject).await.expect("encoder");
        let settings = rows.args().producer();
        tokio::task::spawn_blocking(move || fill(&settings.create().expect("producer"), &encoder))
            .await
            .expect("filled");
        let program = Path::new(env!("CARGO_BIN_EXE_tickstream")).with_file_name("consumer-lake");
        assert!(program.exists(), "{} is not built: `cargo build --workspace`", program.display());
        let mut lake = Command::new(program);
        lake.arg("--until-caught-up").env_clear().envs(stack.env()).env("RUST_LOG", "error").stdin(Stdio::null());
        lake.env("KAFKA_BOOTSTRAP_SERVERS", rows.kafka.bootstrap_servers());
        lake.env("S3_PREFIX", PREFIX).env("ADMIN_ADDR", "127.0.0.1:0");
        let answer = run(lake).await;
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        rows
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(self.stack, arguments);
        command.env("KAFKA_BOOTSTRAP_SERVERS", self.kafka.bootstrap_servers()).env("S3_PREFIX", PREFIX);
        command
    }

    async fn export(&self, arguments: &[&str]) -> Answer {
        run(self.command(&[&["export"], arguments].concat())).await
    }

    async fn done(&self, arguments: &[&str]) -> String {
        let answer = self.export(arguments).await;
        assert_eq!((answer.code, answer.stdout.as_str()), (0, ""), "{}", answer.stderr);
        answer.stderr
    }

    async fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let answer = self.export(arguments).await;
        assert_eq!(answer.code, code, "{arguments:?}: {}", answer.stderr);
        let missing: Vec<_> = words.iter().filter(|word| !answer.line().contains(**word)).collect();
        assert!(missing.is_empty(), "{arguments:?}: {:?} does not say {missing:?}", answer.stderr);
    }
}

fn fill(producer: &ThreadedProducer<DefaultProducerContext>, encoder: &Encoder) {
    for n in 0..ROWS {
        let tick = PriceTick {
            event_id: id(n),
            symbol: symbol(n).to_owned(),
            price: price(n),
            trade_id: Some(n.to_string()),
            event_time: 1_790_000_000_000_000 + n as i64,
            ..example::tick()
        };
        let value = encoder.tick(&tick);
        loop {
            let record = BaseRecord::<[u8], [u8]>::to(TICKS).partition((n % 4) as i32).payload(&value);
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
    }
    producer.flush(Timeout::After(Duration::from_secs(120))).expect("delivered");
}

/// Each row of these Parquet files is the tick that was sent, and each tick is there once. Gives the places of the rows.
fn every_row(files: &[&Path]) -> BTreeMap<(i64, i64), u64> {
    let mut places = BTreeMap::new();
    for file in files {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(file).expect("a file")).expect("Parquet");
        let schema = builder.schema().clone();
        assert_eq!(schema.field_with_name("price").expect("price").data_type(), &DataType::Decimal128(38, 18));
        for batch in builder.build().expect("a reader") {
            let batch = batch.expect("rows");
            let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no {name}")).clone();
            let number = |name: &str| arrow::compute::cast(&column(name), &DataType::Int64).expect("numbers");
            let text = |name: &str| arrow::compute::cast(&column(name), &DataType::Utf8).expect("texts");
            let (partitions, offsets) = (number("kafka_partition"), number("kafka_offset"));
            let (trades, symbols) = (text("trade_id"), text("symbol"));
            let (ids, prices, times) = (column("event_id"), column("price"), column("event_time"));
            let prices = prices.as_primitive::<Decimal128Type>();
            let times = times.as_primitive::<TimestampMicrosecondType>();
            for row in 0..batch.num_rows() {
                let n: u64 = trades.as_string::<i32>().value(row).parse().expect("a number");
                assert_eq!(prices.value(row), price(n).unscaled(), "tick {n}");
                assert_eq!(ids.as_fixed_size_binary().value(row), id(n).as_bytes(), "tick {n}");
                assert_eq!(symbols.as_string::<i32>().value(row), symbol(n), "tick {n}");
                assert_eq!(times.value(row), 1_790_000_000_000_000 + n as i64, "tick {n}");
                assert!(batch.column_by_name("bid").is_some_and(|bids| bids.is_null(row)), "tick {n}");
                let number = |column: &dyn Array| column.as_primitive::<Int64Type>().value(row);
                assert_eq!(places.insert((number(&partitions), number(&offsets)), n), None, "tick {n}");
            }
        }
    }
    places
}

/// The most memory that the command had, in kB, as the kernel tells it while it runs.
fn most_memory(mut command: Command) -> u64 {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts");
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().expect("a child").is_none() {
        let told = fs::read_to_string(&status).unwrap_or_default();
        let line = told.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse().ok());
        most = line.unwrap_or(0).max(most);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().expect("a child").success());
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_comes_back_in_each_format() {
    let rows = Rows::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();

    // Out of the topic and out of the lake: the same rows.
    let said = rows.done(&["--source", "topic", "--to", &path("topic.parquet")]).await;
    assert!(said.contains("200000 rows of ticks, ") && said.contains("topic.parquet"), "{said}");
    let topic = every_row(&[&folder.path().join("topic.parquet")]);
    assert_eq!(topic.len() as u64, ROWS);
    rows.done(&["--table", TICKS, "--to", &path("lake.parquet")]).await;
    assert_eq!(every_row(&[&folder.path().join("lake.parquet")]), topic);

    // A folder of files of so many rows.
    fs::create_dir(folder.path().join("parts")).expect("a folder");
    let said = rows.done(&["--format", "csv", "--part-rows", "60000", "--to", &path("parts")]).await;
    assert!(said.contains("200000 rows of ticks in 4 files"), "{said}");
    let mut seen = 0;
    for part in 0..4 {
        let mut reader = csv::Reader::from_path(path(&format!("parts/part-{part:05}.csv"))).expect("a part");
        let headings = reader.headers().expect("headings").clone();
        let column = |name: &str| headings.iter().position(|heading| heading == name).expect("a column");
        let (trade, price_at) = (column("trade_id"), column("price"));
        for line in reader.records() {
            let line = line.expect("a line");
            let n: u64 = line[trade].parse().expect("a number");
            assert_eq!(line[price_at], price(n).to_string(), "tick {n}");
            seen += 1;
        }
    }
    assert_eq!(seen, ROWS);

    Box::pin(lines_of_one_symbol(&rows)).await;
    let mut lean = Vec::new();
    for (source, form) in [("topic", "parquet"), ("lake", "parquet"), ("topic", "jsonl"), ("lake", "csv")] {
        let command = rows.command(&["export", "--source", source, "--format", form, "--to", "-"]);
        let most = tokio::task::spawn_blocking(move || most_memory(command)).await.expect("it ran");
        assert!(most < MEMORY_KB, "{source} to {form}: {most} kB");
        lean.push(format!("{source} to {form} {} MB", most / 1000));
    }
    eprintln!("200000 rows, at most: {}", lean.join(", "));
    Box::pin(what_is_in_the_way(&rows, folder.path())).await;
    Box::pin(what_is_not_there(&rows)).await;
}

async fn lines_of_one_symbol(rows: &Rows) {
    let answer = rows.export(&["--source", "topic", "--symbol", "eth-usd", "--format", "jsonl", "--to", "-"]).await;
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let mut count = 0;
    for line in answer.stdout.lines() {
        let tick: Value = serde_json::from_str(line).expect("JSON");
        let n: u64 = tick["trade_id"].as_str().expect("text").parse().expect("a number");
        assert_eq!((tick["symbol"].as_str(), tick["price"].as_str()), (Some("ETH-USD"), Some(&*price(n).to_string())));
        assert_eq!((tick["bid"].is_null(), tick["event_id"].as_str()), (true, Some(&*id(n).to_string())));
        assert!(tick["kafka_offset"].is_i64() && tick["retracted"].is_boolean(), "{line}");
        count += 1;
    }
    assert_eq!(count, ROWS / 4);
}

async fn what_is_in_the_way(rows: &Rows, folder: &Path) {
    let there = folder.join("there.csv");
    fs::write(&there, "mine").expect("written");
    let there = there.to_str().expect("text");
    rows.refused(&["--to", there], 2, &["is there already", "--replace"]).await;
    assert_eq!(fs::read_to_string(there).expect("text"), "mine");
    rows.done(&["--to", there, "--replace", "--symbol", "ETH-USD"]).await;
    assert!(fs::metadata(there).expect("a file").len() > 1_000_000);
    let parts = folder.join("parts");
    let parts = parts.to_str().expect("text");
    rows.refused(&["--to", parts, "--format", "csv"], 2, &["holds part-0000"]).await;
    rows.refused(&["--to", "no/such/folder/x.csv"], 2, &["there is no folder no/such/folder"]).await;
    rows.refused(&["--to", "x.txt"], 2, &["--format", "parquet, csv or jsonl: the name x.txt does not end"]).await;
    let unnamed = format!("{}/", folder.join("unnamed").display());
    rows.refused(&["--to", &unnamed], 2, &["--format", "parquet, csv or jsonl"]).await;
    assert!(!Path::new(&unnamed).exists(), "nothing was made");

    // A disk that takes no more: one line, and no file.
    for form in ["jsonl", "csv", "parquet"] {
        let mut full = rows.command(&["export", "--format", form, "--to", "-"]);
        full.stdout(File::options().write(true).open("/dev/full").expect("a full disk")).stderr(Stdio::piped());
        let answer = tokio::task::spawn_blocking(move || full.output().expect("it starts")).await.expect("it ran");
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert_eq!((answer.status.code(), said.lines().count()), (Some(1), 1), "{form}: {said}");
        let says = "the disk is full, and what was written is not whole: No space left on device";
        assert!(said.contains(says) && !said.contains(".partial"), "{form}: {said}");
    }

    // A reader that goes away is no failure.
    for form in ["jsonl", "csv", "parquet"] {
        let mut command = rows.command(&["export", "--format", form, "--to", "-"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
        reader.fill_buf().expect("the first bytes");
        drop(reader);
        let answer =
            tokio::task::spawn_blocking(move || child.wait_with_output().expect("it ends")).await.expect("it ran");
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert_eq!((answer.status.code(), said.as_str()), (Some(0), ""), "{form}");
    }
    let mut left = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    assert!(left.all(|name| !name.to_string_lossy().ends_with(".partial")));
}

async fn what_is_not_there(rows: &Rows) {
    let out = ["--format", "jsonl", "--to", "-"];
    let with = |more: &[&'static str]| [more, &out[..]].concat();
    rows.refused(&with(&["--symbol", "ETH-USDX"]), 1, &["no symbol ETH-USDX is known", "nearest names are ETH-USD"])
        .await;
    rows.refused(&with(&["--table", "tick"]), 2, &["no table tick is known", "ticks"]).await;
    rows.refused(&with(&["--table", "gaps", "--symbol", "BTC-USD"]), 2, &["are not of one symbol each"]).await;
    rows.refused(&with(&["--from-datetime", "2026-01-02", "--to-datetime", "2026-01-01"]), 2, &["is not before"]).await;
    rows.refused(&with(&["--to-datetime", "2020-01-01"]), 1, &["nothing to export", "before 2020-01-01"]).await;
    rows.refused(&with(&["--source", "topic", "--layer", "silver"]), 2, &["--layer silver is of the lake"]).await;
    rows.refused(&with(&["--source", "topic", "--table", "quarantined_ticks"]), 2, &["--source lake has it"]).await;

    // Retention has been at work: a time before it is refused, what is left is not.
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TICKS, 0, Offset::Offset(49_000)).expect("an offset");
    let admin: AdminClient<DefaultClientContext> = rows.args().admin().create().expect("client");
    admin.delete_records(&list, &AdminOptions::new()).await.expect("delete records");
    let words = ["has lost offsets 0 to 48999 to retention", "--source lake has the rest"];
    rows.refused(&with(&["--source", "topic", "--from-datetime", "2020-01-01"]), 2, &words).await;
    let answer = rows.export(&with(&["--source", "topic"])).await;
    assert_eq!((answer.code, answer.stdout.lines().count() as u64), (0, ROWS - 49_000), "{}", answer.stderr);
}

/// The rows of silver, gaps with their lists, and a span of it.
pub async fn out_of_silver(world: &World) {
    let export = async |more: &[&str]| {
        let arguments = [&["export", "--layer", "silver", "--format", "jsonl", "--to", "-"], more].concat();
        world.ok(&arguments).await.json_lines()
    };
    let all = export(&[]).await;
    assert!(all.iter().all(|tick| tick["copies"].is_i64() && tick["price"].is_string()), "{all:#?}");
    let corrected: Vec<&Value> = all.iter().filter(|tick| tick["price"] == "70001").collect();
    assert_eq!(corrected.len(), 1, "each event once, as its newest revision tells it");
    let (from, to) = (world.hour, world.hour + crate::audit_world::MINUTE);
    let text = |micros| jiff::Timestamp::from_microsecond(micros).expect("a time").to_string();
    let some = export(&["--from-datetime", &text(from), "--to-datetime", &text(to)]).await;
    assert_eq!(some.len(), 2, "{some:#?}");
    let gaps = export(&["--table", "gaps"]).await;
    assert!(gaps.iter().any(|gap| gap["symbols"] == serde_json::json!(["BTC-USD"])), "{gaps:#?}");
}
