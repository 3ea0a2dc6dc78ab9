//! One round, one transaction: documents, ticks, candles, latest prices. Ordinary ticks go straight into `ticks` by COPY,
//! which is the fastest way in and fails as a whole when a place is taken (see [`Method`]); the others go through a staging
//! table.
//!
//! Invariants, whatever the batches, their order and the writers beside this one:
//! - At a place stands the highest revision, and among equal ones the record that the broker took first; nothing stands at a
//!   place that the event has left with a higher revision.
//! - `candles` are what `ticks` and `gaps` come to ([`crate::candles`]).
//! - `latest_prices` shows per symbol and source the newest tick that is not retracted.
//!
//! Two writers: rows are locked in key order, ticks before candles before latest prices; a round that corrects runs alone,
//! so it sees each row that it must delete, and every later one sees what it moved; so does a round with gaps, so that
//! every later candle knows of them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Instant;

use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, PgTransaction, Row as _};
use uuid::Uuid;

use crate::candles::{self, Minute, Series, Timeframe};
use crate::copy_format::{Columns, CopyData};
use crate::documents::merge::merge_documents;
use crate::refusal::Refusal;
use crate::round::Round;
use crate::rows::{Batch, Place, Row};
use crate::timestamptz::Timestamptz;

pub const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
const BEGIN_BATCH: &str = include_str!("sql/begin_batch.sql");
const HORIZON: &str = include_str!("sql/horizon.sql");
const COPY_INTO_TICKS: &str = include_str!("sql/copy_into_ticks.sql");
const COPY_INTO_STAGING: &str = include_str!("sql/copy_into_staging.sql");
const INSERT_STAGED: &str = include_str!("sql/insert_staged.sql");
const LOCK_OUTRANKED: &str = include_str!("sql/lock_outranked.sql");
const REPLACE_OUTRANKED: &str = include_str!("sql/replace_outranked.sql");
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
    /// COPY into a staging table; from there what is new is inserted and what is outranked replaced.
    Staged,
}

/// What a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub inserted: u64,
    pub replaced: u64,
    /// Records that changed nothing: known, or outranked.
    pub unchanged: u64,
    /// Records of a time whose ticks are kept no more.
    pub frozen: u64,
}

/// Writes the round and commits.
pub async fn write(connection: &mut PgConnection, round: &Round<'_>, method: Method) -> Result<Counts, Refusal> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(Refusal::of_statement)?;
    let batch = &round.ticks;
    let Begun { standing, frozen, horizon } = begin_batch(&mut transaction, round).await?;
    if !round.documents.is_empty() {
        let spans = merge_documents(&mut transaction, &round.documents).await?;
        candles::judge(&mut transaction, &spans, horizon).await.map_err(Refusal::of_statement)?;
    }
    let mut changed = match method {
        Method::Direct => {
            copy(&mut transaction, COPY_INTO_TICKS, batch, &standing, Columns::ALL).await?;
            Changed { inserted: standing, ..Changed::default() }
        }
        Method::Staged => merge(&mut transaction, batch, &standing).await?,
    };
    if batch.corrects() {
        changed.deleted = delete_moved(&mut transaction, batch).await?;
    }
    let begun = Instant::now();
    let new = candles::fold(batch, changed.inserted.iter());
    let touched = changed.minutes(batch, horizon);
    candles::keep(&mut transaction, new, &touched).await.map_err(Refusal::of_statement)?;
    metrics::histogram!("tickstream_db_candles_seconds").record(begun.elapsed());
    show_latest(&mut transaction, batch, &changed).await.map_err(Refusal::of_statement)?;
    transaction.commit().await.map_err(Refusal::of_statement)?;

    let (inserted, replaced) = (changed.inserted.len() as u64, changed.replaced.len() as u64);
    let unchanged = (batch.rows().len() as u64).saturating_sub(inserted + replaced + frozen);
    Ok(Counts { inserted, replaced, unchanged, frozen })
}

#[derive(Default)]
struct Changed {
    inserted: Vec<Row>,
    /// What stood there, and what does now.
    replaced: Vec<(Known, Row)>,
    deleted: Vec<Known>,
}

/// A row as it was before it was replaced or deleted.
struct Known {
    place: Place,
    symbol: String,
    source: String,
    kind: String,
    retracted: bool,
}

impl Known {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let place = Place { event_time: row.try_get(0)?, event_id: row.try_get(1)? };
        let (symbol, source, kind) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        Ok(Self { place, symbol, source, kind, retracted: row.try_get(5)? })
    }

    fn series(&self) -> Series<'_> {
        Series { symbol: &self.symbol, source: &self.source, price_basis: &self.kind }
    }
}

impl Changed {
    /// The minutes whose candles the new rows alone do not tell: where a row was replaced or deleted, at both ends.
    fn minutes<'a>(&'a self, batch: &'a Batch<'_>, horizon: Timestamptz) -> BTreeSet<Minute<'a>> {
        let before = self.replaced.iter().map(|(known, _)| known).chain(&self.deleted);
        let before = before.filter(|known| !known.retracted).map(|known| (known.series(), known.place));
        let now = self.replaced.iter().map(|(_, row)| row).filter(|row| !row.retracted);
        let now = now.map(|row| (batch.series(row), row.place));
        let minutes = before.chain(now).map(|(series, place)| (series, Timeframe::Minute.bucket(place.event_time)));
        minutes.filter(|(_, minute)| *minute >= horizon).collect()
    }
}

/// What [`begin_batch`] has found.
pub struct Begun {
    /// The winners that may stand where they are.
    pub standing: Vec<Row>,
    /// How many of the batch's rows lie before the horizon.
    frozen: u64,
    /// Ticks before it are kept no more.
    horizon: Timestamptz,
}

/// Takes the locks, notes what the batch moves, and finds what is to be written.
pub async fn begin_batch(transaction: &mut PgTransaction<'_>, round: &Round<'_>) -> Result<Begun, Refusal> {
    let batch = &round.ticks;
    sqlx::query(BEGIN_BATCH)
        .bind(round.runs_alone())
        .execute(&mut **transaction)
        .await
        .map_err(Refusal::of_statement)?;
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
    let horizon: Timestamptz =
        sqlx::query_scalar(HORIZON).fetch_one(&mut **transaction).await.map_err(Refusal::of_statement)?;
    let is_frozen = |row: &Row| row.place.event_time < horizon;
    // Rows are in key order, so those before the horizon come first.
    let frozen = batch.rows().partition_point(is_frozen) as u64;
    winners.drain(..winners.partition_point(is_frozen));
    let moved = moved_at(transaction, &winners).await.map_err(Refusal::of_statement)?;
    if !moved.is_empty() {
        winners.retain(|row| moved.get(&row.place).is_none_or(|revision| row.revision >= *revision));
    }
    Ok(Begun { standing: winners, frozen, horizon })
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
    columns: Columns,
) -> Result<(), Refusal> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut copying = transaction.copy_in_raw(statement).await.map_err(Refusal::of_statement)?;
    let mut data = CopyData::new(columns);
    for rows in rows.chunks(ROWS_A_MESSAGE) {
        for row in rows {
            data.push(row, batch.ticks(row));
        }
        copying.send(data.bytes()).await.map_err(Refusal::of_statement)?;
        data.clear();
    }
    copying.send(CopyData::END).await.map_err(Refusal::of_statement)?;
    copying.finish().await.map_err(|error| Refusal::of_copy(error, rows))?;
    Ok(())
}

/// Copies `rows` into the staging table, which is empty when a transaction begins.
pub async fn stage(
    transaction: &mut PgTransaction<'_>,
    batch: &Batch<'_>,
    rows: &[Row],
    columns: Columns,
) -> Result<(), Refusal> {
    copy(transaction, COPY_INTO_STAGING, batch, rows, columns).await
}

/// Gets `rows` in through the staging table, which is empty when a transaction begins.
async fn merge(transaction: &mut PgTransaction<'_>, batch: &Batch<'_>, rows: &[Row]) -> Result<Changed, Refusal> {
    stage(transaction, batch, rows, Columns::ALL).await?;
    let inserted = sqlx::query(INSERT_STAGED).fetch_all(&mut **transaction).await.map_err(Refusal::of_rows)?;
    let place = |row: PgRow| Ok(Place { event_time: row.try_get(0)?, event_id: row.try_get(1)? });
    let inserted: Result<HashSet<Place>, sqlx::Error> = inserted.into_iter().map(place).collect();
    let inserted = inserted.map_err(Refusal::of_statement)?;
    let (inserted, known): (Vec<Row>, Vec<Row>) = rows.iter().partition(|row| inserted.contains(&row.place));
    let mut changed = Changed { inserted, ..Changed::default() };
    if known.is_empty() {
        return Ok(changed);
    }
    let outranked = sqlx::query(LOCK_OUTRANKED).fetch_all(&mut **transaction).await.map_err(Refusal::of_statement)?;
    if outranked.is_empty() {
        return Ok(changed);
    }
    let by_place: HashMap<Place, Row> = known.into_iter().map(|row| (row.place, row)).collect();
    for row in &outranked {
        let known = Known::read(row).map_err(Refusal::of_statement)?;
        changed.replaced.extend(by_place.get(&known.place).map(|row| (known, *row)));
    }
    let (times, ids) = columns(changed.replaced.iter().map(|(known, _)| known.place));
    sqlx::query(REPLACE_OUTRANKED).bind(times).bind(ids).execute(&mut **transaction).await.map_err(Refusal::of_rows)?;
    Ok(changed)
}

/// Deletes what stands at places that the batch's events have left.
async fn delete_moved(transaction: &mut PgTransaction<'_>, batch: &Batch<'_>) -> Result<Vec<Known>, Refusal> {
    let left: HashSet<Place> = batch.rows().iter().filter_map(Row::left).collect();
    if left.is_empty() {
        return Ok(Vec::new());
    }
    let (times, ids) = columns(left);
    let deleted = sqlx::query(DELETE_MOVED).bind(times).bind(ids).fetch_all(&mut **transaction).await;
    let deleted = deleted.map_err(Refusal::of_statement)?;
    deleted.iter().map(Known::read).collect::<Result<_, _>>().map_err(Refusal::of_statement)
}

/// Brings `latest_prices` up to date with what was changed in `ticks`.
async fn show_latest(
    transaction: &mut PgTransaction<'_>,
    batch: &Batch<'_>,
    changed: &Changed,
) -> Result<(), sqlx::Error> {
    let gone = changed.replaced.iter().map(|(known, _)| known).chain(&changed.deleted);
    let events: Vec<Uuid> = gone.map(|known| known.place.event_id).collect();
    if !events.is_empty() {
        // What is shown of a replaced or deleted row is perhaps the newest no longer.
        let outdated: Vec<(String, String)> =
            sqlx::query_as(LOCK_LATEST).bind(&events).fetch_all(&mut **transaction).await?;
        if !outdated.is_empty() {
            let (symbols, sources): (Vec<String>, Vec<String>) = outdated.into_iter().unzip();
            sqlx::query(DELETE_LATEST).bind(&symbols).bind(&sources).execute(&mut **transaction).await?;
            sqlx::query(FIND_LATEST).bind(&symbols).bind(&sources).execute(&mut **transaction).await?;
        }
    }
    let written = changed.inserted.iter().chain(changed.replaced.iter().map(|(_, row)| row));
    let candidates = batch.newest(written);
    if !candidates.is_empty() {
        let (times, ids) = columns(candidates);
        sqlx::query(RAISE_LATEST).bind(times).bind(ids).execute(&mut **transaction).await?;
    }
    Ok(())
}

fn columns(places: impl IntoIterator<Item = Place>) -> (Vec<Timestamptz>, Vec<Uuid>) {
    places.into_iter().map(|place| (place.event_time, place.event_id)).unzip()
}
