//! The same session as Server-Sent Events: one subscription for the whole connection, made by the query. The event's id is the
//! cursors of all its channels, so that `Last-Event-ID` goes on where it was.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use super::hub::Hub;
use super::limits::Place;
use super::session::{Out, Session};
use super::{cursor, socket};
use crate::http::ApiError;
use crate::protocol::{Channel, MAX_NAME_CHARS, MAX_SYMBOLS, ServerMessage, Subscription};
use crate::state::Timeframe;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// Some of ticks, candles, gaps, alerts and health, separated by commas; ticks where nothing is said.
    #[serde(default)]
    #[param(example = "ticks,alerts")]
    pub channels: Option<String>,
    /// Separated by commas; all where nothing is said.
    #[serde(default)]
    #[param(example = "BTC-USD")]
    pub symbols: Option<String>,
    /// Of candles: how wide a bucket is.
    #[serde(default)]
    #[param(pattern = "^(1s|1m|5m|1h|1d)$")]
    pub tf: Option<String>,
}

struct Stream {
    session: Session,
    shutdown: CancellationToken,
    /// Goodbye was said: when to come back.
    retry_after_ms: Option<u64>,
    _place: Place,
}

/// # Errors
/// When the query makes no sense.
pub fn respond(
    hub: Arc<Hub>,
    place: Place,
    shutdown: CancellationToken,
    query: &StreamQuery,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let subscriptions = subscriptions(query, headers)?;
    let mut session = Session::new(hub).with_event_ids();
    subscriptions.into_iter().for_each(|wanted| session.subscribe(wanted));
    let stream = Stream { session, shutdown, retry_after_ms: None, _place: place };
    let body = Body::from_stream(stream::unfold(stream, async |mut stream| {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    }));
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // An ingress that gathers answers would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, body).into_response())
}

/// What the query wants, gone on with where the last event was.
fn subscriptions(query: &StreamQuery, headers: &HeaderMap) -> Result<Vec<Subscription>, ApiError> {
    let names = |text: &Option<String>| -> Vec<String> {
        let names = text.as_deref().unwrap_or_default().split(',').map(str::trim);
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let symbols = names(&query.symbols);
    if symbols.len() > MAX_SYMBOLS || symbols.iter().any(|symbol| symbol.chars().count() > MAX_NAME_CHARS) {
        let most =
            format!("symbols: at most {MAX_SYMBOLS} names of {MAX_NAME_CHARS} characters; leave them out for all");
        return Err(ApiError::BadRequest(most));
    }
    let tf: Option<Timeframe> = query
        .tf
        .as_deref()
        .map(|tf| tf.parse().map_err(|reason| ApiError::BadRequest(format!("tf={tf}: {reason}"))))
        .transpose()?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let channels = names(&query.channels);
    let channels = if channels.is_empty() { vec!["ticks".to_owned()] } else { channels };
    let mut wanted = Vec::new();
    for name in channels {
        let channel = Channel::ALL.into_iter().find(|channel| channel.name() == name).ok_or_else(|| {
            ApiError::BadRequest(format!("channels={name}: expected some of ticks, candles, gaps, alerts, health"))
        })?;
        if channel == Channel::Candles && tf.is_none() {
            return Err(ApiError::BadRequest("candles need tf=1s, 1m, 5m, 1h or 1d".to_owned()));
        }
        let cursor = cursor::of_channel(last, channel).map(|cursor| cursor::text(&cursor.topic, &cursor.read));
        wanted.push(Subscription { id: None, channel, symbols: symbols.clone(), tf, cursor });
    }
    Ok(wanted)
}

impl Stream {
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(out) = self.session.next().ok()? {
                // A browser's own EventSource knows no message but this line.
                let retry = self.retry_after_ms.map(|ms| format!("retry: {ms}\n")).unwrap_or_default();
                return Some(retry + &event(&out));
            }
            if self.retry_after_ms.is_some() {
                return None;
            }
            let is_over = tokio::select! {
                () = self.shutdown.cancelled() => true,
                () = self.session.ready() => false,
            };
            if is_over {
                let retry_after_ms = socket::retry_after_ms();
                self.retry_after_ms = Some(retry_after_ms);
                let message = "the server is going down; connect again in a moment";
                self.session.say(&ServerMessage::Shutdown { message, retry_after_ms });
            }
        }
    }
}

fn event(out: &Out) -> String {
    let id = out.event_id.as_deref().filter(|id| !id.is_empty()).map(|id| format!("id: {id}\n")).unwrap_or_default();
    // The text is JSON on one line.
    format!("event: {}\n{id}data: {}\n\n", out.name, out.text)
}
