//! What is known beside prices: sources, gaps and alerts.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::Answer;
use super::asked::{Asked, in_order, limit, moment_or_none, name_or_none};
use super::cache::Kind;
use crate::clock::now_us;
use crate::history::Origin;
use crate::http::{ApiError, App, ErrorBody};
use crate::protocol::Json;
use crate::state::row::{AlertRow, GapRow, SourceRow};

const MAX_GAPS: usize = 5000;
const MAX_ALERTS: usize = 1000;
const DAY_US: i64 = 86_400_000_000;
const MINUTE_US: i64 = 60_000_000;

#[derive(Debug, Serialize, ToSchema)]
pub struct SourceAnswer {
    sources: Vec<SourceRow>,
}

/// What each source says of itself, and how long its prices take to get here.
#[utoipa::path(
    get,
    path = "/api/v1/sources",
    tag = "events",
    responses((status = 200, description = "By name", body = SourceAnswer), (status = 304, description = "As you know it"))
)]
pub async fn sources(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    let make = async {
        let sources = {
            let live = app.hub.live();
            live.sources.rows(live.now_us())
        };
        Ok(Answer::of(&SourceAnswer { sources }, app.cache.ttl(Kind::Sources)))
    };
    Ok(app.cache.get(Kind::Sources, String::new(), make).await?.respond(&headers))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct GapQuery {
    /// From when: RFC 3339, or seconds, milliseconds or microseconds since 1970. Where nothing is said: a day before `to`.
    from: Option<String>,
    /// Until when, written likewise. Where nothing is said: now.
    to: Option<String>,
    /// Gaps of one source, and those of every source.
    #[param(max_length = 64, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    source: Option<String>,
    /// How many; 1000 where nothing is said.
    #[param(minimum = 1, maximum = 5000)]
    limit: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct GapAnswer {
    /// Those that touch the time, newest first.
    gaps: Vec<GapRow>,
    from_us: i64,
    to_us: i64,
    /// From here on none is missing for want of reach.
    complete_from_us: i64,
    origin: Origin,
}

/// Times in which a source may have said something that is not here.
#[utoipa::path(
    get,
    path = "/api/v1/gaps",
    tag = "events",
    params(GapQuery),
    responses(
        (status = 200, description = "Newest first", body = GapAnswer),
        (status = 304, description = "As you know it"),
        (status = 400, description = "Not understood", body = ErrorBody),
        (status = 503, description = "History does not answer now", body = ErrorBody),
    )
)]
pub async fn gaps(
    State(app): State<App>,
    headers: HeaderMap,
    Asked(asked): Asked<GapQuery>,
) -> Result<Response, ApiError> {
    let source = name_or_none("source", asked.source.as_deref())?;
    let limit = limit("limit", asked.limit, 1000, MAX_GAPS)?;
    let (from, to) = (moment_or_none("from", asked.from.as_deref())?, moment_or_none("to", asked.to.as_deref())?);
    let to_us = to.unwrap_or_else(|| now_us() + MINUTE_US);
    let from_us = from.unwrap_or_else(|| to_us.saturating_sub(DAY_US).max(0));
    in_order(from_us, to_us)?;
    // Whole minutes: `-24h` of two moments is one question.
    let whole = |us: i64| us - us.rem_euclid(MINUTE_US);
    let (from_us, to_us) = (whole(from_us), whole(to_us - 1) + MINUTE_US);
    let (from, to) = (from.map(whole), to.map(|_| to_us));
    let key = format!("{}\0{limit}\0{from:?}\0{to:?}", source.unwrap_or_default());
    let make = async {
        let (past, origin) = app.history.gaps(&app.hub, source, from_us, to_us, limit).await?;
        let complete_from_us = past.complete_from_us;
        let answer = GapAnswer { gaps: past.rows, from_us, to_us, complete_from_us, origin };
        Ok(Answer::of(&answer, app.cache.ttl(Kind::Gaps)))
    };
    Ok(app.cache.get(Kind::Gaps, key, make).await?.respond(&headers))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AlertQuery {
    /// Alerts of one symbol.
    #[param(max_length = 64, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    symbol: Option<String>,
    /// How many; 100 where nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
    /// Only those that fired before this time: RFC 3339, or seconds, milliseconds or microseconds since 1970. Needs a database.
    before_us: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct AlertAnswer {
    /// Newest first.
    #[schema(value_type = Vec<AlertRow>)]
    alerts: Vec<Json>,
    origin: Origin,
}

/// The newest alerts: rules that fired, or came to rest again.
#[utoipa::path(
    get,
    path = "/api/v1/alerts",
    tag = "events",
    params(AlertQuery),
    responses(
        (status = 200, description = "Newest first", body = AlertAnswer),
        (status = 304, description = "As you know it"),
        (status = 400, description = "Not understood", body = ErrorBody),
        (status = 404, description = "Older ones than memory has, and no database is named", body = ErrorBody),
        (status = 503, description = "History does not answer now", body = ErrorBody),
    )
)]
pub async fn alerts(
    State(app): State<App>,
    headers: HeaderMap,
    Asked(asked): Asked<AlertQuery>,
) -> Result<Response, ApiError> {
    let symbol = name_or_none("symbol", asked.symbol.as_deref())?;
    let limit = limit("limit", asked.limit, 100, MAX_ALERTS)?;
    let before_us = moment_or_none("before_us", asked.before_us.as_deref())?;
    let key = format!("{}\0{limit}\0{before_us:?}", symbol.unwrap_or_default());
    let make = async {
        let (alerts, origin) = match before_us {
            Some(before_us) => {
                let found = app.history.alerts(symbol, before_us, limit).await?.ok_or_else(|| {
                    let why =
                        "older alerts are read from a database, and none is named: set DATABASE_URL (--database-url)";
                    ApiError::NotFound(why.to_owned())
                })?;
                (found.iter().map(Json::of).collect(), Origin::Postgres)
            }
            None => {
                let live = app.hub.live();
                let newest = live.alerts.newest();
                let newest = newest.filter(|alert| symbol.is_none_or(|symbol| alert.symbol.as_deref() == Some(symbol)));
                (newest.take(limit).map(|alert| alert.json.clone()).collect(), Origin::Memory)
            }
        };
        Ok(Answer::of(&AlertAnswer { alerts, origin }, app.cache.ttl(Kind::Alerts)))
    };
    Ok(app.cache.get(Kind::Alerts, key, make).await?.respond(&headers))
}
