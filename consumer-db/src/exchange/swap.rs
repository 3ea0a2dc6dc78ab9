//! The one transaction of an exchange, in either direction. Must never happen here: a commit beside another writer's, or one
//! that changes live rows and not the note.

use std::time::{Duration, Instant};

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgTransaction, Row as _};
use uuid::Uuid;

use super::derived::{self, WrongCandle};
use super::{Exchange, Stands, failed};
use crate::timestamptz::Timestamptz;
use crate::transaction::{BEGIN, BEGIN_BATCH, JOIN_BY_KEY};

const ENSURE_DAY: &str = include_str!("../sql/ensure_day.sql");
const HORIZON: &str = include_str!("../sql/exchange/horizon.sql");
const CHANGED: &str = include_str!("../sql/exchange/changed.sql");
const CHANGED_SINCE: &str = include_str!("../sql/exchange/changed_since.sql");
const DAYS: &str = include_str!("../sql/exchange/days.sql");
const TAKE: &str = include_str!("../sql/exchange/take.sql");
const STAMP: &str = include_str!("../sql/exchange/stamp.sql");
const PUT: &str = include_str!("../sql/exchange/put.sql");
const END: &str = include_str!("../sql/exchange/end.sql");

/// What was exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanged {
    /// Live rows of ticks that went.
    pub taken: u64,
    /// Rows of ticks that stand live since.
    pub put: u64,
    pub candles: u64,
    pub latest: u64,
}

/// What became of an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub exchanged: Exchanged,
    /// Events that are not as they were, and stay.
    pub left_alone: Vec<Uuid>,
    /// Nothing was to be done: an earlier run had committed, or there is nothing to take back.
    pub was_so: bool,
    /// How long no other writer wrote.
    pub held: Duration,
}

impl Exchange {
    /// Puts what was found in its place, and makes again what follows from it; of `wrong_candles` and `wrong_latest` (symbol,
    /// source) those that are of the generation's ticks, too.
    ///
    /// # Errors
    /// When another one has taken over, or the database does not take it: then nothing has changed, or the commit's answer was
    /// lost; run again it finds out.
    pub async fn promote(
        &self,
        wrong_candles: &[WrongCandle],
        wrong_latest: &[(String, String)],
    ) -> anyhow::Result<Outcome> {
        let mut connection = self.connect_to_write().await?;
        self.make_days(&mut connection, "ticks_after").await?;
        let (mut transaction, stands, horizon, begun) = self.alone(&mut connection).await?;
        if stands.is_promoted {
            return Ok(Outcome { exchanged: Exchanged::of(&stands), was_so: true, ..Outcome::default() });
        }
        let promoting = async {
            let changed = sqlx::query_scalar(AssertSqlSafe(self.scope.of(CHANGED)));
            let left_alone: Vec<Uuid> = changed.bind(horizon).fetch_all(&mut *transaction).await?;
            self.forget(&mut transaction, &left_alone).await?;
            self.take(&mut transaction, "ticks_before").await?;
            sqlx::query(AssertSqlSafe(self.scope.of(STAMP))).execute(&mut *transaction).await?;
            self.put(&mut transaction, "ticks_after").await?;
            derived::make_again(&self.scope, &mut transaction, wrong_candles, wrong_latest, horizon).await?;
            self.end(&mut transaction, true).await.map(|exchanged| (exchanged, left_alone))
        };
        let (exchanged, left_alone) = promoting.await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(Outcome { exchanged, left_alone, was_so: false, held: begun.elapsed() })
    }

    /// Puts back what a promotion replaced, where it is still what the promotion made of it.
    ///
    /// # Errors
    /// As [`Self::promote`].
    pub async fn roll_back(&self) -> anyhow::Result<Outcome> {
        let mut connection = self.connect_to_write().await?;
        self.make_days(&mut connection, "ticks_before").await?;
        let (mut transaction, stands, horizon, begun) = self.alone(&mut connection).await?;
        if !stands.is_promoted {
            return Ok(Outcome { was_so: true, ..Outcome::default() });
        }
        let going_back = async {
            let changed = sqlx::query_scalar(AssertSqlSafe(self.scope.of(CHANGED_SINCE)));
            let left_alone: Vec<Uuid> = changed.bind(horizon).fetch_all(&mut *transaction).await?;
            let kept = derived::minutes_of(&self.scope, &mut transaction, &left_alone).await?;
            self.forget(&mut transaction, &left_alone).await?;
            self.take(&mut transaction, "ticks_after").await?;
            self.put(&mut transaction, "ticks_before").await?;
            derived::put_back(&self.scope, &mut transaction, &kept, horizon).await?;
            self.end(&mut transaction, false).await.map(|exchanged| (exchanged, left_alone))
        };
        let (exchanged, left_alone) = going_back.await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(Outcome { exchanged, left_alone, was_so: false, held: begun.elapsed() })
    }

    async fn connect_to_write(&self) -> anyhow::Result<PgConnection> {
        self.database.connect_to_write().await.map_err(failed)
    }

    /// A transaction beside which no other writer's goes on, what the note says, and the horizon of retention.
    async fn alone<'c>(
        &self,
        connection: &'c mut PgConnection,
    ) -> anyhow::Result<(PgTransaction<'c>, Stands, Timestamptz, Instant)> {
        let mut transaction = connection.begin_with(BEGIN).await.map_err(failed)?;
        sqlx::query(BEGIN_BATCH).bind(true).execute(&mut *transaction).await.map_err(failed)?;
        let begun = Instant::now();
        let horizon = sqlx::query_scalar(HORIZON).fetch_one(&mut *transaction).await.map_err(failed)?;
        let stands = self.stands(&mut transaction).await?;
        Ok((transaction, stands, horizon, begun))
    }

    /// Partitions for the rows that are to be put in.
    async fn make_days(&self, connection: &mut PgConnection, rows: &str) -> anyhow::Result<()> {
        let asking = self.of_rows(DAYS, rows);
        let days: Vec<i32> =
            sqlx::query_scalar(AssertSqlSafe(asking)).fetch_all(&mut *connection).await.map_err(failed)?;
        for day in days {
            sqlx::query(ENSURE_DAY).bind(day).execute(&mut *connection).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn take(&self, transaction: &mut PgTransaction<'_>, rows: &str) -> Result<(), sqlx::Error> {
        sqlx::query(JOIN_BY_KEY).bind("off").execute(&mut **transaction).await?;
        sqlx::query(AssertSqlSafe(self.of_rows(TAKE, rows))).execute(&mut **transaction).await?;
        sqlx::query(JOIN_BY_KEY).bind("on").execute(&mut **transaction).await.map(drop)
    }

    async fn put(&self, transaction: &mut PgTransaction<'_>, rows: &str) -> Result<(), sqlx::Error> {
        sqlx::query(AssertSqlSafe(self.of_rows(PUT, rows))).execute(&mut **transaction).await.map(drop)
    }

    async fn end(&self, transaction: &mut PgTransaction<'_>, is_promoted: bool) -> Result<Exchanged, sqlx::Error> {
        let end = AssertSqlSafe(self.scope.of(END));
        let row: PgRow = sqlx::query(end).bind(is_promoted).fetch_one(&mut **transaction).await?;
        let count = |index| row.try_get(index).map(i64::unsigned_abs);
        Ok(Exchanged { taken: count(0)?, put: count(1)?, candles: count(2)?, latest: count(3)? })
    }

    fn of_rows(&self, statement: &str, rows: &str) -> String {
        self.scope.of(&statement.replace("$rows", rows))
    }
}

impl Exchanged {
    fn of(stands: &Stands) -> Self {
        let Stands { taken, put, candles, latest, .. } = *stands;
        let [taken, put, candles, latest] = [taken, put, candles, latest].map(i64::unsigned_abs);
        Self { taken, put, candles, latest }
    }
}
