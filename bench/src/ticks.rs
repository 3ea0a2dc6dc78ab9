//! Ticks of 50 symbols of one source, made here. As a load they are sent by the clock, not by the answers, with the moment of
//! sending as `received_at`: a server that is slow gets no fewer ticks, and a client can tell how long one was on its way. As a past
//! they have times of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pipeline::codec::{Encoder, Framing};
use pipeline::events::{PriceTick, event_id};
use pipeline::example;
use pipeline::kafka::KafkaArgs;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::now_us;

pub const SYMBOLS: usize = 50;
pub const SOURCE: &str = "coinbase";

pub fn symbol(index: usize) -> String {
    format!("S{index:02}-USD")
}

/// The `number`th tick in all, of the symbol that is next in turn.
pub fn tick(number: usize, at: i64) -> PriceTick {
    let index = number % SYMBOLS;
    let symbol = symbol(index);
    let key = number.to_string();
    let price = format!("{}.{:02}", 100 * (index + 1) + number % 97, number % 89);
    PriceTick {
        event_id: event_id(SOURCE, "bench", &symbol, &key),
        base: format!("S{index:02}"),
        source: SOURCE.to_owned(),
        source_symbol: symbol.clone(),
        symbol,
        price: price.parse().expect("two decimals"),
        event_time: at,
        received_at: at,
        sequence: i64::try_from(number).ok(),
        trade_id: Some(key),
        ..example::tick()
    }
}

/// A thread that sends ticks at a steady rate until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<usize>>,
}

impl Load {
    pub async fn start(kafka: &KafkaArgs, topic: &'static str, per_second: usize) -> anyhow::Result<Self> {
        let encoder = Encoder::new(Framing::SingleObject).await?;
        let producer: BaseProducer = kafka.producer().set("linger.ms", "0").create()?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || {
                let begun = Instant::now();
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    let due = begun + Duration::from_nanos((1_000_000_000 * number / per_second) as u64);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let tick = tick(number, now_us());
                    send(&producer, topic, &tick.symbol, &encoder.tick(&tick), None)?;
                    producer.poll(Duration::ZERO);
                    number += 1;
                }
                producer.flush(Duration::from_secs(10))?;
                Ok(number)
            }
        });
        Ok(Self { stop, thread })
    }

    /// How many were sent.
    pub fn stop(self) -> anyhow::Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the sender of ticks has panicked"))?
    }
}

/// Ticks of a time that is over, `step_us` apart.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    /// What makes them other ticks than those of another past.
    pub first_number: usize,
    pub count: usize,
    pub begin_us: i64,
    pub step_us: i64,
}

impl Past {
    /// Publishes them, with their times as the records' timestamps where the topic keeps its producer's.
    pub async fn publish(self, kafka: &KafkaArgs, topic: &'static str) -> anyhow::Result<()> {
        let encoder = Encoder::new(Framing::SingleObject).await?;
        let producer: BaseProducer = kafka.producer().set("queue.buffering.max.messages", "500000").create()?;
        let work = move || {
            let mut at = self.begin_us;
            for number in self.first_number..self.first_number + self.count {
                let tick = tick(number, at);
                send(&producer, topic, &tick.symbol, &encoder.tick(&tick), Some(at / 1000))?;
                at += self.step_us;
            }
            Ok(producer.flush(Duration::from_secs(120))?)
        };
        crate::blocking(work).await
    }
}

fn send(
    producer: &BaseProducer,
    topic: &str,
    key: &str,
    value: &[u8],
    timestamp_ms: Option<i64>,
) -> anyhow::Result<()> {
    let mut record = BaseRecord::to(topic).key(key).payload(value);
    record.timestamp = timestamp_ms;
    while let Err((error, back)) = producer.send(record) {
        anyhow::ensure!(error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), "produce: {error}");
        producer.poll(Duration::from_millis(1));
        record = back;
    }
    Ok(())
}
