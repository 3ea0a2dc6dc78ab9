//! The routes and what lies around them all, the one error type at this edge, and the rules for who may connect: a WebSocket
//! is not covered by CORS, so its Origin is checked here.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::http::header::{
    AUTHORIZATION, CONTENT_SECURITY_POLICY, ETAG, HOST, HeaderName, HeaderValue, IF_NONE_MATCH, ORIGIN,
    REFERRER_POLICY, UPGRADE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::RequestBodyDeadlineLayer;
use utoipa::ToSchema;

use crate::access::{self, Hosts, Keys};
use crate::history::History;
use crate::replay::{self, Replays};
use crate::rest::cache::Cache;
use crate::rest::forecasts::{Lake, forecasts};
use crate::rest::status::{Settings, Started};
use crate::rest::{events, flask, live, market, openapi, status};
use crate::serve::limits::Limits;
use crate::serve::{Hub, endpoints};
use crate::{html, page};

/// No inline script, nothing from elsewhere, no frame around the page. The chart library sets style properties from script,
/// which needs no permission.
const SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What a client may send besides a WebSocket's messages: the login form.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// The whole of it is there within this time: a body that never ends would hold a connection for ever.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub struct App {
    pub hub: Arc<Hub>,
    pub hosts: Hosts,
    pub keys: Keys,
    pub cache: Arc<Cache>,
    pub lake: Lake,
    pub history: History,
    pub replays: Replays,
    pub limits: Arc<Limits>,
    pub allowed_origins: Arc<[String]>,
    /// The WebSocket tasks: a graceful shutdown of the server does not wait for them, so `run` does.
    pub sockets: TaskTracker,
    pub shutdown: CancellationToken,
    pub started: Started,
    pub settings: Settings,
}

impl FromRef<App> for Keys {
    fn from_ref(app: &App) -> Self {
        app.keys.clone()
    }
}

/// What an error looks like.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    /// One plain sentence.
    error: String,
}

/// What goes wrong at this edge, as a status and a plain sentence.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("this dashboard asks for a token or a password: send Authorization, or log in at /login")]
    Unauthorized,
    #[error("{0} is not answered here; GET is")]
    MethodNotAllowed(Method),
    #[error("this is a WebSocket: ask with Upgrade: websocket")]
    UpgradeRequired,
    #[error("this origin may not connect; name it in --allowed-origins (DASHBOARD_ALLOWED_ORIGINS)")]
    ForbiddenOrigin,
    #[error("too many pages are connected; try again later")]
    TooManyConnections,
    #[error("too many connections from this address; close some, or try again later")]
    TooManyOfAddress,
    #[error("too many wrong tokens or passwords from this address; try again in a minute")]
    TooManyGuesses,
    #[error(
        "this server does not answer to that name; name it in --allowed-origins (DASHBOARD_ALLOWED_ORIGINS), or set --trust-forwarded-for behind an ingress"
    )]
    ForeignHost,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::ForbiddenOrigin => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            Self::TooManyOfAddress | Self::TooManyGuesses => StatusCode::TOO_MANY_REQUESTS,
            Self::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Self::Unavailable(_) | Self::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
        };
        tracing::debug!(%status, error = %self, "request refused");
        let mut response = (status, axum::Json(ErrorBody { error: self.to_string() })).into_response();
        if matches!(self, Self::UpgradeRequired) {
            response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        response
    }
}

pub fn routes(app: App) -> Router {
    let always = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
    };
    let policy = HeaderValue::from_static(SECURITY_POLICY);
    Router::new()
        .route("/api/v1/latest", get(live::latest))
        .route("/api/v1/stream", get(endpoints::stream))
        .route("/api/v1/symbols", get(market::symbols))
        .route("/api/v1/ticks", get(market::ticks))
        .route("/api/v1/candles", get(market::candles))
        .route("/api/v1/sparklines", get(market::sparklines))
        .route("/api/v1/statistics", get(market::statistics))
        .route("/api/v1/sources", get(events::sources))
        .route("/api/v1/gaps", get(events::gaps))
        .route("/api/v1/alerts", get(events::alerts))
        .route("/api/v1/forecasts", get(forecasts))
        .route("/api/v1/openapi.json", get(openapi::openapi))
        .route("/api/v1/websocket.schema.json", get(endpoints::messages_schema))
        .route("/api/health", get(flask::health))
        .route("/api/bitcoin/latest", get(flask::bitcoin_latest))
        .route("/api/bitcoin/hourly", get(flask::bitcoin_hourly))
        .route("/api/bitcoin/statistics", get(flask::bitcoin_statistics))
        .route("/api/cache/stats", get(flask::cache_stats))
        .route("/status", get(status::status))
        .route("/config", get(status::config))
        .route("/ws", get(endpoints::connect))
        .route("/ws/replay", get(replay::connect))
        .route("/login", get(access::login_page).post(access::log_in))
        .route("/logout", get(access::log_out))
        .route("/plain.css", get(html::style))
        .fallback(get(page::serve))
        .method_not_allowed_fallback(async |method: Method| ApiError::MethodNotAllowed(method))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(RequestBodyDeadlineLayer::new(BODY_TIMEOUT))
        .layer(axum::middleware::from_fn_with_state(app.keys.clone(), access::guard))
        .layer(for_other_origins(&app.allowed_origins))
        .layer(axum::middleware::from_fn_with_state(app.hosts.clone(), access::check_host))
        .layer(CompressionLayer::new())
        // The login form alone has another.
        .layer(SetResponseHeaderLayer::if_not_present(CONTENT_SECURITY_POLICY, policy))
        .layer(always(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(always(X_FRAME_OPTIONS, "DENY"))
        .layer(always(REFERRER_POLICY, "no-referrer"))
        .with_state(app)
}

/// The pages of listed origins may read the JSON too.
fn for_other_origins(allowed: &[String]) -> CorsLayer {
    let allowed: Vec<HeaderValue> = allowed.iter().filter_map(|origin| origin.parse().ok()).collect();
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(allowed))
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers([AUTHORIZATION, IF_NONE_MATCH, HeaderName::from_static("last-event-id")])
        .expose_headers([ETAG])
}

/// # Errors
/// When it is a browser on a page of somebody else.
pub fn check_origin(headers: &HeaderMap, allowed: &[String]) -> Result<(), ApiError> {
    if origin_allowed(headers, allowed) {
        return Ok(());
    }
    tracing::info!(origin = ?headers.get(ORIGIN), "refused a connection from another origin");
    Err(ApiError::ForbiddenOrigin)
}

/// Whether a browser on that origin may connect: the page's own, or a listed one. Without an Origin it is no browser.
pub fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let Ok(origin) = origin.to_str().map(str::to_ascii_lowercase) else { return false };
    if allowed.contains(&origin) {
        return true;
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_ascii_lowercase);
    let origin_host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    origin_host.is_some() && origin_host == host.as_deref()
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
