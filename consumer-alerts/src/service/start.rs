//! Where an engine begins: which record is the first that it judges, and from which earlier one on its windows are made
//! again. Must never happen here: a week of old prices that is told as news when somebody starts the service for the first
//! time.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use pipeline::consume::Assigned;
use pipeline::kafka::{KafkaArgs, Reader, ReaderContext, create};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::rules::Micros;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The first record to judge. Without a commit that is the next one to come: what happened before is history.
pub fn judges_from(assigned: &Assigned, topic_id: &str) -> i64 {
    let Assigned { topic, partition, committed, metadata, log_start, log_end } = assigned;
    let Some(committed) = *committed else { return *log_end };
    // Behind the topic's id stands the mark of the transaction.
    let of = metadata.split(' ').next().unwrap_or_default();
    if !of.is_empty() && of != topic_id {
        tracing::warn!(
            topic = &**topic,
            partition,
            "{topic}[{partition}] was made again since it was judged up to {committed}: judging it from its start, {log_start}"
        );
        return *log_start;
    }
    if committed > *log_end {
        tracing::warn!(
            topic = &**topic,
            partition,
            "{topic}[{partition}] ends at {log_end}, before the {committed} that it was judged up to: the broker lost records"
        );
        return *log_end;
    }
    if committed < *log_start {
        tracing::warn!(
            topic = &**topic,
            partition,
            "{topic}[{partition}]: retention deleted offsets {committed} to {} before they were judged",
            log_start - 1
        );
        return *log_start;
    }
    committed
}

/// The first record that windows need for the one at `from` to be judged as if nothing had been interrupted: they reach back
/// from the last one that was judged, however long nobody has judged since. Who was there then fell silent then. Blocking.
///
/// # Errors
/// When the broker does not answer.
pub fn warms_from(
    kafka: &KafkaArgs,
    assigned: &Assigned,
    from: i64,
    now: i64,
    looks_back: Micros,
) -> anyhow::Result<i64> {
    if from <= assigned.log_start {
        return Ok(assigned.log_start);
    }
    let consumer: Reader = create(&kafka.consumer(None), ReaderContext)?;
    let mut at = if from < assigned.log_end { time_at(&consumer, assigned, from)?.unwrap_or(now) } else { now };
    // Where nothing was judged before, all before is history.
    if assigned.committed.is_some() {
        at = at.min(time_at(&consumer, assigned, from - 1)?.unwrap_or(at));
    }
    let (topic, partition) = (&*assigned.topic, assigned.partition);
    let begins_ms = at.saturating_sub(looks_back.0).max(0) / 1000;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(begins_ms))?;
    let found = consumer
        .offsets_for_times(list, TIMEOUT)
        .with_context(|| format!("looking for a time in {topic}[{partition}]"))?;
    let element = found.find_partition(topic, partition).context("the broker did not answer for the partition")?;
    element.error().with_context(|| format!("looking for a time in {topic}[{partition}]"))?;
    let Offset::Offset(first) = element.offset() else { return Ok(from) };
    Ok(first.clamp(assigned.log_start, from))
}

/// The broker time of the first record at or behind an offset, microseconds; `None` when there is none.
fn time_at(consumer: &Reader, assigned: &Assigned, offset: i64) -> anyhow::Result<Option<i64>> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&assigned.topic, assigned.partition, Offset::Offset(offset))?;
    consumer.assign(&list).context("assign")?;
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => return Ok(message.timestamp().to_millis().map(|at_ms| at_ms.saturating_mul(1000))),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) => tracing::debug!("{error}"),
            None => {}
        }
    }
    bail!("{}[{}] gave no record within {TIMEOUT:?}", assigned.topic, assigned.partition)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn judging_begins_at_the_commit_or_where_the_log_allows() {
        let from = |committed: Option<i64>, metadata: &str| {
            let assigned = Assigned {
                topic: Arc::from("market.ticks.v1"),
                partition: 3,
                committed,
                metadata: metadata.to_owned(),
                log_start: 100,
                log_end: 200,
            };
            judges_from(&assigned, "id")
        };
        assert_eq!(from(None, ""), 200, "history is no news");
        assert_eq!(from(Some(150), "id 7c9e"), 150);
        assert_eq!(from(Some(150), ""), 150, "a commit by Kafka's own tools is believed");
        assert_eq!(from(Some(150), "another 7c9e"), 100);
        assert_eq!(from(Some(201), "id 7c9e"), 200);
        assert_eq!(from(Some(40), "id"), 100);
    }
}
