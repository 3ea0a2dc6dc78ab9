//! Topics that a replay makes: that of a generation's corrections, and the one that records are copied into. Nothing of them is
//! removed by age.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use pipeline::kafka::{KafkaArgs, create as client};
use pipeline::misconfigured;
use pipeline::topics::TICKS;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;

const TIMEOUT: Duration = Duration::from_secs(30);
/// A topic that was deleted a moment ago is still there for a while.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whose clock a topic's timestamps are of.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    Broker,
    /// Whoever sends the record says its time.
    Sender,
}

/// Makes it, with as many replicas as the ticks have, unless it is there.
///
/// # Errors
/// [`pipeline::Misconfigured`] where the user may not make topics; else what the broker said.
pub async fn create(kafka: &KafkaArgs, topic: &str, partitions: i32, clock: Clock) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = client(&kafka.admin(), DefaultClientContext)?;
    let asked = tokio::task::spawn_blocking(move || {
        let metadata = admin.inner().fetch_metadata(Some(TICKS), TIMEOUT).context("asking for topics")?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let replicas = partitions.map(|partition| partition.replicas().len()).max().unwrap_or(1);
        anyhow::Ok((admin, i32::try_from(replicas.max(1))?))
    });
    let (admin, replicas) = asked.await??;
    let timestamps = match clock {
        Clock::Broker => "LogAppendTime",
        Clock::Sender => "CreateTime",
    };
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas))
        .set("cleanup.policy", "delete")
        .set("retention.ms", "-1")
        .set("retention.bytes", "-1")
        .set("message.timestamp.type", timestamps)
        .set("max.message.bytes", "4000000");
    let answers = admin.create_topics([&new], &options()).await.with_context(|| format!("creating {topic}"))?;
    for answer in answers {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(refused("created", "CREATE", &name, code)),
        }
    }
    until(&admin, topic, true).await
}

/// Deletes it. False where it was not there.
///
/// # Errors
/// As [`create`].
pub async fn delete(kafka: &KafkaArgs, topic: &str) -> anyhow::Result<bool> {
    let admin: AdminClient<DefaultClientContext> = client(&kafka.admin(), DefaultClientContext)?;
    let answers = admin.delete_topics(&[topic], &options()).await.with_context(|| format!("deleting {topic}"))?;
    for answer in answers {
        match answer {
            Ok(_) => {}
            Err((_, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => return Ok(false),
            Err((name, code)) => return Err(refused("deleted", "DELETE", &name, code)),
        }
    }
    until(&admin, topic, false).await?;
    Ok(true)
}

/// Waits until the brokers know of it, or know of it no more.
async fn until(admin: &AdminClient<DefaultClientContext>, topic: &str, is_there: bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let metadata = admin.inner().fetch_metadata(None, TIMEOUT).context("asking for topics")?;
        let led = |found: &rdkafka::metadata::MetadataTopic| {
            found.name() == topic && found.partitions().iter().any(|partition| partition.leader() >= 0)
        };
        if metadata.topics().iter().any(led) == is_there {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            let what = if is_there { "was created and has no leader" } else { "was deleted and is still there" };
            return Err(anyhow!("{topic} {what} after {PATIENCE:?}"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

fn refused(what: &str, right: &str, topic: &str, code: RDKafkaErrorCode) -> anyhow::Error {
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            misconfigured(format!("topic {topic} may not be {what} by this user ({code}): give it the {right} right"))
        }
        other => anyhow!("topic {topic} is not {what}: {other}"),
    }
}
