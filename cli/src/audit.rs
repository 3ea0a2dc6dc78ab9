//! `tickstream audit`: proves promise 1, that what the broker acknowledged is in the lake exactly once and in Postgres
//! exactly once, by counting each independently and naming every difference. It reads only: no group is joined, nothing is
//! written. Must never happen here: "equal" for something that was not looked at.

mod chain;
mod coverage;
mod database;
mod deep;
mod events;
mod lake;
mod letters;
mod older;
mod report;
mod retired;
mod topic;

use std::collections::BTreeSet;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
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
use topic::Auditor;

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
    /// from raw and compared; name every fault, every object that belongs to no chain, and what to do.
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
    /// The most ticks to compare with Postgres; each takes 24 bytes of memory.
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
}

pub async fn run(args: AuditArgs) -> anyhow::Result<()> {
    let audited = topics_to_audit(&args.topics)?;
    let report = match args.only {
        Some(Part::Objects) => objects(&args, &audited).await?,
        Some(Part::Db) if args.deep => {
            return Err(misconfigured("--deep opens the lake's objects: leave out --only db, or --deep"));
        }
        None | Some(Part::Db | Part::Lake) => against_topics(&args, &audited).await?,
    };
    let report = report.finish();
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
    report.differences.extend(faults);
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
        None | Some(Part::Lake | Part::Objects) => report.part("lake", Store::connect(&args.store).await),
    };
    let registry = args.registry.registry()?;
    let deep = store.clone().filter(|_| args.deep);
    let deep = deep.map(|store| Deep::new(store, registry.clone(), args.kafka.clone()));
    let ticks_asked = audited.iter().any(|topic| topic.name == topics::TICKS);
    let connection = match args.only {
        Some(Part::Lake | Part::Objects) => None,
        None | Some(Part::Db) if !ticks_asked => None,
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
        report,
    };
    for topic in audited {
        Box::pin(auditor.audit(topic)).await?;
    }
    let Auditor { deep, mut report, .. } = auditor;
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
