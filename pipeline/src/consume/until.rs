//! How long a consumer reads: until it is told to stop, or, for a run that ends by itself, until everything that the
//! log held when the run began is durable. Invariant: a bounded run gathers nothing from beyond the ends that it looked
//! up, so a producer that goes on writing never keeps it alive. Must never happen here: a run that counts as caught up
//! while the group has not said which partitions are its own.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::context::LoopContext;
use crate::kafka::ask_leader;

const PATIENCE: Duration = Duration::from_secs(10);

/// When consuming ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// When it is told to.
    #[default]
    Shutdown,
    /// When what this member's partitions held as the run began is durable and committed. Partitions of other members
    /// are not waited for.
    CaughtUp,
}

/// Where the log of each partition ended when the run began.
#[derive(Debug, Default)]
pub(super) struct Ends(Option<HashMap<(String, i32), i64>>);

impl Ends {
    /// The last stable offset of each partition of `topics`, if the run is to end there.
    pub fn look_up(until: Until, consumer: &BaseConsumer<LoopContext>, topics: &[String]) -> anyhow::Result<Self> {
        match until {
            Until::Shutdown => Ok(Self::default()),
            Until::CaughtUp => {
                let mut ends = HashMap::new();
                for topic in topics {
                    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).context("asking for partitions")?;
                    let partitions = metadata.topics().iter().flat_map(|found| found.partitions());
                    for partition in partitions.map(rdkafka::metadata::MetadataPartition::id) {
                        let (_, end) = ask_leader(PATIENCE, || consumer.fetch_watermarks(topic, partition, PATIENCE))
                            .with_context(|| format!("reading the end of {topic}[{partition}]"))?;
                        ends.insert((topic.clone(), partition), end);
                    }
                }
                Ok(Self(Some(ends)))
            }
        }
    }

    pub fn is_bounded(&self) -> bool {
        self.0.is_some()
    }

    /// The first offset of a partition that is not to be read. A log that is shorter now than when the run began was
    /// made again or lost its tail: what it holds now is all that can be waited for.
    pub fn end_of(&self, topic: &str, partition: i32, log_end: i64) -> i64 {
        match &self.0 {
            None => i64::MAX,
            // A partition that was made since held nothing when the run began.
            Some(ends) => ends.get(&(topic.to_owned(), partition)).map_or(0, |end| log_end.min(*end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;

    #[test]
    fn a_partition_without_a_leader_is_asked_again() {
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic("t", 1, 1).expect("created");
        let no_leader = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
        cluster.request_errors(RDKafkaApiKey::ListOffsets, &[no_leader; 4]);
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "g");
        let consumer = settings.create_with_context(LoopContext::default()).expect("a consumer");
        let ends = Ends::look_up(Until::CaughtUp, &consumer, &["t".to_owned()]).expect("in the end");
        assert_eq!(ends.end_of("t", 0, 7), 0, "the log was empty");
    }

    #[test]
    fn a_run_ends_where_the_log_ended_or_ends_now_if_that_is_less() {
        let ends = Ends(Some(HashMap::from([(("t".to_owned(), 0), 100)])));
        assert_eq!(ends.end_of("t", 0, 250), 100, "more has come since");
        assert_eq!(ends.end_of("t", 0, 40), 40, "the topic was made again");
        assert_eq!(ends.end_of("t", 1, 40), 0, "the partition is new");
        assert_eq!(Ends::default().end_of("t", 0, 40), i64::MAX);
    }
}
