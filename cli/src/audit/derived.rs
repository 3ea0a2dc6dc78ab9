//! What Postgres keeps beside the ticks and is nothing but what they come to: candles and latest prices; and gaps that nobody
//! closes. The server compares, since the rows are there. Must never happen here: a statement that writes, or a table that is
//! compared by two statements, between which a writer may commit.

use std::ops::Range;

use jiff::{SignedDuration, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use super::database::at;
use crate::database::explain;

const WRONG_MINUTES: &str = include_str!("../sql/wrong_minutes.sql");
const WRONG_WIDER: &str = include_str!("../sql/wrong_wider.sql");
const WRONGLY_COMPLETE: &str = include_str!("../sql/wrongly_complete.sql");
const OF_CANDLES: [&str; 3] = [WRONG_MINUTES, WRONG_WIDER, WRONGLY_COMPLETE];
const WRONG_LATEST: &str = include_str!("../sql/wrong_latest.sql");
const OPEN_GAPS: &str = include_str!("../sql/open_gaps.sql");
const TICK_SPAN: &str = include_str!("../sql/tick_span.sql");
pub const DAY_US: i64 = 86_400_000_000;

/// So many are named.
const NAMED: i64 = 10;

/// A candle that is not what it should be.
#[derive(sqlx::FromRow)]
pub struct WrongCandle {
    pub symbol: String,
    pub source: String,
    pub price_basis: String,
    pub timeframe: String,
    pub bucket: String,
    pub what: String,
    of_all: i64,
}

/// A latest price that is not the latest.
#[derive(sqlx::FromRow)]
pub struct WrongLatest {
    pub symbol: String,
    pub source: String,
    pub what: String,
    of_all: i64,
}

/// The days from the first tick to the last one, as microseconds from 1970; a tick before or after them has no candle to miss.
pub async fn days(connection: &mut PgConnection) -> anyhow::Result<Vec<Range<i64>>> {
    let span: (Option<i64>, Option<i64>) = sqlx::query_as(TICK_SPAN).fetch_one(connection).await.map_err(explain)?;
    let (Some(first), Some(last)) = span else { return Ok(Vec::new()) };
    let (first, last) = (first.div_euclid(DAY_US), last.div_euclid(DAY_US));
    Ok((first..=last).map(|day| day * DAY_US..(day + 1) * DAY_US).collect())
}

/// The candles of a span that are not what they should be, a line each, and one for those that are not named.
pub async fn candles(connection: &mut PgConnection, span: &Range<i64>) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    for statement in OF_CANDLES {
        let found = wrong(connection, statement, span, NAMED).await?;
        let of_all = found.first().map_or(0, |candle| candle.of_all);
        let more = of_all - found.len() as i64;
        lines.extend(found.into_iter().map(|candle| {
            let WrongCandle { symbol, source, price_basis, timeframe, bucket, what, .. } = candle;
            format!("the candle {symbol} {source} {price_basis} {timeframe} {bucket} {what}")
        }));
        if more > 0 {
            let [since, until] = [time(span.start), time(span.end)];
            lines.push(format!("{more} more candles between {since} and {until} are like these"));
        }
    }
    Ok(lines)
}

/// The same candles, at most so many of each kind.
pub async fn wrong_candles(
    connection: &mut PgConnection,
    span: &Range<i64>,
    most: i64,
) -> anyhow::Result<Vec<WrongCandle>> {
    let mut found = Vec::new();
    for statement in OF_CANDLES {
        found.extend(wrong(connection, statement, span, most).await?);
    }
    Ok(found)
}

async fn wrong(
    connection: &mut PgConnection,
    statement: &'static str,
    span: &Range<i64>,
    most: i64,
) -> anyhow::Result<Vec<WrongCandle>> {
    let query = sqlx::query_as(statement).bind(time(span.start)).bind(time(span.end)).bind(most);
    query.fetch_all(connection).await.map_err(explain)
}

/// Latest prices that are not the latest.
pub async fn latest(connection: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    let found = wrong_latest(connection, NAMED).await?;
    let more = found.first().map_or(0, |latest| latest.of_all) - found.len() as i64;
    let line = |WrongLatest { symbol, source, what, .. }| format!("the latest price of {symbol} at {source} {what}");
    let mut lines: Vec<String> = found.into_iter().map(line).collect();
    if more > 0 {
        lines.push(format!("{more} more latest prices are like these"));
    }
    Ok(lines)
}

/// The same, at most so many.
pub async fn wrong_latest(connection: &mut PgConnection, most: i64) -> anyhow::Result<Vec<WrongLatest>> {
    sqlx::query_as(WRONG_LATEST).bind(most).fetch_all(connection).await.map_err(explain)
}

/// Gaps that have been open for longer than `within`.
pub async fn open_gaps(connection: &mut PgConnection, within: SignedDuration) -> anyhow::Result<Vec<String>> {
    let before = Timestamp::now().checked_sub(within)?.to_string();
    let found: Vec<(Uuid, String, String, String, i32, i64)> =
        sqlx::query_as(OPEN_GAPS).bind(before).fetch_all(connection).await.map_err(explain)?;
    let line = |(id, source, reason, started_at, partition, offset)| {
        let place = at((partition, offset));
        format!("the gap {id} of {source} ({reason}) at {place} was opened at {started_at} and nobody has closed it")
    };
    Ok(found.into_iter().map(line).collect())
}

/// As Postgres reads it.
fn time(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| "infinity".to_owned(), |time| time.to_string())
}
