//! The real topics on a stack's broker, and a way to write to them.

use std::time::{Duration, Instant};

use pipeline::kafka::KafkaArgs;
use pipeline::topics;
use rdkafka::Message;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

pub async fn create_topics(kafka: &KafkaArgs) {
    let admin: AdminClient<DefaultClientContext> = kafka.admin().create().expect("admin client");
    let names = [topics::TICKS, topics::GAPS, topics::INDEX, topics::ALERTS];
    let names: Vec<String> = names.iter().flat_map(|name| [(*name).to_owned(), topics::dlq(name)]).collect();
    let settings =
        |topic| NewTopic::new(topic, 2, TopicReplication::Fixed(1)).set("message.timestamp.type", "LogAppendTime");
    let new: Vec<NewTopic<'_>> = names.iter().map(|name| settings(name)).collect();
    let results = admin.create_topics(&new, &AdminOptions::new()).await.expect("create topics");
    results.into_iter().for_each(|result| drop(result.expect("created")));
}

/// Sends `values` over both partitions and waits for the broker.
pub fn send(kafka: &KafkaArgs, values: &[Vec<u8>]) {
    let producer: BaseProducer = kafka.producer().create().expect("producer");
    for (i, value) in values.iter().enumerate() {
        producer.send(BaseRecord::<(), _>::to(topics::TICKS).partition(i as i32 % 2).payload(value)).expect("queued");
    }
    producer.flush(Duration::from_secs(10)).expect("flushed");
}

/// Value and reason of each dead letter.
pub fn dead_letters(kafka: &KafkaArgs) -> Vec<(Vec<u8>, String)> {
    let consumer: BaseConsumer = kafka.consumer(None).create().expect("consumer");
    let topic = topics::dlq(topics::TICKS);
    let mut list = TopicPartitionList::new();
    let mut expected = 0;
    for partition in 0..2 {
        list.add_partition_offset(&topic, partition, Offset::Beginning).expect("an offset");
        expected += end_of_log(&consumer, &topic, partition);
    }
    consumer.assign(&list).expect("assigned");
    let mut letters = Vec::new();
    while (letters.len() as i64) < expected {
        let Some(Ok(message)) = consumer.poll(Duration::from_secs(10)) else { continue };
        let headers = message.headers().expect("a dead letter has headers");
        let reason = headers.iter().find(|header| header.key.ends_with("reason")).and_then(|header| header.value);
        let reason = String::from_utf8(reason.expect("a reason").to_vec()).expect("text");
        letters.push((message.payload().expect("a value").to_vec(), reason));
    }
    letters
}

/// How many records of the ticks a group has committed.
pub fn committed(kafka: &KafkaArgs, group: &str) -> Option<i64> {
    let consumer: BaseConsumer = kafka.consumer(Some(group)).create().expect("consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topics::TICKS, 0, 1);
    let committed = consumer.committed_offsets(list, Duration::from_secs(10)).ok()?;
    let offsets = committed.elements().into_iter().map(|element| match element.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    });
    offsets.sum()
}

/// A partition that was just made has no leader for a moment.
fn end_of_log(consumer: &BaseConsumer, topic: &str, partition: i32) -> i64 {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)) {
            Ok((_, end)) => return end,
            Err(error) => assert!(Instant::now() < deadline, "{topic}[{partition}]: {error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
