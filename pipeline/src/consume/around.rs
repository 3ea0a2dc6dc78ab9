//! What the loop and the tasks that write tell each other, and what both kinds of task do around a write: dead letters sent,
//! records counted, outages waited out, a deployment stopped that finds nearly everything bad. Invariant: a batch counts as
//! written when its dead letters are with the broker too. Must never happen here: an outage that skips something.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::try_join_all;
use rdkafka::consumer::ConsumerGroupMetadata;
use uuid::Uuid;

use super::context::Shared;
use super::{Assigned, DeadLetter, Fault, PartitionBatch, Wanted, Written};
use crate::admin::Health;
use crate::dead_letter::DeadLetters;
use crate::topic_id::TopicIds;
use crate::trace;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the loop asks. A generation is outdated by each rebalance.
pub(super) enum Command {
    Start {
        generation: u64,
        assigned: Vec<Assigned>,
        member: Option<ConsumerGroupMetadata>,
    },
    Write {
        generation: u64,
        batches: Vec<Handed>,
    },
    Idle {
        generation: u64,
    },
    /// Says when all that was asked before is over. For a [`super::Sink`].
    Fence {
        generation: u64,
    },
}

/// A batch that was handed over.
pub(super) struct Handed {
    pub batch: PartitionBatch,
    /// Which of the partition's runs it belongs to: one ends when the writer goes on elsewhere, and what is left of it is
    /// dropped without an answer.
    pub run: u64,
}

pub(super) enum Answer {
    Started {
        generation: u64,
        assigned: Vec<Assigned>,
        starts: Vec<i64>,
        /// The metadata to commit each start with, if it is to be committed.
        commits: Vec<Option<String>>,
    },
    Written {
        generation: u64,
        written: Vec<Written>,
    },
    Fenced {
        generation: u64,
    },
    Stopped(anyhow::Error),
}

pub(super) struct Around {
    letters: DeadLetters,
    topic_ids: TopicIds,
    health: Health,
    shared: Arc<Shared>,
    bad_share: Option<Mutex<BadShare>>,
    /// Who waits for an outage to end, and why.
    outages: Mutex<BTreeMap<usize, String>>,
}

impl Around {
    pub fn new(
        letters: DeadLetters,
        topic_ids: TopicIds,
        health: Health,
        shared: Arc<Shared>,
        stop_when_bad: bool,
    ) -> Self {
        let bad_share = stop_when_bad.then(Mutex::default);
        Self { letters, topic_ids, health, shared, bad_share, outages: Mutex::default() }
    }

    /// What a sink looks at while it is at work for this generation.
    pub fn wanted(&self, generation: u64) -> Wanted {
        Wanted::new(&self.shared, generation)
    }

    pub fn is_outdated(&self, generation: u64) -> bool {
        generation != self.shared.generation()
    }

    /// Returns once nobody wants work of this generation any more.
    pub async fn outdated(&self, generation: u64) {
        self.shared.outdated(generation).await;
    }

    /// The tries of one piece of work by `who`, a number.
    pub fn tries(&self, who: usize, generation: u64) -> Tries<'_> {
        Tries { around: self, who, generation, pause: FIRST_PAUSE }
    }

    /// Sends the dead letters of what was written and counts it. `topic_id` is what the batches' records are known to be of; the
    /// topic may have been made anew since, and where it is not known it is asked now.
    pub async fn finish(
        &self,
        batches: &[&PartitionBatch],
        letters: &[DeadLetter],
        topic_id: Option<Uuid>,
        begun: Instant,
    ) -> Result<(), Fault> {
        self.send(batches, letters, topic_id).await.map_err(Fault::Outage)?;
        let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
        metrics::counter!("tickstream_consumer_records_total").increment(records as u64);
        metrics::counter!("tickstream_consumer_dead_letters_total").increment(letters.len() as u64);
        self.shared.count(records, letters.len());
        metrics::histogram!("tickstream_consumer_write_seconds").record(begun.elapsed());
        tell_ages(batches);
        let Some(bad_share) = &self.bad_share else { return Ok(()) };
        let mut bad_share = bad_share.lock().unwrap_or_else(PoisonError::into_inner);
        bad_share.add(records, letters.len()).map_err(Fault::Stop)
    }

    /// Tells of what is durable by now and was begun with then, which is when [`trace::clock`] said something.
    pub fn trace<'a>(&self, batches: impl Iterator<Item = &'a PartitionBatch>, begun: Option<SystemTime>) {
        let Some(begun) = begun else { return };
        for PartitionBatch { topic, partition, records, .. } in batches {
            trace::processed(Some(self.letters.group()), topic, *partition, records, begun);
        }
    }

    async fn send(
        &self,
        batches: &[&PartitionBatch],
        letters: &[DeadLetter],
        known: Option<Uuid>,
    ) -> anyhow::Result<()> {
        let Some(DeadLetter { topic, partition, offset, reason }) = letters.first() else { return Ok(()) };
        // All at once: the broker's answer is waited for one time, not for each partition.
        try_join_all(batches.iter().map(|batch| self.send_of(batch, letters, known))).await?;
        let others = match letters.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        tracing::warn!(
            topic,
            partition,
            offset,
            reason,
            letters = letters.len(),
            "dead letter: {topic}[{partition}]@{offset}{others}"
        );
        Ok(())
    }

    /// Those of `letters` that are of `batch`.
    async fn send_of(&self, batch: &PartitionBatch, letters: &[DeadLetter], known: Option<Uuid>) -> anyhow::Result<()> {
        let of_batch: Vec<&DeadLetter> = letters
            .iter()
            .filter(|letter| letter.partition == batch.partition && letter.topic == *batch.topic)
            .filter(|letter| batch.records.position(letter.offset).is_some())
            .collect();
        if of_batch.is_empty() {
            return Ok(());
        }
        let topic_id = match known {
            Some(known) => known,
            None => self.topic_ids.topic_id(&batch.topic, batch.partition).await?,
        };
        self.letters.send(&batch.records, Some(topic_id), &of_batch).await
    }

    /// Nobody waits any more: all work before was given up.
    pub fn forget_outages(&self) {
        self.outages.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn tell(&self, who: usize, outage: Option<String>) {
        let mut outages = self.outages.lock().unwrap_or_else(PoisonError::into_inner);
        match outage {
            Some(reason) => drop(outages.insert(who, reason)),
            None => drop(outages.remove(&who)),
        }
        let first = outages.first_key_value().map(|(_, reason)| reason.clone());
        self.health.set("sink", first.map_or(Ok(()), Err));
    }
}

/// How old what has just become durable is, by the broker's clock: each batch's oldest record, and up to when its partition is
/// there.
fn tell_ages(batches: &[&PartitionBatch]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    for batch in batches {
        let times = batch.records.timestamps_ms().values();
        let (Some(oldest), Some(newest)) = (times.iter().min(), times.iter().max()) else { continue };
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are below 2^53")]
        let [oldest, newest] = [oldest, newest].map(|ms| *ms as f64 / 1e3);
        metrics::histogram!("tickstream_consumer_delay_seconds").record((now - oldest).max(0.0));
        let labels = [("topic", batch.topic.to_string()), ("partition", batch.partition.to_string())];
        metrics::gauge!("tickstream_consumer_durable_timestamp_seconds", &labels).set(newest);
    }
}

/// Tries of one piece of work: readiness tells whether it waits, and why.
pub(super) struct Tries<'a> {
    around: &'a Around,
    who: usize,
    generation: u64,
    pause: Duration,
}

impl Tries<'_> {
    /// It worked.
    pub fn worked(&self) {
        self.around.tell(self.who, None);
    }

    /// It did not: waits before the next try. False when a rebalance came meanwhile, and nobody wants it any more: what a person
    /// must see to is met again by whoever has the partition then.
    ///
    /// # Errors
    /// What a person must see to.
    pub async fn failed(&mut self, fault: Fault) -> anyhow::Result<bool> {
        if self.around.is_outdated(self.generation) {
            return Ok(false);
        }
        match fault {
            Fault::Stop(error) => return Err(error),
            Fault::Outage(error) => {
                self.around.tell(self.who, Some(format!("{error:#}").replace('\n', " ")));
                metrics::counter!("tickstream_consumer_outages_total").increment(1);
            }
        }
        // Full jitter; woken early only by a rebalance: an outage is not mended by asking more often.
        let pause = self.pause.mul_f64(0.1 + 0.9 * fastrand::f64());
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(tokio::time::timeout(pause, self.around.outdated(self.generation)).await.is_err())
    }
}

/// The share of bad records over the last minute. More than 5 % and at least 1,000 of them is a wrong deployment, not bad
/// records.
#[derive(Default)]
struct BadShare {
    batches: VecDeque<(Instant, usize, usize)>,
}

impl BadShare {
    fn add(&mut self, records: usize, bad: usize) -> anyhow::Result<()> {
        let now = Instant::now();
        self.batches.push_back((now, records, bad));
        while self.batches.front().is_some_and(|(at, ..)| now.duration_since(*at) > Duration::from_secs(60)) {
            self.batches.pop_front();
        }
        let (records, bad) = self.batches.iter().fold((0, 0), |sum, batch| (sum.0 + batch.1, sum.1 + batch.2));
        anyhow::ensure!(
            bad < 1000 || bad * 20 <= records,
            "{bad} of the last {records} records in a minute were bad: a wrong deployment, not bad records; \
             they are in the dead-letter topic and the offset was not committed past them; look at the newest reasons there"
        );
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use anyhow::anyhow;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::message::{Headers, Message};
    use rdkafka::mocking::MockCluster;
    use rdkafka::{ClientConfig, Offset, TopicPartitionList};

    use super::*;
    use crate::dead_letter::TOPIC_ID;
    use crate::kafka::KafkaArgs;
    use crate::records::{Record, RecordBuffer};

    /// Without a broker, which only a dead letter would ask for.
    pub fn around(shared: &Arc<Shared>) -> Around {
        around_of("127.0.0.1:1", shared)
    }

    fn around_of(servers: &str, shared: &Arc<Shared>) -> Around {
        let kafka = KafkaArgs { kafka_bootstrap_servers: servers.to_owned(), kafka_properties: Vec::new() };
        let letters = DeadLetters::new(&kafka, "group").expect("a producer");
        let topic_ids = TopicIds::new(&kafka).expect("a client");
        Around::new(letters, topic_ids, Health::new(), shared.clone(), false)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_dead_letter_names_the_topic_that_its_batch_is_of_and_nobody_is_asked() {
        // librdkafka's own cluster tells no topic ids.
        let cluster = MockCluster::new(1).expect("a cluster");
        cluster.create_topic("t.dlq", 1, 1).expect("created");
        let mut buffer = RecordBuffer::new();
        buffer.push_owned(Record { offset: 3, timestamp_ms: 0, key: None, value: Some(b"bad") }, &[]);
        let batch =
            PartitionBatch { topic: "t".into(), partition: 0, start: 3, next_offset: 4, records: buffer.finish() };
        let letter = DeadLetter { topic: "t".to_owned(), partition: 0, offset: 3, reason: "bad".to_owned() };
        let around = around_of(&cluster.bootstrap_servers(), &Arc::default());
        let known = Uuid::from_u128(7);
        around.finish(&[&batch], &[letter], Some(known), Instant::now()).await.expect("sent");

        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "reader");
        let reader: BaseConsumer = settings.create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("t.dlq", 0, Offset::Beginning).expect("an offset");
        reader.assign(&list).expect("assigned");
        let letter = reader.poll(Duration::from_secs(60)).expect("a letter").expect("no error");
        let id = known.to_string();
        let mut headers = letter.headers().expect("headers of ours").iter();
        assert!(headers.any(|header| header.key == TOPIC_ID && header.value == Some(id.as_bytes())));
    }

    #[test]
    fn what_is_durable_is_dated_by_the_broker() {
        let mut buffer = RecordBuffer::new();
        for (offset, timestamp_ms) in [(3, 1_500), (4, 2_500), (5, 2_000)] {
            buffer.push_owned(Record { offset, timestamp_ms, key: None, value: None }, &[]);
        }
        let full =
            PartitionBatch { topic: "t".into(), partition: 1, start: 3, next_offset: 6, records: buffer.finish() };
        let empty = PartitionBatch { partition: 2, records: RecordBuffer::new().finish(), ..full.clone() };
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || tell_ages(&[&full, &empty]));
        let told = recorder.handle().render();
        let durable = "tickstream_consumer_durable_timestamp_seconds{topic=\"t\",partition=\"1\"} 2.5\n";
        assert!(told.contains(durable) && !told.contains("partition=\"2\""), "{told}");
        assert!(told.contains("tickstream_consumer_delay_seconds_count 1\n"), "{told}");
    }

    #[tokio::test]
    async fn a_rebalance_ends_a_pause_and_what_was_wrong_before_is_not_told() {
        let shared = Arc::new(Shared::default());
        let around = around(&shared);
        let mut tries = around.tries(0, shared.generation());
        tries.pause = Duration::from_secs(1_000_000);
        let (paused, ()) = tokio::join!(tries.failed(Fault::Outage(anyhow!("away"))), async {
            tokio::task::yield_now().await;
            shared.next_generation();
        });
        assert!(!paused.expect("no reason to end"));
        let forgotten = tries.failed(Fault::Stop(anyhow!("of a partition that is another member's"))).await;
        assert!(!forgotten.expect("no reason to end"));
        assert!(around.tries(0, shared.generation()).failed(Fault::Stop(anyhow!("of its own"))).await.is_err());
    }

    #[test]
    fn a_wrong_deployment_stops_and_a_few_bad_records_do_not() {
        let mut share = BadShare::default();
        assert!(share.add(1000, 999).is_ok(), "fewer than a thousand");
        assert!(share.add(1_000_000, 1000).is_ok(), "under 5 %");
        let mut share = BadShare::default();
        assert!(share.add(10_000, 1000).is_err());
    }
}
