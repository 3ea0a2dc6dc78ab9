//! One round, one transaction: documents, ticks, candles, latest prices. Ordinary ticks go straight into `ticks` by COPY,
//! which is the fastest way in and fails as a whole when a place is taken. Where that is to be expected it is asked first what
//! stands at the places (see [`Method`]), and what replaces a row goes through a staging table.
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

mod begin;
mod latest;
mod look_up;
mod moves;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Instant;

use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, PgTransaction, Row as _};
use uuid::Uuid;

use crate::candles::{self, Bucket, Candle, Minute, Series, Timeframe};
use crate::copy_format::{Columns, CopyData};
use crate::documents::merge::merge_documents;
use crate::positions;
use crate::refusal::Refusal;
use crate::round::Round;
use crate::rows::{Batch, Place, Row};
use crate::timestamptz::Timestamptz;

pub use begin::{BEGIN, BEGIN_BATCH, Begun, begin_batch};
pub use latest::find_latest;
pub use moves::JOIN_BY_KEY;

const COPY_INTO_TICKS: &str = include_str!("sql/copy_into_ticks.sql");
const COPY_INTO_STAGING: &str = include_str!("sql/copy_into_staging.sql");
const INSERT_STAGED: &str = include_str!("sql/insert_staged.sql");
const LOCK_OUTRANKED: &str = include_str!("sql/lock_outranked.sql");
const REPLACE_OUTRANKED: &str = include_str!("sql/replace_outranked.sql");

/// The server inserts one message's rows while the next ones are being encoded.
const ROWS_A_MESSAGE: usize = 500;

/// How rows get into `ticks`, the next one where a place of the batch is taken. Measured with 1M ticks: COPY 2.7 s; COPY into a
/// staging table and INSERT … SELECT … ON CONFLICT 5.0 s; INSERT … SELECT unnest(…) ON CONFLICT 6.1 s. Ticks that
/// are all known are through about twice as fast looked up as staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// COPY into `ticks`. Any place already taken refuses the whole batch.
    Direct,
    /// The places are looked up; what is free is copied, what is outranked replaced, the rest is not sent. A place that
    /// another writer takes between the two refuses the whole batch.
    LookedUp,
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

/// What became of a round.
pub enum Outcome {
    Written(Counts),
    /// Nothing: the database lacks what comes before it.
    Behind,
}

/// Writes the round and commits.
pub async fn write(connection: &mut PgConnection, round: &Round<'_>, method: Method) -> Result<Outcome, Refusal> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(Refusal::of_statement)?;
    let batch = &round.ticks;
    let Begun { standing, left, frozen, horizon, is_behind } = begin_batch(&mut transaction, round).await?;
    if is_behind {
        transaction.rollback().await.map_err(Refusal::of_statement)?;
        return Ok(Outcome::Behind);
    }
    if !round.documents.is_empty() {
        let changed = merge_documents(&mut transaction, &round.documents).await?;
        candles::judge(&mut transaction, &changed, horizon).await.map_err(Refusal::of_statement)?;
    }
    let (mut changed, new) = match method {
        Method::Direct => copy_into_ticks(&mut transaction, batch, standing).await?,
        Method::LookedUp => {
            let found = look_up::look_up(&mut transaction, &standing).await.map_err(Refusal::of_statement)?;
            let (mut changed, new) = copy_into_ticks(&mut transaction, batch, found.free).await?;
            stage(&mut transaction, batch, &found.outranking, Columns::ALL).await?;
            changed.replaced = replace_outranked(&mut transaction, &found.outranking).await?;
            (changed, new)
        }
        Method::Staged => {
            let changed = merge(&mut transaction, batch, &standing).await?;
            let new = candles::fold(batch, changed.inserted.iter());
            (changed, new)
        }
    };
    changed.deleted = moves::delete_moved(&mut transaction, &left).await.map_err(Refusal::of_statement)?;
    keep_candles(&mut transaction, round, new, &changed, horizon).await.map_err(Refusal::of_statement)?;
    latest::show_latest(&mut transaction, batch, &changed, horizon).await.map_err(Refusal::of_statement)?;
    positions::move_on(&mut transaction, &round.read).await.map_err(Refusal::of_statement)?;
    transaction.commit().await.map_err(Refusal::of_statement)?;

    let (inserted, replaced) = (changed.inserted.len() as u64, changed.replaced.len() as u64);
    let unchanged = (batch.rows().len() as u64).saturating_sub(inserted + replaced + frozen);
    Ok(Outcome::Written(Counts { inserted, replaced, unchanged, frozen }))
}

async fn keep_candles(
    transaction: &mut PgTransaction<'_>,
    round: &Round<'_>,
    new: BTreeMap<Bucket<'_>, Candle>,
    changed: &Changed,
    horizon: Timestamptz,
) -> Result<(), sqlx::Error> {
    let begun = Instant::now();
    let touched = changed.minutes(&round.ticks, horizon);
    candles::keep(transaction, new, touched, round.runs_alone()).await?;
    metrics::histogram!("tickstream_db_candles_seconds").record(begun.elapsed());
    Ok(())
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

/// Copies `rows` into `ticks`, where all their places must be free, and folds their candles meanwhile.
async fn copy_into_ticks<'a>(
    transaction: &mut PgTransaction<'_>,
    batch: &'a Batch<'_>,
    rows: Vec<Row>,
) -> Result<(Changed, BTreeMap<Bucket<'a>, Candle>), Refusal> {
    let mut new = BTreeMap::new();
    let fold = || new = candles::fold(batch, rows.iter());
    copy(transaction, COPY_INTO_TICKS, batch, &rows, Columns::ALL, fold).await?;
    Ok((Changed { inserted: rows, ..Changed::default() }, new))
}

/// Copies `rows`; the server takes in the last of them during `meanwhile`.
async fn copy(
    transaction: &mut PgTransaction<'_>,
    statement: &str,
    batch: &Batch<'_>,
    rows: &[Row],
    columns: Columns,
    meanwhile: impl FnOnce(),
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
    meanwhile();
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
    let names: Vec<&str> = columns.names().collect();
    let statement = COPY_INTO_STAGING.replace("$columns", &names.join(", "));
    copy(transaction, &statement, batch, rows, columns, || {}).await
}

/// Gets `rows` in through the staging table, which is empty when a transaction begins.
async fn merge(transaction: &mut PgTransaction<'_>, batch: &Batch<'_>, rows: &[Row]) -> Result<Changed, Refusal> {
    stage(transaction, batch, rows, Columns::ALL).await?;
    let inserted = sqlx::query(INSERT_STAGED).fetch_all(&mut **transaction).await.map_err(Refusal::of_rows)?;
    let place = |row: PgRow| Ok(Place { event_time: row.try_get(0)?, event_id: row.try_get(1)? });
    let inserted: Result<HashSet<Place>, sqlx::Error> = inserted.into_iter().map(place).collect();
    let inserted = inserted.map_err(Refusal::of_statement)?;
    let (inserted, known): (Vec<Row>, Vec<Row>) = rows.iter().partition(|row| inserted.contains(&row.place));
    let replaced = replace_outranked(transaction, &known).await?;
    Ok(Changed { inserted, replaced, ..Changed::default() })
}

/// Replaces what staged ticks win over. `rows` are those of them, in key order, whose places are taken. Gives what stood there,
/// and what does now.
async fn replace_outranked(transaction: &mut PgTransaction<'_>, rows: &[Row]) -> Result<Vec<(Known, Row)>, Refusal> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Vec::new()) };
    let query = sqlx::query(LOCK_OUTRANKED).bind(first.place.event_time).bind(last.place.event_time);
    let outranked = query.fetch_all(&mut **transaction).await.map_err(Refusal::of_statement)?;
    if outranked.is_empty() {
        return Ok(Vec::new());
    }
    let by_place: HashMap<Place, Row> = rows.iter().map(|row| (row.place, *row)).collect();
    let mut replaced = Vec::with_capacity(outranked.len());
    for row in &outranked {
        let known = Known::read(row).map_err(Refusal::of_statement)?;
        replaced.extend(by_place.get(&known.place).map(|row| (known, *row)));
    }
    let (times, ids) = columns(replaced.iter().map(|(known, _)| known.place));
    sqlx::query(REPLACE_OUTRANKED).bind(times).bind(ids).execute(&mut **transaction).await.map_err(Refusal::of_rows)?;
    Ok(replaced)
}

fn columns(places: impl IntoIterator<Item = Place>) -> (Vec<Timestamptz>, Vec<Uuid>) {
    places.into_iter().map(|place| (place.event_time, place.event_id)).unzip()
}

/// The first and the last of some times.
fn between(times: &[Timestamptz]) -> (Option<Timestamptz>, Option<Timestamptz>) {
    (times.iter().min().copied(), times.iter().max().copied())
}
