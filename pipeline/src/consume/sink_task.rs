//! The task that calls the sink, one call at a time: tries again after an outage until it works, a rebalance outdates the
//! call, or the loop is gone; sends dead letters; stops a deployment that finds nearly everything bad.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;

use super::context::Shared;
use super::{Assigned, DeadLetter, Fault, PartitionBatch, Sink, Written};
use crate::admin::Health;
use crate::dead_letter::DeadLetters;
use crate::topic_id::TopicIds;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(super) enum Command {
    Start { generation: u64, assigned: Vec<Assigned> },
    Write { generation: u64, batches: Vec<PartitionBatch> },
    Idle { generation: u64 },
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
    /// A rebalance came while the sink was tried again.
    Outdated,
    IdleDone,
    Stopped(anyhow::Error),
}

pub(super) struct SinkTask<S> {
    pub sink: S,
    pub letters: DeadLetters,
    pub topic_ids: TopicIds,
    pub health: Health,
    pub generation: Arc<Shared>,
    pub bad_share: Option<BadShare>,
}

impl<S: Sink> SinkTask<S> {
    pub async fn run(mut self, mut commands: UnboundedReceiver<Command>, answers: Sender<Answer>) {
        while let Some(command) = commands.recv().await {
            let answer = match self.carry_out(command).await {
                Ok(answer) => answer,
                Err(error) => Answer::Stopped(error),
            };
            if answers.send(answer).is_err() {
                return;
            }
        }
    }

    async fn carry_out(&mut self, command: Command) -> anyhow::Result<Answer> {
        let mut pause = FIRST_PAUSE;
        loop {
            let (generation, result) = match &command {
                Command::Start { generation, assigned } => {
                    let started = self.sink.start(assigned).await;
                    let answer = started.map(|starts| Answer::Started {
                        generation: *generation,
                        assigned: assigned.clone(),
                        starts,
                        commits: assigned.iter().map(|partition| self.sink.commit_start(partition)).collect(),
                    });
                    (*generation, answer)
                }
                Command::Write { generation, batches } => (*generation, self.write(*generation, batches).await),
                Command::Idle { generation } => (*generation, self.sink.idle().await.map(|()| Answer::IdleDone)),
            };
            match result {
                Ok(answer) => {
                    self.health.set("sink", Ok(()));
                    return Ok(answer);
                }
                Err(Fault::Stop(error)) => return Err(error),
                Err(Fault::Outage(error)) => {
                    self.health.set("sink", Err(format!("{error:#}").replace('\n', " ")));
                    metrics::counter!("tickstream_consumer_outages_total").increment(1);
                }
            }
            // Full jitter; woken early by nothing: an outage is not mended by asking more often.
            tokio::time::sleep(pause.mul_f64(0.1 + 0.9 * fastrand::f64())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if generation != self.generation.generation() {
                return Ok(Answer::Outdated);
            }
        }
    }

    async fn write(&mut self, generation: u64, batches: &[PartitionBatch]) -> Result<Answer, Fault> {
        let begun = Instant::now();
        let (written, letters) = self.sink.write(batches).await?;
        let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
        self.send(batches, &letters).await.map_err(Fault::Outage)?;
        metrics::counter!("tickstream_consumer_records_total").increment(records as u64);
        metrics::counter!("tickstream_consumer_dead_letters_total").increment(letters.len() as u64);
        metrics::histogram!("tickstream_consumer_write_seconds").record(begun.elapsed());
        if let Some(bad_share) = &mut self.bad_share {
            bad_share.add(records, letters.len()).map_err(Fault::Stop)?;
        }
        Ok(Answer::Written { generation, written })
    }

    async fn send(&mut self, batches: &[PartitionBatch], letters: &[DeadLetter]) -> anyhow::Result<()> {
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
            let topic_id = self.topic_ids.topic_id(&batch.topic, batch.partition).await?;
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
}

/// The share of bad records over the last minute. More than 5 % and at least 1,000 of them is a wrong deployment, not bad
/// records.
#[derive(Default)]
pub(super) struct BadShare {
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
