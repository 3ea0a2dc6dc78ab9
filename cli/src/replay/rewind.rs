//! A rewind carried out: the offsets of stopped groups are set. What is committed has no metadata, as with Kafka's own tool:
//! each service believes such an offset, whatever it knows of its own. Invariant: a group's offsets are set all at once, in one
//! request, which the broker refuses while somebody is in the group.
//!
//! Crash points: before a group is set (nothing has changed for it); between two groups (run again, the others are set); after
//! all of them, before the record says so (run again, nothing is left to be done; where a service has gone on meanwhile, the
//! plan is stale, since what it was made of has passed).
//!
//! A process that slept between its last look and its request sets, at worst, the same offsets once more, and only while nobody
//! is in the group.
//!
//! Must never happen here: an offset set for a group that has moved since the plan was made.

use std::time::Duration;

use anyhow::anyhow;
use pipeline::kafka::{KafkaArgs, create};
use pipeline::misconfigured;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::plan::{GroupOffsets, Plan};
use crate::groups::{Groups, Place};

/// A group that moves over while it is looked at is looked at again.
const AFTER_A_REBALANCE: Duration = Duration::from_secs(2);
const TRIES: usize = 5;

/// The groups that are not set yet.
///
/// # Errors
/// [`pipeline::Misconfigured`] where a group has live members, or is not where the plan found it.
pub async fn left<'a>(plan: &'a Plan, kafka: &KafkaArgs) -> anyhow::Result<Vec<&'a GroupOffsets>> {
    let mut asker = Groups::new(kafka)?;
    let all = asker.list().await?;
    let mut left = Vec::new();
    for group in &plan.groups {
        let name = &group.group;
        if let Some(who) = all.iter().find(|found| found.name == *name).and_then(crate::groups::Group::is_live) {
            return Err(misconfigured(format!(
                "{name} has {who}: stop it, and carry out the plan when it is gone; the offsets of a group that reads cannot be set"
            )));
        }
        let places: Vec<Place> = group.offsets.iter().map(|offset| (offset.topic.clone(), offset.partition)).collect();
        let committed = asker.committed(name, &places).await?;
        let stands = |place: &Place| committed.get(place).copied();
        let is_set = |(place, offset): (&Place, &super::plan::GroupOffset)| stands(place) == Some(offset.new);
        if places.iter().zip(&group.offsets).all(is_set) {
            continue;
        }
        let moved = places.iter().zip(&group.offsets).find(|(place, offset)| stands(place) != offset.committed);
        if let Some(((topic, partition), offset)) = moved {
            let now = stands(&(topic.clone(), *partition));
            return Err(stale(&format!(
                "{name} stood at {} of {topic}[{partition}] when it was made, and stands at {} now",
                said(offset.committed),
                said(now)
            )));
        }
        left.push(group);
    }
    Ok(left)
}

fn said(offset: Option<i64>) -> String {
    offset.map_or_else(|| "no offset".to_owned(), |offset| format!("offset {offset}"))
}

/// A plan that does not fit any more.
pub fn stale(why: &str) -> anyhow::Error {
    misconfigured(format!("the plan is stale: {why}; make a new one with `tickstream replay plan`"))
}

/// Sets the offsets of one group, all or none.
///
/// # Errors
/// When the broker refuses: somebody has joined the group meanwhile.
pub async fn set(group: &GroupOffsets, kafka: &KafkaArgs) -> anyhow::Result<()> {
    let mut list = TopicPartitionList::with_capacity(group.offsets.len());
    for offset in &group.offsets {
        list.add_partition_offset(&offset.topic, offset.partition, Offset::Offset(offset.new))?;
    }
    let name = group.group.clone();
    let settings = kafka.consumer(Some(&name));
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = create(&settings, DefaultConsumerContext)?;
        for tried in 1.. {
            match consumer.commit(&list, CommitMode::Sync) {
                Ok(()) => break,
                Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::RebalanceInProgress)) if tried < TRIES => {
                    std::thread::sleep(AFTER_A_REBALANCE);
                }
                Err(KafkaError::ConsumerCommit(
                    RDKafkaErrorCode::UnknownMemberId
                    | RDKafkaErrorCode::IllegalGeneration
                    | RDKafkaErrorCode::RebalanceInProgress,
                )) => {
                    return Err(misconfigured(format!(
                        "{name} has a live member since a moment ago: stop it, and carry out the plan again; no offset of it was set"
                    )));
                }
                Err(error) => return Err(anyhow!(error).context(format!("setting the offsets of {name}"))),
            }
        }
        Ok(())
    })
    .await?
}
