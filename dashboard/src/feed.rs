//! From Kafka to the live state, on a thread of its own: poll, decode what is there, take it in. While it keeps up nothing waits
//! for more to come; while it catches up batches are as large as they get. The page has no dead-letter topic:
//! a bad record is counted and skipped here, and set aside with its bytes by the consumers that keep things. An outage shows
//! in readiness and on the page with its reason, and ends by itself. Must never happen here: a commit, or a stop because of
//! what a record holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::admin::Health;
use pipeline::headers::ClientHeaders;
use pipeline::records::{Record, RecordBuffer};
use pipeline::trace;
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::clock::now_us;
use crate::filling::Filling;
use crate::intake::Intake;
use crate::positions::{Begun, Positions};
use crate::protocol::{Channel, FeedState};
use crate::serve::{Hub, Showing};
use crate::state::tick::Position;
use crate::surveys::{Survey, Surveys};

const POLL: Duration = Duration::from_millis(50);
const GATHER: Duration = Duration::from_millis(50);
/// A bucket is over when what the broker got in it has had this long to get here.
const CLOSING_US: i64 = 300_000;
const ADVANCE_EVERY: Duration = Duration::from_millis(100);
const BATCH_RECORDS: usize = 8192;
const BATCH_BYTES: usize = 4 * 1024 * 1024;
const REFRESH_EVERY: Duration = Duration::from_secs(10);
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// After this much silence it is asked whether what is left to be read are offsets that are never delivered.
const SILENCE: Duration = Duration::from_secs(1);

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

type Buffers = BTreeMap<(usize, i32), RecordBuffer>;

/// Up to when everything was read, by the broker's time of the last records of one turn.
#[derive(Debug, Default)]
struct Reached(BTreeMap<(usize, i32), i64>);

impl Reached {
    fn note(&mut self, topic: usize, partition: i32, timestamp_ms: i64) {
        self.0.insert((topic, partition), timestamp_ms);
    }

    /// `is_all`: nothing more was there.
    fn until_us(&self, is_all: bool) -> i64 {
        let now = now_us() - CLOSING_US;
        match self.0.values().min() {
            Some(last_ms) if !is_all => now.min(last_ms.saturating_mul(1000)),
            _ => now,
        }
    }
}

pub struct Feed {
    pub filling: Filling,
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
        let mut buffers = Buffers::new();
        // With when something was heard last.
        let mut outage: Option<(String, i64)> = None;
        let mut heard_us = now_us();
        let surveyor = self.positions.surveyor();
        let mut surveys = Surveys::begin(&self.runtime.clone(), {
            let runtime = self.runtime.clone();
            move || surveyor.survey(&runtime)
        });
        let mut advance_at = Instant::now();
        self.begin(&(0..self.positions.topics().len()).collect::<Vec<_>>());
        let mut refresh_at = Instant::now() + REFRESH_EVERY;
        // The client tells once of a position that is not in the log: it is tried until the reset has worked.
        let mut reset_due = false;
        let mut last_record = Instant::now();
        while !self.shutdown.is_cancelled() {
            self.health.beat();
            let until = Instant::now() + GATHER;
            let mut gathered = 0;
            let mut reached = Reached::default();
            let mut is_all = false;
            // Asked before: the batch that ends the look-back is still part of it.
            let live = self.positions.caught_up();
            let mut bytes = 0;
            while gathered < BATCH_RECORDS && Instant::now() < until && bytes < BATCH_BYTES {
                // Waits for the first; the others are those that are there.
                match classify(consumer.poll(if gathered == 0 { POLL } else { Duration::ZERO })) {
                    Polled::Record(message) => {
                        bytes += message.payload_len();
                        self.gather(&message, &mut buffers, &mut reached);
                        gathered += 1;
                    }
                    Polled::Nothing => {
                        is_all = true;
                        break;
                    }
                    Polled::OutOfRange => {
                        if !std::mem::replace(&mut reset_due, true) {
                            refresh_at = Instant::now();
                        }
                    }
                    Polled::Outage(reason) => {
                        if outage.is_none() {
                            surveys.make_void();
                        }
                        outage.get_or_insert_with(|| (String::new(), heard_us)).0 = reason;
                        refresh_at = refresh_at.min(Instant::now() + RETRY_EVERY);
                    }
                    Polled::Fatal(reason) => anyhow::bail!("the Kafka client cannot go on: {reason}"),
                }
            }
            if gathered > 0 {
                (last_record, heard_us) = (Instant::now(), now_us());
                self.take_in(&mut buffers, live);
            } else if outage.is_none() && !live && last_record.elapsed() > SILENCE {
                self.positions.confirm_ends()?;
                last_record = Instant::now();
            }
            if Instant::now() >= refresh_at {
                surveys.ask();
            }
            if let Some(told) = surveys.told() {
                let refreshed = told.and_then(|survey| self.refresh(survey, &mut reset_due, outage.is_some()));
                if refreshed.is_ok() {
                    heard_us = now_us();
                    if outage.is_some() {
                        last_record = Instant::now();
                    }
                }
                let since = outage.map_or(heard_us, |(_, since)| since);
                outage = refreshed.err().map(|error| (format!("{error:#}"), since));
                refresh_at = Instant::now() + if outage.is_some() { RETRY_EVERY } else { REFRESH_EVERY };
            }
            self.tell(outage.as_ref());
            if outage.is_none() && self.positions.caught_up() && Instant::now() >= advance_at {
                advance_at = Instant::now() + ADVANCE_EVERY;
                self.hub.advance(reached.until_us(is_all));
                self.filling.begin();
            }
        }
        Ok(())
    }

    /// Goes on with what there is.
    fn refresh(&mut self, survey: Survey, reset_due: &mut bool, was_away: bool) -> anyhow::Result<()> {
        let anew = self.positions.take(survey)?;
        self.begin(&anew);
        if *reset_due {
            for (topic, Begun { partition, first }) in self.positions.reset_out_of_range()? {
                let channel = self.positions.topics()[topic].channel;
                self.hub.skip_lost(channel, Position { partition, offset: first - 1 });
            }
            *reset_due = false;
        }
        if was_away { self.positions.expect_all() } else { Ok(()) }
    }

    /// These topics are read from their newest records on.
    fn begin(&mut self, topics: &[usize]) {
        for topic in topics {
            let Some(identity) = self.positions.identity(*topic) else { continue };
            let begun = self.positions.begun(*topic);
            let read =
                begun.iter().map(|begun| Position { partition: begun.partition, offset: begun.first - 1 }).collect();
            let read_topic = self.positions.topics()[*topic].clone();
            if read_topic.channel == Channel::Ticks && read_topic.look_back_ms > read_topic.newest_ms {
                self.hub.begin_filling(read_topic.channel, &identity, read);
            } else {
                self.hub.begin(read_topic.channel, &identity, read);
            }
            self.filling.add(*topic, &read_topic, begun);
        }
    }

    fn gather(&mut self, message: &BorrowedMessage<'_>, buffers: &mut Buffers, reached: &mut Reached) {
        let Some(topic) = self.positions.topic_index(message.topic()) else { return };
        self.positions.advance(topic, message.partition(), message.offset());
        let timestamp_ms = message.timestamp().to_millis().unwrap_or(0);
        reached.note(topic, message.partition(), timestamp_ms);
        let record = Record { offset: message.offset(), timestamp_ms, key: None, value: message.payload() };
        // Nothing but a trace is looked for in them.
        let headers = if trace::is_on() { ClientHeaders::of(message) } else { ClientHeaders::None };
        buffers.entry((topic, message.partition())).or_default().push(record, headers);
    }

    fn take_in(&mut self, buffers: &mut Buffers, live: bool) {
        let showing = if live { Showing::Each } else { Showing::Latest };
        for ((topic, partition), buffer) in buffers.iter_mut().filter(|(_, buffer)| !buffer.is_empty()) {
            let records = buffer.finish();
            let (since, begun) = (now_us(), trace::clock());
            let batch = loop {
                match self.runtime.block_on(self.intake.decode(*topic, *partition, &records)) {
                    Ok(batch) => break batch,
                    Err(reason) => self.tell(Some(&(reason, since))),
                }
                self.health.beat();
                if self.runtime.block_on(self.shutdown.run_until_cancelled(tokio::time::sleep(RETRY_EVERY))).is_none() {
                    return;
                }
            };
            batch.put(&self.hub, showing);
            if let (true, Some(begun)) = (live, begun) {
                trace::processed(None, &self.positions.topics()[*topic].name, *partition, &records, begun);
            }
        }
    }

    fn tell(&self, outage: Option<&(String, i64)>) {
        let state = match outage {
            Some((reason, since_us)) => FeedState::Outage { reason: reason.clone(), since_us: *since_us },
            None if self.positions.caught_up() => FeedState::Live,
            None => FeedState::CatchingUp,
        };
        let ready = match &state {
            FeedState::Outage { reason, .. } => Err(reason.clone()),
            FeedState::CatchingUp => Err("reading the newest prices".to_owned()),
            FeedState::Live | FeedState::Replay => Ok(()),
        };
        self.health.set("kafka", ready);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_where_reading_stands() {
        let now_ms = now_us() / 1000;
        let mut reached = Reached::default();
        assert!(reached.until_us(false) > (now_ms - 10_000) * 1000, "nothing was there");
        reached.note(0, 0, now_ms - 60_000);
        reached.note(0, 1, now_ms - 90_000);
        reached.note(0, 0, now_ms - 50_000);
        assert_eq!(reached.until_us(false), (now_ms - 90_000) * 1000);
        assert!(reached.until_us(true) > (now_ms - 10_000) * 1000, "that was all");
    }
}
