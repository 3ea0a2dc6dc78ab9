//! All letters of the topics asked for, each once: one that was sent twice is given the first time only. Must never happen
//! here: a dead-letter topic that could not be read and is passed over.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::Context;
use pipeline::codec::RecordType;
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::records::Records;
use pipeline::stretches::{self, Stretch};
use pipeline::topic_id::TopicIds;
use pipeline::topics;
use uuid::Uuid;

use super::letter::{Letter, Place};
use super::marks::Marks;
use crate::kafka::{Cluster, Metadata};

/// A topic that may have dead letters.
#[derive(Clone, Debug)]
pub struct Source {
    pub topic: Arc<str>,
    pub topic_id: Uuid,
    pub record: RecordType,
    dlq: String,
    stretches: Vec<Stretch>,
}

/// What every subcommand begins with.
pub struct Known {
    pub kafka: KafkaArgs,
    pub metadata: Metadata,
    pub sources: Vec<Source>,
}

impl Known {
    /// Of these topics, or of all where none is named.
    pub async fn ask(kafka: &KafkaArgs, named: &[String]) -> anyhow::Result<Self> {
        let asked = topics_asked(named)?;
        let cluster = Cluster::new(kafka)?;
        let metadata = cluster.metadata().await?;
        let ids = TopicIds::new(kafka)?;
        let mut sources = Vec::new();
        for (topic, record) in asked {
            let dlq = topics::dlq(&topic);
            for name in [&topic, &dlq] {
                if !metadata.topics.contains_key(name) {
                    let servers = &kafka.kafka_bootstrap_servers;
                    return Err(misconfigured(format!(
                        "topic {name} does not exist at {servers}; `tickstream topics apply` creates the declared topics"
                    )));
                }
            }
            let topic_id = ids.topic_id(&topic, 0).await?;
            let mut stretches = Vec::new();
            for &partition in metadata.topics.get(&dlq).map_or(&[][..], |found| &found.partitions) {
                let ends = cluster.ends(&dlq, partition).await?;
                stretches.push(Stretch { partition, start: ends.start, end: ends.end });
            }
            sources.push(Source { topic: topic.into(), topic_id, record, dlq, stretches });
        }
        Ok(Self { kafka: kafka.clone(), metadata, sources })
    }

    /// What is settled by now.
    pub async fn marks(&self) -> anyhow::Result<Marks> {
        Marks::read(&self.kafka, &self.metadata).await
    }

    /// As [`Self::marks`], for whoever is going to write some and is the only one who can.
    pub async fn marks_to_write(&self) -> anyhow::Result<Marks> {
        let marks = self.marks().await?;
        if marks.unreadable > 0 {
            return Err(misconfigured(format!(
                "{} holds {} records that this version cannot read, so what is settled is not known: use the version that wrote them",
                topics::REDRIVES,
                marks.unreadable
            )));
        }
        Ok(marks)
    }
}

impl Source {
    /// Gives the letters, with the records that hold their keys and values. Returns how many records are no letters.
    pub async fn read(
        &self,
        kafka: &KafkaArgs,
        mut take: impl AsyncFnMut(Vec<Letter>, &Records) -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        let (mut seen, mut unreadable) = (Seen::default(), 0);
        let read = stretches::read(kafka, &self.dlq, &self.stretches, "run it again", async |_, records| {
            let mut letters = Vec::with_capacity(records.len());
            for row in 0..records.len() {
                match Letter::read(&records, row) {
                    Some(letter) if seen.is_new(&letter) => letters.push(letter),
                    Some(_) => {}
                    None => unreadable += 1,
                }
            }
            take(letters, &records).await
        });
        read.await.with_context(|| format!("reading the dead letters in {}", self.dlq))?;
        Ok(unreadable)
    }

    /// The line for records that are no letters.
    pub fn unreadable(&self, count: u64) -> Option<String> {
        (count > 0).then(|| format!("{}: {count} records do not say whose dead letters they are", self.dlq))
    }
}

#[derive(Default)]
struct Seen(HashMap<String, HashSet<Place>>);

impl Seen {
    fn is_new(&mut self, letter: &Letter) -> bool {
        match self.0.get_mut(&letter.group) {
            Some(places) => places.insert(letter.place),
            None => {
                self.0.insert(letter.group.clone(), HashSet::from([letter.place]));
                true
            }
        }
    }
}

/// Declared topics by their own name or that of their dead letters.
fn topics_asked(named: &[String]) -> anyhow::Result<Vec<(String, RecordType)>> {
    let events: Vec<(String, RecordType)> =
        topics::declared().into_iter().filter_map(|topic| Some((topic.name.clone(), topic.record()?))).collect();
    let is_it = |topic: &str, name: &str| name == topic || name == topics::dlq(topic);
    if let Some(unknown) = named.iter().find(|name| !events.iter().any(|(topic, _)| is_it(topic, name))) {
        let names: Vec<&str> = events.iter().map(|(topic, _)| topic.as_str()).collect();
        return Err(misconfigured(format!("topic {unknown} has no dead letters: one of {}", names.join(", "))));
    }
    let asked = |topic: &str| named.is_empty() || named.iter().any(|name| is_it(topic, name));
    Ok(events.into_iter().filter(|(topic, _)| asked(topic)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_named_by_its_own_name_or_its_letters() {
        let asked = |named: &[&str]| {
            let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
            topics_asked(&named).map(|topics| topics.into_iter().map(|(topic, _)| topic).collect::<Vec<_>>())
        };
        assert_eq!(
            asked(&["market.gaps.v1.dlq", "market.ticks.v1"]).expect("two"),
            ["market.ticks.v1", "market.gaps.v1"]
        );
        assert_eq!(asked(&[]).expect("all").len(), 6);
        let refused = asked(&["market.redrives.v1"]).expect_err("it has none").to_string();
        assert!(
            refused.contains("market.redrives.v1 has no dead letters") && refused.contains("market.alerts.v1"),
            "{refused}"
        );
    }
}
