//! For people who come from a Flask kind of dashboard: the addresses and shapes that its clients know. Bitcoin is BTC-BRL. Prices
//! are JSON numbers here, as such clients expect, with all their digits as the source gave them: nothing passed through a float.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use pipeline::decimal::Decimal38;
use pipeline::events::Kind as Basis;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::answer::Answer;
use super::asked::{Asked, name_or_none, written};
use super::cache::{CacheStats, Kind};
use super::market::{hours_of, statistics_of};
use crate::clock::now_us;
use crate::history::CandleRange;
use crate::http::{ApiError, App, ErrorBody};
use crate::protocol::FeedState;
use crate::state::Timeframe;
use crate::state::row::TickRow;

const BITCOIN: &str = "BTC-BRL";
/// An older price is taken only where there is no younger one.
const FRESH_US: i64 = 10 * 60 * 1_000_000;
/// Of prices that are fresh, those of the first kind are taken.
const PREFERRED: [Basis; 6] =
    [Basis::Trade, Basis::Ticker, Basis::Quote, Basis::Reference, Basis::Fx, Basis::FxImplied];

/// A price as a JSON number, digit for digit.
#[derive(Clone, Copy, Debug)]
struct Number(Decimal38);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = RawValue::from_string(self.0.to_string()).map_err(serde::ser::Error::custom)?;
        digits.serialize(serializer)
    }
}

#[derive(Serialize, ToSchema)]
pub struct HealthAnswer {
    /// `healthy`, `starting` or `unhealthy`.
    status: &'static str,
    timestamp: String,
    feed: FeedState,
}

/// Whether prices are as young as they can be: 503 while Kafka cannot be read.
#[utoipa::path(
    get,
    path = "/api/health",
    tag = "for Flask clients",
    responses(
        (status = 200, description = "Kafka is read", body = HealthAnswer),
        (status = 503, description = "Kafka cannot be read", body = HealthAnswer),
    )
)]
pub async fn health(State(app): State<App>) -> Response {
    let feed = app.hub.feed_state();
    let (code, status) = match feed {
        FeedState::Outage { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        FeedState::CatchingUp => (StatusCode::OK, "starting"),
        FeedState::Live | FeedState::Replay => (StatusCode::OK, "healthy"),
    };
    (code, axum::Json(HealthAnswer { status, timestamp: written(now_us()), feed })).into_response()
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SourceQuery {
    /// One source, such as coingecko or implied; else the one described at /api/bitcoin/latest.
    #[param(max_length = 64, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    source: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct BitcoinLatest {
    #[schema(value_type = f64)]
    price_brl: Number,
    /// The source's time of the price, RFC 3339.
    timestamp: String,
    symbol: &'static str,
    source: String,
    /// `FX_IMPLIED`: computed from a price in dollars and the exchange rate.
    #[schema(value_type = String)]
    price_basis: Basis,
    #[schema(value_type = Option<f64>, required)]
    volume_24h_brl: Option<Number>,
    #[schema(value_type = Option<f64>, required)]
    market_cap_brl: Option<Number>,
    #[schema(value_type = Option<f64>, required)]
    change_24h_pct: Option<Number>,
    age_seconds: f64,
}

/// One bitcoin in reais. Of the sources whose price is younger than ten minutes, in this order: trades, tickers, quotes, reference
/// prices, then what is implied by a price in dollars and the exchange rate; of several the youngest.
#[utoipa::path(
    get,
    path = "/api/bitcoin/latest",
    tag = "for Flask clients",
    params(SourceQuery),
    responses(
        (status = 200, description = "The price", body = BitcoinLatest),
        (status = 304, description = "As you know it"),
        (status = 400, description = "Not understood", body = ErrorBody),
        (status = 404, description = "No price in memory", body = ErrorBody),
    )
)]
pub async fn bitcoin_latest(
    State(app): State<App>,
    headers: HeaderMap,
    Asked(asked): Asked<SourceQuery>,
) -> Result<Response, ApiError> {
    let source = name_or_none("source", asked.source.as_deref())?;
    let make = async {
        let row = chosen(&app, source)?;
        let number = |value: Option<Decimal38>| value.map(Number);
        let (Some(price), Some(price_basis), Some(at_us)) = (row.price, row.kind, row.event_time_us) else {
            return Err(no_price(source));
        };
        let latest = BitcoinLatest {
            price_brl: Number(price),
            timestamp: written(at_us),
            symbol: BITCOIN,
            source: row.source,
            price_basis,
            volume_24h_brl: number(row.quote_volume_24h),
            market_cap_brl: number(row.market_cap),
            change_24h_pct: number(row.change_pct),
            age_seconds: ((now_us() - at_us).max(0) / 1000) as f64 / 1000.0,
        };
        Ok(Answer::of(&latest, app.cache.ttl(Kind::Bitcoin)))
    };
    let key = format!("latest {}", source.unwrap_or_default());
    Ok(app.cache.get(Kind::Bitcoin, key, make).await?.respond(&headers))
}

fn no_price(source: Option<&str>) -> ApiError {
    let from = source.map(|source| format!(" from {source}")).unwrap_or_default();
    ApiError::NotFound(format!("no price of {BITCOIN}{from} is in memory"))
}

/// The newest tick of the source that is asked for, or of the one that is preferred.
fn chosen(app: &App, source: Option<&str>) -> Result<TickRow, ApiError> {
    let (known, now_us) = {
        let live = app.hub.live();
        (live.symbols(), live.now_us())
    };
    let sources = known.into_iter().filter(|known| known.symbol == BITCOIN);
    let sources = sources.filter(|known| source.is_none_or(|source| source == known.source));
    let order = |kind: Basis| PREFERRED.iter().position(|preferred| *preferred == kind);
    let best = sources.min_by_key(|known| {
        let is_old = known.last_us < now_us - FRESH_US;
        (is_old, order(known.kind).filter(|_| !is_old), std::cmp::Reverse(known.last_us))
    });
    let best = best.ok_or_else(|| no_price(source))?;
    let newest = app.hub.live().ticks(BITCOIN, Some(&best.source), 1);
    newest.into_iter().next().ok_or_else(|| no_price(source))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct HoursQuery {
    /// Over the last so many hours; 24 for /hourly and 6 for /statistics where nothing is said.
    #[param(minimum = 1, maximum = 744)]
    hours: Option<i64>,
    /// One source; else the one that /api/bitcoin/latest takes.
    #[param(max_length = 64, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    source: Option<String>,
}

/// One hour of bitcoin in reais.
#[derive(Serialize, ToSchema)]
pub struct BitcoinHour {
    /// Its start, RFC 3339.
    timestamp: String,
    /// The last price in it.
    #[schema(value_type = f64)]
    price_brl: Number,
    #[schema(value_type = f64)]
    open: Number,
    #[schema(value_type = f64)]
    high: Number,
    #[schema(value_type = f64)]
    low: Number,
    #[schema(value_type = f64)]
    close: Number,
    #[schema(value_type = Option<f64>, required)]
    volume: Option<Number>,
    /// How many prices it is made of.
    count: u32,
    /// False where something may be missing, or the hour is not over.
    complete: bool,
    source: String,
}

/// Bitcoin in reais, hour by hour, in order of time.
#[utoipa::path(
    get,
    path = "/api/bitcoin/hourly",
    tag = "for Flask clients",
    params(HoursQuery),
    responses(
        (status = 200, description = "In order of time", body = [BitcoinHour]),
        (status = 304, description = "As you know it"),
        (status = 400, description = "Not understood", body = ErrorBody),
        (status = 404, description = "No price in memory", body = ErrorBody),
        (status = 503, description = "History does not answer now", body = ErrorBody),
    )
)]
pub async fn bitcoin_hourly(
    State(app): State<App>,
    headers: HeaderMap,
    Asked(asked): Asked<HoursQuery>,
) -> Result<Response, ApiError> {
    let hours = hours_of(asked.hours, 24)?;
    let source = name_or_none("source", asked.source.as_deref())?;
    let make = async {
        let chosen = chosen(&app, source)?;
        let tf = Timeframe::Hour;
        // Now is in the last of them.
        let to_us = tf.bucket(now_us()) + tf.width_us();
        let range = CandleRange {
            symbol: BITCOIN,
            source: Some(&chosen.source),
            price_basis: chosen.kind,
            tf,
            from_us: to_us - i64::from(hours) * tf.width_us(),
            to_us,
            limit: hours as usize,
        };
        let past = app.history.candles(&app.hub, &range).await?;
        // A bare list has no place to say that something is missing.
        if let Some(problem) = past.problem {
            return Err(ApiError::Unavailable(problem));
        }
        let hour = |candle: &crate::state::Candle| BitcoinHour {
            timestamp: written(candle.start_us),
            price_brl: Number(candle.close),
            open: Number(candle.open),
            high: Number(candle.high),
            low: Number(candle.low),
            close: Number(candle.close),
            volume: candle.volume.map(Number),
            count: candle.trades,
            complete: candle.complete,
            source: candle.source.clone(),
        };
        let rows: Vec<BitcoinHour> = past.candles.iter().map(hour).collect();
        Ok(Answer::of(&rows, app.cache.ttl(Kind::Bitcoin)))
    };
    let key = format!("hourly {hours} {}", source.unwrap_or_default());
    Ok(app.cache.get(Kind::Bitcoin, key, make).await?.respond(&headers))
}

#[derive(Serialize, ToSchema)]
pub struct BitcoinStatistics {
    /// The mean, each price counting once.
    #[schema(value_type = f64)]
    avg: Number,
    #[schema(value_type = f64)]
    min: Number,
    #[schema(value_type = f64)]
    max: Number,
    count: u32,
    hours: u32,
    source: String,
    /// RFC 3339. Where it is later than the beginning of these hours, prices from before it may be missing.
    complete_from: String,
}

/// Mean, least and most of bitcoin in reais over some hours.
#[utoipa::path(
    get,
    path = "/api/bitcoin/statistics",
    tag = "for Flask clients",
    params(HoursQuery),
    responses(
        (status = 200, description = "Of one source", body = BitcoinStatistics),
        (status = 304, description = "As you know it"),
        (status = 400, description = "Not understood", body = ErrorBody),
        (status = 404, description = "No price in that time", body = ErrorBody),
        (status = 503, description = "History does not answer now", body = ErrorBody),
    )
)]
pub async fn bitcoin_statistics(
    State(app): State<App>,
    headers: HeaderMap,
    Asked(asked): Asked<HoursQuery>,
) -> Result<Response, ApiError> {
    let hours = hours_of(asked.hours, 6)?;
    let source = name_or_none("source", asked.source.as_deref())?;
    let make = async {
        let chosen = chosen(&app, source)?;
        let found = statistics_of(&app, BITCOIN, Some(&chosen.source), chosen.kind, hours).await?;
        let answer = BitcoinStatistics {
            avg: Number(found.avg),
            min: Number(found.min),
            max: Number(found.max),
            count: found.count,
            hours,
            source: found.source,
            complete_from: written(found.complete_from_us),
        };
        Ok(Answer::of(&answer, app.cache.ttl(Kind::Bitcoin)))
    };
    let key = format!("statistics {hours} {}", source.unwrap_or_default());
    Ok(app.cache.get(Kind::Bitcoin, key, make).await?.respond(&headers))
}

/// How often an answer was there already, in all and by kind of query.
#[utoipa::path(
    get,
    path = "/api/cache/stats",
    tag = "for Flask clients",
    responses((status = 200, description = "Since the start", body = CacheStats))
)]
pub async fn cache_stats(State(app): State<App>) -> axum::Json<CacheStats> {
    axum::Json(app.cache.stats())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_a_number_with_all_its_digits() {
        let price: Decimal38 = "612345.670000000000000001".parse().expect("a price");
        assert_eq!(serde_json::to_string(&Number(price)).expect("JSON"), "612345.670000000000000001");
        let small: Decimal38 = "-0.000000000000000001".parse().expect("a price");
        assert_eq!(serde_json::to_string(&[Number(small)]).expect("JSON"), "[-0.000000000000000001]");
    }
}
