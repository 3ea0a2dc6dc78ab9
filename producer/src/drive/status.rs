//! What is known of each source now: shown on `/readyz` and `/sources`, in metrics, and published every ten seconds, so that
//! a consumer who misses three records in a row knows that the producer is down even when none ever comes back.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use pipeline::admin::Health;
use pipeline::events::SourceHealth;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::drive::budget::Left;
use crate::drive::clock::now_micros;
use crate::publish::outbox::Outbox;

pub const HEALTH_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Where a source stands. The number is its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
pub enum State {
    Connecting = 0,
    Ok = 1,
    Failing = 2,
    /// Wrongly configured: it is not asked again before a person changes something.
    Stopped = 3,
    /// Another producer reads it.
    Standby = 4,
}

impl State {
    const ALL: [Self; 5] = [Self::Connecting, Self::Ok, Self::Failing, Self::Stopped, Self::Standby];

    /// As health records have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "CONNECTING",
            Self::Ok => "OK",
            Self::Failing => "FAILING",
            Self::Stopped => "STOPPED",
            Self::Standby => "STANDBY",
        }
    }
}

/// Whether a source is being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Circuit {
    /// It answers.
    Closed = 0,
    /// It failed and is tried again now.
    HalfOpen = 1,
    /// It failed and is left alone until its next try.
    Open = 2,
}

const NEVER: i64 = i64::MIN;

/// One source's status. Clones tell of the same source.
#[derive(Clone)]
pub struct Status {
    source: &'static str,
    shared: Arc<Shared>,
    health: Health,
}

struct Shared {
    // Told with every frame, so without a lock.
    state: AtomicU8,
    last_answer_at: AtomicI64,
    problems: AtomicU64,
    rest: Mutex<Rest>,
}

#[derive(Clone, Debug)]
struct Rest {
    circuit: Circuit,
    next_try_at: Option<i64>,
    last_outcome: Option<&'static str>,
    last_error: Option<String>,
    budget: Option<Left>,
    open_gaps: usize,
}

/// One source on `/sources`.
#[derive(Debug, Serialize)]
struct View {
    source: &'static str,
    state: State,
    circuit: Circuit,
    last_answer_at: Option<Timestamp>,
    next_try_at: Option<Timestamp>,
    last_outcome: Option<&'static str>,
    last_error: Option<String>,
    problems: u64,
    open_gaps: usize,
    budget_left: Option<Left>,
}

impl Status {
    #[must_use]
    pub fn new(source: &'static str, health: Health) -> Self {
        let rest = Rest {
            circuit: Circuit::HalfOpen,
            next_try_at: None,
            last_outcome: None,
            last_error: None,
            budget: None,
            open_gaps: 0,
        };
        let shared = Shared {
            state: AtomicU8::new(State::Connecting as u8),
            last_answer_at: AtomicI64::new(NEVER),
            problems: AtomicU64::new(0),
            rest: Mutex::new(rest),
        };
        let status = Self { source, shared: Arc::new(shared), health };
        status.connecting();
        status
    }

    #[must_use]
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// It is about to be read.
    pub fn connecting(&self) {
        self.enter(State::Connecting);
        self.health.set(self.source, Err("connecting".to_owned()));
    }

    /// The source answered at `at`, micros UTC.
    pub fn answered(&self, at: i64) {
        self.shared.last_answer_at.store(at, Ordering::Relaxed);
        if self.shared.state.swap(State::Ok as u8, Ordering::Relaxed) != State::Ok as u8 {
            self.health.set(self.source, Ok(()));
            self.set_circuit(Circuit::Closed, None);
            self.show(State::Ok);
        }
    }

    /// A try failed; the next one is at `next_try_at`, micros UTC.
    pub fn failing(&self, reason: &str, next_try_at: i64) {
        self.enter(State::Failing);
        self.rest().last_error = Some(reason.to_owned());
        self.set_circuit(Circuit::Open, Some(next_try_at));
        self.health.set(self.source, Err(reason.to_owned()));
    }

    /// It will not be tried again.
    pub fn stopped(&self, reason: &str) {
        self.enter(State::Stopped);
        self.rest().last_error = Some(reason.to_owned());
        self.set_circuit(Circuit::Open, None);
        self.health.set(self.source, Err(format!("stopped until its configuration is changed: {reason}")));
    }

    /// Another producer reads it.
    pub fn standby(&self) {
        self.enter(State::Standby);
        self.set_circuit(Circuit::Open, None);
        self.health.set(self.source, Ok(()));
    }

    /// So many problems were found in what it sent.
    pub fn found(&self, problems: usize) {
        self.shared.problems.fetch_add(problems as u64, Ordering::Relaxed);
    }

    /// How many problems were found in all.
    #[must_use]
    pub fn problems(&self) -> u64 {
        self.shared.problems.load(Ordering::Relaxed)
    }

    /// A try begins.
    pub fn trying(&self) {
        if self.rest().circuit == Circuit::Open {
            self.set_circuit(Circuit::HalfOpen, None);
        }
    }

    /// How the last poll ended, and when the next one is (micros UTC).
    pub fn polled(&self, outcome: &'static str, next_at: i64) {
        let mut rest = self.rest();
        (rest.last_outcome, rest.next_try_at) = (Some(outcome), Some(next_at));
    }

    pub fn budget(&self, left: Left) {
        for (period, left) in [("minute", left.minute), ("day", left.day), ("month", left.month)] {
            if let Some(left) = left {
                metrics::gauge!("tickstream_producer_budget_left", "source" => self.source, "period" => period)
                    .set(left as f64);
            }
        }
        self.rest().budget = Some(left);
    }

    pub fn open_gaps(&self, count: usize) {
        self.rest().open_gaps = count;
    }

    #[must_use]
    pub fn state(&self) -> State {
        let state = self.shared.state.load(Ordering::Relaxed);
        State::ALL.into_iter().find(|known| *known as u8 == state).unwrap_or(State::Connecting)
    }

    /// Why the last try failed.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.rest().last_error.clone()
    }

    fn enter(&self, state: State) {
        self.shared.state.store(state as u8, Ordering::Relaxed);
        self.show(state);
    }

    fn show(&self, state: State) {
        metrics::gauge!("tickstream_producer_source_state", "source" => self.source).set(f64::from(state as u8));
    }

    fn set_circuit(&self, circuit: Circuit, next_try_at: Option<i64>) {
        metrics::gauge!("tickstream_producer_circuit", "source" => self.source).set(f64::from(circuit as u8));
        let mut rest = self.rest();
        (rest.circuit, rest.next_try_at) = (circuit, next_try_at);
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.shared.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_answer_at(&self) -> Option<i64> {
        Some(self.shared.last_answer_at.load(Ordering::Relaxed)).filter(|at| *at != NEVER)
    }

    /// What is published of it.
    #[must_use]
    pub fn record(&self, at: i64, producer: &str) -> SourceHealth {
        let budget = self.rest().budget;
        let used = |used: fn(&Left) -> u64| budget.as_ref().map(|left| i64::try_from(used(left)).unwrap_or(i64::MAX));
        SourceHealth {
            source: self.source.to_owned(),
            at,
            last_answer_at: self.last_answer_at(),
            state: self.state().as_str().to_owned(),
            budget_left: budget.and_then(|left| i64::try_from(left.least()?).ok()),
            used_today: used(|left| left.used_today),
            used_this_month: used(|left| left.used_this_month),
            producer: Some(producer.to_owned()),
        }
    }

    fn view(&self) -> View {
        let rest = self.rest().clone();
        let time = |at: i64| Timestamp::from_microsecond(at).ok();
        View {
            source: self.source,
            state: self.state(),
            circuit: rest.circuit,
            last_answer_at: self.last_answer_at().and_then(time),
            next_try_at: rest.next_try_at.and_then(time),
            last_outcome: rest.last_outcome,
            last_error: rest.last_error,
            problems: self.problems(),
            open_gaps: rest.open_gaps,
            budget_left: rest.budget,
        }
    }
}

/// `/sources`: every source's status, as JSON.
pub fn router(statuses: Vec<Status>) -> axum::Router {
    let statuses = Arc::new(statuses);
    let all = move || {
        let views: Vec<View> = statuses.iter().map(Status::view).collect();
        std::future::ready(axum::Json(views))
    };
    axum::Router::new().route("/sources", axum::routing::get(all))
}

/// Publishes the state of every source that is read here every ten seconds, and when it changes, until `shutdown`: whoever reads
/// the source next goes by the last word.
///
/// # Errors
/// When the publisher has ended.
pub async fn publish_health(
    statuses: Vec<Status>,
    producer: String,
    outbox: Outbox,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told: Vec<Option<(State, Instant)>> = vec![None; statuses.len()];
    while shutdown.run_until_cancelled(looks.tick()).await.is_some() {
        for (status, told) in statuses.iter().zip(&mut told) {
            let state = status.state();
            if state == State::Standby {
                *told = None;
                continue;
            }
            // A look is never exactly on time: one that is a little early is not one look late.
            let old = HEALTH_EVERY.saturating_sub(LOOK_EVERY / 2);
            if told.is_none_or(|(before, at)| before != state || at.elapsed() >= old) {
                outbox.health(status.source, &status.record(now_micros(), &producer)).await?;
                *told = Some((state, Instant::now()));
            }
        }
    }
    Ok(())
}
