//! What lies before memory: from the database where one is named, else from the topic. Memory answers for the time that it
//! holds whole, and the store for what comes before, so that a time that spans both is one answer. Must never happen here: the
//! lock of the live state held while a store is asked, or a part that is missing and not said to be.

mod again;
mod gather;
mod postgres;
pub mod reader;
mod topic;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use pipeline::events::Kind;
use pipeline::registry::Registry;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::config::Config;
use crate::http::ApiError;
use crate::serve::Hub;
use crate::state::row::{GapRow, TickRow};
use crate::state::{Candle, RECENT, Statistics, Timeframe};
pub use again::Again;
pub use postgres::Postgres;
use topic::Topic;

#[derive(Args, Clone, Debug)]
pub struct HistoryArgs {
    /// The Postgres database that consumer-db writes, `postgres://user:password@host:port/name`: history beyond memory is read
    /// there, by a user that may only read (role tickstream_reader). Without it from the topics, as far as they go back.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<SecretString>,
}

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    Memory,
    Postgres,
    Topic,
}

/// Rows, and from when on none is missing for want of reach.
#[derive(Clone, Debug)]
pub struct Past<T> {
    pub rows: Vec<T>,
    pub complete_from_us: i64,
}

/// Candles, and where the oldest of them are from.
#[derive(Clone, Debug)]
pub struct PastCandles {
    pub candles: Vec<Candle>,
    pub complete_from_us: i64,
    pub origin: Origin,
    /// Why what is before `complete_from_us` could not be read.
    pub problem: Option<String>,
}

/// Which candles: those that begin in `[from_us, to_us)`, the newest `limit` of each source and price basis.
#[derive(Clone, Copy, Debug)]
pub struct CandleRange<'a> {
    pub symbol: &'a str,
    pub source: Option<&'a str>,
    pub price_basis: Option<Kind>,
    pub tf: Timeframe,
    pub from_us: i64,
    pub to_us: i64,
    pub limit: usize,
}

/// Which ticks: the newest `limit` before a time.
#[derive(Clone, Copy, Debug)]
pub struct TickRange<'a> {
    pub symbol: &'a str,
    pub source: Option<&'a str>,
    pub before_us: i64,
    pub limit: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct StatisticsRange<'a> {
    pub symbol: &'a str,
    pub source: Option<&'a str>,
    pub from_us: i64,
    pub to_us: i64,
}

/// Of many who ask how it goes, none costs the database more.
const CHECKED_EVERY: Duration = Duration::from_secs(1);
const POOL_EVERY: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct History {
    postgres: Option<Postgres>,
    topic: Topic,
    checked: Arc<Mutex<Option<Checked>>>,
}

/// When the database was asked last, and why it did not answer.
type Checked = (Instant, Option<String>);

impl History {
    /// # Errors
    /// [`pipeline::Misconfigured`] when the database's URL cannot be read.
    pub fn new(config: &Config, registry: Option<Registry>) -> anyhow::Result<Self> {
        let url = config.history.database_url.as_ref().filter(|url| !url.expose_secret().is_empty());
        let postgres = url.map(Postgres::new).transpose()?;
        let topic = Topic::new(&config.kafka, registry, &config.ticks_topic, &config.gaps_topic);
        Ok(Self { postgres, topic, checked: Arc::default() })
    }

    /// Where history comes from, for people.
    pub fn place(&self) -> String {
        self.postgres
            .as_ref()
            .map_or_else(|| "the topics".to_owned(), |postgres| format!("database {}", postgres.place()))
    }

    /// Tells of the database's connections until `shutdown`.
    pub async fn tell_pool(self, shutdown: CancellationToken) {
        let Some(postgres) = &self.postgres else { return };
        while shutdown.run_until_cancelled(tokio::time::sleep(POOL_EVERY)).await.is_some() {
            postgres.tell_pool();
        }
    }

    /// Why the database does not answer; nothing where it does, or none is named. Of many who ask at once one asks it.
    pub async fn problem(&self) -> Option<String> {
        let postgres = self.postgres.as_ref()?;
        let mut checked = self.checked.lock().await;
        if let Some((at, problem)) = &*checked
            && at.elapsed() < CHECKED_EVERY
        {
            return problem.clone();
        }
        let problem = postgres.ticks_from_us().await.err().map(|error| error.to_string());
        *checked = Some((Instant::now(), problem.clone()));
        problem
    }

    /// In order of time. A store that does not answer leaves what memory holds, with the reason.
    ///
    /// # Errors
    /// Why the store does not answer, where memory holds nothing of the time.
    pub async fn candles(&self, hub: &Hub, range: &CandleRange<'_>) -> Result<PastCandles, ApiError> {
        let CandleRange { symbol, source, tf, .. } = *range;
        let range = CandleRange { from_us: tf.bucket(range.from_us), ..*range };
        let (mut newer, whole_from_us, now_us) = {
            let live = hub.live();
            let series = live.symbols().into_iter();
            let series =
                series.filter(|known| known.symbol == symbol && source.is_none_or(|source| source == known.source));
            let kept_us = tf.bucket(live.now_us() - tf.kept_us()) + tf.width_us();
            let whole_from_us = series
                .map(|known| live.covers_from_us(&known.symbol, &known.source, tf))
                .fold(live.whole_from_us().max(kept_us), i64::max);
            (live.candles(symbol, source, tf, range.from_us, range.to_us), whole_from_us, live.now_us())
        };
        // The first bucket that memory holds whole.
        let cut_us = match whole_from_us {
            i64::MAX => i64::MAX,
            whole_from_us => tf.bucket(whole_from_us - 1).saturating_add(tf.width_us()),
        };
        newer.retain(|candle| {
            candle.start_us >= cut_us && range.price_basis.is_none_or(|basis| basis == candle.price_basis)
        });
        if range.from_us >= cut_us {
            let candles = newest(newer, range.limit);
            return Ok(PastCandles { candles, complete_from_us: range.from_us, origin: Origin::Memory, problem: None });
        }
        let older = CandleRange { to_us: range.to_us.min(cut_us), ..range };
        let (past, origin) = match self.older_candles(&older).await {
            Ok(found) => found,
            Err(error) if newer.is_empty() => return Err(error),
            Err(error) => {
                let candles = newest(newer, range.limit);
                let problem = Some(error.to_string());
                return Ok(PastCandles { candles, complete_from_us: cut_us, origin: Origin::Memory, problem });
            }
        };
        let Past { rows: mut candles, complete_from_us } = past;
        candles.iter_mut().for_each(|candle| candle.complete &= candle.start_us + tf.width_us() <= now_us);
        candles.extend(newer);
        Ok(PastCandles { candles: newest(candles, range.limit), complete_from_us, origin, problem: None })
    }

    async fn older_candles(&self, range: &CandleRange<'_>) -> Result<(Past<Candle>, Origin), ApiError> {
        let Some(postgres) = &self.postgres else { return Ok((self.topic.candles(range).await?, Origin::Topic)) };
        let rows = postgres.candles(range).await?;
        // Of ticks before that horizon only minutes and wider candles are kept.
        let horizon = if range.tf == Timeframe::Second { postgres.ticks_from_us().await? } else { None };
        let complete_from_us = horizon.map_or(range.from_us, |horizon| horizon.clamp(range.from_us, range.to_us));
        Ok((Past { rows, complete_from_us }, Origin::Postgres))
    }

    /// Newest first. Without a time, the topic is not read for what memory has not.
    ///
    /// # Errors
    /// Why the store does not answer; what memory holds alone is not asked of it.
    pub async fn ticks(
        &self,
        hub: &Hub,
        range: &TickRange<'_>,
        has_time: bool,
    ) -> Result<(Past<TickRow>, Origin), ApiError> {
        let (mut rows, whole_from_us) = {
            let live = hub.live();
            let rows = live.ticks(range.symbol, range.source, usize::MAX);
            (rows, live.whole_from_us())
        };
        // Behind the oldest tick of a series whose older ones are forgotten, nothing is whole.
        let mut of_source: std::collections::BTreeMap<&str, (usize, i64)> = Default::default();
        for row in &rows {
            let (count, oldest) = of_source.entry(&row.source).or_insert((0, i64::MAX));
            (*count, *oldest) = (*count + 1, (*oldest).min(event_time(row)));
        }
        let forgotten = of_source.values().filter(|(count, _)| *count >= RECENT).map(|(_, oldest)| *oldest);
        let whole_from_us = forgotten.fold(whole_from_us, i64::max);
        rows.retain(|row| event_time(row) < range.before_us);
        let whole = rows.iter().filter(|row| event_time(row) >= whole_from_us).count();
        if whole >= range.limit || (!has_time && self.postgres.is_none()) {
            rows.retain(|row| event_time(row) >= whole_from_us || !has_time);
            rows.truncate(range.limit);
            let oldest = rows.last().map_or(range.before_us, event_time);
            let complete_from_us = if rows.len() >= range.limit { oldest } else { whole_from_us };
            return Ok((Past { rows, complete_from_us }, Origin::Memory));
        }
        let (mut past, origin) = match &self.postgres {
            Some(postgres) => {
                let rows = postgres.ticks(range).await?;
                let horizon = postgres.ticks_from_us().await?.unwrap_or(0);
                (Past { rows, complete_from_us: horizon }, Origin::Postgres)
            }
            None => (self.topic.ticks(range).await?, Origin::Topic),
        };
        // Memory may know a tick, or a correction, that the store does not know yet.
        past.rows.extend(rows);
        past.rows.sort_by_key(|row| std::cmp::Reverse((event_time(row), row.event_id, row.revision)));
        past.rows.dedup_by_key(|row| row.event_id);
        past.rows.truncate(range.limit);
        if past.rows.len() >= range.limit {
            past.complete_from_us = past.rows.last().map_or(past.complete_from_us, event_time);
        }
        Ok((past, origin))
    }

    /// The newest gaps that touch a time, newest first.
    ///
    /// # Errors
    /// As [`Self::ticks`].
    pub async fn gaps(
        &self,
        hub: &Hub,
        source: Option<&str>,
        from_us: i64,
        to_us: i64,
        limit: usize,
    ) -> Result<(Past<GapRow>, Origin), ApiError> {
        let (mut rows, now_us) = {
            let live = hub.live();
            let rows: Vec<GapRow> = live.gaps.between(from_us, to_us).into_iter().map(|gap| gap.row.clone()).collect();
            (rows, live.now_us())
        };
        rows.retain(|gap| source.is_none_or(|source| gap.source == source || gap.source == "*"));
        let memory_from_us = now_us - GAPS_KEPT_US;
        match &self.postgres {
            Some(postgres) if from_us < memory_from_us => {
                rows.extend(postgres.gaps(source, from_us, to_us, limit).await?);
                // A closing wins over an opening.
                rows.sort_by_key(|gap| (gap.id, gap.ended_at_us.is_none()));
                rows.dedup_by_key(|gap| gap.id);
                Ok((Past { rows: newest_gaps(rows, limit), complete_from_us: from_us }, Origin::Postgres))
            }
            _ => {
                let complete_from_us = from_us.max(memory_from_us.min(to_us));
                Ok((Past { rows: newest_gaps(rows, limit), complete_from_us }, Origin::Memory))
            }
        }
    }

    /// Of each source and price basis of a symbol over the last `hours`.
    ///
    /// # Errors
    /// As [`Self::ticks`].
    pub async fn statistics(
        &self,
        hub: &Hub,
        symbol: &str,
        source: Option<&str>,
        hours: u32,
    ) -> Result<(Past<Statistics>, Origin), ApiError> {
        let (mut rows, from_us, to_us, whole_from_us) = {
            let live = hub.live();
            let now_us = live.now_us();
            (
                live.statistics(symbol, hours),
                now_us - i64::from(hours) * Timeframe::Hour.width_us(),
                now_us,
                live.whole_from_us(),
            )
        };
        if (from_us < whole_from_us || hours > 24)
            && let Some(postgres) = &self.postgres
        {
            let rows = postgres.statistics(&StatisticsRange { symbol, source, from_us, to_us }).await?;
            // Of days that were dropped only candles are left.
            let horizon = postgres.ticks_from_us().await?;
            let complete_from_us = horizon.map_or(from_us, |horizon| horizon.clamp(from_us, to_us));
            return Ok((Past { rows, complete_from_us }, Origin::Postgres));
        }
        rows.retain(|row| source.is_none_or(|source| row.source == source));
        let complete_from_us = from_us.max(whole_from_us.min(to_us)).max(to_us - 24 * Timeframe::Hour.width_us());
        Ok((Past { rows, complete_from_us }, Origin::Memory))
    }

    /// The newest alerts that fired before a time; nothing where no database is named.
    ///
    /// # Errors
    /// As [`Self::ticks`].
    pub async fn alerts(
        &self,
        symbol: Option<&str>,
        before_us: i64,
        limit: usize,
    ) -> Result<Option<Vec<crate::state::row::AlertRow>>, ApiError> {
        match &self.postgres {
            Some(postgres) => postgres.alerts(symbol, before_us, limit).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Closed gaps stay in memory for a day.
const GAPS_KEPT_US: i64 = 24 * 3_600_000_000;

fn event_time(row: &TickRow) -> i64 {
    row.event_time_us.unwrap_or_default()
}

fn newest_gaps(mut rows: Vec<GapRow>, limit: usize) -> Vec<GapRow> {
    rows.sort_by_key(|gap| std::cmp::Reverse((gap.started_at_us, gap.id)));
    rows.truncate(limit);
    rows
}

/// The newest `limit` of each source and price basis, in order of time.
fn newest(mut candles: Vec<Candle>, limit: usize) -> Vec<Candle> {
    candles.sort_by(|a, b| {
        (&a.source, a.price_basis.as_str(), a.start_us).cmp(&(&b.source, b.price_basis.as_str(), b.start_us))
    });
    let mut kept: Vec<Candle> = Vec::with_capacity(candles.len());
    for series in candles.chunk_by(|a, b| a.source == b.source && a.price_basis == b.price_basis) {
        kept.extend_from_slice(&series[series.len().saturating_sub(limit)..]);
    }
    kept.sort_by(|a, b| {
        (a.start_us, &a.source, a.price_basis.as_str()).cmp(&(b.start_us, &b.source, b.price_basis.as_str()))
    });
    kept
}
