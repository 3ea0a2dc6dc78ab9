//! The states that earlier members committed, from the compacted state topic. It is read to the high watermark: what an open
//! transaction holds back is waited for, because it may be committed yet. Blocking: on a thread for that.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use pipeline::kafka::{KafkaArgs, Reader, ReaderContext, create};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::clock;
use crate::engine::{State, StateKey};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Above a dead member's transaction time-out.
const PATIENCE: Duration = Duration::from_secs(60);

/// The last state of each key.
///
/// # Errors
/// When the topic cannot be read to its end.
pub fn read(kafka: &KafkaArgs, topic: &str) -> anyhow::Result<HashMap<StateKey, State>> {
    let ends = ends(&kafka.admin(), topic)?;
    let consumer: Reader = create(&kafka.consumer(None), ReaderContext)?;
    let mut list = TopicPartitionList::new();
    for (partition, (low, _)) in &ends {
        list.add_partition_offset(topic, *partition, Offset::Offset(*low))?;
    }
    consumer.assign(&list).context("assign")?;

    let mut states = HashMap::new();
    let deadline = Instant::now() + PATIENCE;
    while !is_read(&consumer, topic, &ends)? {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => take(&mut states, message.key(), message.payload()),
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) => tracing::debug!(topic, "{error}"),
        }
        if Instant::now() >= deadline {
            bail!("{topic} could not be read to its end within {PATIENCE:?}; a transaction may be open there");
        }
    }
    Ok(states)
}

/// The log start and the high watermark of each partition.
fn ends(admin: &ClientConfig, topic: &str) -> anyhow::Result<HashMap<i32, (i64, i64)>> {
    // Not read-committed, or it would be told where committed records end.
    let mut settings = admin.clone();
    settings.set("isolation.level", "read_uncommitted").set("group.id", "tickstream-unused");
    let client: Reader = create(&settings, ReaderContext)?;
    let metadata = client.fetch_metadata(Some(topic), TIMEOUT).with_context(|| format!("asking about {topic}"))?;
    let partitions: Vec<_> = metadata.topics().iter().flat_map(|found| found.partitions()).collect();
    // A broker that does not know of the topic, or not yet, has not said that there are no states.
    ensure!(!partitions.is_empty(), "the broker says of no partition of {topic}");
    partitions
        .into_iter()
        .map(|partition| {
            let ends = client.fetch_watermarks(topic, partition.id(), TIMEOUT);
            Ok((partition.id(), ends.with_context(|| format!("asking where {topic} ends"))?))
        })
        .collect()
}

fn is_read(consumer: &Reader, topic: &str, ends: &HashMap<i32, (i64, i64)>) -> anyhow::Result<bool> {
    let positions = consumer.position().context("asking for positions")?;
    Ok(ends.iter().all(|(partition, (low, high))| {
        let position = positions.find_partition(topic, *partition).map(|element| element.offset());
        low == high || matches!(position, Some(Offset::Offset(at)) if at >= *high)
    }))
}

fn take(states: &mut HashMap<StateKey, State>, key: Option<&[u8]>, value: Option<&[u8]>) {
    let Some(key) = key.filter(|key| *key != clock::KEY.as_bytes()) else { return };
    let Ok(key) = serde_json::from_slice::<StateKey>(key) else {
        tracing::warn!("a key of the state topic cannot be read: {}", String::from_utf8_lossy(key));
        return;
    };
    match value.map(serde_json::from_slice) {
        None => drop(states.remove(&key)),
        Some(Ok(state)) => drop(states.insert(key, state)),
        Some(Err(error)) => tracing::warn!(?key, "a state cannot be read and counts as none: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;
    use crate::engine::Phase;

    #[test]
    fn a_broker_that_knows_no_such_topic_has_not_said_that_there_are_no_states() {
        let cluster = MockCluster::new(1).expect("a cluster");
        let kafka_bootstrap_servers = cluster.bootstrap_servers();
        let kafka = KafkaArgs { kafka_bootstrap_servers, kafka_properties: Vec::new() };
        let said = read(&kafka, "states").expect_err("nothing was read").to_string();
        assert!(said.contains("no partition of states"), "{said}");
        cluster.create_topic("states", 1, 1).expect("created");
        assert_eq!(read(&kafka, "states").expect("read"), HashMap::new());
    }

    #[test]
    fn the_last_state_of_a_key_holds_and_garbage_is_none() {
        let key =
            StateKey { rule: "00000000000000ff".parse().expect("a hash"), symbol: None, source: None, part: None };
        let state = |quiet_until| State { phase: Phase::Up, quiet_until, alert_id: None, severity: None };
        let json = |state: State| serde_json::to_vec(&state).expect("a state is JSON");
        let name = serde_json::to_vec(&key).expect("a key is JSON");
        let mut states = HashMap::new();
        take(&mut states, Some(&name), Some(&json(state(1))));
        take(&mut states, Some(&name), Some(&json(state(2))));
        take(&mut states, Some(&name), Some(b"garbage"));
        take(&mut states, Some(b"garbage"), Some(&json(state(3))));
        take(&mut states, Some(clock::KEY.as_bytes()), Some(b"{}"));
        take(&mut states, None, Some(b"{}"));
        assert_eq!(states, HashMap::from([(key, state(2))]));
        take(&mut states, Some(&name), None);
        assert!(states.is_empty());
    }
}
