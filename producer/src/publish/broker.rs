//! The Kafka producer client: sends, and brings every record back either acknowledged or with the error that it failed with.
//! librdkafka's queue is the memory that an outage may fill; its messages never time out, so an outage fails none of them
//! and their order stays. Must never happen here: a record that is neither acknowledged, nor returned, nor still waiting.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pipeline::kafka::KafkaArgs;
use pipeline::{misconfigured, trace};
use rdkafka::ClientConfig;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig};

use crate::publish::cross_check::OffMedian;
use crate::publish::outbox::{Outgoing, Target};
use crate::publish::spill::SegmentId;

/// How long the broker may take to answer at the start.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Goes with a record through the client.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// The order in which records were first handed over.
    pub sequence: u64,
    pub target: Target,
    pub source: Option<&'static str>,
    /// Micros UTC.
    pub received_at: i64,
    pub off_median: Option<OffMedian>,
    pub trace: Option<Box<trace::Sending>>,
    /// Where the record was read from, when it was spilled.
    pub segment: Option<SegmentId>,
}

#[derive(Debug)]
pub enum Delivery {
    Acknowledged(Ticket),
    Returned(Ticket, Outgoing, RDKafkaErrorCode),
}

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    QueueFull,
    Failed(RDKafkaErrorCode),
}

pub struct Broker {
    config: ClientConfig,
    client: BaseProducer<Reports>,
    /// Records that are neither acknowledged nor returned.
    outstanding: usize,
    /// Since when an acknowledgement is owed: the later of the last one and of the first record that waits.
    owed_since: Option<Instant>,
}

impl Broker {
    /// # Errors
    /// [`pipeline::Misconfigured`] when the settings are wrong, the broker does not answer, or a topic is not there.
    pub fn connect(kafka: &KafkaArgs) -> anyhow::Result<Self> {
        let mut config = kafka.producer();
        config
            .set("message.timeout.ms", "0")
            .set("queue.buffering.max.messages", "50000")
            .set("queue.buffering.max.kbytes", "16384")
            .set("reconnect.backoff.max.ms", "2000");
        let broker = Self::with(config)?;
        broker.expect_topics(&kafka.kafka_bootstrap_servers)?;
        Ok(broker)
    }

    fn with(config: ClientConfig) -> anyhow::Result<Self> {
        let client = create(&config)?;
        Ok(Self { config, client, outstanding: 0, owed_since: None })
    }

    fn expect_topics(&self, servers: &str) -> anyhow::Result<()> {
        // All topics are asked for, since asking for one by name may create it.
        let metadata = self.client.client().fetch_metadata(None, START_TIMEOUT).map_err(|error| {
            misconfigured(format!(
                "no Kafka broker answers at {servers}, set by --kafka-bootstrap-servers (KAFKA_BOOTSTRAP_SERVERS): {error}; \
                 start the broker or name another"
            ))
        })?;
        for target in Target::ALL {
            if !metadata.topics().iter().any(|topic| topic.name() == target.topic()) {
                let topic = target.topic();
                return Err(misconfigured(format!(
                    "the topic {topic} is not on the broker at {servers}; run `tickstream topics apply` first"
                )));
            }
        }
        Ok(())
    }

    /// Hands a record over.
    ///
    /// # Errors
    /// Gives the ticket back when the record was not taken.
    pub fn send(&mut self, ticket: Ticket, record: &Outgoing) -> Result<(), (NotTaken, Ticket)> {
        let mut message = BaseRecord::with_opaque_to(record.target.topic(), Box::new(ticket))
            .key(record.key.as_slice())
            .payload(record.payload.as_slice());
        if let Some(headers) = headers(record) {
            message = message.headers(headers);
        }
        match self.client.send(message) {
            Ok(()) => {
                self.outstanding += 1;
                self.owed_since.get_or_insert_with(Instant::now);
                Ok(())
            }
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                let why =
                    if code == RDKafkaErrorCode::QueueFull { NotTaken::QueueFull } else { NotTaken::Failed(code) };
                Err((why, *message.delivery_opaque))
            }
        }
    }

    /// What has come back; waits up to `patience` for the first of it.
    pub fn deliveries(&mut self, patience: Duration) -> Vec<Delivery> {
        let until = Instant::now() + patience;
        let mut all = self.take_reports();
        // A poll takes one event, and each event has a batch of reports.
        while all.is_empty() && self.outstanding > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
            all = self.take_reports();
        }
        self.outstanding = self.outstanding.saturating_sub(all.len());
        if all.iter().any(|delivery| matches!(delivery, Delivery::Acknowledged(_))) {
            self.owed_since = Some(Instant::now());
        }
        if self.outstanding == 0 {
            self.owed_since = None;
        }
        all
    }

    fn take_reports(&self) -> Vec<Delivery> {
        let mut all = Vec::new();
        loop {
            self.client.poll(Duration::ZERO);
            let mut reports = self.client.context().0.lock().unwrap_or_else(PoisonError::into_inner);
            if reports.is_empty() {
                return all;
            }
            all.append(&mut reports);
        }
    }

    /// How long an acknowledgement has been owed.
    #[must_use]
    pub fn owed_for(&self) -> Duration {
        self.owed_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Gives every record that waits up, so that it comes back; some may have been written all the same.
    pub fn give_up(&mut self) -> Vec<Delivery> {
        self.client.purge(PurgeConfig::default().queue().inflight());
        let until = Instant::now() + Duration::from_secs(5);
        let mut all = Vec::new();
        while self.outstanding > 0 && Instant::now() < until {
            all.extend(self.deliveries(Duration::from_millis(100)));
        }
        all
    }

    /// After a fatal error a client takes nothing more: replaces it, and gives back what the old one held.
    ///
    /// # Errors
    /// When a new client cannot be made.
    pub fn renew_if_fatal(&mut self) -> anyhow::Result<Vec<Delivery>> {
        let Some((code, reason)) = self.client.client().fatal_error() else { return Ok(Vec::new()) };
        tracing::warn!(?code, reason, "the Kafka client has failed for good; a new one takes over");
        metrics::counter!("tickstream_producer_client_renewals_total").increment(1);
        let held = self.give_up();
        self.client = create(&self.config)?;
        self.outstanding = 0;
        self.owed_since = None;
        Ok(held)
    }
}

/// What a record says beside itself: most say nothing.
fn headers(record: &Outgoing) -> Option<OwnedHeaders> {
    let share = record.off_median.map(OffMedian::share);
    let traceparent = record.trace.as_ref().map(|trace| trace.traceparent());
    let said = [(OffMedian::HEADER, share), (trace::TRACEPARENT, traceparent)];
    said.iter().fold(None, |headers, (key, value)| match value {
        None => headers,
        Some(value) => Some(headers.unwrap_or_else(OwnedHeaders::new).insert(Header { key, value: Some(value) })),
    })
}

/// Whether the broker will never take this record, however often it is sent.
#[must_use]
pub fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{InvalidMessageSize, InvalidRecord, MessageSizeTooLarge, PolicyViolation};
    matches!(code, MessageSizeTooLarge | InvalidMessageSize | InvalidRecord | PolicyViolation)
}

fn create(config: &ClientConfig) -> anyhow::Result<BaseProducer<Reports>> {
    pipeline::kafka::create(config, Reports::default())
}

/// Collects delivery reports. Only the publisher's thread polls, so the lock is never waited for.
#[derive(Default)]
struct Reports(Mutex<Vec<Delivery>>);

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, setting: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        pipeline::kafka::token(setting)
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, "kafka: {reason}");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, mut ticket: Box<Ticket>) {
        let delivery = match result {
            Ok(message) => {
                if let Some(trace) = ticket.trace.take() {
                    trace.acknowledged(message.partition(), message.offset());
                }
                Delivery::Acknowledged(*ticket)
            }
            Err((error, message)) => {
                let record = Outgoing {
                    target: ticket.target,
                    key: message.key().unwrap_or_default().to_vec(),
                    payload: message.payload().unwrap_or_default().to_vec(),
                    source: ticket.source,
                    received_at: ticket.received_at,
                    off_median: ticket.off_median,
                    trace: ticket.trace.clone(),
                };
                Delivery::Returned(*ticket, record, error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail))
            }
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(delivery);
    }
}
