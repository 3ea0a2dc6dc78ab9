//! What a log says of offsets and times: a topic, asked at its broker, or the raw objects that were written from it. Must never
//! happen here: an answer for a partition that could not be asked.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, anyhow};
use arrow::array::{Array, BinaryArray};
use jiff::Timestamp;
use pipeline::kafka::{KafkaArgs, Reader, ReaderContext, create};
use pipeline::records::Records;
use pipeline::stretches;
use rdkafka::admin::{AdminClient, AdminOptions, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};

use super::raw_log::RawLog;
use crate::groups::{Times, TimesEnd, TimesStretch};
use crate::kafka::{Cluster, Ends};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Offsets whose records are looked at to tell how large they are.
const SAMPLE: i64 = 500;

pub enum Log {
    Topic(TopicLog),
    Raw(RawLog),
}

/// The first records of a stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    pub first_time_ms: Option<i64>,
    pub records: u64,
    pub bytes: u64,
}

impl Sample {
    /// What so many records come to.
    pub fn bytes_of(&self, records: u64) -> u64 {
        if self.records == 0 {
            0
        } else {
            (u128::from(self.bytes) * u128::from(records) / u128::from(self.records)) as u64
        }
    }
}

impl Log {
    pub async fn ends(&self, topic: &str, partitions: &[i32]) -> anyhow::Result<BTreeMap<i32, Ends>> {
        let mut ends = BTreeMap::new();
        for &partition in partitions {
            let found = match self {
                Self::Topic(log) => log.cluster.ends(topic, partition).await?,
                Self::Raw(log) => log.ends(topic, partition).await?,
            };
            ends.insert(partition, found);
        }
        Ok(ends)
    }

    /// The first offset whose record was taken by the broker at this time or later; the end where there is none yet.
    pub async fn at(
        &self,
        topic: &str,
        ends: &BTreeMap<i32, Ends>,
        at: Timestamp,
    ) -> anyhow::Result<BTreeMap<i32, i64>> {
        match self {
            Self::Topic(log) => log.at(topic, ends, at).await,
            Self::Raw(log) => {
                let mut found = BTreeMap::new();
                for (partition, ends) in ends {
                    found.insert(*partition, log.at(topic, *partition, at.as_millisecond()).await?.unwrap_or(ends.end));
                }
                Ok(found)
            }
        }
    }

    /// Of the records from an offset up to another, exclusive, by partition.
    pub async fn sample(&self, topic: &str, spans: &[(i32, i64, i64)]) -> anyhow::Result<HashMap<i32, Sample>> {
        match self {
            Self::Topic(log) => log.sample(topic, spans).await,
            Self::Raw(log) => {
                let mut found = HashMap::new();
                for &(partition, from, to) in spans {
                    found.insert(partition, log.sample(topic, partition, from, to).await?);
                }
                Ok(found)
            }
        }
    }
}

pub struct TopicLog {
    kafka: KafkaArgs,
    cluster: Cluster,
    times: Times,
}

impl TopicLog {
    pub fn new(kafka: &KafkaArgs) -> anyhow::Result<Self> {
        Ok(Self { kafka: kafka.clone(), cluster: Cluster::new(kafka)?, times: Times::new(kafka)? })
    }

    async fn at(&self, topic: &str, ends: &BTreeMap<i32, Ends>, at: Timestamp) -> anyhow::Result<BTreeMap<i32, i64>> {
        let mut asked = TopicPartitionList::new();
        for partition in ends.keys() {
            asked.add_partition_offset(topic, *partition, Offset::Offset(at.as_millisecond()))?;
        }
        let (settings, name) = (self.kafka.consumer(None), topic.to_owned());
        let answer = tokio::task::spawn_blocking(move || {
            let reader: Reader = create(&settings, ReaderContext)?;
            reader.offsets_for_times(asked, TIMEOUT).with_context(|| format!("looking for a time in {name}"))
        });
        let answer = answer.await??;
        let mut found = BTreeMap::new();
        for (partition, ends) in ends {
            let element = answer
                .find_partition(topic, *partition)
                .with_context(|| format!("the broker did not answer for {topic}[{partition}]"))?;
            element.error().with_context(|| format!("looking for a time in {topic}[{partition}]"))?;
            let offset = match element.offset() {
                Offset::Offset(offset) => offset.min(ends.end),
                _ => ends.end,
            };
            found.insert(*partition, offset);
        }
        Ok(found)
    }

    async fn sample(&self, topic: &str, spans: &[(i32, i64, i64)]) -> anyhow::Result<HashMap<i32, Sample>> {
        let stretches: Vec<_> = spans
            .iter()
            .map(|&(partition, from, to)| stretches::Stretch { partition, start: from, end: to.min(from + SAMPLE) })
            .collect();
        let mut samples: HashMap<i32, Sample> =
            spans.iter().map(|(partition, ..)| (*partition, Sample::default())).collect();
        let read = stretches::read(&self.kafka, topic, &stretches, "plan again", async |partition, records| {
            if let Some(sample) = samples.get_mut(&partition) {
                sample.add(&records);
            }
            Ok(())
        });
        read.await.with_context(|| format!("looking at {topic}"))?;
        // Where the first offsets hold no record, a later one tells of the time.
        let without = spans.iter().filter(|(partition, ..)| samples[partition].records == 0);
        let further: Vec<TimesStretch> = without
            .map(|&(partition, from, until)| TimesStretch { partition, from, until })
            .filter(|stretch| stretch.from < stretch.until)
            .collect();
        for (partition, time) in self.times.ask(topic, further, TimesEnd::First).await? {
            if let Some(sample) = samples.get_mut(&partition) {
                sample.first_time_ms = Some(time);
            }
        }
        Ok(samples)
    }

    /// For how long the topic keeps a record; `None` for ever.
    pub async fn retention_ms(&self, topic: &str) -> anyhow::Result<Option<i64>> {
        let admin: AdminClient<DefaultClientContext> = create(&self.kafka.admin(), DefaultClientContext)?;
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
        let asked = [ResourceSpecifier::Topic(topic)];
        let answers = admin.describe_configs(&asked, &options).await.context("reading topic settings")?;
        for answer in answers {
            let resource = answer.map_err(|code| anyhow!("reading the settings of {topic}: {code}"))?;
            let OwnedResourceSpecifier::Topic(_) = &resource.specifier else { continue };
            let value = |name: &str| {
                let entry = resource.entries.iter().find(|entry| entry.name == name)?;
                entry.value.clone()
            };
            let deletes = value("cleanup.policy").is_some_and(|policy| policy.contains("delete"));
            return Ok(value("retention.ms").and_then(|ms| ms.parse().ok()).filter(|ms| deletes && *ms >= 0));
        }
        Ok(None)
    }
}

impl Sample {
    pub fn add(&mut self, records: &Records) {
        let (keys, values, times) = (records.keys(), records.values(), records.timestamps_ms());
        for row in 0..records.len() {
            let length = |column: &BinaryArray| column.is_valid(row).then(|| column.value(row).len());
            self.bytes += (length(keys).unwrap_or(0) + length(values).unwrap_or(0)) as u64;
            self.records += 1;
            self.first_time_ms.get_or_insert(times.value(row));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_taken_to_be_as_large_as_what_is() {
        let sample = Sample { first_time_ms: None, records: 3, bytes: 100 };
        assert_eq!(
            [0, 3, 30, u64::MAX].map(|records| sample.bytes_of(records)).map(|b| b > 1000),
            [false, false, false, true]
        );
        assert_eq!([3, 30].map(|records| sample.bytes_of(records)), [100, 1000]);
        assert_eq!(Sample::default().bytes_of(7), 0);
    }
}
