//! Candles and latest prices after an exchange of ticks. Invariant: each is what the ticks there are come to, or, where a rollback
//! finds it as the promotion left it, what it was before. Must never happen here: a tick that came since and that a candle or a
//! latest price loses.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, PgTransaction};
use uuid::Uuid;

use super::Scope;
use crate::candles::{self, Keys, Minute, Series, fold};
use crate::timestamptz::Timestamptz;
use crate::transaction::find_latest;

const MINUTES: &str = include_str!("../sql/exchange/minutes.sql");
const MINUTES_OF: &str = include_str!("../sql/exchange/minutes_of.sql");
const WRONG_IN_SCOPE: &str = include_str!("../sql/exchange/wrong_in_scope.sql");
const KEEP_CANDLES: &str = include_str!("../sql/exchange/keep_candles.sql");
const TAKE_CANDLES: &str = include_str!("../sql/exchange/take_candles.sql");
const SAME_CANDLES: &str = include_str!("../sql/exchange/same_candles.sql");
const PUT_BACK_CANDLES: &str = include_str!("../sql/exchange/put_back_candles.sql");
const PAIRS_OF_ROWS: &str = include_str!("../sql/exchange/pairs_of_rows.sql");
const SHOWS_EXCHANGED: &str = include_str!("../sql/exchange/shows_exchanged.sql");
const STALE_LATEST: &str = include_str!("../sql/exchange/stale_latest.sql");
const KEEP_LATEST: &str = include_str!("../sql/exchange/keep_latest.sql");
const LATEST_AS_LEFT: &str = include_str!("../sql/exchange/latest_as_left.sql");
const PUT_BACK_LATEST: &str = include_str!("../sql/exchange/put_back_latest.sql");

/// A candle that was found to be not what its ticks come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongCandle {
    pub symbol: String,
    pub source: String,
    pub price_basis: String,
    pub timeframe: String,
    /// As Postgres reads it.
    pub bucket: String,
}

/// Symbol, source, price basis, minute.
type OwnedMinute = (String, String, String, Timestamptz);

fn minute((symbol, source, price_basis, minute): &OwnedMinute) -> Minute<'_> {
    (Series { symbol, source, price_basis }, *minute)
}

/// After a promotion's ticks are in their place.
pub async fn make_again(
    scope: &Scope,
    transaction: &mut PgTransaction<'_>,
    wrong_candles: &[WrongCandle],
    wrong_latest: &[(String, String)],
    horizon: Timestamptz,
) -> Result<(), sqlx::Error> {
    let mut found: Vec<OwnedMinute> =
        sqlx::query_as(AssertSqlSafe(scope.of(MINUTES))).bind(horizon).fetch_all(&mut **transaction).await?;
    found.extend(in_scope(scope, transaction, wrong_candles).await?.into_iter().filter(|found| found.3 >= horizon));
    let touched: BTreeSet<Minute<'_>> = found.iter().map(minute).collect();
    if !touched.is_empty() {
        let buckets = fold::wider(&touched);
        let keys = Keys::of(&buckets);
        let keep = |rows: &str| AssertSqlSafe(scope.of(&KEEP_CANDLES.replace("$rows", rows)));
        keys.bind(sqlx::query(keep("candles_before"))).execute(&mut **transaction).await?;
        sqlx::query(AssertSqlSafe(scope.of(TAKE_CANDLES))).execute(&mut **transaction).await?;
        candles::keep(transaction, BTreeMap::new(), touched, true).await?;
        keys.bind(sqlx::query(keep("candles_after"))).execute(&mut **transaction).await?;
        sqlx::query(AssertSqlSafe(scope.of(SAME_CANDLES))).execute(&mut **transaction).await?;
    }
    let stale = stale(scope, transaction, wrong_latest, horizon).await?;
    if stale.is_empty() {
        return Ok(());
    }
    let (symbols, sources): (Vec<String>, Vec<String>) = stale.iter().cloned().unzip();
    let keep = |rows: &str| AssertSqlSafe(scope.of(&KEEP_LATEST.replace("$rows", rows)));
    sqlx::query(keep("latest_before")).bind(&symbols).bind(&sources).execute(&mut **transaction).await?;
    find_latest(transaction, stale, horizon).await?;
    sqlx::query(keep("latest_after")).bind(&symbols).bind(&sources).execute(&mut **transaction).await.map(drop)
}

/// After a rollback's ticks are back in their place. In `kept` minutes a tick is not what it was before the promotion.
pub async fn put_back(
    scope: &Scope,
    transaction: &mut PgTransaction<'_>,
    kept: &[OwnedMinute],
    horizon: Timestamptz,
) -> Result<(), sqlx::Error> {
    let kept: BTreeSet<Minute<'_>> = kept.iter().map(minute).collect();
    let buckets: Vec<_> = kept.iter().map(|(series, minute)| (*series, fold::Timeframe::Minute, *minute)).collect();
    let query = sqlx::query_as(AssertSqlSafe(scope.of(PUT_BACK_CANDLES)));
    let keys = Keys::of(&buckets);
    let others: Vec<OwnedMinute> = query
        .bind(keys.symbols)
        .bind(keys.sources)
        .bind(keys.price_bases)
        .bind(keys.buckets)
        .fetch_all(&mut **transaction)
        .await?;
    let again: BTreeSet<Minute<'_>> = others.iter().filter(|other| other.3 >= horizon).map(minute).collect();
    candles::keep(transaction, BTreeMap::new(), again, true).await?;

    let as_left: Vec<(String, String)> =
        sqlx::query_as(AssertSqlSafe(scope.of(LATEST_AS_LEFT))).fetch_all(&mut **transaction).await?;
    let (symbols, sources): (Vec<&str>, Vec<&str>) =
        as_left.iter().map(|(symbol, source)| (symbol.as_str(), source.as_str())).unzip();
    let back = sqlx::query(AssertSqlSafe(scope.of(PUT_BACK_LATEST))).bind(symbols).bind(sources);
    back.execute(&mut **transaction).await?;
    let mut outdated: Vec<(String, String)> =
        sqlx::query_as(AssertSqlSafe(scope.of(SHOWS_EXCHANGED))).fetch_all(&mut **transaction).await?;
    outdated.retain(|pair| !as_left.contains(pair));
    if outdated.is_empty() { Ok(()) } else { find_latest(transaction, outdated, horizon).await }
}

/// The minutes in which these events stand or stood.
pub async fn minutes_of(
    scope: &Scope,
    transaction: &mut PgTransaction<'_>,
    events: &[Uuid],
) -> Result<Vec<OwnedMinute>, sqlx::Error> {
    sqlx::query_as(AssertSqlSafe(scope.of(MINUTES_OF))).bind(events).fetch_all(&mut **transaction).await
}

async fn in_scope(
    scope: &Scope,
    transaction: &mut PgTransaction<'_>,
    wrong: &[WrongCandle],
) -> Result<Vec<OwnedMinute>, sqlx::Error> {
    let column = |get: fn(&WrongCandle) -> &str| wrong.iter().map(get).collect::<Vec<&str>>();
    sqlx::query_as(AssertSqlSafe(scope.of(WRONG_IN_SCOPE)))
        .bind(column(|candle| &candle.symbol))
        .bind(column(|candle| &candle.source))
        .bind(column(|candle| &candle.price_basis))
        .bind(column(|candle| &candle.timeframe))
        .bind(column(|candle| &candle.bucket))
        .fetch_all(&mut **transaction)
        .await
}

/// Symbols and sources of what is exchanged, and of `wrong`, whose latest price is not their newest tick.
async fn stale(
    scope: &Scope,
    transaction: &mut PgTransaction<'_>,
    wrong: &[(String, String)],
    horizon: Timestamptz,
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let (symbols, sources): (Vec<&str>, Vec<&str>) =
        wrong.iter().map(|(symbol, source)| (symbol.as_str(), source.as_str())).unzip();
    let asking = sqlx::query_as(AssertSqlSafe(scope.of(PAIRS_OF_ROWS))).bind(symbols).bind(sources);
    let pairs: Vec<(String, String)> = asking.fetch_all(&mut **transaction).await?;
    let (symbols, sources): (Vec<String>, Vec<String>) = pairs.into_iter().unzip();
    let asking = sqlx::query_as(AssertSqlSafe(scope.of(STALE_LATEST))).bind(symbols).bind(sources).bind(horizon);
    asking.fetch_all(&mut **transaction).await
}
