//! `latest_prices`, brought up to date with what a round changed in `ticks` and `candles`. Where the tick that is shown was
//! replaced or deleted, the newest one is looked for: the candles tell in which minute, so that one that lies far back, or is
//! nowhere, costs no more than one of today.

use pipeline::events::Kind;
use sqlx::PgTransaction;
use uuid::Uuid;

use super::{Changed, between, columns};
use crate::rows::{Batch, Place};
use crate::timestamptz::Timestamptz;

const LOCK_LATEST: &str = include_str!("../sql/lock_latest.sql");
const DELETE_LATEST: &str = include_str!("../sql/delete_latest.sql");
const NEWEST_MINUTES: &str = include_str!("../sql/newest_minutes.sql");
const FIND_LATEST: &str = include_str!("../sql/find_latest.sql");
const RAISE_LATEST: &str = include_str!("../sql/raise_latest.sql");

/// Candles must be up to date.
pub async fn show_latest(
    transaction: &mut PgTransaction<'_>,
    batch: &Batch<'_>,
    changed: &Changed,
    horizon: Timestamptz,
) -> Result<(), sqlx::Error> {
    let written = changed.inserted.iter().chain(changed.replaced.iter().map(|(_, row)| row));
    let (pairs, candidates): (Vec<(&str, &str)>, Vec<Place>) = batch.newest(written).into_iter().unzip();
    let gone = changed.replaced.iter().map(|(known, _)| known).chain(&changed.deleted);
    let events: Vec<Uuid> = gone.map(|known| known.place.event_id).collect();
    if !events.is_empty() {
        // What is shown of a replaced or deleted row is perhaps the newest no longer.
        let (symbols, sources): (Vec<&str>, Vec<&str>) = pairs.into_iter().unzip();
        let query = sqlx::query_as(LOCK_LATEST).bind(&events).bind(symbols).bind(sources);
        let locked: Vec<(String, String, bool)> = query.fetch_all(&mut **transaction).await?;
        let outdated = locked.into_iter().filter(|(.., is_outdated)| *is_outdated);
        let outdated: Vec<(String, String)> = outdated.map(|(symbol, source, _)| (symbol, source)).collect();
        if !outdated.is_empty() {
            find_latest(transaction, outdated, horizon).await?;
        }
    }
    if !candidates.is_empty() {
        let (times, ids) = columns(candidates);
        let (first, last) = between(&times);
        let query = sqlx::query(RAISE_LATEST).bind(&times).bind(ids).bind(first).bind(last);
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

/// Shows anew what there is of each symbol and source. Candles must be up to date.
pub async fn find_latest(
    transaction: &mut PgTransaction<'_>,
    outdated: Vec<(String, String)>,
    horizon: Timestamptz,
) -> Result<(), sqlx::Error> {
    let (symbols, sources): (Vec<String>, Vec<String>) = outdated.into_iter().unzip();
    sqlx::query(DELETE_LATEST).bind(&symbols).bind(&sources).execute(&mut **transaction).await?;
    let bases: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    let query = sqlx::query_as(NEWEST_MINUTES).bind(symbols).bind(sources).bind(bases).bind(horizon);
    let minutes: Vec<(String, String, String, Timestamptz)> = query.fetch_all(&mut **transaction).await?;
    let (mut symbols, mut sources, mut bases, mut buckets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (symbol, source, basis, bucket) in minutes {
        symbols.push(symbol);
        sources.push(source);
        bases.push(basis);
        buckets.push(bucket);
    }
    let (first, last) = between(&buckets);
    let query = sqlx::query(FIND_LATEST).bind(symbols).bind(sources).bind(bases).bind(&buckets).bind(first).bind(last);
    query.execute(&mut **transaction).await?;
    Ok(())
}
