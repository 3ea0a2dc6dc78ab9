//! What has to be done so that one topic is as declared. Pure: what is there goes in, the changes come out. Never in a
//! plan: fewer partitions (Kafka cannot) or a topic made anew (that would lose its records).

use std::collections::BTreeMap;
use std::fmt;

use pipeline::topics::{Holds, Topic};

/// A dead letter is as large as the record that could not be read, and carries headers of ours besides.
const LETTER_BYTES: &str = "20000000";

/// The segment that is written to is never compacted, and by default it stays that one for a week: an owner would read a
/// week's values at start to take the newest.
const STATE_SEGMENT_MS: &str = "3600000";

/// A topic as it is.
#[derive(Clone, Debug, Default)]
pub struct Existing {
    pub partitions: usize,
    /// The settings in force, wherever they were set.
    pub settings: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    Create,
    Change(Vec<Change>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Partitions { from: usize, to: usize },
    Setting { name: &'static str, from: Option<String>, to: String },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partitions { from, to } => write!(f, "partitions {from} -> {to}"),
            Self::Setting { name, from, to } => write!(f, "{name} {} -> {to}", from.as_deref().unwrap_or("unset")),
        }
    }
}

/// The settings that a declared topic has, whatever the broker's defaults are.
pub fn settings(topic: &Topic) -> Vec<(&'static str, String)> {
    let cleanup = if topic.holds == Holds::State { "compact" } else { "delete" };
    let mut settings = vec![
        ("cleanup.policy", cleanup.to_owned()),
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("retention.ms", topic.retention_ms.to_string()),
    ];
    if topic.holds == Holds::DeadLetters {
        settings.push(("max.message.bytes", LETTER_BYTES.to_owned()));
    }
    if topic.holds == Holds::State {
        settings.push(("segment.ms", STATE_SEGMENT_MS.to_owned()));
    }
    settings
}

pub fn plan(topic: &Topic, existing: Option<&Existing>) -> Plan {
    let Some(existing) = existing else { return Plan::Create };
    let mut changes = Vec::new();
    let wanted = partitions(topic);
    if existing.partitions < wanted {
        changes.push(Change::Partitions { from: existing.partitions, to: wanted });
    }
    for (name, to) in settings(topic) {
        let from = existing.settings.get(name).cloned();
        if from.as_ref() != Some(&to) {
            changes.push(Change::Setting { name, from, to });
        }
    }
    Plan::Change(changes)
}

/// What is not as declared and stays so, as a remark behind the topic's line.
pub fn remark(topic: &Topic, existing: Option<&Existing>) -> Option<String> {
    let more = existing?.partitions.checked_sub(partitions(topic)).filter(|more| *more > 0)?;
    Some(format!("{more} more partitions than declared, which is kept: Kafka cannot take partitions away"))
}

pub fn partitions(topic: &Topic) -> usize {
    usize::try_from(topic.partitions).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(name: &str) -> Topic {
        pipeline::topics::declared().into_iter().find(|topic| topic.name == name).expect("a declared topic")
    }

    fn as_declared(topic: &Topic) -> Existing {
        let settings = settings(topic).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Existing { partitions: partitions(topic), settings }
    }

    #[test]
    fn what_is_as_declared_is_left_alone() {
        for topic in pipeline::topics::declared() {
            assert_eq!(plan(&topic, Some(&as_declared(&topic))), Plan::Change(vec![]), "{}", topic.name);
            assert_eq!(plan(&topic, None), Plan::Create);
        }
    }

    #[test]
    fn a_topic_without_records_is_made_without_room_for_letters() {
        let names: Vec<_> = settings(&declared("market.sources.v1")).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["cleanup.policy", "message.timestamp.type", "retention.ms"]);
    }

    #[test]
    fn partitions_only_grow() {
        let topic = declared("market.ticks.v1");
        let with = |partitions| Existing { partitions, ..as_declared(&topic) };
        assert_eq!(plan(&topic, Some(&with(1))), Plan::Change(vec![Change::Partitions { from: 1, to: 4 }]));
        assert_eq!(plan(&topic, Some(&with(6))), Plan::Change(vec![]));
        assert!(remark(&topic, Some(&with(6))).is_some_and(|remark| remark.starts_with("2 more partitions")));
        assert_eq!(remark(&topic, Some(&with(4))), None);
    }

    #[test]
    fn the_newest_values_are_never_too_old() {
        let (name, value) = ("cleanup.policy", "compact");
        for topic in [pipeline::topics::ALERT_STATE, pipeline::topics::DELIVERIES].map(declared) {
            let settings = settings(&topic);
            assert!(
                settings.contains(&(name, value.to_owned())) && settings.contains(&("retention.ms", "-1".to_owned()))
            );
            let mut existing = as_declared(&topic);
            existing.settings.insert(name.to_owned(), "delete".to_owned());
            let change = Change::Setting { name, from: Some("delete".to_owned()), to: value.to_owned() };
            assert_eq!(plan(&topic, Some(&existing)), Plan::Change(vec![change]));
        }
    }

    #[test]
    fn a_compacted_topic_is_changed_back() {
        let topic = declared("market.gaps.v1.dlq");
        let mut existing = as_declared(&topic);
        existing.settings.insert("cleanup.policy".to_owned(), "compact".to_owned());
        existing.settings.remove("max.message.bytes");
        let Plan::Change(changes) = plan(&topic, Some(&existing)) else { panic!("it exists") };
        let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["cleanup.policy compact -> delete", "max.message.bytes unset -> 20000000"]);
    }
}
