//! What has to be done now and then beside the batches: the partitions of the days to come, and retention. On a connection
//! of its own, opened for each round, so that a slow round holds up no batch. Must never happen here: an end of the service.

use std::time::Duration;

use anyhow::Context;
use sqlx::Connection;
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::refusal::{database_error, describe};
use crate::retention::retain;

const DAYS_AHEAD: &str = include_str!("sql/days_ahead.sql");

const EVERY: Duration = Duration::from_secs(3600);
const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// Nothing that a round waits for takes so long, but for a server that answers nothing at all.
const LONGEST_ROUND: Duration = Duration::from_secs(3600);

/// Makes today's partition and those of the two days after, drops those before the last `retention_days`, and does so again
/// every hour until `shutdown`. Retention comes to new work once a day: its horizon is a date.
pub async fn keep_house(database: Database, retention_days: Option<u32>, shutdown: CancellationToken) {
    loop {
        let mut pause = EVERY;
        for failed in round(&database, retention_days).await {
            tracing::warn!("housekeeping is tried again in {AFTER_FAILURE:?}: {failed:#}");
            pause = AFTER_FAILURE;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Both kinds of work, whatever becomes of the one. Gives what failed.
async fn round(database: &Database, retention_days: Option<u32>) -> Vec<anyhow::Error> {
    let retained = async {
        match retention_days {
            Some(days) => retain(database, days, false).await.map(drop),
            None => Ok(()),
        }
    };
    let results = [in_time(make_days_ahead(database)).await, in_time(retained).await];
    results.into_iter().filter_map(Result::err).collect()
}

async fn in_time(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let done = tokio::time::timeout(LONGEST_ROUND, work).await;
    done.map_err(|_| anyhow::anyhow!("Postgres did not answer for {LONGEST_ROUND:?}"))?
}

async fn make_days_ahead(database: &Database) -> anyhow::Result<()> {
    let connected = database.connect_to_write().await;
    let mut connection = connected.with_context(|| format!("database {}", database.place()))?;
    let made: Result<i64, sqlx::Error> = sqlx::query_scalar(DAYS_AHEAD).fetch_one(&mut connection).await;
    let made = made.map_err(|error| match database_error(&error) {
        Some(refusal) => anyhow::anyhow!("making the days ahead: {}", describe(refusal)),
        None => error.into(),
    })?;
    tracing::debug!(made, "partitions of the days ahead");
    connection.close().await?;
    Ok(())
}
