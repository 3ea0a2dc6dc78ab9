//! The routes, the one error type at this edge, and the rules for who may connect: a WebSocket is not covered by CORS, so
//! its Origin is checked here.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Query, State};
use axum::http::header::{
    CONTENT_SECURITY_POLICY, HOST, HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::clock::now_us;
use crate::hub::Hub;
use crate::protocol::{FeedState, Json, MAX_CLIENT_MESSAGE_BYTES};
use crate::{page, socket};

/// A snapshot of as many series as can be kept fits many times over.
const MAX_WRITE_BUFFER_BYTES: usize = 16 * 1024 * 1024;

/// No inline script, nothing from elsewhere, no frame around the page. The chart library sets style properties from script,
/// which needs no permission.
const SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Clone)]
pub struct App {
    pub hub: Arc<Hub>,
    pub allowed_origins: Arc<[String]>,
    pub permits: Arc<Semaphore>,
    /// The WebSocket tasks: a graceful shutdown of the server does not wait for them, so `run` does.
    pub sockets: TaskTracker,
    pub shutdown: CancellationToken,
}

/// What goes wrong at this edge, as a status and a plain sentence.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    NotFound(String),
    #[error("this origin may not connect; name it in --allowed-origins (DASHBOARD_ALLOWED_ORIGINS)")]
    ForbiddenOrigin,
    #[error("too many pages are connected; try again later")]
    TooManyConnections,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::ForbiddenOrigin => StatusCode::FORBIDDEN,
            Self::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
        };
        tracing::debug!(%status, error = %self, "request refused");
        (status, axum::Json(serde_json::json!({ "error": self.to_string() }))).into_response()
    }
}

pub fn routes(app: App) -> Router {
    let always = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
    };
    Router::new()
        .route("/api/v1/latest", get(latest))
        .route("/api/v1/history", get(history))
        .route("/ws", any(connect))
        .fallback(get(page::serve))
        .layer(CompressionLayer::new())
        .layer(always(CONTENT_SECURITY_POLICY, SECURITY_POLICY))
        .layer(always(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(always(X_FRAME_OPTIONS, "DENY"))
        .layer(always(REFERRER_POLICY, "no-referrer"))
        .with_state(app)
}

async fn connect(
    State(app): State<App>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
    if !origin_allowed(&headers, &app.allowed_origins) {
        tracing::info!(origin = ?headers.get(ORIGIN), "refused a WebSocket from another origin");
        return Err(ApiError::ForbiddenOrigin);
    }
    let permit = app.permits.clone().try_acquire_owned().map_err(|_| ApiError::TooManyConnections)?;
    let App { hub, sockets, shutdown, .. } = app;
    let response = upgrade
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
        .max_message_size(MAX_CLIENT_MESSAGE_BYTES)
        .max_frame_size(MAX_CLIENT_MESSAGE_BYTES)
        .on_upgrade(move |socket| {
            sockets.track_future(async move {
                socket::serve(socket, hub, shutdown).await;
                drop(permit);
            })
        });
    Ok(response)
}

/// Whether a browser on that origin may connect: the page's own, or a listed one. Without an Origin it is no browser.
fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let Ok(origin) = origin.to_str().map(str::to_ascii_lowercase) else { return false };
    if allowed.contains(&origin) {
        return true;
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_ascii_lowercase);
    let origin_host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    origin_host.is_some() && origin_host == host.as_deref()
}

#[derive(Deserialize)]
struct LatestQuery {
    symbol: Option<String>,
}

#[derive(Serialize)]
struct Latest {
    now_us: i64,
    feed: FeedState,
    ticks: Vec<Json>,
    gaps: Vec<Json>,
    sources: Vec<Json>,
}

async fn latest(
    State(app): State<App>,
    query: Result<Query<LatestQuery>, QueryRejection>,
) -> Result<axum::Json<Latest>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
    let wanted = |symbol: &str| query.symbol.as_deref().is_none_or(|wanted| wanted == symbol);
    let snapshot = app.hub.live().snapshot(wanted);
    let ticks: Vec<Json> = snapshot.rows.into_iter().map(|changed| changed.row).collect();
    if let (Some(symbol), true) = (query.symbol, ticks.is_empty()) {
        return Err(ApiError::NotFound(format!("no price of {symbol:?} within the look-back")));
    }
    let feed = app.hub.feed_state();
    Ok(axum::Json(Latest { now_us: now_us(), feed, ticks, gaps: snapshot.gaps, sources: snapshot.sources }))
}

#[derive(Deserialize)]
struct HistoryQuery {
    symbol: String,
    source: String,
}

#[derive(Serialize)]
struct History {
    symbol: String,
    source: String,
    step_seconds: i64,
    /// Seconds UTC and the exact price, in time order.
    points: Vec<(i64, String)>,
}

async fn history(
    State(app): State<App>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<axum::Json<History>, ApiError> {
    let Query(HistoryQuery { symbol, source }) =
        query.map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
    let (points, step_us) = {
        let mut live = app.hub.live();
        (live.history(&symbol, &source), live.step_us())
    };
    let Some(points) = points else {
        return Err(ApiError::NotFound(format!("no price of {symbol:?} from {source:?} within the look-back")));
    };
    Ok(axum::Json(History { symbol, source, step_seconds: step_us / 1_000_000, points }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(origin: Option<&str>, host: &str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().expect("a header"));
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().expect("a header"));
        }
        assert_eq!(origin_allowed(&headers, &["https://prices.example".to_owned()]), expected, "{origin:?} {host}");
    }

    #[test]
    fn only_the_page_itself_and_listed_origins_connect() {
        check(None, "127.0.0.1:8080", true);
        check(Some("http://127.0.0.1:8080"), "127.0.0.1:8080", true);
        check(Some("https://Dash.example"), "dash.example", true);
        check(Some("https://prices.example"), "127.0.0.1:8080", true);
        check(Some("http://prices.example"), "127.0.0.1:8080", false);
        check(Some("http://127.0.0.1:9999"), "127.0.0.1:8080", false);
        check(Some("http://evil.example"), "127.0.0.1:8080", false);
        check(Some("http://127.0.0.1:8080.evil.example"), "127.0.0.1:8080", false);
        check(Some("null"), "127.0.0.1:8080", false);
        check(Some("file://127.0.0.1:8080"), "127.0.0.1:8080", false);
    }
}
