//! The Postgres consumer: ticks from Kafka into partitioned tables, each event once, the highest revision on top, and the
//! latest price of each symbol and source. Replaying any part of the topic, in any batches, changes nothing.
//!
//! The way of a batch: `sink` decodes it and sets aside what is bad, `rows` ranks it, `writer` gets it in, `transaction`
//! holds the rules. SQL is in `sql/`, the schema in `migrations/`.

mod config;
mod copy_format;
mod database;
mod refusal;
mod rows;
mod sink;
mod timestamptz;
mod transaction;
mod writer;

use std::time::Duration;

use pipeline::admin::{self, Health};
use pipeline::codec::RecordType;
use pipeline::consume::{ConsumeConfig, consume};
use pipeline::decode::Decoder;
use pipeline::topic_id::TopicIds;
use pipeline::topics;
use tokio_util::sync::CancellationToken;

pub use config::{Cli, Command, Config};
pub use database::Database;
pub use sink::DbSink;
pub use writer::Writer;

/// Consumes until `shutdown`.
///
/// # Errors
/// [`pipeline::Misconfigured`] when Kafka or Postgres cannot be used at the start; the sink's or the loop's own message.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let database = Database::new(&config.database_url)?;
    if config.no_migrate {
        database.check_schema().await?;
    } else {
        database.migrate().await?;
    }
    let health = Health::new();
    admin::serve(config.admin.admin_addr, health.clone(), None, shutdown.clone()).await?;
    let decoder = Decoder::new(RecordType::PriceTick, config.registry.registry()?);
    let topic_ids = TopicIds::new(&config.kafka)?;
    let sink = DbSink::new(Writer::new(database), decoder, topic_ids, config.accept_hole, config.oldest_event_days);
    let consuming = ConsumeConfig {
        topics: vec![topics::TICKS.to_owned()],
        group: config.group.clone(),
        max_rows: config.max_rows as usize,
        max_bytes: 4 << 20,
        max_age: config.max_age(),
        together: true,
        max_span: None,
        buffer_bytes: 16 << 20,
        idle_every: Duration::from_secs(5),
        stop_when_bad: true,
        drain: Duration::from_secs(10),
        until: config.until(),
    };
    consume(consuming, &config.kafka, sink, health, shutdown).await
}

/// Brings the schema up to date.
///
/// # Errors
/// [`pipeline::Misconfigured`] when the database cannot be used or its schema is not ours to change.
pub async fn migrate(config: Config) -> anyhow::Result<()> {
    Database::new(&config.database_url)?.migrate().await
}
