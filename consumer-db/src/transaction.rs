//! One batch, one transaction. Ordinary batches go straight into `ticks` by COPY, which is the fastest way in and fails as
//! a whole when a place is taken (see [`Method`]); the others go through a staging table and an upsert.
//!
//! Invariants, whatever the batches, their order and the writers beside this one:
//! - At a place stands the highest revision, and among equal ones the record that the broker took first; nothing stands at a
//!   place that the event has left with a higher revision.
//! - `latest_prices` shows per symbol and source the newest tick that is not retracted.
//!
//! Two writers: rows are locked in key order, ticks before latest prices; a batch that corrects runs alone, so it sees each
//! row that it must delete, and every later batch sees what it moved.

use std::collections::{HashMap, HashSet};

use sqlx::{Connection, PgConnection, PgTransaction, Row as _};
use uuid::Uuid;

use crate::copy_format::CopyData;
use crate::refusal::Refusal;
use crate::rows::{Batch, Place, Row};
use crate::timestamptz::Timestamptz;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
const BEGIN_BATCH: &str = include_str!("sql/begin_batch.sql");
const COPY_INTO_TICKS: &str = include_str!("sql/copy_into_ticks.sql");
const COPY_INTO_STAGING: &str = include_str!("sql/copy_into_staging.sql");
const CLEAR_STAGING: &str = include_str!("sql/clear_staging.sql");
const MERGE_STAGING: &str = include_str!("sql/merge_staging.sql");
const ANY_MOVED: &str = include_str!("sql/any_moved.sql");
const MOVED_AT: &str = include_str!("sql/moved_at.sql");
const NOTE_MOVES: &str = include_str!("sql/note_moves.sql");
const DELETE_MOVED: &str = include_str!("sql/delete_moved.sql");
const LOCK_LATEST: &str = include_str!("sql/lock_latest.sql");
const DELETE_LATEST: &str = include_str!("sql/delete_latest.sql");
const FIND_LATEST: &str = include_str!("sql/find_latest.sql");
const RAISE_LATEST: &str = include_str!("sql/raise_latest.sql");

/// The server inserts one message's rows while the next ones are being encoded.
const ROWS_A_MESSAGE: usize = 500;

/// How rows get into `ticks`. Measured with 1M ticks: COPY 2.7 s; COPY into a staging table and INSERT … SELECT … ON
/// CONFLICT 5.0 s; INSERT … SELECT unnest(…) ON CONFLICT 6.1 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// COPY into `ticks`. Any place already taken refuses the whole batch.
    Direct,
    /// COPY into a staging table, then an upsert.
    Staged,
}

/// What a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub inserted: u64,
    pub replaced: u64,
    /// Records that changed nothing: known, or outranked.
    pub unchanged: u64,
}

/// Writes the batch and commits.
pub async fn write(connection: &mut PgConnection, batch: &Batch<'_>, method: Method) -> Result<Counts, Refusal> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(Refusal::of_statement)?;
    let standing = begin_batch(&mut transaction, batch).await?;
    let mut changed = Changed::default();
    match method {
        Method::Direct => {
            copy(&mut transaction, COPY_INTO_TICKS, batch, &standing).await?;
            changed.inserted = standing.len() as u64;
            changed.candidates = batch.newest(&standing);
        }
        Method::Staged => {
            let (known, written) = merge(&mut transaction, batch, &standing).await?;
            changed.inserted = (standing.len() as u64).saturating_sub(known);
            changed.replaced = (written.len() as u64).saturating_sub(changed.inserted);
            changed.events = written.iter().map(|place| place.event_id).collect();
            changed.candidates = written;
        }
    }
    if batch.corrects() {
        changed.events.extend(delete_moved(&mut transaction, batch).await?);
    }
    show_latest(&mut transaction, &changed).await.map_err(Refusal::of_statement)?;
    transaction.commit().await.map_err(Refusal::of_statement)?;

    let Changed { inserted, replaced, .. } = changed;
    let unchanged = (batch.rows().len() as u64).saturating_sub(inserted + replaced);
    Ok(Counts { inserted, replaced, unchanged })
}

/// Finds the rows that Postgres refuses, by halving, in a transaction that is rolled back. At most about 2·log2(n) tries a
/// bad row.
pub async fn find_refused(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<Vec<(Row, String)>, Refusal> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(Refusal::of_statement)?;
    let standing = begin_batch(&mut transaction, batch).await?;
    let mut refused = Vec::new();
    let mut parts = vec![&standing[..]];
    while let Some(part) = parts.pop() {
        let mut attempt = transaction.begin().await.map_err(Refusal::of_statement)?;
        sqlx::query(CLEAR_STAGING).execute(&mut *attempt).await.map_err(Refusal::of_statement)?;
        match merge(&mut attempt, batch, part).await {
            Ok(_) => attempt.commit().await.map_err(Refusal::of_statement)?,
            Err(Refusal::Row(reason)) => {
                attempt.rollback().await.map_err(Refusal::of_statement)?;
                match part {
                    [] => {}
                    [row] => refused.push((*row, reason)),
                    _ => {
                        let (left, right) = part.split_at(part.len() / 2);
                        parts.extend([right, left]);
                    }
                }
            }
            Err(other @ (Refusal::MissingDay | Refusal::Again(_) | Refusal::Outage(_))) => return Err(other),
        }
    }
    transaction.rollback().await.map_err(Refusal::of_statement)?;
    Ok(refused)
}

#[derive(Default)]
struct Changed {
    inserted: u64,
    replaced: u64,
    /// Events whose row was replaced or deleted, and perhaps ones that are new.
    events: Vec<Uuid>,
    /// Places whose row may be newer than the latest price.
    candidates: Vec<Place>,
}

/// Takes the locks, notes what the batch moves, and gives the winners that may stand where they are.
async fn begin_batch(transaction: &mut PgTransaction<'_>, batch: &Batch<'_>) -> Result<Vec<Row>, Refusal> {
    let corrects = batch.corrects();
    sqlx::query(BEGIN_BATCH).bind(corrects).execute(&mut **transaction).await.map_err(Refusal::of_statement)?;
    let moves: Vec<(Place, i32)> = batch.rows().iter().filter_map(|row| Some((row.left()?, row.revision))).collect();
    if !moves.is_empty() {
        let (times, ids) = columns(moves.iter().map(|(place, _)| *place));
        let revisions: Vec<i32> = moves.iter().map(|(_, revision)| *revision).collect();
        sqlx::query(NOTE_MOVES)
            .bind(times)
            .bind(ids)
            .bind(revisions)
            .execute(&mut **transaction)
            .await
            .map_err(Refusal::of_statement)?;
    }
    let mut winners = batch.winners();
    let moved = moved_at(transaction, &winners).await.map_err(Refusal::of_statement)?;
    if !moved.is_empty() {
        winners.retain(|row| moved.get(&row.place).is_none_or(|revision| row.revision >= *revision));
    }
    Ok(winners)
}

/// Which of the rows' places were left, and the lowest revision that may stand there.
async fn moved_at(transaction: &mut PgTransaction<'_>, rows: &[Row]) -> Result<HashMap<Place, i32>, sqlx::Error> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Ok(HashMap::new());
    };
    let any: bool = sqlx::query_scalar(ANY_MOVED)
        .bind(first.place.event_time)
        .bind(last.place.event_time)
        .fetch_one(&mut **transaction)
        .await?;
    if !any {
        return Ok(HashMap::new());
    }
    let (times, ids) = columns(rows.iter().map(|row| row.place));
    let found = sqlx::query(MOVED_AT).bind(times).bind(ids).fetch_all(&mut **transaction).await?;
    found
        .into_iter()
        .map(|row| Ok((Place { event_time: row.try_get(0)?, event_id: row.try_get(1)? }, row.try_get(2)?)))
        .collect()
}

async fn copy(
    transaction: &mut PgTransaction<'_>,
    statement: &'static str,
    batch: &Batch<'_>,
    rows: &[Row],
) -> Result<(), Refusal> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut copying = transaction.copy_in_raw(statement).await.map_err(Refusal::of_statement)?;
    let mut data = CopyData::default();
    for rows in rows.chunks(ROWS_A_MESSAGE) {
        for row in rows {
            data.push(row, batch.ticks(row));
        }
        copying.send(data.bytes()).await.map_err(Refusal::of_statement)?;
        data.clear();
    }
    copying.send(CopyData::END).await.map_err(Refusal::of_statement)?;
    copying.finish().await.map_err(Refusal::of_rows)?;
    Ok(())
}

/// Upserts `rows` through the staging table, which is empty when a transaction begins. Gives how many places were known, and
/// the places whose row was written.
async fn merge(
    transaction: &mut PgTransaction<'_>,
    batch: &Batch<'_>,
    rows: &[Row],
) -> Result<(u64, Vec<Place>), Refusal> {
    copy(transaction, COPY_INTO_STAGING, batch, rows).await?;
    let merged = sqlx::query(MERGE_STAGING).fetch_one(&mut **transaction).await.map_err(Refusal::of_rows)?;
    let known: i64 = merged.try_get(0).map_err(Refusal::of_statement)?;
    let times: Vec<Timestamptz> = merged.try_get(1).map_err(Refusal::of_statement)?;
    let ids: Vec<Uuid> = merged.try_get(2).map_err(Refusal::of_statement)?;
    let written = times.into_iter().zip(ids).map(|(event_time, event_id)| Place { event_time, event_id });
    Ok((known.unsigned_abs(), written.collect()))
}

/// Deletes what stands at places that the batch's events have left. Gives the events.
async fn delete_moved(transaction: &mut PgTransaction<'_>, batch: &Batch<'_>) -> Result<Vec<Uuid>, Refusal> {
    let left: HashSet<Place> = batch.rows().iter().filter_map(Row::left).collect();
    if left.is_empty() {
        return Ok(Vec::new());
    }
    let (times, ids) = columns(left);
    sqlx::query_scalar(DELETE_MOVED)
        .bind(times)
        .bind(ids)
        .fetch_all(&mut **transaction)
        .await
        .map_err(Refusal::of_statement)
}

/// Brings `latest_prices` up to date with what was changed in `ticks`.
async fn show_latest(transaction: &mut PgTransaction<'_>, changed: &Changed) -> Result<(), sqlx::Error> {
    if !changed.events.is_empty() {
        // What is shown of a replaced or deleted row is perhaps the newest no longer.
        let outdated: Vec<(String, String)> =
            sqlx::query_as(LOCK_LATEST).bind(&changed.events).fetch_all(&mut **transaction).await?;
        if !outdated.is_empty() {
            let (symbols, sources): (Vec<String>, Vec<String>) = outdated.into_iter().unzip();
            sqlx::query(DELETE_LATEST).bind(&symbols).bind(&sources).execute(&mut **transaction).await?;
            sqlx::query(FIND_LATEST).bind(&symbols).bind(&sources).execute(&mut **transaction).await?;
        }
    }
    if !changed.candidates.is_empty() {
        let (times, ids) = columns(changed.candidates.iter().copied());
        sqlx::query(RAISE_LATEST).bind(times).bind(ids).execute(&mut **transaction).await?;
    }
    Ok(())
}

fn columns(places: impl IntoIterator<Item = Place>) -> (Vec<Timestamptz>, Vec<Uuid>) {
    places.into_iter().map(|place| (place.event_time, place.event_id)).unzip()
}
