//! The one writer of market.redrives.v1. Its transactional id is the same in every process, so whoever begins is the only one:
//! the broker aborts what an earlier one had open and refuses whatever that sends afterwards. Invariant: a batch is in the log
//! whole, records and marks together, or nothing of it is. Must never happen here: a batch told as done whose commit was not
//! acknowledged.

use std::time::Duration;

use anyhow::{Context, anyhow};
use futures::future::try_join_all;
use pipeline::headers::{insert, key_of};
use pipeline::kafka::KafkaArgs;
use pipeline::topics;
use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};

use super::letter::{Header, Place};
use super::marks::{Mark, key};
use crate::transactions::Transactions;

/// Of every `tickstream dlq` that writes.
const TRANSACTIONAL_ID: &str = "tickstream-dlq";
/// On a record that was sent again: topic id, partition and offset of the one that was refused.
pub const REDRIVEN: &str = "tickstream-redriven";
/// Readers of what one that dies wrote into wait for so long.
const LASTS: Duration = Duration::from_secs(10);

/// A record to send again.
#[derive(Clone, Debug)]
pub struct Again {
    pub place: Place,
    pub topic: String,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Vec<Header>,
    pub corrected: bool,
}

impl Again {
    pub fn bytes(&self) -> usize {
        self.value.len() + self.key.as_ref().map_or(0, Vec::len)
    }
}

/// A letter that a person has dealt with.
#[derive(Clone, Debug)]
pub struct Dealt {
    pub place: Place,
    pub topic: String,
    pub group: String,
    pub why: String,
}

pub struct Writer(Transactions);

impl Writer {
    /// Becomes the only writer. What is settled is read after this.
    ///
    /// # Errors
    /// When the broker does not let us in.
    pub async fn open(kafka: &KafkaArgs) -> anyhow::Result<Self> {
        Transactions::open(kafka, TRANSACTIONAL_ID, LASTS, "tickstream dlq").await.map(Self)
    }

    /// Sends these records and marks each with the place where it stands again; gives those places, in the same order.
    ///
    /// # Errors
    /// Then nothing of it was written, unless the error says that this is not known.
    pub async fn redrive(&self, records: &[Again]) -> anyhow::Result<Vec<(i32, i64)>> {
        let producer = self.0.begin()?;
        let written = async {
            let sent: Vec<_> = records.iter().map(|record| send(producer, record)).collect::<anyhow::Result<_>>()?;
            let places = try_join_all(sent).await.context("waiting for the records")?;
            let mut marks = Vec::with_capacity(records.len());
            let mut stand = Vec::with_capacity(records.len());
            for (record, delivered) in records.iter().zip(places) {
                let place =
                    delivered.map_err(|(error, _)| anyhow!(error).context(format!("writing to {}", record.topic)))?;
                let (topic, corrected) = (record.topic.clone(), record.corrected);
                let mark = Mark::Redriven { topic, partition: place.partition, offset: place.offset, corrected };
                marks.push((key(record.place, None), mark));
                stand.push((place.partition, place.offset));
            }
            mark(producer, &marks).await?;
            Ok(stand)
        };
        let written = written.await;
        self.0.end(written).await
    }

    /// Marks these letters as dealt with.
    ///
    /// # Errors
    /// As [`Self::redrive`].
    pub async fn drop(&self, letters: &[Dealt]) -> anyhow::Result<()> {
        let producer = self.0.begin()?;
        let marks: Vec<(String, Mark)> = letters
            .iter()
            .map(|letter| {
                let Dealt { place, topic, group, why } = letter.clone();
                (key(place, Some(&group)), Mark::Dropped { topic, why })
            })
            .collect();
        let written = mark(producer, &marks).await;
        self.0.end(written).await
    }
}

fn send(producer: &FutureProducer, record: &Again) -> anyhow::Result<DeliveryFuture> {
    let mut headers = OwnedHeaders::new();
    for (key, value) in &record.headers {
        headers = insert(headers, &key_of(key), value.as_deref());
    }
    headers = headers.insert(KafkaHeader { key: REDRIVEN, value: Some(&key(record.place, None)) });
    let mut again = FutureRecord::<[u8], [u8]>::to(&record.topic).payload(&record.value).headers(headers);
    // With a key it goes where that key's records go now; without one, back to where it was.
    again = match &record.key {
        Some(key) => again.key(key),
        None => again.partition(record.place.partition),
    };
    producer.send_result(again).map_err(|(error, _)| anyhow!(error).context(format!("writing to {}", record.topic)))
}

async fn mark(producer: &FutureProducer, marks: &[(String, Mark)]) -> anyhow::Result<()> {
    let mut sent = Vec::with_capacity(marks.len());
    for (key, mark) in marks {
        let value = serde_json::to_string(mark)?;
        let record = FutureRecord::<str, str>::to(topics::REDRIVES).key(key).payload(&value);
        let sending = producer.send_result(record);
        sent.push(sending.map_err(|(error, _)| anyhow!(error).context(format!("writing to {}", topics::REDRIVES)))?);
    }
    for delivered in try_join_all(sent).await.context("waiting for the marks")? {
        delivered.map_err(|(error, _)| anyhow!(error).context(format!("writing to {}", topics::REDRIVES)))?;
    }
    Ok(())
}
