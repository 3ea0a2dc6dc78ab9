//! What is known of each source now: shown on `/readyz`, and published every ten seconds, so that a consumer who misses
//! three records in a row knows that the producer is down even when none ever comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use pipeline::admin::Health;
use pipeline::events::SourceHealth;
use tokio_util::sync::CancellationToken;

use crate::outbox::Outbox;

pub const HEALTH_EVERY: Duration = Duration::from_secs(10);

/// Now, in micros UTC.
#[must_use]
pub fn now_micros() -> i64 {
    Timestamp::now().as_microsecond()
}

const CONNECTING: u8 = 0;
const OK: u8 = 1;
const FAILING: u8 = 2;
const NEVER: i64 = i64::MIN;

/// One source's state. Clones tell of the same source.
#[derive(Clone)]
pub struct Status {
    source: &'static str,
    shared: Arc<Shared>,
    health: Health,
}

struct Shared {
    state: AtomicU8,
    last_answer_at: AtomicI64,
}

impl Status {
    #[must_use]
    pub fn new(source: &'static str, health: Health) -> Self {
        health.set(source, Err("connecting".to_owned()));
        let shared = Shared { state: AtomicU8::new(CONNECTING), last_answer_at: AtomicI64::new(NEVER) };
        Self { source, shared: Arc::new(shared), health }
    }

    /// The source answered at `at`, micros UTC.
    pub fn answered(&self, at: i64) {
        self.shared.last_answer_at.store(at, Ordering::Relaxed);
        if self.shared.state.swap(OK, Ordering::Relaxed) != OK {
            self.health.set(self.source, Ok(()));
        }
    }

    pub fn failing(&self, reason: &str) {
        self.shared.state.store(FAILING, Ordering::Relaxed);
        self.health.set(self.source, Err(reason.to_owned()));
    }

    fn record(&self, at: i64) -> SourceHealth {
        let last = self.shared.last_answer_at.load(Ordering::Relaxed);
        let state = match self.shared.state.load(Ordering::Relaxed) {
            OK => "OK",
            FAILING => "FAILING",
            _ => "CONNECTING",
        };
        SourceHealth {
            source: self.source.to_owned(),
            at,
            last_answer_at: (last != NEVER).then_some(last),
            state: state.to_owned(),
            budget_left: None,
        }
    }
}

/// Publishes every source's state until `shutdown`.
///
/// # Errors
/// When the publisher has ended.
pub async fn publish_health(statuses: Vec<Status>, outbox: Outbox, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut every = tokio::time::interval(HEALTH_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(every.tick()).await.is_some() {
        for status in &statuses {
            outbox.health(status.source, &status.record(now_micros())).await?;
        }
    }
    Ok(())
}
