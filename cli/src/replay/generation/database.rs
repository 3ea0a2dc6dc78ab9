//! The rows of a generation: a schema of its own, made and filled by consumer-db's code, partition by partition, then the
//! corrections. Invariant: the schema is this plan's, and `topic_positions` in it says how far it is. Must never happen here: a
//! statement that writes outside the schema.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{anyhow, ensure};
use consumer_db::{Database, DbSink, Writer};
use pipeline::consume::{Assigned, Fault, PartitionBatch, Sink};
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::records::Records;
use pipeline::topic_id::TopicIds;
use pipeline::topics::TICKS;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use uuid::Uuid;

use super::{CORRECTION, GENERATION_COMMENT, GenerationArgs, Written, corrections, inputs, schema};
use crate::database::explain;
use crate::output::{self, Progress, age};
use crate::replay::plan::{Plan, Stretch};

const WHOSE_SCHEMA: &str = include_str!("sql/whose_schema.sql");
const PREPARE: &str = include_str!("sql/prepare.sql");
const ONE_AFTER_THE_OTHER: &str = include_str!("sql/one_after_the_other.sql");

/// Corrections in a transaction: it keeps every other writer waiting.
const CORRECTIONS_AT_ONCE: usize = 2_000;

/// Fills the schema, or what an earlier execution left of it to be filled.
///
/// # Errors
/// [`pipeline::Misconfigured`] for what the user can mend; else what failed.
pub async fn fill(plan: &Plan, kafka: &KafkaArgs, args: &GenerationArgs) -> anyhow::Result<Written> {
    let schema = schema(&plan.name);
    let mut connection = args.database.connect().await?;
    own_schema(&mut connection, &schema, plan).await?;
    let url = args.database.database_url.as_ref().ok_or_else(|| misconfigured("no database is named"))?;
    let database = Database::new(url)?.in_schema(&schema);
    database.bring_up_to_date().await?;
    let prepare = PREPARE.replace("$generation", &schema);
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *transaction).await.map_err(|error| denied(error, &schema))?;
    transaction.commit().await?;

    let mut filling = Filling::new(plan, database, kafka, args)?;
    let stretches = filling.start(&mut connection, &schema, plan).await?;
    let read = inputs::read(plan.source, kafka, &args.store, TICKS, &stretches, async |partition, records| {
        let next_offset = records.last_offset().map_or(0, |last| last + 1);
        filling.write(partition, next_offset, inputs::of_symbols(&records, &plan.symbols)?).await
    });
    read.await?;
    for stretch in &stretches {
        filling.write(stretch.partition, stretch.to, Records::empty()).await?;
    }
    let corrections = if plan.source.is_payloads() { filling.correct(kafka, plan).await? } else { 0 };
    if filling.dead_letters > 0 {
        output::note(&format!(
            "{} records are not in the generation: consumer-db makes dead letters of them",
            filling.dead_letters
        ));
    }
    let counting = format!("select count(*) from {schema}.ticks");
    let rows: i64 = sqlx::query_scalar(AssertSqlSafe(counting)).fetch_one(&mut connection).await?;
    Ok(Written { corrections, rows: rows.unsigned_abs(), ..Written::default() })
}

/// What the schema of a plan says of itself.
fn comment(plan: &Plan) -> String {
    format!("{GENERATION_COMMENT} {} of the plan with digest {}", plan.name, plan.digest)
}

/// Makes the schema, unless this plan has.
async fn own_schema(connection: &mut PgConnection, schema: &str, plan: &Plan) -> anyhow::Result<()> {
    let mut transaction = connection.begin().await?;
    // Of two at once the second finds what the first has made.
    sqlx::query(ONE_AFTER_THE_OTHER).bind(schema).execute(&mut *transaction).await?;
    // Where consumer-db never was there is nothing to compare with.
    sqlx::query("select ticks_from from retention").fetch_optional(&mut *transaction).await.map_err(explain)?;
    let found = sqlx::query(WHOSE_SCHEMA).bind(schema).fetch_one(&mut *transaction).await?;
    let (is_there, says): (bool, Option<String>) = (found.try_get(0)?, found.try_get(1)?);
    let comment = comment(plan);
    if is_there && says.as_deref() != Some(&*comment) {
        return Err(misconfigured(format!(
            "schema {schema} is there and was not made of this plan: `tickstream replay drop {}` removes a generation; or make a plan with \
             another name",
            plan.name
        )));
    }
    if !is_there {
        // Neither name nor digest has a quote in it.
        let make = format!("create schema {schema}; comment on schema {schema} is '{comment}'");
        sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut *transaction).await.map_err(|error| denied(error, schema))?;
    }
    Ok(transaction.commit().await?)
}

fn denied(error: sqlx::Error, schema: &str) -> anyhow::Error {
    let refusal = error.as_database_error();
    if refusal.and_then(|refusal| refusal.code()).as_deref() == Some("42501") {
        let message = refusal.map_or("", |refusal| refusal.message());
        return misconfigured(format!(
            "the user in --database-url (DATABASE_URL) may not make schema {schema} ({message}): give it CREATE on the database"
        ));
    }
    anyhow::Error::from(error).context(format!("making schema {schema}"))
}

struct Filling {
    sink: DbSink,
    topic: Arc<str>,
    /// Where each partition's next batch begins.
    at: HashMap<i32, i64>,
    dead_letters: u64,
    /// Offsets to read, and those that were.
    all: u64,
    done: u64,
    begun: Instant,
    progress: Progress,
}

impl Filling {
    fn new(plan: &Plan, database: Database, kafka: &KafkaArgs, args: &GenerationArgs) -> anyhow::Result<Self> {
        let topic_ids = TopicIds::new(kafka)?;
        let registry = args.registry.registry()?;
        let sink = DbSink::new(Writer::new(database), registry, topic_ids, false, args.oldest_event_days);
        Ok(Self {
            sink,
            topic: Arc::from(TICKS),
            at: HashMap::new(),
            dead_letters: 0,
            all: plan.of_topic(TICKS).map(|stretch| offsets(stretch.from, stretch.to)).sum(),
            done: 0,
            begun: Instant::now(),
            progress: Progress::default(),
        })
    }

    /// What is left of each stretch of the ticks.
    async fn start(
        &mut self,
        connection: &mut PgConnection,
        schema: &str,
        plan: &Plan,
    ) -> anyhow::Result<Vec<Stretch>> {
        let mut left: Vec<Stretch> = plan.of_topic(TICKS).cloned().collect();
        let asking = format!("select topic_id, kafka_partition, next_offset from {schema}.topic_positions");
        let rows = sqlx::query(AssertSqlSafe(asking)).fetch_all(connection).await?;
        let position = |row: sqlx::postgres::PgRow| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?));
        let known: HashMap<(Uuid, i32), i64> = rows.into_iter().map(position).collect::<Result<_, sqlx::Error>>()?;
        for stretch in &mut left {
            let position = known.get(&(stretch.topic_id, stretch.partition)).copied();
            let begin = position.unwrap_or(stretch.from).clamp(stretch.from, stretch.to);
            self.done += offsets(stretch.from, begin);
            stretch.from = begin;
        }
        let assigned: Vec<Assigned> = left.iter().map(|stretch| self.assigned(stretch)).collect();
        let starts = self.sink.start(&assigned).await.map_err(ended)?;
        for (stretch, start) in left.iter().zip(starts) {
            ensure!(stretch.from == start, "{TICKS}[{}] begins at {start}, not at {}", stretch.partition, stretch.from);
        }
        self.at = left.iter().map(|stretch| (stretch.partition, stretch.from)).collect();
        Ok(left)
    }

    fn assigned(&self, stretch: &Stretch) -> Assigned {
        Assigned {
            topic: self.topic.clone(),
            partition: stretch.partition,
            committed: Some(stretch.from),
            metadata: stretch.topic_id.to_string(),
            log_start: stretch.from,
            log_end: stretch.to,
        }
    }

    async fn write(&mut self, partition: i32, next_offset: i64, records: Records) -> anyhow::Result<()> {
        let start = self.at.get(&partition).copied().unwrap_or(0);
        if start >= next_offset {
            return Ok(());
        }
        self.give(PartitionBatch { topic: self.topic.clone(), partition, start, next_offset, records }).await?;
        self.at.insert(partition, next_offset);
        self.done += offsets(start, next_offset);
        let (done, all) = (self.done, self.all.max(self.done));
        let left = self.begun.elapsed().as_secs_f64() * (all - done) as f64 / done.max(1) as f64;
        self.progress
            .tell(|| format!("tickstream: {done} of {all} offsets are in the generation, about {} left", age(left)));
        Ok(())
    }

    /// The corrections, of a partition that is none of the topic's, so that no position is told of them.
    async fn correct(&mut self, kafka: &KafkaArgs, plan: &Plan) -> anyhow::Result<u64> {
        let mut count = 0;
        corrections::read(kafka, &plan.name, async |records| {
            count += records.len() as u64;
            for from in (0..records.len()).step_by(CORRECTIONS_AT_ONCE) {
                let some = records.slice(from, CORRECTIONS_AT_ONCE.min(records.len() - from));
                let (start, next_offset) =
                    (some.first_offset().unwrap_or(0), some.last_offset().map_or(0, |last| last + 1));
                let topic = self.topic.clone();
                self.give(PartitionBatch { topic, partition: CORRECTION, start, next_offset, records: some }).await?;
            }
            Ok(())
        })
        .await?;
        Ok(count)
    }

    async fn give(&mut self, batch: PartitionBatch) -> anyhow::Result<()> {
        let next_offset = batch.next_offset;
        let (written, letters) = self.sink.write(&[batch]).await.map_err(ended)?;
        let all_written = written.iter().all(|written| written.resume_at == next_offset);
        ensure!(all_written, "the database has lost rows of the generation (a failover?): execute the plan again");
        self.dead_letters += letters.len() as u64;
        Ok(())
    }
}

fn offsets(from: i64, to: i64) -> u64 {
    u64::try_from(to - from).unwrap_or(0)
}

pub fn ended(fault: Fault) -> anyhow::Error {
    match fault {
        Fault::Outage(error) => {
            anyhow!(error).context("not finished; execute the plan again, and it goes on from there")
        }
        Fault::Stop(error) => error,
    }
}
