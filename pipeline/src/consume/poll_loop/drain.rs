//! The end: what was gathered is written and committed, within the time there is. Must never happen here: an offset committed
//! in a generation in which the partition may be another member's.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Instant;

use anyhow::bail;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{CommitMode, Consumer};

use super::super::partition::Partition;
use super::{PollLoop, add_commit};

impl PollLoop<'_> {
    /// Writes and commits what was gathered, within the time there is.
    pub(super) fn drain(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + self.config.drain;
        self.health.set("shutdown", Err("shutting down".to_owned()));
        loop {
            if self.shared.take_rebalanced().is_some() {
                tracing::info!("rebalanced while shutting down: the new owner reads what was gathered");
                self.give_up();
                break;
            }
            self.hand_over(true);
            if self.partitions.iter().all(Partition::is_idle) {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!("not everything could be written in time; it stays in the topic and is read again");
                break;
            }
            match self.answers.recv_timeout(left) {
                Ok(answer) => self.take_answer(answer)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the sink task ended; its panic is in the log above"),
            }
        }
        // An asynchronous commit is sent by now; this one waits until the broker has taken it.
        let mut commits = TopicPartitionList::new();
        for held in &self.partitions {
            add_commit(&mut commits, &held.topic, held.partition, held.commit())?;
        }
        self.commit(&commits, CommitMode::Sync);
        self.consumer.unsubscribe();
        Ok(())
    }
}
