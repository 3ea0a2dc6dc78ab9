//! Runs that end by themselves: what they read, what they leave, and whom they do not wait for.

use std::time::Duration;

use pipeline::kafka::KafkaArgs;

use crate::broker::{self, numbered, unique};
use crate::consuming::{MemorySink, Running};

/// Longer than any run of these tests takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn ended(running: Running) -> anyhow::Result<()> {
    tokio::time::timeout(PATIENCE, running.task).await.expect("the run ends by itself").expect("no panic")
}

/// What a run that ends by itself is given, by partition and offset.
async fn run(kafka: &KafkaArgs, topic: &str, group: &str) -> MemorySink {
    let sink = MemorySink::default();
    ended(Running::start_bounded(kafka, topic, group, sink.clone())).await.expect("caught up");
    sink
}

fn offsets(sink: &MemorySink) -> Vec<(i32, i64)> {
    sink.seen().values.keys().copied().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_reads_what_the_log_held_when_it_began_and_the_next_one_the_rest() {
    let (kafka, topic, group) = (broker::kafka().await, unique("bounded"), unique("group"));
    broker::create(&kafka, &topic, 3).await;
    broker::send(&kafka, &topic, 0, &numbered("a", 250));
    broker::send(&kafka, &topic, 1, &numbered("b", 10));
    let sink = MemorySink::default();
    sink.seen().outages_left = 3;
    let first = Running::start_bounded(&kafka, &topic, &group, sink.clone());
    sink.wait_for("an outage", |seen| seen.outages_left < 3).await;
    broker::send(&kafka, &topic, 0, &numbered("late", 40));
    broker::send(&kafka, &topic, 2, &numbered("late", 2));
    ended(first).await.expect("an outage is waited out");
    let expected: Vec<(i32, i64)> = (0..250).map(|n| (0, n)).chain((0..10).map(|n| (1, n))).collect();
    assert_eq!(offsets(&sink), expected);

    let second = run(&kafka, &topic, &group).await;
    assert_eq!(offsets(&second), (250..290).map(|n| (0, n)).chain([(2, 0), (2, 1)]).collect::<Vec<_>>());
    let third = run(&kafka, &topic, &group).await;
    assert!(third.seen().batches.is_empty(), "there is nothing to do: {:?}", third.seen().batches);
    let committed = |partition: i32| {
        let seen = third.seen();
        seen.assigned.iter().find(|assigned| assigned.partition == partition).and_then(|assigned| assigned.committed)
    };
    assert_eq!([committed(0), committed(1), committed(2)], [Some(290), Some(10), Some(2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_in_undelivered_offsets_is_read_to_its_end() {
    let (kafka, topic, group) = (broker::kafka().await, unique("bounded"), unique("group"));
    broker::create(&kafka, &topic, 1).await;
    assert_eq!(offsets(&run(&kafka, &topic, &group).await), [], "an empty topic");
    let producer = broker::transactional(&kafka);
    broker::transact(&producer, &topic, &numbered("x", 2), false); // 0 1 aborted, marker 2
    assert_eq!(offsets(&run(&kafka, &topic, &group).await), [], "nothing but what was aborted");
    broker::transact(&producer, &topic, &numbered("a", 2), true); // 3 4, marker 5
    broker::transact(&producer, &topic, &numbered("y", 3), false); // 6 7 8 aborted, marker 9
    assert_eq!(offsets(&run(&kafka, &topic, &group).await), [(0, 3), (0, 4)]);
    assert!(run(&kafka, &topic, &group).await.seen().batches.is_empty(), "what is left is never delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_of_a_group_share_the_work_and_both_end() {
    let (kafka, topic, group) = (broker::kafka().await, unique("bounded"), unique("group"));
    broker::create(&kafka, &topic, 4).await;
    for partition in 0..4 {
        broker::send(&kafka, &topic, partition, &numbered("a", 300));
    }
    let (one, other) = (MemorySink::default(), MemorySink::default());
    let first = Running::start_bounded(&kafka, &topic, &group, one.clone());
    let second = Running::start_bounded(&kafka, &topic, &group, other.clone());
    ended(first).await.expect("the first caught up");
    ended(second).await.expect("the second caught up");
    let mut values = one.seen().values.clone();
    values.extend(other.seen().values.clone());
    assert_eq!(values.len(), 1200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_member_owns_is_not_waited_for() {
    let (kafka, topic, group) = (broker::kafka().await, unique("bounded"), unique("group"));
    broker::create(&kafka, &topic, 2).await;
    for partition in 0..2 {
        broker::send(&kafka, &topic, partition, &numbered("a", 50));
    }
    let stuck = MemorySink::default();
    stuck.seen().outages_left = usize::MAX;
    let service = Running::start(&kafka, &topic, &group, 100, stuck.clone());
    stuck.wait_for("the service owns both", |seen| seen.assigned.len() == 2).await;
    let bounded = run(&kafka, &topic, &group).await;
    assert_eq!(offsets(&bounded).len(), 50);
    assert_eq!(bounded.seen().assigned.len(), 1);
    stuck.seen().outages_left = 0;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_before_its_end_says_so() {
    let (kafka, topic, group) = (broker::kafka().await, unique("bounded"), unique("group"));
    broker::create(&kafka, &topic, 1).await;
    broker::send(&kafka, &topic, 0, &numbered("a", 50));
    let sink = MemorySink::default();
    sink.seen().outages_left = usize::MAX;
    let running = Running::start_bounded(&kafka, &topic, &group, sink.clone());
    sink.wait_for("an outage", |seen| seen.outages_left < usize::MAX).await;
    running.shutdown.cancel();
    let error = ended(running).await.expect_err("it has not caught up");
    assert_eq!(error.to_string(), "stopped before it had caught up: 0 records were written");
    assert_eq!(offsets(&run(&kafka, &topic, &group).await).len(), 50, "the next run does what this one could not");
}
