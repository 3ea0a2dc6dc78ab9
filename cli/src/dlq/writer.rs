//! The one writer of market.redrives.v1. Its transactional id is the same in every process, so whoever begins is the only one:
//! the broker aborts what an earlier one had open and refuses whatever that sends afterwards. Invariant: a batch is in the log
//! whole, records and marks together, or nothing of it is. Must never happen here: a batch told as done whose commit was not
//! acknowledged.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use futures::future::try_join_all;
use pipeline::headers::{insert, key_of};
use pipeline::kafka::{KafkaArgs, create};
use pipeline::topics;
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};

use super::letter::{Header, Place};
use super::marks::{Mark, key};

/// Of every `tickstream dlq` that writes.
const TRANSACTIONAL_ID: &str = "tickstream-dlq";
/// On a record that was sent again: topic id, partition and offset of the one that was refused.
pub const REDRIVEN: &str = "tickstream-redriven";
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a broker may take to begin, when it must first end what another left open.
const BEGIN: Duration = Duration::from_secs(30);
const COMMIT_PATIENCE: Duration = Duration::from_secs(30);

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

pub struct Writer {
    producer: FutureProducer,
}

impl Writer {
    /// Becomes the only writer. What is settled is read after this.
    ///
    /// # Errors
    /// When the broker does not let us in.
    pub async fn open(kafka: &KafkaArgs) -> anyhow::Result<Self> {
        let mut settings = kafka.transactional_producer(TRANSACTIONAL_ID);
        // A record of the largest size is a little more than the client's default with its headers.
        settings.set("message.max.bytes", "4000000");
        let producer: FutureProducer = create(&settings, DefaultClientContext)?;
        let begun = producer.clone();
        let begin = move || {
            let deadline = Instant::now() + BEGIN;
            loop {
                match begun.init_transactions(TIMEOUT) {
                    Err(KafkaError::Transaction(cause)) if cause.is_retriable() && Instant::now() < deadline => {}
                    answer => return answer,
                }
            }
        };
        tokio::task::spawn_blocking(begin).await?.with_context(|| {
            format!("beginning to write in transactions, as {TRANSACTIONAL_ID} (the user needs WRITE on that transactional id)")
        })?;
        Ok(Self { producer })
    }

    /// Sends these records and marks each with the place where it stands again; gives those places, in the same order.
    ///
    /// # Errors
    /// Then nothing of it was written, unless the error says that this is not known.
    pub async fn redrive(&self, records: &[Again]) -> anyhow::Result<Vec<(i32, i64)>> {
        self.producer.begin_transaction().context("beginning a transaction")?;
        let written = async {
            let sent: Vec<_> = records.iter().map(|record| self.send(record)).collect::<anyhow::Result<_>>()?;
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
            self.mark(&marks).await?;
            Ok(stand)
        };
        let written = written.await;
        self.end(written).await
    }

    /// Marks these letters as dealt with.
    ///
    /// # Errors
    /// As [`Self::redrive`].
    pub async fn drop(&self, letters: &[Dealt]) -> anyhow::Result<()> {
        self.producer.begin_transaction().context("beginning a transaction")?;
        let marks: Vec<(String, Mark)> = letters
            .iter()
            .map(|letter| {
                let Dealt { place, topic, group, why } = letter.clone();
                (key(place, Some(&group)), Mark::Dropped { topic, why })
            })
            .collect();
        let written = self.mark(&marks).await;
        self.end(written).await
    }

    fn send(&self, record: &Again) -> anyhow::Result<rdkafka::producer::DeliveryFuture> {
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
        self.producer
            .send_result(again)
            .map_err(|(error, _)| anyhow!(error).context(format!("writing to {}", record.topic)))
    }

    async fn mark(&self, marks: &[(String, Mark)]) -> anyhow::Result<()> {
        let mut sent = Vec::with_capacity(marks.len());
        for (key, mark) in marks {
            let value = serde_json::to_string(mark)?;
            let record = FutureRecord::<str, str>::to(topics::REDRIVES).key(key).payload(&value);
            let sending = self.producer.send_result(record);
            sent.push(
                sending.map_err(|(error, _)| anyhow!(error).context(format!("writing to {}", topics::REDRIVES)))?,
            );
        }
        for delivered in try_join_all(sent).await.context("waiting for the marks")? {
            delivered.map_err(|(error, _)| anyhow!(error).context(format!("writing to {}", topics::REDRIVES)))?;
        }
        Ok(())
    }

    /// Commits what was written, or takes it back.
    async fn end<T: Send + 'static>(&self, written: anyhow::Result<T>) -> anyhow::Result<T> {
        let producer = self.producer.clone();
        let end = move || match written {
            Ok(written) => commit(&producer).map(|()| written),
            Err(error) => Err(abort(&producer, error)),
        };
        tokio::task::spawn_blocking(end).await?
    }
}

fn commit(producer: &FutureProducer) -> anyhow::Result<()> {
    let deadline = Instant::now() + COMMIT_PATIENCE;
    loop {
        let Err(error) = producer.commit_transaction(TIMEOUT) else { return Ok(()) };
        match &error {
            KafkaError::Transaction(cause) if is_fenced(cause) => return Err(taken_over()),
            KafkaError::Transaction(cause) if cause.txn_requires_abort() => return Err(abort(producer, error.into())),
            KafkaError::Transaction(cause) if cause.is_retriable() && Instant::now() < deadline => {}
            _ => {
                return Err(anyhow!(error).context(
                    "the broker has not said whether the last batch is committed; run it again: it finds out, and does what is left",
                ));
            }
        }
    }
}

fn abort(producer: &FutureProducer, error: anyhow::Error) -> anyhow::Error {
    match producer.abort_transaction(TIMEOUT) {
        Ok(()) => error,
        Err(KafkaError::Transaction(cause)) if is_fenced(&cause) => taken_over(),
        // Nobody but this client could have committed it: the broker aborts it in time.
        Err(_) => error,
    }
}

fn is_fenced(cause: &RDKafkaError) -> bool {
    matches!(
        cause.code(),
        RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch
    )
}

fn taken_over() -> anyhow::Error {
    anyhow!(
        "another `tickstream dlq` began to write and took over; nothing of the last batch was written: let that one end, then run this again"
    )
}
