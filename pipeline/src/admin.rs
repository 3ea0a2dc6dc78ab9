//! The admin server: `/livez` (the loop turns), `/readyz` (every part can work), `/metrics` (Prometheus text). An outage of
//! a broker or a store makes a service unready, never dead: a restart would not mend it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use clap::Args;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::secrets::SecretArgs;
use crate::telemetry::misconfigured;

/// A loop that has not turned for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

#[derive(Args, Clone, Debug)]
pub struct AdminArgs {
    /// Where /livez, /readyz and /metrics are served; port 0 takes a free one.
    #[arg(long, env = "ADMIN_ADDR", default_value = "127.0.0.1:0")]
    pub admin_addr: SocketAddr,
    #[command(flatten)]
    pub secrets: SecretArgs,
}

/// What a service says of itself. Cheap to clone; all clones tell of the same service.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    last_beat: Instant,
    parts: BTreeMap<&'static str, Result<(), String>>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State { last_beat: Instant::now(), parts: BTreeMap::new() })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the main loop has turned.
    pub fn beat(&self) {
        self.state().last_beat = Instant::now();
    }

    /// Says whether `part` can work, and if not why. Logged when it changes.
    pub fn set(&self, part: &'static str, state: Result<(), String>) {
        metrics::gauge!("tickstream_ready", "part" => part).set(f64::from(u8::from(state.is_ok())));
        let mut guard = self.state();
        let before = guard.parts.get(part);
        if before != Some(&state) {
            match (&state, before) {
                (Err(reason), _) => tracing::warn!(part, reason, "not ready"),
                (Ok(()), Some(Err(_))) => tracing::info!(part, "ready again"),
                (Ok(()), _) => tracing::debug!(part, "ready"),
            }
            guard.parts.insert(part, state);
        }
    }

    #[must_use]
    pub fn live(&self) -> bool {
        self.state().last_beat.elapsed() < STUCK_AFTER
    }

    /// `Ok` when every part can work, else a line a part that cannot. No part at all is not ready: nothing has started.
    pub fn ready(&self) -> Result<(), String> {
        let guard = self.state();
        if guard.parts.is_empty() {
            return Err("starting".to_owned());
        }
        let red: Vec<String> =
            guard.parts.iter().filter_map(|(part, state)| Some(format!("{part}: {}", state.as_ref().err()?))).collect();
        if red.is_empty() { Ok(()) } else { Err(red.join("\n")) }
    }
}

/// Installs the process's metrics recorder at the first call. Call it before the first metric is touched.
///
/// # Panics
/// When another recorder was installed before, which no service does.
pub fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        PrometheusBuilder::new()
            .set_buckets(&[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
            .and_then(PrometheusBuilder::install_recorder)
            .expect("the buckets are not empty and this is the only recorder")
    })
}

/// Serves the admin routes, and `extra` ones, until `shutdown`. Gives the bound address.
///
/// # Errors
/// [`crate::Misconfigured`] when the address cannot be bound.
pub async fn serve(
    addr: SocketAddr,
    health: Health,
    extra: Option<Router>,
    shutdown: CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let handle = self::metrics();
    metrics::gauge!("tickstream_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let listener = TcpListener::bind(addr).await.map_err(|error| {
        misconfigured(format!(
            "cannot listen on {addr}, set by --admin-addr (ADMIN_ADDR): {error}; choose a free address"
        ))
    })?;
    let bound = listener.local_addr().context("the admin listener has no address")?;
    let live = health.clone();
    let routes = Router::new()
        .route(
            "/livez",
            get(move || async move { status(live.live().then_some(()).ok_or_else(|| "stuck".to_owned())) }),
        )
        .route("/readyz", get(move || async move { status(health.ready()) }))
        .route("/metrics", get(move || async move { handle.render() }))
        .merge(extra.unwrap_or_default());
    tracing::info!(%bound, "admin listening");
    tokio::spawn(async move {
        let upkeep = shutdown.clone();
        tokio::spawn(async move {
            // Histograms grow until they are drained, also when nobody scrapes.
            while upkeep.run_until_cancelled(tokio::time::sleep(Duration::from_secs(5))).await.is_some() {
                handle.run_upkeep();
            }
        });
        let server = axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned());
        if let Err(error) = server.await {
            tracing::error!(%error, "the admin server ended");
        }
    });
    Ok(bound)
}

fn status(state: Result<(), String>) -> (StatusCode, String) {
    match state {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_each_part_that_cannot_work() {
        let health = Health::new();
        assert_eq!(health.ready(), Err("starting".to_owned()));
        health.set("broker", Ok(()));
        assert_eq!(health.ready(), Ok(()));
        health.set("store", Err("connection refused".to_owned()));
        assert_eq!(health.ready(), Err("store: connection refused".to_owned()));
        health.set("store", Ok(()));
        assert_eq!(health.ready(), Ok(()));
        assert!(health.live());
    }

    #[test]
    fn each_part_is_a_metric() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let health = Health::new();
            for state in [Ok(()), Err("connection refused".to_owned())] {
                let ready = u8::from(state.is_ok());
                health.set("store", state);
                let told = recorder.handle().render();
                assert!(told.contains(&format!("tickstream_ready{{part=\"store\"}} {ready}\n")), "{told}");
            }
        });
    }
}
