//! The live page. Reads the topics by assignment, without a group and without commits, keeps the latest price of each symbol
//! and source and a bounded line of points, and sends what changes to every open page by WebSocket.

mod clock;
mod config;
mod feed;
mod http;
mod hub;
mod intake;
mod live;
mod outages;
mod page;
mod positions;
mod protocol;
mod series;
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pipeline::admin::{self, Health};
use pipeline::codec::RecordType;
use pipeline::misconfigured;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::Config;

use feed::Feed;
use hub::Hub;
use intake::Intake;
use live::Live;
use positions::{Positions, ReadTopic};

/// What the WebSocket connections get to say goodbye.
const DRAIN: Duration = Duration::from_secs(3);
/// Gaps are read further back than prices: one that is still open may have opened long ago.
const GAPS_LOOK_BACK_MS: i64 = 24 * 60 * 60 * 1000;

/// Serves the page until `shutdown`.
///
/// # Errors
/// [`pipeline::Misconfigured`] when an address cannot be bound, or Kafka or its topics cannot be reached at start.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    start(config, shutdown).await?.wait().await
}

/// A dashboard that serves.
pub struct Dashboard {
    pub addr: SocketAddr,
    pub admin_addr: SocketAddr,
    feed: JoinHandle<anyhow::Result<()>>,
    server: JoinHandle<std::io::Result<()>>,
    sockets: TaskTracker,
    shutdown: CancellationToken,
}

/// Binds, finds its place in Kafka, and serves in the background.
///
/// # Errors
/// As [`run`].
pub async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Dashboard> {
    admin::metrics();
    let listener = TcpListener::bind(config.listen_addr).await.map_err(|error| {
        let addr = config.listen_addr;
        misconfigured(format!(
            "cannot listen on {addr}, set by --listen-addr (DASHBOARD_ADDR): {error}; choose a free address"
        ))
    })?;
    let addr = listener.local_addr().context("the listener has no address")?;

    let health = Health::new();
    let look_back_us = i64::try_from(config.look_back.as_micros()).context("the look-back is too long")?;
    let hub = Arc::new(Hub::new(Live::new(look_back_us, config.max_series as usize)));
    let positions = find_positions(&config, look_back_us / 1000).await?;
    let intake = Intake::new(positions.topics(), config.registry.registry()?.as_ref());
    let feed = Feed {
        positions,
        hub: hub.clone(),
        intake,
        health: health.clone(),
        runtime: Handle::current(),
        shutdown: shutdown.clone(),
    };
    let feed = tokio::task::spawn_blocking(move || feed.run());

    let sockets = TaskTracker::new();
    tokio::spawn({
        let (hub, shutdown) = (hub.clone(), shutdown.clone());
        async move { hub.run(shutdown).await }
    });
    let app = http::App {
        hub,
        allowed_origins: config.allowed_origins.into(),
        permits: Arc::new(Semaphore::new(config.max_connections as usize)),
        sockets: sockets.clone(),
        shutdown: shutdown.clone(),
    };
    let server = axum::serve(listener, http::routes(app)).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let server = tokio::spawn(server.into_future());
    let admin_addr = admin::serve(config.admin.admin_addr, health, None, shutdown.clone()).await?;
    tracing::info!(%addr, "the page is at http://{addr}");
    Ok(Dashboard { addr, admin_addr, feed, server, sockets, shutdown })
}

impl Dashboard {
    /// Until shutdown, or until a part ends of itself, which ends the others too.
    ///
    /// # Errors
    /// Why a part has ended.
    pub async fn wait(self) -> anyhow::Result<()> {
        let Self { mut feed, server, sockets, shutdown, .. } = self;
        let early = tokio::select! {
            () = shutdown.cancelled() => None,
            ended = &mut feed => Some(ended),
        };
        shutdown.cancel();
        sockets.close();
        if tokio::time::timeout(DRAIN, sockets.wait()).await.is_err() {
            tracing::warn!("{} connections did not end in time", sockets.len());
        }
        // A request that hangs must not hold the process.
        drop(tokio::time::timeout(DRAIN, server).await);
        match early {
            Some(ended) => ended.context("the reader has panicked")?,
            None => Ok(()),
        }
    }
}

/// The first look at Kafka: what cannot be found now is most likely a mistake, and is told as one.
async fn find_positions(config: &Config, look_back_ms: i64) -> anyhow::Result<Positions> {
    let topic = |name: &str, record, look_back_ms| ReadTopic { name: name.into(), record, look_back_ms };
    let topics = vec![
        topic(&config.ticks_topic, RecordType::PriceTick, look_back_ms),
        topic(&config.gaps_topic, RecordType::Gap, look_back_ms.max(GAPS_LOOK_BACK_MS)),
        topic(&config.health_topic, RecordType::SourceHealth, look_back_ms),
    ];
    let servers = config.kafka.kafka_bootstrap_servers.clone();
    let mut positions = Positions::new(&config.kafka, topics)?;
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || positions.refresh(&runtime).map(|()| positions))
        .await
        .context("looking at Kafka has panicked")?
        .map_err(|error| {
            misconfigured(format!(
                "cannot read from Kafka at {servers}, set by --kafka-bootstrap-servers (KAFKA_BOOTSTRAP_SERVERS): {error:#}"
            ))
        })
}
