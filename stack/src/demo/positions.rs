//! Whether a consumer group has settled all that a topic holds, asked of the broker itself: the demo counts only after
//! that.

use std::time::{Duration, Instant};

use anyhow::Context;
use pipeline::kafka::{Reader, ReaderContext, ask_leader};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(10);
/// So many offsets at the end of a topic may be markers of transactions only, which nobody is given and so nobody commits.
const MARKERS: i64 = 16;

/// How many offsets `topic` holds now.
pub fn records(servers: &str, topic: &str) -> anyhow::Result<u64> {
    let client = client(servers, "tickstream-demo")?;
    let mut records = 0;
    for partition in partitions(&client, topic)? {
        let (start, end) = ask_leader(PATIENCE, || client.fetch_watermarks(topic, partition, PATIENCE))?;
        records += u64::try_from(end - start).unwrap_or(0);
    }
    Ok(records)
}

/// How many offsets of `topics` the group has not committed yet. A topic without any commit of the group counts only
/// when it is `required`: the group may not read it.
pub fn behind(servers: &str, group: &str, required: &str, topics: &[&str]) -> anyhow::Result<i64> {
    let client = client(servers, group)?;
    let mut behind = 0;
    for topic in topics {
        let partitions = partitions(&client, topic)?;
        let mut asked = TopicPartitionList::new();
        for partition in &partitions {
            asked.add_partition(topic, *partition);
        }
        let committed = client.committed_offsets(asked, PATIENCE)?;
        for partition in partitions {
            let (start, end) = ask_leader(PATIENCE, || client.fetch_watermarks(topic, partition, PATIENCE))?;
            let settled = committed.find_partition(topic, partition).map(|found| found.offset());
            behind += match settled {
                Some(Offset::Offset(settled)) if settled >= end => 0,
                Some(Offset::Offset(settled)) if end - settled > MARKERS => end - settled,
                Some(Offset::Offset(settled)) if holds_any(&client, topic, partition, settled)? => end - settled,
                Some(Offset::Offset(_)) => 0,
                _ if topic == &required => end - start,
                _ => 0,
            };
        }
    }
    Ok(behind)
}

/// Whether there is a record at `from` or behind it.
fn holds_any(client: &Reader, topic: &str, partition: i32, from: i64) -> anyhow::Result<bool> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(from))?;
    client.assign(&list)?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match client.poll(Duration::from_millis(100)) {
            Some(Ok(_)) => return Ok(true),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(false),
            Some(Err(error)) => tracing::debug!("{error}"),
            None => {}
        }
    }
    Ok(true)
}

fn client(servers: &str, group: &str) -> anyhow::Result<Reader> {
    ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .create_with_context(ReaderContext)
        .context("cannot make a Kafka client")
}

fn partitions(client: &Reader, topic: &str) -> anyhow::Result<Vec<i32>> {
    let metadata = client.fetch_metadata(Some(topic), PATIENCE)?;
    let found = metadata.topics().iter().filter(|found| found.name() == topic);
    Ok(found.flat_map(|found| found.partitions().iter().map(|partition| partition.id())).collect())
}
