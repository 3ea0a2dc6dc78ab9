//! The loop on its own thread: polls, gathers, hands batches over, commits. It never waits for the sink: while a write is
//! under way it goes on gathering, and pauses its partitions when too much is held.

mod drain;
mod event;
mod hand_over;
mod lag;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::around::{Answer, Command};
use super::context::{LoopContext, Rebalance, Shared};
use super::partition::{Limits, Partition};
use super::until::Ends;
use super::{Assigned, ConsumeConfig, Written};
use crate::admin::Health;
use crate::headers::ClientHeaders;
use crate::records::Record;
use event::{Event, next_event};
pub(super) use hand_over::Handing;

/// Well below any retention: so long may offsets that are never delivered stand behind everything that is written.
const UNDELIVERED: Duration = Duration::from_secs(3600);
const POLL: Duration = Duration::from_millis(20);
/// How long after a refused commit it is sent again.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);
/// Records polled before the loop looks at anything else.
const RECORDS_A_TURN: usize = 1000;

pub(super) struct PollLoop<'c> {
    config: ConsumeConfig,
    handing: Handing,
    limits: Limits,
    consumer: &'c BaseConsumer<LoopContext>,
    ends: Ends,
    shared: Arc<Shared>,
    health: Health,
    to_sink: UnboundedSender<Command>,
    answers: Receiver<Answer>,
    shutdown: CancellationToken,
    /// What the group gave this member; nothing while it has not said.
    assignment: Option<Vec<(String, i32)>>,
    /// Filled once the sink has said where to start.
    partitions: Vec<Partition>,
    /// The one that they were filled in.
    generation: u64,
    /// The partition of the last record: records come in runs.
    last: usize,
    /// The sink has been asked where to start, or must be, at this time.
    start_at: Option<Instant>,
    /// The generation for which a sink that commits was asked to end what it does, and whether it has.
    fence: Option<(u64, bool)>,
    /// What the client holds back; it forgets that over no assignment.
    paused: Option<TopicPartitionList>,
    broker_trouble: bool,
    /// Commits that were refused are tried again at this time.
    commit_again_at: Option<Instant>,
    last_record: Instant,
    last_idle: Instant,
    last_look: Instant,
}

impl<'c> PollLoop<'c> {
    pub fn new(
        (config, ends): (ConsumeConfig, Ends),
        handing: Handing,
        consumer: &'c BaseConsumer<LoopContext>,
        shared: Arc<Shared>,
        health: Health,
        (to_sink, answers): (UnboundedSender<Command>, Receiver<Answer>),
        shutdown: CancellationToken,
    ) -> Self {
        let limits = Limits {
            rows: config.max_rows,
            bytes: config.max_bytes,
            age: config.max_age,
            span: config.max_span,
            undelivered: UNDELIVERED,
        };
        let now = Instant::now();
        health.set("assignment", Err("waiting for partitions".to_owned()));
        Self {
            config,
            handing,
            limits,
            consumer,
            ends,
            shared,
            health,
            to_sink,
            answers,
            shutdown,
            assignment: None,
            partitions: Vec::new(),
            generation: 0,
            last: 0,
            start_at: None,
            fence: None,
            paused: None,
            broker_trouble: false,
            commit_again_at: None,
            last_record: now,
            last_idle: now,
            last_look: now,
        }
    }

    pub fn run(mut self) -> anyhow::Result<()> {
        while !self.shutdown.is_cancelled() {
            self.health.beat();
            self.take_up_rebalance();
            self.take_answers()?;
            if self.is_caught_up() {
                break;
            }
            self.ask_for_start();
            self.poll()?;
            self.hand_over(self.is_started() && self.partitions.iter().all(Partition::is_read));
            self.look_around();
        }
        self.drain()?;
        self.tell_caught_up()
    }

    /// The group has said what this member reads, and the sink where.
    fn is_started(&self) -> bool {
        self.assignment.as_ref().is_some_and(|assignment| assignment.len() == self.partitions.len())
    }

    /// A bounded run is at its end.
    fn is_caught_up(&self) -> bool {
        self.ends.is_bounded() && self.is_started() && self.partitions.iter().all(Partition::is_caught_up)
    }

    /// The line that ends a bounded run.
    fn tell_caught_up(&self) -> anyhow::Result<()> {
        if self.ends.is_bounded() {
            let (records, dead_letters) = self.shared.counts();
            ensure!(self.is_caught_up(), "stopped before it had caught up: {records} records were written");
            let partitions = self.partitions.len();
            tracing::info!(
                records,
                dead_letters,
                partitions,
                "caught up: {records} records of {partitions} partitions written, {dead_letters} of them dead letters"
            );
        }
        Ok(())
    }

    /// A rebalance outdates everything: what was gathered is dropped, the new owner reads it again.
    fn take_up_rebalance(&mut self) {
        let Some(rebalance) = self.shared.take_rebalanced() else { return };
        self.give_up();
        self.last = 0;
        self.start_at = None;
        self.assignment = match rebalance {
            Rebalance::TakenBack => {
                tracing::info!("all partitions are given back");
                None
            }
            Rebalance::Given(assignment) => {
                tracing::info!(partitions = assignment.len(), ?assignment, "assigned");
                self.start_at = (!assignment.is_empty()).then(Instant::now);
                Some(assignment)
            }
        };
        let finding = self.start_at.map_or(Ok(()), |_| Err("finding where to start".to_owned()));
        self.health.set("assignment", finding);
    }

    /// The partitions are another member's, and so is what they lag behind.
    fn give_up(&mut self) {
        self.forget_lag();
        self.partitions.clear();
    }

    /// Asks the sink where to start, once the broker has said what is committed and what the log holds.
    fn ask_for_start(&mut self) {
        if self.start_at.is_none_or(|at| at > Instant::now()) || !self.is_fenced() {
            return;
        }
        match self.look_up_assigned() {
            Ok(assigned) => {
                let generation = self.shared.generation();
                self.start_at = None;
                // Asked on this thread, before the next poll: a later rebalance outdates the generation too.
                let member = self.consumer.group_metadata();
                self.send(Command::Start { generation, assigned, member });
            }
            Err(error) => {
                self.broker_trouble(format!("{error:#}"));
                self.start_at = Some(Instant::now() + Duration::from_secs(1));
            }
        }
    }

    /// Whether nothing is under way that could commit after it is looked up what is committed. Asks a sink that commits.
    fn is_fenced(&mut self) -> bool {
        let current = self.shared.generation();
        match self.fence {
            _ if !self.sink_commits() => true,
            Some((generation, is_over)) if generation == current => is_over,
            Some(_) | None => {
                self.fence = Some((current, false));
                self.send(Command::Fence { generation: current });
                false
            }
        }
    }

    fn sink_commits(&self) -> bool {
        self.handing == (Handing::Rounds { sink_commits: true })
    }

    fn look_up_assigned(&self) -> anyhow::Result<Vec<Assigned>> {
        let timeout = Duration::from_secs(10);
        let mut list = TopicPartitionList::new();
        for (topic, partition) in self.assignment.iter().flatten() {
            list.add_partition(topic, *partition);
        }
        let committed = self.consumer.committed_offsets(list, timeout).context("reading committed offsets")?;
        let mut assigned = Vec::with_capacity(committed.count());
        for element in committed.elements() {
            element.error().with_context(|| format!("committed offset of {}", element.topic()))?;
            let (log_start, log_end) = self
                .consumer
                .fetch_watermarks(element.topic(), element.partition(), timeout)
                .with_context(|| format!("reading the ends of {}[{}]", element.topic(), element.partition()))?;
            assigned.push(Assigned {
                topic: element.topic().into(),
                partition: element.partition(),
                committed: match element.offset() {
                    Offset::Offset(offset) => Some(offset),
                    Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => None,
                },
                metadata: element.metadata().to_owned(),
                log_start,
                log_end,
            });
        }
        Ok(assigned)
    }

    fn send(&self, command: Command) {
        // The task ends only with the loop; if it panicked, the next look at the answers says so.
        drop(self.to_sink.send(command));
    }

    fn take_answers(&mut self) -> anyhow::Result<()> {
        loop {
            match self.answers.try_recv() {
                Ok(answer) => self.take_answer(answer)?,
                Err(TryRecvError::Empty) => return self.commit_written(),
                Err(TryRecvError::Disconnected) => bail!("the sink task ended; its panic is in the log above"),
            }
        }
    }

    fn take_answer(&mut self, answer: Answer) -> anyhow::Result<()> {
        let current = self.shared.generation();
        match answer {
            Answer::Started { generation, assigned, starts, commits } if generation == current => {
                self.generation = generation;
                self.assign(&assigned, &starts)?;
                for ((held, given), metadata) in self.partitions.iter_mut().zip(&assigned).zip(&commits) {
                    if let Some(metadata) = metadata {
                        held.started_durable(metadata, given.committed);
                    }
                }
            }
            Answer::Written { generation, written } if generation == current => self.take_written(&written),
            Answer::Fenced { generation } if generation == current => self.fence = Some((generation, true)),
            Answer::Started { .. } | Answer::Written { .. } | Answer::Fenced { .. } => {}
            Answer::Stopped(error) => return Err(error),
        }
        Ok(())
    }

    /// Commits what became durable since the last time, and again what was refused a while ago.
    fn commit_written(&mut self) -> anyhow::Result<()> {
        if self.shared.take_refused_commit() {
            self.commit_again_at.get_or_insert_with(|| Instant::now() + COMMIT_AGAIN);
        }
        if self.commit_again_at.is_some_and(|at| at <= Instant::now()) {
            self.commit_again_at = None;
            self.partitions.iter_mut().for_each(Partition::commit_again);
        }
        let mut list = TopicPartitionList::new();
        for held in &mut self.partitions {
            let (topic, partition) = (held.topic.clone(), held.partition);
            add_commit(&mut list, &topic, partition, held.take_commit())?;
        }
        self.commit(&list, CommitMode::Async);
        Ok(())
    }

    fn assign(&mut self, assigned: &[Assigned], starts: &[i64]) -> anyhow::Result<()> {
        anyhow::ensure!(assigned.len() == starts.len(), "a sink gives one start a partition");
        let mut list = TopicPartitionList::new();
        self.partitions.clear();
        for (partition, start) in assigned.iter().zip(starts) {
            list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(*start))?;
            let until = self.ends.end_of(&partition.topic, partition.partition, partition.log_end);
            let held = Partition::new(partition.topic.clone(), partition.partition, *start, partition.log_end);
            self.partitions.push(held.until(until));
            tracing::info!(
                topic = %partition.topic, partition = partition.partition, start, committed = partition.committed,
                log_end = partition.log_end, "starting {}[{}] at {start}", partition.topic, partition.partition
            );
        }
        // Before the assignment, and only where there is a pause: a resume outdates a start of fetching that is under way, which
        // is then waited for without end.
        self.resume()?;
        self.consumer.assign(&list).context("assign")?;
        self.last_record = Instant::now();
        self.tell_lag();
        self.health.set("assignment", Ok(()));
        self.health.set("broker", Ok(()));
        Ok(())
    }

    fn take_written(&mut self, written: &[Written]) {
        for done in written {
            let held =
                self.partitions.iter_mut().find(|held| held.partition == done.partition && held.topic == done.topic);
            let Some(held) = held else { continue };
            let elsewhere = held.written(done.commit, &done.metadata, done.resume_at);
            if elsewhere {
                tracing::info!(topic = %done.topic, partition = done.partition, offset = done.resume_at, "going on elsewhere");
                let seek = self.consumer.seek(
                    &done.topic,
                    done.partition,
                    Offset::Offset(done.resume_at),
                    Duration::from_secs(5),
                );
                if let Err(error) = seek {
                    self.broker_trouble(format!("seek in {}: {error}", done.topic));
                    self.restart();
                    return;
                }
            }
        }
    }

    fn commit(&self, commits: &TopicPartitionList, mode: CommitMode) {
        if commits.count() == 0 || self.sink_commits() {
            return;
        }
        if let Err(error) = self.consumer.commit(commits, mode) {
            self.shared.commit_refused(&error.to_string());
        }
    }

    /// Finds anew where to start: what is held is dropped.
    fn restart(&mut self) {
        self.shared.next_generation();
        self.partitions.clear();
        if let Err(error) = self.consumer.assign(&TopicPartitionList::new()) {
            tracing::warn!(%error, "cannot stop fetching");
        }
        self.start_at = Some(Instant::now() + Duration::from_secs(1));
    }

    fn poll(&mut self) -> anyhow::Result<()> {
        let consumer = self.consumer;
        let held: usize = self.partitions.iter().map(Partition::held_bytes).sum();
        self.pause_or_resume(held)?;
        let mut wait = POLL;
        for _ in 0..RECORDS_A_TURN {
            match next_event(consumer, wait) {
                Event::Nothing => break,
                Event::Record(message) => {
                    self.gather(&message);
                    if self.broker_trouble {
                        self.broker_works();
                    }
                }
                Event::EndOfPartition(partition) => self.reached_end(partition)?,
                Event::OutOfRange(reason) => {
                    tracing::warn!(reason, "a position is not in the log: finding anew where to start");
                    self.restart();
                    break;
                }
                Event::Trouble(reason) => self.broker_trouble(reason),
                Event::Fatal(error) => return Err(error).context("the Kafka client cannot go on"),
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    fn gather(&mut self, message: &BorrowedMessage<'_>) {
        let (topic, partition) = (message.topic(), message.partition());
        let is_it = |held: &Partition| held.partition == partition && *held.topic == *topic;
        if !self.partitions.get(self.last).is_some_and(is_it) {
            // A record of a partition that is not held was fetched before a rebalance: its owner reads it.
            let Some(index) = self.partitions.iter().position(is_it) else { return };
            self.last = index;
        }
        let record = Record {
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
            key: message.key(),
            value: message.payload(),
        };
        self.partitions[self.last].push(record, ClientHeaders::of(message), &self.limits);
        self.last_record = Instant::now();
    }

    /// Reading has come to an end: the client's position tells how far, over offsets that were never delivered. The event
    /// names a partition number without its topic, so all topics' partitions of that number are asked.
    fn reached_end(&mut self, partition: i32) -> anyhow::Result<()> {
        let positions = self.consumer.position().context("asking for positions")?;
        for element in positions.elements().iter().filter(|element| element.partition() == partition) {
            let Offset::Offset(position) = element.offset() else { continue };
            let held =
                self.partitions.iter_mut().find(|held| held.partition == partition && *held.topic == *element.topic());
            if let Some(held) = held {
                held.reached(position, &self.limits);
            }
        }
        self.last_record = Instant::now();
        if self.broker_trouble {
            self.broker_works();
        }
        Ok(())
    }

    fn pause_or_resume(&mut self, held: usize) -> anyhow::Result<()> {
        let too_much = held > self.config.buffer_bytes && self.partitions.iter().any(|held| held.handed_over() > 0);
        if too_much && self.paused.is_none() {
            // A short wait for the sink is cheaper than a pause, which throws away what was fetched ahead.
            if let Ok(answer) = self.answers.recv_timeout(Duration::from_secs(1)) {
                self.take_answer(answer)?;
                return self.commit_written();
            }
            let list = self.held_list();
            self.consumer.pause(&list).context("pause")?;
            self.paused = Some(list);
            metrics::counter!("tickstream_consumer_pauses_total").increment(1);
        } else if self.paused.is_some() && !too_much {
            self.resume()?;
            self.last_record = Instant::now();
        }
        Ok(())
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        self.paused.take().map_or(Ok(()), |list| self.consumer.resume(&list)).context("resume")
    }

    fn held_list(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for held in &self.partitions {
            list.add_partition(&held.topic, held.partition);
        }
        list
    }

    fn broker_trouble(&mut self, reason: String) {
        self.broker_trouble = true;
        self.health.set("broker", Err(reason));
    }

    fn broker_works(&mut self) {
        self.broker_trouble = false;
        self.health.set("broker", Ok(()));
    }
}

fn add_commit(
    list: &mut TopicPartitionList,
    topic: &str,
    partition: i32,
    commit: Option<(i64, &str)>,
) -> anyhow::Result<()> {
    let Some((offset, metadata)) = commit else { return Ok(()) };
    let mut element = list.add_partition(topic, partition);
    element.set_offset(Offset::Offset(offset))?;
    element.set_metadata(metadata);
    Ok(())
}
