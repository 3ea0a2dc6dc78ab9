//! What stands at the places of a batch, asked by keys and ranks alone. Of a batch that was written before nothing else is sent.
//!
//! Invariant: a row that is passed over here would change nothing if it were written. What stands at its place is itself or
//! wins over it, and does so until this transaction ends: a row's rank never falls, and whoever takes rows away runs alone, or
//! has raised the horizon under the lock that this transaction holds. That a place is free, or a row outranked, is true when it
//! is asked and no longer: the COPY that follows fails where a place was taken meanwhile, and ranks are compared again under
//! the rows' locks.

use sqlx::PgTransaction;

use super::columns;
use crate::rows::Row;

const LOOK_UP: &str = include_str!("../sql/look_up.sql");

/// What of a batch changes something, in key order.
#[derive(Default)]
pub struct Found {
    /// Nothing stands at their places.
    pub free: Vec<Row>,
    /// They win over what stands there.
    pub outranking: Vec<Row>,
}

/// `rows` are in key order.
pub async fn look_up(transaction: &mut PgTransaction<'_>, rows: &[Row]) -> Result<Found, sqlx::Error> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Found::default()) };
    let (times, ids) = columns(rows.iter().map(|row| row.place));
    let (free, outranking): (Vec<i64>, Vec<i64>) = sqlx::query_as(LOOK_UP)
        .bind(times)
        .bind(ids)
        .bind(rows.iter().map(|row| row.revision).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.broker_time).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.partition).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.offset).collect::<Vec<_>>())
        .bind(first.place.event_time)
        .bind(last.place.event_time)
        .fetch_one(&mut **transaction)
        .await?;
    let numbered = |mut numbers: Vec<i64>| -> Vec<Row> {
        // They are in order, though nothing in the statement says so.
        numbers.sort_unstable();
        numbers.into_iter().filter_map(|number| rows.get(usize::try_from(number - 1).ok()?).copied()).collect()
    };
    Ok(Found { free: numbered(free), outranking: numbered(outranking) })
}
