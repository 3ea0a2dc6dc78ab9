//! `tickstream audit`: proves promise 1, that what the broker acknowledged is in the lake exactly once and in Postgres
//! exactly once, by counting each independently and naming every difference; and that what is made of both (silver, gold,
//! candles, latest prices) is what it comes to. It reads only: no group is joined, and nothing is written but what
//! `--incremental` remembers and the file of `--metrics-file`. Must never happen here: "equal" for something that was not
//! looked at.

mod chain;
mod content;
mod coverage;
pub mod database;
mod deep;
pub mod derived;
mod events;
pub mod lake;
mod letters;
mod made;
mod metrics;
mod older;
pub mod refined;
mod report;
mod retired;
mod topic;
mod window;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::anyhow;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::registry::RegistryArgs;
use pipeline::store::{Store, StoreArgs};
use pipeline::topic_id::TopicIds;
use pipeline::topics::{self, Topic};

use crate::database::DatabaseArgs;
use crate::dlq::Marks;
use crate::kafka::Cluster;
use crate::output::{self, Format, OutputArgs};
use deep::Deep;
use report::Report;
use topic::{Auditor, TicksRead};
use window::State;

use crate::moment;

/// With `--incremental`.
const TAKEN_WITHIN: SignedDuration = SignedDuration::from_mins(15);

#[derive(Args, Debug)]
pub struct AuditArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Audit these topics only. Default: all declared ones.
    #[arg(long = "topic", env = "AUDIT_TOPICS", value_delimiter = ',', value_name = "TOPIC")]
    topics: Vec<String>,
    /// Audit one part only.
    #[arg(long, env = "AUDIT_ONLY", value_enum)]
    only: Option<Part>,
    /// Open every raw object of the lake and its bronze: checksums, footers, each record beside the topic's, bronze made again
    /// from raw and compared, silver's ticks from bronze, gold's candles from silver; name every fault, every object that belongs
    /// to no chain, and what to do.
    #[arg(long, env = "AUDIT_DEEP")]
    deep: bool,
    /// Walk the lake's chains from their origins, not from where the topics begin now.
    #[arg(long, env = "AUDIT_FROM_EARLIEST")]
    from_earliest: bool,
    /// The group whose dead letters account for records that are not in bronze.
    #[arg(long, env = "AUDIT_LAKE_GROUP", default_value = "consumer-lake", value_name = "GROUP")]
    lake_group: String,
    /// The group whose dead letters account for ticks that are not in Postgres.
    #[arg(long, env = "AUDIT_DB_GROUP", default_value = "consumer-db", value_name = "GROUP")]
    db_group: String,
    /// Only what is newer: a duration (1h, 7d) or a time. What was there before is taken for right.
    #[arg(long, env = "AUDIT_SINCE", value_name = "DURATION|TIME", value_parser = moment::parse_since, conflicts_with_all = ["deep", "from_earliest"])]
    since: Option<Timestamp>,
    /// Only what is new since the last audit that found everything right, and one hour of the past, each in its turn; what is
    /// under way and not late is no difference. The lake remembers how far that was (--state).
    #[arg(long, env = "AUDIT_INCREMENTAL", conflicts_with_all = ["deep", "from_earliest", "only"])]
    incremental: bool,
    /// The object of the lake in which --incremental remembers what was found right.
    #[arg(long, env = "AUDIT_STATE", default_value = "audit/state.json", value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    state: String,
    /// How old a record may be that consumer-lake or consumer-db has not taken yet. Default: all must be there; with
    /// --incremental 15m.
    #[arg(long, env = "AUDIT_TAKEN_WITHIN", value_name = "DURATION")]
    taken_within: Option<SignedDuration>,
    /// How old a record may be that the refiner has not taken into silver yet.
    #[arg(long, env = "AUDIT_REFINED_WITHIN", default_value = "30m", value_name = "DURATION")]
    refined_within: SignedDuration,
    /// How long a gap may stay open.
    #[arg(long, env = "AUDIT_OPEN_GAP_WITHIN", default_value = "24h", value_name = "DURATION")]
    open_gap_within: SignedDuration,
    /// Write what was found to this file as well, in Prometheus' text format, such as for node_exporter's textfile collector.
    #[arg(long, env = "AUDIT_METRICS_FILE", value_name = "FILE")]
    metrics_file: Option<PathBuf>,
    /// The most ticks to compare with Postgres; each takes 32 bytes of memory.
    #[arg(long, env = "AUDIT_MAX_TICKS", default_value_t = 50_000_000, value_name = "N")]
    max_ticks: u64,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The lake against the topic.
    Lake,
    /// The database against the topic.
    Db,
    /// The lake's objects against each other, opened as with --deep. Neither broker nor database is needed.
    Objects,
    /// Silver and gold against bronze. Neither broker nor database is needed.
    Refined,
}

pub async fn run(args: AuditArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    let audited = topics_to_audit(&args.topics)?;
    let report = match args.only {
        Some(Part::Objects) => objects(&args, &audited).await?,
        Some(Part::Refined) => made::refined_alone(&args).await?,
        Some(Part::Db) if args.deep => {
            return Err(misconfigured("--deep opens the lake's objects: leave out --only db, or --deep"));
        }
        None | Some(Part::Db | Part::Lake) => Box::pin(against_topics(&args, &audited)).await?,
    };
    let report = report.finish();
    if let Some(path) = &args.metrics_file {
        metrics::write(path, &report, begun.elapsed())?;
    }
    match args.output.format {
        Format::Json => output::print_json(&report)?,
        Format::Table => output::print(&report.as_text())?,
        Format::Csv => {
            output::print(&report.as_csv()?)?;
            report.differences.iter().for_each(|line| output::note(line));
        }
    }
    conclude(&report)
}

async fn objects(args: &AuditArgs, audited: &[Topic]) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let Some(store) = report.part("lake", Store::connect(&args.store).await) else { return Ok(report) };
    let deep = Deep::new(store, args.registry.registry()?, args.kafka.clone());
    rest_of_the_lake(args, audited, deep, &mut report).await?;
    Ok(report)
}

/// The chains that no topic was held against, and what stands beside the chains.
async fn rest_of_the_lake(
    args: &AuditArgs,
    audited: &[Topic],
    mut deep: Deep,
    report: &mut Report,
) -> anyhow::Result<()> {
    for topic in audited {
        Box::pin(deep.topic(topic)).await?;
    }
    report.older_chains += deep.older_chains;
    let (found, faults) = deep.finish(audited, args.topics.is_empty()).await?;
    report.deep = Some(found);
    report.differ_all("deep", faults);
    Ok(())
}

async fn against_topics(args: &AuditArgs, audited: &[Topic]) -> anyhow::Result<Report> {
    let cluster = Cluster::new(&args.kafka)?;
    let metadata = cluster.metadata().await?;
    for topic in audited {
        if !metadata.topics.contains_key(&topic.name) {
            let servers = &args.kafka.kafka_bootstrap_servers;
            return Err(misconfigured(format!(
                "topic {} does not exist at {servers}; `tickstream topics apply` creates the declared topics",
                topic.name
            )));
        }
    }
    let mut report = Report::default();
    let store = match args.only {
        Some(Part::Db) => None,
        None | Some(Part::Lake | Part::Objects | Part::Refined) => {
            report.part("lake", Store::connect(&args.store).await)
        }
    };
    let remembered = match &store {
        Some(store) if args.incremental => Some(State::read(store, &args.state).await?),
        Some(_) | None => None,
    };
    let (state, etag) = remembered.map_or((None, None), |(state, etag)| (Some(state), etag));
    let registry = args.registry.registry()?;
    let deep = store.clone().filter(|_| args.deep);
    let deep = deep.map(|store| Deep::new(store, registry.clone(), args.kafka.clone()));
    let of_tables = audited.iter().any(|topic| database::Table::of(&topic.name).is_some());
    let connection = match args.only {
        Some(Part::Lake | Part::Objects | Part::Refined) => None,
        None | Some(Part::Db) if !of_tables => None,
        None | Some(Part::Db) => report.part("database", database::connect(&args.database).await),
    };

    let mut auditor = Auditor {
        args,
        marks: Marks::read(&args.kafka, &metadata).await?,
        topic_ids: TopicIds::new(&args.kafka)?,
        registry,
        cluster,
        metadata,
        store,
        connection,
        deep,
        taken_within: args.taken_within.or_else(|| state.is_some().then_some(TAKEN_WITHIN)),
        state,
        ticks: TicksRead::default(),
        report,
    };
    for topic in audited {
        Box::pin(auditor.audit(topic)).await?;
    }
    Box::pin(made::audit(&mut auditor, audited)).await?;
    let Auditor { deep, mut report, state, store, .. } = auditor;
    if let (Some(mut state), Some(store)) = (state, store) {
        state.write(&store, &args.state, etag.as_deref()).await?;
    }
    if let Some(deep) = deep {
        rest_of_the_lake(args, audited, deep, &mut report).await?;
    }
    Ok(report)
}

fn conclude(report: &Report) -> anyhow::Result<()> {
    match (report.differences.len(), report.not_audited.first()) {
        (0, None) => Ok(()),
        (0, Some(part)) => {
            Err(misconfigured(format!("not audited: {part} (--only lake or --only db leaves the other part out)")))
        }
        (1, _) => Err(anyhow!("1 difference")),
        (count, _) => Err(anyhow!("{count} differences")),
    }
}

fn topics_to_audit(asked: &[String]) -> anyhow::Result<Vec<Topic>> {
    let archived = topics::archived();
    let names: BTreeSet<&str> = archived.iter().map(|topic| topic.name.as_str()).collect();
    if let Some(unknown) = asked.iter().find(|name| !names.contains(name.as_str())) {
        let names: Vec<&str> = names.into_iter().collect();
        return Err(misconfigured(format!(
            "--topic {unknown} is not a topic that the lake keeps: one of {}",
            names.join(", ")
        )));
    }
    Ok(archived.into_iter().filter(|topic| asked.is_empty() || asked.contains(&topic.name)).collect())
}
