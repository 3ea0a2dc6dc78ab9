//! A generation: what a replay made side by side with what is live, by the same code as the live services, so that a
//! difference between the two is one of data. Everything that is its own bears its name, and is found by it alone:
//!
//! | what | where |
//! |---|---|
//! | its rows | Postgres schema `gen_NAME`, with consumer-db's tables, made by consumer-db's migrations |
//! | a copy of its records | the topic that the plan's target `topic:NAME` names ([`copy`]): the user's own, dropped by nobody here |
//! | its raw, bronze, silver and gold, where the lake is a target | below `generations/NAME/` of the lake's own prefix |
//! | its corrections, where payloads are the source | topic `market.ticks.v1.gen.NAME`, one partition, kept for ever |
//!
//! **The rows** are what consumer-db's own sink makes of the records of market.ticks.v1 that the plan names, then of the
//! corrections. `topic_positions` in the schema says how far that is, in the transaction that writes the rows, so an
//! execution that was killed goes on there. Candles and latest prices in the schema are those of its ticks alone. A row's
//! `kafka_partition` and `kafka_offset` are the record's own; those of a correction are [`CORRECTION`] and its offset in the
//! generation's topic. The schema's comment names the plan's digest: one that another plan made is refused.
//!
//! **The lake** of a generation is one of its own, below a prefix with its name ([`lake`]).
//!
//! **The corrections** are the records that a promotion publishes to market.ticks.v1: key and value byte for byte, in the
//! order of their offsets. Each has two headers, which are not to be published: [`CHANGE`] (`changed`, `new` or `retracted`)
//! and, but for `new`, [`OLD`], the tick whose place it takes, encoded as its record was. They are written in one Kafka
//! transaction with a transactional id of the generation's own, so the topic holds all of them or none, and they are made
//! once: whoever executes the plan again finds them. Read them with [`corrections::read`], committed records only.
//!
//! Invariant: nothing live is written. The live schema is read (horizon and gaps are copied from it once), and each of the
//! generation's transactions holds consumer-db's lock as any writer's does.
//!
//! Crash points: with the schema made and not migrated (it is migrated); between batches (positions tell); with the
//! corrections' transaction open (the next one aborts it and makes them again); with the corrections written and not in the
//! schema (they are read again; those that are there change nothing); before the record says `executed` (everything is looked
//! at again, and nothing is written).
//!
//! Must never happen here: a statement, a PUT or a record that lands in something live.

pub mod copy;
pub mod corrections;
mod database;
pub mod inputs;
pub mod lake;
pub mod own_topic;
mod shelf;

use clap::Args;
use pipeline::kafka::KafkaArgs;
use pipeline::registry::RegistryArgs;
use pipeline::store::StoreArgs;
use pipeline::{misconfigured, topics};

use super::plan::{Name, Plan, Target};
use crate::database::DatabaseArgs;

/// `kafka_partition` of a correction's row.
pub const CORRECTION: i32 = -1;
/// How the comment of a generation's schema begins; its name follows.
pub const GENERATION_COMMENT: &str = "Generation of tickstream:";
/// Header of a correction: what it is.
pub const CHANGE: &str = "tickstream-change";
/// Header of a correction: the tick whose place it takes.
pub const OLD: &str = "tickstream-old";

/// The Postgres schema of a generation.
pub fn schema(name: &Name) -> String {
    format!("gen_{name}")
}

/// The topic of its corrections.
pub fn topic(name: &Name) -> String {
    format!("{}.gen.{name}", topics::TICKS)
}

/// What writing a generation needs besides Kafka.
#[derive(Args, Debug)]
pub struct GenerationArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// As consumer-db has it: ticks whose event_time lies more days before their broker time are not taken.
    #[arg(long, env = "DB_OLDEST_EVENT_DAYS", value_name = "DAYS", default_value = "400", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub oldest_event_days: u32,
    /// The most ticks that are compared with their payloads at once; each takes about 450 bytes of memory.
    #[arg(long, env = "RENORMALIZE_MAX_TICKS", default_value_t = 2_000_000, value_name = "COUNT")]
    pub max_ticks: usize,
    /// A table of symbols in place of the one that comes with the program, as the producer has it.
    #[arg(long, env = "PRODUCER_SYMBOLS_FILE", value_name = "FILE")]
    pub symbols_file: Option<std::path::PathBuf>,
}

/// What was written, for the record and for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub corrections: u64,
    /// Rows of `ticks` in the generation's schema.
    pub rows: u64,
    /// Parquet objects of the generation's lake.
    pub objects: u64,
    /// Records that were copied into the plan's topics, by this execution and those before it.
    pub copied: u64,
}

/// Whether this generation can be written.
///
/// # Errors
/// [`pipeline::Misconfigured`] for a plan that asks for what is not made side by side.
pub fn check(plan: &Plan) -> anyhow::Result<()> {
    for target in &plan.targets {
        match target {
            Target::Db | Target::Lake => {}
            Target::Topic(_) if plan.source.is_payloads() => {
                return Err(misconfigured(format!(
                    "{target} is a copy of records, and a plan from payloads has none: take the source topic or lake-raw"
                )));
            }
            Target::Topic(into) => {
                copy::check(into)?;
                if plan.of_topic(into).next().is_some() {
                    return Err(misconfigured(format!("{target} is what is copied: name another topic for the copy")));
                }
            }
            Target::Alerts => {
                return Err(misconfigured(
                    "alerts are not written side by side: `consumer-alerts backtest` says when rules would have fired over a span",
                ));
            }
        }
    }
    if plan.source.is_payloads() && (plan.from_time.is_none() || plan.to_time.is_none()) {
        return Err(misconfigured("a plan from payloads needs a span in times, with a beginning and an end"));
    }
    if plan.is_copy() {
        return Ok(());
    }
    let other =
        plan.partitions.iter().find(|stretch| stretch.topic != topics::TICKS && stretch.topic != topics::PAYLOADS);
    other.map_or(Ok(()), |stretch| {
        Err(misconfigured(format!("{} is not written side by side, only {} is", stretch.topic, topics::TICKS)))
    })
}

/// Writes the generation, or goes on where an earlier execution of the same plan was.
///
/// # Errors
/// [`pipeline::Misconfigured`] for what the user can mend; else what failed: then the same command goes on from there.
pub async fn write(plan: &Plan, kafka: &KafkaArgs, args: &GenerationArgs) -> anyhow::Result<Written> {
    check(plan)?;
    let mut written = Written::default();
    if plan.source.is_payloads() {
        written.corrections = corrections::make(plan, kafka, args).await?;
    }
    if plan.has(&Target::Db) {
        let filled = database::fill(plan, kafka, args).await?;
        written.rows = filled.rows;
    }
    if plan.has(&Target::Lake) {
        written.objects = Box::pin(lake::write(plan, kafka, args)).await?;
    }
    for into in plan.copies() {
        written.copied += copy::make(plan, into, kafka, args).await?;
    }
    Ok(written)
}
