//! Between the consume loop and the engines: one engine a ticks partition, one for open gaps and lost producers at the
//! partition of gaps. Records below the first to judge warm an engine, the others are judged; what comes of them is kept
//! until the transaction that holds it is committed. A batch that comes again after an outage is not judged twice.
//!
//! Time: a partition's time is that of the last record judged there; where everything is read, it is the broker's, asked
//! every ten seconds. The broker's is asked first and the partition's end after it: what is at its end then has judged
//! everything from before that time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use async_trait::async_trait;
use pipeline::codec::{Encoder, RecordType};
use pipeline::consume::{Assigned, DeadLetter, Fault, PartitionBatch, Sink, Written};
use pipeline::decode::{Decoded, Decoder, Gaps, Ticks};
use pipeline::events::Alert;
use pipeline::kafka::KafkaArgs;
use pipeline::topic_id::TopicIds;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::watch;
use uuid::Uuid;

use super::clock::BrokerClock;
use super::config::{RunArgs, Topics};
use super::news::News;
use super::transactions::{Ended, Outgoing, Transactions};
use super::{start, state_log};
use crate::engine::{Duty, Engine, Event, Outcome, Place, State, StateKey, Tick};
use crate::rules::Rules;

/// Offsets alone are not worth a transaction more often: what is judged again and says nothing costs nothing.
const COMMIT_EVERY: Duration = Duration::from_secs(5);
const ASK_TIME_EVERY: Duration = Duration::from_secs(10);

pub struct AlertSink {
    kafka: KafkaArgs,
    topics: Topics,
    rules: watch::Receiver<Rules>,
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
    /// What is not committed yet.
    outcome: Outcome,
    /// The mark of the transaction whose end is not known.
    mark: Option<Uuid>,
    /// The last round of batches.
    last: Round,
    committed_at: Instant,
    asked_at: Option<Instant>,
}

/// A round of batches that was judged.
#[derive(Default)]
struct Round {
    /// Topic, partition and start of each.
    batches: Vec<(Arc<str>, i32, i64)>,
    letters: Vec<DeadLetter>,
}

/// One assigned partition.
struct Judged {
    topic: Arc<str>,
    partition: i32,
    topic_id: String,
    engine: Engine,
    /// The first record that is judged.
    from: i64,
    /// Where reading goes on.
    next: i64,
    /// What the group's commit says, as far as it is known.
    committed: Option<i64>,
    /// Broker time of the last record, microseconds.
    at: i64,
}

impl Judged {
    fn reached(&self) -> i64 {
        self.next.max(self.from)
    }

    fn has_moved(&self) -> bool {
        self.committed != Some(self.reached())
    }
}

impl AlertSink {
    /// # Errors
    /// When a client's settings are refused.
    pub async fn new(args: &RunArgs, rules: watch::Receiver<Rules>) -> anyhow::Result<Self> {
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
            outcome: Outcome::default(),
            mark: None,
            last: Round::default(),
            committed_at: Instant::now(),
            asked_at: None,
        })
    }

    fn is_gaps(&self, topic: &str) -> bool {
        topic == self.topics.gaps
    }

    async fn topic_id(&self, topic: &str, partition: i32) -> Result<String, Fault> {
        Ok(self.topic_ids.topic_id(topic, partition).await?.to_string())
    }

    async fn open(
        &mut self,
        assigned: &Assigned,
        states: &HashMap<StateKey, State>,
        now: i64,
    ) -> Result<Judged, Fault> {
        let topic_id = self.topic_id(&assigned.topic, assigned.partition).await?;
        let from = start::judges_from(assigned, &topic_id);
        let rules = self.rules.borrow_and_update().clone();
        let is_gaps = self.is_gaps(&assigned.topic);
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
            topic_id,
            engine,
            from,
            next: warms_from.min(from),
            committed: assigned.committed,
            at: i64::MIN,
        })
    }

    async fn take_news(&mut self) -> Result<(), Fault> {
        if self.rules.has_changed().unwrap_or(false) {
            let rules = self.rules.borrow_and_update().clone();
            for judged in &mut self.partitions {
                judged.engine.change_rules(rules.clone());
            }
        }
        let items = self.news.take().await.map_err(Fault::Outage)?;
        let gaps_topic = &self.topics.gaps;
        for item in &items {
            for judged in &mut self.partitions {
                // Gaps come to the partition of gaps as what it is there for.
                if item.is_gap() && *judged.topic == **gaps_topic {
                    continue;
                }
                if judged.next < judged.from {
                    judged.engine.warm(item.place(), item.event());
                } else {
                    judged.engine.take(item.place(), item.event(), &mut self.outcome);
                }
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

    /// Judges one batch. Gives the bad records among those that are judged.
    fn judge(&mut self, batch: &PartitionBatch, decoded: &Decoded) -> Vec<DeadLetter> {
        let is_gaps = self.is_gaps(&batch.topic);
        let Some(judged) =
            self.partitions.iter_mut().find(|it| it.partition == batch.partition && it.topic == batch.topic)
        else {
            return Vec::new();
        };
        let (offsets, times) = (batch.records.offsets(), batch.records.timestamps_ms());
        let (ticks, gaps) = match is_gaps {
            true => (None, Some(Gaps::new(&decoded.batch))),
            false => (Some(Ticks::new(&decoded.batch)), None),
        };
        for (row, record) in decoded.rows.iter().enumerate() {
            let offset = offsets.value(*record as usize);
            let at = times.value(*record as usize).saturating_mul(1000);
            let place = Place { topic: &batch.topic, partition: batch.partition, offset, at };
            let gap = gaps.as_ref().map(|gaps| gaps.get(row));
            let event = match (&ticks, &gap) {
                (Some(ticks), _) => Event::Tick(Tick::of(ticks, row)),
                (None, Some(gap)) => Event::Gap(gap),
                (None, None) => continue,
            };
            if offset < judged.from {
                judged.engine.warm(place, event);
            } else {
                judged.engine.take(place, event, &mut self.outcome);
            }
            judged.at = judged.at.max(at);
        }
        judged.next = batch.next_offset;
        if judged.next > judged.from && judged.at > i64::MIN {
            let place =
                Place { topic: &batch.topic, partition: batch.partition, offset: judged.next - 1, at: judged.at };
            judged.engine.take(place, Event::Clock, &mut self.outcome);
        }
        let bad = decoded.bad.iter().map(|(record, reason)| (offsets.value(*record as usize), reason));
        bad.filter(|(offset, _)| *offset >= judged.from)
            .map(|(offset, reason)| DeadLetter {
                topic: batch.topic.to_string(),
                partition: batch.partition,
                offset,
                reason: reason.clone(),
            })
            .collect()
    }

    /// Lets the time pass for every partition that is read to its end.
    async fn pass_time(&mut self) -> Result<(), Fault> {
        if self.asked_at.is_some_and(|at| at.elapsed() < ASK_TIME_EVERY) {
            return Ok(());
        }
        let now = self.clock.now().await.map_err(Fault::Outage)?;
        self.take_news().await?;
        for (topic, partition, reached) in self.news.reached() {
            let (start, end) = self.topic_ids.log_range(topic, partition).await.map_err(Fault::Outage)?;
            if start < end && reached < end {
                // A source that seems silent may have spoken there.
                return Ok(());
            }
        }
        for judged in &mut self.partitions {
            let range = self.topic_ids.log_range(&judged.topic, judged.partition).await;
            let (_, end) = range.map_err(Fault::Outage)?;
            if judged.next >= end && judged.next >= judged.from {
                let offset = judged.next - 1;
                let place = Place { topic: &judged.topic, partition: judged.partition, offset, at: now };
                judged.engine.take(place, Event::Clock, &mut self.outcome);
            }
        }
        self.asked_at = Some(Instant::now());
        Ok(())
    }

    /// Commits what came of all that was judged, and how far that is.
    async fn settle(&mut self) -> Result<(), Fault> {
        let has_moved = self.partitions.iter().any(Judged::has_moved);
        // Where judging began the first time is on record at once: a restart does not begin later.
        let is_new = self.partitions.iter().any(|judged| judged.committed.is_none());
        let is_due = !self.outcome.is_empty() || is_new || (has_moved && self.committed_at.elapsed() >= COMMIT_EVERY);
        if !is_due {
            return Ok(());
        }
        let Some(member) = self.member.clone() else {
            return Err(Fault::Outage(anyhow!("the group has not said who this member is")));
        };
        let records = self.outgoing();
        // A mark of its own, by which it is known again when its answer is lost.
        let unsure_of = self.mark;
        let mark = Uuid::new_v4();
        let offsets = self.offsets(mark).map_err(Fault::Stop)?;
        let mut transactions = self.transactions.take().unwrap_or_else(|| Transactions::new(&self.kafka, &self.group));
        let sent = offsets.clone();
        let run = tokio::task::spawn_blocking(move || {
            let (ended, mark) = match unsure_of.map(|mark| (mark, transactions.has_committed(&sent, mark))) {
                None | Some((_, Ok(false))) => (transactions.run(&records, &sent, &member), mark),
                Some((unsure_of, Ok(true))) => (Ended::Committed, unsure_of),
                Some((unsure_of, Err(error))) => (Ended::Unknown(error), unsure_of),
            };
            (transactions, ended, mark)
        });
        let (transactions, ended, mark) = run.await.map_err(|error| Fault::Stop(error.into()))?;
        self.transactions = Some(transactions);
        match ended {
            Ended::Committed => {
                self.mark = None;
                self.settled(&offsets);
                Ok(())
            }
            Ended::Aborted(error) => {
                self.mark = None;
                Err(Fault::Outage(error))
            }
            Ended::Unknown(error) => {
                self.mark = Some(mark);
                Err(Fault::Outage(error))
            }
        }
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
        let alerts = self.outcome.alerts.iter().map(|alert| Outgoing {
            topic: self.topics.alerts.clone(),
            key: alert.symbol.as_deref().or(alert.source.as_deref()).unwrap_or_default().as_bytes().to_vec(),
            value: Some(self.encoder.alert(alert)),
        });
        let states = self.outcome.states.iter().map(|(key, state)| Outgoing {
            topic: self.topics.state.clone(),
            key: serde_json::to_vec(key).expect("a key is JSON"),
            value: state.map(|state| serde_json::to_vec(&state).expect("a state is JSON")),
        });
        alerts.chain(states).collect()
    }

    fn settled(&mut self, offsets: &TopicPartitionList) {
        for element in offsets.elements() {
            let judged = self.partitions.iter_mut();
            let mut of = judged.filter(|it| it.partition == element.partition() && *it.topic == *element.topic());
            if let (Some(judged), Offset::Offset(offset)) = (of.next(), element.offset()) {
                judged.committed = Some(offset);
            }
        }
        for alert in &self.outcome.alerts {
            tell(alert);
        }
        self.outcome.clear();
        self.committed_at = Instant::now();
    }
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
        self.outcome.clear();
        self.last = Round::default();
        // Whatever became of what was under way: the states and offsets that are read now tell.
        self.mark = None;
        self.asked_at = None;
        self.news.catch_up().await.map_err(Fault::Outage)?;
        self.news.take().await.map_err(Fault::Outage)?;
        let now = self.clock.now().await.map_err(Fault::Outage)?;
        let (kafka, topic) = (self.kafka.clone(), self.topics.state.clone());
        let states = tokio::task::spawn_blocking(move || state_log::read(&kafka, &topic)).await;
        let states = states.map_err(|error| Fault::Stop(error.into()))?.map_err(Fault::Outage)?;
        let mut partitions = Vec::with_capacity(assigned.len());
        for one in assigned {
            partitions.push(self.open(one, &states, now).await?);
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
            let letters =
                batches.iter().zip(&decoded).flat_map(|(batch, decoded)| self.judge(batch, decoded)).collect();
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
        // While ticks come all the time nobody is idle, and time passes elsewhere too.
        self.pass_time().await?;
        self.settle().await
    }

    async fn idle(&mut self) -> Result<(), Fault> {
        self.take_news().await?;
        self.pass_time().await?;
        self.settle().await
    }
}
