//! The lake consumer: every record of the topics once in raw Parquet objects, bytes verbatim, and decoded in bronze ones.
//!
//! The way of a batch: [`sink`] hands it to the writer of its partition; the rules of that writer are the [`lake`]'s.

mod config;
pub mod sink;

use std::time::Duration;

use lake::Outside;
use pipeline::admin::{self, Health};
use pipeline::consume::{ConsumeConfig, consume};
use pipeline::dead_letter::DeadLetters;
use pipeline::lake::SPAN;
use pipeline::store::Store;
use pipeline::topic_id::TopicIds;
use tokio_util::sync::CancellationToken;

pub use config::{Cli, Config};
pub use sink::LakeSink;

/// Consumes until `shutdown`.
///
/// # Errors
/// [`pipeline::Misconfigured`] when Kafka or the store cannot be used at the start, or the store does not honour conditional
/// writes; the chain's own message when going on would break it.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let store = Store::connect(&config.store).await?;
    store.probe().await?;
    let health = Health::new();
    admin::serve(config.admin.admin_addr, health.clone(), None, shutdown.clone()).await?;
    let letters = DeadLetters::new(&config.kafka, &config.group)?;
    let outside = Outside::new(store, TopicIds::new(&config.kafka)?, letters, config.registry.registry()?);
    let consuming = ConsumeConfig {
        topics: config.topics.clone(),
        group: config.group.clone(),
        max_rows: config.max_rows as usize,
        max_bytes: config.max_bytes as usize,
        max_age: config.max_age(),
        together: false,
        max_span: Some(SPAN),
        buffer_bytes: (config.max_bytes as usize).saturating_mul(2),
        idle_every: Duration::from_secs(10),
        // Raw keeps the bytes whatever they are.
        stop_when_bad: false,
        drain: Duration::from_secs(20),
    };
    consume(consuming, &config.kafka, LakeSink::new(outside), health, shutdown).await
}
