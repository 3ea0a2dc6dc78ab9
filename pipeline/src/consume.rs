//! The consume loop and where it gives records: to a [`Sink`], all partitions in one call and one call at a time, or to the
//! [`Lanes`] of partitions that do not wait for each other. A thread of its own polls the client and gathers records a
//! partition; a task gives finished batches on while the next ones are gathered.
//!
//! Invariants:
//! - An offset is committed only after the sink has said that everything below it is durable, and only by the member that
//!   still owns the partition; a sink that commits itself ([`Sink::COMMITS`]) makes both one transaction of the broker.
//! - Batches of a partition meet end to end (see `partition.rs`) and are written in order, one at a time: of two that were
//!   handed over, the second is prepared while the first is written, and its write begins when the first is done.
//! - What was gathered and not yet written is dropped at a rebalance: whoever owns the partition next starts where the sink
//!   says. The rebalance callback does no I/O and waits for nothing.
//! - A bad record becomes a dead letter, sent before the commit that passes it. An outage pauses: the same batch is tried
//!   again with back-off, readiness says why, nothing is skipped.
//!
//! Crash points: before the write (nothing durable, read again); after the write, before the dead letters or the commit (read
//! again, so a sink is idempotent and a dead letter may be sent twice); after the commit (nothing to do).

mod around;
mod context;
mod lanes;
mod partition;
mod poll_loop;
mod sink_task;
mod until;

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

pub use crate::dead_letter::DeadLetter;
pub use context::Wanted;
pub use lanes::{Lane, Lanes, OpenLane};
pub use until::Until;

use crate::admin::Health;
use crate::dead_letter::DeadLetters;
use crate::kafka::KafkaArgs;
use crate::records::Records;
use crate::telemetry::misconfigured;
use crate::topic_id::{TopicIdError, TopicIds};
use around::{Answer, Around, Command};
use context::LoopContext;
use poll_loop::Handing;
use until::Ends;

/// Records of one partition, ready to be written.
#[derive(Clone, Debug)]
pub struct PartitionBatch {
    pub topic: Arc<str>,
    pub partition: i32,
    /// `next_offset` of the batch before, or where the sink started.
    pub start: i64,
    /// At least the last offset + 1; moves over offsets that are never delivered (transaction markers, aborted records).
    pub next_offset: i64,
    /// May be empty where a long run of undelivered offsets is carried.
    pub records: Records,
}

/// A partition that this member has just been given.
#[derive(Clone, Debug)]
pub struct Assigned {
    pub topic: Arc<str>,
    pub partition: i32,
    /// The group's committed offset, and the metadata it was committed with.
    pub committed: Option<i64>,
    pub metadata: String,
    pub log_start: i64,
    /// The last stable offset: what a read-committed consumer can reach.
    pub log_end: i64,
}

/// What a sink says of one batch it has written.
#[derive(Clone, Debug)]
pub struct Written {
    pub topic: Arc<str>,
    pub partition: i32,
    /// Everything below is durable: the offset to commit.
    pub commit: i64,
    /// Committed with the offset.
    pub metadata: String,
    /// The batch's `next_offset`; or another offset, and then what was gathered is dropped and the loop goes on there.
    pub resume_at: i64,
}

/// Why a sink could not do what it was asked.
#[derive(Debug)]
pub enum Fault {
    /// The world is at fault and may mend itself: the same call is made again after a pause.
    Outage(anyhow::Error),
    /// Going on would break a promise, or needs a person: the consumer ends with this message.
    Stop(anyhow::Error),
}

/// A topic that is not there needs a person; a broker that does not say so may yet.
impl From<TopicIdError> for Fault {
    fn from(error: TopicIdError) -> Self {
        match error {
            TopicIdError::Outage { .. } => Self::Outage(error.into()),
            TopicIdError::UnknownTopic(_) => {
                Self::Stop(misconfigured(format!("{error}; `tickstream topics apply` creates the declared topics")))
            }
        }
    }
}

/// Where records go, all partitions together. The loop calls one method at a time.
#[async_trait]
pub trait Sink: Send + 'static {
    /// Whether the sink commits offsets itself, in one Kafka transaction with what it writes. The loop commits none then.
    const COMMITS: bool = false;

    /// The membership under which the partitions of the next [`Sink::start`] were given: what a sink that commits needs, so
    /// that the broker refuses the commit of a member that has lost them. Called before each start.
    fn joined(&mut self, _member: ConsumerGroupMetadata) {}

    /// Given before each call of the others: a sink whose one call does many things that cannot be taken back looks at it
    /// between them, and ends with an outage when it is not wanted any more.
    fn asked(&mut self, _wanted: Wanted) {}

    /// The first offset to read of each assigned partition, in the same order. Called after each rebalance, and again when
    /// the broker says that an offset is out of range.
    async fn start(&mut self, assigned: &[Assigned]) -> Result<Vec<i64>, Fault>;

    /// The metadata to commit a start with, asked after each [`Sink::start`]: a sink that finds everything below the start
    /// durable brings a commit that lags behind up to it, though no new record may come. `None`: the commit stays.
    fn commit_start(&self, _assigned: &Assigned) -> Option<String> {
        None
    }

    /// Makes the batches durable: at most one a partition, in order. After an outage it is called with the same batches.
    async fn write(&mut self, batches: &[PartitionBatch]) -> Result<(Vec<Written>, Vec<DeadLetter>), Fault>;

    /// Called after each write, once its dead letters are with the broker: where a sink that commits does so. After an
    /// outage, [`Sink::write`] is called again with the same batches, whose letters are not sent again, and then this.
    async fn commit(&mut self, _written: &[Written]) -> Result<(), Fault> {
        Ok(())
    }

    /// Called every [`ConsumeConfig::idle_every`] while nothing is to be written.
    async fn idle(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}

#[derive(Clone, Debug)]
pub struct ConsumeConfig {
    pub topics: Vec<String>,
    pub group: String,
    /// A batch is cut at so many records, …
    pub max_rows: usize,
    /// … so many bytes, …
    pub max_bytes: usize,
    /// … or when its first record has waited this long.
    pub max_age: Duration,
    /// One due partition flushes all (a transaction a round), not only itself. For a [`Sink`].
    pub together: bool,
    /// The most offsets that a batch may span; `None` for a sink that does not care.
    pub max_span: Option<i64>,
    /// While more is gathered than this, the largest buffer goes first, or partitions are paused when no more can be handed
    /// over. [`Lanes`] are given as much again at a time, over all partitions.
    pub buffer_bytes: usize,
    /// How often [`Sink::idle`] or [`Lane::idle`] is called.
    pub idle_every: Duration,
    /// Whether nearly everything being bad stops the consumer. Not for a sink that keeps the bytes all the same.
    pub stop_when_bad: bool,
    /// How long a shutdown may take to write and commit what was gathered.
    pub drain: Duration,
    /// When it ends.
    pub until: Until,
}

/// How long the last commit may take.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);

/// Consumes until `shutdown`, then writes and commits what was gathered, within [`ConsumeConfig::drain`]. With
/// [`Until::CaughtUp`] it ends by itself, and logs one line of counts.
///
/// # Errors
/// [`crate::Misconfigured`] when no broker answers at the start or a topic does not exist; the sink's own message when it
/// stops; a fatal client error; a shutdown before a bounded run has caught up.
pub async fn consume<S: Sink>(
    config: ConsumeConfig,
    kafka: &KafkaArgs,
    sink: S,
    health: Health,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let task = |around, commands, answers| sink_task::SinkTask { sink, around }.run(commands, answers);
    drive(config, kafka, Handing::Rounds { sink_commits: S::COMMITS }, task, health, shutdown).await
}

/// As [`consume`], for partitions that do not wait for each other.
///
/// # Errors
/// As [`consume`]; a lane's own message when it stops.
pub async fn consume_in_lanes(
    config: ConsumeConfig,
    kafka: &KafkaArgs,
    lanes: impl Lanes,
    health: Health,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let idle_every = config.idle_every;
    let task = move |around, commands, answers| {
        lanes::LaneTask { lanes, around: Arc::new(around), idle_every }.run(commands, answers)
    };
    drive(config, kafka, Handing::Lanes, task, health, shutdown).await
}

async fn drive<F: Future<Output = ()> + Send + 'static>(
    config: ConsumeConfig,
    kafka: &KafkaArgs,
    handing: Handing,
    task: impl FnOnce(Around, UnboundedReceiver<Command>, Sender<Answer>) -> F,
    health: Health,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let consumer = LoopContext::consumer(kafka, &config.group)?;
    let shared = consumer.context().shared.clone();
    let letters = DeadLetters::new(kafka, &config.group)?;
    let topic_ids = TopicIds::new(kafka)?;

    let (config_for_check, servers) = (config.clone(), kafka.kafka_bootstrap_servers.clone());
    let (consumer, ends) = tokio::task::spawn_blocking(move || {
        check_topics(&consumer, &config_for_check, &servers)?;
        let ends = Ends::look_up(config_for_check.until, &consumer, &config_for_check.topics)?;
        let topics: Vec<&str> = config_for_check.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).context("subscribe")?;
        anyhow::Ok((consumer, ends))
    })
    .await??;

    let (to_sink, commands) = tokio::sync::mpsc::unbounded_channel();
    let (answer, answers) = std::sync::mpsc::channel();
    let around = Around::new(letters, topic_ids, health.clone(), shared.clone(), config.stop_when_bad);
    let sink_task = tokio::spawn(task(around, commands, answer));
    let (done, mut finished) = tokio::sync::oneshot::channel();
    let (drain, until, ended) = (config.drain, config.until, shutdown.clone());
    let (close, closed) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("poll".to_owned()).spawn(move || {
        let sink = (to_sink, answers);
        let result = poll_loop::PollLoop::new((config, ends), handing, &consumer, shared, health, sink, shutdown).run();
        drop(done.send(result));
        drop(consumer);
        let _ = close.send(());
    })?;
    let result = tokio::select! {
        finished = &mut finished => finished.context("the poll thread ended")?,
        // The last commit can wait long for a broker that does not answer; everything that it would commit is durable.
        () = async { ended.cancelled().await; tokio::time::sleep(drain + COMMIT_PATIENCE).await } => {
            tracing::warn!("the broker did not take the last commit in time; what is durable will be skipped when read again");
            match until {
                Until::Shutdown => Ok(()),
                Until::CaughtUp => Err(anyhow::anyhow!("stopped before it had caught up")),
            }
        }
    };
    sink_task.abort();
    // Closing leaves the group, so that the others need not wait for a time-out; but it can wait without end for a broker
    // that is gone, and the process does not wait with it.
    drop(tokio::time::timeout(Duration::from_secs(5), closed).await);
    result
}

fn check_topics(consumer: &BaseConsumer<LoopContext>, config: &ConsumeConfig, servers: &str) -> anyhow::Result<()> {
    for topic in &config.topics {
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).map_err(|error| {
            misconfigured(format!(
                "no Kafka broker answers at {servers}, set by --kafka-bootstrap-servers (KAFKA_BOOTSTRAP_SERVERS): {error}"
            ))
        })?;
        let known = metadata.topics().iter().any(|found| found.name() == topic && !found.partitions().is_empty());
        if !known {
            return Err(misconfigured(format!(
                "topic {topic} does not exist at {servers}; `tickstream topics apply` creates the declared topics"
            )));
        }
    }
    Ok(())
}
