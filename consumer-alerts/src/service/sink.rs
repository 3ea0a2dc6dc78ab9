//! Between the consume loop and the engines: one engine a ticks partition, one for open gaps and lost producers at the
//! partition of gaps. What comes of what is judged is kept until the transaction that holds it is committed. A batch that
//! comes again after an outage is not judged twice.
//!
//! Time: where everything is read, it is the broker's, asked every ten seconds. The broker's is asked first and the
//! partition's end after it: what is at its end then has judged everything from before that time. An outage of what timers
//! need holds back no alert that a price brings about: time stands still until it is over, and readiness says so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use async_trait::async_trait;
use futures::future::join_all;
use pipeline::admin::Health;
use pipeline::codec::{Encoder, RecordType};
use pipeline::consume::{Assigned, DeadLetter, Fault, PartitionBatch, Sink, Written};
use pipeline::decode::{Decoded, Decoder};
use pipeline::events::Alert;
use pipeline::kafka::KafkaArgs;
use pipeline::topic_id::TopicIds;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use super::clock::BrokerClock;
use super::config::{RunArgs, Topics};
use super::judged::Judged;
use super::news::News;
use super::pending::{Pending, Sent};
use super::reload::Holding;
use super::transactions::{self, Ended, Outgoing, Transactions};
use super::{start, state_log};
use crate::engine::{Duty, Engine, State, StateKey};
use crate::rules::Rules;

/// Offsets alone are not worth a transaction more often: what is judged again and says nothing costs nothing.
const COMMIT_EVERY: Duration = Duration::from_secs(5);
const ASK_TIME_EVERY: Duration = Duration::from_secs(10);
/// Where it cannot pass because something is unread, it is asked for again so soon; for so long that is nothing to tell.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const UNREAD: Duration = Duration::from_secs(60);
/// How long a start may take to read what the sources have said.
const PATIENCE: Duration = Duration::from_secs(30);
/// The part of readiness that says whether timers run.
const TIME: &str = "time";

pub struct AlertSink {
    kafka: KafkaArgs,
    topics: Topics,
    rules: Holding,
    ticks: Decoder,
    gaps: Decoder,
    encoder: Encoder,
    topic_ids: TopicIds,
    clock: BrokerClock,
    news: News,
    /// `None` while it is at work on its thread.
    transactions: Option<Transactions>,
    group: String,
    member: Option<Arc<ConsumerGroupMetadata>>,
    partitions: Vec<Judged>,
    pending: Pending,
    /// What gaps and health records from before this broker time say is known.
    known_until: i64,
    /// The last round of batches.
    last: Round,
    committed_at: Instant,
    /// When time is asked for again.
    ask_at: Instant,
    /// When it was last let pass.
    passed_at: Instant,
    health: Health,
}

/// A round of batches that was judged.
#[derive(Default)]
struct Round {
    /// Topic, partition and start of each.
    batches: Vec<(Arc<str>, i32, i64)>,
    letters: Vec<DeadLetter>,
}

impl AlertSink {
    /// # Errors
    /// When a client's settings are refused.
    pub async fn new(args: &RunArgs, rules: Holding, health: Health) -> anyhow::Result<Self> {
        let registry = args.registry.registry()?;
        Ok(Self {
            kafka: args.kafka.clone(),
            topics: args.topics.clone(),
            rules,
            ticks: Decoder::new(RecordType::PriceTick, registry.clone()),
            gaps: Decoder::new(RecordType::Gap, registry.clone()),
            encoder: Encoder::new(args.registry.framing()?).await?,
            topic_ids: TopicIds::new(&args.kafka)?,
            clock: BrokerClock::new(&args.kafka, &args.topics.state)?,
            news: News::new(&args.kafka, &args.topics.gaps, &args.topics.health, registry.as_ref())?,
            transactions: Some(Transactions::new(&args.kafka, &args.group)),
            group: args.group.clone(),
            member: None,
            partitions: Vec::new(),
            pending: Pending::default(),
            known_until: i64::MIN,
            last: Round::default(),
            committed_at: Instant::now(),
            ask_at: Instant::now(),
            passed_at: Instant::now(),
            health,
        })
    }

    async fn topic_id(&self, topic: &str, partition: i32) -> Result<String, Fault> {
        Ok(self.topic_ids.topic_id(topic, partition).await?.to_string())
    }

    /// Waits until all is known that the sources had said when this began. Gives the broker's time then.
    async fn catch_up(&mut self) -> Result<i64, Fault> {
        let begun = Instant::now();
        let now = self.clock.now().await.map_err(Fault::Outage)?;
        self.news.catch_up().await.map_err(Fault::Outage)?;
        while !self.news_is_read().await? {
            if begun.elapsed() > PATIENCE {
                let [gaps, health] = [&self.topics.gaps, &self.topics.health];
                return Err(Fault::Outage(anyhow!("{gaps} and {health} could not be read to their ends")));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            // What an engine that begins has to know is kept beside.
            self.news.take().await.map_err(Fault::Outage)?;
        }
        self.news.take().await.map_err(Fault::Outage)?;
        self.known_until = now;
        Ok(now)
    }

    /// Whether the topics of gaps and health have nothing that was not found.
    async fn news_is_read(&self) -> Result<bool, Fault> {
        for (topic, partition, reached) in self.news.reached() {
            let (start, end) = self.topic_ids.log_range(topic, partition).await.map_err(Fault::Outage)?;
            if start < end && reached < end {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn open(
        &mut self,
        assigned: &Assigned,
        rules: Rules,
        states: &HashMap<StateKey, State>,
        now: i64,
    ) -> Result<Judged, Fault> {
        let topic_id = self.topic_id(&assigned.topic, assigned.partition).await?;
        let from = start::judges_from(assigned, &topic_id);
        let is_gaps = *assigned.topic == *self.topics.gaps;
        let duty = if is_gaps { Duty::Sources } else { Duty::Ticks };
        let mut engine = Engine::new(rules, duty).for_partition(assigned.partition);
        for (key, state) in states {
            engine.restore(key.clone(), *state);
        }
        for item in self.news.kept().filter(|item| !(is_gaps && item.is_gap())) {
            engine.warm(item.place(), item.event());
        }
        let warms_from = if is_gaps {
            // Gaps are few, and one that opened long ago may be open still.
            assigned.log_start
        } else {
            let (kafka, looked_at, looks_back) = (self.kafka.clone(), assigned.clone(), engine.looks_back());
            let found =
                tokio::task::spawn_blocking(move || start::warms_from(&kafka, &looked_at, from, now, looks_back)).await;
            found.map_err(|error| Fault::Stop(error.into()))?.map_err(Fault::Outage)?
        };
        Ok(Judged {
            topic: assigned.topic.clone(),
            partition: assigned.partition,
            is_gaps,
            topic_id,
            engine,
            from,
            next: warms_from.min(from),
            committed: assigned.committed,
            at: i64::MIN,
        })
    }

    async fn take_news(&mut self) -> Result<(), Fault> {
        if let Some(rules) = self.rules.changed() {
            for judged in &mut self.partitions {
                judged.change_rules(rules.clone(), self.known_until, self.pending.more());
            }
        }
        let items = self.news.take().await.map_err(Fault::Outage)?;
        for item in &items {
            for judged in &mut self.partitions {
                judged.take_news(item, self.pending.more());
            }
        }
        Ok(())
    }

    async fn decode(&mut self, batches: &[PartitionBatch]) -> Result<Vec<Decoded>, Fault> {
        let mut decoded = Vec::with_capacity(batches.len());
        for batch in batches {
            let decoder = if *batch.topic == *self.topics.gaps { &mut self.gaps } else { &mut self.ticks };
            let done = decoder.decode(batch.records.values()).await;
            decoded.push(done.map_err(|error| Fault::Outage(error.into()))?);
        }
        Ok(decoded)
    }

    /// Lets the time pass, where that can be known; where not, prices go on being judged meanwhile.
    async fn let_time_pass(&mut self) -> Result<(), Fault> {
        if Instant::now() < self.ask_at {
            return Ok(());
        }
        let passed = self.pass_time().await;
        let is_unread = matches!(passed, Ok(false));
        self.ask_at = Instant::now() + if is_unread { ASK_AGAIN } else { ASK_TIME_EVERY };
        match passed {
            Ok(true) => {
                self.passed_at = Instant::now();
                self.health.set(TIME, Ok(()));
            }
            Ok(false) if self.passed_at.elapsed() < UNREAD => {}
            Ok(false) => {
                let [gaps, health] = [&self.topics.gaps, &self.topics.health];
                self.health.set(TIME, Err(format!("no timer runs: {gaps} and {health} are not read to their ends")));
            }
            Err(Fault::Outage(error)) => {
                self.health.set(TIME, Err(format!("no timer runs: {error:#}").replace('\n', " ")));
            }
            Err(stop @ Fault::Stop(_)) => return Err(stop),
        }
        Ok(())
    }

    /// Lets the time pass for every partition that is read to its end; false where it is not known what time allows.
    async fn pass_time(&mut self) -> Result<bool, Fault> {
        let now = self.clock.now().await.map_err(Fault::Outage)?;
        self.take_news().await?;
        if !self.news_is_read().await? {
            // A source that seems silent may have spoken there.
            return Ok(false);
        }
        self.known_until = self.known_until.max(now);
        let ranges = self.partitions.iter().map(|judged| self.topic_ids.log_range(&judged.topic, judged.partition));
        let ranges = join_all(ranges).await;
        let mut away = None;
        for (judged, range) in self.partitions.iter_mut().zip(ranges) {
            match range {
                Ok((_, end)) => judged.pass_at_end(end, now, self.pending.more()),
                Err(error) => away = Some(error),
            }
        }
        away.map_or(Ok(true), |error| Err(Fault::Outage(error)))
    }

    /// Commits what came of all that was judged, and how far that is.
    async fn settle(&mut self) -> Result<(), Fault> {
        self.find_out().await?;
        let has_moved = self.partitions.iter().any(Judged::has_moved);
        // Where judging began the first time is on record at once: a restart does not begin later.
        let is_new = self.partitions.iter().any(|judged| judged.committed.is_none());
        let is_due = !self.pending.is_empty() || is_new || (has_moved && self.committed_at.elapsed() >= COMMIT_EVERY);
        if !is_due {
            return Ok(());
        }
        let Some(member) = self.member.clone() else {
            return Err(Fault::Outage(anyhow!("the group has not said who this member is")));
        };
        let records = self.outgoing();
        let mark = Uuid::new_v4();
        let sent = self.pending.send(mark, self.offsets(mark).map_err(Fault::Stop)?);
        let offsets = sent.offsets.clone();
        let ended = self.transact(move |transactions| transactions.run(&records, &offsets, &member)).await;
        match ended.unwrap_or_else(|| Ended::Unknown(no_answer())) {
            Ended::Committed => {
                self.settled(&sent);
                Ok(())
            }
            Ended::Aborted(error) => Err(Fault::Outage(error)),
            Ended::Unknown(error) => {
                self.pending.lost_sight_of(sent);
                Err(Fault::Outage(error))
            }
        }
    }

    /// Finds out what became of the transaction that ended without an answer.
    async fn find_out(&mut self) -> Result<(), Fault> {
        let Some(sent) = self.pending.unsure().cloned() else { return Ok(()) };
        let (mark, offsets) = (sent.mark, sent.offsets.clone());
        let has_committed = self.transact(move |transactions| transactions.has_committed(&offsets, mark)).await;
        if has_committed.unwrap_or_else(|| Err(no_answer())).map_err(Fault::Outage)? {
            self.settled(&sent);
        } else {
            self.pending.aborted();
        }
        Ok(())
    }

    /// On a thread for what blocks. `None` when it does not come back in time: then its client is left to it, and the next has
    /// another id. What it may have begun the broker ends long before.
    async fn transact<T: Send + 'static>(
        &mut self,
        ask: impl FnOnce(&mut Transactions) -> T + Send + 'static,
    ) -> Option<T> {
        let mut transactions = self.transactions.take().unwrap_or_else(|| Transactions::new(&self.kafka, &self.group));
        let work = move || {
            let answer = ask(&mut transactions);
            (transactions, answer)
        };
        let (transactions, answer) = in_time(transactions::LONGEST, work).await?;
        self.transactions = Some(transactions);
        Some(answer)
    }

    /// All partitions', so that each transaction has some; the metadata names the topic's id and the transaction.
    fn offsets(&self, mark: Uuid) -> anyhow::Result<TopicPartitionList> {
        let mut offsets = TopicPartitionList::new();
        for judged in &self.partitions {
            let mut element = offsets.add_partition(&judged.topic, judged.partition);
            element.set_offset(Offset::Offset(judged.reached()))?;
            element.set_metadata(format!("{} {mark}", judged.topic_id));
        }
        Ok(offsets)
    }

    fn outgoing(&self) -> Vec<Outgoing> {
        let outcome = self.pending.outcome();
        let alerts = outcome.alerts.iter().map(|alert| Outgoing {
            topic: self.topics.alerts.clone(),
            key: alert.symbol.as_deref().or(alert.source.as_deref()).unwrap_or_default().as_bytes().to_vec(),
            value: Some(self.encoder.alert(alert)),
        });
        let states = outcome.states.iter().map(|(key, state)| Outgoing {
            topic: self.topics.state.clone(),
            key: serde_json::to_vec(key).expect("a key is JSON"),
            value: state.map(|state| serde_json::to_vec(&state).expect("a state is JSON")),
        });
        alerts.chain(states).collect()
    }

    fn settled(&mut self, sent: &Sent) {
        for element in sent.offsets.elements() {
            let mut judged = self.partitions.iter_mut();
            let judged = judged.find(|judged| judged.is_it(element.topic(), element.partition()));
            if let (Some(judged), Offset::Offset(offset)) = (judged, element.offset()) {
                judged.committed = Some(offset);
            }
        }
        self.pending.committed(sent).iter().for_each(tell);
        self.committed_at = Instant::now();
    }
}

/// What `work` gives, on a thread of its own, if it does within `patience`. A thread that does not end keeps nobody else from
/// ending.
async fn in_time<T: Send + 'static>(patience: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("transactions".to_owned()).spawn(move || drop(tell.send(work()))).ok()?;
    tokio::time::timeout(patience, told).await.ok()?.ok()
}

fn no_answer() -> anyhow::Error {
    anyhow!("the Kafka client has not come back from a transaction")
}

fn tell(alert: &Alert) {
    let (kind, state) = (alert.kind.as_str(), alert.state.as_str());
    tracing::info!(
        alert_id = %alert.alert_id, rule = alert.rule, kind, state, symbol = alert.symbol, source = alert.source,
        "alert: {}", alert.message
    );
    metrics::counter!("tickstream_alerts_total", "kind" => kind, "state" => state).increment(1);
}

#[async_trait]
impl Sink for AlertSink {
    const COMMITS: bool = true;

    fn joined(&mut self, member: ConsumerGroupMetadata) {
        self.member = Some(Arc::new(member));
    }

    async fn start(&mut self, assigned: &[Assigned]) -> Result<Vec<i64>, Fault> {
        self.partitions.clear();
        // Whatever became of what was under way: the states and offsets that are read now tell.
        self.pending.clear();
        self.last = Round::default();
        (self.ask_at, self.passed_at) = (Instant::now(), Instant::now());
        self.known_until = i64::MIN;
        for topic in [&self.topics.health, &self.topics.state, &self.topics.alerts] {
            self.topic_id(topic, 0).await?;
        }
        let now = self.catch_up().await?;
        let (kafka, topic) = (self.kafka.clone(), self.topics.state.clone());
        let states = tokio::task::spawn_blocking(move || state_log::read(&kafka, &topic)).await;
        let states = states.map_err(|error| Fault::Stop(error.into()))?.map_err(Fault::Outage)?;
        let rules = self.rules.now();
        let mut partitions = Vec::with_capacity(assigned.len());
        for one in assigned {
            partitions.push(self.open(one, rules.clone(), &states, now).await?);
        }
        self.partitions = partitions;
        Ok(self.partitions.iter().map(|judged| judged.next).collect())
    }

    async fn write(&mut self, batches: &[PartitionBatch]) -> Result<(Vec<Written>, Vec<DeadLetter>), Fault> {
        let these: Vec<_> = batches.iter().map(|batch| (batch.topic.clone(), batch.partition, batch.start)).collect();
        if self.last.batches != these {
            let begun = Instant::now();
            let decoded = self.decode(batches).await?;
            self.take_news().await?;
            let mut letters = Vec::new();
            for (batch, decoded) in batches.iter().zip(&decoded) {
                let mut judged = self.partitions.iter_mut();
                if let Some(judged) = judged.find(|judged| judged.is_it(&batch.topic, batch.partition)) {
                    letters.extend(judged.judge(batch, decoded, self.known_until, self.pending.more()));
                }
            }
            self.last = Round { batches: these, letters };
            metrics::histogram!("tickstream_alerts_judge_seconds").record(begun.elapsed());
        }
        let written = batches.iter().map(|batch| Written {
            topic: batch.topic.clone(),
            partition: batch.partition,
            commit: batch.next_offset,
            metadata: String::new(),
            resume_at: batch.next_offset,
        });
        Ok((written.collect(), self.last.letters.clone()))
    }

    async fn commit(&mut self, _written: &[Written]) -> Result<(), Fault> {
        // What prices brought about does not wait for what time may bring about.
        self.settle().await?;
        // While ticks come all the time nobody is idle, and time passes elsewhere too.
        self.let_time_pass().await?;
        self.settle().await
    }

    async fn idle(&mut self) -> Result<(), Fault> {
        self.settle().await?;
        self.take_news().await?;
        self.let_time_pass().await?;
        self.settle().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_does_not_come_back_is_not_waited_for() {
        assert_eq!(in_time(Duration::from_secs(60), || 7).await, Some(7));
        let (never, told) = std::sync::mpsc::channel::<()>();
        assert!(in_time(Duration::from_millis(20), move || told.recv()).await.is_none());
        drop(never);
    }
}
