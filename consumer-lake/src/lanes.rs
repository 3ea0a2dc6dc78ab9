//! The chain writers of the assigned partitions as lanes of the consume loop: partitions share nothing but the processors,
//! each has at most one PUT under way, and its next batch is encoded meanwhile. Must never happen here: a rule of the chain.

use std::sync::Arc;

use anyhow::anyhow;
use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use lake::Outside;
use lake::chain::{Ahead, Batch, Chain, Given, Made};
use lake::outside::dead_letter;
use pipeline::consume::{Assigned, Fault, Lane, Lanes, OpenLane, PartitionBatch, Written};
use pipeline::dead_letter::DeadLetter;
use pipeline::lake::table;
use pipeline::records::Records;
use pipeline::topics;
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// Partitions whose tail is looked for at once.
const STARTS: usize = 4;

pub struct LakeLanes {
    world: Arc<Outside>,
}

impl LakeLanes {
    pub fn new(world: Outside) -> Self {
        Self { world: Arc::new(world) }
    }
}

#[async_trait]
impl Lanes for LakeLanes {
    type Lane = ChainLane;

    async fn start(&mut self, assigned: &[Assigned]) -> Result<Vec<OpenLane<ChainLane>>, Fault> {
        let opened = stream::iter(assigned.iter().map(given))
            .map(|given| open(self.world.clone(), given))
            .buffered(STARTS)
            .collect::<Vec<_>>()
            .await;
        worst_first(opened)
    }
}

async fn open(world: Arc<Outside>, given: Given) -> Result<OpenLane<ChainLane>, Fault> {
    let chain = Chain::open(world, &given).await?;
    let (topic, partition, start) = (&*given.topic, given.partition, chain.tail());
    let epoch = chain.place().epoch;
    tracing::info!(topic, partition, epoch, start, "{topic}[{partition}] goes on at offset {start}, epoch {epoch:04}");
    let metadata = chain.commit_metadata();
    let lane = ChainLane { ahead: chain.ahead(), topic_id: chain.place().topic_id, chain: Mutex::new(chain) };
    Ok(OpenLane { lane, start, metadata })
}

/// The writer of one partition's chain.
pub struct ChainLane {
    ahead: Ahead<Outside>,
    topic_id: Uuid,
    /// Taken by one write at a time.
    chain: Mutex<Chain<Outside>>,
}

/// A batch's objects, which are being made or are made.
pub enum Encoding {
    UnderWay(AbortOnDropHandle<Made>),
    Done(Made),
}

impl Encoding {
    async fn made(&mut self) -> Result<&Made, Fault> {
        if let Self::UnderWay(task) = self {
            let made = task.await.map_err(|error| Fault::Stop(anyhow!(error).context("encoding a batch")))?;
            *self = Self::Done(made);
        }
        match self {
            Self::Done(made) => Ok(made),
            Self::UnderWay(_) => Err(Fault::Stop(anyhow!("an encoding that ended is under way"))),
        }
    }
}

#[async_trait]
impl Lane for ChainLane {
    type Begun = Encoding;

    fn begin(&self, batch: &PartitionBatch) -> Encoding {
        let (ahead, batch) = (self.ahead.clone(), part(batch));
        Encoding::UnderWay(AbortOnDropHandle::new(tokio::spawn(async move { ahead.make(&batch).await })))
    }

    async fn write(&self, batch: &PartitionBatch, begun: &mut Encoding) -> Result<(Written, Vec<DeadLetter>), Fault> {
        let made = begun.made().await?;
        let mut chain = self.chain.lock().await;
        let step = chain.write_made(&part(batch), made).await?;
        let PartitionBatch { topic, partition, start, next_offset, .. } = batch;
        if step.resume_at == *next_offset {
            tracing::debug!(
                topic = &**topic,
                partition,
                start,
                next_offset,
                "{topic}[{partition}] {start}..{next_offset} is in the lake"
            );
        } else {
            let tail = step.resume_at;
            tracing::warn!(
                topic = &**topic,
                partition,
                start,
                tail,
                "another writer was first at {topic}[{partition}]@{start}; going on at {tail}"
            );
        }
        let letters = step.bad.iter().map(|letter| dead_letter(chain.place(), letter)).collect();
        let written = Written {
            topic: topic.clone(),
            partition: *partition,
            commit: step.commit,
            metadata: chain.commit_metadata(),
            resume_at: step.resume_at,
        };
        Ok((written, letters))
    }

    async fn idle(&self) -> Result<(), Fault> {
        self.chain.lock().await.check_topic_id().await
    }

    fn topic_id(&self) -> Option<Uuid> {
        Some(self.topic_id)
    }
}

fn part(batch: &PartitionBatch) -> Batch<Records> {
    Batch { start: batch.start, next_offset: batch.next_offset, records: batch.records.clone() }
}

fn given(assigned: &Assigned) -> Given {
    Given {
        topic: assigned.topic.clone(),
        partition: assigned.partition,
        table: topics::record_type(&assigned.topic).map(table),
        committed: assigned.committed.map(|offset| (offset, assigned.metadata.clone())),
        log_start: assigned.log_start,
        log_end: assigned.log_end,
    }
}

/// All results, or the fault that matters most: what needs a person must not hide behind an outage.
fn worst_first<T>(results: Vec<Result<T, Fault>>) -> Result<Vec<T>, Fault> {
    let (mut done, mut outage) = (Vec::with_capacity(results.len()), None);
    for result in results {
        match result {
            Ok(value) => done.push(value),
            Err(stop @ Fault::Stop(_)) => return Err(stop),
            Err(Fault::Outage(error)) => outage = Some(error),
        }
    }
    outage.map_or(Ok(done), |error| Err(Fault::Outage(error)))
}
