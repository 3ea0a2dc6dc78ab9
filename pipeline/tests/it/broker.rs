//! A topic of its own for each test, and ways to write to it.

use std::time::Duration;

use clap::Parser;
use pipeline::kafka::KafkaArgs;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use uuid::Uuid;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    kafka: KafkaArgs,
}

pub async fn kafka() -> KafkaArgs {
    let stack = stack::shared().await;
    Args::parse_from(["test", "--kafka-bootstrap-servers", &stack.kafka_bootstrap_servers]).kafka
}

pub fn unique(name: &str) -> String {
    format!("{name}-{}", Uuid::new_v4().simple())
}

pub async fn create(kafka: &KafkaArgs, topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = kafka.admin().create().expect("admin client");
    let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let results = admin.create_topics([&topic], &AdminOptions::new()).await.expect("create topics");
    results.into_iter().for_each(|result| drop(result.expect("created")));
}

pub async fn delete(kafka: &KafkaArgs, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = kafka.admin().create().expect("admin client");
    admin.delete_topics(&[topic], &AdminOptions::new()).await.expect("delete topics");
}

/// Sends `values` to one partition and waits for the broker.
pub fn send(kafka: &KafkaArgs, topic: &str, partition: i32, values: &[String]) {
    let producer: BaseProducer = kafka.producer().create().expect("producer");
    for value in values {
        producer.send(BaseRecord::to(topic).partition(partition).key("k").payload(value)).expect("queued");
    }
    producer.flush(Duration::from_secs(10)).expect("flushed");
}

/// One transaction of `values`, committed or aborted.
pub fn transact(producer: &BaseProducer, topic: &str, values: &[String], commit: bool) {
    let timeout = Duration::from_secs(10);
    producer.begin_transaction().expect("begin");
    for value in values {
        producer.send(BaseRecord::to(topic).partition(0).key("k").payload(value)).expect("queued");
    }
    producer.flush(timeout).expect("flushed");
    if commit { producer.commit_transaction(timeout) } else { producer.abort_transaction(timeout) }.expect("ended");
}

pub fn transactional(kafka: &KafkaArgs) -> BaseProducer {
    let producer: BaseProducer =
        kafka.producer().set("transactional.id", unique("tx")).create().expect("transactional producer");
    producer.init_transactions(Duration::from_secs(20)).expect("transactions");
    producer
}

pub fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{prefix}{i}")).collect()
}
