//! `tickstream audit`: proves promise 1, that what the broker acknowledged is in the lake exactly once and in Postgres
//! exactly once, by counting each independently and naming every difference. It reads only: no group is joined, nothing is
//! written. Must never happen here: "equal" for something that was not looked at.

mod chain;
mod coverage;
mod database;
mod events;
mod lake;
mod letters;
mod report;
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
use crate::kafka::Cluster;
use crate::output::{self, Format};
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
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Audit against the topic one part only: the lake, or the database.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Walk the lake's chains from their origins, not from where the topics begin now.
    #[arg(long)]
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
    /// How the answer is printed. The JSON's fields are those of `Report` in audit/report.rs.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Lake,
    Db,
}

pub async fn run(args: AuditArgs) -> anyhow::Result<()> {
    let audited = topics_to_audit(&args.topics)?;
    let cluster = Cluster::new(&args.kafka)?;
    let metadata = cluster.metadata().await?;
    for topic in &audited {
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
        None | Some(Part::Lake) => report.part("lake", Store::connect(&args.store).await),
    };
    let ticks_asked = audited.iter().any(|topic| topic.name == topics::TICKS);
    let connection = match args.only {
        Some(Part::Lake) => None,
        None | Some(Part::Db) if !ticks_asked => None,
        None | Some(Part::Db) => report.part("database", database::connect(&args.database).await),
    };

    let mut auditor = Auditor {
        args: &args,
        topic_ids: TopicIds::new(&args.kafka)?,
        registry: args.registry.registry()?,
        cluster,
        metadata,
        store,
        connection,
        report,
    };
    for topic in &audited {
        Box::pin(auditor.audit(topic)).await?;
    }
    let report = auditor.report.finish();
    match args.output {
        Format::Json => output::print_json(&report)?,
        Format::Table => output::print(&report.as_text())?,
    }
    conclude(&report)
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
            "--topic {unknown} is not a declared topic with records: one of {}",
            names.join(", ")
        )));
    }
    Ok(archived.into_iter().filter(|topic| asked.is_empty() || asked.contains(&topic.name)).collect())
}
