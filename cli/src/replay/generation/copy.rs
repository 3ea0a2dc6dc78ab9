//! The target `topic:NAME`: the records of a plan once more in a topic of the user's, for what reads that topic: a new version
//! of a consumer, a test, another team. Key, value, headers and timestamp are those of the record; its partition, too, so that
//! what had one order has it still; one header more, [`FROM`], says where it stands. **Invariant**: each record of the plan is
//! in the topic once for a reader of what is committed. Each transaction holds a batch of records and, as the committed
//! offsets of a group of the replay's own, how far it is and, as their metadata, how many records that were: an execution that was
//! killed goes on there and counts on, and one that still writes is shut out by the next. Must never happen here: a copy into a topic that the pipeline itself reads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use arrow::array::Array;
use futures::future::try_join_all;
use pipeline::headers::{insert, key_of};
use pipeline::kafka::{KafkaArgs, create};
use pipeline::misconfigured;
use pipeline::records::Records;
use pipeline::topics;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata, DefaultConsumerContext};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::{GenerationArgs, inputs, own_topic};
use crate::output::Progress;
use crate::replay::plan::{Name, Plan, Stretch};
use crate::transactions::Transactions;

/// `topic:partition:offset` of the record that a copy is of.
pub const FROM: &str = "tickstream-replayed-from";
const TIMEOUT: Duration = Duration::from_secs(10);
/// Readers of the topic wait for what is open in it.
const LASTS: Duration = Duration::from_secs(60);
const BATCH_ROWS: usize = 5_000;

/// Copies what an earlier execution has not. Gives how many records all executions have copied.
///
/// # Errors
/// [`pipeline::Misconfigured`] for what the user can mend; else what failed: then the same command goes on from there.
pub async fn make(plan: &Plan, into: &str, kafka: &KafkaArgs, args: &GenerationArgs) -> anyhow::Result<u64> {
    check(into)?;
    let partitions = plan.partitions.iter().map(|stretch| stretch.partition + 1).max().unwrap_or(1);
    own_topic::create(kafka, into, partitions, own_topic::Clock::Sender).await?;
    let group = group(&plan.name, into);
    let transactions = Transactions::open(kafka, &group, LASTS, "tickstream replay execute").await?;
    let mut copying = Copying::begin(plan, into, kafka, &group, transactions).await?;
    let left = std::mem::take(&mut copying.left);
    for of_topic in left.chunk_by(|one, next| one.topic == next.topic) {
        let topic = &*of_topic[0].topic;
        inputs::read(plan.source, kafka, &args.store, topic, of_topic, async |partition, records| {
            copying.copy(topic, partition, &records, &plan.symbols).await
        })
        .await?;
    }
    Ok(copying.copied.values().sum())
}

/// Whose committed offsets say how far a copy is; the transactional id of who writes it is the same.
fn group(name: &Name, into: &str) -> String {
    format!("tickstream-replay-{name}-{into}")
}

/// Forgets how far a copy was, so that the next replay of that name begins anew. Whoever still copies is shut out first.
///
/// # Errors
/// [`pipeline::Misconfigured`] where the user may not; else what the broker said.
pub async fn forget(kafka: &KafkaArgs, name: &Name, into: &str) -> anyhow::Result<()> {
    let group = group(name, into);
    Transactions::open(kafka, &group, LASTS, "tickstream replay drop").await?;
    let admin: AdminClient<DefaultClientContext> = create(&kafka.admin(), DefaultClientContext)?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
    let answers =
        admin.delete_groups(&[group.as_str()], &options).await.with_context(|| format!("deleting group {group}"))?;
    for answer in answers {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound)) => {}
            Err((name, RDKafkaErrorCode::GroupAuthorizationFailed)) => {
                return Err(misconfigured(format!(
                    "group {name} may not be deleted by this user: give it the DELETE right"
                )));
            }
            Err((name, code)) => return Err(anyhow!("group {name} is not deleted: {code}")),
        }
    }
    Ok(())
}

/// Whether records may be copied into it.
///
/// # Errors
/// [`pipeline::Misconfigured`] for a topic that the pipeline reads.
pub fn check(into: &str) -> anyhow::Result<()> {
    let is_ours = topics::declared().iter().any(|declared| declared.name == into);
    if is_ours || into.starts_with("__") || into.starts_with(&format!("{}.gen.", topics::TICKS)) {
        return Err(misconfigured(format!(
            "topic:{into} is a topic that the system itself reads, where a copy would stand beside what it is a copy of: name another one"
        )));
    }
    Ok(())
}

/// Records by topic and partition.
type Copied = HashMap<(String, i32), u64>;

struct Copying<'a> {
    into: &'a str,
    transactions: Transactions,
    member: Arc<ConsumerGroupMetadata>,
    /// What was not copied when this began.
    left: Vec<Stretch>,
    all: u64,
    done: u64,
    copied: Copied,
    progress: Progress,
}

impl<'a> Copying<'a> {
    async fn begin(
        plan: &Plan,
        into: &'a str,
        kafka: &KafkaArgs,
        group: &str,
        transactions: Transactions,
    ) -> anyhow::Result<Self> {
        let mut settings = kafka.consumer(Some(group));
        settings.set("enable.auto.commit", "false");
        let stretches = plan.partitions.clone();
        let name = into.to_owned();
        let asked = move || {
            let consumer: BaseConsumer = create(&settings, DefaultConsumerContext)?;
            let metadata = consumer.fetch_metadata(Some(&name), TIMEOUT).context("asking for the topic")?;
            let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
            let most = stretches.iter().map(|stretch| stretch.partition).max().unwrap_or(0);
            if usize::try_from(most).is_ok_and(|most| most >= partitions) {
                return Err(misconfigured(format!(
                    "topic {name} has {partitions} partitions, and the plan reads partition {most}: a copy keeps its partition, so make that \
                     topic with as many"
                )));
            }
            let (left, copied) = left(&consumer, stretches)?;
            anyhow::Ok((left, copied, consumer.group_metadata().context("the client has no group")?))
        };
        let (left, copied, member) = tokio::task::spawn_blocking(asked).await??;
        let sum = |stretches: &[Stretch]| {
            stretches.iter().map(|stretch| u64::try_from(stretch.to - stretch.from).unwrap_or(0)).sum::<u64>()
        };
        let all = sum(&plan.partitions);
        let done = all - sum(&left);
        Ok(Self {
            into,
            transactions,
            member: Arc::new(member),
            left,
            all,
            done,
            copied,
            progress: Progress::default(),
        })
    }

    async fn copy(&mut self, topic: &str, partition: i32, records: &Records, symbols: &[String]) -> anyhow::Result<()> {
        for from in (0..records.len()).step_by(BATCH_ROWS) {
            let some = records.slice(from, BATCH_ROWS.min(records.len() - from));
            let next_offset = some.last_offset().map_or(0, |last| last + 1);
            let place = (topic.to_owned(), partition);
            let producer = self.transactions.begin()?;
            let written = async {
                let sent = self.send(producer, topic, partition, &inputs::of_symbols(&some, symbols)?).await?;
                let copied = self.copied.get(&place).copied().unwrap_or(0) + sent;
                let mut offsets = TopicPartitionList::new();
                let mut committed = offsets.add_partition(topic, partition);
                committed.set_offset(Offset::Offset(next_offset))?;
                committed.set_metadata(copied.to_string());
                let (producer, member) = (producer.clone(), self.member.clone());
                let commit = move || producer.send_offsets_to_transaction(&offsets, &member, TIMEOUT);
                tokio::task::spawn_blocking(commit).await?.context("committing how far the copy is")?;
                anyhow::Ok(copied)
            };
            let written = written.await;
            let copied = self.transactions.end(written).await?;
            self.copied.insert(place, copied);
            self.done += some.len() as u64;
            let (done, all, into) = (self.done, self.all.max(self.done), self.into);
            self.progress.tell(|| format!("tickstream: {done} of {all} offsets are in {into}"));
        }
        Ok(())
    }

    async fn send(
        &self,
        producer: &FutureProducer,
        topic: &str,
        partition: i32,
        records: &Records,
    ) -> anyhow::Result<u64> {
        let (keys, values) = (records.keys(), records.values());
        let (offsets, times) = (records.offsets(), records.timestamps_ms());
        let mut sent = Vec::with_capacity(records.len());
        for row in 0..records.len() {
            let mut headers = OwnedHeaders::new();
            for (key, value) in records.headers(row) {
                headers = insert(headers, &key_of(&key), value.as_deref());
            }
            let from = format!("{topic}:{partition}:{}", offsets.value(row));
            headers = headers.insert(Header { key: FROM, value: Some(&from) });
            let mut record = FutureRecord::<[u8], [u8]>::to(self.into)
                .partition(partition)
                .timestamp(times.value(row))
                .headers(headers);
            if keys.is_valid(row) {
                record = record.key(keys.value(row));
            }
            if values.is_valid(row) {
                record = record.payload(values.value(row));
            }
            let sending = producer.send_result(record);
            sent.push(sending.map_err(|(error, _)| anyhow!(error).context(format!("writing to {}", self.into)))?);
        }
        for delivered in try_join_all(sent).await.context("waiting for the copies")? {
            delivered.map_err(|(error, _)| anyhow!(error).context(format!("writing to {}", self.into)))?;
        }
        Ok(records.len() as u64)
    }
}

/// What the group has not committed of each stretch, and how many records it copied of what it has.
fn left(consumer: &BaseConsumer, mut stretches: Vec<Stretch>) -> anyhow::Result<(Vec<Stretch>, Copied)> {
    let mut copied = Copied::new();
    let mut asked = TopicPartitionList::new();
    for stretch in &stretches {
        asked.add_partition(&stretch.topic, stretch.partition);
    }
    let committed = consumer.committed_offsets(asked, TIMEOUT).context("asking how far the copy is")?;
    for stretch in &mut stretches {
        let found = committed.find_partition(&stretch.topic, stretch.partition);
        if let Some((found, Offset::Offset(offset))) = found.map(|found| (found.metadata().parse(), found.offset())) {
            stretch.from = offset.clamp(stretch.from, stretch.to);
            copied.insert((stretch.topic.clone(), stretch.partition), found.unwrap_or(0));
        }
    }
    Ok((stretches, copied))
}
