//! The service: ticks and gaps from the log through the [`crate::engine`] into market.alerts.v1. An alert, the states that
//! changed with it and the offset behind what led to it are one Kafka transaction.
//!
//! Invariant: what the alerts topic and the state topic hold is what the engines said of exactly the records below the
//! group's committed offsets. So a restart neither forgets an alert nor repeats one.
//!
//! Crash points: before the transaction commits (the broker aborts it; the records are judged again and say the same, for
//! windows are made again from the log and states from the state topic); after it (the next member begins behind it). While
//! an open transaction of a dead member is not resolved, the next one waits for it: it reads the state topic to the high
//! watermark, not to where committed records end.
//!
//! Must never happen here: a timer that fires because this process had not read what was there.

mod clock;
mod config;
mod judged;
mod news;
mod pending;
mod reload;
mod sink;
mod start;
mod state_log;
mod transactions;

use std::time::Duration;

use pipeline::admin::{self, Health};
use pipeline::consume::{ConsumeConfig, Until, consume};
use tokio_util::sync::CancellationToken;

pub use config::{RunArgs, Topics};
use sink::AlertSink;

/// Judges until `shutdown`.
///
/// # Errors
/// [`pipeline::Misconfigured`] when the rules, the broker or a topic cannot be used; a fatal error of the Kafka client.
pub async fn run(args: RunArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let rules = args.rules.load()?;
    let health = Health::new();
    admin::serve(args.admin.admin_addr, health.clone(), None, shutdown.clone()).await?;
    let rules = reload::watch(args.rules.rules.clone(), rules, shutdown.clone());
    let consuming = ConsumeConfig {
        topics: vec![args.topics.ticks.clone(), args.topics.gaps.clone()],
        group: args.group.clone(),
        max_rows: 20_000,
        max_bytes: 4 << 20,
        max_age: Duration::from_millis(100),
        together: true,
        max_span: None,
        buffer_bytes: 16 << 20,
        idle_every: Duration::from_secs(1),
        stop_when_bad: true,
        drain: Duration::from_secs(10),
        until: Until::Shutdown,
    };
    let sink = AlertSink::new(&args, rules, health.clone()).await?;
    consume(consuming, &args.kafka, sink, health, shutdown).await
}
