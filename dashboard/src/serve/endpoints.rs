//! The live data's routes: who may have them, and the three ways to carry them.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sse::{self, StreamQuery};
use super::{Session, schema, socket};
use crate::access::client_address;
use crate::http::{ApiError, App, check_origin};
use crate::state::Timeframe;

/// `/ws`.
pub async fn connect(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
    check_origin(&headers, &app.allowed_origins)?;
    let place = app.limits.enter(client_address(&app.keys, peer, &headers))?;
    let App { hub, sockets, shutdown, .. } = app;
    Ok(socket::prepare(upgrade).on_upgrade(move |socket| {
        sockets.track_future(async move {
            socket::serve(socket, Session::new(hub), shutdown, None).await;
            drop(place);
        })
    }))
}

/// `/api/v1/stream`.
pub async fn stream(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    query: Result<Query<StreamQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
    check_origin(&headers, &app.allowed_origins)?;
    let place = app.limits.enter(client_address(&app.keys, peer, &headers))?;
    sse::respond(app.hub, place, app.shutdown, &query, &headers)
}

/// `/api/v1/websocket.schema.json`.
pub async fn messages_schema() -> Json<Value> {
    Json(schema::document())
}

#[derive(Deserialize)]
pub struct HistoryQuery {
    symbol: String,
    source: String,
}

#[derive(Serialize)]
pub struct History {
    symbol: String,
    source: String,
    step_seconds: i64,
    /// Seconds UTC and the exact price at the end of that minute, in time order.
    points: Vec<(i64, String)>,
}

/// `/api/v1/history`: the line of one series.
pub async fn history(
    State(app): State<App>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<History>, ApiError> {
    let Query(HistoryQuery { symbol, source }) =
        query.map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
    let minutes = app.hub.live().candles(&symbol, Some(&source), Timeframe::Minute, i64::MIN, i64::MAX);
    if minutes.is_empty() {
        return Err(ApiError::NotFound(format!("no price of {symbol:?} from {source:?} within the look-back")));
    }
    let points = minutes.into_iter().map(|minute| (minute.start_us / 1_000_000, minute.close.to_string())).collect();
    Ok(Json(History { symbol, source, step_seconds: 60, points }))
}
