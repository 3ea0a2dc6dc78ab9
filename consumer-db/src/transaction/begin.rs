//! How a round's transaction begins: locks first, then what is known under them, then which rows may stand. Must never
//! happen here: something asked before the lock that keeps it from changing.

use std::collections::HashMap;

use pipeline::misconfigured;
use sqlx::{PgTransaction, Row as _};

use super::columns;
use super::moves::note_moves;
use crate::database::newest_version;
use crate::refusal::Refusal;
use crate::round::Round;
use crate::rows::{Place, Row};
use crate::timestamptz::Timestamptz;

pub const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
pub const BEGIN_BATCH: &str = include_str!("../sql/begin_batch.sql");
const BEGUN: &str = include_str!("../sql/begun.sql");
const MOVED_AT: &str = include_str!("../sql/moved_at.sql");

/// What [`begin_batch`] has found.
pub struct Begun {
    /// The winners that may stand where they are.
    pub standing: Vec<Row>,
    /// Places that events have left by what this round tells, and that were not known as left.
    pub left: Vec<Place>,
    /// How many of the batch's rows lie before the horizon.
    pub frozen: u64,
    /// Ticks before it are kept no more.
    pub horizon: Timestamptz,
    /// The database lacks what comes before this round.
    pub is_behind: bool,
}

/// Takes the locks, notes what the batch moves, and finds what is to be written.
pub async fn begin_batch(transaction: &mut PgTransaction<'_>, round: &Round<'_>) -> Result<Begun, Refusal> {
    let batch = &round.ticks;
    sqlx::query(BEGIN_BATCH)
        .bind(round.runs_alone())
        .execute(&mut **transaction)
        .await
        .map_err(Refusal::of_statement)?;
    let left = note_moves(transaction, batch).await.map_err(Refusal::of_statement)?;
    let rows = batch.rows();
    let begun = sqlx::query(BEGUN)
        .bind(rows.first().map(|row| row.place.event_time))
        .bind(rows.last().map(|row| row.place.event_time))
        .bind(round.due.iter().map(|position| position.topic_id).collect::<Vec<_>>())
        .bind(round.due.iter().map(|position| position.partition).collect::<Vec<_>>())
        .bind(round.due.iter().map(|position| position.offset).collect::<Vec<_>>())
        .fetch_one(&mut **transaction)
        .await
        .map_err(Refusal::of_statement)?;
    let told = || -> Result<(Timestamptz, bool, bool, Option<i64>), sqlx::Error> {
        Ok((begun.try_get(0)?, begun.try_get(1)?, begun.try_get(2)?, begun.try_get(3)?))
    };
    let (horizon, any_moved, is_behind, version) = told().map_err(Refusal::of_statement)?;
    if let Some(version) = version.filter(|version| *version > newest_version()) {
        return Err(Refusal::Outage(misconfigured(format!(
            "the database was migrated meanwhile: its schema has migration {version}, which this consumer-db does not know; \
             run the newer consumer-db"
        ))));
    }
    let mut winners = batch.winners();
    let is_frozen = |row: &Row| row.place.event_time < horizon;
    // Rows are in key order, so those before the horizon come first.
    let frozen = rows.partition_point(is_frozen) as u64;
    winners.drain(..winners.partition_point(is_frozen));
    if any_moved {
        let moved = moved_at(transaction, &winners).await.map_err(Refusal::of_statement)?;
        winners.retain(|row| moved.get(&row.place).is_none_or(|revision| row.revision >= *revision));
    }
    Ok(Begun { standing: winners, left, frozen, horizon, is_behind })
}

/// Which of the rows' places were left, and the lowest revision that may stand there.
async fn moved_at(transaction: &mut PgTransaction<'_>, rows: &[Row]) -> Result<HashMap<Place, i32>, sqlx::Error> {
    let (times, ids) = columns(rows.iter().map(|row| row.place));
    let found = sqlx::query(MOVED_AT).bind(times).bind(ids).fetch_all(&mut **transaction).await?;
    found
        .into_iter()
        .map(|row| Ok((Place { event_time: row.try_get(0)?, event_id: row.try_get(1)? }, row.try_get(2)?)))
        .collect()
}
