//! What the loop and the tasks that write tell each other, and what both kinds of task do around a write: dead letters sent,
//! records counted, outages waited out, a deployment stopped that finds nearly everything bad. Invariant: a batch counts as
//! written when its dead letters are with the broker too. Must never happen here: an outage that skips something.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use uuid::Uuid;

use super::context::Shared;
use super::{Assigned, DeadLetter, Fault, PartitionBatch, Written};
use crate::admin::Health;
use crate::dead_letter::DeadLetters;
use crate::topic_id::TopicIds;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the loop asks. A generation is outdated by each rebalance.
pub(super) enum Command {
    Start { generation: u64, assigned: Vec<Assigned>, member: Option<ConsumerGroupMetadata> },
    Write { generation: u64, batches: Vec<Handed> },
    Idle { generation: u64 },
}

/// A batch that was handed over.
pub(super) struct Handed {
    pub batch: PartitionBatch,
    /// Which of the partition's runs it belongs to: one ends when the writer goes on elsewhere, and what is left of it is
    /// dropped without an answer.
    pub run: u64,
}

pub(super) enum Answer {
    Started {
        generation: u64,
        assigned: Vec<Assigned>,
        starts: Vec<i64>,
        /// The metadata to commit each start with, if it is to be committed.
        commits: Vec<Option<String>>,
    },
    Written {
        generation: u64,
        written: Vec<Written>,
    },
    Stopped(anyhow::Error),
}

pub(super) struct Around {
    letters: DeadLetters,
    topic_ids: TopicIds,
    health: Health,
    shared: Arc<Shared>,
    bad_share: Option<Mutex<BadShare>>,
    /// Who waits for an outage to end, and why.
    outages: Mutex<BTreeMap<usize, String>>,
}

impl Around {
    pub fn new(
        letters: DeadLetters,
        topic_ids: TopicIds,
        health: Health,
        shared: Arc<Shared>,
        stop_when_bad: bool,
    ) -> Self {
        let bad_share = stop_when_bad.then(Mutex::default);
        Self { letters, topic_ids, health, shared, bad_share, outages: Mutex::default() }
    }

    pub fn is_outdated(&self, generation: u64) -> bool {
        generation != self.shared.generation()
    }

    /// The tries of one piece of work by `who`, a number.
    pub fn tries(&self, who: usize, generation: u64) -> Tries<'_> {
        Tries { around: self, who, generation, pause: FIRST_PAUSE }
    }

    /// Sends the dead letters of what was written and counts it. `topic_id` is what the batches' records are known to be of; the
    /// topic may have been made anew since, and where it is not known it is asked now.
    pub async fn finish(
        &self,
        batches: &[&PartitionBatch],
        letters: &[DeadLetter],
        topic_id: Option<Uuid>,
        begun: Instant,
    ) -> Result<(), Fault> {
        self.send(batches, letters, topic_id).await.map_err(Fault::Outage)?;
        let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
        metrics::counter!("tickstream_consumer_records_total").increment(records as u64);
        metrics::counter!("tickstream_consumer_dead_letters_total").increment(letters.len() as u64);
        self.shared.count(records, letters.len());
        metrics::histogram!("tickstream_consumer_write_seconds").record(begun.elapsed());
        let Some(bad_share) = &self.bad_share else { return Ok(()) };
        let mut bad_share = bad_share.lock().unwrap_or_else(PoisonError::into_inner);
        bad_share.add(records, letters.len()).map_err(Fault::Stop)
    }

    async fn send(
        &self,
        batches: &[&PartitionBatch],
        letters: &[DeadLetter],
        known: Option<Uuid>,
    ) -> anyhow::Result<()> {
        if letters.is_empty() {
            return Ok(());
        }
        for batch in batches {
            let of_batch: Vec<&DeadLetter> = letters
                .iter()
                .filter(|letter| letter.partition == batch.partition && letter.topic == *batch.topic)
                .filter(|letter| batch.records.position(letter.offset).is_some())
                .collect();
            if of_batch.is_empty() {
                continue;
            }
            let topic_id = match known {
                Some(known) => known,
                None => self.topic_ids.topic_id(&batch.topic, batch.partition).await?,
            };
            self.letters.send(&batch.records, Some(topic_id), &of_batch).await?;
            for letter in of_batch {
                tracing::warn!(
                    topic = letter.topic,
                    partition = letter.partition,
                    offset = letter.offset,
                    reason = letter.reason,
                    "dead letter: {}[{}]@{}",
                    letter.topic,
                    letter.partition,
                    letter.offset
                );
            }
        }
        Ok(())
    }

    /// Nobody waits any more: all work before was given up.
    pub fn forget_outages(&self) {
        self.outages.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn tell(&self, who: usize, outage: Option<String>) {
        let mut outages = self.outages.lock().unwrap_or_else(PoisonError::into_inner);
        match outage {
            Some(reason) => drop(outages.insert(who, reason)),
            None => drop(outages.remove(&who)),
        }
        let first = outages.first_key_value().map(|(_, reason)| reason.clone());
        self.health.set("sink", first.map_or(Ok(()), Err));
    }
}

/// Tries of one piece of work: readiness tells whether it waits, and why.
pub(super) struct Tries<'a> {
    around: &'a Around,
    who: usize,
    generation: u64,
    pause: Duration,
}

impl Tries<'_> {
    /// It worked.
    pub fn worked(&self) {
        self.around.tell(self.who, None);
    }

    /// It did not: waits before the next try. False when a rebalance came meanwhile, and nobody wants it any more.
    ///
    /// # Errors
    /// What a person must see to.
    pub async fn failed(&mut self, fault: Fault) -> anyhow::Result<bool> {
        match fault {
            Fault::Stop(error) => return Err(error),
            Fault::Outage(error) => {
                self.around.tell(self.who, Some(format!("{error:#}").replace('\n', " ")));
                metrics::counter!("tickstream_consumer_outages_total").increment(1);
            }
        }
        // Full jitter; woken early by nothing: an outage is not mended by asking more often.
        tokio::time::sleep(self.pause.mul_f64(0.1 + 0.9 * fastrand::f64())).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(!self.around.is_outdated(self.generation))
    }
}

/// The share of bad records over the last minute. More than 5 % and at least 1,000 of them is a wrong deployment, not bad
/// records.
#[derive(Default)]
struct BadShare {
    batches: VecDeque<(Instant, usize, usize)>,
}

impl BadShare {
    fn add(&mut self, records: usize, bad: usize) -> anyhow::Result<()> {
        let now = Instant::now();
        self.batches.push_back((now, records, bad));
        while self.batches.front().is_some_and(|(at, ..)| now.duration_since(*at) > Duration::from_secs(60)) {
            self.batches.pop_front();
        }
        let (records, bad) = self.batches.iter().fold((0, 0), |sum, batch| (sum.0 + batch.1, sum.1 + batch.2));
        anyhow::ensure!(
            bad < 1000 || bad * 20 <= records,
            "{bad} of the last {records} records in a minute were bad: a wrong deployment, not bad records; \
             they are in the dead-letter topic and the offset was not committed past them; look at the newest reasons there"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_deployment_stops_and_a_few_bad_records_do_not() {
        let mut share = BadShare::default();
        assert!(share.add(1000, 999).is_ok(), "fewer than a thousand");
        assert!(share.add(1_000_000, 1000).is_ok(), "under 5 %");
        let mut share = BadShare::default();
        assert!(share.add(10_000, 1000).is_err());
    }
}
