//! Faults at the process boundary: SIGKILL, two writers at once, a store that loses answers. Counted afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use pipeline::codec::{Encoder, Framing};
use pipeline::events::SourceHealth;
use pipeline::example;
use pipeline::topics;

use crate::broker::Broker;
use crate::fault_store::{Fault, FaultStore, when};
use crate::lake::Lake;
use crate::service::{Service, command, wait_for};

const PARTITIONS: usize = 3;

fn numbered(count: u32) -> Vec<Vec<u8>> {
    (0..count).map(|index| format!("{index:08}").into_bytes()).collect()
}

/// What was sent to `partition` of [`PARTITIONS`].
fn sent_to(values: &[Vec<u8>], partition: usize) -> Vec<Option<Vec<u8>>> {
    values.iter().skip(partition).step_by(PARTITIONS).cloned().map(Some).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_it_loses_and_repeats_nothing() {
    let stack = stack::shared().await;
    let (broker, lake, topic, group) = (Broker::of(stack), Lake::of(stack, "killed"), topics::HEALTH, "killed");
    broker.create(topic, i32::try_from(PARTITIONS).expect("few")).await;
    broker.create(&topics::dlq(topic), 1).await;
    let encoder = Encoder::new(Framing::SingleObject).await.expect("no registry");
    let record = |index| match index % 100 {
        7 => format!("garbage {index}").into_bytes(),
        _ => encoder.health(&health(index)),
    };
    let values: Vec<Vec<u8>> = (0..30_000).map(record).collect();
    let start =
        || Service::start(command(stack, &lake, topic, group).args(["--max-rows", "200", "--max-age-ms", "20"]));
    let mut rng = fastrand::Rng::with_seed(3);
    // A killed member's partitions are free again only when its session has timed out: ten seconds each.
    let kills = std::env::var("TICKSTREAM_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(4);
    for some in values.chunks(values.len() / kills) {
        let service = start();
        service.wait_ready();
        broker.send(topic, PARTITIONS, some);
        std::thread::sleep(Duration::from_millis(rng.u64(0..150)));
        service.kill();
    }
    let last = start();
    let each = i64::try_from(values.len() / PARTITIONS).expect("few");
    for partition in 0..3 {
        wait_for("the end", || broker.committed(group, topic, partition).is_some_and(|(offset, _)| offset == each));
    }
    last.terminate();
    let (mut objects, mut rows, mut bad) = (0, 0, 0);
    for partition in 0..PARTITIONS {
        let number = i32::try_from(partition).expect("few");
        let chunked: Vec<_> = values.chunks(values.len() / kills).flat_map(|some| sent_to(some, partition)).collect();
        assert!(lake.values(topic, number) == chunked, "partition {partition} holds what was sent, once, in order");
        for (good, left_out) in lake.bronze("health", topic, number) {
            (objects, rows, bad) = (objects + 1, rows + good, bad + left_out);
        }
    }
    let letters = broker.read(&topics::dlq(topic));
    let distinct: BTreeSet<&Vec<u8>> = letters.iter().collect();
    println!(
        "{kills} kills: {objects} raw objects, {rows} bronze rows, {bad} left out, {} dead letters",
        letters.len()
    );
    assert_eq!((rows, bad, distinct.len()), (29_700, 300, 300));
}

fn health(at: i64) -> SourceHealth {
    SourceHealth { at, ..example::health() }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_of_one_chain_make_one_chain() {
    let stack = stack::shared().await;
    let (broker, lake, topic) = (Broker::of(stack), Lake::of(stack, "zombie"), "lake.zombie");
    broker.create(topic, 1).await;
    // Two groups, so that each believes that the partition is its own, as a zombie does.
    let writers = [("zombie-a", "37"), ("zombie-b", "53")].map(|(group, rows)| {
        Service::start(command(stack, &lake, topic, group).args(["--max-rows", rows, "--max-age-ms", "20"]))
    });
    writers.iter().for_each(Service::wait_ready);
    let values = numbered(6000);
    for some in values.chunks(300) {
        broker.send(topic, 1, some);
    }
    for group in ["zombie-a", "zombie-b"] {
        wait_for("both at the end", || broker.committed(group, topic, 0).is_some_and(|(offset, _)| offset == 6000));
    }
    writers.into_iter().for_each(Service::terminate);
    println!("two writers: {} objects", lake.whole_chain(topic, 0).len());
    assert!(lake.values(topic, 0) == values.into_iter().map(Some).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_loses_answers_and_goes_away_costs_nothing() {
    let stack = stack::shared().await;
    let (broker, lake, topic, group) = (Broker::of(stack), Lake::of(stack, "answers"), "lake.answers", "answers");
    broker.create(topic, 1).await;
    let store = FaultStore::start(stack).await;
    let mut command = command(stack, &lake, topic, group);
    let service =
        Service::start(command.env("S3_ENDPOINT_URL", &store.url).args(["--max-rows", "100", "--max-age-ms", "20"]));
    service.wait_ready();
    let values = numbered(4000);
    let mut lost = 0;
    for (round, some) in values.chunks(400).enumerate() {
        // Every third answer is lost; then nothing gets through at all; then all is well.
        lost += store.hits();
        store.set([when(|_| true, Fault::SomeAnswersLost(if round == 5 { 100 } else { 33 }))]);
        broker.send(topic, 1, some);
        if round == 5 {
            wait_for("unready, with the reason", || service.readiness().contains("sink"));
        }
    }
    lost += store.hits();
    store.lift();
    wait_for("the end", || broker.committed(group, topic, 0).is_some_and(|(offset, _)| offset == 4000));
    wait_for("ready again", || service.readiness().contains("200 OK"));
    service.terminate();
    println!("{lost} answers lost");
    assert!(lost > 10);
    assert!(lake.values(topic, 0) == values.into_iter().map(Some).collect::<Vec<_>>());
}
