use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pipeline::admin::Health;
use pipeline::consume::{Assigned, ConsumeConfig, DeadLetter, Fault, PartitionBatch, Sink, Until, Written, consume};
use pipeline::dead_letter;
use pipeline::kafka::KafkaArgs;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::{self, numbered, unique};

/// What a sink was given, by partition: (start, next_offset, offset -> value).
#[derive(Default)]
pub struct Seen {
    pub batches: Vec<(i32, i64, i64)>,
    pub values: BTreeMap<(i32, i64), String>,
    pub assigned: Vec<Assigned>,
    pub outages_left: usize,
    bad: Option<String>,
    /// Where to go on after the next write, instead of its end.
    resume_at: Option<i64>,
}

#[derive(Clone, Default)]
pub struct MemorySink(Arc<Mutex<Seen>>);

impl MemorySink {
    pub fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().expect("no test panics with the lock held")
    }

    pub async fn wait_for(&self, what: &str, done: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done(&self.seen()) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.seen().batches);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn start(&mut self, assigned: &[Assigned]) -> Result<Vec<i64>, Fault> {
        self.seen().assigned = assigned.to_vec();
        Ok(assigned.iter().map(|partition| partition.committed.unwrap_or(partition.log_start)).collect())
    }

    async fn write(&mut self, batches: &[PartitionBatch]) -> Result<(Vec<Written>, Vec<DeadLetter>), Fault> {
        let mut seen = self.seen();
        if seen.outages_left > 0 {
            seen.outages_left -= 1;
            return Err(Fault::Outage(anyhow::anyhow!("the store is away")));
        }
        let (mut written, mut letters) = (Vec::new(), Vec::new());
        for batch in batches {
            seen.batches.push((batch.partition, batch.start, batch.next_offset));
            for (i, offset) in batch.records.offsets().values().iter().enumerate() {
                let value = String::from_utf8(batch.records.values().value(i).to_vec()).expect("text");
                if seen.bad.as_ref() == Some(&value) {
                    let (topic, partition) = (batch.topic.to_string(), batch.partition);
                    letters.push(DeadLetter { topic, partition, offset: *offset, reason: "not wanted".to_owned() });
                } else {
                    seen.values.insert((batch.partition, *offset), value);
                }
            }
            let resume_at = seen.resume_at.take().unwrap_or(batch.next_offset);
            let (topic, partition) = (batch.topic.clone(), batch.partition);
            written.push(Written { topic, partition, commit: resume_at, metadata: "epoch=0".to_owned(), resume_at });
        }
        Ok((written, letters))
    }
}

pub struct Running {
    pub shutdown: CancellationToken,
    pub task: JoinHandle<anyhow::Result<()>>,
    health: Health,
}

impl Running {
    pub fn start(kafka: &KafkaArgs, topic: &str, group: &str, max_rows: usize, sink: MemorySink) -> Self {
        Self::start_aged(kafka, topic, group, max_rows, Duration::from_millis(100), sink)
    }

    /// Ends by itself, and before a batch would be old.
    pub fn start_bounded(kafka: &KafkaArgs, topic: &str, group: &str, sink: MemorySink) -> Self {
        let config = Self::config(topic, group, 100, Duration::from_secs(3600));
        Self::spawn(ConsumeConfig { until: Until::CaughtUp, ..config }, kafka, sink)
    }

    fn start_aged(
        kafka: &KafkaArgs,
        topic: &str,
        group: &str,
        max_rows: usize,
        max_age: Duration,
        sink: MemorySink,
    ) -> Self {
        Self::spawn(Self::config(topic, group, max_rows, max_age), kafka, sink)
    }

    fn config(topic: &str, group: &str, max_rows: usize, max_age: Duration) -> ConsumeConfig {
        ConsumeConfig {
            topics: vec![topic.to_owned()],
            group: group.to_owned(),
            max_rows,
            max_bytes: 1 << 20,
            max_age,
            together: false,
            max_span: Some(1 << 20),
            buffer_bytes: 1 << 20,
            idle_every: Duration::from_secs(1),
            stop_when_bad: true,
            drain: Duration::from_secs(10),
            until: Until::Shutdown,
        }
    }

    fn spawn(config: ConsumeConfig, kafka: &KafkaArgs, sink: MemorySink) -> Self {
        let (health, shutdown, kafka) = (Health::new(), CancellationToken::new(), kafka.clone());
        let (for_loop, token) = (health.clone(), shutdown.clone());
        let task = tokio::spawn(async move { consume(config, &kafka, sink, for_loop, token).await });
        Self { shutdown, task, health }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("no panic").expect("no error");
    }
}

/// Batches of one partition meet end to end from `start` to `end`.
fn assert_chain(seen: &Seen, partition: i32, start: i64, end: i64) {
    let mut at = start;
    for (_, from, next) in seen.batches.iter().filter(|batch| batch.0 == partition) {
        assert_eq!(*from, at, "{:?}", seen.batches);
        at = *next;
    }
    assert_eq!(at, end, "{:?}", seen.batches);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_committed_and_a_restart_goes_on_there() {
    let (kafka, topic, group) = (broker::kafka().await, unique("commit"), unique("group"));
    broker::create(&kafka, &topic, 2).await;
    broker::send(&kafka, &topic, 0, &numbered("a", 250));
    broker::send(&kafka, &topic, 1, &numbered("b", 10));
    let sink = MemorySink::default();
    let running = Running::start(&kafka, &topic, &group, 100, sink.clone());
    sink.wait_for("260 records", |seen| seen.values.len() == 260).await;
    assert_eq!(running.health.ready(), Ok(()));
    running.stop().await;
    assert_chain(&sink.seen(), 0, 0, 250);
    assert_chain(&sink.seen(), 1, 0, 10);

    broker::send(&kafka, &topic, 0, &numbered("c", 5));
    let again = MemorySink::default();
    let running = Running::start(&kafka, &topic, &group, 100, again.clone());
    again.wait_for("5 records", |seen| seen.values.len() == 5).await;
    running.stop().await;
    let seen = again.seen();
    assert_chain(&seen, 0, 250, 255);
    let first = seen.assigned.iter().find(|assigned| assigned.partition == 0).expect("assigned");
    assert_eq!((first.committed, first.metadata.as_str(), first.log_start), (Some(250), "epoch=0", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn undelivered_offsets_are_covered() {
    let (kafka, topic) = (broker::kafka().await, unique("markers"));
    broker::create(&kafka, &topic, 1).await;
    let producer = broker::transactional(&kafka);
    broker::transact(&producer, &topic, &numbered("a", 3), true); // 0 1 2, marker 3
    broker::transact(&producer, &topic, &numbered("x", 4), false); // 4..8 aborted, marker 8
    broker::transact(&producer, &topic, &numbered("b", 2), true); // 9 10, marker 11
    broker::transact(&producer, &topic, &numbered("y", 2), false); // 12 13 aborted, marker 14
    let sink = MemorySink::default();
    let age = Duration::from_secs(2);
    let running = Running::start_aged(&kafka, &topic, &unique("group"), 100, age, sink.clone());
    sink.wait_for("both transactions", |seen| seen.values.len() == 5).await;
    broker::transact(&producer, &topic, &numbered("c", 1), true); // 15, marker 16
    sink.wait_for("the last one", |seen| seen.values.len() == 6).await;
    running.stop().await;
    let seen = sink.seen();
    let offsets: Vec<i64> = seen.values.keys().map(|(_, offset)| *offset).collect();
    assert_eq!(offsets, [0, 1, 2, 9, 10, 15]);
    let end = seen.batches.last().expect("a batch").2;
    assert!(end == 16 || end == 17, "at the last record or past its marker: {:?}", seen.batches);
    assert_chain(&seen, 0, 0, end);
    assert_eq!(seen.batches[0], (0, 0, 15), "the end of the log is past the last abort");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_pauses_and_the_same_batch_is_written_afterwards() {
    let (kafka, topic) = (broker::kafka().await, unique("outage"));
    broker::create(&kafka, &topic, 1).await;
    broker::send(&kafka, &topic, 0, &numbered("a", 100));
    let sink = MemorySink::default();
    sink.seen().outages_left = 3;
    let running = Running::start(&kafka, &topic, &unique("group"), 1000, sink.clone());
    let deadline = Instant::now() + Duration::from_secs(20);
    while !running.health.ready().is_err_and(|reason| reason.contains("the store is away")) {
        assert!(Instant::now() < deadline, "readiness never told of the outage");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sink.wait_for("all records", |seen| seen.values.len() == 100).await;
    running.stop().await;
    assert_chain(&sink.seen(), 0, 0, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_record_becomes_a_dead_letter_with_its_bytes() {
    let (kafka, topic) = (broker::kafka().await, unique("bad"));
    broker::create(&kafka, &topic, 1).await;
    broker::create(&kafka, &format!("{topic}.dlq"), 1).await;
    broker::send(&kafka, &topic, 0, &numbered("a", 1000));
    let sink = MemorySink::default();
    sink.seen().bad = Some("a500".to_owned());
    let group = unique("group");
    let running = Running::start(&kafka, &topic, &group, 300, sink.clone());
    sink.wait_for("999 records", |seen| seen.values.len() == 999).await;

    let reader: BaseConsumer = kafka.consumer(None).create().expect("consumer");
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset(&format!("{topic}.dlq"), 0, rdkafka::Offset::Beginning).expect("offset");
    reader.assign(&list).expect("assigned");
    let deadline = Instant::now() + Duration::from_secs(20);
    let letter = loop {
        assert!(Instant::now() < deadline, "no dead letter");
        if let Some(Ok(message)) = reader.poll(Duration::from_millis(100)) {
            break message.detach();
        }
    };
    assert_eq!((letter.payload(), letter.key()), (Some(b"a500".as_slice()), Some(b"k".as_slice())));
    let headers: BTreeMap<String, String> = letter
        .headers()
        .expect("headers")
        .iter()
        .map(|header| (header.key.to_owned(), String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned()))
        .collect();
    assert_eq!(headers[dead_letter::TOPIC], topic);
    assert_eq!(headers[dead_letter::OFFSET], "500");
    assert_eq!(headers[dead_letter::PARTITION], "0");
    assert_eq!(headers[dead_letter::GROUP], group);
    assert_eq!(headers[dead_letter::REASON], "not wanted");
    assert_eq!(headers[dead_letter::TOPIC_ID].len(), 36);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_goes_on_elsewhere_is_followed_there() {
    let (kafka, topic) = (broker::kafka().await, unique("elsewhere"));
    broker::create(&kafka, &topic, 1).await;
    broker::send(&kafka, &topic, 0, &numbered("a", 1000));
    let sink = MemorySink::default();
    sink.seen().resume_at = Some(137);
    let running = Running::start(&kafka, &topic, &unique("group"), 100, sink.clone());
    sink.wait_for("the end", |seen| seen.batches.last().is_some_and(|batch| batch.2 == 1000)).await;
    running.stop().await;
    let seen = sink.seen();
    assert_eq!(seen.batches[0], (0, 0, 100));
    assert_eq!(seen.batches[1].1, 137, "{:?}", seen.batches);
    assert_eq!(seen.values.len(), 963);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_and_nothing_is_passed_over() {
    let (kafka, topic, group) = (broker::kafka().await, unique("share"), unique("group"));
    broker::create(&kafka, &topic, 4).await;
    for partition in 0..4 {
        broker::send(&kafka, &topic, partition, &numbered("a", 100));
    }
    let sink = MemorySink::default();
    let first = Running::start(&kafka, &topic, &group, 50, sink.clone());
    sink.wait_for("all at the first", |seen| seen.values.len() == 400).await;
    let other = MemorySink::default();
    let second = Running::start(&kafka, &topic, &group, 50, other.clone());
    other.wait_for("the second has two", |seen| seen.assigned.len() == 2).await;
    sink.wait_for("the first has two", |seen| seen.assigned.len() == 2).await;
    for partition in 0..4 {
        broker::send(&kafka, &topic, partition, &numbered("b", 100));
    }
    other.wait_for("its share", |seen| seen.values.len() >= 200).await;
    sink.wait_for("its share", |seen| seen.values.len() >= 600).await;
    second.stop().await;
    for partition in 0..4 {
        broker::send(&kafka, &topic, partition, &numbered("c", 10));
    }
    let all = |seen: &Seen| seen.values.values().filter(|value| value.starts_with('c')).count() == 40;
    sink.wait_for("the first has all again", all).await;
    first.stop().await;
    let mut values = sink.seen().values.clone();
    values.extend(other.seen().values.clone());
    assert_eq!(values.len(), 4 * 210);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_paused_in_an_outage_is_read_again_after_a_rebalance() {
    let (kafka, topic, group) = (broker::kafka().await, unique("paused"), unique("group"));
    broker::create(&kafka, &topic, 2).await;
    let large = |name: &str| -> Vec<String> { (0..30).map(|i| format!("{name}{i} {}", "x".repeat(100_000))).collect() };
    for partition in 0..2 {
        broker::send(&kafka, &topic, partition, &large("a"));
    }
    // The store is away and more is held than may be: the partitions are paused.
    let sink = MemorySink::default();
    sink.seen().outages_left = usize::MAX;
    let first = Running::start(&kafka, &topic, &group, 5, sink.clone());
    let deadline = Instant::now() + Duration::from_secs(20);
    while !first.health.ready().is_err_and(|reason| reason.contains("the store is away")) {
        assert!(Instant::now() < deadline, "no outage");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Another member comes and goes; meanwhile the store comes back.
    let second = Running::start(&kafka, &topic, &group, 5, MemorySink::default());
    sink.wait_for("the first has one", |seen| seen.assigned.len() == 1).await;
    sink.seen().outages_left = 0;
    second.stop().await;
    for partition in 0..2 {
        broker::send(&kafka, &topic, partition, &large("b"));
    }
    let all = |seen: &Seen| seen.values.values().filter(|value| value.starts_with('b')).count() == 60;
    sink.wait_for("both partitions are read to their end", all).await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_topic_and_an_unreachable_broker_are_said_in_one_line() {
    let kafka = broker::kafka().await;
    let running = Running::start(&kafka, "no-such-topic", &unique("group"), 1, MemorySink::default());
    let error = running.task.await.expect("no panic").expect_err("there is no such topic");
    assert_eq!(pipeline::exit_code(&error), 2);
    assert!(error.to_string().contains("topic no-such-topic does not exist"), "{error}");
}
