//! Writes batches until each row is in the database or refused by it: makes the days' partitions, chooses how rows go in,
//! tries again what another transaction disturbed, finds the rows to blame. Decides between poison and outage, by one
//! exhaustive match. Must never happen here: a row given up because the database could not take it just then.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::{Database, create_staging};
use crate::positions::{self, Known, Position};
use crate::refusal::Refusal;
use crate::refused::{self, Refused};
use crate::round::Round;
use crate::rows::Row;
use crate::transaction::{self, Method, Outcome};

const ENSURE_DAY: &str = include_str!("sql/ensure_day.sql");
const HOLD_ALONE: &str = include_str!("sql/hold_alone.sql");

/// A COPY stops at the first row that is refused. After so many in one batch all the others are looked for at once.
const MOST_ONE_BY_ONE: usize = 4;
/// The server's own limits end a statement before; this one is for a server or network that answers nothing at all.
const LONGEST_WRITE: Duration = Duration::from_secs(300);
/// For what is answered from a few rows.
const LONGEST_QUESTION: Duration = Duration::from_secs(30);
/// Deadlocks and vanished partitions are rare; one that keeps coming back is an outage.
const TRIES: usize = 5;

pub struct Writer {
    database: Database,
    connection: Option<Open>,
    expected: Expected,
}

/// What the last batch met, and the next one therefore expects.
#[derive(Clone, Copy, Default)]
struct Expected {
    /// Places that were taken: then they are looked up before anything is sent.
    known: bool,
    /// Rows that were refused: then they are looked for before anything is written.
    refused: bool,
}

struct Open {
    connection: PgConnection,
    has_staging: bool,
    /// Days whose partition was seen.
    days: HashSet<i32>,
}

impl Writer {
    pub fn new(database: Database) -> Self {
        Self { database, connection: None, expected: Expected::default() }
    }

    /// Writes and commits. Gives the rows that Postgres refused, with its reason; all others are in the database. `None` when
    /// the database lacks what comes before the round: then nothing is written.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] when somebody has migrated the schema beyond this version. Else an outage: nothing of the
    /// batch was written, or its commit's answer was lost. Writing it again is right in both cases.
    pub async fn write(&mut self, round: &mut Round<'_>) -> anyhow::Result<Option<Refused>> {
        let begun = Instant::now();
        let mut open = self.open().await?;
        // The connection moves into the call: when that fails or is dropped, so are the connection and its transaction.
        let written = tokio::time::timeout(LONGEST_WRITE, write_all(&mut open, round, self.expected)).await;
        let (outcome, refused) = written.map_err(|_| anyhow!("Postgres did not answer for {LONGEST_WRITE:?}"))??;
        self.connection = Some(open);
        let Outcome::Written(counts) = outcome else { return Ok(None) };
        self.expected = Expected { known: counts.replaced + counts.unchanged > 0, refused: !refused.is_empty() };
        for (result, count) in [
            ("inserted", counts.inserted),
            ("replaced", counts.replaced),
            ("unchanged", counts.unchanged),
            ("frozen", counts.frozen),
        ] {
            metrics::counter!("tickstream_db_rows_total", "result" => result).increment(count);
        }
        metrics::histogram!("tickstream_db_batch_seconds").record(begun.elapsed());
        Ok(Some(refused))
    }

    /// What the database knows of each of `partitions`.
    ///
    /// # Errors
    /// An outage.
    pub async fn known(&mut self, partitions: &[(Uuid, i32)]) -> anyhow::Result<Vec<Known>> {
        let mut open = self.open().await?;
        let known = answered(positions::known(&mut open.connection, partitions)).await?;
        self.connection = Some(open);
        Ok(known)
    }

    /// Says where reading goes on, whatever is lacking before it.
    ///
    /// # Errors
    /// An outage.
    pub async fn set_positions(&mut self, positions: &[Position]) -> anyhow::Result<()> {
        let mut open = self.open().await?;
        answered(positions::set(&mut open.connection, positions)).await?;
        self.connection = Some(open);
        Ok(())
    }

    /// Keeps every other writer from writing for as long as this writer's connection lasts.
    ///
    /// # Errors
    /// An outage; or another writer's transaction did not end in time.
    pub async fn hold(&mut self) -> anyhow::Result<()> {
        let mut open = self.open().await?;
        let held = sqlx::query(HOLD_ALONE).execute(&mut open.connection).await;
        held.map_err(|error| {
            outage(Refusal::of_statement(error)).context("waiting until no other writer of the database is at work")
        })?;
        self.connection = Some(open);
        Ok(())
    }

    async fn open(&mut self) -> anyhow::Result<Open> {
        if let Some(open) = self.connection.take() {
            return Ok(open);
        }
        metrics::gauge!("tickstream_db_connected").set(0.0);
        metrics::counter!("tickstream_db_connects_total").increment(1);
        let connected = self.database.connect_to_write().await;
        let connection = connected.map_err(|error| {
            outage(Refusal::of_statement(error)).context(format!("database {}", self.database.place()))
        })?;
        metrics::gauge!("tickstream_db_connected").set(1.0);
        Ok(Open { connection, has_staging: false, days: HashSet::new() })
    }
}

async fn answered<T>(question: impl Future<Output = Result<T, sqlx::Error>>) -> anyhow::Result<T> {
    let answer = tokio::time::timeout(LONGEST_QUESTION, question).await;
    let answer = answer.map_err(|_| anyhow!("Postgres did not answer for {LONGEST_QUESTION:?}"))?;
    answer.map_err(|error| outage(Refusal::of_statement(error)))
}

async fn write_all(open: &mut Open, round: &mut Round<'_>, expected: Expected) -> anyhow::Result<(Outcome, Refused)> {
    let mut blamed = Blamed::default();
    let mut method = if expected.known || round.ticks.corrects() { Method::LookedUp } else { Method::Direct };
    let mut tries = 0;
    let mut look_first = expected.refused;
    loop {
        let attempt = if std::mem::take(&mut look_first) {
            blamed.by_checks(open, round).await.map(|()| None)
        } else {
            attempt(open, round, method).await.map(Some)
        };
        let refusal = match attempt {
            Ok(Some(outcome)) => return Ok((outcome, blamed.records)),
            Ok(None) => continue,
            Err(Refusal::Taken(_)) if method != Method::Staged => {
                method = if method == Method::Direct { Method::LookedUp } else { Method::Staged };
                continue;
            }
            Err(Refusal::This(row, reason)) => blamed.this(open, round, &row, reason).await,
            Err(Refusal::Row(reason) | Refusal::Taken(reason)) => blamed.by_trying(open, round, &reason).await,
            Err(refusal @ (Refusal::MissingDay | Refusal::Again(_) | Refusal::Outage(_))) => Err(refusal),
        };
        let Err(refusal) = refusal else { continue };
        tries += 1;
        match refusal {
            Refusal::MissingDay => {
                open.days.clear();
                anyhow::ensure!(tries < TRIES, "a partition of ticks is dropped or detached again and again");
            }
            Refusal::Again(reason) => {
                tracing::debug!(tries, "trying the batch again: {reason:#}");
                if tries == TRIES {
                    return Err(reason.context(format!("the batch was disturbed {TRIES} times")));
                }
            }
            Refusal::Outage(reason) => return Err(reason),
            // Of the search, not of the batch: the next attempt says whether it is still so.
            Refusal::This(_, reason) | Refusal::Row(reason) | Refusal::Taken(reason) => {
                anyhow::ensure!(tries < TRIES, "Postgres refuses to say which rows it refuses: {reason}");
            }
        }
    }
}

/// Records taken out of a round because Postgres refuses them.
#[derive(Default)]
struct Blamed {
    records: Refused,
    /// How many were named by a COPY, one at a time.
    one_by_one: usize,
}

impl Blamed {
    /// A row that a COPY named. Where it is not the only one, the others are looked for.
    async fn this(&mut self, open: &mut Open, round: &mut Round<'_>, row: &Row, reason: String) -> Result<(), Refusal> {
        self.take(round, vec![(round.ticks.origin(row), reason)]);
        self.one_by_one += 1;
        match self.one_by_one {
            1 => self.by_checks(open, round).await,
            MOST_ONE_BY_ONE => {
                stage_ready(open).await?;
                let found = refused::by_trying(&mut open.connection, round).await?;
                self.take(round, found);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn by_checks(&mut self, open: &mut Open, round: &mut Round<'_>) -> Result<(), Refusal> {
        stage_ready(open).await?;
        let found = refused::by_checks(&mut open.connection, &round.ticks).await?;
        self.take(round, found);
        Ok(())
    }

    /// After the round was refused for `reason` and no row was named.
    async fn by_trying(&mut self, open: &mut Open, round: &mut Round<'_>, reason: &str) -> Result<(), Refusal> {
        stage_ready(open).await?;
        let found = refused::by_trying(&mut open.connection, round).await?;
        if found.is_empty() {
            // Each record alone is taken, all together are not: none is to blame.
            return Err(Refusal::Outage(anyhow!("Postgres refuses the batch but none of its rows: {reason}")));
        }
        self.take(round, found);
        Ok(())
    }

    fn take(&mut self, round: &mut Round<'_>, found: Refused) {
        round.remove(&found.iter().map(|(origin, _)| *origin).collect());
        self.records.extend(found);
    }
}

async fn attempt(open: &mut Open, round: &Round<'_>, method: Method) -> Result<Outcome, Refusal> {
    for day in round.ticks.days() {
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
    if method != Method::Direct {
        stage_ready(open).await?;
    }
    transaction::write(&mut open.connection, round, method).await
}

async fn stage_ready(open: &mut Open) -> Result<(), Refusal> {
    if !open.has_staging {
        create_staging(&mut open.connection).await.map_err(Refusal::of_statement)?;
        open.has_staging = true;
    }
    Ok(())
}

fn outage(refusal: Refusal) -> anyhow::Error {
    match refusal {
        Refusal::Row(reason) | Refusal::This(_, reason) | Refusal::Taken(reason) => anyhow!(reason),
        Refusal::MissingDay => anyhow!("a partition of ticks is missing"),
        Refusal::Again(reason) | Refusal::Outage(reason) => reason,
    }
}
