//! The producer: reads price sources and publishes every price once, in order, with each gap told. A source is data (what to
//! ask, and a pure parser); one driver polls, one listens; one publisher has the way to the broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use pipeline::admin::{self, Health};
use pipeline::codec::Encoder;
use pipeline::misconfigured;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, SourceName};
use crate::drive::clock::now_micros;
use crate::drive::status::{self, Status};
use crate::gaps::open_gaps::OpenGaps;
use crate::gaps::predecessor::Predecessors;
use crate::publish::broker::Broker;
use crate::publish::meters::Summary;
use crate::publish::outbox::Outbox;
use crate::publish::publisher::Publisher;
use crate::publish::spill::{Recovered, Spill};
use crate::runner::{Ours, Runner};

pub mod config;
pub mod drive;
pub mod gaps;
pub mod normalize;
pub mod once;
pub mod parse;
pub mod publish;
pub mod renormalize;
pub mod runner;
pub mod sharing;
pub mod sources;
pub mod symbols;

/// Reads the sources and publishes until `shutdown`, or until every source has ended by itself.
///
/// # Errors
/// [`pipeline::Misconfigured`] for a mistake that the user can mend; anything else when the publisher fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let symbols = Arc::new(config.symbols()?);
    let wanted: Ours = config.sources.iter().copied().collect();
    // Each source is read from the configuration once before anything starts, so that a mistake is told at once.
    for name in &wanted {
        config.driven(*name, &symbols)?;
    }
    let health = Health::new();
    let statuses: BTreeMap<SourceName, Status> =
        wanted.iter().map(|name| (*name, Status::new(name.as_str(), health.clone()))).collect();
    let all: Vec<Status> = statuses.values().cloned().collect();
    let router = status::router(all.clone());
    admin::serve(config.admin.admin_addr, health.clone(), Some(router), shutdown.clone()).await?;
    let Publishing { outbox, thread } = Publishing::start(&config, &health).await?;

    let names: Vec<&str> = wanted.iter().map(|name| name.as_str()).collect();
    outbox.close_left(&names, now_micros()).await?;
    let ending = shutdown.child_token();
    let (ours, sharing) = match &config.group {
        None => (watch::channel(wanted).1, None),
        Some(group) => {
            // Nothing is ours before the group says so.
            all.iter().for_each(Status::standby);
            let sharing = sharing::join(&config.kafka, group, &wanted, health.clone(), ending.clone()).await?;
            (sharing.ours.clone(), Some(sharing))
        }
    };
    tokio::spawn(status::publish_health(all, instance(), outbox.clone(), ending.clone()));
    let predecessors = Predecessors::new(config.kafka.clone(), config.registry.registry()?);
    let shared = sharing.is_some();
    // The publisher ends when the runner, which has the last sender, has.
    let runner = Runner { config: Arc::new(config), symbols, outbox, statuses, predecessors, shared };
    let ended = runner.run(ours, ending.clone()).await;
    ending.cancel();
    if let Some(sharing) = sharing {
        sharing.left().await;
    }
    Publishing::ended(thread).await?;
    ended
}

/// Where sources hand their records to, and the thread that publishes them.
pub(crate) struct Publishing {
    pub outbox: Outbox,
    pub thread: JoinHandle<anyhow::Result<Summary>>,
}

impl Publishing {
    /// Publishes what an earlier run left on disk, and then what is handed to the outbox.
    pub async fn start(config: &Config, health: &Health) -> anyhow::Result<Self> {
        let encoder = Arc::new(Encoder::new(config.registry.framing()?).await?);
        let (spill, recovered) = open_spill(config)?;
        let open_gaps = OpenGaps::read(&config.spill_dir);
        let kafka = config.kafka.clone();
        let broker =
            tokio::task::spawn_blocking(move || Broker::connect(&kafka)).await.context("connecting panicked")??;
        let (outbox, batches) = Outbox::new(encoder.clone());
        let outbox = outbox.keeping(open_gaps).checking(config.checks());
        let mut publisher = Publisher::new(broker, spill, encoder, health.clone());
        if recovered.damaged > 0 {
            publisher.lost_on_disk(recovered.damaged, "an earlier run's files were damaged");
        }
        let thread = publisher.start(batches, Handle::current()).context("cannot start the publisher's thread")?;
        Ok(Self { outbox, thread })
    }

    /// Waits until all is published, or on disk: when the last outbox is gone.
    pub async fn ended(thread: JoinHandle<anyhow::Result<Summary>>) -> anyhow::Result<Summary> {
        let published = tokio::task::spawn_blocking(move || thread.join()).await.context("joining panicked")?;
        published.map_err(|_| anyhow::anyhow!("the publisher panicked"))?
    }
}

/// What this producer calls itself in health records: the machine's name, the process, and when it began: in a container both
/// of the others may be those of the one before.
fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}/{}/{}", host.trim(), std::process::id(), now_micros() / 1_000_000)
}

fn open_spill(config: &Config) -> anyhow::Result<(Spill, Recovered)> {
    let dir = &config.spill_dir;
    let (spill, recovered) = Spill::open(dir, config.spill_bytes).map_err(|error| {
        misconfigured(format!(
            "cannot use the folder {}, set by --spill-dir (PRODUCER_SPILL_DIR): {error}; name a folder that this producer \
             alone can write",
            dir.display()
        ))
    })?;
    if recovered.records > 0 || recovered.torn_bytes > 0 {
        tracing::info!(
            records = recovered.records,
            torn_bytes = recovered.torn_bytes,
            "an earlier run left records on disk; they are published first"
        );
    }
    Ok((spill, recovered))
}
