//! The Postgres end of the consume loop: where to start, and a transaction for each round of batches. The offset goes to
//! Kafka only after the commit; a crash between the two writes the same rows again, which changes nothing.
//!
//! The commit's metadata names the topic id, because a recreated topic has the same name and offsets from 0 again: a commit
//! made for another topic counts as none. Must never happen here: records passed over in silence.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use anyhow::anyhow;
use async_trait::async_trait;
use pipeline::codec::RecordType;
use pipeline::consume::{Assigned, DeadLetter, Fault, PartitionBatch, Sink, Written};
use pipeline::decode::{Decoded, Decoder};
use pipeline::registry::Registry;
use pipeline::topic_id::TopicIds;
use pipeline::topics;

use crate::round::Round;
use crate::writer::Writer;

pub struct DbSink {
    writer: Writer,
    registry: Option<Registry>,
    /// By topic, as needed.
    decoders: HashMap<Arc<str>, (RecordType, Decoder)>,
    topic_ids: TopicIds,
    /// By topic and partition, as asked when it was assigned.
    ids: HashMap<(Arc<str>, i32), String>,
    accept_hole: bool,
    oldest_event_days: u32,
}

impl DbSink {
    pub fn new(
        writer: Writer,
        registry: Option<Registry>,
        topic_ids: TopicIds,
        accept_hole: bool,
        oldest_event_days: u32,
    ) -> Self {
        let (decoders, ids) = (HashMap::new(), HashMap::new());
        Self { writer, registry, decoders, topic_ids, ids, accept_hole, oldest_event_days }
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

    async fn topic_id(&self, topic: &str, partition: i32) -> Result<String, Fault> {
        Ok(self.topic_ids.topic_id(topic, partition).await?.to_string())
    }
}

#[async_trait]
impl Sink for DbSink {
    async fn start(&mut self, assigned: &[Assigned]) -> Result<Vec<i64>, Fault> {
        self.ids.clear();
        let mut starts = Vec::with_capacity(assigned.len());
        for partition in assigned {
            let id = self.topic_id(&partition.topic, partition.partition).await?;
            starts.push(start_of(partition, &id, self.accept_hole)?);
            self.ids.insert((partition.topic.clone(), partition.partition), id);
        }
        Ok(starts)
    }

    async fn write(&mut self, batches: &[PartitionBatch]) -> Result<(Vec<Written>, Vec<DeadLetter>), Fault> {
        let mut decoded = Vec::with_capacity(batches.len());
        for batch in batches {
            decoded.push(self.decode(batch).await?);
        }
        let (mut round, mut letters) = Round::new(batches, &decoded, self.oldest_event_days);
        if !round.is_empty() {
            let refused = self.writer.write(&mut round).await.map_err(Fault::Outage)?;
            letters.extend(refused.into_iter().map(|(origin, reason)| DeadLetter {
                topic: batches[origin.batch].topic.to_string(),
                partition: origin.partition,
                offset: origin.offset,
                reason: format!("Postgres: {reason}"),
            }));
        }
        let written = batches.iter().map(|batch| Written {
            topic: batch.topic.clone(),
            partition: batch.partition,
            commit: batch.next_offset,
            metadata: self.ids.get(&(batch.topic.clone(), batch.partition)).cloned().unwrap_or_default(),
            resume_at: batch.next_offset,
        });
        Ok((written.collect(), letters))
    }

    async fn idle(&mut self) -> Result<(), Fault> {
        self.writer.ping().await.map_err(Fault::Outage)?;
        for ((topic, partition), known) in &self.ids {
            let id = self.topic_id(topic, *partition).await?;
            if id != *known {
                return Err(Fault::Stop(anyhow!(
                    "topic {topic} was deleted and made again (id {known} before, {id} now); start again to read the new one from its beginning"
                )));
            }
        }
        Ok(())
    }
}

/// The first offset to read of a partition.
fn start_of(assigned: &Assigned, topic_id: &str, accept_hole: bool) -> Result<i64, Fault> {
    let Assigned { topic, partition, committed, metadata, log_start, log_end } = assigned;
    let Some(committed) = *committed else {
        return Ok(*log_start);
    };
    if !metadata.is_empty() && metadata != topic_id {
        tracing::warn!(
            topic = &**topic,
            partition,
            committed,
            log_start,
            "{topic}[{partition}] was made again since offset {committed} was committed: reading it from its start, {log_start}"
        );
        return Ok(*log_start);
    }
    if committed > *log_end {
        // The broker lost the log's tail, and new records may stand at offsets that were read before: all are read again.
        tracing::warn!(
            topic = &**topic,
            partition,
            committed,
            log_end,
            "{topic}[{partition}] ends at {log_end}, before the committed {committed}: the broker lost records; reading from {log_start}"
        );
        return Ok(*log_start);
    }
    if committed < *log_start {
        let missing = log_start - committed;
        if !accept_hole {
            return Err(Fault::Stop(anyhow!(
                "{topic}[{partition}]: {missing} offsets from {committed} to {} were deleted by retention before they were read; \
                 --accept-hole goes on at {log_start} without them",
                log_start - 1
            )));
        }
        tracing::warn!(
            topic = &**topic,
            partition,
            committed,
            log_start,
            "{topic}[{partition}]: going on at {log_start} without {missing} offsets that retention deleted"
        );
        return Ok(*log_start);
    }
    Ok(committed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(committed: Option<i64>, metadata: &str, accept_hole: bool) -> Result<i64, String> {
        let assigned = Assigned {
            topic: Arc::from("market.ticks.v1"),
            partition: 3,
            committed,
            metadata: metadata.to_owned(),
            log_start: 100,
            log_end: 200,
        };
        start_of(&assigned, "id", accept_hole).map_err(|fault| match fault {
            Fault::Stop(error) => error.to_string(),
            Fault::Outage(error) => panic!("an outage: {error}"),
        })
    }

    #[test]
    fn starts_at_the_commit_or_says_why_not() {
        assert_eq!(start(None, "", false), Ok(100));
        assert_eq!(start(Some(150), "id", false), Ok(150));
        assert_eq!(start(Some(200), "id", false), Ok(200));
        assert_eq!(start(Some(150), "", false), Ok(150), "a commit by Kafka's own tools is believed");
        assert_eq!(start(Some(150), "another id", false), Ok(100));
        assert_eq!(start(Some(201), "id", false), Ok(100));
        assert_eq!(start(Some(40), "another id", false), Ok(100), "another topic's offset is no hole");
    }

    #[test]
    fn a_hole_stops_until_it_is_accepted() {
        let message = start(Some(40), "id", false).expect_err("a hole");
        for part in ["market.ticks.v1[3]", "60 offsets", "from 40 to 99", "--accept-hole"] {
            assert!(message.contains(part), "{part} in {message}");
        }
        assert_eq!(start(Some(40), "id", true), Ok(100));
    }
}
