//! A shutdown while the store is slow: what was gathered is in the lake and committed before the process ends, well inside the
//! grace period of 45 s that k8s and Compose give it.

use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::fault_store::{Fault, FaultStore, when};
use crate::lake::Lake;
use crate::service::{Service, command, wait_for};

const PARTITIONS: usize = 6;
const RECORDS: usize = 600;
/// What the loop counts for a record of eight bytes.
const A_RECORD_BYTES: usize = 40;
const GRACE: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_flushes_all_partitions_through_a_slow_store() {
    let stack = stack::shared().await;
    let (broker, lake, topic, group) = (Broker::of(stack), Lake::of(stack, "drain"), "lake.drain", "drain");
    broker.create(topic, i32::try_from(PARTITIONS).expect("few")).await;
    let store = FaultStore::start(stack).await;
    let mut command = command(stack, &lake, topic, group);
    let aged = ["--max-age-ms", "3600000"];
    let service = Service::start(command.env("S3_ENDPOINT_URL", &store.url).args(aged));
    service.wait_ready();
    let values: Vec<Vec<u8>> = (0..RECORDS).map(|index| format!("{index:08}").into_bytes()).collect();
    broker.send(topic, PARTITIONS, &values);
    let held = Some((RECORDS * A_RECORD_BYTES) as f64);
    wait_for("everything to be gathered", || service.metric("tickstream_consumer_held_bytes") == held);
    // An object of a few kilobytes takes a few seconds.
    store.set([when(|request| request.puts("raw"), Fault::Slow)]);
    let begun = Instant::now();
    service.terminate();
    let took = begun.elapsed();
    println!("{RECORDS} records of {PARTITIONS} partitions flushed in {took:.1?}");
    assert!(took < GRACE, "{took:?}");
    assert_eq!(store.hits(), PARTITIONS as u64, "each was gathered in memory until then, and written once");
    for partition in 0..PARTITIONS {
        let number = i32::try_from(partition).expect("few");
        let expected: Vec<_> = values.iter().skip(partition).step_by(PARTITIONS).cloned().map(Some).collect();
        assert_eq!(lake.values(topic, number), expected);
        let end = Some((expected.len() as i64, "epoch=0000".to_owned()));
        assert_eq!(broker.committed(group, topic, number), end, "committed before it ended");
    }
}
