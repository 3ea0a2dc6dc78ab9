//! Dead letters in a cluster of their own: listed, shown, sent again once, dropped.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use pipeline::codec::{Encoder, Framing};
use pipeline::dead_letter::{DeadLetter, DeadLetters};
use pipeline::events::{Gap, IndexWeight};
use pipeline::example;
use pipeline::kafka::KafkaArgs;
use pipeline::records::{Record, RecordBuffer, Records};
use pipeline::stretches::{self, Stretch};
use pipeline::topic_id::TopicIds;
use pipeline::topics::{GAPS, INDEX, REDRIVES, dlq};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use serde_json::Value;
use stack::{Kafka, Stack};
use tokio::sync::{Mutex, OnceCell};
use uuid::Uuid;

use crate::{Answer, command, run};

const PATIENCE: Timeout = Timeout::After(Duration::from_secs(30));
/// On a record that was sent again.
const REDRIVEN: &str = "tickstream-redriven";
/// Held by whoever settles letters: each takes over from the one before.
static WRITING: Mutex<()> = Mutex::const_new(());

/// A cluster with the declared topics, for these tests alone.
pub struct Broker {
    pub stack: &'static Stack,
    pub args: KafkaArgs,
    pub ids: TopicIds,
    producer: FutureProducer,
}

/// A record that the broker took.
#[derive(Clone, Debug)]
pub struct Placed {
    pub topic: &'static str,
    pub partition: i32,
    pub offset: i64,
    pub value: Vec<u8>,
}

impl Placed {
    pub fn coordinates(&self) -> String {
        format!("{}:{}:{}", self.topic, self.partition, self.offset)
    }

    fn records(&self) -> Records {
        let mut buffer = RecordBuffer::new();
        let headers = [("origin".to_owned(), Some(b"by hand".to_vec()))];
        let (key, value) = (Some(&b"a key"[..]), Some(&*self.value));
        buffer.push_owned(Record { offset: self.offset, timestamp_ms: 1_772_500_000_000, key, value }, &headers);
        buffer.finish()
    }
}

/// A record as a reader of the topic is given it.
#[derive(Clone, Debug)]
pub struct Read {
    pub partition: i32,
    pub offset: i64,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub headers: HashMap<String, Vec<u8>>,
}

impl Broker {
    pub async fn shared() -> &'static Self {
        static STARTED: OnceCell<(Kafka, Broker)> = OnceCell::const_new();
        let (_, broker) = STARTED
            .get_or_init(async || {
                let stack = stack::shared().await;
                let kafka = stack.another_kafka("cli-dlq").await.expect("another broker");
                let args =
                    KafkaArgs { kafka_bootstrap_servers: kafka.bootstrap_servers(), kafka_properties: Vec::new() };
                let producer = args.producer().create().expect("producer");
                let ids = TopicIds::new(&args).expect("client");
                let broker = Broker { stack, args, ids, producer };
                let applied = broker.run(&["topics", "apply"]).await;
                assert_eq!(applied.code, 0, "{}", applied.stderr);
                (kafka, broker)
            })
            .await;
        broker
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(self.stack, arguments);
        command.env("KAFKA_BOOTSTRAP_SERVERS", &self.args.kafka_bootstrap_servers);
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Answer {
        run(self.command(arguments)).await
    }

    /// Which must end so.
    pub async fn ends(&self, code: i32, arguments: &[&str]) -> Answer {
        let answer = self.run(arguments).await;
        assert_eq!(answer.code, code, "{arguments:?}\n{}\n{}", answer.stdout, answer.stderr);
        answer
    }

    pub async fn send(&self, topic: &'static str, partition: i32, value: Vec<u8>) -> Placed {
        let record = FutureRecord::<[u8], [u8]>::to(topic).partition(partition).payload(&value);
        let offset = self.producer.send(record, PATIENCE).await.expect("delivered").offset;
        Placed { topic, partition, offset, value }
    }

    /// As a consumer of that group would send it.
    pub async fn letter(&self, group: &str, placed: &Placed, reason: &str) {
        let topic_id = self.ids.topic_id(placed.topic, 0).await.expect("a topic id");
        self.letter_of(group, placed, reason, topic_id).await;
    }

    pub async fn letter_of(&self, group: &str, placed: &Placed, reason: &str, topic_id: Uuid) {
        let letter = DeadLetter {
            topic: placed.topic.to_owned(),
            partition: placed.partition,
            offset: placed.offset,
            reason: reason.to_owned(),
        };
        let letters = DeadLetters::new(&self.args, group).expect("producer");
        letters.send(&placed.records(), Some(topic_id), &[&letter]).await.expect("sent");
    }

    /// All committed records of a topic.
    pub async fn read(&self, topic: &str) -> Vec<Read> {
        let consumer: BaseConsumer = self.args.consumer(None).create().expect("consumer");
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).expect("metadata");
        let partitions = metadata.topics()[0].partitions().iter().map(|partition| partition.id());
        let ends = partitions.map(|partition| {
            let (start, end) =
                consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)).expect("watermarks");
            Stretch { partition, start, end }
        });
        let (stretches, mut found): (Vec<_>, _) = (ends.collect(), Vec::new());
        let read = stretches::read(&self.args, topic, &stretches, "", async |partition, records| {
            for row in 0..records.len() {
                let headers = records.headers(row).into_iter().map(|(key, value)| (key, value.unwrap_or_default()));
                found.push(Read {
                    partition,
                    offset: records.offsets().value(row),
                    key: records.keys().value(row).to_vec(),
                    value: records.values().value(row).to_vec(),
                    headers: headers.collect(),
                });
            }
            Ok(())
        });
        read.await.expect("read");
        found
    }

    /// What was sent again of a topic, by the coordinates that it had: `partition:offset`.
    pub async fn redriven(&self, topic: &str) -> HashMap<String, Vec<Read>> {
        let mut found: HashMap<String, Vec<Read>> = HashMap::new();
        for record in self.read(topic).await {
            let Some(of) = record.headers.get(REDRIVEN) else { continue };
            let of = String::from_utf8(of.clone()).expect("text");
            let (_, coordinates) = of.split_once(':').expect("a topic id before the coordinates");
            found.entry(coordinates.to_owned()).or_default().push(record);
        }
        found
    }

    /// The marks on a topic's records and letters, by key without the topic id, the newest last.
    pub async fn marks(&self, topic: &str) -> HashMap<String, Vec<Value>> {
        let mut found: HashMap<String, Vec<Value>> = HashMap::new();
        for record in self.read(REDRIVES).await {
            let value: Value = serde_json::from_slice(&record.value).expect("JSON");
            if value["topic"] == topic {
                let key = String::from_utf8(record.key).expect("text");
                let (_, key) = key.split_once(':').expect("a topic id before the coordinates");
                found.entry(key.to_owned()).or_default().push(value);
            }
        }
        found
    }

    pub async fn writing() -> tokio::sync::MutexGuard<'static, ()> {
        WRITING.lock().await
    }
}

fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_in_groups_and_one_by_one_and_shown_whole() {
    let broker = Broker::shared().await;
    let encoder = Encoder::new(Framing::SingleObject).await.expect("encoder");
    let good = broker.send(INDEX, 0, encoder.index_weight(&example::index_weight())).await;
    let garbage = broker.send(INDEX, 0, b"gar\x1bbage".to_vec()).await;
    // Each twice, as after a kill between letter and commit.
    for _ in 0..2 {
        broker.letter("consumer-db", &good, "source has 257 bytes").await;
        broker.letter("consumer-db", &garbage, "source has 300 bytes").await;
        broker.letter("consumer-lake", &garbage, "no Avro framing").await;
    }
    let earlier = Placed { offset: 77, ..garbage.clone() };
    broker.letter_of("consumer-lake", &earlier, "no Avro framing", Uuid::from_u128(1)).await;
    let nameless = FutureRecord::<[u8], [u8]>::to("market.index.v1.dlq").payload(b"by hand").partition(0);
    broker.producer.send(nameless, PATIENCE).await.expect("delivered");

    let listed = broker.ends(0, &["dlq", "list", "--topic", INDEX, "-o", "json"]).await;
    assert_eq!(listed.line(), "tickstream: market.index.v1.dlq: 1 records do not say whose dead letters they are");
    let told = |row: &Value| {
        let text = |name: &str| row[name].as_str().expect("text").to_owned();
        (text("group"), text("state"), row["letters"].as_u64().expect("a count"), text("reason"))
    };
    let group = |group: &str, state: &str, letters, reason: &str| {
        (group.to_owned(), state.to_owned(), letters, reason.to_owned())
    };
    let expected = [
        group("consumer-db", "open", 2, "source has … bytes"),
        group("consumer-lake", "open", 1, "no Avro framing"),
        group("consumer-lake", "earlier", 1, "no Avro framing"),
    ];
    let rows = listed.json();
    assert_eq!(rows.as_array().expect("rows").iter().map(told).collect::<Vec<_>>(), expected);
    let time = |name: &str| rows[0][name].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    assert!(time("first") < time("last"), "{rows}");

    // By its dead letters' name, by group, by reason, by time; as lines for people and for spreadsheets.
    let table = broker.ends(0, &["dlq", "list", "--topic", &dlq(INDEX), "--group", "consumer-db"]).await;
    let lines: Vec<Vec<&str>> = table.stdout.lines().map(cells).collect();
    assert_eq!(lines[0], ["TOPIC", "GROUP", "STATE", "LETTERS", "FIRST", "LAST", "REASON"]);
    assert_eq!((lines.len(), lines[1][3], lines[1][6]), (2, "2", "source has … bytes"));
    let none =
        broker.ends(0, &["dlq", "list", "--topic", INDEX, "--since", "-1h", "--until", "-30m", "-o", "json"]).await;
    assert_eq!(none.json(), serde_json::json!([]));
    let each = ["dlq", "list", "--topic", INDEX, "--each", "--reason", "AVRO", "--state", "open"];
    let each = broker.ends(0, &[&each[..], &["-o", "csv"]].concat()).await;
    let lines: Vec<&str> = each.stdout.lines().collect();
    assert_eq!(lines[0], "coordinates,group,state,at,record_at,reason");
    assert!(
        lines.len() == 2 && lines[1].starts_with(&format!("{},consumer-lake,open,", garbage.coordinates())),
        "{lines:?}"
    );
    let limited = broker.ends(0, &["dlq", "list", "--topic", INDEX, "--each", "--limit", "3", "-o", "json"]).await;
    assert_eq!(limited.json_lines().len(), 3);

    // Whole: what is a stranger's cannot write to the terminal.
    let shown = broker.ends(0, &["dlq", "show", &garbage.coordinates()]).await;
    for line in [
        "header        origin = by hand",
        "key           a key",
        "reason        no Avro framing",
        "schema        none: the value is not framed as Avro",
        "  000000  67 61 72 1b 62 61 67 65                          gar.bage",
    ] {
        assert!(shown.stdout.lines().any(|found| found == line), "{line}\n{}", shown.stdout);
    }
    assert_eq!(shown.stdout.matches("of group consumer-").count(), 2, "both groups' letters");
    assert!(!shown.stdout.contains('\u{1b}'));
    let shown = broker.ends(0, &["dlq", "show", &good.coordinates(), "-o", "json"]).await.json();
    let letter = &shown[0];
    assert_eq!((&letter["refused_today"], &letter["state"]), (&Value::Null, &"open".into()));
    let IndexWeight { payload_id, code, .. } = example::index_weight();
    assert_eq!((&letter["payload_id"], &letter["event"]["code"]), (&payload_id.to_string().into(), &code.into()));
    assert!(letter["renormalize"].as_str().is_some_and(|command| command.starts_with("producer renormalize --source")));
    let flat = broker.ends(0, &["dlq", "show", &good.coordinates(), "-o", "csv"]).await;
    assert_eq!(flat.stdout.lines().count(), 2);

    // Mistakes are one line each.
    for (arguments, says) in [
        (&["dlq", "show", "market.index.v1:0:123456"][..], "market.index.v1:0:123456 is no dead letter that is kept"),
        (&["dlq", "show", &good.coordinates(), "--group", "consumer-lake"], "is no dead letter of group consumer-lake"),
        (&["dlq", "list", "--topic", "market.nothing.v1"], "market.nothing.v1 has no dead letters: one of"),
        (&["dlq", "list", "--since", "today", "--until", "yesterday"], "(DLQ_SINCE) is not before --until"),
        (&["dlq", "drop", "--topic", INDEX, "--why", " "], "--why (DLQ_WHY)"),
    ] {
        let answer = broker.ends(2, arguments).await;
        assert!(answer.line().contains(says), "{}", answer.stderr);
    }
}

/// A line of `redrive` and `drop`, as group, letters, outcome and whether it says why.
fn outcomes(answer: &Answer) -> Vec<(String, u64, String, bool)> {
    let text = |row: &Value, name: &str| row[name].as_str().expect("text").to_owned();
    let line = |row: &Value| {
        (text(row, "group"), row["letters"].as_u64().expect("a count"), text(row, "outcome"), row["why"].is_string())
    };
    answer.json().as_array().expect("rows").iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_sent_again_once_and_only_where_it_would_be_taken() {
    let broker = Broker::shared().await;
    let _writing = Broker::writing().await;
    let encoder = Encoder::new(Framing::SingleObject).await.expect("encoder");
    let started_at = jiff::Timestamp::now().as_microsecond();
    let gap = |id: u128| encoder.gap(&Gap { id: Uuid::from_u128(id), started_at, ..example::gap() });
    let mut good = Vec::new();
    for id in 1..=3 {
        good.push(broker.send(GAPS, 0, gap(id)).await);
    }
    let garbage = broker.send(GAPS, 0, b"garbage".to_vec()).await;
    // Refused by two groups; by one; a third that a person will drop.
    broker.letter("consumer-db", &good[0], "what was wrong is mended").await;
    broker.letter("consumer-lake", &good[0], "what was wrong is mended").await;
    broker.letter("consumer-db", &good[1], "Postgres: what was wrong is mended").await;
    broker.letter("consumer-db", &good[2], "known").await;
    broker.letter("consumer-db", &garbage, "no Avro framing").await;

    let outcome = |group: &str, letters, outcome: &str, why| (group.to_owned(), letters, outcome.to_owned(), why);
    // `drop` first shows, and needs a reason.
    let drop_it = ["dlq", "drop", &good[2].coordinates(), "-o", "json"];
    broker.ends(2, &drop_it).await;
    let drop_it = [&drop_it[..], &["--why", "a test of theirs"]].concat();
    assert_eq!(outcomes(&broker.ends(0, &drop_it).await), [outcome("consumer-db", 1, "would be dropped", false)]);
    assert!(broker.marks(GAPS).await.is_empty(), "a preview writes nothing");
    let drop_it = [&drop_it[..], &["--execute"]].concat();
    assert_eq!(outcomes(&broker.ends(0, &drop_it).await), [outcome("consumer-db", 1, "dropped", false)]);
    assert_eq!(outcomes(&broker.ends(0, &drop_it).await), [outcome("consumer-db", 1, "skipped", true)]);
    let key = format!("0:{}:consumer-db", good[2].offset);
    assert_eq!(broker.marks(GAPS).await[&key][0]["why"], "a test of theirs");

    let redrive = ["dlq", "redrive", "--topic", GAPS, "-o", "json"];
    let all = |done: &str| {
        [
            outcome("consumer-db", 1, done, false),
            outcome("consumer-db", 1, "skipped", true),
            outcome("consumer-db", 1, "refused", true),
            outcome("consumer-db", 1, done, false),
            outcome("consumer-lake", 1, done, false),
        ]
    };
    let sorted = |mut lines: Vec<_>| {
        lines.sort();
        lines
    };
    let preview = broker.ends(1, &redrive).await;
    assert_eq!(sorted(outcomes(&preview)), sorted(all("would be redriven").to_vec()));
    for says in
        ["3 letters would be redriven (2 records)", "--execute does it", "Postgres itself refused", "1 letter is left"]
    {
        assert!(preview.stderr.contains(says), "{says}\n{}", preview.stderr);
    }
    assert!(broker.redriven(GAPS).await.is_empty(), "a preview writes nothing");

    let execute = [&redrive[..], &["--execute"]].concat();
    assert_eq!(sorted(outcomes(&broker.ends(1, &execute).await)), sorted(all("redriven").to_vec()));
    let (again, marks) = (broker.redriven(GAPS).await, broker.marks(GAPS).await);
    assert_eq!(again.len(), 2, "the garbage and the dropped one are not");
    for record in &good[..2] {
        let of = format!("{}:{}", record.partition, record.offset);
        let [copy] = &again[&of][..] else { panic!("{of} was sent again {} times", again[&of].len()) };
        assert_eq!((&copy.value, copy.key.as_slice()), (&record.value, &b"a key"[..]));
        assert_eq!(copy.headers["origin"], b"by hand");
        assert_eq!(copy.headers.len(), 2, "none of the letter's own: {:?}", copy.headers);
        let [mark] = &marks[&of][..] else { panic!("one mark") };
        assert_eq!((&mark["offset"], &mark["corrected"]), (&copy.offset.into(), &false.into()));
    }

    // Once: of all it knows that it was done. The letter of another group that comes now is of a record that was sent again.
    broker.letter("consumer-alerts", &good[1], "late").await;
    let second = broker.ends(1, &execute).await;
    assert!(second.stderr.contains("0 letters redriven (0 records), 1 refused, 5 settled before"), "{}", second.stderr);
    assert_eq!(broker.redriven(GAPS).await.values().map(Vec::len).sum::<usize>(), 2);
    let states = broker.ends(0, &["dlq", "list", "--topic", GAPS, "--each", "-o", "json"]).await.json_lines();
    let states: Vec<&str> = states.iter().filter_map(|line| line["state"].as_str()).collect();
    assert_eq!(states, ["redriven", "redriven", "redriven", "dropped", "open", "redriven"]);
    let shown = broker.ends(0, &["dlq", "show", &good[2].coordinates()]).await;
    assert!(shown.stdout.contains("a test of theirs, at 20"), "{}", shown.stdout);
    let shown = broker.ends(0, &["dlq", "show", &good[0].coordinates(), "--group", "consumer-db"]).await;
    assert!(shown.stdout.contains("stands again at market.gaps.v1:0:"), "{}", shown.stdout);

    // One that was dropped is sent again when it is named.
    broker.ends(0, &["dlq", "redrive", &good[2].coordinates(), "--execute"]).await;
    assert_eq!(broker.redriven(GAPS).await.values().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    let missing = broker.ends(2, &["dlq", "redrive", "market.gaps.v1:0:987654"]).await;
    assert!(missing.stderr.contains("market.gaps.v1:0:987654 is no dead letter"), "{}", missing.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_left_open_is_ended_and_cannot_come_back() {
    let broker = Broker::shared().await;
    let _writing = Broker::writing().await;
    let topic = pipeline::topics::PAYLOADS;
    let encoder = Encoder::new(Framing::SingleObject).await.expect("encoder");
    let record = broker.send(topic, 2, encoder.payload(&example::payload())).await;
    broker.letter("consumer-lake", &record, "mended").await;
    let topic_id = broker.ids.topic_id(topic, 0).await.expect("a topic id");

    // Another process, killed or asleep just before it commits: its copy and its mark are in the log, uncommitted.
    let mut settings = broker.args.transactional_producer("tickstream-dlq");
    settings.set("transaction.timeout.ms", "60000");
    let asleep: FutureProducer = settings.create().expect("producer");
    asleep.init_transactions(PATIENCE).expect("init transactions");
    asleep.begin_transaction().expect("begin");
    let name = format!("{topic_id}:{}:{}", record.partition, record.offset);
    let headers = OwnedHeaders::new().insert(Header { key: REDRIVEN, value: Some(&name) });
    let copy = FutureRecord::<[u8], [u8]>::to(topic).partition(2).payload(&record.value).headers(headers);
    let copied = asleep.send(copy, PATIENCE).await.expect("delivered");
    let mark =
        serde_json::json!({"kind": "redriven", "topic": topic, "partition": 2, "offset": copied.offset}).to_string();
    asleep.send(FutureRecord::to(REDRIVES).key(&name).payload(&mark), PATIENCE).await.expect("delivered");

    let redriven = broker.ends(0, &["dlq", "redrive", "--topic", topic, "--execute"]).await;
    assert!(redriven.stderr.contains("1 letter redriven (1 record)"), "{}", redriven.stderr);
    assert!(asleep.commit_transaction(PATIENCE).is_err(), "it was shut out");
    let (again, marks) = (broker.redriven(topic).await, broker.marks(topic).await);
    let of = format!("{}:{}", record.partition, record.offset);
    assert_eq!((again[&of].len(), marks[&of].len()), (1, 1));
    assert_ne!(again[&of][0].offset, copied.offset, "the other one was never committed");
    assert_eq!(
        (&marks[&of][0]["partition"], &marks[&of][0]["offset"]),
        (&again[&of][0].partition.into(), &again[&of][0].offset.into())
    );
}
