//! Partitions that do not wait for each other: each has a [`Lane`], a task that writes its batches in order, one at a time.
//! A batch is begun when it is handed over, which may be while the one before is written.
//!
//! Invariant: [`Lane::write`] of a batch is called only when the write of the batch before is done and went on at this
//! batch's start; else the batch is dropped, and what was begun of it with it. Must never happen here: two writes of a lane at
//! once, or a lane of an old assignment beside one of a new one.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use async_trait::async_trait;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::around::{Answer, Around, Command};
use super::{Assigned, DeadLetter, Fault, PartitionBatch, Written};
use crate::trace;

#[cfg(test)]
mod tests;

/// Opens the lanes of assigned partitions.
#[async_trait]
pub trait Lanes: Send + 'static {
    type Lane: Lane;

    /// The lane of each assigned partition, in the same order. Called after each rebalance, and again when the broker says
    /// that an offset is out of range; no lane that was given before is in use then. Dropped where it stands when a rebalance
    /// comes meanwhile.
    async fn start(&mut self, assigned: &[Assigned]) -> Result<Vec<OpenLane<Self::Lane>>, Fault>;
}

/// A lane, and where it begins.
pub struct OpenLane<L> {
    pub lane: L,
    /// The first offset to read. Everything below is durable.
    pub start: i64,
    /// The metadata to commit the start with: a commit that lags behind is brought up to it, though no new record may come.
    pub metadata: String,
}

/// Where the records of one partition go.
#[async_trait]
pub trait Lane: Send + Sync + 'static {
    /// What is begun of a batch before its turn. Dropped with the batch when its turn never comes.
    type Begun: Send + 'static;

    /// Begins what needs nothing of the batches before, and does not wait for it. Called in order.
    fn begin(&self, batch: &PartitionBatch) -> Self::Begun;

    /// Makes the batch durable. After an outage it is called with the same batch.
    async fn write(&self, batch: &PartitionBatch, begun: &mut Self::Begun)
    -> Result<(Written, Vec<DeadLetter>), Fault>;

    /// Called every [`super::ConsumeConfig::idle_every`] while nothing is to be written.
    async fn idle(&self) -> Result<(), Fault>;

    /// The topic id that the records of the batches are of, where the lane knows it: what a dead letter names.
    fn topic_id(&self) -> Option<Uuid> {
        None
    }
}

pub(super) struct LaneTask<S> {
    pub lanes: S,
    pub around: Arc<Around>,
    pub idle_every: Duration,
}

struct Job<B> {
    generation: u64,
    run: u64,
    batch: PartitionBatch,
    begun: B,
}

/// A lane at work: its jobs go into the queue.
struct AtWork<L: Lane> {
    topic: Arc<str>,
    partition: i32,
    lane: Arc<L>,
    queue: UnboundedSender<Job<L::Begun>>,
}

impl<S: Lanes> LaneTask<S> {
    pub async fn run(mut self, mut commands: UnboundedReceiver<Command>, answers: Sender<Answer>) {
        let (mut at_work, mut tasks) = (Vec::new(), JoinSet::new());
        loop {
            let command = tokio::select! {
                command = commands.recv() => command,
                Some(ended) = tasks.join_next() => match ended {
                    Ok(()) => continue,
                    Err(error) => {
                        drop(answers.send(Answer::Stopped(anyhow!(error).context("a lane ended; its panic is in the log"))));
                        return;
                    }
                },
            };
            let done = match command {
                None => return,
                // Another start follows, if this member is to have partitions at all.
                Some(Command::Start { generation, .. } | Command::Write { generation, .. })
                    if self.around.is_outdated(generation) =>
                {
                    Ok(())
                }
                Some(Command::Start { generation, assigned, .. }) => {
                    // Queues that end let their tasks end: each after the try that is under way, which is some requests and what
                    // is still encoded. No pause is waited out, and what waits behind it is of an old generation and dropped.
                    at_work.clear();
                    while tasks.join_next().await.is_some() {}
                    self.around.forget_outages();
                    self.start(generation, assigned, &mut at_work, &mut tasks, &answers).await
                }
                Some(Command::Write { generation, batches }) => {
                    batches.into_iter().try_for_each(|handed| give(&at_work, generation, handed.run, handed.batch))
                }
                // Each lane knows by itself that it is idle, and none commits.
                Some(Command::Idle { .. } | Command::Fence { .. }) => Ok(()),
            };
            if let Err(error) = done {
                drop(answers.send(Answer::Stopped(error)));
                return;
            }
        }
    }

    async fn start(
        &mut self,
        generation: u64,
        assigned: Vec<Assigned>,
        at_work: &mut Vec<AtWork<S::Lane>>,
        tasks: &mut JoinSet<()>,
        answers: &Sender<Answer>,
    ) -> anyhow::Result<()> {
        let mut tries = self.around.tries(0, generation);
        let opened = loop {
            let opened = tokio::select! {
                opened = self.lanes.start(&assigned) => opened,
                // Given up as in a crash, of which an open lane knows nothing either.
                () = self.around.outdated(generation) => return Ok(()),
            };
            match opened {
                Ok(opened) => break opened,
                Err(fault) => {
                    if !tries.failed(fault).await? {
                        return Ok(());
                    }
                }
            }
        };
        tries.worked();
        let starts = opened.iter().map(|open| open.start).collect();
        let commits = opened.iter().map(|open| Some(open.metadata.clone())).collect();
        for (who, (open, given)) in opened.into_iter().zip(&assigned).enumerate() {
            let (queue, jobs) = unbounded_channel();
            let lane = Arc::new(open.lane);
            let task = Work {
                lane: lane.clone(),
                who,
                around: self.around.clone(),
                idle_every: self.idle_every,
                answers: answers.clone(),
            };
            tasks.spawn(task.run(generation, jobs));
            at_work.push(AtWork { topic: given.topic.clone(), partition: given.partition, lane, queue });
        }
        // Nobody listens only when the loop has ended.
        drop(answers.send(Answer::Started { generation, assigned, starts, commits }));
        Ok(())
    }
}

fn give<L: Lane>(at_work: &[AtWork<L>], generation: u64, run: u64, batch: PartitionBatch) -> anyhow::Result<()> {
    let mine = at_work.iter().find(|lane| lane.partition == batch.partition && lane.topic == batch.topic);
    let mine = mine.ok_or_else(|| anyhow!("a batch of {}[{}], which has no lane", batch.topic, batch.partition))?;
    let begun = mine.lane.begin(&batch);
    // A lane that ended has said why.
    drop(mine.queue.send(Job { generation, run, batch, begun }));
    Ok(())
}

/// One lane's task.
struct Work<L> {
    lane: Arc<L>,
    who: usize,
    around: Arc<Around>,
    idle_every: Duration,
    answers: Sender<Answer>,
}

impl<L: Lane> Work<L> {
    async fn run(self, generation: u64, mut jobs: UnboundedReceiver<Job<L::Begun>>) {
        // The run that has gone on elsewhere: what was handed over of it before that was known is dropped.
        let mut ended_run = None;
        loop {
            let done = match tokio::time::timeout(self.idle_every, jobs.recv()).await {
                Ok(None) => return,
                Ok(Some(job)) if ended_run == Some(job.run) || self.around.is_outdated(job.generation) => continue,
                Ok(Some(job)) => self.carry_out(job, &mut ended_run).await,
                Err(_) if self.around.is_outdated(generation) => continue,
                Err(_) => self.idle(generation).await,
            };
            if let Err(error) = done {
                drop(self.answers.send(Answer::Stopped(error)));
                return;
            }
        }
    }

    async fn carry_out(&self, mut job: Job<L::Begun>, ended_run: &mut Option<u64>) -> anyhow::Result<()> {
        let mut tries = self.around.tries(self.who, job.generation);
        let begun = trace::clock();
        let written = loop {
            match self.write(&job.batch, &mut job.begun).await {
                Ok(written) => break written,
                Err(fault) => {
                    if !tries.failed(fault).await? {
                        return Ok(());
                    }
                }
            }
        };
        tries.worked();
        if written.resume_at == job.batch.next_offset {
            self.around.trace(std::iter::once(&job.batch), begun);
        } else {
            *ended_run = Some(job.run);
        }
        drop(self.answers.send(Answer::Written { generation: job.generation, written: vec![written] }));
        Ok(())
    }

    async fn write(&self, batch: &PartitionBatch, begun: &mut L::Begun) -> Result<Written, Fault> {
        let since = Instant::now();
        let (written, letters) = self.lane.write(batch, begun).await?;
        self.around.finish(&[batch], &letters, self.lane.topic_id(), since).await?;
        Ok(written)
    }

    async fn idle(&self, generation: u64) -> anyhow::Result<()> {
        let mut tries = self.around.tries(self.who, generation);
        while let Err(fault) = self.lane.idle().await {
            if !tries.failed(fault).await? {
                return Ok(());
            }
        }
        tries.worked();
        Ok(())
    }
}
