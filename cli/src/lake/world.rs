//! The lake's world as a command has it: the store, the broker, and the dead letters of the group that writes the lake. Must
//! never happen here: a decision about the lake.

use std::sync::Arc;

use clap::Args;
use lake::Outside;
use pipeline::consume::Fault;
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::registry::RegistryArgs;
use pipeline::store::{Store, StoreArgs};

use crate::kafka::Cluster;

#[derive(Args, Debug)]
pub struct WorldArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    /// The group that writes the lake: dead letters are sent in its name.
    #[arg(long, env = "LAKE_GROUP", default_value = "consumer-lake", value_name = "GROUP")]
    group: String,
}

impl WorldArgs {
    /// # Errors
    /// [`pipeline::Misconfigured`] when the store or Kafka's settings cannot be used.
    pub async fn connect(&self) -> anyhow::Result<Arc<Outside>> {
        let store = Store::connect(&self.store).await?;
        let registry = self.registry.registry()?;
        Outside::new(store, &self.kafka, &self.group, registry).map(Arc::new)
    }

    /// The partitions of `topic`; it and those that the command `needs` besides must exist.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] when no broker answers, or there is no such topic.
    pub async fn partitions(&self, topic: &str, needs: &[&str]) -> anyhow::Result<Vec<i32>> {
        let servers = &self.kafka.kafka_bootstrap_servers;
        let metadata = Cluster::new(&self.kafka)?.metadata().await?;
        let gone = |name: &str| {
            misconfigured(format!(
                "topic {name} does not exist at {servers}; `tickstream topics apply` creates the declared topics"
            ))
        };
        let found = metadata.topics.get(topic).ok_or_else(|| gone(topic))?;
        match needs.iter().find(|name| !metadata.topics.contains_key(**name)) {
            Some(missing) => Err(gone(missing)),
            None => Ok(found.partitions.clone()),
        }
    }
}

/// A fault as a command ends with it.
pub fn ended(fault: Fault) -> anyhow::Error {
    match fault {
        Fault::Outage(error) => error.context("not finished, and safe to run again"),
        Fault::Stop(error) => error,
    }
}
