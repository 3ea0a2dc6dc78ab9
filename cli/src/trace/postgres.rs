//! What Postgres holds of a tick: its row, its candles, the latest price, the alerts that name it. Must never happen here: a
//! statement that writes, or one that reads every day at once.

use std::ops::Range;

use jiff::Timestamp;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::audit::derived::{DAY_US, days};
use crate::database::explain;
use crate::dlq::Coordinates;
use crate::output::Progress;

const FIND: &str = include_str!("../sql/trace_find.sql");
const ROWS: &str = include_str!("../sql/trace_rows.sql");
const CANDLES: &str = include_str!("../sql/trace_candles.sql");
const LATEST: &str = include_str!("../sql/trace_latest.sql");
const ALERTS: &str = include_str!("../sql/trace_alerts.sql");

/// Where an event's row comes from.
#[derive(Clone, Copy, Debug, FromRow)]
pub struct Found {
    pub kafka_partition: i32,
    pub kafka_offset: i64,
}

/// Looks for an event a day at a time, the newest first; in the times named, or in all of them. Gives how many days it looked
/// through as well.
pub async fn find(
    connection: &mut PgConnection,
    id: Uuid,
    times: Option<&Range<i64>>,
) -> anyhow::Result<(Option<Found>, usize)> {
    let mut progress = Progress::default();
    let mut looked = 0;
    let spans = match times {
        Some(times) => vec![times.clone()],
        None => days(connection).await?,
    };
    for span in spans.into_iter().rev() {
        looked += usize::try_from((span.end - span.start).div_euclid(DAY_US)).unwrap_or(0).max(1);
        let bounds = [span.start, span.end].map(|micros| {
            Timestamp::from_microsecond(micros).map_or_else(|_| "infinity".to_owned(), |time| time.to_string())
        });
        let query = sqlx::query_as(FIND).bind(id).bind(&bounds[0]).bind(&bounds[1]);
        let found = query.fetch_optional(&mut *connection).await.map_err(explain)?;
        if found.is_some() {
            return Ok((found, looked));
        }
        progress.tell(|| format!("{looked} days of Postgres looked through, back to {}", bounds[0]));
    }
    Ok((None, looked))
}

#[derive(Clone, Debug, FromRow)]
pub struct Row {
    pub event_us: i64,
    pub revision: i32,
    pub kafka_partition: i32,
    pub kafka_offset: i64,
    pub retracted: bool,
    pub price: String,
    pub symbol: String,
    pub inserted_us: i64,
    pub stands_in: String,
}

pub async fn rows(connection: &mut PgConnection, id: Uuid, times: &[i64]) -> anyhow::Result<Vec<Row>> {
    sqlx::query_as(ROWS).bind(id).bind(times).fetch_all(connection).await.map_err(explain)
}

#[derive(Clone, Debug, FromRow)]
pub struct Candle {
    pub timeframe: String,
    pub bucket: String,
    pub open: String,
    pub high: String,
    pub low: String,
    pub close: String,
    pub ticks: i64,
    pub complete: bool,
    pub updated_us: i64,
}

pub async fn candles(
    connection: &mut PgConnection,
    symbol: &str,
    source: &str,
    price_basis: &str,
    event_us: i64,
) -> anyhow::Result<Vec<Candle>> {
    let query = sqlx::query_as(CANDLES).bind(symbol).bind(source).bind(price_basis).bind(event_us);
    query.fetch_all(connection).await.map_err(explain)
}

#[derive(Clone, Debug, FromRow)]
pub struct Latest {
    pub event_id: Uuid,
    pub revision: i32,
    pub price: String,
    pub event_us: i64,
    pub updated_us: i64,
}

pub async fn latest(connection: &mut PgConnection, symbol: &str, source: &str) -> anyhow::Result<Option<Latest>> {
    sqlx::query_as(LATEST).bind(symbol).bind(source).fetch_optional(connection).await.map_err(explain)
}

#[derive(Clone, Debug, FromRow)]
pub struct Alert {
    pub rule: String,
    pub state: String,
    pub message: String,
    pub kafka_partition: i32,
    pub kafka_offset: i64,
    pub fired_us: i64,
}

pub async fn alerts(connection: &mut PgConnection, id: Uuid, place: &Coordinates) -> anyhow::Result<Vec<Alert>> {
    let query = sqlx::query_as(ALERTS).bind(id).bind(&place.topic).bind(place.partition).bind(place.offset);
    query.fetch_all(connection).await.map_err(explain)
}
