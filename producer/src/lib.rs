//! The producer: reads price sources and publishes every price once, in order, with each gap told. Sources are data (a
//! request and a pure parser); one driver polls, one listens, one generates; one publisher has the way to the broker.

use std::sync::Arc;

use anyhow::Context;
use pipeline::admin::{self, Health};
use pipeline::codec::Encoder;
use pipeline::misconfigured;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::config::{Config, SimulatedArgs, SourceName};
use crate::open_gaps::OpenGaps;
use crate::outbox::Outbox;
use crate::poll::Polled;
use crate::publish::Publisher;
use crate::socket::Socketed;
use crate::sources::simulated::{self, Market};
use crate::spill::{Recovered, Spill};
use crate::status::{Status, now_micros};

pub mod backoff;
pub mod broker;
pub mod config;
pub mod gap_ledger;
pub mod generate;
pub mod json;
pub mod normalize;
pub mod open_gaps;
pub mod outbox;
pub mod overflow;
pub mod poll;
pub mod problem;
pub mod publish;
pub mod row;
pub mod socket;
pub mod sources;
pub mod spill;
pub mod status;
pub mod trade_runs;
pub mod unchanged;

/// Reads the sources and publishes until `shutdown`, or until every source has ended by itself.
///
/// # Errors
/// [`pipeline::Misconfigured`] for a mistake that the user can mend; anything else when the publisher fails.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let sources = Sources::read(&config)?;
    let health = Health::new();
    admin::serve(config.admin.admin_addr, health.clone(), None, shutdown.clone()).await?;
    let encoder = Arc::new(Encoder::new(config.registry.framing()?).await?);
    let (spill, recovered) = open_spill(&config)?;
    let open_gaps = OpenGaps::read(&config.spill_dir);
    let kafka = config.kafka.clone();
    let broker =
        tokio::task::spawn_blocking(move || Broker::connect(&kafka)).await.context("connecting panicked")??;
    let (outbox, batches) = Outbox::new(encoder.clone());
    let outbox = outbox.keeping(open_gaps);
    let mut publisher = Publisher::new(broker, spill, encoder, health.clone());
    if recovered.damaged > 0 {
        publisher.lost_on_disk(recovered.damaged, "an earlier run's files were damaged");
    }
    let publisher = publisher.start(batches, Handle::current()).context("cannot start the publisher's thread")?;

    outbox.close_left(&sources.with_gaps(), now_micros()).await?;
    let ending = shutdown.child_token();
    let mut drivers = sources.start(&outbox, &health, &ending);
    // The publisher ends when the last sender is gone.
    drop(outbox);
    let ended = end_of(&mut drivers, &ending).await;
    let published = tokio::task::spawn_blocking(move || publisher.join()).await.context("joining panicked")?;
    published.map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
    ended
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

/// What is to be read, with all of its configuration checked.
struct Sources {
    polled: Option<Polled>,
    socketed: Option<Socketed>,
    simulated: Option<SimulatedArgs>,
}

impl Sources {
    fn read(config: &Config) -> anyhow::Result<Self> {
        let mut sources = Self { polled: None, socketed: None, simulated: None };
        for name in &config.sources {
            match name {
                SourceName::Simulated => sources.simulated = Some(config.simulated.clone()),
                SourceName::Coingecko => sources.polled = Some(config.coingecko.polled()?),
                SourceName::Coinbase => sources.socketed = Some(config.coinbase.socketed()?),
            }
        }
        Ok(sources)
    }

    /// The names of those that keep a ledger of gaps.
    fn with_gaps(&self) -> Vec<&'static str> {
        let polled = self.polled.as_ref().map(|polled| polled.source);
        polled.into_iter().chain(self.socketed.as_ref().map(|socketed| socketed.source)).collect()
    }

    /// Starts a task a source, and the one that tells of their health.
    fn start(self, outbox: &Outbox, health: &Health, shutdown: &CancellationToken) -> JoinSet<anyhow::Result<()>> {
        let mut drivers = JoinSet::new();
        let mut statuses = Vec::new();
        let mut status = |source| {
            let status = Status::new(source, health.clone());
            statuses.push(status.clone());
            status
        };
        if let Some(polled) = self.polled {
            let status = status(polled.source);
            drivers.spawn(poll::poll(polled, outbox.clone(), status, shutdown.clone()));
        }
        if let Some(socketed) = self.socketed {
            let status = status(socketed.source);
            drivers.spawn(socket::listen(socketed, outbox.clone(), status, shutdown.clone()));
        }
        if let Some(args) = self.simulated {
            let market = Market::new(args.simulated_seed, &args.simulated_symbols, now_micros());
            let (rate, limit) = (args.simulated_rate, args.simulated_trades);
            let status = status(simulated::SOURCE);
            drivers.spawn(generate::generate(market, rate, limit, outbox.clone(), status, shutdown.clone()));
        }
        // Health is told as long as any source lives, so it is not one of the drivers that are waited for.
        tokio::spawn(status::publish_health(statuses, outbox.clone(), shutdown.clone()));
        drivers
    }
}

/// Waits for every source; the first that fails stops the others.
async fn end_of(drivers: &mut JoinSet<anyhow::Result<()>>, ending: &CancellationToken) -> anyhow::Result<()> {
    let mut ended = Ok(());
    while let Some(driver) = drivers.join_next().await {
        let result = driver.context("a source panicked").and_then(|result| result);
        if result.is_err() {
            ending.cancel();
            ended = ended.and(result);
        }
    }
    ending.cancel();
    ended
}
