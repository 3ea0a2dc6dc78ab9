//! Retention: whole days of ticks are dropped, never single rows. First the horizon is raised, in a transaction that waits
//! for the batches under way; from then on nothing is written before it. Then each partition before it is detached
//! without blocking a reader, and dropped.
//!
//! Crash points: after the horizon, in the middle of a detachment, between detaching and dropping. Each leaves what the next
//! run finds and finishes. Must never happen here: a table dropped that retention did not detach, or a row written before
//! the horizon.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use pipeline::misconfigured;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::database::Database;
use crate::refusal::{database_error, describe};

const BEGIN_RETENTION: &str = include_str!("sql/begin_retention.sql");
const IS_OWNER: &str = include_str!("sql/is_owner.sql");
const LOCK_WRITERS: &str = include_str!("sql/lock_writers.sql");
const RAISE_HORIZON: &str = include_str!("sql/raise_horizon.sql");
const NEW_HORIZON: &str = include_str!("sql/new_horizon.sql");
const FORGET_MOVES: &str = include_str!("sql/forget_moves.sql");
const RETIRED_DAYS: &str = include_str!("sql/retired_days.sql");

/// The comment on a partition that is being taken away.
const MARK: &str = "Older than the horizon in retention: `consumer-db retain` is dropping it.";
/// How long a reader's transaction may hold up a detachment before this run gives up.
const PATIENCE: Duration = Duration::from_secs(300);

/// Whether this user may drop days: asked when the service starts, so that it is not found out at night.
///
/// # Errors
/// [`pipeline::Misconfigured`] when not.
pub async fn check_owner(database: &Database) -> anyhow::Result<()> {
    let mut connection = database.first_connection().await?;
    let is_owner: bool =
        sqlx::query_scalar(IS_OWNER).fetch_one(&mut connection).await.context("asking for the owner")?;
    connection.close().await?;
    if is_owner { Ok(()) } else { Err(not_owner(database)) }
}

fn not_owner(database: &Database) -> anyhow::Error {
    misconfigured(format!(
        "dropping days needs the owner of table ticks in database {}: run `consumer-db retain` as that user, and consumer-db \
         without --retention-days (DB_RETENTION_DAYS)",
        database.place()
    ))
}

/// A partition to be taken away, and the statements that do it.
struct Day {
    name: String,
    size: String,
    mark: Option<String>,
    detach: Option<String>,
    remove: String,
}

/// Drops the days of ticks before the last `days` whole ones; with `dry_run`, says what it would do. Gives how many days.
///
/// # Errors
/// [`pipeline::Misconfigured`] when the user does not own the table; when a reader holds a day for too long, or the server
/// goes away: the next run goes on where this one ended.
pub async fn retain(database: &Database, days: u32, dry_run: bool) -> anyhow::Result<usize> {
    let mut connection = database.connect().await.with_context(|| format!("database {}", database.place()))?;
    let begun = sqlx::query(BEGIN_RETENTION).fetch_one(&mut connection).await.context("beginning retention")?;
    if !begun.try_get::<bool, _>("is_owner")? {
        return Err(not_owner(database));
    }
    if begun.try_get::<Option<bool>, _>("is_alone")? != Some(true) {
        tracing::info!("another run of retention is at work in database {}", database.place());
        return Ok(0);
    }
    let days = i32::try_from(days).unwrap_or(i32::MAX);
    let horizon = if dry_run {
        sqlx::query_scalar(NEW_HORIZON).bind(days).fetch_one(&mut connection).await.context("asking for the horizon")?
    } else {
        raise_horizon(&mut connection, days).await?
    };
    let dropped = if dry_run {
        let days = retired_days(&mut connection, &horizon).await?;
        for Day { name, size, .. } in &days {
            tracing::info!(partition = name, size, "would drop {name} ({size})");
        }
        days.len()
    } else {
        drop_days(&mut connection, &horizon).await?
    };
    let verb = if dry_run { "would be dropped" } else { "dropped" };
    tracing::info!(horizon, dropped, dry_run, "ticks are kept from {horizon} on; {dropped} days {verb}");
    connection.close().await.context("closing retention's connection")?;
    Ok(dropped)
}

async fn raise_horizon(connection: &mut PgConnection, days: i32) -> anyhow::Result<String> {
    let begun = Instant::now();
    loop {
        let mut transaction = connection.begin().await?;
        let locked = sqlx::query(LOCK_WRITERS).execute(&mut *transaction).await;
        if still_waits(locked, begun, "a batch that is being written")? {
            transaction.rollback().await?;
            continue;
        }
        let horizon = sqlx::query_scalar(RAISE_HORIZON).bind(days).fetch_one(&mut *transaction).await?;
        transaction.commit().await.context("raising the horizon")?;
        sqlx::query(FORGET_MOVES).execute(connection).await.context("forgetting moves before the horizon")?;
        return Ok(horizon);
    }
}

async fn drop_days(connection: &mut PgConnection, horizon: &str) -> anyhow::Result<usize> {
    let (mut dropped, mut begun) = (0, Instant::now());
    // Looked up anew each time: a detachment that was given up is another kind of work from then on.
    while let Some(day) = retired_days(connection, horizon).await?.into_iter().next() {
        let Day { name, size, mark, detach, remove } = day;
        if let Some(mark) = mark {
            let marked = sqlx::raw_sql(AssertSqlSafe(mark)).execute(&mut *connection).await;
            if still_waits(marked, begun, &name)? {
                continue;
            }
        }
        if let Some(detach) = detach {
            let detached = sqlx::raw_sql(AssertSqlSafe(detach)).execute(&mut *connection).await;
            if still_waits(detached, begun, &name)? {
                continue;
            }
        }
        let removed = sqlx::raw_sql(AssertSqlSafe(remove)).execute(&mut *connection).await;
        if still_waits(removed, begun, &name)? {
            continue;
        }
        tracing::info!(partition = name, size, "dropped {name} ({size})");
        metrics::counter!("tickstream_db_days_dropped_total").increment(1);
        (dropped, begun) = (dropped + 1, Instant::now());
    }
    Ok(dropped)
}

async fn retired_days(connection: &mut PgConnection, horizon: &str) -> anyhow::Result<Vec<Day>> {
    let rows = sqlx::query(RETIRED_DAYS).bind(horizon).bind(MARK).fetch_all(connection).await;
    let rows = rows.context("looking for days before the horizon")?;
    let day = |row: &sqlx::postgres::PgRow| {
        Ok(Day {
            name: row.try_get("name")?,
            size: row.try_get("size")?,
            mark: row.try_get("mark")?,
            detach: row.try_get("detach")?,
            remove: row.try_get("remove")?,
        })
    };
    rows.iter().map(day).collect()
}

/// Whether the statement met somebody's lock and is to be tried again.
fn still_waits<T>(result: Result<T, sqlx::Error>, begun: Instant, what: &str) -> anyhow::Result<bool> {
    let Err(error) = result else { return Ok(false) };
    let Some(database) = database_error(&error) else { return Err(error.into()) };
    if database.code() != "55P03" {
        bail!("retention of {what}: {}", describe(database));
    }
    if begun.elapsed() > PATIENCE {
        bail!("{what} is held by a transaction that has been open for {PATIENCE:?}; the next run goes on from here");
    }
    tracing::info!("waiting for a transaction that holds {what}");
    Ok(true)
}
