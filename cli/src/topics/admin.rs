//! What is asked of the broker about topics, and told it. Kafka's older AlterConfigs replaces all settings of a topic, so those
//! that somebody else set are sent along.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, anyhow};
use pipeline::kafka::{KafkaArgs, create};
use pipeline::misconfigured;
use pipeline::topics::{Topic, declared};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, OwnedResourceSpecifier,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;

use super::plan::{Change, Existing, settings};
use crate::kafka::Metadata;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A client that may change topics.
pub struct Admin(AdminClient<DefaultClientContext>);

/// The settings that stand on the topic itself.
pub type OwnSettings = BTreeMap<String, String>;

impl Admin {
    pub fn new(args: &KafkaArgs) -> anyhow::Result<Self> {
        Ok(Self(create(&args.admin(), DefaultClientContext)?))
    }

    /// Those declared topics that exist.
    pub async fn describe(&self, metadata: &Metadata) -> anyhow::Result<HashMap<String, (Existing, OwnSettings)>> {
        let names: Vec<String> =
            declared().into_iter().map(|topic| topic.name).filter(|name| metadata.topics.contains_key(name)).collect();
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let asked: Vec<ResourceSpecifier<'_>> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let answers = self.0.describe_configs(&asked, &options()).await.context("reading topic settings")?;
        let mut described = HashMap::new();
        for answer in answers {
            let resource = answer.map_err(|code| anyhow!("reading topic settings: {code}"))?;
            let OwnedResourceSpecifier::Topic(name) = resource.specifier else { continue };
            let (mut all, mut own) = (BTreeMap::new(), BTreeMap::new());
            for entry in resource.entries {
                let Some(value) = entry.value else { continue };
                if entry.source == ConfigSource::DynamicTopic {
                    own.insert(entry.name.clone(), value.clone());
                }
                all.insert(entry.name, value);
            }
            let partitions = metadata.topics.get(&name).map_or(0, |found| found.partitions.len());
            described.insert(name, (Existing { partitions, settings: all }, own));
        }
        Ok(described)
    }

    /// False when it was there after all.
    pub async fn create(&self, topic: &Topic, replication: i32) -> anyhow::Result<bool> {
        let settings = settings(topic);
        let mut new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(replication));
        for (name, value) in &settings {
            new = new.set(name, value);
        }
        let answers =
            self.0.create_topics([&new], &options()).await.with_context(|| format!("creating {}", topic.name))?;
        for answer in answers {
            match answer {
                Ok(_) => {}
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => return Ok(false),
                Err((name, code)) => return Err(refused(&name, code, replication)),
            }
        }
        Ok(true)
    }

    pub async fn change(&self, topic: &Topic, changes: &[Change], own: OwnSettings) -> anyhow::Result<()> {
        let mut settings = own;
        let mut any_setting = false;
        for change in changes {
            match change {
                Change::Partitions { to, .. } => {
                    let new = NewPartitions::new(&topic.name, *to);
                    let answers = self.0.create_partitions([&new], &options()).await;
                    for answer in answers.with_context(|| format!("adding partitions to {}", topic.name))? {
                        match answer {
                            // Somebody else has just added them; whether there are enough is seen at the end.
                            Ok(_) | Err((_, RDKafkaErrorCode::InvalidPartitions)) => {}
                            Err((name, code)) => return Err(anyhow!("adding partitions to {name}: {code}")),
                        }
                    }
                }
                Change::Setting { name, to, .. } => {
                    settings.insert((*name).to_owned(), to.clone());
                    any_setting = true;
                }
            }
        }
        if !any_setting {
            return Ok(());
        }
        let mut alter = AlterConfig::new(ResourceSpecifier::Topic(&topic.name));
        for (name, value) in &settings {
            alter = alter.set(name, value);
        }
        let answers = self.0.alter_configs([&alter], &options()).await;
        for answer in answers.with_context(|| format!("changing the settings of {}", topic.name))? {
            answer.map_err(|(_, code)| anyhow!("changing the settings of {}: {code}", topic.name))?;
        }
        Ok(())
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

fn refused(topic: &str, code: RDKafkaErrorCode, replication: i32) -> anyhow::Error {
    match code {
        RDKafkaErrorCode::InvalidReplicationFactor => misconfigured(format!(
            "topic {topic} cannot have {replication} replicas, set by --replication (TOPIC_REPLICATION): there are not so many brokers"
        )),
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            misconfigured(format!(
                "topic {topic} may not be created by this user ({code}): give it the CREATE right, or create it by hand"
            ))
        }
        other => anyhow!("creating {topic}: {other}"),
    }
}
