//! Writes batches until each row is in the database or refused by it: makes the days' partitions, chooses how rows go in,
//! tries again what another transaction disturbed, finds the rows to blame. Decides between poison and outage, by one
//! exhaustive match. Must never happen here: a row given up because the database could not take it just then.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use sqlx::PgConnection;

use crate::database::{Database, create_staging};
use crate::refusal::Refusal;
use crate::rows::{Batch, Row};
use crate::transaction::{self, Counts, Method};

const ENSURE_DAY: &str = include_str!("sql/ensure_day.sql");

/// The server's own limits end a statement before; this one is for a server or network that answers nothing at all.
const LONGEST_WRITE: Duration = Duration::from_secs(300);
/// Deadlocks and vanished partitions are rare; one that keeps coming back is an outage.
const TRIES: usize = 5;

pub struct Writer {
    database: Database,
    connection: Option<Open>,
    /// Whether the last batch met places that were taken: then the next one is not sent the direct way.
    met_known: bool,
}

struct Open {
    connection: PgConnection,
    has_staging: bool,
    /// Days whose partition was seen.
    days: HashSet<i32>,
}

impl Writer {
    pub fn new(database: Database) -> Self {
        Self { database, connection: None, met_known: false }
    }

    /// Writes and commits. Gives the rows that Postgres refused, with its reason; all others are in the database.
    ///
    /// # Errors
    /// An outage: nothing of the batch was written, or its commit's answer was lost. Writing it again is right in both cases.
    pub async fn write(&mut self, batch: &mut Batch<'_>) -> anyhow::Result<Vec<(Row, String)>> {
        let begun = Instant::now();
        let mut open = self.open().await?;
        // The connection moves into the call: when that fails or is dropped, so are the connection and its transaction.
        let written = tokio::time::timeout(LONGEST_WRITE, write_all(&mut open, batch, self.met_known)).await;
        let (counts, refused) = written.map_err(|_| anyhow!("Postgres did not answer for {LONGEST_WRITE:?}"))??;
        self.connection = Some(open);
        self.met_known = counts.replaced + counts.unchanged > 0;
        for (result, count) in
            [("inserted", counts.inserted), ("replaced", counts.replaced), ("unchanged", counts.unchanged)]
        {
            metrics::counter!("tickstream_db_rows_total", "result" => result).increment(count);
        }
        metrics::histogram!("tickstream_db_batch_seconds").record(begun.elapsed());
        Ok(refused)
    }

    /// Asks the server whether it is there.
    ///
    /// # Errors
    /// An outage.
    pub async fn ping(&mut self) -> anyhow::Result<()> {
        use sqlx::Connection;
        let mut open = self.open().await?;
        let answer = tokio::time::timeout(Duration::from_secs(10), open.connection.ping()).await;
        answer
            .map_err(|_| anyhow!("Postgres did not answer a ping"))?
            .map_err(|error| outage(Refusal::of_statement(error)))?;
        self.connection = Some(open);
        Ok(())
    }

    async fn open(&mut self) -> anyhow::Result<Open> {
        if let Some(open) = self.connection.take() {
            return Ok(open);
        }
        let connected = self.database.connect().await;
        let connection = connected.map_err(|error| {
            outage(Refusal::of_statement(error)).context(format!("database {}", self.database.place()))
        })?;
        Ok(Open { connection, has_staging: false, days: HashSet::new() })
    }
}

async fn write_all(
    open: &mut Open,
    batch: &mut Batch<'_>,
    met_known: bool,
) -> anyhow::Result<(Counts, Vec<(Row, String)>)> {
    let mut refused: Vec<(Row, String)> = Vec::new();
    let mut method = if met_known || batch.corrects() { Method::Staged } else { Method::Direct };
    let mut tries = 0;
    loop {
        let attempt = attempt(open, batch, method, &mut refused).await;
        match attempt {
            Ok(Some(counts)) => return Ok((counts, refused)),
            Ok(None) => {}
            // A place was taken, or a value refused: the upsert tells which.
            Err(Refusal::Row(_)) => method = Method::Staged,
            Err(Refusal::MissingDay) => {
                tries += 1;
                open.days.clear();
                anyhow::ensure!(tries < TRIES, "a partition of ticks is dropped or detached again and again");
            }
            Err(Refusal::Again(reason)) => {
                tries += 1;
                tracing::debug!(tries, "trying the batch again: {reason:#}");
                if tries == TRIES {
                    return Err(reason.context(format!("the batch was disturbed {TRIES} times")));
                }
            }
            Err(Refusal::Outage(reason)) => return Err(reason),
        }
    }
}

/// One try. `None` when rows were found that Postgres refuses: they are out of the batch now.
async fn attempt(
    open: &mut Open,
    batch: &mut Batch<'_>,
    method: Method,
    refused: &mut Vec<(Row, String)>,
) -> Result<Option<Counts>, Refusal> {
    for day in batch.days() {
        if !open.days.contains(&day) {
            let made: bool = sqlx::query_scalar(ENSURE_DAY)
                .bind(day)
                .fetch_one(&mut open.connection)
                .await
                .map_err(Refusal::of_statement)?;
            tracing::debug!(day, made, "partition of ticks");
            open.days.insert(day);
        }
    }
    if method == Method::Direct {
        return transaction::write(&mut open.connection, batch, method).await.map(Some);
    }
    if !open.has_staging {
        create_staging(&mut open.connection).await.map_err(Refusal::of_statement)?;
        open.has_staging = true;
    }
    match transaction::write(&mut open.connection, batch, method).await {
        Err(Refusal::Row(reason)) => {
            let found = transaction::find_refused(&mut open.connection, batch).await?;
            if found.is_empty() {
                // Each row alone is taken, all together are not: no row is to blame.
                return Err(Refusal::Outage(anyhow!("Postgres refuses the batch but none of its rows: {reason}")));
            }
            let rows: Vec<Row> = found.iter().map(|(row, _)| *row).collect();
            batch.remove(&rows);
            refused.extend(found);
            Ok(None)
        }
        written => written.map(Some),
    }
}

fn outage(refusal: Refusal) -> anyhow::Error {
    match refusal {
        Refusal::Row(reason) => anyhow!(reason),
        Refusal::MissingDay => anyhow!("a partition of ticks is missing"),
        Refusal::Again(reason) | Refusal::Outage(reason) => reason,
    }
}
