//! History from the database that consumer-db keeps, by a user who need only read. Few connections, each statement with a time
//! limit of its own on the server; what goes wrong is one plain sentence. Must never happen here: a statement that writes, or the
//! URL or its password in a message.

use std::str::FromStr;
use std::time::Duration;

use futures::TryStreamExt;
use pipeline::decimal::{Decimal38, DecimalError};
use pipeline::events::Kind;
use pipeline::misconfigured;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, FromRow};
use uuid::Uuid;

use super::{CandleRange, StatisticsRange, TickRange};
use crate::http::ApiError;
use crate::serve::cursor::Cursor;
use crate::state::candle::Place;
use crate::state::row::{AlertRow, ChangeBasis, GapRow, TickRow};
use crate::state::tick::Position;
use crate::state::{Candle, Reread, Spoilt, Statistics, Timeframe};

const CANDLES: &str = include_str!("sql/candles.sql");
const SECONDS: &str = include_str!("sql/seconds.sql");
const TICKS: &str = include_str!("sql/ticks.sql");
const GAPS: &str = include_str!("sql/gaps.sql");
const ALERTS: &str = include_str!("sql/alerts.sql");
const STATISTICS: &str = include_str!("sql/statistics.sql");
const TICKS_FROM: &str = include_str!("sql/ticks_from.sql");
const BUCKET: &str = include_str!("sql/bucket.sql");
const IS_READ: &str = include_str!("sql/is_read.sql");

const MAX_CONNECTIONS: u32 = 4;
/// For a connection, of the pool or a new one.
const PATIENCE: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(60);
/// Milliseconds. The server itself ends a statement that takes longer.
const STATEMENT_TIMEOUT: &str = "8000";

#[derive(Clone)]
pub struct Postgres {
    pool: PgPool,
    place: String,
}

#[derive(FromRow)]
struct CandleRow {
    source: String,
    price_basis: String,
    start_us: i64,
    open: String,
    high: String,
    low: String,
    close: String,
    volume: Option<String>,
    vwap: Option<String>,
    ticks: i64,
    complete: bool,
}

#[derive(FromRow)]
struct TickFields {
    source: String,
    kind: String,
    price: String,
    quantity: Option<String>,
    bid: Option<String>,
    ask: Option<String>,
    volume_24h: Option<String>,
    quote_volume_24h: Option<String>,
    market_cap: Option<String>,
    change_24h_pct: Option<String>,
    event_time_us: i64,
    event_time_origin: String,
    received_at_us: i64,
    broker_time_us: i64,
    event_id: Uuid,
    revision: i32,
    partition: i32,
    offset: i64,
}

#[derive(FromRow)]
struct BucketTick {
    event_id: Uuid,
    event_time_us: i64,
    price: String,
    quantity: Option<String>,
    partition: i32,
    offset: i64,
}

#[derive(FromRow)]
struct GapFields {
    id: Uuid,
    source: String,
    symbols: Vec<String>,
    reason: String,
    started_at_us: i64,
    ended_at_us: Option<i64>,
    detail: String,
}

#[derive(FromRow)]
struct AlertFields {
    alert_id: Uuid,
    rule: String,
    kind: String,
    state: String,
    severity: String,
    symbol: Option<String>,
    source: Option<String>,
    price: Option<String>,
    reference: Option<String>,
    change_pct: Option<String>,
    event_time_us: i64,
    fired_at_us: i64,
    message: String,
}

#[derive(FromRow)]
struct StatisticsRow {
    source: String,
    price_basis: String,
    avg: String,
    min: String,
    max: String,
    count: i64,
    first_us: i64,
    last_us: i64,
    stddev: f64,
}

impl Postgres {
    /// Opens no connection yet: a database that is down is no reason not to start.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] when the URL cannot be read.
    pub fn new(url: &SecretString) -> anyhow::Result<Self> {
        let url = url.expose_secret();
        let bad = |reason: &str| {
            misconfigured(format!(
                "--database-url (DATABASE_URL) cannot be read: {reason}; expected postgres://user:password@host:5432/database"
            ))
        };
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(bad("it does not start with postgres://"));
        }
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| bad(&error.to_string()))?
            .application_name("dashboard")
            .options([("statement_timeout", STATEMENT_TIMEOUT), ("default_transaction_read_only", "on")])
            .disable_statement_logging();
        pipeline::secrets::note_postgres(url);
        let name = options.get_database().unwrap_or_else(|| options.get_username());
        let place = match options.get_socket() {
            Some(socket) => format!("{name} at {}", socket.display()),
            None => format!("{name} at {}:{}", options.get_host(), options.get_port()),
        };
        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .idle_timeout(IDLE)
            .connect_lazy_with(options);
        Ok(Self { pool, place })
    }

    /// Where it is, without user and password.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Tells how many connections there are, and how many of them answer somebody.
    pub fn tell_pool(&self) {
        let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
        let busy = self.pool.size().saturating_sub(idle);
        for (state, count) in [("idle", idle), ("busy", busy)] {
            metrics::gauge!("tickstream_dashboard_database_connections", "state" => state).set(f64::from(count));
        }
    }

    /// From when on ticks are kept; nothing where all are.
    ///
    /// # Errors
    /// Why the database does not answer.
    pub async fn ticks_from_us(&self) -> Result<Option<i64>, ApiError> {
        let found: Option<Option<i64>> =
            sqlx::query_scalar(TICKS_FROM).fetch_optional(&self.pool).await.map_err(|error| self.explain(&error))?;
        Ok(found.flatten())
    }

    /// In order of time. Whether a bucket is over is for the caller to say.
    ///
    /// # Errors
    /// As [`Self::ticks_from_us`].
    pub async fn candles(&self, range: &CandleRange<'_>) -> Result<Vec<Candle>, ApiError> {
        let CandleRange { symbol, source, price_basis, tf, from_us, to_us, limit } = *range;
        let basis = price_basis.map(Kind::as_str);
        let query = if tf == Timeframe::Second {
            sqlx::query_as(SECONDS).bind(symbol)
        } else {
            sqlx::query_as(CANDLES).bind(symbol).bind(tf.name())
        };
        let query = query.bind(from_us).bind(to_us).bind(source).bind(basis).bind(count(limit));
        let rows: Vec<CandleRow> = query.fetch_all(&self.pool).await.map_err(|error| self.explain(&error))?;
        self.read(rows, |row| row.candle(range))
    }

    /// Newest first.
    ///
    /// # Errors
    /// As [`Self::ticks_from_us`].
    pub async fn ticks(&self, range: &TickRange<'_>) -> Result<Vec<TickRow>, ApiError> {
        let query = sqlx::query_as(TICKS).bind(range.symbol).bind(range.source).bind(range.before_us);
        let query = query.bind(count(range.limit));
        let rows: Vec<TickFields> = query.fetch_all(&self.pool).await.map_err(|error| self.explain(&error))?;
        self.read(rows, |row| row.row(range.symbol))
    }

    /// The newest gaps that touch the time, newest first; of one source and those of all, or of every source.
    ///
    /// # Errors
    /// As [`Self::ticks_from_us`].
    pub async fn gaps(
        &self,
        source: Option<&str>,
        from_us: i64,
        to_us: i64,
        limit: usize,
    ) -> Result<Vec<GapRow>, ApiError> {
        let query = sqlx::query_as(GAPS).bind(from_us).bind(to_us).bind(source).bind(count(limit));
        let rows: Vec<GapFields> = query.fetch_all(&self.pool).await.map_err(|error| self.explain(&error))?;
        self.read(rows, GapFields::row)
    }

    /// The newest alerts that fired before a time, newest first; of one symbol or of all.
    ///
    /// # Errors
    /// As [`Self::ticks_from_us`].
    pub async fn alerts(&self, symbol: Option<&str>, before_us: i64, limit: usize) -> Result<Vec<AlertRow>, ApiError> {
        let query = sqlx::query_as(ALERTS).bind(symbol).bind(before_us).bind(count(limit));
        let rows: Vec<AlertFields> = query.fetch_all(&self.pool).await.map_err(|error| self.explain(&error))?;
        self.read(rows, AlertFields::row)
    }

    /// # Errors
    /// As [`Self::ticks_from_us`].
    pub async fn statistics(&self, range: &StatisticsRange<'_>) -> Result<Vec<Statistics>, ApiError> {
        let query = sqlx::query_as(STATISTICS).bind(range.symbol).bind(range.source);
        let query = query.bind(range.from_us).bind(range.to_us);
        let rows: Vec<StatisticsRow> = query.fetch_all(&self.pool).await.map_err(|error| self.explain(&error))?;
        self.read(rows, |row| row.statistics(range.symbol))
    }

    /// Whether everything up to there is here.
    ///
    /// # Errors
    /// As [`Self::ticks_from_us`].
    pub async fn is_read(&self, up_to: &Cursor) -> Result<bool, ApiError> {
        let partitions: Vec<i32> = up_to.read.iter().map(|at| at.partition).collect();
        let offsets: Vec<i64> = up_to.read.iter().map(|at| at.offset).collect();
        let query = sqlx::query_scalar(IS_READ).bind(&up_to.topic).bind(partitions).bind(offsets);
        query.fetch_one(&self.pool).await.map_err(|error| self.explain(&error))
    }

    /// What a bucket holds; nothing when a record behind `up_to` is already in it.
    ///
    /// # Errors
    /// As [`Self::ticks_from_us`].
    pub async fn bucket(&self, spoilt: &Spoilt, up_to: &Cursor) -> Result<Option<Reread>, ApiError> {
        let Spoilt { symbol, source, price_basis, bucket } = spoilt;
        let query = sqlx::query_as(BUCKET).bind(&**symbol).bind(&**source).bind(price_basis.as_str());
        let mut ticks = query.bind(spoilt.start_us()).bind(spoilt.end_us()).fetch(&self.pool);
        let mut reread = Reread::default();
        while let Some(tick) = ticks.try_next().await.map_err(|error| self.explain(&error))? {
            let BucketTick { event_id, event_time_us, price, quantity, partition, offset } = tick;
            if (Position { partition, offset }).is_after(&up_to.read) {
                return Ok(None);
            }
            let (Ok(price), Ok(quantity)) = (price.parse(), exact(quantity)) else { return Err(self.unreadable()) };
            reread.put(bucket.tf, Place { event_time: event_time_us, event_id }, price, quantity);
        }
        Ok(Some(reread))
    }

    fn read<R, T>(&self, rows: Vec<R>, as_told: impl Fn(R) -> Option<T>) -> Result<Vec<T>, ApiError> {
        let all: Option<Vec<T>> = rows.into_iter().map(as_told).collect();
        all.ok_or_else(|| self.unreadable())
    }

    fn explain(&self, error: &sqlx::Error) -> ApiError {
        let place = &self.place;
        let refusal = error.as_database_error();
        let message = refusal.map_or("", |refusal| refusal.message());
        let sentence = match refusal.and_then(|refusal| refusal.code()).as_deref() {
            Some("57014") => format!(
                "database {place} did not come to an answer within {STATEMENT_TIMEOUT} ms; ask for a shorter time"
            ),
            Some("42P01" | "42703" | "42883") => format!(
                "database {place} has not the tables of this version ({message}); start consumer-db once, it makes them"
            ),
            Some("42501") => format!(
                "the user of database {place} may not read what is asked ({message}); make it a member of tickstream_reader"
            ),
            Some(_) => format!("database {place} refuses: {message}"),
            None if matches!(error, sqlx::Error::PoolTimedOut) => {
                format!(
                    "database {place} does not answer within {PATIENCE:?}: history beyond memory is not to be had now"
                )
            }
            None => format!("database {place} does not answer ({error}): history beyond memory is not to be had now"),
        };
        tracing::warn!(error = %error, "{sentence}");
        ApiError::Unavailable(sentence)
    }

    fn unreadable(&self) -> ApiError {
        ApiError::Unavailable(format!("database {} holds a price that is none", self.place))
    }
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A number of numeric(38,18), which a [`Decimal38`] holds as well.
fn exact(text: Option<String>) -> Result<Option<Decimal38>, DecimalError> {
    text.map(|text| text.parse()).transpose()
}

impl CandleRow {
    fn candle(self, range: &CandleRange<'_>) -> Option<Candle> {
        Some(Candle {
            symbol: range.symbol.to_owned(),
            source: self.source,
            price_basis: self.price_basis.parse().ok()?,
            tf: range.tf,
            start_us: self.start_us,
            open: self.open.parse().ok()?,
            high: self.high.parse().ok()?,
            low: self.low.parse().ok()?,
            close: self.close.parse().ok()?,
            volume: exact(self.volume).ok()?,
            vwap: exact(self.vwap).ok()?,
            trades: u32::try_from(self.ticks).unwrap_or(u32::MAX),
            complete: self.complete,
        })
    }
}

impl TickFields {
    fn row(self, symbol: &str) -> Option<TickRow> {
        Some(TickRow {
            kind: Some(self.kind.parse().ok()?),
            price: Some(self.price.parse().ok()?),
            quantity: exact(self.quantity).ok()?,
            bid: exact(self.bid).ok()?,
            ask: exact(self.ask).ok()?,
            volume_24h: exact(self.volume_24h).ok()?,
            quote_volume_24h: exact(self.quote_volume_24h).ok()?,
            market_cap: exact(self.market_cap).ok()?,
            change_pct: exact(self.change_24h_pct.clone()).ok()?,
            change_basis: self.change_24h_pct.map(|_| ChangeBasis::Day),
            event_time_us: Some(self.event_time_us),
            event_time_origin: Some(self.event_time_origin.parse().ok()?),
            received_at_us: Some(self.received_at_us),
            broker_time_us: Some(self.broker_time_us),
            event_id: Some(self.event_id),
            revision: Some(self.revision),
            partition: Some(self.partition),
            offset: Some(self.offset),
            ..TickRow::empty(symbol, &self.source)
        })
    }
}

impl GapFields {
    fn row(self) -> Option<GapRow> {
        let Self { id, source, symbols, reason, started_at_us, ended_at_us, detail } = self;
        Some(GapRow { id, source, symbols, reason: reason.parse().ok()?, started_at_us, ended_at_us, detail })
    }
}

impl AlertFields {
    fn row(self) -> Option<AlertRow> {
        Some(AlertRow {
            alert_id: self.alert_id,
            rule: self.rule,
            kind: self.kind.parse().ok()?,
            state: self.state.parse().ok()?,
            severity: self.severity.parse().ok()?,
            symbol: self.symbol,
            source: self.source,
            price: exact(self.price).ok()?,
            reference: exact(self.reference).ok()?,
            change_pct: exact(self.change_pct).ok()?,
            event_time_us: self.event_time_us,
            fired_at_us: self.fired_at_us,
            message: self.message,
        })
    }
}

impl StatisticsRow {
    fn statistics(self, symbol: &str) -> Option<Statistics> {
        Some(Statistics {
            symbol: symbol.to_owned(),
            source: self.source,
            price_basis: self.price_basis.parse().ok()?,
            avg: self.avg.parse().ok()?,
            min: self.min.parse().ok()?,
            max: self.max.parse().ok()?,
            count: u32::try_from(self.count).unwrap_or(u32::MAX),
            first_us: self.first_us,
            last_us: self.last_us,
            stddev: self.stddev,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wrong_url_and_a_database_that_is_away_are_told_without_the_password() {
        for url in ["", "mysql://u:hunter2@h/d", "postgres://u:hunter2@h:port/d"] {
            let error = Postgres::new(&SecretString::from(url)).err().expect("refused").to_string();
            assert!(error.contains("DATABASE_URL") && !error.contains("hunter2"), "{error}");
        }
        let away = Postgres::new(&SecretString::from("postgres://u:hunter2@127.0.0.1:1/d")).expect("a good URL");
        let error = away.ticks_from_us().await.expect_err("nobody is there").to_string();
        assert!(error.contains("d at 127.0.0.1:1 does not answer") && !error.contains("hunter2"), "{error}");
    }
}
