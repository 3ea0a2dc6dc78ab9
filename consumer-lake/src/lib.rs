//! The lake consumer: every record of the topics once in raw Parquet objects, bytes verbatim, and decoded in bronze ones.
//!
//! The way of a batch: [`lanes`] hands it to the writer of its partition; the rules of that writer are the [`lake`]'s.

mod config;
pub mod lanes;

use std::time::Duration;

use lake::Outside;
use pipeline::admin::{self, Health};
use pipeline::consume::{ConsumeConfig, consume_in_lanes};
use pipeline::lake::SPAN;
use pipeline::store::Store;
use tokio_util::sync::CancellationToken;

pub use config::{Cli, Config};
pub use lanes::LakeLanes;

/// Gathered are at most so many objects' worth of records over all partitions, and as many may be handed over.
const BUFFERED_OBJECTS: usize = 3;

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
    let outside =
        Outside::new(store, &config.kafka, &config.group, config.registry.registry()?)?.compressed(config.compression);
    let consuming = ConsumeConfig {
        topics: config.topics.clone(),
        group: config.group.clone(),
        max_rows: config.max_rows as usize,
        max_bytes: config.max_bytes as usize,
        max_age: config.max_age(),
        together: false,
        max_span: Some(SPAN),
        buffer_bytes: (config.max_bytes as usize).saturating_mul(BUFFERED_OBJECTS),
        idle_every: Duration::from_secs(10),
        // Raw keeps the bytes whatever they are.
        stop_when_bad: false,
        drain: Duration::from_secs(20),
        until: config.until(),
    };
    consume_in_lanes(consuming, &config.kafka, LakeLanes::new(outside), health, shutdown).await
}
