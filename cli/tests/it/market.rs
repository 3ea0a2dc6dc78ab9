//! Ticks in market.ticks.v1, put there by hand: each where the test wants it.

use pipeline::codec::{Encoder, Framing};
use pipeline::events::{PriceTick, event_id};
use pipeline::example;
use pipeline::kafka::KafkaArgs;
use pipeline::records::{Record, RecordBuffer, Records};
use pipeline::topics::TICKS;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use stack::Stack;
use std::time::Duration;
use uuid::Uuid;

pub const EVENT_TIME_MICROS: i64 = 1_790_000_000_000_000;
const PATIENCE: Timeout = Timeout::After(Duration::from_secs(20));

pub fn kafka(stack: &Stack) -> KafkaArgs {
    KafkaArgs { kafka_bootstrap_servers: stack.kafka_bootstrap_servers.clone(), kafka_properties: Vec::new() }
}

/// A record that the broker took.
#[derive(Clone, Debug)]
pub struct Sent {
    pub partition: i32,
    pub offset: i64,
    pub value: Vec<u8>,
    /// `None` for garbage.
    pub event_id: Option<Uuid>,
    /// Which one of ours it is.
    pub event: Option<u64>,
}

pub fn id(n: u64) -> Uuid {
    event_id("test", "trades", "BTC-USD", &n.to_string())
}

/// Event `n`.
pub fn tick(n: u64) -> PriceTick {
    PriceTick {
        event_id: id(n),
        event_time: EVENT_TIME_MICROS,
        received_at: EVENT_TIME_MICROS,
        trade_id: Some(n.to_string()),
        ..example::tick()
    }
}

pub struct Market {
    producer: FutureProducer,
    transactions: FutureProducer,
    encoder: Encoder,
}

impl Market {
    pub async fn new(stack: &Stack) -> Self {
        let producer = kafka(stack).producer();
        let mut transactional = kafka(stack).producer();
        transactional.set("transactional.id", "cli-audit");
        let transactions: FutureProducer = transactional.create().expect("producer");
        transactions.init_transactions(PATIENCE).expect("init transactions");
        Self {
            producer: producer.create().expect("producer"),
            transactions,
            encoder: Encoder::new(Framing::SingleObject).await.expect("encoder"),
        }
    }

    /// The bytes of event `n`.
    fn tick(&self, n: u64) -> Vec<u8> {
        self.encoder.tick(&tick(n))
    }

    async fn send(producer: &FutureProducer, partition: i32, value: Vec<u8>, event: Option<u64>) -> Sent {
        let record = FutureRecord::<[u8], [u8]>::to(TICKS).partition(partition).payload(&value);
        let delivery = producer.send(record, PATIENCE).await.expect("delivered");
        Sent { partition, offset: delivery.offset, value, event_id: event.map(id), event }
    }

    pub async fn ticks(&self, partition: i32, events: impl IntoIterator<Item = u64>) -> Vec<Sent> {
        let mut sent = Vec::new();
        for n in events {
            sent.push(Self::send(&self.producer, partition, self.tick(n), Some(n)).await);
        }
        sent
    }

    pub async fn garbage(&self, partition: i32) -> Sent {
        Self::send(&self.producer, partition, b"garbage".to_vec(), None).await
    }

    /// Ticks in a transaction, committed or aborted: either way a marker follows that is never delivered.
    pub async fn transaction(&self, partition: i32, events: impl IntoIterator<Item = u64>, commit: bool) -> Vec<Sent> {
        self.transactions.begin_transaction().expect("begin");
        let mut sent = Vec::new();
        for n in events {
            sent.push(Self::send(&self.transactions, partition, self.tick(n), Some(n)).await);
        }
        if commit {
            self.transactions.commit_transaction(PATIENCE).expect("commit");
        } else {
            self.transactions.abort_transaction(PATIENCE).expect("abort");
        }
        sent
    }
}

/// As a consumer would hold them.
pub fn records(sent: &[Sent]) -> Records {
    let mut buffer = RecordBuffer::new();
    for record in sent {
        let timestamp_ms = EVENT_TIME_MICROS / 1000;
        buffer.push_owned(Record { offset: record.offset, timestamp_ms, key: None, value: Some(&record.value) }, &[]);
    }
    buffer.finish()
}

/// The last stable offset.
pub fn log_end(stack: &Stack, partition: i32) -> i64 {
    let consumer: BaseConsumer = kafka(stack).consumer(None).create().expect("consumer");
    consumer.fetch_watermarks(TICKS, partition, Duration::from_secs(10)).expect("watermarks").1
}
