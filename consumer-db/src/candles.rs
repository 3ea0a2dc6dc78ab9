//! The table `candles`, kept in the transaction that changes `ticks` or `gaps`.
//!
//! The invariant: once a transaction is committed, each candle is what the ticks of its bucket that are not retracted come
//! to, and is complete unless a gap overlaps it; there is no candle without ticks. Candles before the horizon of retention
//! are frozen. It holds because
//! - ticks that are new are merged into their candles by one upsert: merging gives the same in any order, and the row's lock
//!   makes two writers do it one after the other;
//! - where a tick was replaced, deleted, taken back or given another symbol, the candles of the old and of the new place are
//!   locked first and made again in later statements, minutes from ticks and each wider one from the narrower. Whoever had
//!   such a candle's lock before has committed its ticks by then; whoever waits for it merges into what was made;
//! - a transaction that changes gaps runs alone, so no candle is made beside it that does not know of them.
//!
//! Rows are locked in key order, after those of ticks and before latest prices.

pub mod fold;
mod sum;

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgTransaction;

pub use fold::{Bucket, Candle, Series, Timeframe, fold};

use crate::numeric::Numeric;
use crate::timestamptz::Timestamptz;

const MERGE_CANDLES: &str = include_str!("sql/merge_candles.sql");
const LOCK_CANDLES: &str = include_str!("sql/lock_candles.sql");
const MAKE_MINUTES: &str = include_str!("sql/make_minutes.sql");
const ROLL_UP_CANDLES: &str = include_str!("sql/roll_up_candles.sql");
const DELETE_EMPTY_CANDLES: &str = include_str!("sql/delete_empty_candles.sql");
const JUDGE_CANDLES: &str = include_str!("sql/judge_candles.sql");

/// A minute of a series.
pub type Minute<'a> = (Series<'a>, Timestamptz);

/// A gap as it was or is: JSON, as Postgres tells it and takes it back.
pub struct ChangedGap(pub String);

/// Merges the candles of new ticks in, and makes the candles of touched minutes again, from all ticks there are. Beside other
/// writers, where any minute is touched all are made again: only so is each lock taken in key order, by one statement.
pub async fn keep<'a>(
    transaction: &mut PgTransaction<'_>,
    mut new: BTreeMap<Bucket<'a>, Candle>,
    mut touched: BTreeSet<Minute<'a>>,
    is_alone: bool,
) -> Result<(), sqlx::Error> {
    if touched.is_empty() {
        return merge(transaction, &new).await;
    }
    if !is_alone {
        let minutes = new.keys().filter(|(_, timeframe, _)| *timeframe == Timeframe::Minute);
        touched.extend(minutes.map(|(series, _, minute)| (*series, *minute)));
    }
    let again = fold::wider(&touched);
    let keys = Keys::of(&again);
    keys.bind(sqlx::query(LOCK_CANDLES)).execute(&mut **transaction).await?;
    let minutes = Keys::of(again.iter().filter(|(_, timeframe, _)| *timeframe == Timeframe::Minute));
    let (first, last) = (minutes.buckets.iter().min().copied(), minutes.buckets.iter().max().copied());
    let query = minutes.bind_series(sqlx::query(MAKE_MINUTES)).bind(first).bind(last);
    query.execute(&mut **transaction).await?;
    // What is made again has the new ticks in it already.
    new.retain(|bucket, _| !again.contains(bucket));
    merge(transaction, &new).await?;
    for pair in Timeframe::ALL.windows(2) {
        let [narrower, timeframe] = pair else { continue };
        let wider = Keys::of(again.iter().filter(|(_, found, _)| found == timeframe));
        let query = sqlx::query(ROLL_UP_CANDLES).bind(timeframe.name()).bind(narrower.name());
        wider.bind_series(query).execute(&mut **transaction).await?;
    }
    keys.bind(sqlx::query(DELETE_EMPTY_CANDLES)).execute(&mut **transaction).await?;
    Ok(())
}

/// Says again of each candle in the gaps' times whether it is complete; the transaction must be alone.
pub async fn judge(
    transaction: &mut PgTransaction<'_>,
    gaps: &[ChangedGap],
    horizon: Timestamptz,
) -> Result<(), sqlx::Error> {
    if gaps.is_empty() {
        return Ok(());
    }
    let gaps: Vec<&str> = gaps.iter().map(|ChangedGap(fields)| fields.as_str()).collect();
    sqlx::query(JUDGE_CANDLES).bind(gaps).bind(horizon).execute(&mut **transaction).await?;
    Ok(())
}

async fn merge(transaction: &mut PgTransaction<'_>, new: &BTreeMap<Bucket<'_>, Candle>) -> Result<(), sqlx::Error> {
    if new.is_empty() {
        return Ok(());
    }
    let day = |(_, _, bucket): &Bucket<'_>| Timeframe::Day.bucket(*bucket);
    let end = |(_, timeframe, bucket): &Bucket<'_>| Timestamptz(bucket.0 + timeframe.width_micros());
    let traded = |sum: fn(&fold::Traded) -> Option<Numeric>| -> Vec<Option<Numeric>> {
        new.values().map(|candle| candle.traded.as_ref().and_then(sum)).collect()
    };
    Keys::of(new.keys())
        .bind(sqlx::query(MERGE_CANDLES))
        .bind(new.keys().map(end).collect::<Vec<_>>())
        .bind(new.keys().map(day).collect::<Vec<_>>())
        .bind(column(new, |candle| Numeric::from(candle.open)))
        .bind(column(new, |candle| Numeric::from(candle.high)))
        .bind(column(new, |candle| Numeric::from(candle.low)))
        .bind(column(new, |candle| Numeric::from(candle.close)))
        .bind(traded(|traded| Some(Numeric::from(&traded.quote_volume))))
        .bind(column(new, |candle| candle.ticks))
        .bind(column(new, |candle| candle.first.event_time))
        .bind(column(new, |candle| candle.last.event_time))
        .bind(column(new, |candle| candle.first.event_id))
        .bind(column(new, |candle| candle.last.event_id))
        .bind(column(new, |candle| Numeric::from(&candle.prices)))
        .bind(traded(|traded| Some(Numeric::from(&traded.quantity))))
        .bind(traded(|traded| traded.negative.as_ref().map(Numeric::from)))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

fn column<T>(candles: &BTreeMap<Bucket<'_>, Candle>, get: impl Fn(&Candle) -> T) -> Vec<T> {
    candles.values().map(get).collect()
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// The key's columns.
#[derive(Default)]
pub struct Keys<'a> {
    pub symbols: Vec<&'a str>,
    pub sources: Vec<&'a str>,
    pub price_bases: Vec<&'a str>,
    timeframes: Vec<&'static str>,
    pub buckets: Vec<Timestamptz>,
}

impl<'a> Keys<'a> {
    pub fn of<'b>(buckets: impl IntoIterator<Item = &'b Bucket<'a>>) -> Self
    where
        'a: 'b,
    {
        let mut keys = Self::default();
        for (series, timeframe, bucket) in buckets {
            keys.symbols.push(series.symbol);
            keys.sources.push(series.source);
            keys.price_bases.push(series.price_basis);
            keys.timeframes.push(timeframe.name());
            keys.buckets.push(*bucket);
        }
        keys
    }

    pub fn bind<'q>(&self, query: Query<'q>) -> Query<'q>
    where
        'a: 'q,
    {
        query
            .bind(self.symbols.clone())
            .bind(self.sources.clone())
            .bind(self.price_bases.clone())
            .bind(self.timeframes.clone())
            .bind(self.buckets.clone())
    }

    /// Without the timeframe.
    fn bind_series<'q>(&self, query: Query<'q>) -> Query<'q>
    where
        'a: 'q,
    {
        query
            .bind(self.symbols.clone())
            .bind(self.sources.clone())
            .bind(self.price_bases.clone())
            .bind(self.buckets.clone())
    }
}
