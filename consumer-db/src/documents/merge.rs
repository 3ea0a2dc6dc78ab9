//! Documents into their tables, within a round's transaction; and which of them Postgres refuses.

use sqlx::{Connection, PgTransaction, Row as _};

use super::{Document, Documents, Table, array};
use crate::candles::ChangedGap;
use crate::refusal::Refusal;
use crate::rows::Origin;

/// Gives the gaps that have changed, as they were and as they are.
pub async fn merge_documents(
    transaction: &mut PgTransaction<'_>,
    documents: &Documents,
) -> Result<Vec<ChangedGap>, Refusal> {
    let mut changed = Vec::new();
    for table in Table::ALL {
        changed.extend(merge(transaction, table, &documents.of(table)).await?);
    }
    Ok(changed)
}

/// Finds the documents that Postgres refuses, by halving. What it did is to be rolled back.
pub async fn find_refused_documents(
    transaction: &mut PgTransaction<'_>,
    documents: &Documents,
) -> Result<Vec<(Origin, String)>, Refusal> {
    let mut refused = Vec::new();
    for table in Table::ALL {
        let told = documents.of(table);
        let mut parts = vec![&told[..]];
        while let Some(part) = parts.pop() {
            let mut attempt = transaction.begin().await.map_err(Refusal::of_statement)?;
            match merge(&mut attempt, table, part).await {
                Ok(_) => attempt.commit().await.map_err(Refusal::of_statement)?,
                Err(Refusal::Row(reason) | Refusal::Taken(reason) | Refusal::This(_, reason)) => {
                    attempt.rollback().await.map_err(Refusal::of_statement)?;
                    match part {
                        [] => {}
                        [document] => refused.push((document.origin, reason)),
                        _ => {
                            let (left, right) = part.split_at(part.len() / 2);
                            parts.extend([right, left]);
                        }
                    }
                }
                Err(other @ (Refusal::MissingDay | Refusal::Again(_) | Refusal::Outage(_))) => return Err(other),
            }
        }
    }
    Ok(refused)
}

async fn merge(
    transaction: &mut PgTransaction<'_>,
    table: Table,
    documents: &[&Document],
) -> Result<Vec<ChangedGap>, Refusal> {
    if documents.is_empty() {
        return Ok(Vec::new());
    }
    let query = sqlx::query(table.merge_statement()).bind(array(documents));
    // Only the gaps' statement gives rows.
    let changed = query.fetch_all(&mut **transaction).await.map_err(Refusal::of_rows)?;
    let gap = |row: sqlx::postgres::PgRow| row.try_get(0).map(ChangedGap);
    changed.into_iter().map(gap).collect::<Result<_, _>>().map_err(Refusal::of_statement)
}
