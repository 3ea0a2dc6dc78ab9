//! The declared topics. Every part takes names, partition counts and retention from here, and `tickstream topics apply`
//! makes the broker agree. Must never happen: a topic that exists because somebody wrote to it.

use crate::codec::RecordType;

pub const TICKS: &str = "market.ticks.v1";
pub const GAPS: &str = "market.gaps.v1";
pub const HEALTH: &str = "market.health.v1";
pub const INDEX: &str = "market.index.v1";
pub const PAYLOADS: &str = "market.payloads.v1";
/// Holds no records: producers share the sources out among themselves by a consumer group on it, one partition a source.
pub const SOURCES: &str = "market.sources.v1";

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// One declared topic. Always `message.timestamp.type=LogAppendTime` and `cleanup.policy=delete`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    pub partitions: i32,
    pub retention_ms: i64,
    pub holds: Holds,
}

/// What is in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Events(RecordType),
    /// Whatever could not be read, as it was.
    DeadLetters,
    /// No records ever: its partitions are what counts.
    Nothing,
}

impl Topic {
    /// What its records are, where they are events.
    #[must_use]
    pub fn record(&self) -> Option<RecordType> {
        match self.holds {
            Holds::Events(record) => Some(record),
            Holds::DeadLetters | Holds::Nothing => None,
        }
    }
}

/// All topics that the broker has to have; each that holds events is followed by its dead-letter topic.
#[must_use]
pub fn declared() -> Vec<Topic> {
    let events = [
        (TICKS, 4, 7 * DAY_MS, RecordType::PriceTick),
        (GAPS, 1, 30 * DAY_MS, RecordType::Gap),
        (HEALTH, 1, 2 * DAY_MS, RecordType::SourceHealth),
        (INDEX, 1, 30 * DAY_MS, RecordType::IndexWeight),
        (PAYLOADS, 4, 7 * DAY_MS, RecordType::Payload),
    ];
    let with_dlq = events.into_iter().flat_map(|(name, partitions, retention_ms, record)| {
        [
            Topic { name: name.to_owned(), partitions, retention_ms, holds: Holds::Events(record) },
            Topic { name: dlq(name), partitions: 1, retention_ms: 30 * DAY_MS, holds: Holds::DeadLetters },
        ]
    });
    let sources = Topic { name: SOURCES.to_owned(), partitions: 16, retention_ms: DAY_MS, holds: Holds::Nothing };
    with_dlq.chain([sources]).collect()
}

/// The declared topics that hold records: what the lake keeps and the audit counts.
#[must_use]
pub fn archived() -> Vec<Topic> {
    declared().into_iter().filter(|topic| topic.holds != Holds::Nothing).collect()
}

/// The dead-letter topic of `topic`.
#[must_use]
pub fn dlq(topic: &str) -> String {
    format!("{topic}.dlq")
}

/// What the records of `topic` are: the declared type, or `None` for any other topic.
#[must_use]
pub fn record_type(topic: &str) -> Option<RecordType> {
    declared().into_iter().find(|declared| declared.name == topic)?.record()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_that_producers_share_sources_by_holds_nothing_to_keep() {
        let names = |topics: Vec<Topic>| topics.into_iter().map(|topic| topic.name).collect::<Vec<_>>();
        let (declared, archived) = (names(declared()), names(archived()));
        assert_eq!(declared.len(), 11);
        assert!(declared.contains(&SOURCES.to_owned()) && !declared.contains(&dlq(SOURCES)));
        let others: Vec<String> = declared.into_iter().filter(|name| name != SOURCES).collect();
        assert_eq!(archived, others);
    }
}
