//! The same data by polling: what is known now, or what has changed since a cursor, with an ETag that changes when any of it
//! does.

use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;
use utoipa::ToSchema;

use super::cursor::{self, Cursor};
use super::hub::Hub;
use crate::http::ApiError;
use crate::protocol::{Channel, FeedState, Json, MAX_NAME_CHARS, MAX_SYMBOLS};
use crate::rest::answer::Answer;
use crate::state::row::{AlertRow, GapRow, SourceRow, TickRow};
use crate::state::tick::Position;
use crate::state::{Candle, Live, Timeframe};

const NEWEST_ALERTS: usize = 100;

#[derive(Debug, Deserialize)]
pub struct LatestQuery {
    /// Separated by commas; all when nothing is said.
    #[serde(default)]
    pub symbols: Option<String>,
    /// One symbol, as `symbols`.
    #[serde(default)]
    pub symbol: Option<String>,
    /// Of an answer before: only what is newer.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Candles of this width, too.
    #[serde(default)]
    pub tf: Option<Timeframe>,
}

/// What the answer looks like.
#[derive(ToSchema, Serialize)]
pub struct Latest {
    pub now_us: i64,
    pub feed: FeedState,
    pub cursor: String,
    /// False: only what is newer than the cursor that was asked with.
    pub full: bool,
    pub ticks: Vec<TickRow>,
    pub gaps: Vec<GapRow>,
    pub alerts: Vec<AlertRow>,
    /// Of each series the open bucket and the one before, as far as memory holds them whole; with `tf` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candles: Option<Vec<Candle>>,
    pub sources: Vec<SourceRow>,
}

/// # Errors
/// When the query makes no sense, or a symbol that is asked for by itself is not known.
pub fn answer(hub: &Hub, query: &LatestQuery, ttl: Duration) -> Result<Answer, ApiError> {
    let names = query.symbols.iter().chain(&query.symbol).flat_map(|text| text.split(','));
    let symbols: Vec<&str> = names.map(str::trim).filter(|name| !name.is_empty()).collect();
    if symbols.len() > MAX_SYMBOLS || symbols.iter().any(|symbol| symbol.chars().count() > MAX_NAME_CHARS) {
        let most =
            format!("symbols: at most {MAX_SYMBOLS} names of {MAX_NAME_CHARS} characters; leave them out for all");
        return Err(ApiError::BadRequest(most));
    }
    let wants = |symbol: &str| symbols.is_empty() || symbols.contains(&symbol);
    let asked = |channel: Channel| query.cursor.as_deref().and_then(|id| cursor::of_channel(id, channel));
    let (is_full, ticks, gaps, alerts, candles, sources, cursor) = {
        let mut live = hub.live();
        let known = known(hub, &live, asked);
        let since = |at: usize| known.as_ref().map(|known| &*known[at].read);
        let ticks = live.rows(wants, since(0));
        let gaps = since(1).map_or_else(|| live.gaps.open(), |known| live.gaps.since(known));
        let gaps = gaps
            .into_iter()
            .filter(|gap| gap.row.symbols.is_empty() || gap.row.symbols.iter().any(|symbol| wants(symbol)));
        let gaps: Vec<Json> = gaps.map(|gap| gap.json.clone()).collect();
        let alerts = live.alerts.newest().filter(|alert| alert.symbol.as_deref().is_none_or(wants));
        let alerts = alerts.filter(|alert| since(2).is_none_or(|known| alert.at.is_after(known)));
        let most = if known.is_some() { usize::MAX } else { NEWEST_ALERTS };
        let alerts: Vec<Json> = alerts.take(most).map(|alert| alert.json.clone()).collect();
        let cursor = [Channel::Ticks, Channel::Gaps, Channel::Alerts].map(|channel| {
            let at = hub.cursor(channel);
            format!("{}={}", channel.name(), cursor::text(&at.topic, &at.read))
        });
        let ticks: Vec<Json> = ticks.into_iter().map(|row| row.row).collect();
        let candles = query.tf.map(|tf| live.newest_candles(&symbols, tf));
        (known.is_none(), ticks, gaps, alerts, candles, live.sources.rows(live.now_us()), cursor.join(";"))
    };
    if ticks.is_empty() && query.symbol.is_some() && query.cursor.is_none() {
        let symbol = query.symbol.as_deref().unwrap_or_default();
        return Err(ApiError::NotFound(format!("no price of {symbol:?} within the look-back")));
    }
    let feed = serde_json::to_string(&hub.feed_state()).expect("plain structs of text and numbers");
    let mut rows = format!("\"full\":{is_full},\"feed\":{feed}");
    for (name, list) in [("ticks", ticks), ("gaps", gaps), ("alerts", alerts)] {
        push_list(&mut rows, name, &list);
    }
    if let Some(candles) = candles {
        push_list(&mut rows, "candles", &candles);
    }
    // What a source's hops took changes with every tick of whatever symbol: its state alone makes another answer.
    let states: Vec<(&str, &str)> = sources.iter().map(|row| (&*row.source, &*row.state)).collect();
    let hash = XxHash3_128::oneshot(format!("{rows}{states:?}").as_bytes());
    push_list(&mut rows, "sources", &sources.iter().map(Json::of).collect::<Vec<_>>());
    let body = format!("{{\"now_us\":{},\"cursor\":\"{cursor}\",{rows}}}", hub.now_us());
    Ok(Answer::told(body.into_bytes(), hash, ttl))
}

/// Of ticks, gaps and alerts what a cursor says, when all of it can be gone on from.
fn known(hub: &Hub, live: &Live, asked: impl Fn(Channel) -> Option<Cursor>) -> Option<[Cursor; 3]> {
    let of = |channel, forgotten: &[Position]| {
        let cursor = asked(channel)?;
        let known = hub.known(channel, &cursor)?;
        // What is forgotten may have been news.
        let is_whole = !forgotten.iter().any(|position| position.is_after(known));
        is_whole.then_some(cursor)
    };
    let ticks = of(Channel::Ticks, &[])?;
    Some([ticks, of(Channel::Gaps, &live.gaps.forgotten)?, of(Channel::Alerts, &live.alerts.forgotten)?])
}

fn push_list(into: &mut String, name: &str, list: &[Json]) {
    let texts: Vec<&str> = list.iter().map(Json::get).collect();
    // Writing to a string does not fail.
    let _ = write!(into, ",\"{name}\":[{}]", texts.join(","));
}
