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

/// Makes today's partition and those of the two days after, drops those before the last `retention_days`, and does so again
/// every hour until `shutdown`. Retention comes to new work once a day: its horizon is a date.
pub async fn keep_house(database: Database, retention_days: Option<u32>, shutdown: CancellationToken) {
    loop {
        let pause = match round(&database, retention_days).await {
            Ok(()) => EVERY,
            Err(error) => {
                tracing::warn!("housekeeping is tried again in {AFTER_FAILURE:?}: {error:#}");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn round(database: &Database, retention_days: Option<u32>) -> anyhow::Result<()> {
    let mut connection = database.connect().await.with_context(|| format!("database {}", database.place()))?;
    let made: Result<i64, sqlx::Error> = sqlx::query_scalar(DAYS_AHEAD).fetch_one(&mut connection).await;
    let made = made.map_err(|error| match database_error(&error) {
        Some(refusal) => anyhow::anyhow!("making the days ahead: {}", describe(refusal)),
        None => error.into(),
    })?;
    tracing::debug!(made, "partitions of the days ahead");
    connection.close().await?;
    if let Some(days) = retention_days {
        retain(database, days, false).await?;
    }
    Ok(())
}
