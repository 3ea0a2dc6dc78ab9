//! The groups of a cluster: their state, who is in them, what each member was assigned, and what was committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pipeline::kafka::{KafkaArgs, create, renew};
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::{Offset, TopicPartitionList};

use super::assignment;

const TIMEOUT: Duration = Duration::from_secs(15);

pub type Place = (String, i32);

#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    /// Kafka's word: Stable, Empty, PreparingRebalance and so on.
    pub state: String,
    /// How many are in it.
    pub members: usize,
    /// Which client has which partition.
    pub assigned: HashMap<Place, String>,
}

impl Group {
    /// Who reads in it, in words; nothing where nobody does, and its offsets may be set.
    pub fn is_live(&self) -> Option<String> {
        if self.members == 0 {
            return None;
        }
        let clients: BTreeSet<&str> = self.assigned.values().map(String::as_str).collect();
        let clients = match clients.is_empty() {
            true => String::new(),
            false => format!(" ({})", clients.into_iter().collect::<Vec<_>>().join(", ")),
        };
        let plural = if self.members == 1 { "" } else { "s" };
        Some(format!("{} live member{plural}{clients}", self.members))
    }
}

/// Asks for groups. The clients that ask for what a group has committed are kept: each asks in its group's name, without being
/// in it.
pub struct Groups {
    kafka: KafkaArgs,
    consumer: Arc<BaseConsumer>,
    asking: HashMap<String, Arc<BaseConsumer>>,
}

impl Groups {
    pub fn new(kafka: &KafkaArgs) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = create(&kafka.consumer(None), DefaultConsumerContext)?;
        Ok(Self { kafka: kafka.clone(), consumer: Arc::new(consumer), asking: HashMap::new() })
    }

    /// By name.
    pub async fn list(&self) -> anyhow::Result<Vec<Group>> {
        let consumer = self.consumer.clone();
        tokio::task::spawn_blocking(move || {
            renew(&*consumer);
            let list = consumer.fetch_group_list(None, TIMEOUT).context("listing the consumer groups")?;
            let mut groups: Vec<Group> = list.groups().iter().map(group).collect();
            groups.sort_unstable_by(|one, other| one.name.cmp(&other.name));
            Ok(groups)
        })
        .await?
    }

    /// What the group has committed, of these partitions; those of which it has committed nothing are left out.
    pub async fn committed(&mut self, group: &str, places: &[Place]) -> anyhow::Result<BTreeMap<Place, i64>> {
        let consumer = match self.asking.get(group) {
            Some(consumer) => consumer.clone(),
            None => {
                let consumer: BaseConsumer = create(&self.kafka.consumer(Some(group)), DefaultConsumerContext)?;
                self.asking.entry(group.to_owned()).or_insert(Arc::new(consumer)).clone()
            }
        };
        let mut list = TopicPartitionList::with_capacity(places.len());
        for (topic, partition) in places {
            list.add_partition(topic, *partition);
        }
        let name = group.to_owned();
        tokio::task::spawn_blocking(move || {
            renew(&*consumer);
            let answer = consumer
                .committed_offsets(list, TIMEOUT)
                .with_context(|| format!("asking what group {name} has committed"))?;
            let mut committed = BTreeMap::new();
            for element in answer.elements() {
                let place = (element.topic().to_owned(), element.partition());
                element
                    .error()
                    .with_context(|| format!("what group {name} has committed of {}[{}]", place.0, place.1))?;
                if let Offset::Offset(offset) = element.offset() {
                    committed.insert(place, offset);
                }
            }
            Ok(committed)
        })
        .await?
    }

    /// Lets go of the clients of groups that are gone.
    pub fn forget_all_but(&mut self, names: &[String]) {
        self.asking.retain(|name, _| names.contains(name));
    }
}

fn group(info: &rdkafka::groups::GroupInfo) -> Group {
    let mut assigned = HashMap::new();
    if info.protocol_type() == "consumer" {
        for member in info.members() {
            let client = format!("{} {}", member.client_id(), member.client_host().trim_start_matches('/'));
            let places = member.assignment().and_then(assignment::partitions).unwrap_or_default();
            assigned.extend(places.into_iter().map(|place| (place, client.clone())));
        }
    }
    Group { name: info.name().to_owned(), state: info.state().to_owned(), members: info.members().len(), assigned }
}
