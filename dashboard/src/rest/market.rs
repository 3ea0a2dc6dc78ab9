//! Symbols, ticks, candles, sparklines and statistics. What a symbol or a source is called is told as it came; a page has to
//! escape it.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use pipeline::decimal::Decimal38;
use pipeline::events::Kind as Basis;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::Answer;
use super::asked::{Asked, in_order, limit, moment_or_none, name, name_or_none, written};
use super::cache::Kind;
use crate::clock::now_us;
use crate::history::{CandleRange, Origin, PastCandles, TickRange};
use crate::http::{ApiError, App, ErrorBody};
use crate::state::row::TickRow;
use crate::state::{Candle, Timeframe};

/// Buckets of one answer.
const MAX_BUCKETS: i64 = 20_000;
const MAX_CANDLES: usize = 5000;
const MAX_TICKS: usize = 1000;
const MAX_HOURS: usize = 31 * 24;
const MAX_POINTS: usize = 288;
const HOUR_US: i64 = 3_600_000_000;

/// A symbol and who tells of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct SymbolRow {
    symbol: String,
    /// What is priced, and in what: the two halves of the symbol.
    base: String,
    quote: String,
    sources: Vec<String>,
    last_event_time_us: i64,
}

/// Every symbol with a price in memory.
#[utoipa::path(
    get,
    path = "/api/v1/symbols",
    tag = "market",
    responses((status = 200, description = "By name", body = [SymbolRow]), (status = 304, description = "As you know it"))
)]
pub async fn symbols(State(app): State<App>, headers: HeaderMap) -> Result<Response, ApiError> {
    let make = async { Ok(Answer::of(&known_symbols(&app), app.cache.ttl(Kind::Symbols))) };
    Ok(app.cache.get(Kind::Symbols, String::new(), make).await?.respond(&headers))
}

fn known_symbols(app: &App) -> Vec<SymbolRow> {
    let mut symbols: BTreeMap<String, SymbolRow> = BTreeMap::new();
    for known in app.hub.live().symbols() {
        let row = symbols.entry(known.symbol.clone()).or_insert_with(|| {
            let (base, quote) = known.symbol.split_once('-').unwrap_or((&known.symbol, ""));
            let (base, quote) = (base.to_owned(), quote.to_owned());
            SymbolRow { symbol: known.symbol, base, quote, sources: Vec::new(), last_event_time_us: i64::MIN }
        });
        row.sources.push(known.source);
        row.last_event_time_us = row.last_event_time_us.max(known.last_us);
    }
    symbols.into_values().collect()
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TickQuery {
    /// A symbol such as BTC-USD.
    #[param(example = "BTC-USD", min_length = 1, max_length = 64, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    symbol: String,
    /// One source, such as coinbase; else all.
    #[param(max_length = 64, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    source: Option<String>,
    /// How many; 100 where nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
    /// Only what happened before this time: RFC 3339, or seconds, milliseconds or microseconds since 1970. Ticks beyond memory are
    /// looked for only with it, or where a database is named.
    #[param(example = "2026-11-21T14:00:00Z")]
    before_us: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TickAnswer {
    /// Newest first.
    ticks: Vec<TickRow>,
    /// From here on none is missing for want of reach.
    complete_from_us: i64,
    origin: Origin,
}

/// The newest ticks of a symbol.
#[utoipa::path(
    get,
    path = "/api/v1/ticks",
    tag = "market",
    params(TickQuery),
    responses(
        (status = 200, description = "Newest first", body = TickAnswer),
        (status = 304, description = "As you know it"),
        (status = 400, description = "Not understood", body = ErrorBody),
        (status = 503, description = "History does not answer now", body = ErrorBody),
    )
)]
pub async fn ticks(
    State(app): State<App>,
    headers: HeaderMap,
    Asked(asked): Asked<TickQuery>,
) -> Result<Response, ApiError> {
    let symbol = name("symbol", &asked.symbol)?;
    let source = name_or_none("source", asked.source.as_deref())?;
    let limit = limit("limit", asked.limit, 100, MAX_TICKS)?;
    let before_us = moment_or_none("before_us", asked.before_us.as_deref())?;
    let kind = if before_us.is_some() { Kind::History } else { Kind::Ticks };
    let key = format!("ticks {symbol}\0{}\0{limit}\0{before_us:?}", source.unwrap_or_default());
    let make = async {
        let range = TickRange { symbol, source, before_us: before_us.unwrap_or(i64::MAX / 2), limit };
        let (past, origin) = app.history.ticks(&app.hub, &range, before_us.is_some()).await?;
        let answer = TickAnswer { ticks: past.rows, complete_from_us: past.complete_from_us, origin };
        Ok(Answer::of(&answer, app.cache.ttl(kind)))
    };
    Ok(app.cache.get(kind, key, make).await?.respond(&headers))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CandleQuery {
    /// A symbol such as BTC-USD.
    #[param(example = "BTC-USD", min_length = 1, max_length = 64, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    symbol: String,
    /// One source, such as coinbase; else all.
    #[param(max_length = 64, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    source: Option<String>,
    /// Candles of these prices only; a source's trades and its reference prices have candles of their own.
    #[param(pattern = "^(TRADE|QUOTE|TICKER|REFERENCE|FX|FX_IMPLIED)?$")]
    price_basis: Option<String>,
    /// How wide a bucket is; 1m where nothing is said.
    #[param(pattern = "^(1s|1m|5m|1h|1d)?$")]
    tf: Option<String>,
    /// From when: RFC 3339, or seconds, milliseconds or microseconds since 1970. The bucket that holds it is the first. Where nothing
    /// is said: `limit` buckets before `to`. At most 20,000 buckets lie between `from` and `to`.
    #[param(example = "2026-11-21T14:00:00Z")]
    from: Option<String>,
    /// Until when, written likewise: the last bucket is the one that begins before it. Where nothing is said: now.
    to: Option<String>,
    /// The newest so many of each source and price basis; 500 where nothing is said.
    #[param(minimum = 1, maximum = 5000)]
    limit: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CandleAnswer {
    /// In order of time.
    candles: Vec<Candle>,
    from_us: i64,
    to_us: i64,
    /// From here on none is missing for want of reach.
    complete_from_us: i64,
    /// Where the oldest of them come from.
    origin: Origin,
    /// Why what is before `complete_from_us` could not be read; it is not kept in the cache for longer than new candles are.
    history_problem: Option<String>,
}

/// Open, high, low, close and volume of a symbol.
#[utoipa::path(
    get,
    path = "/api/v1/candles",
    tag = "market",
    params(CandleQuery),
    responses(
        (status = 200, description = "In order of time", body = CandleAnswer),
        (status = 304, description = "As you know it"),
        (status = 400, description = "Not understood", body = ErrorBody),
        (status = 503, description = "History does not answer now", body = ErrorBody),
    )
)]
pub async fn candles(
    State(app): State<App>,
    headers: HeaderMap,
    Asked(asked): Asked<CandleQuery>,
) -> Result<Response, ApiError> {
    let symbol = name("symbol", &asked.symbol)?;
    let source = name_or_none("source", asked.source.as_deref())?;
    let price_basis = basis("price_basis", asked.price_basis.as_deref())?;
    let tf = timeframe(asked.tf.as_deref())?;
    let limit = limit("limit", asked.limit, 500, MAX_CANDLES)?;
    let (from_us, to_us) = (moment_or_none("from", asked.from.as_deref())?, moment_or_none("to", asked.to.as_deref())?);
    let now_us = now_us();
    let range = candle_times(tf, from_us, to_us, limit, now_us)?;
    // Whole buckets: `-24h` of two moments is one question.
    let (from_us, to_us) = (from_us.map(|us| tf.bucket(us)), to_us.map(|us| tf.bucket(us - 1) + tf.width_us()));
    let range = (tf.bucket(range.0), to_us.unwrap_or(range.1));
    // What is over stays as it is, but for late ticks.
    let kind = if range.1 < now_us - 5 * 60_000_000 { Kind::History } else { Kind::Candles };
    let basis_name = price_basis.map_or("", Basis::as_str);
    let key = format!(
        "candles {symbol}\0{}\0{basis_name}\0{}\0{limit}\0{from_us:?}\0{to_us:?}",
        source.unwrap_or_default(),
        tf.name()
    );
    let make = async {
        let (from_us, to_us) = range;
        let range = CandleRange { symbol, source, price_basis, tf, from_us, to_us, limit };
        let PastCandles { candles, complete_from_us, origin, problem } = app.history.candles(&app.hub, &range).await?;
        // What is missing for want of a store comes back with it.
        let kind = if problem.is_some() { Kind::Candles } else { kind };
        let answer = CandleAnswer { candles, from_us, to_us, complete_from_us, origin, history_problem: problem };
        Ok(Answer::of(&answer, app.cache.ttl(kind)))
    };
    Ok(app.cache.get(kind, key, make).await?.respond(&headers))
}

pub fn timeframe(asked: Option<&str>) -> Result<Timeframe, ApiError> {
    let Some(text) = asked.filter(|text| !text.is_empty()) else { return Ok(Timeframe::Minute) };
    text.parse().map_err(|reason| ApiError::BadRequest(format!("tf={text}: {reason}")))
}

fn basis(parameter: &str, asked: Option<&str>) -> Result<Option<Basis>, ApiError> {
    let Some(text) = asked.filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        let names: Vec<&str> = Basis::ALL.iter().map(|basis| basis.as_str()).collect();
        ApiError::BadRequest(format!("{parameter}={text}: expected one of {}", names.join(", ")))
    })
}

/// From when to when, in buckets that are not too many.
fn candle_times(
    tf: Timeframe,
    from_us: Option<i64>,
    to_us: Option<i64>,
    limit: usize,
    now_us: i64,
) -> Result<(i64, i64), ApiError> {
    // A source's clock may be ahead a little.
    let to_us = to_us.unwrap_or(now_us + 60_000_000);
    let limited_us = i64::try_from(limit).unwrap_or(i64::MAX).saturating_mul(tf.width_us());
    let from_us = from_us.unwrap_or_else(|| to_us.saturating_sub(limited_us).max(0));
    in_order(from_us, to_us)?;
    let buckets = (to_us - from_us) / tf.width_us();
    if buckets > MAX_BUCKETS {
        let (from, to) = (written(from_us), written(to_us));
        return Err(ApiError::BadRequest(format!(
            "from {from} to {to} are {buckets} buckets of {}; at most {MAX_BUCKETS} are answered at once: ask for a shorter time or a wider tf",
            tf.name()
        )));
    }
    Ok((from_us, to_us))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SparklineQuery {
    /// Over the last so many hours; 24 where nothing is said.
    #[param(minimum = 1, maximum = 24)]
    hours: Option<i64>,
    /// How many points at most; 48 where nothing is said.
    #[param(minimum = 1, maximum = 288)]
    points: Option<i64>,
}

/// A small line of closing prices.
#[derive(Debug, Serialize, ToSchema)]
pub struct Sparkline {
    symbol: String,
    source: String,
    #[schema(value_type = String)]
    price_basis: Basis,
    /// Start of each step, microseconds UTC, and the closing price of the last candle in it; steps without a price are left out.
    #[schema(value_type = Vec<(i64, String)>)]
    points: Vec<(i64, Decimal38)>,
}

/// A small line of closing prices of every series in memory, for lists.
#[utoipa::path(
    get,
    path = "/api/v1/sparklines",
    tag = "market",
    params(SparklineQuery),
    responses(
        (status = 200, description = "By symbol and source", body = [Sparkline]),
        (status = 304, description = "As you know it"),
        (status = 400, description = "Not understood", body = ErrorBody),
    )
)]
pub async fn sparklines(
    State(app): State<App>,
    headers: HeaderMap,
    Asked(asked): Asked<SparklineQuery>,
) -> Result<Response, ApiError> {
    let hours = limit("hours", asked.hours, 24, 24)?;
    let points = limit("points", asked.points, 48, MAX_POINTS)?;
    let key = format!("{hours} {points}");
    let make = async { Ok(Answer::of(&lines(&app, hours as i64, points as i64), app.cache.ttl(Kind::Sparklines))) };
    Ok(app.cache.get(Kind::Sparklines, key, make).await?.respond(&headers))
}

fn lines(app: &App, hours: i64, points: i64) -> Vec<Sparkline> {
    let step_us = (hours * HOUR_US / points).max(Timeframe::Minute.width_us());
    let tf = if step_us >= Timeframe::FiveMinutes.width_us() { Timeframe::FiveMinutes } else { Timeframe::Minute };
    let known = app.hub.live().symbols();
    let mut lines = Vec::with_capacity(known.len());
    for series in known {
        // A lock for each: those who write need not wait for all of them.
        let candles = {
            let live = app.hub.live();
            let now_us = live.now_us();
            live.candles(&series.symbol, Some(&series.source), tf, now_us - hours * HOUR_US, i64::MAX)
        };
        let mut line: BTreeMap<i64, Decimal38> = BTreeMap::new();
        for candle in candles.iter().filter(|candle| candle.price_basis == series.kind) {
            line.insert(candle.start_us - candle.start_us.rem_euclid(step_us), candle.close);
        }
        let (symbol, source, price_basis) = (series.symbol, series.source, series.kind);
        lines.push(Sparkline { symbol, source, price_basis, points: line.into_iter().collect() });
    }
    lines
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StatisticsQuery {
    /// A symbol such as BTC-USD.
    #[param(example = "BTC-USD", min_length = 1, max_length = 64, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    symbol: String,
    /// One source, such as coinbase; else the one that has told the most prices.
    #[param(max_length = 64, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    source: Option<String>,
    /// Over the last so many hours; 24 where nothing is said. More than 24 where a database is named.
    #[param(minimum = 1, maximum = 744)]
    hours: Option<i64>,
}

/// Of the prices of one series, each tick counting once.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatisticsAnswer {
    pub symbol: String,
    pub source: String,
    #[schema(value_type = String)]
    pub price_basis: Basis,
    pub hours: u32,
    /// Their mean, rounded at the 18th place.
    #[schema(value_type = String)]
    pub avg: Decimal38,
    #[schema(value_type = String)]
    pub min: Decimal38,
    #[schema(value_type = String)]
    pub max: Decimal38,
    pub count: u32,
    /// Of the first tick and of the last.
    pub first_us: i64,
    pub last_us: i64,
    /// Of the minutes' closing prices. A statistic: a double.
    pub stddev: f64,
    /// From here on no price is missing for want of reach.
    pub complete_from_us: i64,
    pub origin: Origin,
}

/// Mean, least and most of a symbol's prices over some hours.
#[utoipa::path(
    get,
    path = "/api/v1/statistics",
    tag = "market",
    params(StatisticsQuery),
    responses(
        (status = 200, description = "Of one source", body = StatisticsAnswer),
        (status = 304, description = "As you know it"),
        (status = 400, description = "Not understood", body = ErrorBody),
        (status = 404, description = "No price in that time", body = ErrorBody),
        (status = 503, description = "History does not answer now", body = ErrorBody),
    )
)]
pub async fn statistics(
    State(app): State<App>,
    headers: HeaderMap,
    Asked(asked): Asked<StatisticsQuery>,
) -> Result<Response, ApiError> {
    let symbol = name("symbol", &asked.symbol)?;
    let source = name_or_none("source", asked.source.as_deref())?;
    let hours = hours_of(asked.hours, 24)?;
    let key = format!("{symbol}\0{}\0{hours}", source.unwrap_or_default());
    let make = async {
        Ok(Answer::of(&statistics_of(&app, symbol, source, None, hours).await?, app.cache.ttl(Kind::Statistics)))
    };
    Ok(app.cache.get(Kind::Statistics, key, make).await?.respond(&headers))
}

pub fn hours_of(asked: Option<i64>, default: usize) -> Result<u32, ApiError> {
    Ok(u32::try_from(limit("hours", asked, default, MAX_HOURS)?).unwrap_or(u32::MAX))
}

pub async fn statistics_of(
    app: &App,
    symbol: &str,
    source: Option<&str>,
    price_basis: Option<Basis>,
    hours: u32,
) -> Result<StatisticsAnswer, ApiError> {
    let (past, origin) = app.history.statistics(&app.hub, symbol, source, hours).await?;
    let of_basis = past.rows.into_iter().filter(|row| price_basis.is_none_or(|basis| basis == row.price_basis));
    let found = of_basis.max_by_key(|row| row.count).ok_or_else(|| {
        let from = source.map(|source| format!(" from {source}")).unwrap_or_default();
        ApiError::NotFound(format!("no price of {symbol}{from} within {hours} hours"))
    })?;
    Ok(StatisticsAnswer {
        symbol: found.symbol,
        source: found.source,
        price_basis: found.price_basis,
        hours,
        avg: found.avg,
        min: found.min,
        max: found.max,
        count: found.count,
        first_us: found.first_us,
        last_us: found.last_us,
        stddev: found.stddev,
        complete_from_us: past.complete_from_us,
        origin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    #[test]
    fn times_are_bounded_and_the_bound_is_told() {
        let minute = Timeframe::Minute;
        let (from, to) = candle_times(minute, None, None, 500, NOW).expect("the newest");
        assert_eq!((to - NOW, to - from), (60_000_000, 500 * 60_000_000));
        assert_eq!(candle_times(Timeframe::Day, None, Some(5), 5000, NOW).expect("from 1970 on"), (0, 5));
        let error =
            candle_times(Timeframe::Second, Some(NOW - 86_400_000_000), Some(NOW), 500, NOW).expect_err("too long");
        assert!(error.to_string().contains("86400 buckets of 1s; at most 20000"), "{error}");
        let error = candle_times(minute, Some(NOW), Some(NOW - 1), 500, NOW).expect_err("the wrong way round");
        assert!(error.to_string().contains("is not before"), "{error}");
        assert!(timeframe(Some("2m")).is_err_and(|error| error.to_string().contains("1s, 1m, 5m, 1h, 1d")));
        assert!(basis("price_basis", Some("trades")).is_err_and(|error| error.to_string().contains("TRADE, QUOTE")));
    }
}
