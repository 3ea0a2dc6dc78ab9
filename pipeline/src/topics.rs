//! The declared topics. Every part takes names, partition counts and retention from here, and `tickstream topics apply`
//! makes the broker agree. Must never happen: a topic that exists because somebody wrote to it.

use crate::codec::RecordType;

pub const TICKS: &str = "market.ticks.v1";
pub const GAPS: &str = "market.gaps.v1";
pub const HEALTH: &str = "market.health.v1";
pub const INDEX: &str = "market.index.v1";
pub const PAYLOADS: &str = "market.payloads.v1";
pub const ALERTS: &str = "market.alerts.v1";
/// What consumer-alerts knows beyond what the records of [`TICKS`] tell: which rules are armed, and the broker's clock.
pub const ALERT_STATE: &str = "market.alert_state.v1";
/// What the notifier has sent: an alert and a channel a key.
pub const DELIVERIES: &str = "market.deliveries.v1";
/// Which records that were dead letters are settled: sent again, or dropped by a person.
pub const REDRIVES: &str = "market.redrives.v1";
/// What replays did and how far they are: the newest state of each by its name.
pub const REPLAYS: &str = "market.replays.v1";
/// Holds no records: producers share the sources out among themselves by a consumer group on it, one partition a source.
pub const SOURCES: &str = "market.sources.v1";

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Kafka's word for records that no age removes.
const FOR_EVER: i64 = -1;

/// One declared topic. Always `message.timestamp.type=LogAppendTime`; `cleanup.policy=delete`, but for [`Holds::State`].
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
    /// The newest value of each key, in the owner's own encoding. Compacted: the owner reads all of it at start, so a value
    /// stays for as long as it is the newest, however old, and the ones before it go. Neither archived nor audited, because
    /// compaction takes records out of the middle; no dead letters, because nobody but the owner writes it.
    State,
    /// No records ever: its partitions are what counts.
    Nothing,
}

impl Topic {
    /// What its records are, where they are events.
    #[must_use]
    pub fn record(&self) -> Option<RecordType> {
        match self.holds {
            Holds::Events(record) => Some(record),
            Holds::DeadLetters | Holds::State | Holds::Nothing => None,
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
        (ALERTS, 1, 30 * DAY_MS, RecordType::Alert),
    ];
    let with_dlq = events.into_iter().flat_map(|(name, partitions, retention_ms, record)| {
        [
            Topic { name: name.to_owned(), partitions, retention_ms, holds: Holds::Events(record) },
            Topic { name: dlq(name), partitions: 1, retention_ms: 30 * DAY_MS, holds: Holds::DeadLetters },
        ]
    });
    let sources = Topic { name: SOURCES.to_owned(), partitions: 16, retention_ms: DAY_MS, holds: Holds::Nothing };
    let states = [ALERT_STATE, DELIVERIES, REDRIVES, REPLAYS].map(|name| Topic {
        name: name.to_owned(),
        partitions: 1,
        retention_ms: FOR_EVER,
        holds: Holds::State,
    });
    with_dlq.chain([sources]).chain(states).collect()
}

/// The declared topics that hold events or dead letters: what the lake keeps and the audit counts.
#[must_use]
pub fn archived() -> Vec<Topic> {
    let kept = |topic: &Topic| match topic.holds {
        Holds::Events(_) | Holds::DeadLetters => true,
        Holds::State | Holds::Nothing => false,
    };
    declared().into_iter().filter(kept).collect()
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
    fn what_holds_no_events_has_nothing_to_keep_and_no_dead_letters() {
        let names = |topics: Vec<Topic>| topics.into_iter().map(|topic| topic.name).collect::<Vec<_>>();
        let (declared, archived) = (names(declared()), names(archived()));
        assert_eq!(declared.len(), 17);
        let others = [SOURCES, ALERT_STATE, DELIVERIES, REDRIVES, REPLAYS];
        for name in others {
            assert!(declared.contains(&name.to_owned()) && !declared.contains(&dlq(name)), "{name}");
            assert_eq!(record_type(name), None);
        }
        let events: Vec<String> = declared.into_iter().filter(|name| !others.contains(&name.as_str())).collect();
        assert_eq!(archived, events);
    }
}
