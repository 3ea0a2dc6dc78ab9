//! The real binary against a real broker that stalls: nothing lost, nothing out of order, and what had to be dropped told.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use clap::Parser;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pipeline::events::{Gap, GapReason, PriceTick};
use pipeline::kafka::KafkaArgs;
use pipeline::topics::{self, Holds};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};
use stack::Stack;
use tokio::sync::{Mutex, MutexGuard};

use crate::heard;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// The one broker, for one test at a time: they stall it.
pub async fn broker() -> (MutexGuard<'static, ()>, &'static Stack, KafkaArgs) {
    static ONE: Mutex<()> = Mutex::const_new(());
    let guard = ONE.lock().await;
    heard::install_tls();
    let stack = stack::shared().await;
    let kafka = Args::parse_from(["test", "--kafka-bootstrap-servers", &stack.kafka_bootstrap_servers]).kafka;
    let admin: AdminClient<DefaultClientContext> = kafka.admin().create().expect("an admin client");
    for topic in topics::declared().iter().filter(|topic| topic.holds != Holds::DeadLetters) {
        let new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(1));
        let created = admin.create_topics([&new], &AdminOptions::new()).await.expect("the broker answers");
        assert!(matches!(created[0], Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))), "{created:?}");
    }
    (guard, stack, kafka)
}

pub struct Producer {
    child: Child,
    admin: String,
}

impl Producer {
    pub fn start(kafka: &KafkaArgs, spill: &Path, args: &[&str]) -> Self {
        let [port] = stack::free_ports().expect("a free port");
        let admin = format!("127.0.0.1:{port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_producer"));
        command
            .args([
                "--kafka-bootstrap-servers",
                &kafka.kafka_bootstrap_servers,
                "--admin-addr",
                &admin,
                "--log",
                "warn",
            ])
            .arg("--spill-dir")
            .arg(spill)
            .args(args);
        Self { child: command.spawn().expect("the binary is built"), admin }
    }

    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let response = reqwest::get(format!("http://{}{path}", self.admin)).await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    }

    /// A metric summed over its labels; 0 when it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let Some((_, text)) = self.get("/metrics").await else { return 0.0 };
        text.lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    async fn wait_for(&self, name: &str, enough: impl Fn(f64) -> bool) -> f64 {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let value = self.metric(name).await;
            if enough(value) {
                return value;
            }
            assert!(Instant::now() < until, "{name} is {value}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it runs");
    }

    pub async fn end(mut self) -> Option<i32> {
        tokio::task::spawn_blocking(move || self.child.wait().expect("it ends").code()).await.expect("no panic")
    }
}

/// A test that fails leaves no producer behind.
impl Drop for Producer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub fn read(kafka: &KafkaArgs, topic: &str) -> Vec<Vec<u8>> {
    let consumer: BaseConsumer = kafka.consumer(None).create().expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(20)).expect("the broker answers");
    let mut assignment = TopicPartitionList::new();
    let mut open = BTreeMap::new();
    for partition in metadata.topics()[0].partitions() {
        let (low, high) =
            consumer.fetch_watermarks(topic, partition.id(), Duration::from_secs(20)).expect("watermarks");
        if low < high {
            assignment.add_partition_offset(topic, partition.id(), Offset::Offset(low)).expect("a partition");
            open.insert(partition.id(), high);
        }
    }
    consumer.assign(&assignment).expect("assigned");
    let mut values = Vec::new();
    while !open.is_empty() {
        if let Some(Ok(message)) = consumer.poll(Duration::from_secs(20)) {
            values.push(message.payload().unwrap_or_default().to_vec());
            if open.get(&message.partition()).is_some_and(|high| message.offset() + 1 >= *high) {
                open.remove(&message.partition());
            }
        }
    }
    values
}

async fn ticks_of(kafka: &KafkaArgs, symbols: &[String]) -> Vec<PriceTick> {
    let mut ticks = heard::ticks(&read(kafka, topics::TICKS)).await;
    ticks.retain(|tick| symbols.contains(&tick.symbol));
    ticks
}

async fn overflows_since(kafka: &KafkaArgs, since: i64) -> Vec<Gap> {
    let mut gaps = heard::gaps(&read(kafka, topics::GAPS)).await;
    gaps.retain(|gap| gap.reason == GapReason::Overflow && gap.started_at >= since);
    gaps
}

/// A symbol's trades are numbered from 1 without holes.
fn number(tick: &PriceTick) -> u64 {
    tick.trade_id.as_deref().and_then(|id| id.parse().ok()).expect("a number")
}

/// Each symbol's trades by their numbers: what is in the log twice is there once.
fn distinct(ticks: &[PriceTick]) -> BTreeMap<&str, BTreeMap<u64, &PriceTick>> {
    let mut all: BTreeMap<&str, BTreeMap<u64, &PriceTick>> = BTreeMap::new();
    for tick in ticks {
        all.entry(&tick.symbol).or_default().entry(number(tick)).or_insert(tick);
    }
    all
}

fn assert_in_order(ticks: &[PriceTick], symbols: &[String]) {
    for symbol in symbols {
        let numbers: Vec<u64> = ticks.iter().filter(|tick| tick.symbol == *symbol).map(number).collect();
        assert!(numbers.is_sorted(), "{symbol} is out of order");
        assert!(!numbers.is_empty());
    }
}

/// Symbols that no other test has.
fn symbols() -> Vec<String> {
    let unique = fastrand::u32(..);
    ["A", "B", "C"].iter().map(|letter| format!("{letter}{unique:08X}-USD")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_broker_costs_nothing() {
    let (_guard, stack, kafka) = broker().await;
    let Some(server) = stack.kafka() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let symbols = symbols();
    let list = symbols.join(",");
    let producer = Producer::start(
        &kafka,
        dir.path(),
        &["--simulated-rate", "20000", "--simulated-trades", "200000", "--simulated-symbols", &list],
    );
    producer.wait_for("tickstream_producer_acknowledged_total", |count| count > 5_000.0).await;
    assert_eq!(producer.get("/readyz").await.map(|(status, _)| status), Some(200));

    server.signal(Signal::SIGSTOP);
    let spilled = producer.wait_for("tickstream_producer_spilled_total", |count| count > 10_000.0).await;
    let until = Instant::now() + Duration::from_secs(20);
    let red = loop {
        match producer.get("/readyz").await {
            Some((503, why)) => break why,
            _ => assert!(Instant::now() < until, "an outage was not shown"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(red.contains("broker: no acknowledgement since"), "{red}");
    assert_eq!(producer.get("/livez").await.map(|(status, _)| status), Some(200), "an outage must not restart it");
    server.signal(Signal::SIGCONT);

    assert_eq!(producer.end().await, Some(0));
    let ticks = ticks_of(&kafka, &symbols).await;
    assert_in_order(&ticks, &symbols);
    assert_eq!(ticks.len(), 200_000);
    for (symbol, trades) in distinct(&ticks) {
        assert!(trades.keys().copied().eq(1..=trades.len() as u64), "a trade of {symbol} is missing");
    }
    let once: usize = distinct(&ticks).values().map(BTreeMap::len).sum();
    assert_eq!(once, ticks.len(), "each trade is there once");
    say(&format!("stalled broker: 200000 made, {} in the topic, {spilled} through the spill", ticks.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spilled_survives_a_kill_and_an_orderly_end_keeps_even_the_memory() {
    let (_guard, stack, kafka) = broker().await;
    let Some(server) = stack.kafka() else { return };
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let dir = tempfile::tempdir().expect("a folder");
        let symbols = symbols();
        let list = symbols.join(",");
        let args = ["--simulated-rate", "20000", "--simulated-symbols", &list];
        let producer = Producer::start(&kafka, dir.path(), &args);
        producer.wait_for("tickstream_producer_acknowledged_total", |count| count > 5_000.0).await;
        server.signal(Signal::SIGSTOP);
        producer.wait_for("tickstream_producer_spilled_total", |count| count > 10_000.0).await;
        producer.signal(signal);
        producer.end().await;
        server.signal(Signal::SIGCONT);

        let next = Producer::start(&kafka, dir.path(), &["--simulated-trades", "1"]);
        assert_eq!(next.end().await, Some(0));
        let ticks = ticks_of(&kafka, &symbols).await;
        let trades = distinct(&ticks);
        let there: usize = trades.values().map(BTreeMap::len).sum();
        let made: u64 = trades.values().filter_map(|trades| trades.keys().last()).sum();
        let missing = made - there as u64;
        say(&format!("{signal}: {made} made, {missing} lost, {} in the topic twice", ticks.len() - there));
        match signal {
            // The memory is gone: at most what it holds, and nothing that was spilled.
            Signal::SIGKILL => {
                assert!(missing <= 55_000, "{missing}");
                let mut newest: Vec<(i64, u64, &str)> = Vec::new();
                for (symbol, trades) in &trades {
                    newest.extend(trades.iter().map(|(number, tick)| (tick.received_at, *number, *symbol)));
                }
                newest.sort_unstable();
                for symbol in &symbols {
                    let spilled = newest[newest.len() - 10_000..].iter().filter(|(.., of)| of == symbol);
                    let spilled: Vec<u64> = spilled.map(|(_, number, _)| *number).collect();
                    assert!(spilled.windows(2).all(|pair| pair[1] == pair[0] + 1), "a spilled trade is lost");
                }
                assert_in_order(&ticks, &symbols);
            }
            _ => assert_eq!(missing, 0),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_to_be_dropped_is_counted_and_is_a_gap() {
    let (_guard, stack, kafka) = broker().await;
    let Some(server) = stack.kafka() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let symbols = symbols();
    let list = symbols.join(",");
    let since = jiff::Timestamp::now().as_microsecond();
    let producer = Producer::start(
        &kafka,
        dir.path(),
        &[
            "--simulated-rate",
            "20000",
            "--simulated-trades",
            "160000",
            "--simulated-symbols",
            &list,
            "--spill-bytes",
            "1000000",
        ],
    );
    producer.wait_for("tickstream_producer_acknowledged_total", |count| count > 5_000.0).await;
    server.signal(Signal::SIGSTOP);
    producer.wait_for("tickstream_producer_dropped_total", |count| count > 1_000.0).await;
    server.signal(Signal::SIGCONT);
    producer.wait_for("tickstream_producer_spill_bytes", |bytes| bytes == 0.0).await;
    let dropped = producer.metric("tickstream_producer_dropped_total").await as u64;
    assert_eq!(producer.end().await, Some(0));

    let ticks = ticks_of(&kafka, &symbols).await;
    assert_in_order(&ticks, &symbols);
    let trades = distinct(&ticks);
    let there: usize = trades.values().map(BTreeMap::len).sum();
    let gaps = overflows_since(&kafka, since).await;
    let closed: Vec<&Gap> = gaps.iter().filter(|gap| gap.ended_at.is_some()).collect();
    assert_eq!(gaps.len(), 2 * closed.len(), "each is opened and closed: {gaps:?}");
    let told: u64 = closed
        .iter()
        .map(|gap| {
            gap.detail
                .rsplit_once("; ")
                .and_then(|(_, count)| count.strip_suffix(" records")?.parse::<u64>().ok())
                .expect("a count")
        })
        .sum();
    say(&format!("full spill: 160000 made, {there} in the topic, {told} dropped in {} gaps", closed.len()));
    assert_eq!(there as u64 + told, 160_000);
    assert!(told >= dropped && dropped > 1_000);
    // Every trade that is missing was made within one of the gaps.
    for trades in trades.values() {
        let trades: Vec<(u64, i64)> = trades.iter().map(|(number, tick)| (*number, tick.received_at)).collect();
        for pair in trades.windows(2).filter(|pair| pair[1].0 != pair[0].0 + 1) {
            let (before, after) = (pair[0].1, pair[1].1);
            assert!(
                closed.iter().any(|gap| gap.started_at >= before && gap.ended_at <= Some(after + 2_000_000)),
                "{pair:?}"
            );
        }
    }
}

/// Fault tests print what they counted.
pub fn say(line: &str) {
    eprintln!("{line}");
}
