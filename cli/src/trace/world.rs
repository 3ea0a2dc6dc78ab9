//! What can be asked: the broker, the lake, the database, each where it is named and not left out. Must never happen here: one
//! that was named, does not answer, and is passed over in silence.

use clap::ValueEnum;
use pipeline::kafka::KafkaArgs;
use pipeline::registry::Registry;
use pipeline::store::Store;
use pipeline::topic_id::TopicIds;
use sqlx::PgConnection;

use super::TraceArgs;
use crate::kafka::{Cluster, Metadata};

/// What can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Kafka: records, dead letters.
    Topic,
    /// Raw, bronze, silver, gold.
    Lake,
    /// Postgres.
    Db,
}

pub struct Broker {
    pub kafka: KafkaArgs,
    pub cluster: Cluster,
    pub metadata: Metadata,
    pub ids: TopicIds,
}

pub struct World {
    pub broker: Result<Broker, String>,
    pub store: Result<Store, String>,
    pub database: Result<PgConnection, String>,
    pub registry: Option<Registry>,
    /// Parts that were named and did not answer.
    pub unreachable: Vec<String>,
}

impl World {
    /// # Errors
    /// When settings make no sense. A part that does not answer is no error here.
    pub async fn connect(args: &TraceArgs) -> anyhow::Result<Self> {
        let is_out = |part: Part| args.skip.contains(&part);
        let left_out = || "left out by --skip".to_owned();
        let mut unreachable = Vec::new();
        let mut part = |name: &str, error: anyhow::Error| {
            let said = format!("{error:#}");
            unreachable.push(format!("{name}: {said}"));
            said
        };
        let broker = match is_out(Part::Topic) {
            true => Err(left_out()),
            false => broker(&args.kafka).await.map_err(|error| part("topic", error)),
        };
        let store = match is_out(Part::Lake) {
            true => Err(left_out()),
            false => Store::connect(&args.store).await.map_err(|error| part("lake", error)),
        };
        let database = match (is_out(Part::Db), args.database.is_named()) {
            (true, _) => Err(left_out()),
            (false, false) => Err("no database is named (DATABASE_URL)".to_owned()),
            (false, true) => args.database.connect().await.map_err(|error| part("db", error)),
        };
        Ok(Self { broker, store, database, registry: args.registry.registry()?, unreachable })
    }
}

async fn broker(kafka: &KafkaArgs) -> anyhow::Result<Broker> {
    let cluster = Cluster::new(kafka)?;
    let metadata = cluster.metadata().await?;
    Ok(Broker { kafka: kafka.clone(), cluster, metadata, ids: TopicIds::new(kafka)? })
}
