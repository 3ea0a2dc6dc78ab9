//! What the broker does to the lake's writer: it goes and comes back, leaders move, and topics grow.

use nix::sys::signal::Signal;
use stack::{Options, Stack};

use crate::broker::Broker;
use crate::lake::Lake;
use crate::service::{Service, command, wait_for};

/// Back soon after a broker is back.
const IMPATIENT: &str = "session.timeout.ms=3000,heartbeat.interval.ms=500,reconnect.backoff.max.ms=500";

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_crashes_and_comes_back_costs_nothing() {
    if std::env::var_os("KAFKA_BOOTSTRAP_SERVERS").is_some() {
        eprintln!("skipped: KAFKA_BOOTSTRAP_SERVERS names a broker that this test may not stop");
        return;
    }
    // A broker of its own: others use the shared one.
    let stack = Stack::start(Options { fsync: false, ..Options::default() }).await.expect("a stack of its own");
    let kafka = stack.kafka().expect("the stack's own broker");
    let (broker, lake, topic, group) = (Broker::of(&stack), Lake::of(&stack, "broker"), "lake.broker", "broker");
    broker.create(topic, 2).await;
    let mut command = command(&stack, &lake, topic, group);
    command.args(["--max-rows", "50", "--max-age-ms", "20"]).env("KAFKA_PROPERTIES", IMPATIENT);
    let service = Service::start(&mut command);
    service.wait_ready();
    let values: Vec<Vec<u8>> = (0..20_000u32).map(|index| format!("{index:08}").into_bytes()).collect();
    for (round, some) in (0..).zip(values.chunks(values.len() / 4)) {
        broker.send(topic, 2, some);
        // The service is in the middle of them.
        match round {
            0 => tokio::task::block_in_place(|| kafka.stop()).expect("stopped"),
            1 => kafka.signal(Signal::SIGKILL),
            _ => continue,
        }
        wait_for("readiness to tell of the broker", || service.readiness().contains("broker: "));
        assert!(service.is_live(), "an outage is no reason to be killed");
        tokio::task::block_in_place(|| kafka.restart()).expect("restarted");
    }
    for partition in 0..2 {
        wait_for("the end", || broker.committed(group, topic, partition).is_some_and(|(offset, _)| offset == 10_000));
    }
    service.wait_ready();
    service.terminate();
    for partition in 0..2 {
        let sent = values.chunks(values.len() / 4).flat_map(|some| some.iter().skip(partition).step_by(2));
        let found = lake.values(topic, i32::try_from(partition).expect("few"));
        assert!(found == sent.cloned().map(Some).collect::<Vec<_>>(), "partition {partition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_that_move_cost_nothing() {
    let stack = stack::shared().await;
    let nodes = stack.kafka_cluster("leaders").await.expect("three nodes");
    let servers = nodes.each_ref().map(stack::Kafka::bootstrap_servers).join(",");
    let (broker, lake) = (Broker::at(servers.clone()), Lake::of(stack, "leaders"));
    let (topic, group, partitions) = ("lake.leaders", "leaders", 3_usize);
    broker.create_copied(topic, 3, 3).await;
    let mut command = command(stack, &lake, topic, group);
    command.args(["--max-rows", "50", "--max-age-ms", "20"]);
    command.env("KAFKA_BOOTSTRAP_SERVERS", servers).env("KAFKA_PROPERTIES", IMPATIENT);
    let service = Service::start(&mut command);
    service.wait_ready();
    let values: Vec<Vec<u8>> = (0..12_000u32).map(|index| format!("{index:08}").into_bytes()).collect();
    let (chunk, part) = (values.len() / 4, values.len() / 8);
    for (round, some) in (0..).zip(values.chunks(chunk)) {
        broker.send(topic, partitions, &some[..part]);
        wait_for("a leader on each node", || broker.leaders(topic) == [1, 2, 3]);
        // The service is in the middle of them.
        match round {
            0 => tokio::task::block_in_place(|| nodes[0].stop()).expect("stopped"),
            1 => nodes[1].signal(Signal::SIGKILL),
            _ => {
                broker.send(topic, partitions, &some[part..]);
                continue;
            }
        }
        wait_for("two leaders for three partitions", || broker.leaders(topic).len() == 2);
        broker.send(topic, partitions, &some[part..]);
        tokio::task::block_in_place(|| nodes[round].restart()).expect("restarted");
    }
    let end = i64::try_from(values.len() / partitions).expect("few");
    for partition in 0..3 {
        wait_for("the end", || broker.committed(group, topic, partition).is_some_and(|(offset, _)| offset == end));
    }
    service.wait_ready();
    service.terminate();
    for partition in 0..partitions {
        let sent = values.chunks(chunk).flat_map(|some| some.iter().skip(partition).step_by(partitions));
        let found = lake.values(topic, i32::try_from(partition).expect("few"));
        assert!(found == sent.cloned().map(Some).collect::<Vec<_>>(), "partition {partition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_written_from_their_first_record() {
    let stack = stack::shared().await;
    let (broker, lake, topic, group) = (Broker::of(stack), Lake::of(stack, "grown"), "lake.grown", "grown");
    broker.create(topic, 1).await;
    let mut command = command(stack, &lake, topic, group);
    let service = Service::start(command.env("KAFKA_PROPERTIES", "topic.metadata.refresh.interval.ms=500"));
    service.wait_ready();
    broker.send(topic, 1, &[b"before".to_vec()]);
    broker.grow(topic, 3).await;
    broker.send(topic, 3, &[b"a".to_vec(), b"b".to_vec(), b"c".to_vec()]);
    for (partition, end) in [(0, 2), (1, 1), (2, 1)] {
        wait_for("the commit", || broker.committed(group, topic, partition).is_some_and(|(offset, _)| offset == end));
    }
    service.terminate();
    let value = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(lake.values(topic, 0), [value("before"), value("a")]);
    assert_eq!((lake.values(topic, 1), lake.values(topic, 2)), (vec![value("b")], vec![value("c")]));
}
