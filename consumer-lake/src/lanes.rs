//! The chain writers of the assigned partitions, driven by the consume loop. Partitions share nothing but the processors:
//! each has at most one PUT under way, all at once. Must never happen here: a rule of the chain.

use std::sync::Arc;

use anyhow::anyhow;
use async_trait::async_trait;
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use lake::Outside;
use lake::chain::{Batch, Chain, Given};
use lake::outside::dead_letter;
use pipeline::consume::{Assigned, Fault, PartitionBatch, Sink, Written};
use pipeline::dead_letter::DeadLetter;
use pipeline::lake::table;
use pipeline::topics;

/// Partitions whose tail is looked for at once.
const STARTS: usize = 4;

pub struct LakeSink {
    world: Arc<Outside>,
    chains: Vec<Chain<Outside>>,
}

impl LakeSink {
    pub fn new(world: Outside) -> Self {
        Self { world: Arc::new(world), chains: Vec::new() }
    }
}

#[async_trait]
impl Sink for LakeSink {
    async fn start(&mut self, assigned: &[Assigned]) -> Result<Vec<i64>, Fault> {
        // What was known of a chain is worth nothing once another member may have written to it.
        self.chains.clear();
        let opened = stream::iter(assigned.iter().map(given))
            .map(|given| open(self.world.clone(), given))
            .buffered(STARTS)
            .collect::<Vec<_>>()
            .await;
        self.chains = worst_first(opened)?;
        Ok(self.chains.iter().map(Chain::tail).collect())
    }

    fn commit_start(&self, assigned: &Assigned) -> Option<String> {
        // The tail: each bronze below it has just been confirmed.
        let chain = self.chains.iter().find(|chain| {
            let place = chain.place();
            place.partition == assigned.partition && place.topic == assigned.topic
        });
        chain.map(Chain::commit_metadata)
    }

    async fn write(&mut self, batches: &[PartitionBatch]) -> Result<(Vec<Written>, Vec<DeadLetter>), Fault> {
        let mut writes = Vec::with_capacity(batches.len());
        for chain in &mut self.chains {
            let place = chain.place();
            let mine = batches.iter().find(|batch| batch.partition == place.partition && batch.topic == place.topic);
            if let Some(batch) = mine {
                writes.push(write(chain, batch));
            }
        }
        if writes.len() != batches.len() {
            return Err(Fault::Stop(anyhow!("a batch of a partition that was not started")));
        }
        let (written, letters): (Vec<_>, Vec<_>) = worst_first(join_all(writes).await)?.into_iter().unzip();
        Ok((written, letters.into_iter().flatten().collect()))
    }

    async fn idle(&mut self) -> Result<(), Fault> {
        worst_first(join_all(self.chains.iter().map(Chain::check_topic_id)).await)?;
        Ok(())
    }
}

async fn open(world: Arc<Outside>, given: Given) -> Result<Chain<Outside>, Fault> {
    let chain = Chain::open(world, &given).await?;
    let (topic, partition, tail) = (&*given.topic, given.partition, chain.tail());
    let epoch = chain.place().epoch;
    tracing::info!(topic, partition, epoch, tail, "{topic}[{partition}] goes on at offset {tail}, epoch {epoch:04}");
    Ok(chain)
}

async fn write(chain: &mut Chain<Outside>, batch: &PartitionBatch) -> Result<(Written, Vec<DeadLetter>), Fault> {
    let PartitionBatch { start, next_offset, records, .. } = batch;
    let part = Batch { start: *start, next_offset: *next_offset, records: records.clone() };
    let step = chain.write(&part).await?;
    let (topic, partition) = (&*batch.topic, batch.partition);
    if step.resume_at == *next_offset {
        tracing::debug!(
            topic,
            partition,
            start,
            next_offset,
            "{topic}[{partition}] {start}..{next_offset} is in the lake"
        );
    } else {
        let tail = step.resume_at;
        tracing::warn!(
            topic,
            partition,
            start,
            tail,
            "another writer was first at {topic}[{partition}]@{start}; going on at {tail}"
        );
    }
    let letters = step.bad.iter().map(|letter| dead_letter(chain.place(), letter)).collect();
    let written = Written {
        topic: batch.topic.clone(),
        partition,
        commit: step.commit,
        metadata: chain.commit_metadata(),
        resume_at: step.resume_at,
    };
    Ok((written, letters))
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
