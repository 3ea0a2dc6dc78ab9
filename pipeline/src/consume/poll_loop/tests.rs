//! The loop without a broker, or with librdkafka's own.

use std::sync::mpsc::Sender;

use metrics_exporter_prometheus::PrometheusBuilder;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::consume::Until;
use crate::kafka::KafkaArgs;

const NOBODY: &str = "127.0.0.1:1";

fn consumer(servers: &str) -> BaseConsumer<LoopContext> {
    let kafka = KafkaArgs { kafka_bootstrap_servers: servers.to_owned(), kafka_properties: Vec::new() };
    LoopContext::consumer(&kafka, "group").expect("a consumer")
}

fn config() -> ConsumeConfig {
    ConsumeConfig {
        topics: vec!["t".to_owned()],
        group: "group".to_owned(),
        max_rows: 100,
        max_bytes: 1 << 20,
        max_age: Duration::from_secs(3600),
        together: false,
        max_span: None,
        buffer_bytes: 1 << 20,
        idle_every: Duration::from_secs(3600),
        stop_when_bad: false,
        drain: Duration::from_secs(1),
        until: Until::Shutdown,
    }
}

/// A loop, and what it asks of the task that writes.
fn poll_loop(consumer: &BaseConsumer<LoopContext>) -> (PollLoop<'_>, UnboundedReceiver<Command>, Sender<Answer>) {
    poll_loop_of(consumer, Handing::Lanes)
}

fn poll_loop_of(
    consumer: &BaseConsumer<LoopContext>,
    handing: Handing,
) -> (PollLoop<'_>, UnboundedReceiver<Command>, Sender<Answer>) {
    let (to_sink, commands) = unbounded_channel();
    let (answer, answers) = std::sync::mpsc::channel();
    let (shared, health) = (consumer.context().shared.clone(), Health::new());
    let sink = (to_sink, answers);
    let shutdown = CancellationToken::new();
    let made = PollLoop::new((config(), Ends::default()), handing, consumer, shared, health, sink, shutdown);
    (made, commands, answer)
}

/// Starts partition 0 in the next generation, with one record gathered. Gives the generation.
fn start(poll_loop: &mut PollLoop<'_>) -> u64 {
    let generation = poll_loop.shared.next_generation();
    let assigned = Assigned {
        topic: "t".into(),
        partition: 0,
        committed: Some(3),
        metadata: String::new(),
        log_start: 0,
        log_end: 10,
    };
    let commits = vec![Some("m".to_owned())];
    let started = Answer::Started { generation, assigned: vec![assigned], starts: vec![5], commits };
    poll_loop.take_answer(started).expect("taken");
    let record = Record { offset: 5, timestamp_ms: 0, key: None, value: Some(b"v") };
    assert!(poll_loop.partitions[0].push(record, ClientHeaders::None, &poll_loop.limits));
    generation
}

#[test]
fn a_batch_is_of_the_generation_that_its_partition_was_started_in() {
    let consumer = consumer(NOBODY);
    let (mut poll_loop, mut commands, _answers) = poll_loop(&consumer);
    let generation = start(&mut poll_loop);
    poll_loop.shared.next_generation();
    poll_loop.hand_over(true);
    let Ok(Command::Write { generation: of, batches }) = commands.try_recv() else { panic!("nothing was handed over") };
    assert_eq!((of, batches.len()), (generation, 1));
}

#[test]
fn whoever_lost_its_partitions_while_it_shut_down_commits_nothing_and_lags_behind_nothing() {
    let consumer = consumer(NOBODY);
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let (mut poll_loop, mut commands, _answers) = poll_loop(&consumer);
        start(&mut poll_loop);
        poll_loop.tell_lag();
        let lag =
            |value: &str| format!("tickstream_consumer_lag{{topic=\"t\",partition=\"0\",group=\"group\"}} {value}\n");
        let told = recorder.handle().render();
        assert!(told.contains(&lag("5")), "{told}");
        poll_loop.shared.rebalanced(Rebalance::TakenBack);
        poll_loop.drain().expect("it ends");
        assert!(poll_loop.partitions.is_empty() && commands.try_recv().is_err());
        let told = recorder.handle().render();
        assert!(told.contains(&lag("0")), "{told}");
    });
}

#[test]
fn a_task_that_is_gone_ends_a_shutdown_at_once() {
    let consumer = consumer(NOBODY);
    let (mut poll_loop, _commands, answers) = poll_loop(&consumer);
    poll_loop.config.drain = Duration::from_secs(3600);
    start(&mut poll_loop);
    drop(answers);
    let said = poll_loop.drain().expect_err("nobody writes").to_string();
    assert!(said.contains("the sink task ended"), "{said}");
}

#[test]
fn a_member_without_partitions_sees_that_the_broker_is_back() {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic("t", 1, 1).expect("created");
    let consumer = consumer(&cluster.bootstrap_servers());
    let (mut poll_loop, _commands, _answers) = poll_loop(&consumer);
    poll_loop.health.set("assignment", Ok(()));
    poll_loop.broker_trouble("away".to_owned());
    assert!(poll_loop.health.ready().is_err());
    let deadline = Instant::now() + Duration::from_secs(60);
    while poll_loop.broker_trouble {
        assert!(Instant::now() < deadline, "{:?}", poll_loop.health.ready());
        poll_loop.last_look = Instant::now().checked_sub(Duration::from_secs(60)).expect("a time");
        poll_loop.look_around();
    }
    assert_eq!(poll_loop.health.ready(), Ok(()));
}

#[test]
fn what_is_committed_is_looked_up_when_nothing_of_a_sink_that_commits_is_under_way() {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic("t", 1, 1).expect("created");
    let consumer = consumer(&cluster.bootstrap_servers());
    let (mut poll_loop, mut commands, answers) = poll_loop_of(&consumer, Handing::Rounds { sink_commits: true });
    poll_loop.assignment = Some(vec![("t".to_owned(), 0)]);
    poll_loop.restart();
    for _again in 0..2 {
        poll_loop.start_at = Some(Instant::now());
        poll_loop.ask_for_start();
    }
    let Ok(Command::Fence { generation }) = commands.try_recv() else { panic!("the sink was not asked") };
    assert!(commands.try_recv().is_err(), "asked once, and nothing more before it has answered");
    answers.send(Answer::Fenced { generation }).expect("it listens");
    poll_loop.take_answers().expect("taken");
    let deadline = Instant::now() + Duration::from_secs(60);
    while poll_loop.start_at.is_some() {
        assert!(Instant::now() < deadline, "{:?}", poll_loop.health.ready());
        poll_loop.start_at = Some(Instant::now());
        poll_loop.ask_for_start();
    }
    assert!(matches!(commands.try_recv(), Ok(Command::Start { generation: of, .. }) if of == generation));
}

#[test]
fn a_refused_commit_is_sent_again_though_no_record_comes() {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic("t", 1, 1).expect("created");
    let consumer = consumer(&cluster.bootstrap_servers());
    let (mut poll_loop, _commands, _answers) = poll_loop(&consumer);
    cluster
        .request_errors(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED]);
    start(&mut poll_loop);
    let mut list = TopicPartitionList::new();
    list.add_partition("t", 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < deadline, "not committed");
        poll_loop.take_answers().expect("taken");
        drop(consumer.poll(POLL));
        let committed = consumer.committed_offsets(list.clone(), Duration::from_secs(10)).expect("asked");
        if committed.elements()[0].offset() == Offset::Offset(5) {
            break;
        }
    }
    assert!(poll_loop.commit_again_at.is_none() && !poll_loop.shared.take_refused_commit());
}
