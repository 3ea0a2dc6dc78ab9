//! Plans: the offsets of each beginning beside those of Kafka's own command-line tool, and what cannot be planned.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::{SignedDuration, Timestamp};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::Answer;
use crate::dlq::Broker;

const PATIENCE: Timeout = Timeout::After(std::time::Duration::from_secs(30));

fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    broker.args.admin().create().expect("admin client")
}

/// Whose records have the times that they are sent with.
pub async fn topic(broker: &Broker, name: &str, partitions: i32) {
    let new = NewTopic::new(name, partitions, TopicReplication::Fixed(1)).set("message.timestamp.type", "CreateTime");
    let made = admin(broker).create_topics([&new], &AdminOptions::new()).await.expect("create");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

pub async fn delete_topic(broker: &Broker, name: &str) {
    let deleted = admin(broker).delete_topics(&[name], &AdminOptions::new()).await.expect("delete");
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
}

/// So many records, each a minute after the one before.
pub async fn send(broker: &Broker, topic: &str, partition: i32, count: i64, from: Timestamp) {
    let producer: FutureProducer = broker.args.producer().create().expect("producer");
    let sent = (0..count).map(async |number| {
        let at_ms = from.as_millisecond() + number * 60_000;
        let record =
            FutureRecord::<str, [u8]>::to(topic).partition(partition).key("BTC-USD").payload(&[7; 93]).timestamp(at_ms);
        producer.send(record, PATIENCE).await.expect("delivered").offset
    });
    futures::future::join_all(sent).await;
}

pub async fn delete_before(broker: &Broker, topic: &str, partition: i32, offset: i64) {
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
    admin(broker).delete_records(&before, &AdminOptions::new()).await.expect("deleted");
}

pub fn commit(broker: &Broker, group: &str, topic: &str, offsets: &[(i32, i64)]) {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).expect("an offset");
    }
    let consumer: BaseConsumer = broker.args.consumer(Some(group)).create().expect("consumer");
    consumer.commit(&list, CommitMode::Sync).expect("committed");
}

pub fn committed(broker: &Broker, group: &str, topic: &str, partitions: i32) -> Vec<Option<i64>> {
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition(topic, partition);
    }
    let consumer: BaseConsumer = broker.args.consumer(Some(group)).create().expect("consumer");
    let found = consumer.committed_offsets(list, std::time::Duration::from_secs(30)).expect("asked");
    let offset = |element: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    };
    found.elements().into_iter().map(offset).collect()
}

/// A folder for plans.
pub fn folder(broker: &Broker, name: &str) -> PathBuf {
    let folder = broker.stack.data_dir().join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// `replay plan` of a rewind into a file: the answer.
pub async fn plan(broker: &Broker, out: &Path, arguments: &[&str]) -> Answer {
    let out = out.to_str().expect("text");
    let arguments = [&["replay", "plan", "--mode", "rewind", "--out", out], arguments].concat();
    broker.run(&arguments).await
}

/// What Kafka's tool would set.
async fn kafka_s(broker: &Broker, group: &str, arguments: &[&str]) -> String {
    let tool =
        broker.stack.kafka().expect("Kafka's jars").tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand");
    let mut command: Command = tool;
    command
        .args(["--bootstrap-server", &broker.args.kafka_bootstrap_servers, "--group", group, "--reset-offsets"])
        .args(arguments)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().expect("java starts")).await.expect("no panic");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !stdout.contains("Error"), "{arguments:?}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// GROUP TOPIC PARTITION NEW-OFFSET.
fn of_table(stdout: &str, group: &str) -> BTreeMap<i64, i64> {
    let rows = stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|row| row.len() == 4 && row[0] == group);
    rows.map(|row| (row[2].parse().expect("a partition"), row[3].parse().expect("an offset"))).collect()
}

fn of_plan(plan: &Value) -> BTreeMap<i64, i64> {
    let offsets = plan["groups"][0]["offsets"].as_array().expect("offsets");
    let pair =
        |offset: &Value| (offset["partition"].as_i64().expect("a number"), offset["new"].as_i64().expect("a number"));
    offsets.iter().map(pair).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_beginning_is_where_kafka_s_own_tool_begins() {
    let broker = Broker::shared().await;
    let (name, group) = ("cli.replay.modes", "cli-replay-modes");
    let folder = folder(broker, "cli-replay-modes");
    topic(broker, name, 3).await;
    let now = Timestamp::now();
    let from = now.checked_sub(SignedDuration::from_hours(5)).expect("a time");
    send(broker, name, 0, 120, from).await;
    send(broker, name, 0, 80, now.checked_sub(SignedDuration::from_hours(2)).expect("a time")).await;
    send(broker, name, 1, 50, from).await;
    // What retention does, in one moment: the third partition is empty.
    delete_before(broker, name, 1, 20).await;
    commit(broker, group, name, &[(0, 120), (1, 30)]);

    let inside = from.checked_add(SignedDuration::from_mins(90)).expect("a time");
    // Kafka's tool reads a time in this form only.
    let exact = inside.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string();
    let both = format!("{name}:0,1");
    let first = format!("{name}:0");
    let csv = folder.join("offsets.csv");
    let export = kafka_s(broker, group, &["--topic", name, "--to-current", "--dry-run", "--export"]).await;
    let lines: Vec<&str> = export.lines().filter(|line| line.contains(name)).collect();
    assert_eq!(lines.len(), 3, "{export}");
    std::fs::write(&csv, format!("{}\n", lines.join("\n"))).expect("written");
    let csv = csv.to_str().expect("text");
    let offset = format!("{name}:0=77");

    let cases: [(&[&str], &[&str]); 9] = [
        (&["--topic", name, "--from-earliest"], &["--topic", name, "--to-earliest"]),
        (&["--topic", name, "--to-latest"], &["--topic", name, "--to-latest"]),
        (&["--topic", name, "--to-current"], &["--topic", name, "--to-current"]),
        (
            &["--topic", name, "--partition", "0", "--from-datetime", &exact],
            &["--topic", &first, "--to-datetime", &exact],
        ),
        (
            &["--topic", name, "--partition", "0", "--by-duration", "PT2H30M"],
            &["--topic", &first, "--by-duration", "PT2H30M"],
        ),
        (&["--from-offset", &offset], &["--topic", &first, "--to-offset", "77"]),
        (&["--topic", name, "--partition", "0,1", "--shift-by", "-15"], &["--topic", &both, "--shift-by", "-15"]),
        (&["--topic", name, "--partition", "0,1", "--shift-by", "60"], &["--topic", &both, "--shift-by", "60"]),
        (&["--from-file", csv], &["--topic", name, "--from-file", csv]),
    ];
    let mut compared = 0;
    for (index, (ours, theirs)) in cases.iter().enumerate() {
        let out = folder.join(format!("{index}.json"));
        let replay = format!("modes_{index}");
        let arguments = [&["--group", group, "--name", &replay, "-o", "json"], *ours].concat();
        let answer = plan(broker, &out, &arguments).await;
        assert_eq!(answer.code, 0, "{ours:?}: {}", answer.stderr);
        let kafka = kafka_s(broker, group, &[*theirs, &["--dry-run"]].concat()).await;
        let (ours_at, theirs_at) = (of_plan(&answer.json()), of_table(&kafka, group));
        assert!(!theirs_at.is_empty(), "{kafka}");
        assert_eq!(ours_at, theirs_at, "{ours:?}\n{kafka}");
        assert_eq!(std::fs::read_to_string(&out).expect("a plan"), answer.stdout);
        compared += 1;
    }
    println!("{compared} beginnings, the same offsets as Kafka's own tool");
    assert_eq!(committed(broker, group, name, 3), [Some(120), Some(30), None], "a plan sets nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_it_found_and_a_person_s_mistakes() {
    let broker = Broker::shared().await;
    let (name, group) = ("cli.replay.said", "cli-replay-said");
    let folder = folder(broker, "cli-replay-said");
    topic(broker, name, 2).await;
    let from = Timestamp::now().checked_sub(SignedDuration::from_hours(5)).expect("a time");
    send(broker, name, 0, 100, from).await;
    send(broker, name, 1, 100, from).await;
    delete_before(broker, name, 1, 40).await;
    commit(broker, group, name, &[(0, 100), (1, 100)]);
    let out = folder.join("plan.json");

    let answer =
        plan(broker, &out, &["--group", group, "--name", "said", "--topic", name, "--from-earliest", "-o", "json"])
            .await;
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let found = answer.json();
    let stretch = &found["partitions"][1];
    assert_eq!((&stretch["from"], &stretch["to"], &stretch["records"]), (&json!(40), &json!(100), &json!(60)));
    assert_eq!(
        (&stretch["bytes"], &stretch["log_start"]),
        (&json!(6000), &json!(40)),
        "a key of 7 and a value of 93 bytes"
    );
    let at = |minutes: i64| Timestamp::from_millisecond(from.as_millisecond() + minutes * 60_000).expect("a time");
    assert_eq!(stretch["from_time"], json!(at(40)));
    let margin = stretch["margin_ms"].as_i64().expect("a margin");
    let days_left = 7 * 86_400_000 - (5 * 60 - 40) * 60_000;
    assert!((days_left - 600_000..=days_left).contains(&margin), "{margin}");
    let says = "cli-replay-said reads 160 offsets again: what its consumer makes";
    assert!(answer.stderr.contains(says) && answer.stderr.contains("replay execute"), "{}", answer.stderr);
    let table =
        plan(broker, &out, &["--group", group, "--name", "said", "--topic", name, "--from-earliest"]).await.stdout;
    assert!(table.contains("GROUP            TOPIC            PARTITION  COMMITTED  NEW  SHIFT\n"), "{table}");
    assert!(table.contains("cli-replay-said  cli.replay.said          1        100   40    -60\n"), "{table}");

    let early = at(-10).to_string();
    let (before, beyond) = (format!("{name}:1=39"), format!("{name}:0=101"));
    let other = folder.join("other.json");
    std::fs::write(&other, "mine").expect("written");
    let other = other.to_str().expect("text");
    for (arguments, says) in [
        (&["--topic", name, "--from-datetime", &early][..], "cli.replay.said[1] has lost offsets 0 to 39 to retention"),
        (&["--topic", name, "--from-datetime", &early], "--mode side-by-side --source lake-raw reads them"),
        (&["--from-offset", &before], "begins at offset 40, and 39 is asked for"),
        (&["--from-offset", &beyond], "ends at offset 100, and 101 is asked for"),
        (&["--topic", name, "--partition", "2", "--from-earliest"], "has no partition 2: it has 2 of them"),
        (
            &["--topic", "cli.replay.sad", "--from-earliest"],
            "no topic cli.replay.sad is known; the nearest names are cli.replay.said",
        ),
        (
            &["--topic", name, "--from-earliest", "--group", "cli-replay-sad"],
            "no group cli-replay-sad is known; the nearest names are cli-replay-said",
        ),
        (&["--topic", name, "--from-earliest", "--symbol", "BTC-USD"], "--symbol needs --mode side-by-side"),
        (&["--topic", name, "--from-earliest", "--to-datetime", "now"], "need --mode side-by-side"),
        (&["--topic", name, "--from-earliest", "--out", other], "exists and is not a plan of said"),
        (&["--topic", name, "--from-earliest", "--name", "Said"], "lower-case letters"),
        (&["--topic", name, "--from-datetime", "-1h", "--to-datetime", "-2h"], "is not after the beginning"),
        (&["--topic", name], "--from-earliest"),
    ] {
        let named = |flag: &'static str, value: &'static str| {
            if arguments.contains(&flag) { vec![] } else { vec![flag, value] }
        };
        let path = out.to_str().expect("text");
        let into = if arguments.contains(&"--out") { vec![] } else { vec!["--out", path] };
        let base =
            [&["replay", "plan", "--mode", "rewind"][..], &named("--group", group), &named("--name", "said"), &into]
                .concat();
        let answer = broker.run(&[&base[..], arguments].concat()).await;
        assert_eq!(answer.code, 2, "{arguments:?}: {}{}", answer.stdout, answer.stderr);
        assert!(answer.stderr.contains(says), "{arguments:?}: {}", answer.stderr);
    }
    // A reset by time to what lies ahead is one to the end, as with Kafka's own tool.
    let latest =
        plan(broker, &out, &["--group", group, "--name", "said", "--topic", name, "--to-latest", "-o", "csv"]).await;
    assert!(latest.stdout.starts_with("topic,partition,from,to,from_time,"), "{}", latest.stdout);
    assert!(latest.stderr.contains("cli-replay-said stays where it is"), "{}", latest.stderr);
}
