//! Topics on the stack's broker, and ways to write to them.

use std::collections::BTreeSet;
use std::time::Duration;

use pipeline::kafka::KafkaArgs;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};
use stack::Stack;

const TIMEOUT: Duration = Duration::from_secs(20);

pub struct Broker {
    pub args: KafkaArgs,
}

impl Broker {
    pub fn of(stack: &Stack) -> Self {
        Self::at(stack.kafka_bootstrap_servers.clone())
    }

    pub fn at(kafka_bootstrap_servers: String) -> Self {
        Self { args: KafkaArgs { kafka_bootstrap_servers, kafka_properties: Vec::new() } }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.args.admin().create().expect("admin client")
    }

    pub async fn create(&self, topic: &str, partitions: i32) {
        self.create_copied(topic, partitions, 1).await;
    }

    pub async fn create_copied(&self, topic: &str, partitions: i32, copies: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(copies))
            .set("message.timestamp.type", "LogAppendTime");
        let results = self.admin().create_topics(&[new], &AdminOptions::new()).await.expect("create");
        results.into_iter().for_each(|result| drop(result.expect("created")));
    }

    /// The nodes that lead partitions of a topic, in order, each once; none where some partition has no leader.
    pub fn leaders(&self, topic: &str) -> Vec<i32> {
        let consumer: BaseConsumer = self.args.consumer(None).create().expect("consumer");
        let Ok(metadata) = consumer.fetch_metadata(Some(topic), TIMEOUT) else { return Vec::new() };
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let leaders: BTreeSet<i32> = partitions.map(|partition| partition.leader()).collect();
        if leaders.contains(&-1) { Vec::new() } else { leaders.into_iter().collect() }
    }

    pub async fn grow(&self, topic: &str, partitions: usize) {
        let grown = NewPartitions::new(topic, partitions);
        let results = self.admin().create_partitions(&[grown], &AdminOptions::new()).await.expect("grow");
        results.into_iter().for_each(|result| drop(result.expect("grown")));
    }

    pub async fn delete(&self, topic: &str) {
        let results = self.admin().delete_topics(&[topic], &AdminOptions::new()).await.expect("delete");
        results.into_iter().for_each(|result| drop(result.expect("deleted")));
    }

    /// Retention up to `offset`.
    pub async fn delete_below(&self, topic: &str, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(offset)).expect("an offset");
        self.admin().delete_records(&list, &AdminOptions::new()).await.expect("deleted records");
    }

    pub fn producer(&self) -> BaseProducer {
        self.args.producer().set("message.max.bytes", "2000000").create().expect("producer")
    }

    /// Sends `values` in turn over `partitions` and waits for the broker.
    pub fn send(&self, topic: &str, partitions: usize, values: &[Vec<u8>]) {
        let producer = self.producer();
        for (index, value) in values.iter().enumerate() {
            let partition = i32::try_from(index % partitions).expect("few");
            producer.send(BaseRecord::<(), _>::to(topic).partition(partition).payload(value)).expect("queued");
            // The client's queue holds 100,000.
            if index % 50_000 == 49_999 {
                producer.flush(TIMEOUT).expect("flushed");
            }
        }
        producer.flush(TIMEOUT).expect("flushed");
    }

    /// One transaction over partition 0, committed or not.
    pub fn transaction(&self, topic: &str, id: &str, values: &[Vec<u8>], commit: bool) {
        let producer: BaseProducer = self.args.producer().set("transactional.id", id).create().expect("producer");
        producer.init_transactions(TIMEOUT).expect("init");
        producer.begin_transaction().expect("begin");
        for value in values {
            producer.send(BaseRecord::<(), _>::to(topic).partition(0).payload(value)).expect("queued");
        }
        producer.flush(TIMEOUT).expect("flushed");
        if commit { producer.commit_transaction(TIMEOUT) } else { producer.abort_transaction(TIMEOUT) }.expect("ended");
    }

    /// What Kafka's own tools do to an idle group.
    pub fn rewind(&self, group: &str, topic: &str, offset: i64) {
        let consumer: BaseConsumer = self.args.consumer(Some(group)).create().expect("consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(offset)).expect("an offset");
        consumer.commit(&list, CommitMode::Sync).expect("committed");
    }

    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<(i64, String)> {
        self.commits(group).of(topic, partition)
    }

    /// For asking often.
    pub fn commits(&self, group: &str) -> Commits {
        Commits(self.args.consumer(Some(group)).create().expect("consumer"))
    }

    /// The values in partition 0 of `topic`, from its start.
    pub fn read(&self, topic: &str) -> Vec<Vec<u8>> {
        let consumer: BaseConsumer = self.args.consumer(None).create().expect("consumer");
        let (start, end) = consumer.fetch_watermarks(topic, 0, TIMEOUT).expect("watermarks");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(start)).expect("an offset");
        consumer.assign(&list).expect("assigned");
        let mut values = Vec::new();
        while (values.len() as i64) < end - start {
            if let Some(Ok(message)) = consumer.poll(TIMEOUT) {
                values.push(message.payload().expect("a value").to_vec());
            }
        }
        values
    }
}

/// What a group has committed.
pub struct Commits(BaseConsumer);

impl Commits {
    pub fn of(&self, topic: &str, partition: i32) -> Option<(i64, String)> {
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        // A group that is new has no coordinator yet.
        let list = self.0.committed_offsets(list, TIMEOUT).ok()?;
        let element = list.find_partition(topic, partition).expect("asked for");
        Some((element.offset().to_raw().filter(|offset| *offset >= 0)?, element.metadata().to_owned()))
    }
}
