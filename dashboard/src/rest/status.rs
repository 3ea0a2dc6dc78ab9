//! Two pages for people, or JSON for whoever accepts that alone: how it goes, and in dev mode how it is set up. Must never happen
//! here: a secret, or a text that is not escaped.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{Html, IntoResponse, Response};
use jiff::SignedDuration;
use serde::Serialize;
use utoipa::ToSchema;

use super::asked::written;
use super::cache::CacheStats;
use crate::clock::now_us;
use crate::html::{escape, page, table};
use crate::http::{ApiError, App, ErrorBody};
use crate::protocol::FeedState;
use crate::state::row::SourceRow;

/// When the process began.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    at_us: i64,
    instant: Instant,
}

impl Started {
    pub fn now() -> Self {
        Self { at_us: now_us(), instant: Instant::now() }
    }
}

/// One setting as it is, without what is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Setting {
    /// Of the environment's variable.
    pub name: String,
    pub value: String,
}

/// What /config tells; nothing unless in dev mode.
pub type Settings = Option<Arc<[Setting]>>;

#[derive(Serialize, ToSchema)]
pub struct StatusAnswer {
    version: &'static str,
    librdkafka: String,
    started_at: String,
    uptime_seconds: u64,
    feed: FeedState,
    symbols: usize,
    series: usize,
    /// Memory holds every price that the broker got from here on; null while nothing was read.
    #[schema(required)]
    memory_from: Option<String>,
    history: HistoryStatus,
    replays: ReplayStatus,
    sources: Vec<SourceRow>,
    cache: CacheStats,
}

#[derive(Serialize, ToSchema)]
pub struct HistoryStatus {
    /// `database NAME at HOST:PORT`, or `the topics`.
    from: String,
    /// Why it does not answer; null where it does, or is not asked.
    #[schema(required)]
    problem: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct ReplayStatus {
    running: usize,
    most: usize,
}

/// How it goes: feed, sources and their lag, cache, history, versions. A page, or JSON where only that is accepted.
#[utoipa::path(
    get,
    path = "/status",
    tag = "about",
    responses((status = 200, description = "How it goes", content((StatusAnswer = "application/json"), (String = "text/html"))))
)]
pub async fn status(State(app): State<App>, headers: HeaderMap) -> Response {
    let problem = app.history.problem().await;
    let answer = {
        let live = app.hub.live();
        let known = live.symbols();
        let mut symbols: Vec<&str> = known.iter().map(|known| known.symbol.as_str()).collect();
        symbols.dedup();
        let whole_from_us = live.whole_from_us();
        StatusAnswer {
            version: env!("CARGO_PKG_VERSION"),
            librdkafka: rdkafka::util::get_rdkafka_version().1,
            started_at: written(app.started.at_us),
            uptime_seconds: app.started.instant.elapsed().as_secs(),
            feed: app.hub.feed_state(),
            symbols: symbols.len(),
            series: live.series(),
            memory_from: (whole_from_us != i64::MAX).then(|| written(whole_from_us)),
            history: HistoryStatus { from: app.history.place(), problem },
            replays: ReplayStatus { running: app.replays.running(), most: app.replays.most() },
            sources: live.sources.rows(live.now_us()),
            cache: app.cache.stats(),
        }
    };
    answered(&headers, &answer, || status_page(&answer))
}

/// Settings as they are, secrets left out; in dev mode only.
#[utoipa::path(
    get,
    path = "/config",
    tag = "about",
    responses(
        (status = 200, description = "By name", content(([Setting] = "application/json"), (String = "text/html"))),
        (status = 404, description = "Not in dev mode", body = ErrorBody),
    )
)]
pub async fn config(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    let Some(settings) = app.settings else {
        return Err(ApiError::NotFound(
            "settings are told in dev mode only: start with --dev (DASHBOARD_DEV)".to_owned(),
        ));
    };
    let rows = || settings.iter().map(|setting| vec![setting.name.clone(), setting.value.clone()]);
    let html =
        || format!("<h1>Settings</h1>\n{}", table("As they are, secrets left out", &["Variable", "Value"], rows()));
    Ok(answered(&headers, &settings, || page("Settings", &html())))
}

/// HTML, unless JSON alone is accepted.
fn answered(headers: &HeaderMap, json: &impl Serialize, html: impl FnOnce() -> String) -> Response {
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let about = [(CACHE_CONTROL, HeaderValue::from_static("no-store")), (VARY, HeaderValue::from_static("accept"))];
    if accepted.contains("application/json") && !accepted.contains("text/html") {
        return (about, axum::Json(json)).into_response();
    }
    (about, Html(html())).into_response()
}

fn status_page(status: &StatusAnswer) -> String {
    let feed = match &status.feed {
        FeedState::CatchingUp => "reading what memory begins with".to_owned(),
        FeedState::Live => "live".to_owned(),
        FeedState::Outage { reason, .. } => format!("outage: {reason}"),
        FeedState::Replay => "replay".to_owned(),
    };
    let history = match &status.history.problem {
        Some(problem) => format!("{}: {problem}", status.history.from),
        None => status.history.from.clone(),
    };
    let uptime = SignedDuration::from_secs(i64::try_from(status.uptime_seconds).unwrap_or(i64::MAX));
    let facts = [
        ("Feed", feed),
        ("Symbols", status.symbols.to_string()),
        ("Series", status.series.to_string()),
        ("Memory from", status.memory_from.clone().unwrap_or_else(|| "not yet".to_owned())),
        ("History from", history),
        ("Replays", format!("{} of {}", status.replays.running, status.replays.most)),
        ("Started", format!("{} ({uptime:#} ago)", status.started_at)),
        ("Version", status.version.to_owned()),
        ("librdkafka", status.librdkafka.clone()),
    ];
    let facts = facts.into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    let milliseconds = |hop: Option<crate::state::hops::Quantiles>| {
        hop.map_or_else(
            || "-".to_owned(),
            |hop| format!("{:.1} / {:.1} ms", hop.p50_us as f64 / 1e3, hop.p99_us as f64 / 1e3),
        )
    };
    let sources = status.sources.iter().map(|row| {
        let answer = row.last_answer_at_us.map_or_else(|| "-".to_owned(), written);
        let hops = [row.hops.exchange_to_received, row.hops.received_to_broker, row.hops.broker_to_server];
        let mut cells = vec![row.source.clone(), row.state.clone(), answer];
        cells.extend(hops.map(milliseconds));
        cells
    });
    let cache = status.cache.by_kind.iter().map(|kind| {
        let rate = format!("{:.1} %", kind.hit_rate * 100.0);
        vec![kind.kind.to_owned(), kind.hits.to_string(), kind.misses.to_string(), rate, format!("{} ms", kind.ttl_ms)]
    });
    let cache_caption = format!("Cache: {} answers, {} KiB", status.cache.entries, status.cache.bytes / 1024);
    let body = format!(
        "<h1>tickstream dashboard</h1>\n{}{}{}<p>{}</p>",
        table("State", &["What", "How it is"], facts),
        table(
            "Sources, and the last minute's latency (half and 99 % are under)",
            &["Source", "State", "Last answer", "Exchange to received", "Received to broker", "Broker to here"],
            sources
        ),
        table(&cache_caption, &["Kind", "Hits", "Misses", "Hit rate", "Lives"], cache),
        escape("The same as JSON: send Accept: application/json.")
    );
    page("Status", &body)
}
