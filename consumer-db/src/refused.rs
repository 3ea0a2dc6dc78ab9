//! Which rows Postgres refuses, when it has refused a batch. A COPY names the row that it stopped at, so one bad row costs one
//! try. Where there may be more, the server is asked once for all of them: by the table's CHECK constraints, over the columns
//! that they look at, or by trying each row. Nothing but the staging table is written here. Must never happen here: a row
//! blamed for what is no fault of its values.

use std::collections::HashMap;

use sqlx::{Connection, PgConnection, PgTransaction};
use uuid::Uuid;

use crate::copy_format::Columns;
use crate::documents::merge::find_refused_documents;
use crate::refusal::Refusal;
use crate::round::Round;
use crate::rows::{Batch, Origin, Place, Row};
use crate::timestamptz::Timestamptz;
use crate::transaction::{BEGIN, begin_batch, stage};

const CHECK_COLUMNS: &str = include_str!("sql/check_columns.sql");
const REFUSED_BY_CHECKS: &str = include_str!("sql/refused_by_checks.sql");
const REFUSED_WHEN_TRIED: &str = include_str!("sql/refused_when_tried.sql");

/// Records, each with the reason.
pub type Refused = Vec<(Origin, String)>;

/// The ticks that break a CHECK constraint of the table, with the reason: a few milliseconds for a batch.
pub async fn by_checks(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<Refused, Refusal> {
    let columns: Vec<String> =
        sqlx::query_scalar(CHECK_COLUMNS).fetch_one(&mut *connection).await.map_err(Refusal::of_statement)?;
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let winners = batch.winners();
    let mut transaction = connection.begin_with(BEGIN).await.map_err(Refusal::of_statement)?;
    stage(&mut transaction, batch, &winners, Columns::key_and(&columns)).await?;
    let refused = named(&mut transaction, REFUSED_BY_CHECKS, batch, &winners).await?;
    // Empties the staging table, which a rollback would leave full of dead rows for the next look to step over.
    transaction.commit().await.map_err(Refusal::of_statement)?;
    Ok(refused)
}

/// The records that are refused one by one, whatever refuses them.
pub async fn by_trying(connection: &mut PgConnection, round: &Round<'_>) -> Result<Refused, Refusal> {
    let mut transaction = connection.begin_with(BEGIN).await.map_err(Refusal::of_statement)?;
    let standing = begin_batch(&mut transaction, round).await?.standing;
    let mut refused = find_refused_documents(&mut transaction, &round.documents).await?;
    stage(&mut transaction, &round.ticks, &standing, Columns::ALL).await?;
    refused.extend(named(&mut transaction, REFUSED_WHEN_TRIED, &round.ticks, &standing).await?);
    transaction.rollback().await.map_err(Refusal::of_statement)?;
    Ok(refused)
}

/// Of `rows`, those whose places `statement` gives, each once, with the first reason.
async fn named(
    transaction: &mut PgTransaction<'_>,
    statement: &'static str,
    batch: &Batch<'_>,
    rows: &[Row],
) -> Result<Refused, Refusal> {
    let found: Vec<(Timestamptz, Uuid, String)> =
        sqlx::query_as(statement).fetch_all(&mut **transaction).await.map_err(Refusal::of_rows)?;
    let mut reasons: HashMap<Place, String> = HashMap::new();
    for (event_time, event_id, reason) in found {
        reasons.entry(Place { event_time, event_id }).or_insert(reason);
    }
    Ok(rows.iter().filter_map(|row| Some((batch.origin(row), reasons.remove(&row.place)?))).collect())
}
