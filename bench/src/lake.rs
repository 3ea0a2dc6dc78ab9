//! The lake consumer measured: how fast it writes raw and bronze, in how much memory, and how many bytes a record takes
//! there, beside what it takes in the topic's own log.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use pipeline::kafka::KafkaArgs;
use pipeline::topics;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use stack::Stack;

use crate::rate;
use crate::service::{Service, Used};

/// Archives the ticks into a lake of its own, until `count` records are in it: records a second, and what that took.
pub async fn archive(stack: &Stack, binaries: &Path, prefix: &str, count: usize) -> anyhow::Result<(f64, Used)> {
    let group = format!("bench-{prefix}");
    // The last records wait for no more to come; how long is a setting, not a speed.
    let arguments = ["--topics", topics::TICKS, "--max-age-ms", "200", "--s3-prefix", prefix, "--group", &group];
    let service = Service::start(stack, binaries, "consumer-lake", &arguments)?;
    let begun: Instant = service.ready().await?;
    let ended = service.reaches("tickstream_consumer_records_total", count).await?;
    let used = service.used()?;
    service.stop()?;
    Ok((rate(count, begun, ended), used))
}

/// Makes the topic of ticks one of so many partitions.
pub async fn grow(kafka: &KafkaArgs, partitions: usize) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = kafka.admin().create()?;
    let grown = NewPartitions::new(topics::TICKS, partitions);
    let answers = admin.create_partitions(&[grown], &AdminOptions::new()).await?;
    answers
        .into_iter()
        .try_for_each(|answer| answer.map(drop).map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}")))
}

/// Bytes a record.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// In the segments of the topic's log, as the producer compressed them.
    pub log: f64,
    pub raw: f64,
    pub bronze: f64,
}

pub fn sizes(stack: &Stack, prefix: &str, count: usize) -> anyhow::Result<Sizes> {
    let lake = stack.data_dir().join("s3").join(&stack.s3.bucket).join(prefix);
    let mut log = 0;
    for partition in std::fs::read_dir(stack.data_dir().join("kafka/data")).context("the broker's log folder")? {
        let partition = partition?;
        let name = partition.file_name().to_string_lossy().into_owned();
        if name.rsplit_once('-').is_some_and(|(topic, _)| topic == topics::TICKS) {
            log += bytes_below(&partition.path(), "log")?;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let each = |bytes: u64| bytes as f64 / count as f64;
    let layer = |layer: &str| bytes_below(&lake.join(layer), "parquet");
    Ok(Sizes { log: each(log), raw: each(layer("raw")?), bronze: each(layer("bronze")?) })
}

/// The size of all files of this extension under `folder`.
fn bytes_below(folder: &Path, extension: &str) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let (path, data) = (entry.path(), entry.metadata()?);
        if data.is_dir() {
            bytes += bytes_below(&path, extension)?;
        } else if path.extension().is_some_and(|found| found == extension) {
            bytes += data.len();
        }
    }
    Ok(bytes)
}
