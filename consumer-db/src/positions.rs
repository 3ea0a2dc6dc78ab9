//! How far each partition of a topic is in the database, written with its rows. Kafka's committed offset survives what the
//! database does not: a failover to a standby that was behind, a restored backup, a database that is made anew. Invariant:
//! rows, or dead letters, of all records below a position are in the database that says so. Must never happen here: a
//! position that is told by anything else than the database.

use std::sync::Arc;

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, PgTransaction, Postgres};
use uuid::Uuid;

const KNOWN_POSITIONS: &str = include_str!("sql/known_positions.sql");
const MOVE_POSITIONS: &str = include_str!("sql/move_positions.sql");
const SET_POSITIONS: &str = include_str!("sql/set_positions.sql");

/// Stands in a database that was filled before it had positions.
const FILLED_BEFORE: (Uuid, i32) = (Uuid::nil(), -1);

/// A partition, and the offset at which reading it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub topic: Arc<str>,
    pub topic_id: Uuid,
    pub partition: i32,
    pub offset: i64,
}

/// What the database knows of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is this far.
    Here(i64),
    /// Nothing of it is here.
    Nothing,
    /// The database is older than its positions.
    Unsaid,
}

/// Of each of `partitions`, in their order.
pub async fn known(connection: &mut PgConnection, partitions: &[(Uuid, i32)]) -> Result<Vec<Known>, sqlx::Error> {
    let (ids, numbers): (Vec<Uuid>, Vec<i32>) = partitions.iter().chain([&FILLED_BEFORE]).copied().unzip();
    let query = sqlx::query_scalar(KNOWN_POSITIONS).bind(ids).bind(numbers);
    let mut found: Vec<Option<i64>> = query.fetch_all(connection).await?;
    let unknown = if found.pop().flatten().is_some() { Known::Unsaid } else { Known::Nothing };
    Ok(found.into_iter().map(|offset| offset.map_or(unknown, Known::Here)).collect())
}

/// The round's positions, in its transaction.
pub async fn move_on(transaction: &mut PgTransaction<'_>, read: &[Position]) -> Result<(), sqlx::Error> {
    if !read.is_empty() {
        bind(MOVE_POSITIONS, read).execute(&mut **transaction).await?;
    }
    Ok(())
}

/// Positions that are to be as they are given, whatever lies between.
pub async fn set(connection: &mut PgConnection, positions: &[Position]) -> Result<(), sqlx::Error> {
    if !positions.is_empty() {
        bind(SET_POSITIONS, positions).execute(connection).await?;
    }
    Ok(())
}

fn bind<'q>(statement: &'static str, positions: &'q [Position]) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(statement)
        .bind(positions.iter().map(|position| position.topic_id).collect::<Vec<_>>())
        .bind(positions.iter().map(|position| position.partition).collect::<Vec<_>>())
        .bind(positions.iter().map(|position| &*position.topic).collect::<Vec<&str>>())
        .bind(positions.iter().map(|position| position.offset).collect::<Vec<_>>())
}
