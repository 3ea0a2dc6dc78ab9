//! A generation's rows in the place of the live ones, and back: for a generation that is made of the records that the live rows
//! are made of, so that a difference is a live row that is not what the log says (altered, deleted, put there by hand, restored
//! from a backup). What is live is replaced by what the log says, within the scope, and kept beside the generation's rows.
//!
//! The way of a promotion: the differences are found without a lock and noted in the generation's schema ([`Exchange::find`]);
//! the caller takes out what is not to be touched; then one transaction, alone as a correcting batch is, exchanges what is still
//! as it was found ([`Exchange::promote`]). A rollback is one such transaction in the other direction.
//!
//! **Invariants**
//! - All of an exchange is one transaction: rows, candles, latest prices, and the generation's note that it stands live.
//! - A row of a higher rank from outside the scope stays, with its event; so does whatever changed between finding and
//!   exchanging, and, of a rollback, whatever changed since the promotion. Each such event is named.
//! - Candles and latest prices are made again by this crate's own statements, from the ticks there are then: what came since is
//!   in them. Those that come out as they were keep every byte.
//! - Turns rise. Who begins takes one, and whoever had a lower one exchanges nothing any more, however late it goes on.
//! - Positions stay: the consumer goes on where it is.
//!
//! **Crash points**: before the commit nothing live has changed, and finding begins anew; after it the note says so, and the same
//! again changes nothing. The lock ends with the connection.
//!
//! **Must never happen here**: a live row that goes without having been noted; a note that is written over while it stands live.

mod derived;
mod swap;

use anyhow::{Context, ensure};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgTransaction};
use uuid::Uuid;

use crate::database::Database;
use crate::refusal::{database_error, describe};
pub use derived::WrongCandle;
pub use swap::{Exchanged, Outcome};

/// Compares a generation's rows with the live ones: a statement goes on behind it. See [`Scope::statement`].
const PAIRS: &str = include_str!("sql/exchange/pairs.sql");
const PREPARE: &str = include_str!("sql/exchange/prepare.sql");
const CLAIM: &str = include_str!("sql/exchange/claim.sql");
const BEGIN: &str = include_str!("sql/exchange/begin.sql");
const EMPTY: &str = include_str!("sql/exchange/empty.sql");
const FIND: &str = include_str!("sql/exchange/find.sql");
const ANALYZE: &str = include_str!("sql/exchange/analyze.sql");
const TO_PUT: &str = include_str!("sql/exchange/to_put.sql");
const UNKNOWN: &str = include_str!("sql/exchange/unknown.sql");
const LEAVE_ALONE: &str = include_str!("sql/exchange/leave_alone.sql");

/// What a generation was made of: records of the ticks' topic, as statements are told of it.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The generation's schema: letters, digits and underscores alone.
    pub schema: String,
    pub partitions: Vec<i32>,
    pub begins: Vec<i64>,
    /// Exclusive.
    pub ends: Vec<i64>,
    /// Empty: all.
    pub symbols: Vec<String>,
}

impl Scope {
    /// The comparison, and what goes on behind it. `$1` to `$4` are partitions, begins, ends and symbols.
    pub fn statement(&self, of_pairs: &str) -> String {
        self.of(&format!("{PAIRS}{of_pairs}"))
    }

    fn of(&self, statement: &str) -> String {
        statement.replace("$generation", &self.schema)
    }
}

/// What was found to be exchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Events that the generation has and that are to stand live, with their revisions.
    pub to_put: Vec<(Uuid, i32)>,
    /// Events of which a live row is to go and of which the generation has none.
    pub unknown: Vec<Uuid>,
}

/// One turn of exchanging a generation's rows.
pub struct Exchange {
    database: Database,
    scope: Scope,
    turn: i64,
}

impl Exchange {
    /// Takes the turn: nobody with a lower one exchanges anything from now on.
    ///
    /// # Errors
    /// When a higher turn was taken already, or the database does not answer.
    pub async fn begin(database: Database, scope: Scope, turn: i64) -> anyhow::Result<Self> {
        let this = Self { database, scope, turn };
        let mut connection = this.connect().await?;
        this.all(&mut connection, PREPARE).await?;
        let claim = this.scope.of(CLAIM);
        let claimed: Option<bool> = sqlx::query_scalar(AssertSqlSafe(claim))
            .bind(turn)
            .fetch_optional(&mut connection)
            .await
            .map_err(failed)?;
        ensure!(claimed.is_some(), TAKEN_OVER);
        Ok(this)
    }

    /// Notes what is to be exchanged. `None` where the generation stands live already.
    ///
    /// # Errors
    /// When another one has taken over, or the database does not answer: then nothing is noted.
    pub async fn find(&self) -> anyhow::Result<Option<Found>> {
        let mut connection = self.connect().await?;
        let mut transaction = connection.begin().await.map_err(failed)?;
        if self.stands(&mut transaction).await?.is_promoted {
            return Ok(None);
        }
        self.all(&mut transaction, EMPTY).await?;
        let Scope { partitions, begins, ends, symbols, .. } = &self.scope;
        sqlx::query(AssertSqlSafe(self.scope.statement(FIND)))
            .bind(partitions)
            .bind(begins)
            .bind(ends)
            .bind(symbols)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        self.all(&mut transaction, ANALYZE).await?;
        let to_put = sqlx::query_as(AssertSqlSafe(self.scope.of(TO_PUT))).fetch_all(&mut *transaction).await;
        let unknown = sqlx::query_scalar(AssertSqlSafe(self.scope.of(UNKNOWN))).fetch_all(&mut *transaction).await;
        let found = Found { to_put: to_put.map_err(failed)?, unknown: unknown.map_err(failed)? };
        transaction.commit().await.map_err(failed)?;
        Ok(Some(found))
    }

    /// Takes these events out of what was found.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub async fn leave_alone(&self, events: &[Uuid]) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        let mut transaction = connection.begin().await.map_err(failed)?;
        let stands = self.stands(&mut transaction).await?;
        ensure!(!stands.is_promoted, "the generation stands live already");
        self.forget(&mut transaction, events).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn forget(&self, transaction: &mut PgTransaction<'_>, events: &[Uuid]) -> Result<(), sqlx::Error> {
        let statement = self.scope.of(LEAVE_ALONE);
        sqlx::query(AssertSqlSafe(statement)).bind(events).execute(&mut **transaction).await.map(drop)
    }

    /// What the note says, which stays so until the transaction ends.
    async fn stands(&self, transaction: &mut PgTransaction<'_>) -> anyhow::Result<Stands> {
        let begin = AssertSqlSafe(self.scope.of(BEGIN));
        let stands = sqlx::query_as(begin).bind(self.turn).fetch_optional(&mut **transaction).await.map_err(failed)?;
        stands.context(TAKEN_OVER)
    }

    async fn connect(&self) -> anyhow::Result<PgConnection> {
        self.database.connect().await.with_context(|| format!("database {}", self.database.place()))
    }

    /// Statements without parameters.
    async fn all(&self, connection: &mut PgConnection, statements: &str) -> anyhow::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(self.scope.of(statements))).execute(connection).await.map(drop).map_err(failed)
    }
}

const TAKEN_OVER: &str = "another `tickstream replay` has taken over the generation: nothing was exchanged; let that one end, then run this again";

#[derive(sqlx::FromRow)]
struct Stands {
    is_promoted: bool,
    taken: i64,
    put: i64,
    candles: i64,
    latest: i64,
}

fn failed(error: sqlx::Error) -> anyhow::Error {
    match database_error(&error) {
        Some(refusal) => anyhow::anyhow!("Postgres: {}", describe(refusal)),
        None => anyhow::Error::from(error).context("Postgres does not answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generation_is_named_in_its_own_places_alone() {
        let scope = Scope {
            schema: "gen_fix_kraken".to_owned(),
            partitions: vec![0],
            begins: vec![10],
            ends: vec![20],
            symbols: Vec::new(),
        };
        let statement = scope.statement(FIND);
        assert!(
            statement.contains("from gen_fix_kraken.ticks")
                && statement.contains("into gen_fix_kraken.ticks_before")
                && !statement.contains("$generation"),
            "{statement}"
        );
    }
}
