//! The live page. Reads the topics by assignment, without a group and without commits, keeps the latest price of each symbol
//! and source and a day of candles, and sends what changes to every open page: by WebSocket, Server-Sent Events or polling.

mod accept;
mod access;
mod clock;
mod config;
mod descriptors;
mod feed;
mod filling;
mod history;
mod html;
mod http;
mod intake;
mod mending;
mod page;
mod positions;
mod protocol;
mod replay;
mod rest;
mod serve;
mod state;
mod surveys;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pipeline::admin::{self, Health};
use pipeline::codec::RecordType;
use pipeline::misconfigured;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::Config;

use access::{Hosts, Keys};
use feed::Feed;
use filling::Filling;
use history::History;
use intake::Intake;
use positions::{Positions, ReadTopic};
use protocol::Channel;
use replay::Replays;
use rest::cache::Cache;
use rest::forecasts::Lake;
use rest::status::Started;
use serve::Hub;
use serve::limits::Limits;
use state::Live;

/// What the WebSocket connections get to say goodbye.
const DRAIN: Duration = Duration::from_secs(3);
/// Gaps and alerts are few, and one that is still open may have opened long ago: all of these days are read at start.
const EVENTS_LOOK_BACK_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// Prices and health are shown once these minutes are read; what is older fills in behind them.
const NEWEST_MS: i64 = 5 * 60 * 1000;

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
    server: JoinHandle<()>,
    sockets: TaskTracker,
    shutdown: CancellationToken,
}

/// Binds, finds its place in Kafka, and serves in the background.
///
/// # Errors
/// As [`run`].
pub async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Dashboard> {
    admin::metrics();
    let keys = Keys::read(&config.access)?;
    let listener = TcpListener::bind(config.listen_addr).await.map_err(|error| {
        let addr = config.listen_addr;
        misconfigured(format!(
            "cannot listen on {addr}, set by --listen-addr (DASHBOARD_ADDR): {error}; choose a free address"
        ))
    })?;
    let addr = listener.local_addr().context("the listener has no address")?;
    descriptors::allow(u64::from(config.max_connections) + u64::from(accept::MOST_PLAIN));

    let health = Health::new();
    let look_back_us = i64::try_from(config.look_back.as_micros()).context("the look-back is too long")?;
    let hub = Arc::new(Hub::new(Live::new(look_back_us, config.max_series as usize, clock::now_us())));
    let positions = find_positions(&config, look_back_us / 1000).await?;
    let registry = config.registry.registry()?;
    let history = History::new(&config, registry.clone())?;
    let replays = Replays::new(&config, registry.clone());
    let settings = config.dev.then(|| config.shown().into());
    let intake = Intake::new(positions.topics(), registry.as_ref());
    let filling = Filling::new(hub.clone(), config.kafka.clone(), Handle::current(), shutdown.clone(), {
        let topics = positions.topics().to_vec();
        Arc::new(move || Intake::new(&topics, registry.as_ref()))
    });
    let feed = Feed {
        filling,
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
    let (most, most_per_address) = (config.max_connections, config.max_connections_per_address);
    tokio::spawn(history.clone().tell_pool(shutdown.clone()));
    tokio::spawn(mending::run(hub.clone(), history.clone(), shutdown.clone()));
    let app = http::App {
        hub,
        hosts: Hosts::new(addr, config.access.trust_forwarded_for, &config.allowed_origins),
        keys,
        cache: Arc::new(Cache::new(&config.cache)),
        lake: Lake::new(&config.lake),
        history,
        replays,
        started: Started::now(),
        settings,
        allowed_origins: config.allowed_origins.into(),
        limits: Limits::new(most, most_per_address, "tickstream_dashboard_connections"),
        sockets: sockets.clone(),
        shutdown: shutdown.clone(),
    };
    let limits = accept::limits(most, most_per_address, config.access.trust_forwarded_for);
    let served = accept::serve(listener, http::routes(app), limits, accept::HEAD_TIMEOUT, shutdown.clone());
    let server = tokio::spawn(served);
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
    let topic = |name: &str, record, channel, newest_ms: i64, look_back_ms: i64, is_awaited| ReadTopic {
        name: name.into(),
        record,
        channel,
        newest_ms: newest_ms.min(look_back_ms),
        look_back_ms,
        is_awaited,
    };
    let events = EVENTS_LOOK_BACK_MS;
    let topics = vec![
        topic(&config.ticks_topic, RecordType::PriceTick, Channel::Ticks, NEWEST_MS, look_back_ms, true),
        topic(&config.gaps_topic, RecordType::Gap, Channel::Gaps, events, events, true),
        topic(&config.health_topic, RecordType::SourceHealth, Channel::Health, NEWEST_MS, look_back_ms, true),
        // Written in transactions, whose marks are the last offsets: whether all is read shows only in time.
        topic(&config.alerts_topic, RecordType::Alert, Channel::Alerts, events, events, false),
    ];
    let servers = config.kafka.kafka_bootstrap_servers.clone();
    let mut positions = Positions::new(&config.kafka, topics)?;
    let runtime = Handle::current();
    let surveyor = positions.surveyor();
    let look = move || positions.take(surveyor.survey(&runtime)?).map(|_| positions);
    tokio::task::spawn_blocking(look).await.context("looking at Kafka has panicked")?.map_err(|error| {
        misconfigured(format!(
            "cannot read from Kafka at {servers}, set by --kafka-bootstrap-servers (KAFKA_BOOTSTRAP_SERVERS): {error:#}"
        ))
    })
}
