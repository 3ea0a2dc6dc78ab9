//! The Postgres consumer: ticks from Kafka into partitioned tables, each event once, the highest revision on top; candles and
//! the latest price of each symbol and source, always what the ticks come to; gaps, index weights and alerts. Replaying any
//! part of the topics, in any batches, changes nothing.
//!
//! The way of a batch: `sink` decodes it, `round` sets aside what is bad, `rows` and `documents` make rows of the rest,
//! `writer` gets them in, `transaction` and `candles` hold the rules. SQL is in `sql/`, the schema in `migrations/`.

mod alone;
mod candles;
mod config;
mod copy_format;
mod database;
mod documents;
pub mod exchange;
mod housekeeping;
mod numeric;
mod positions;
mod refusal;
mod refused;
mod retention;
mod round;
mod rows;
mod sink;
mod start;
mod timestamptz;
mod transaction;
mod writer;

use std::time::Duration;

use pipeline::admin::{self, Health};
use pipeline::consume::{ConsumeConfig, consume};
use pipeline::topic_id::TopicIds;
use pipeline::topics;
use tokio_util::sync::CancellationToken;

use housekeeping::keep_house;

pub use alone::Alone;
pub use config::{Cli, Command, Config};
pub use database::Database;
pub use retention::retain;
pub use sink::DbSink;
pub use writer::Writer;

/// What is written to Postgres, by one consumer group: what comes of all of them at once is one transaction.
const TOPICS: [&str; 4] = [topics::TICKS, topics::GAPS, topics::INDEX, topics::ALERTS];

/// Consumes until `shutdown`.
///
/// # Errors
/// [`pipeline::Misconfigured`] when Kafka or Postgres cannot be used at the start; the sink's or the loop's own message.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let database = Database::new(&config.database_url)?;
    if config.no_migrate {
        database.check_schema().await?;
    } else {
        database.bring_up_to_date().await?;
    }
    if config.retention_days.is_some() {
        retention::check_owner(&database).await?;
    }
    tokio::spawn(keep_house(database.clone(), config.retention_days, shutdown.clone()));
    let health = Health::new();
    admin::serve(config.admin.admin_addr, health.clone(), None, shutdown.clone()).await?;
    let registry = config.registry.registry()?;
    let topic_ids = TopicIds::new(&config.kafka)?;
    let sink = DbSink::new(Writer::new(database), registry, topic_ids, config.accept_hole, config.oldest_event_days);
    let consuming = ConsumeConfig {
        topics: TOPICS.map(str::to_owned).to_vec(),
        group: config.group.clone(),
        max_rows: config.max_rows as usize,
        max_bytes: 4 << 20,
        max_age: config.max_age(),
        together: true,
        max_span: None,
        // Some 50,000 ticks: more than two rounds, which is as much as helps.
        buffer_bytes: 6 << 20,
        idle_every: Duration::from_secs(5),
        stop_when_bad: true,
        drain: Duration::from_secs(10),
        until: config.until(),
    };
    let mut kafka = config.kafka.clone();
    // The client counts the bytes of what it fetches ahead, not what it keeps beside each: of small records that is twice as
    // much again. Measured over a backlog of ticks: 87 MB at the setting of all consumers, 59 MB at this one, as fast.
    let prefetch = "queued.max.messages.kbytes=512".parse().map_err(anyhow::Error::msg)?;
    kafka.kafka_properties.insert(0, prefetch);
    consume(consuming, &kafka, sink, health, shutdown).await
}

/// Brings the schema up to date.
///
/// # Errors
/// [`pipeline::Misconfigured`] when the database cannot be used or its schema is not ours to change.
pub async fn migrate(config: Config) -> anyhow::Result<()> {
    Database::new(&config.database_url)?.migrate().await
}

/// Drops the days of ticks before the last `days`, or says what it would drop.
///
/// # Errors
/// [`pipeline::Misconfigured`] when the database cannot be used, its schema is not the one this was made with, or the user
/// does not own it.
pub async fn drop_old_days(config: Config, days: u32, dry_run: bool) -> anyhow::Result<()> {
    let database = Database::new(&config.database_url)?;
    database.check_schema().await?;
    retain(&database, days, dry_run).await.map(drop)
}
