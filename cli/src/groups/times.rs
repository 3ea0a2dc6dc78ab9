//! Broker times of records at the ends of a stretch, read from the log itself. One topic at a time: what tells of the end of a
//! partition names no topic. Must never happen here: a record before the stretch, or beyond it, that is taken for one of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use pipeline::kafka::{KafkaArgs, create, renew};
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(15);

/// A stretch of one partition: from `from` on, up to `until` exclusive, which the log has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub partition: i32,
    pub from: i64,
    pub until: i64,
}

/// Which record of a stretch is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    First,
    Last,
}

#[derive(Clone)]
pub struct Times(Arc<BaseConsumer>);

impl Times {
    pub fn new(kafka: &KafkaArgs) -> anyhow::Result<Self> {
        let mut config = kafka.consumer(None);
        // One record is asked for, or a few: no more is fetched than the batch that it is in.
        config.set("fetch.message.max.bytes", "4096").set("queued.min.messages", "1");
        let reader: BaseConsumer = create(&config, DefaultConsumerContext)?;
        Ok(Self(Arc::new(reader)))
    }

    /// The broker's time, milliseconds, of the first or last record of each stretch, by partition. A partition is left out whose
    /// stretch holds no record that a reader is given: transaction markers and what was aborted take offsets too.
    pub async fn ask(&self, topic: &str, stretches: Vec<Stretch>, end: End) -> anyhow::Result<HashMap<i32, i64>> {
        if stretches.is_empty() {
            return Ok(HashMap::new());
        }
        let (reader, topic) = (self.0.clone(), topic.to_owned());
        tokio::task::spawn_blocking(move || {
            renew(&*reader);
            let found = read(&reader, &topic, stretches, end);
            // Nothing is fetched between two questions.
            drop(reader.unassign());
            found
        })
        .await?
    }
}

fn read(reader: &BaseConsumer, topic: &str, stretches: Vec<Stretch>, end: End) -> anyhow::Result<HashMap<i32, i64>> {
    let mut list = TopicPartitionList::with_capacity(stretches.len());
    for stretch in &stretches {
        list.add_partition_offset(topic, stretch.partition, Offset::Offset(stretch.from))?;
    }
    reader.assign(&list).with_context(|| format!("reading {topic}"))?;
    let mut open: HashMap<i32, Stretch> = stretches.into_iter().map(|stretch| (stretch.partition, stretch)).collect();
    let mut found = HashMap::new();
    let begun = Instant::now();
    while !open.is_empty() {
        if begun.elapsed() > PATIENCE {
            bail!("{topic} could not be read for {PATIENCE:?}");
        }
        match reader.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => {
                let (partition, offset) = (message.partition(), message.offset());
                let Some(stretch) =
                    open.get(&partition).filter(|stretch| message.topic() == topic && offset >= stretch.from)
                else {
                    continue;
                };
                let until = stretch.until;
                if let Some(time) = message.timestamp().to_millis().filter(|_| offset < until) {
                    found.insert(partition, time);
                }
                // Not paused: it would stay so over the next assignment, and the next question would get no answer.
                if end == End::First || offset + 1 >= until {
                    open.remove(&partition);
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            // Retention was faster, or the topic was made anew: no time is known then.
            Some(Err(error)) => bail!("reading {topic}: {error}"),
        }
    }
    Ok(found)
}
