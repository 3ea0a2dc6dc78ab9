//! The Postgres consumer measured: how fast ticks get in, in how much memory, and what share of its transactions' time goes
//! to candles.

use std::path::Path;
use std::time::Instant;

use stack::Stack;

use crate::rate;
use crate::service::{Service, Used};

pub struct Written {
    /// Records a second.
    pub rate: f64,
    pub used: Used,
    pub candles_share: f64,
}

/// Reads the whole topic as a group of its own until `count` records are in the database.
pub async fn write(stack: &Stack, binaries: &Path, group: &str, count: usize) -> anyhow::Result<Written> {
    let group = format!("bench-{group}");
    let arguments = ["--max-age-ms", "200", "--group", &group];
    let service = Service::start(stack, binaries, "consumer-db", &arguments)?;
    let begun: Instant = service.ready().await?;
    let ended = service.reaches("tickstream_consumer_records_total", count).await?;
    let used = service.used()?;
    let candles = service.metric("tickstream_db_candles_seconds_sum").await?;
    let candles_share = candles / service.metric("tickstream_db_batch_seconds_sum").await?;
    service.stop()?;
    Ok(Written { rate: rate(count, begun, ended), used, candles_share })
}
