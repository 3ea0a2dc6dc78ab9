//! A producer that writes in Kafka's transactions, as the only one of its id: whoever opens it ends what an earlier one left
//! open and shuts that one out. Invariant: what was sent between a beginning and its end is in the log whole, or nothing of it
//! is. Must never happen here: a transaction told as done whose commit was not acknowledged.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use pipeline::kafka::{KafkaArgs, create, renew};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, Producer};

use crate::kafka::Cluster;

const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a broker may take to begin, when it must first end what another left open.
const BEGIN: Duration = Duration::from_secs(30);
const COMMIT_PATIENCE: Duration = Duration::from_secs(30);

pub struct Transactions {
    producer: FutureProducer,
    /// The command that writes, as a user knows it.
    command: &'static str,
}

impl Transactions {
    /// Becomes the only writer of this id. What is to be known before writing is read after this.
    ///
    /// # Errors
    /// When no broker answers, or it does not let us in.
    pub async fn open(
        kafka: &KafkaArgs,
        id: &str,
        lasts_at_most: Duration,
        command: &'static str,
    ) -> anyhow::Result<Self> {
        // A client that begins waits long for a broker, and does not say that there is none.
        Cluster::new(kafka)?.metadata().await?;
        let mut settings = kafka.transactional_producer(id);
        // A record of the largest size is a little more than the client's default with its headers.
        settings.set("message.max.bytes", "4000000");
        settings.set("transaction.timeout.ms", lasts_at_most.as_millis().to_string());
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
            format!("beginning to write in transactions, as {id} (the user needs WRITE on that transactional id)")
        })?;
        Ok(Self { producer, command })
    }

    /// # Errors
    /// When another one has taken over.
    pub fn begin(&self) -> anyhow::Result<&FutureProducer> {
        renew(&self.producer);
        match self.producer.begin_transaction() {
            Ok(()) => Ok(&self.producer),
            Err(KafkaError::Transaction(cause)) if is_fenced(&cause) => Err(self.taken_over()),
            Err(error) => Err(anyhow!(error).context("beginning a transaction")),
        }
    }

    /// Commits what was written, or takes it back.
    ///
    /// # Errors
    /// Then nothing of it was written, unless the error says that this is not known.
    pub async fn end<T: Send + 'static>(&self, written: anyhow::Result<T>) -> anyhow::Result<T> {
        let this = Self { producer: self.producer.clone(), command: self.command };
        let end = move || match written {
            Ok(written) => this.commit().map(|()| written),
            Err(error) => Err(this.abort(error)),
        };
        tokio::task::spawn_blocking(end).await?
    }

    fn commit(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + COMMIT_PATIENCE;
        loop {
            let Err(error) = self.producer.commit_transaction(TIMEOUT) else { return Ok(()) };
            match &error {
                KafkaError::Transaction(cause) if is_fenced(cause) => return Err(self.taken_over()),
                KafkaError::Transaction(cause) if cause.txn_requires_abort() => return Err(self.abort(error.into())),
                KafkaError::Transaction(cause) if cause.is_retriable() && Instant::now() < deadline => {}
                _ => {
                    return Err(anyhow!(error).context(
                        "the broker has not said whether the last batch is committed; run it again: it finds out, and does what is left",
                    ));
                }
            }
        }
    }

    fn abort(&self, error: anyhow::Error) -> anyhow::Error {
        match self.producer.abort_transaction(TIMEOUT) {
            Ok(()) => error,
            Err(KafkaError::Transaction(cause)) if is_fenced(&cause) => self.taken_over(),
            // Nobody but this client could have committed it: the broker aborts it in time.
            Err(_) => error,
        }
    }

    fn taken_over(&self) -> anyhow::Error {
        anyhow!(
            "another `{}` began to write and took over; nothing of the last batch was written: let that one end, then run this again",
            self.command
        )
    }
}

fn is_fenced(cause: &RDKafkaError) -> bool {
    matches!(
        cause.code(),
        RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch
    )
}
