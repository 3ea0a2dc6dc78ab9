//! The live data's routes: who may have them, and the three ways to carry them.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::Value;

use super::socket::Patience;
use super::sse::{self, StreamQuery};
use super::{Session, schema, socket};
use crate::access::client_address;
use crate::http::{ApiError, App, ErrorBody, check_origin};

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
            socket::serve(socket, Session::new(hub), Patience::default(), shutdown, None).await;
            drop(place);
        })
    }))
}

/// The messages of the WebSocket as Server-Sent Events, without an end; docs/websocket.md has what they say.
#[utoipa::path(
    get,
    path = "/api/v1/stream",
    tag = "live",
    params(
        StreamQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event: goes on from there"),
    ),
    responses(
        (status = 200, description = "Events as they come, each message of /api/v1/websocket.schema.json", content_type = "text/event-stream", body = String),
        (status = 400, description = "Not understood", body = ErrorBody),
        (status = 403, description = "A browser on another origin", body = ErrorBody),
        (status = 429, description = "Too many connections from this address", body = ErrorBody),
        (status = 503, description = "Too many connections", body = ErrorBody),
    )
)]
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

/// The JSON Schema of every message of the WebSocket and of the stream.
#[utoipa::path(
    get,
    path = "/api/v1/websocket.schema.json",
    tag = "live",
    responses((status = 200, description = "JSON Schema 2020-12", body = Object))
)]
pub async fn messages_schema() -> Json<Value> {
    Json(schema::document())
}
