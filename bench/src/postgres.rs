//! What Postgres itself takes to hold the same ticks, by each of the ways in, with nothing of ours in the way; and how much
//! disk they take.

use std::time::Instant;

use anyhow::Context;
use futures::TryStreamExt as _;
use sqlx::{Connection, PgConnection, Row};

use crate::limits::rate;

const PREPARE: &str = include_str!("sql/prepare_limits.sql");
const INSERT: &str = include_str!("sql/insert_limit.sql");
const UNNEST: &str = include_str!("sql/unnest_limit.sql");
const DROP: &str = include_str!("sql/drop_limits.sql");
const SIZES: &str = include_str!("sql/tick_sizes.sql");

/// Rows a second.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// COPY into a bare table.
    pub copied: f64,
    /// `INSERT … SELECT … ON CONFLICT` from a table, in one statement, into a table with the keys and indexes of `ticks`.
    pub inserted: f64,
    /// The same again: every row is known.
    pub known: f64,
    /// `INSERT … SELECT unnest(…) ON CONFLICT`, so many rows a statement as consumer-db takes.
    pub unnested: f64,
}

pub async fn limits(database_url: &str) -> anyhow::Result<Limits> {
    let mut connection = PgConnection::connect(database_url).await?;
    let rows: i64 = sqlx::query_scalar("select count(*) from ticks").fetch_one(&mut connection).await?;
    let rows = usize::try_from(rows)?;
    sqlx::raw_sql(PREPARE).execute(&mut connection).await.context("preparing the limit tables")?;

    // The rows leave through COPY once, so that reading them is not part of the measured write.
    let mut bytes = Vec::new();
    {
        let mut stream = connection.copy_out_raw("copy limit_source to stdout (format binary)").await?;
        while let Some(chunk) = stream.try_next().await? {
            bytes.extend_from_slice(&chunk);
        }
    }
    let begun = Instant::now();
    let mut copy = connection.copy_in_raw("copy limit_copied from stdin (format binary)").await?;
    for chunk in bytes.chunks(1 << 20) {
        copy.send(chunk).await?;
    }
    copy.finish().await?;
    let copied = rate(rows, begun);
    drop(bytes);

    let mut timed = async |statement: &'static str| {
        let begun = Instant::now();
        sqlx::raw_sql(statement).execute(&mut connection).await?;
        anyhow::Ok(rate(rows, begun))
    };
    let inserted = timed(INSERT).await?;
    let known = timed(INSERT).await?;
    let unnested = timed(UNNEST).await?;
    sqlx::raw_sql(DROP).execute(&mut connection).await?;
    connection.close().await?;
    Ok(Limits { copied, inserted, known, unnested })
}

/// Megabytes that the ticks take, without and with only their indexes.
pub async fn sizes(database_url: &str) -> anyhow::Result<(f64, f64)> {
    let mut connection = PgConnection::connect(database_url).await?;
    let row = sqlx::query(SIZES).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}
