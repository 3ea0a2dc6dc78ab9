//! The declared topics. Every part takes names, partition counts and retention from here, and `tickstream topics apply`
//! makes the broker agree. Must never happen: a topic that exists because somebody wrote to it.

use crate::codec::RecordType;

pub const TICKS: &str = "market.ticks.v1";
pub const GAPS: &str = "market.gaps.v1";
pub const HEALTH: &str = "market.health.v1";

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// One declared topic. Always `message.timestamp.type=LogAppendTime` and `cleanup.policy=delete`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    pub partitions: i32,
    pub retention_ms: i64,
    /// What its records are; `None` for a dead-letter topic, whose records are whatever could not be read.
    pub record: Option<RecordType>,
}

/// The topics, each followed by its dead-letter topic.
#[must_use]
pub fn declared() -> Vec<Topic> {
    let live = [
        (TICKS, 4, 7 * DAY_MS, RecordType::PriceTick),
        (GAPS, 1, 30 * DAY_MS, RecordType::Gap),
        (HEALTH, 1, 2 * DAY_MS, RecordType::SourceHealth),
    ];
    live.into_iter()
        .flat_map(|(name, partitions, retention_ms, record)| {
            [
                Topic { name: name.to_owned(), partitions, retention_ms, record: Some(record) },
                Topic { name: dlq(name), partitions: 1, retention_ms: 30 * DAY_MS, record: None },
            ]
        })
        .collect()
}

/// The dead-letter topic of `topic`.
#[must_use]
pub fn dlq(topic: &str) -> String {
    format!("{topic}.dlq")
}

/// What the records of `topic` are: the declared type, or `None` for a dead-letter topic or one that is not declared.
#[must_use]
pub fn record_type(topic: &str) -> Option<RecordType> {
    declared().into_iter().find(|declared| declared.name == topic)?.record
}
