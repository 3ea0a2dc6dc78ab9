//! What was published, in Postgres at once: all of it is one transaction, by consumer-db's own writer, before the running
//! consumer gets to it. It reads the records from the topic, so a row has the coordinates and the broker's time that the
//! consumer gives it too; who writes it makes no difference. Must never happen here: a part of the corrections committed.

use std::sync::Arc;

use anyhow::Context;
use consumer_db::{Alone, Database};
use pipeline::consume::PartitionBatch;
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::records::{Record, RecordBuffer, Records};
use pipeline::registry::Registry;
use pipeline::stretches::{self, Stretch};
use pipeline::topics::TICKS;

use super::mark::{Mark, Step};
use crate::database::DatabaseArgs;
use crate::replay::record::Fence;

/// The database, held against every other writer until this is dropped.
pub struct Held(Alone);

/// What became of the corrections there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub records: u64,
    /// That no row can be made of: consumer-db puts them among the dead letters.
    pub refused: u64,
}

/// # Errors
/// [`pipeline::Misconfigured`] when the database cannot be used, or its schema is another version's.
pub async fn database(args: &DatabaseArgs) -> anyhow::Result<Database> {
    let url = args.database_url.as_ref().ok_or_else(|| {
        misconfigured("the plan's target is db, and no database is named: set --database-url or DATABASE_URL")
    })?;
    let database = Database::new(url)?;
    database.check_schema().await?;
    Ok(database)
}

impl Held {
    /// Waits until every other writer's transaction has ended.
    ///
    /// # Errors
    /// When the database does not answer, or a writer does not end.
    pub async fn begin(database: Database, registry: Option<Registry>, oldest_event_days: u32) -> anyhow::Result<Self> {
        Ok(Self(Alone::begin(database, registry, oldest_event_days).await?))
    }

    /// Writes what this generation published for `step` between the fences.
    ///
    /// # Errors
    /// An outage; run again, it writes what is not there.
    pub async fn apply(
        &mut self,
        kafka: &KafkaArgs,
        mark: &Mark,
        step: Step,
        fences: &[Fence],
    ) -> anyhow::Result<Applied> {
        let batches = published(kafka, mark, step, fences).await?;
        let records = batches.iter().map(|batch| batch.records.len() as u64).sum();
        if records == 0 {
            return Ok(Applied::default());
        }
        let refused = self.0.write(&batches).await.context("writing the corrections to Postgres")?;
        Ok(Applied { records, refused })
    }
}

/// The generation's own records between the fences: live ones lie between them.
async fn published(
    kafka: &KafkaArgs,
    mark: &Mark,
    step: Step,
    fences: &[Fence],
) -> anyhow::Result<Vec<PartitionBatch>> {
    let stretches: Vec<Stretch> =
        fences.iter().map(|fence| Stretch { partition: fence.partition, start: fence.from, end: fence.to }).collect();
    let topic: Arc<str> = Arc::from(TICKS);
    let mut batches = Vec::new();
    let take = async |partition, records: Records| {
        let mut own = RecordBuffer::new();
        for index in 0..records.len() {
            if mark.of_record(&records, index) == Some(step) {
                let record = Record {
                    offset: records.offsets().value(index),
                    timestamp_ms: records.timestamps_ms().value(index),
                    key: Some(records.keys().value(index)),
                    value: Some(records.values().value(index)),
                };
                own.push_owned(record, &[]);
            }
        }
        let records = own.finish();
        if let (Some(start), Some(last)) = (records.first_offset(), records.last_offset()) {
            batches.push(PartitionBatch { topic: topic.clone(), partition, start, next_offset: last + 1, records });
        }
        Ok(())
    };
    let retention = "retention has removed what was just published: nothing is lost, consumer-db has it";
    stretches::read(kafka, TICKS, &stretches, retention, take).await?;
    Ok(batches)
}
