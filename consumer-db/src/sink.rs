//! The Postgres end of the consume loop: where to start, and a transaction for each round of batches. The offset goes to
//! Kafka only after the commit; a crash between the two writes the same rows again, which changes nothing. A database that
//! turns out to lack what was written before (a failover) is given it again: reading goes back to where it is.
//!
//! The commit's metadata names the topic id, because a recreated topic has the same name and offsets from 0 again: a commit
//! made for another topic counts as none. Must never happen here: records passed over in silence.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use async_trait::async_trait;
use pipeline::codec::RecordType;
use pipeline::consume::{Assigned, DeadLetter, Fault, PartitionBatch, Sink, Written};
use pipeline::decode::{Decoded, Decoder};
use pipeline::registry::Registry;
use pipeline::topic_id::TopicIds;
use pipeline::{Misconfigured, topics};
use uuid::Uuid;

use crate::positions::{Known, Position};
use crate::round::Round;
use crate::start::start_of;
use crate::writer::Writer;

/// A partition that this member has.
#[derive(Clone, Copy, Debug)]
struct Held {
    topic_id: Uuid,
    /// Where its next batch begins.
    next: i64,
}

pub struct DbSink {
    writer: Writer,
    registry: Option<Registry>,
    /// By topic, as needed.
    decoders: HashMap<Arc<str>, (RecordType, Decoder)>,
    topic_ids: TopicIds,
    /// By topic and partition; the ids as asked when they were assigned.
    held: HashMap<(Arc<str>, i32), Held>,
    accept_hole: bool,
    oldest_event_days: u32,
    /// Since when the database is known to be behind and nothing has come that could be written.
    behind_since: Option<Instant>,
}

/// How long a batch is waited for that takes a database which is behind back to where it is.
const PATIENCE: Duration = Duration::from_secs(10);

impl DbSink {
    pub fn new(
        writer: Writer,
        registry: Option<Registry>,
        topic_ids: TopicIds,
        accept_hole: bool,
        oldest_event_days: u32,
    ) -> Self {
        let (decoders, held) = (HashMap::new(), HashMap::new());
        Self { writer, registry, decoders, topic_ids, held, accept_hole, oldest_event_days, behind_since: None }
    }

    /// Decoded as the record type that the topic is declared for.
    async fn decode(&mut self, batch: &PartitionBatch) -> Result<(RecordType, Decoded), Fault> {
        let (record, decoder) = match self.decoders.entry(batch.topic.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(vacant) => {
                let record = topics::record_type(&batch.topic)
                    .ok_or_else(|| Fault::Stop(anyhow!("topic {} is not one of events", batch.topic)))?;
                vacant.insert((record, Decoder::new(record, self.registry.clone())))
            }
        };
        let decoded = decoder.decode(batch.records.values()).await;
        decoded.map(|decoded| (*record, decoded)).map_err(|error| Fault::Outage(error.into()))
    }

    async fn topic_id(&self, topic: &str, partition: i32) -> Result<Uuid, Fault> {
        Ok(self.topic_ids.topic_id(topic, partition).await?)
    }

    /// Of each partition held, where its next batch begins, or one of `batches`.
    fn due(&self, batches: &[PartitionBatch]) -> Vec<Position> {
        let begun: HashMap<(&str, i32), i64> =
            batches.iter().map(|batch| ((&*batch.topic, batch.partition), batch.start)).collect();
        let due = self.held.iter().map(|((topic, partition), held)| Position {
            topic: topic.clone(),
            topic_id: held.topic_id,
            partition: *partition,
            offset: begun.get(&(&**topic, *partition)).copied().unwrap_or(held.next),
        });
        due.collect()
    }

    /// Of those of `batches` whose partition is held, where they end.
    fn read(&self, batches: &[PartitionBatch]) -> Vec<Position> {
        let read = batches.iter().filter_map(|batch| {
            let held = self.held.get(&(batch.topic.clone(), batch.partition))?;
            let (topic, partition) = (batch.topic.clone(), batch.partition);
            Some(Position { topic, topic_id: held.topic_id, partition, offset: batch.next_offset })
        });
        read.collect()
    }

    async fn see_that_topics_are_the_same(&self) -> Result<(), Fault> {
        for ((topic, partition), held) in &self.held {
            let (known, id) = (held.topic_id, self.topic_id(topic, *partition).await?);
            if id != known {
                return Err(Fault::Stop(anyhow!(
                    "topic {topic} was deleted and made again (id {known} before, {id} now); start again to read the new one from its beginning"
                )));
            }
        }
        Ok(())
    }

    /// What the database has of `due`, in the same order.
    async fn known(&mut self, due: &[Position]) -> Result<Vec<Known>, Fault> {
        let partitions: Vec<(Uuid, i32)> = due.iter().map(|due| (due.topic_id, due.partition)).collect();
        self.writer.known(&partitions).await.map_err(Fault::Outage)
    }

    /// Those of `due` that the database is not so far in, as far as it is.
    async fn behind(&mut self, due: &[Position]) -> Result<Vec<Position>, Fault> {
        let known = self.known(due).await?;
        let behind = due.iter().zip(known).filter_map(|(due, known)| match known {
            Known::Here(offset) if offset < due.offset => Some(Position { offset, ..due.clone() }),
            Known::Here(_) | Known::Nothing | Known::Unsaid => None,
        });
        Ok(behind.collect())
    }

    /// Nothing was written, since the database lacks what comes before: it is read again, and `batches` after it.
    async fn go_back(&mut self, due: Vec<Position>, batches: &[PartitionBatch]) -> Result<Vec<Written>, Fault> {
        let behind = self.behind(&due).await?;
        for Position { topic, partition, offset, .. } in &behind {
            tracing::warn!(
                topic = &**topic,
                partition,
                offset,
                "the database has lost what was written of {topic}[{partition}] from {offset} on (a failover?): reading it again"
            );
        }
        let due = due.into_iter().map(|due| {
            let there = |behind: &&Position| behind.topic_id == due.topic_id && behind.partition == due.partition;
            behind.iter().find(there).cloned().unwrap_or(due)
        });
        let of_round = |position: &Position| {
            let is_it = |batch: &PartitionBatch| batch.partition == position.partition && batch.topic == position.topic;
            batches.iter().any(is_it) || behind.contains(position)
        };
        let back: Vec<Position> = due.filter(of_round).collect();
        let mut written = Vec::with_capacity(back.len());
        for Position { topic, topic_id, partition, offset } in back {
            self.held.insert((topic.clone(), partition), Held { topic_id, next: offset });
            written.push(Written {
                topic,
                partition,
                commit: offset,
                metadata: topic_id.to_string(),
                resume_at: offset,
            });
        }
        Ok(written)
    }
}

#[async_trait]
impl Sink for DbSink {
    async fn start(&mut self, assigned: &[Assigned]) -> Result<Vec<i64>, Fault> {
        self.held.clear();
        let mut due = Vec::with_capacity(assigned.len());
        for partition in assigned {
            let topic_id = self.topic_id(&partition.topic, partition.partition).await?;
            due.push(Position { topic: partition.topic.clone(), topic_id, partition: partition.partition, offset: 0 });
        }
        let known = self.known(&due).await?;
        let mut set = Vec::new();
        for ((assigned, due), known) in assigned.iter().zip(&mut due).zip(known) {
            let start = start_of(assigned, &due.topic_id.to_string(), known, self.accept_hole)?;
            due.offset = start.offset;
            if start.is_set {
                set.push(due.clone());
            }
        }
        self.writer.set_positions(&set).await.map_err(Fault::Outage)?;
        for Position { topic, topic_id, partition, offset } in &due {
            self.held.insert((topic.clone(), *partition), Held { topic_id: *topic_id, next: *offset });
        }
        Ok(due.into_iter().map(|due| due.offset).collect())
    }

    async fn write(&mut self, batches: &[PartitionBatch]) -> Result<(Vec<Written>, Vec<DeadLetter>), Fault> {
        let mut decoded = Vec::with_capacity(batches.len());
        for batch in batches {
            decoded.push(self.decode(batch).await?);
        }
        let (mut round, mut letters) = Round::new(batches, &decoded, self.oldest_event_days);
        (round.due, round.read) = (self.due(batches), self.read(batches));
        if !round.is_empty() {
            let Some(refused) = self.writer.write(&mut round).await.map_err(fault)? else {
                let due = std::mem::take(&mut round.due);
                return Ok((self.go_back(due, batches).await?, Vec::new()));
            };
            letters.extend(refused.into_iter().map(|(origin, reason)| DeadLetter {
                topic: batches[origin.batch].topic.to_string(),
                partition: origin.partition,
                offset: origin.offset,
                reason: format!("Postgres: {reason}"),
            }));
        }
        let mut written = Vec::with_capacity(batches.len());
        for PartitionBatch { topic, partition, next_offset, .. } in batches {
            let held = self.held.get_mut(&(topic.clone(), *partition));
            let metadata = held.map_or_else(String::new, |held| {
                held.next = *next_offset;
                held.topic_id.to_string()
            });
            let (topic, partition) = (topic.clone(), *partition);
            written.push(Written { topic, partition, commit: *next_offset, metadata, resume_at: *next_offset });
        }
        Ok((written, letters))
    }

    async fn idle(&mut self) -> Result<(), Fault> {
        let due = self.due(&[]);
        let behind = self.behind(&due).await?;
        let Some(Position { topic, partition, offset, .. }) = behind.first() else {
            self.behind_since = None;
            return self.see_that_topics_are_the_same().await;
        };
        if self.behind_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
            return Err(Fault::Stop(anyhow!(
                "the database has lost what was written of {topic}[{partition}] from {offset} on (a failover?); start again to read it \
                 again"
            )));
        }
        Ok(())
    }
}

/// What only a person can mend is no outage.
fn fault(error: anyhow::Error) -> Fault {
    if error.is::<Misconfigured>() { Fault::Stop(error) } else { Fault::Outage(error) }
}
