//! From Kafka to the live state, on a thread of its own: poll, decode a batch, take it in. The page has no dead-letter topic:
//! a bad record is counted and skipped here, and set aside with its bytes by the consumers that keep things. An outage shows
//! in readiness and on the page with its reason, and ends by itself. Must never happen here: a commit, or a stop because of
//! what a record holds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::admin::Health;
use pipeline::headers::ClientHeaders;
use pipeline::records::{Record, RecordBuffer};
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;
use crate::intake::Intake;
use crate::positions::Positions;
use crate::protocol::FeedState;

const POLL: Duration = Duration::from_millis(50);
const GATHER: Duration = Duration::from_millis(50);
const BATCH_RECORDS: usize = 8192;
const BATCH_BYTES: usize = 4 * 1024 * 1024;
const REFRESH_EVERY: Duration = Duration::from_secs(10);
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// A look-back whose last offsets are never delivered counts as read after this much silence.
const SILENCE: Duration = Duration::from_secs(2);

/// What a poll can bring.
enum Polled<'a> {
    Record(BorrowedMessage<'a>),
    Nothing,
    /// A position that is not in the log.
    OutOfRange,
    Outage(String),
    /// The client is of no more use.
    Fatal(String),
}

pub struct Feed {
    pub positions: Positions,
    pub hub: Arc<Hub>,
    pub intake: Intake,
    pub health: Health,
    pub runtime: Handle,
    pub shutdown: CancellationToken,
}

impl Feed {
    /// Reads until shutdown. Blocking: give it a thread.
    ///
    /// # Errors
    /// When the client breaks for good.
    pub fn run(mut self) -> anyhow::Result<()> {
        let consumer = self.positions.consumer.clone();
        let mut buffers: Vec<RecordBuffer> = self.positions.topics().iter().map(|_| RecordBuffer::new()).collect();
        let mut outage: Option<String> = None;
        let mut refresh_at = Instant::now() + REFRESH_EVERY;
        // The client tells once of a position that is not in the log: it is tried until the reset has worked.
        let mut reset_due = false;
        let mut last_record = Instant::now();
        while !self.shutdown.is_cancelled() {
            self.health.beat();
            let until = Instant::now() + GATHER;
            let mut gathered = 0;
            // Asked before: the batch that ends the look-back is still part of it.
            let live = self.positions.caught_up();
            while gathered < BATCH_RECORDS && Instant::now() < until && buffers.iter().all(|b| b.bytes() < BATCH_BYTES)
            {
                match classify(consumer.poll(POLL)) {
                    Polled::Record(message) => {
                        self.gather(&message, &mut buffers);
                        gathered += 1;
                    }
                    Polled::Nothing => break,
                    Polled::OutOfRange => {
                        if !std::mem::replace(&mut reset_due, true) {
                            refresh_at = Instant::now();
                        }
                    }
                    Polled::Outage(reason) => {
                        outage = Some(reason);
                        refresh_at = refresh_at.min(Instant::now() + RETRY_EVERY);
                    }
                    Polled::Fatal(reason) => anyhow::bail!("the Kafka client cannot go on: {reason}"),
                }
            }
            if gathered > 0 {
                last_record = Instant::now();
                self.take_in(&mut buffers, live);
            } else if outage.is_none() && last_record.elapsed() > SILENCE {
                self.positions.set_caught_up();
            }
            if Instant::now() >= refresh_at {
                let refreshed = self.positions.refresh(&self.runtime);
                let refreshed =
                    if reset_due { refreshed.and_then(|()| self.positions.reset_out_of_range()) } else { refreshed };
                reset_due &= refreshed.is_err();
                outage = refreshed.err().map(|error| format!("{error:#}"));
                refresh_at = Instant::now() + if outage.is_some() { RETRY_EVERY } else { REFRESH_EVERY };
            }
            self.tell(outage.as_deref());
        }
        Ok(())
    }

    fn gather(&mut self, message: &BorrowedMessage<'_>, buffers: &mut [RecordBuffer]) {
        let Some(topic) = self.positions.topic_index(message.topic()) else { return };
        self.positions.advance(topic, message.partition(), message.offset());
        let timestamp_ms = message.timestamp().to_millis().unwrap_or(0);
        let record = Record { offset: message.offset(), timestamp_ms, key: None, value: message.payload() };
        buffers[topic].push(record, ClientHeaders::None);
    }

    fn take_in(&mut self, buffers: &mut [RecordBuffer], live: bool) {
        for (topic, buffer) in buffers.iter_mut().enumerate().filter(|(_, buffer)| !buffer.is_empty()) {
            let records = buffer.finish();
            while let Err(reason) = self.runtime.block_on(self.intake.take_in(topic, &records, &self.hub, live)) {
                self.tell(Some(&reason));
                self.health.beat();
                if self.runtime.block_on(self.shutdown.run_until_cancelled(tokio::time::sleep(RETRY_EVERY))).is_none() {
                    return;
                }
            }
        }
    }

    fn tell(&self, outage: Option<&str>) {
        let state = match outage {
            Some(reason) => FeedState::Outage { reason: reason.to_owned() },
            None if self.positions.caught_up() => FeedState::Live,
            None => FeedState::CatchingUp,
        };
        self.health.set("kafka", outage.map_or(Ok(()), |reason| Err(reason.to_owned())));
        self.hub.set_feed_state(state);
    }
}

fn classify(polled: Option<Result<BorrowedMessage<'_>, KafkaError>>) -> Polled<'_> {
    match polled {
        None => Polled::Nothing,
        Some(Ok(message)) => Polled::Record(message),
        Some(Err(KafkaError::MessageConsumption(
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
        ))) => Polled::OutOfRange,
        Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => Polled::Fatal(error.to_string()),
        Some(Err(error)) => Polled::Outage(error.to_string()),
    }
}
