//! `tickstream topics apply`. May be run by several at once and again at any time: it says what it did, and does only what
//! is missing. Kafka's older AlterConfigs replaces all settings of a topic, so those that somebody else set are sent along.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, anyhow};
use pipeline::kafka::create;
use pipeline::misconfigured;
use pipeline::topics::{Topic, declared};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, OwnedResourceSpecifier,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;

use super::ApplyArgs;
use super::plan::{Change, Existing, Plan, partitions, plan, remark, settings};
use crate::kafka::{Cluster, Metadata};
use crate::output;

const MOST_REPLICAS: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(30);

pub async fn run(args: ApplyArgs) -> anyhow::Result<()> {
    let cluster = Cluster::new(&args.kafka)?;
    let metadata = cluster.metadata().await?;
    let admin = Admin(create(&args.kafka.admin(), DefaultClientContext)?);
    let existing = admin.describe(&metadata).await?;
    let default = i32::try_from(metadata.brokers.min(MOST_REPLICAS)).unwrap_or(1);
    let replication = args.replication.unwrap_or(default);

    let would = if args.dry_run { "would be " } else { "" };
    let mut text = String::new();
    for topic in declared() {
        let existing = existing.get(&topic.name);
        let mut line = match plan(&topic, existing.map(|(existing, _)| existing)) {
            Plan::Create => {
                let made = args.dry_run || admin.create(&topic, replication).await?;
                let count = partitions(&topic);
                if made {
                    format!(
                        "{would}created: {count} partition{}, replication {replication}",
                        if count == 1 { "" } else { "s" }
                    )
                } else {
                    "unchanged: somebody else has just created it".to_owned()
                }
            }
            Plan::Change(changes) if changes.is_empty() => "unchanged".to_owned(),
            Plan::Change(changes) => {
                if !args.dry_run {
                    let set_by_others = existing.map(|(_, own)| own.clone()).unwrap_or_default();
                    admin.change(&topic, &changes, set_by_others).await?;
                }
                let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                format!("{would}changed: {}", changes.join(", "))
            }
        };
        if let Some(remark) = remark(&topic, existing.map(|(existing, _)| existing)) {
            line = format!("{line} ({remark})");
        }
        text.push_str(&format!("{}: {line}\n", topic.name));
    }
    if !args.dry_run {
        wait_until_led(&cluster).await?;
    }
    output::print(&text)
}

struct Admin(AdminClient<DefaultClientContext>);

/// The settings that stand on the topic itself.
type OwnSettings = BTreeMap<String, String>;

impl Admin {
    /// Those declared topics that exist.
    async fn describe(&self, metadata: &Metadata) -> anyhow::Result<HashMap<String, (Existing, OwnSettings)>> {
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
    async fn create(&self, topic: &Topic, replication: i32) -> anyhow::Result<bool> {
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

    async fn change(&self, topic: &Topic, changes: &[Change], own: OwnSettings) -> anyhow::Result<()> {
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

/// A topic can be used once each partition has a leader; a service that starts right after this must not find it unknown.
async fn wait_until_led(cluster: &Cluster) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    loop {
        let metadata = cluster.metadata().await?;
        let waits = declared().into_iter().find(|topic| {
            !metadata
                .topics
                .get(&topic.name)
                .is_some_and(|found| found.led && found.partitions.len() >= partitions(topic))
        });
        let Some(topic) = waits else { return Ok(()) };
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "{} has partitions without a leader after {TIMEOUT:?}",
            topic.name
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
