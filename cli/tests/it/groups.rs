use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use stack::Stack;

use crate::tickstream;

const PATIENCE: Duration = Duration::from_secs(30);

fn config(stack: &Stack) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &stack.kafka_bootstrap_servers);
    config
}

fn admin(stack: &Stack) -> AdminClient<DefaultClientContext> {
    config(stack).create().expect("admin client")
}

pub async fn topic(stack: &Stack, name: &str, partitions: i32) {
    let new =
        NewTopic::new(name, partitions, TopicReplication::Fixed(1)).set("message.timestamp.type", "LogAppendTime");
    let made = admin(stack).create_topics([&new], &AdminOptions::new()).await.expect("create");
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

/// The broker's time of each record, milliseconds.
async fn send(producer: &FutureProducer, topic: &str, partition: i32, count: usize) -> Vec<i64> {
    let mut times = Vec::new();
    for _ in 0..count {
        let record = FutureRecord::<[u8], [u8]>::to(topic).partition(partition).payload(b"x");
        let delivery = producer.send(record, Timeout::After(PATIENCE)).await.expect("delivered");
        times.push(delivery.timestamp.to_millis().expect("a time"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    times
}

fn commit(stack: &Stack, group: &str, topic: &str, offsets: &[(i32, i64)]) {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).expect("an offset");
    }
    let consumer: BaseConsumer = config(stack).set("group.id", group).create().expect("consumer");
    consumer.commit(&list, CommitMode::Sync).expect("committed");
}

async fn rows(stack: &Stack, arguments: &[&str]) -> Vec<Value> {
    let arguments = [&["groups", "-o", "json"], arguments].concat();
    let answer = tickstream(stack, &arguments).await;
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    answer.json().as_array().expect("rows").clone()
}

fn seconds(ms: i64) -> Value {
    json!(ms as f64 / 1000.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_told_in_records_and_by_the_broker_s_times() {
    let stack = stack::shared().await;
    let (name, group, other) = ("cli.groups", "cli-groups", "cli-groups-other");
    topic(stack, name, 3).await;
    let producer: FutureProducer = config(stack).create().expect("producer");
    let zero = send(&producer, name, 0, 8).await;
    let one = send(&producer, name, 1, 3).await;
    commit(stack, group, name, &[(0, 2), (1, 3)]);
    commit(stack, other, name, &[(0, 5)]);

    let found = rows(stack, &[group, other]).await;
    let told: Vec<_> = found
        .iter()
        .map(|row| (row["group"].as_str(), row["partition"].as_i64(), row["committed"].as_i64(), row["lag"].as_i64()))
        .collect();
    let expected =
        [(group, 0, 2, 6), (group, 1, 3, 0), (other, 0, 5, 3)].map(|(g, p, c, l)| (Some(g), Some(p), Some(c), Some(l)));
    assert_eq!(told, expected);
    assert_eq!(found[0]["behind_seconds"], seconds(zero[7] - zero[2]));
    assert_eq!((&found[1]["behind_seconds"], &found[1]["waits_seconds"]), (&json!(0.0), &json!(0.0)));
    assert_eq!(found[2]["behind_seconds"], seconds(zero[7] - zero[5]), "each group from where it stands");
    assert!(found[0]["waits_seconds"].as_f64() >= found[2]["waits_seconds"].as_f64());
    assert_eq!((found[0]["state"].as_str(), &found[0]["client"]), (Some("Empty"), &Value::Null));
    assert!(one.len() == 3 && found.len() == 3, "a partition that a group has nothing to do with is left out");

    let totals = rows(stack, &["--totals", "--topic", name, group]).await;
    assert_eq!((totals.len(), &totals[0]["lag"], &totals[0]["partitions"]), (1, &json!(6), &json!(2)));
    assert_eq!(totals[0]["behind_seconds"], seconds(zero[7] - zero[2]));
    let table = tickstream(stack, &["groups", group]).await.stdout;
    assert!(table.starts_with("GROUP       STATE  TOPIC       PARTITION  COMMITTED  END  LAG  BEHIND"), "{table}");

    // Too far behind is a difference; what is asked for in vain is said with the nearest names.
    let late = tickstream(stack, &["groups", group, "--max-lag", "5", "-o", "csv"]).await;
    assert_eq!(late.code, 1);
    assert!(
        late.line().contains("further behind than asked for: cli-groups on cli.groups[0], 6 records and"),
        "{}",
        late.stderr
    );
    assert_eq!(late.stdout.lines().count(), 3);
    assert_eq!(tickstream(stack, &["groups", group, "--max-lag", "6", "--max-behind", "1h"]).await.code, 0);
    let unknown = tickstream(stack, &["groups", "cli-groupz"]).await;
    assert_eq!(unknown.code, 1);
    assert!(
        unknown.line().contains("no group cli-groupz is known; the nearest names are cli-groups"),
        "{}",
        unknown.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_are_no_records_and_what_was_removed_unread_is_said() {
    let stack = stack::shared().await;
    let (name, group) = ("cli.groups.odd", "cli-groups-odd");
    topic(stack, name, 2).await;
    let transactional: FutureProducer = config(stack)
        .set("transactional.id", "cli-groups")
        .set("enable.idempotence", "true")
        .create()
        .expect("producer");
    transactional.init_transactions(PATIENCE).expect("init");
    transactional.begin_transaction().expect("begin");
    let times = send(&transactional, name, 0, 3).await;
    transactional.commit_transaction(PATIENCE).expect("commit");
    let producer: FutureProducer = config(stack).create().expect("producer");
    let removed = send(&producer, name, 1, 6).await;
    // All records of the first are committed, the marker behind them is not; two of the second are.
    commit(stack, group, name, &[(0, 3), (1, 2)]);
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(name, 1, Offset::Offset(4)).expect("an offset");
    admin(stack).delete_records(&before, &AdminOptions::new()).await.expect("deleted");

    let found = rows(stack, &[group]).await;
    assert_eq!((&found[0]["lag"], &found[0]["behind_seconds"]), (&json!(1), &json!(0.0)), "{times:?}");
    assert_eq!((&found[1]["start"], &found[1]["lag"]), (&json!(4), &json!(4)));
    assert_eq!(found[1]["remark"], "retention removed offsets 2 to 3 unread");
    assert_eq!(found[1]["behind_seconds"], seconds(removed[5] - removed[4]));

    // From the first record of the transaction on, the last one stands before the marker.
    commit(stack, group, name, &[(0, 0)]);
    assert_eq!(rows(stack, &[group]).await[0]["behind_seconds"], seconds(times[2] - times[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_named_with_what_it_reads() {
    let stack = stack::shared().await;
    let (name, group) = ("cli.groups.member", "cli-groups-member");
    topic(stack, name, 1).await;
    let consumer: BaseConsumer = config(stack)
        .set("group.id", group)
        .set("client.id", "the-reader")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("consumer");
    consumer.subscribe(&[name]).expect("subscribed");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while consumer.assignment().expect("asked").count() == 0 {
        drop(consumer.poll(Duration::from_millis(50)));
        assert!(tokio::time::Instant::now() < deadline, "not assigned");
    }
    let found = rows(stack, &[group]).await;
    let row = &found[0];
    assert_eq!(
        (&row["committed"], &row["lag"], &row["remark"]),
        (&Value::Null, &Value::Null, &json!("nothing committed yet"))
    );
    assert_eq!(row["state"], "Stable");
    assert!(row["client"].as_str().is_some_and(|client| client.starts_with("the-reader 127.0.0.1")), "{row}");
}
