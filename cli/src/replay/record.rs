//! What each replay did and how far it is, in market.replays.v1: the newest value of a name. Every change is one Kafka
//! transaction, and what a change publishes besides (corrections) is in the same one.
//!
//! Invariant: a record is changed by compare and swap. Who opens it is the only writer of its name from then on (the
//! transactional id is the name's, so the broker ends what another left open and refuses that one's next write), and reads the
//! newest value only after that, to the high watermark; each value has the revision before it plus one.
//!
//! Crash points: before the commit of a change is sent (the broker takes it back, at the latest after half a minute, or when
//! the next one opens it: the old value stands, nothing was published); after it (the new value stands, and all that was
//! published with it); the answer lost (one of the two, and the next one to open it reads which).
//!
//! Must never happen here: a state that another one did not lead to; something published whose state is not in the log.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, anyhow};
use arrow::array::Array;
use futures::stream::{FuturesUnordered, Stream, StreamExt};
use jiff::Timestamp;
use pipeline::kafka::KafkaArgs;
use pipeline::records::Records as KafkaRecords;
use pipeline::{misconfigured, stretches, topics};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use serde::{Deserialize, Serialize};

use super::plan::{Name, Plan, Target};
use crate::kafka::{Cluster, whole_log};
use crate::transactions::Transactions;

/// Readers of what one that dies published into wait for so long, unless it is run again.
const LASTS: Duration = Duration::from_secs(30);
/// Records that the broker has not acknowledged yet.
const UNDER_WAY: usize = 2_000;
/// What another replay has open in the topic is waited for so often; each time as long as reading waits by itself.
const TRIES: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Under way, or interrupted: run again, it goes on.
    Executing,
    /// The generation stands beside the live one; of a rewind: the offsets are set.
    Executed,
    /// All is ready to be switched, and nothing live has changed.
    Prepared,
    /// What is published is published: every target rolls forward.
    Switching,
    /// Every target has it.
    Done,
    RollingBack,
    RolledBack,
    /// The generation is gone.
    Dropped,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Executing => "executing",
            Self::Executed => "executed",
            Self::Prepared => "prepared",
            Self::Switching => "switching",
            Self::Done => "done",
            Self::RollingBack => "rolling back",
            Self::RolledBack => "rolled back",
            Self::Dropped => "dropped",
        }
    }

    /// Whether `next` may follow. The same state may: a step of it is done.
    pub fn leads_to(self, next: Self) -> bool {
        use State::{Done, Dropped, Executed, Executing, Prepared, RolledBack, RollingBack, Switching};
        let others: &[Self] = match self {
            Executing => &[Executed, Dropped],
            Executed => &[Prepared, Dropped],
            Prepared => &[Executed, Switching, Dropped],
            Switching => &[Done, RollingBack],
            Done => &[RollingBack, Dropped],
            RollingBack => &[RolledBack, Prepared, Switching],
            RolledBack => &[Prepared, Dropped],
            Dropped => &[Executing],
        };
        self == next || others.contains(&next)
    }
}

/// One replay, as its newest record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub state: State,
    /// One more than that of the value before.
    pub revision: u64,
    pub begun_at: Timestamp,
    pub changed_at: Timestamp,
    pub plan: Plan,
    /// What was counted, by what it counts.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
    #[serde(default)]
    pub targets: BTreeMap<Target, TargetState>,
}

/// How far one target is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetState {
    /// A word of whoever writes the target.
    pub state: String,
    pub began_us: Option<i64>,
    pub ended_us: Option<i64>,
    /// What the target has to have read.
    pub fence: Vec<Fence>,
    pub rows: u64,
}

/// Offsets of one partition that were written together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    pub topic: String,
    pub partition: i32,
    pub from: i64,
    /// Exclusive.
    pub to: i64,
    pub records: u64,
}

impl Record {
    pub fn begun(plan: &Plan) -> Self {
        let now = Timestamp::now();
        Self {
            state: State::Executing,
            revision: 0,
            begun_at: now,
            changed_at: now,
            plan: plan.clone(),
            counts: BTreeMap::new(),
            targets: BTreeMap::new(),
        }
    }

    #[must_use]
    pub fn in_state(&self, state: State) -> Self {
        Self { state, ..self.clone() }
    }
}

/// Something that is published with a change.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub topic: String,
    /// `None`: where the key's records go.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// All replays by their names, and what is there that this version cannot read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct All {
    pub records: BTreeMap<Name, Record>,
    /// By key, and why.
    pub unreadable: BTreeMap<String, String>,
}

impl All {
    /// # Errors
    /// When the topic cannot be read to its end. What an open transaction holds back is waited for.
    pub async fn read(kafka: &KafkaArgs) -> anyhow::Result<Self> {
        let metadata = Cluster::new(kafka)?.metadata().await?;
        let Some(found) = metadata.topics.get(topics::REPLAYS) else {
            return Err(misconfigured(format!(
                "topic {} does not exist at {}, and what replays did is written there; `tickstream topics apply` creates it",
                topics::REPLAYS,
                kafka.kafka_bootstrap_servers
            )));
        };
        for last in (0..TRIES).map(|tried| tried + 1 == TRIES) {
            let mut all = Self::default();
            let stretches = whole_log(kafka, topics::REPLAYS, &found.partitions).await?;
            let read = stretches::read(kafka, topics::REPLAYS, &stretches, "run it again", async |_, records| {
                all.take(&records);
                Ok(())
            });
            match read.await {
                Ok(()) => return Ok(all),
                Err(error) if last => return Err(error.context(format!("reading {}", topics::REPLAYS))),
                Err(_) => {}
            }
        }
        unreachable!("the last try returns")
    }

    fn take(&mut self, records: &KafkaRecords) {
        let (keys, values) = (records.keys(), records.values());
        for row in 0..records.len() {
            let key = if keys.is_valid(row) { String::from_utf8_lossy(keys.value(row)) } else { "".into() };
            let name = key.parse::<Name>();
            self.unreadable.remove(&*key);
            if let Ok(name) = &name {
                self.records.remove(name);
            }
            if !values.is_valid(row) {
                continue;
            }
            let read = name.and_then(|name| {
                let record: Record = serde_json::from_slice(values.value(row)).map_err(|error| error.to_string())?;
                if record.plan.name == name {
                    Ok((name, record))
                } else {
                    Err(format!("it is of {}", record.plan.name))
                }
            });
            match read {
                Ok((name, record)) => drop(self.records.insert(name, record)),
                Err(why) => drop(self.unreadable.insert(key.into_owned(), why)),
            }
        }
    }
}

/// The record of one replay, to change it.
pub struct Records {
    transactions: Transactions,
    name: Name,
    current: Option<Record>,
}

impl Records {
    /// Becomes the only one who changes the record of this name, and reads it.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] when there is no such topic, or the record is of a version that this program cannot read.
    pub async fn open(kafka: &KafkaArgs, name: &Name) -> anyhow::Result<Self> {
        let id = format!("tickstream-replay-{name}");
        let transactions = Transactions::open(kafka, &id, LASTS, "tickstream replay").await?;
        let mut all = All::read(kafka).await?;
        if let Some(why) = all.unreadable.get(name.as_str()) {
            return Err(misconfigured(format!(
                "the record of {name} in {} cannot be read by this version: {why}; use the version that wrote it",
                topics::REPLAYS
            )));
        }
        Ok(Self { transactions, name: name.clone(), current: all.records.remove(name) })
    }

    /// As it stands; nothing where there is no such replay.
    pub fn current(&self) -> Option<&Record> {
        self.current.as_ref()
    }

    /// The record of this plan's replay, begun anew where there is none.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] when the name is that of a replay of another plan.
    pub fn of_plan(&self, plan: &Plan) -> anyhow::Result<Record> {
        match &self.current {
            None | Some(Record { state: State::Dropped, .. }) => Ok(Record::begun(plan)),
            Some(record) if record.plan.digest == plan.digest => Ok(record.clone()),
            Some(Record { state, .. }) => Err(misconfigured(format!(
                "{} is the name of a replay of another plan, which is {}: `tickstream replay plan --name` gives this one another name",
                plan.name,
                state.as_str()
            ))),
        }
    }

    /// Makes `next` the record.
    ///
    /// # Errors
    /// When another process has taken over, or `next` may not follow; then nothing has changed, unless the error says that this
    /// is not known.
    pub async fn advance(&mut self, next: Record) -> anyhow::Result<()> {
        self.publish(futures::stream::empty(), |_| next).await.map(drop)
    }

    /// Publishes these, and makes what `next` gives of their places the record: all of it or nothing.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub async fn publish(
        &mut self,
        outgoing: impl Stream<Item = anyhow::Result<Outgoing>>,
        next: impl FnOnce(&[Fence]) -> Record,
    ) -> anyhow::Result<Vec<Fence>> {
        let producer = self.transactions.begin()?;
        let written = async {
            let fences = send_all(producer, outgoing).await?;
            let record = self.follows(next(&fences))?;
            let value = serde_json::to_string(&record)?;
            let sent = producer
                .send_result(FutureRecord::<str, str>::to(topics::REPLAYS).key(self.name.as_str()).payload(&value))
                .map_err(|(error, _)| failed(error, topics::REPLAYS))?;
            delivered(topics::REPLAYS, sent).await?;
            Ok((record, fences))
        };
        let written = written.await;
        let (record, fences) = self.transactions.end(written).await?;
        self.current = Some(record);
        Ok(fences)
    }

    fn follows(&self, next: Record) -> anyhow::Result<Record> {
        let changed_at = Timestamp::now();
        let Some(current) = &self.current else { return Ok(Record { revision: 1, changed_at, ..next }) };
        anyhow::ensure!(
            current.state.leads_to(next.state),
            "{} is {}, and cannot be {} next",
            self.name,
            current.state.as_str(),
            next.state.as_str()
        );
        Ok(Record { revision: current.revision + 1, changed_at, ..next })
    }
}

async fn send_all(
    producer: &FutureProducer,
    outgoing: impl Stream<Item = anyhow::Result<Outgoing>>,
) -> anyhow::Result<Vec<Fence>> {
    let mut outgoing = pin!(outgoing);
    let (mut under_way, mut fences) = (FuturesUnordered::new(), BTreeMap::new());
    while let Some(next) = outgoing.next().await {
        let next = next?;
        loop {
            match producer.send_result(next.record()) {
                Ok(sent) => {
                    let topic = next.topic.clone();
                    under_way.push(async move { delivered(&topic, sent).await.map(|place| (topic, place)) });
                    break;
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) if !under_way.is_empty() => {
                    note(&mut fences, under_way.next().await)?;
                }
                Err((error, _)) => return Err(failed(error, &next.topic)),
            }
        }
        while under_way.len() >= UNDER_WAY {
            note(&mut fences, under_way.next().await)?;
        }
    }
    while !under_way.is_empty() {
        note(&mut fences, under_way.next().await)?;
    }
    Ok(fences.into_values().collect())
}

type Placed = (String, (i32, i64));

fn note(fences: &mut BTreeMap<(String, i32), Fence>, placed: Option<anyhow::Result<Placed>>) -> anyhow::Result<()> {
    let Some(placed) = placed else { return Ok(()) };
    let (topic, (partition, offset)) = placed?;
    let none = Fence { topic: topic.clone(), partition, from: offset, to: offset, records: 0 };
    let fence = fences.entry((topic, partition)).or_insert(none);
    fence.from = fence.from.min(offset);
    fence.to = fence.to.max(offset + 1);
    fence.records += 1;
    Ok(())
}

async fn delivered(topic: &str, sent: DeliveryFuture) -> anyhow::Result<(i32, i64)> {
    let delivered = sent.await.context("waiting for the broker")?;
    delivered.map(|place| (place.partition, place.offset)).map_err(|(error, _)| failed(error, topic))
}

fn failed(error: KafkaError, topic: &str) -> anyhow::Error {
    anyhow!(error).context(format!("writing to {topic}"))
}

impl Outgoing {
    fn record(&self) -> FutureRecord<'_, [u8], [u8]> {
        let mut headers = OwnedHeaders::new_with_capacity(self.headers.len());
        for (key, value) in &self.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut record = FutureRecord::to(&self.topic).payload(&*self.value).headers(headers);
        if let Some(key) = &self.key {
            record = record.key(&**key);
        }
        match self.partition {
            Some(partition) => record.partition(partition),
            None => record,
        }
    }
}

#[cfg(test)]
mod tests {
    use pipeline::records::{Record as KafkaRecord, RecordBuffer};
    use rdkafka::mocking::MockCluster;

    use super::*;

    fn all(written: &[(&str, Option<&str>)]) -> All {
        let mut buffer = RecordBuffer::new();
        for (offset, (key, value)) in (0..).zip(written) {
            let (key, value) = (Some(key.as_bytes()), value.map(str::as_bytes));
            buffer.push_owned(KafkaRecord { offset, timestamp_ms: 0, key, value }, &[]);
        }
        let mut all = All::default();
        all.take(&buffer.finish());
        all
    }

    #[test]
    fn the_newest_value_of_a_name_counts_and_what_cannot_be_read_is_named() {
        let begun = Record::begun(&Plan::example("one"));
        let mut done = begun.in_state(State::Executed);
        let fence = Fence { topic: "t".to_owned(), partition: 0, from: 1, to: 3, records: 2 };
        done.targets.insert(
            Target::Topic("t".to_owned()),
            TargetState { fence: vec![fence], rows: 2, ..TargetState::default() },
        );
        let (first, second) = (json(&begun), json(&done));
        let found = all(&[
            ("one", Some(&first)),
            ("two", Some(&first)),
            ("three", Some(&first.replace("\"one\"", "\"three\""))),
            ("three", None),
            ("four", Some("{}")),
            ("Five", Some(&first)),
            ("one", Some(&second)),
        ]);
        assert_eq!(found.records.into_values().collect::<Vec<_>>(), [done]);
        let unreadable: Vec<_> = found.unreadable.iter().map(|(key, why)| format!("{key}: {why}")).collect();
        assert_eq!(unreadable.len(), 3, "{unreadable:?}");
        assert!(unreadable[1].starts_with("four: missing field") && unreadable[2] == "two: it is of one");
    }

    fn json(record: &Record) -> String {
        serde_json::to_string(record).expect("JSON")
    }

    #[test]
    fn a_switch_goes_forward_only() {
        use State::{Done, Dropped, Executed, Executing, Prepared, RolledBack, RollingBack, Switching};
        let all = [Executing, Executed, Prepared, Switching, Done, RollingBack, RolledBack, Dropped];
        let after = |state: State| all.into_iter().filter(move |next| *next != state && state.leads_to(*next));
        assert_eq!(after(Switching).collect::<Vec<_>>(), [Done, RollingBack]);
        assert_eq!(after(RollingBack).collect::<Vec<_>>(), [Prepared, Switching, RolledBack]);
        assert_eq!(after(Dropped).collect::<Vec<_>>(), [Executing]);
        assert!(all.into_iter().all(|state| state.leads_to(state)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_and_what_it_publishes_are_one_and_the_next_to_open_it_reads_them() {
        let cluster = MockCluster::new(1).expect("a cluster");
        for topic in [topics::REPLAYS, "t"] {
            cluster.create_topic(topic, 1, 1).expect("created");
        }
        let kafka = KafkaArgs { kafka_bootstrap_servers: cluster.bootstrap_servers(), kafka_properties: Vec::new() };
        let plan = Plan::example("one");
        let mut first = Records::open(&kafka, &plan.name).await.expect("opened");
        let record = first.of_plan(&plan).expect("a new one");
        first.advance(record.clone()).await.expect("the first");
        let outgoing = |value: &str| Outgoing {
            topic: "t".to_owned(),
            partition: Some(0),
            key: None,
            value: value.as_bytes().to_vec(),
            headers: vec![("h".to_owned(), b"1".to_vec())],
        };
        let some = futures::stream::iter((0..5000).map(|n| Ok(outgoing(&n.to_string()))));
        let fences = first.publish(some, |fences| {
            let mut next = record.in_state(State::Executed);
            let state = TargetState { fence: fences.to_vec(), ..TargetState::default() };
            next.targets.insert(Target::Topic("t".to_owned()), state);
            next
        });
        let fences = fences.await.expect("published");
        assert_eq!(fences, [Fence { topic: "t".to_owned(), partition: 0, from: 0, to: 5000, records: 5000 }]);

        let mut second = Records::open(&kafka, &plan.name).await.expect("opened");
        let current = second.current().expect("a record").clone();
        assert_eq!((current.state, current.revision), (State::Executed, 2));
        assert_eq!(current.targets[&Target::Topic("t".to_owned())].fence, fences);
        assert_eq!(Some(&current), first.current());
        second.advance(current.in_state(State::Prepared)).await.expect("it is the writer");
        assert_eq!(All::read(&kafka).await.expect("read").records[&plan.name].state, State::Prepared);

        let error = second.advance(current.in_state(State::Done)).await.expect_err("not prepared -> done").to_string();
        assert_eq!(error, "one is prepared, and cannot be done next");
        let other = Plan { symbols: vec!["BTC-USD".to_owned()], ..plan.clone() }.seal();
        let error = second.of_plan(&other).expect_err("the name is taken").to_string();
        assert!(error.starts_with("one is the name of a replay of another plan, which is prepared"), "{error}");
    }
}
