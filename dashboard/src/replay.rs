//! Time travel: the topics as they were from some time on, played into a state and a hub of their own, so that a client speaks the
//! same protocol as with the live ones. Few at a time, each with its own reader and bounded memory. Must never happen here: a
//! record of a replay in the live state, or a replay that outlives its connection.

mod clock;
mod merge;
mod player;
mod reader;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::Response;
use clap::Args;
use pipeline::codec::RecordType;
use pipeline::kafka::KafkaArgs;
use pipeline::registry::Registry;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

pub use clock::Speed;

use crate::access::client_address;
use crate::clock::now_us;
use crate::config::Config;
use crate::http::{ApiError, App, check_origin};
use crate::protocol::FeedState;
use crate::rest::asked::{Asked, moment, written};
use crate::serve::{Hub, Session, socket};
use crate::state::Live;
use player::Player;

/// How long a reader may take to come to where it begins.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// Replays at once; one more is answered 503.
    #[arg(long, env = "DASHBOARD_MAX_REPLAYS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub max_replays: u32,
}

/// A topic that is replayed.
#[derive(Clone, Debug)]
pub struct Source {
    pub name: Arc<str>,
    pub record: RecordType,
}

/// What every replay of this server is made with.
#[derive(Clone)]
pub struct Replays {
    kafka: KafkaArgs,
    registry: Option<Registry>,
    sources: Arc<[Source]>,
    max_series: usize,
    most: usize,
    permits: Arc<Semaphore>,
}

impl Replays {
    pub fn new(config: &Config, registry: Option<Registry>) -> Self {
        let source = |name: &str, record| Source { name: name.into(), record };
        let sources = [
            source(&config.ticks_topic, RecordType::PriceTick),
            source(&config.gaps_topic, RecordType::Gap),
            source(&config.health_topic, RecordType::SourceHealth),
            source(&config.alerts_topic, RecordType::Alert),
        ];
        let most = config.replay.max_replays as usize;
        let (kafka, max_series) = (config.kafka.clone(), config.max_series as usize);
        Self { kafka, registry, sources: sources.into(), max_series, most, permits: Arc::new(Semaphore::new(most)) }
    }

    pub fn most(&self) -> usize {
        self.most
    }

    pub fn running(&self) -> usize {
        self.most.saturating_sub(self.permits.available_permits())
    }

    fn enter(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.permits.clone().try_acquire_owned().map_err(|_| {
            let most = self.most;
            ApiError::Unavailable(format!(
                "{most} replays are running, which is as many as there may be; try again later"
            ))
        })
    }
}

#[derive(Deserialize)]
pub struct ReplayQuery {
    from: Option<String>,
    speed: Option<String>,
}

/// From when, and how fast.
fn beginning(query: &ReplayQuery, now_us: i64) -> Result<(i64, Speed), ApiError> {
    let from = query.from.as_deref().filter(|from| !from.is_empty()).ok_or_else(|| {
        ApiError::BadRequest("from is missing: the time to begin at, such as 2026-11-21T14:00Z".to_owned())
    })?;
    let from_us = moment("from", from)?;
    if from_us >= now_us {
        return Err(ApiError::BadRequest(format!("from={from}: lies ahead of now ({})", written(now_us))));
    }
    let speed = query.speed.as_deref().filter(|speed| !speed.is_empty()).unwrap_or("1");
    let speed = speed.parse().map_err(|reason| ApiError::BadRequest(format!("speed={speed}: {reason}")))?;
    Ok((from_us, speed))
}

/// `/ws/replay?from=&speed=`. Asked without an upgrade, it says what would come of one.
pub async fn connect(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Asked(query): Asked<ReplayQuery>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let (from_us, speed) = beginning(&query, now_us())?;
    check_origin(&headers, &app.allowed_origins)?;
    let permit = app.replays.enter()?;
    let Ok(upgrade) = upgrade else { return Err(ApiError::UpgradeRequired) };
    let place = app.limits.enter(client_address(&app.keys, peer, &headers))?;
    let replays = app.replays.clone();
    // Ends with the connection, and with the server.
    let cancel = app.shutdown.child_token();
    let guard = cancel.clone().drop_guard();
    let (commands, told) = mpsc::unbounded_channel();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let hub = Arc::new(Hub::new(Live::new(player::LOOK_BACK_US, replays.max_series, from_us)));
    hub.set_feed_state(FeedState::Replay);
    hub.set_replayed_us(from_us);
    let runtime = Handle::current();
    let played = hub.clone();
    let cancelled = cancel.clone();
    app.sockets.spawn_blocking(move || {
        let _held = permit;
        let player =
            Player::new(&replays.kafka, replays.registry, replays.sources, replays.max_series, played, runtime);
        let begun = player.and_then(|mut player| player.begin(from_us, speed, &cancelled).map(|()| player));
        match begun {
            Ok(player) => {
                if ready.send(Ok(())).is_ok() {
                    player.run(told, &cancelled);
                }
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
    match tokio::time::timeout(PATIENCE, is_ready).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => {
            return Err(ApiError::Unavailable(format!("the topics cannot be replayed now: {error:#}")));
        }
        Ok(Err(_)) | Err(_) => {
            return Err(ApiError::Unavailable(format!(
                "the topics could not be read to that time within {PATIENCE:?}"
            )));
        }
    }
    let App { sockets, shutdown, .. } = app;
    let pace = hub.clone();
    sockets.spawn(async move { pace.run(cancel).await });
    Ok(socket::prepare(upgrade).on_upgrade(move |socket| {
        sockets.track_future(async move {
            socket::serve(socket, Session::new(hub), socket::Patience::default(), shutdown, Some(commands)).await;
            drop((place, guard));
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_told_before_anything_begins() {
        let now = 1_800_000_000_000_000;
        let ask = |from: Option<&str>, speed: Option<&str>| {
            let query = ReplayQuery { from: from.map(str::to_owned), speed: speed.map(str::to_owned) };
            beginning(&query, now).map_err(|error| error.to_string())
        };
        assert_eq!(ask(Some("1799999999"), None), Ok((1_799_999_999_000_000, Speed::Times(1.0))));
        assert_eq!(ask(Some("1799999999"), Some("max")), Ok((1_799_999_999_000_000, Speed::Max)));
        for (from, speed, says) in [
            (None, None, "from is missing"),
            (Some(""), None, "from is missing"),
            (Some("then"), None, "expected a time"),
            (Some("1800000001"), None, "lies ahead of now"),
            (Some("1799999999"), Some("0"), "0.1 to 1000, or max"),
        ] {
            assert!(ask(from, speed).is_err_and(|error| error.contains(says)), "{from:?} {speed:?}");
        }
    }
}
