//! `tickstream topics list`.

use pipeline::misconfigured;
use pipeline::topic_id::TopicIds;
use pipeline::topics::declared;
use serde::Serialize;
use uuid::Uuid;

use super::ListArgs;
use crate::kafka::Cluster;
use crate::output::{self, Align, Format};

#[derive(Serialize)]
struct Listed {
    topic: String,
    topic_id: Uuid,
    declared_partitions: i32,
    partitions: Vec<ListedPartition>,
}

/// `start` is the log's first offset, `end` the last stable one.
#[derive(Serialize)]
struct ListedPartition {
    partition: i32,
    start: i64,
    end: i64,
}

pub async fn run(args: ListArgs) -> anyhow::Result<()> {
    let cluster = Cluster::new(&args.kafka)?;
    let metadata = cluster.metadata().await?;
    let ids = TopicIds::new(&args.kafka)?;
    let mut listed = Vec::new();
    for topic in declared() {
        let Some(found) = metadata.topics.get(&topic.name) else {
            let servers = &args.kafka.kafka_bootstrap_servers;
            return Err(misconfigured(format!(
                "topic {} does not exist at {servers}; `tickstream topics apply` creates the declared topics",
                topic.name
            )));
        };
        let mut partitions = Vec::new();
        for &partition in &found.partitions {
            let ends = cluster.ends(&topic.name, partition).await?;
            partitions.push(ListedPartition { partition, start: ends.start, end: ends.end });
        }
        let topic_id = ids.topic_id(&topic.name, 0).await?;
        listed.push(Listed { topic: topic.name, topic_id, declared_partitions: topic.partitions, partitions });
    }
    match args.output.format {
        Format::Json => output::print_json(&listed),
        Format::Table => output::print(&as_table(&listed)),
        Format::Csv => output::print(&as_csv(&listed)?),
    }
}

fn as_csv(listed: &[Listed]) -> anyhow::Result<String> {
    let row = |topic: &'_ Listed, partition: &ListedPartition| {
        let ListedPartition { partition, start, end } = *partition;
        (topic.topic.clone(), partition, start, end, topic.topic_id)
    };
    let rows: Vec<_> =
        listed.iter().flat_map(|topic| topic.partitions.iter().map(move |partition| row(topic, partition))).collect();
    output::csv(&["topic", "partition", "start", "end", "topic_id"], true, &rows)
}

fn as_table(listed: &[Listed]) -> String {
    let row = |topic: &Listed, partition: &ListedPartition| {
        let ListedPartition { partition, start, end } = partition;
        vec![topic.topic.clone(), partition.to_string(), start.to_string(), end.to_string(), topic.topic_id.to_string()]
    };
    let rows: Vec<_> =
        listed.iter().flat_map(|topic| topic.partitions.iter().map(move |partition| row(topic, partition))).collect();
    let columns = [
        ("TOPIC", Align::Left),
        ("PARTITION", Align::Right),
        ("START", Align::Right),
        ("END", Align::Right),
        ("TOPIC ID", Align::Left),
    ];
    output::table(&columns, &rows)
}
