//! One transaction of the broker: alerts, states and offsets, all or nothing. Every way in which it can end is one of three:
//! committed, not committed, or unknown; after the last, the group's committed offset tells, because it was part of it.
//!
//! A member that has lost its partitions is refused by the broker when it sends its offsets: the membership is checked there,
//! so each process may have a transactional id of its own. Blocking: on a thread for that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use pipeline::kafka::{KafkaArgs, Plain, Reader, ReaderContext, create};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the broker may take to commit before its answer counts as lost.
const COMMIT_PATIENCE: Duration = Duration::from_secs(30);

/// More than all of it takes where the client keeps to its time-outs. librdkafka 2.12 waits for ever in
/// `send_offsets_to_transaction` when its request to a coordinator that stood still is lost.
pub const LONGEST: Duration = Duration::from_secs(90);

/// A record to be written; without a value it takes its key out of a compacted topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub topic: String,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// What became of a transaction.
#[derive(Debug)]
pub enum Ended {
    Committed,
    /// Nothing of it is there, nor ever will be.
    Aborted(anyhow::Error),
    /// The answer was lost.
    Unknown(anyhow::Error),
}

pub struct Transactions {
    kafka: KafkaArgs,
    group: String,
    id: String,
    producer: Option<FutureProducer<Plain>>,
}

impl Transactions {
    pub fn new(kafka: &KafkaArgs, group: &str) -> Self {
        Self {
            kafka: kafka.clone(),
            group: group.to_owned(),
            id: format!("{group}-{}", Uuid::new_v4()),
            producer: None,
        }
    }

    /// Writes all of it or nothing.
    pub fn run(
        &mut self,
        records: &[Outgoing],
        offsets: &TopicPartitionList,
        member: &Arc<ConsumerGroupMetadata>,
    ) -> Ended {
        let producer = match self.producer.take().map_or_else(|| self.open(), Ok) {
            Ok(producer) => producer,
            Err(error) => return Ended::Aborted(error),
        };
        if let Err(error) = fill(&producer, records, offsets, member) {
            // Where that is refused, too: nobody but this client could have committed it, and the broker aborts it in time.
            self.abort(producer);
            return Ended::Aborted(error);
        }
        let deadline = Instant::now() + COMMIT_PATIENCE;
        loop {
            let error = match producer.commit_transaction(TIMEOUT) {
                Ok(()) => {
                    self.producer = Some(producer);
                    return Ended::Committed;
                }
                Err(error) => error,
            };
            match &error {
                KafkaError::Transaction(cause) if cause.txn_requires_abort() => {
                    // A broker that has committed, whatever it answered, does not abort any more.
                    return if self.abort(producer) { Ended::Aborted(error.into()) } else { unknown(error) };
                }
                KafkaError::Transaction(cause) if cause.is_retriable() && Instant::now() < deadline => {}
                // The client goes with what it does not know; the next one's initialisation ends what it left open.
                _ => return unknown(error),
            }
        }
    }

    fn open(&self) -> anyhow::Result<FutureProducer<Plain>> {
        let producer: FutureProducer<Plain> = create(&self.kafka.transactional_producer(&self.id), Plain)?;
        producer.init_transactions(TIMEOUT).context("beginning to write in transactions")?;
        Ok(producer)
    }

    /// Whether the broker has aborted it; else the client goes.
    fn abort(&mut self, producer: FutureProducer<Plain>) -> bool {
        let aborted = producer.abort_transaction(TIMEOUT);
        if let Err(refused) = &aborted {
            tracing::debug!("aborting a transaction: {refused}");
            return false;
        }
        self.producer = Some(producer);
        true
    }

    /// Whether the group's commits are those of the transaction with this mark, which ended without an answer.
    ///
    /// # Errors
    /// When the broker does not tell; it does not while a transaction of the group is open.
    pub fn has_committed(&self, offsets: &TopicPartitionList, mark: Uuid) -> anyhow::Result<bool> {
        let consumer: Reader = create(&self.kafka.consumer(Some(&self.group)), ReaderContext)?;
        let mut asked = TopicPartitionList::new();
        for element in offsets.elements() {
            asked.add_partition(element.topic(), element.partition());
        }
        let committed = consumer.committed_offsets(asked, TIMEOUT).context("asking what is committed")?;
        let mark = mark.to_string();
        for element in committed.elements() {
            element.error().context("asking what is committed")?;
            if element.metadata().ends_with(&mark) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn unknown(error: KafkaError) -> Ended {
    Ended::Unknown(anyhow!(error).context("committing a transaction"))
}

fn fill(
    producer: &FutureProducer<Plain>,
    records: &[Outgoing],
    offsets: &TopicPartitionList,
    member: &ConsumerGroupMetadata,
) -> anyhow::Result<()> {
    producer.begin_transaction().context("beginning a transaction")?;
    for record in records {
        send(producer, record)?;
    }
    if offsets.count() > 0 {
        producer.send_offsets_to_transaction(offsets, member, TIMEOUT).context("committing offsets")?;
    }
    Ok(())
}

/// Queues a record. That it arrives is for the commit to see: it fails if one does not.
fn send(producer: &FutureProducer<Plain>, outgoing: &Outgoing) -> anyhow::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let mut record = FutureRecord::<[u8], [u8]>::to(&outgoing.topic).key(&outgoing.key);
        if let Some(value) = &outgoing.value {
            record = record.payload(value);
        }
        match producer.send_result(record) {
            Ok(_delivery) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err((error, _)) => return Err(anyhow!(error).context(format!("writing to {}", outgoing.topic))),
        }
    }
}
