//! Corrections in time. A place that an event has left is noted for good, so that what stood there cannot come back from a
//! replay or another partition; a correction that was refused is noted too, since the one after it starts from where the
//! refused one would have led. Invariant: an event whose corrections were all read stands at one place, whatever was refused
//! among them and in whatever order they came.

use sqlx::PgTransaction;
use uuid::Uuid;

use super::{Known, between, columns};
use crate::rows::{Batch, Place};
use crate::timestamptz::Timestamptz;

const NOTE_REFUSED_MOVES: &str = include_str!("../sql/note_refused_moves.sql");
const NOTE_MOVES: &str = include_str!("../sql/note_moves.sql");
pub const JOIN_BY_KEY: &str = include_str!("../sql/join_by_key.sql");
const DELETE_MOVED: &str = include_str!("../sql/delete_moved.sql");

/// Notes what the batch tells of moves. Gives the places whose note is new, or of a higher revision than before.
pub async fn note_moves(transaction: &mut PgTransaction<'_>, batch: &Batch<'_>) -> Result<Vec<Place>, sqlx::Error> {
    let refused = batch.refused_moves();
    let (refused_times, refused_ids) = columns(refused.iter().map(|refused| refused.place));
    if !refused.is_empty() {
        sqlx::query(NOTE_REFUSED_MOVES)
            .bind(&refused_times)
            .bind(&refused_ids)
            .bind(refused.iter().map(|refused| refused.previous_event_time).collect::<Vec<_>>())
            .bind(refused.iter().map(|refused| refused.revision).collect::<Vec<_>>())
            .execute(&mut **transaction)
            .await?;
    }
    let moves: Vec<(Place, i32)> = batch.rows().iter().filter_map(|row| Some((row.left()?, row.revision))).collect();
    if moves.is_empty() && refused.is_empty() {
        return Ok(Vec::new());
    }
    let (times, ids) = columns(moves.iter().map(|(place, _)| *place));
    let revisions: Vec<i32> = moves.iter().map(|(_, revision)| *revision).collect();
    let noted: Vec<(Timestamptz, Uuid)> = sqlx::query_as(NOTE_MOVES)
        .bind(times)
        .bind(ids)
        .bind(revisions)
        .bind(refused_times)
        .bind(refused_ids)
        .fetch_all(&mut **transaction)
        .await?;
    Ok(noted.into_iter().map(|(event_time, event_id)| Place { event_time, event_id }).collect())
}

/// Deletes what stands at places that events have left.
pub async fn delete_moved(transaction: &mut PgTransaction<'_>, left: &[Place]) -> Result<Vec<Known>, sqlx::Error> {
    if left.is_empty() {
        return Ok(Vec::new());
    }
    let (times, ids) = columns(left.iter().copied());
    let (first, last) = between(&times);
    sqlx::query(JOIN_BY_KEY).bind("off").execute(&mut **transaction).await?;
    let query = sqlx::query(DELETE_MOVED).bind(&times).bind(ids).bind(first).bind(last);
    let deleted = query.fetch_all(&mut **transaction).await?;
    sqlx::query(JOIN_BY_KEY).bind("on").execute(&mut **transaction).await?;
    deleted.iter().map(Known::read).collect()
}
