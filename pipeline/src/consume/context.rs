//! What the client's callbacks leave for the loop. They run inside poll, so they only note: a rebalance bumps a generation
//! that outdates whatever was begun before it. Must never happen here: I/O, or waiting.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::{ClientContext, DefaultClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Statistics, TopicPartitionList};
use tokio::sync::Notify;

use crate::kafka::{KafkaArgs, create, token};

/// What the group said last.
#[derive(Debug)]
pub(super) enum Rebalance {
    /// These partitions are this member's; none, when there are more members than partitions.
    Given(Vec<(String, i32)>),
    /// All are given back; what is next given will be said.
    TakenBack,
}

/// Shared by the callbacks, the poll loop and the sink task.
#[derive(Debug, Default)]
pub(super) struct Shared {
    generation: AtomicU64,
    changed: Notify,
    /// The newest one that the loop has not taken up yet.
    rebalanced: Mutex<Option<Rebalance>>,
    /// A commit was refused since the loop last looked.
    commit_refused: AtomicBool,
    /// Records that were written, and those of them that are dead letters.
    written: AtomicU64,
    dead_letters: AtomicU64,
}

impl Shared {
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Outdates what was begun before.
    pub fn next_generation(&self) -> u64 {
        let next = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        self.changed.notify_waiters();
        next
    }

    /// Returns once `generation` is not the current one.
    pub async fn outdated(&self, generation: u64) {
        loop {
            // Made before the look: it is woken by whatever changes from here on.
            let changed = self.changed.notified();
            if self.generation() != generation {
                return;
            }
            changed.await;
        }
    }

    pub fn take_rebalanced(&self) -> Option<Rebalance> {
        self.rebalanced.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub fn rebalanced(&self, rebalance: Rebalance) {
        *self.rebalanced.lock().unwrap_or_else(PoisonError::into_inner) = Some(rebalance);
        self.next_generation();
    }

    /// The records are durable: without the commit they are only read again, and until then the group seems to lag behind.
    pub fn commit_refused(&self, reason: &str) {
        tracing::warn!("a commit was refused; the records are durable, and it is sent again: {reason}");
        self.commit_refused.store(true, Ordering::Release);
    }

    /// Whether a commit was refused since the last look.
    pub fn take_refused_commit(&self) -> bool {
        self.commit_refused.swap(false, Ordering::AcqRel)
    }

    pub fn count(&self, written: usize, dead_letters: usize) {
        self.written.fetch_add(written as u64, Ordering::Relaxed);
        self.dead_letters.fetch_add(dead_letters as u64, Ordering::Relaxed);
    }

    /// Records that were written, and those of them that are dead letters.
    pub fn counts(&self) -> (u64, u64) {
        (self.written.load(Ordering::Relaxed), self.dead_letters.load(Ordering::Relaxed))
    }
}

/// Whether what a sink was asked is wanted still. It is not once a rebalance has begun: the partitions may be another member's.
#[derive(Clone, Debug)]
pub struct Wanted {
    shared: Arc<Shared>,
    generation: u64,
}

impl Wanted {
    pub(super) fn new(shared: &Arc<Shared>, generation: u64) -> Self {
        Self { shared: shared.clone(), generation }
    }

    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.shared.generation() == self.generation
    }
}

#[derive(Default)]
pub(super) struct LoopContext {
    pub shared: Arc<Shared>,
}

impl LoopContext {
    /// A client of the loop's.
    pub fn consumer(kafka: &KafkaArgs, group: &str) -> anyhow::Result<BaseConsumer<Self>> {
        let mut settings = kafka.consumer(Some(group));
        if (settings.log_level as i32) < RDKafkaLogLevel::Warning as i32 {
            // Refused commits are told there, however little is written of it.
            settings.set_log_level(RDKafkaLogLevel::Warning);
        }
        create(&settings, Self::default())
    }
}

impl ClientContext for LoopContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, setting: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        token(setting)
    }

    /// What became of a commit that nobody waits for is told by a line of the client's log alone: its callback for commits is
    /// never set up.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "COMMITFAIL" {
            self.shared.commit_refused(message);
        } else {
            DefaultClientContext.log(level, facility, message);
        }
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is reported as an error, each time that reading comes to it.
        if !matches!(error, KafkaError::PartitionEOF(_))
            && error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF)
        {
            tracing::warn!(%error, "the Kafka client reports: {reason}");
        }
    }
}

impl ConsumerContext for LoopContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        // Nothing is fetched until the sink has said where to start: the loop assigns then. Until it does, the member holds
        // its partitions with nothing assigned, so that the group is not kept waiting.
        let rebalance = match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                if let Err(error) = consumer.assign(&TopicPartitionList::new()) {
                    tracing::warn!(%error, "cannot acknowledge an assignment");
                }
                let given = list.elements();
                let given = given.iter().map(|element| (element.topic().to_owned(), element.partition()));
                Rebalance::Given(given.collect())
            }
            _ => {
                if let Err(error) = consumer.unassign() {
                    tracing::warn!(%error, "cannot give partitions back");
                }
                Rebalance::TakenBack
            }
        };
        self.shared.rebalanced(rebalance);
    }
}
