//! The one driver of sources that are polled. A source gives requests and a parser; when to ask, how long to wait, what to
//! make of a failure, what the plan allows and which gaps to tell of is decided here. A poll ends as one of five outcomes,
//! and only a fresh or partial one publishes prices. Must never happen here: a repeated price in place of a failed poll, or a
//! call that the budget does not have.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Time;
use pipeline::events::{EventTimeOrigin, GapReason, PriceTick};
use pipeline::trace;

use crate::drive::Way;
use crate::drive::backoff::Backoff;
use crate::drive::budget::{Budget, Call, Plan};
use crate::drive::failure::{Failure, Next};
use crate::drive::fetch::{Fetch, Server};
use crate::drive::future::refuse_future;
use crate::drive::unchanged::LastTold;
use crate::gaps::ledger::{GapLedger, Scope};
use crate::parse::payload::Payload;
use crate::parse::problem::{Effect, Problem, ProblemLog};
use crate::sources::{Parsed, Refusal, Source, Until};

mod outcome;
mod past;

pub use outcome::Outcome;
use past::Past;

/// One polled source.
pub struct Polled {
    pub source: Arc<dyn Source>,
    pub server: Server,
    /// What one poll asks.
    pub requests: Vec<Ask>,
    /// The canonical symbols (or index names) that a whole answer has.
    pub asked: Vec<String>,
    pub schedule: Schedule,
    pub backoff: Backoff,
    /// A symbol whose source time is older than this is stale.
    pub stale_after: Duration,
    pub budget: Plan,
    pub backfill: Option<History>,
}

/// One request, and what it costs in the plan's units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub path: String,
    pub cost: u32,
}

/// When a source is polled.
#[derive(Clone, Copy)]
pub enum Schedule {
    Every(Duration),
    /// At once, and then at the moments that `next` gives for the one before (micros UTC) and the time of day.
    At {
        next: fn(i64, Time) -> i64,
        at: Time,
    },
}

/// A source's history endpoint.
#[derive(Clone)]
pub struct History {
    pub requests: Arc<Covering>,
}

/// From a canonical symbol and two moments (micros UTC) to the requests that cover them.
pub type Covering = dyn Fn(&str, i64, i64) -> Vec<Ask> + Send + Sync;

/// A source that is polled once a day is not late by so much.
const DAILY_SLACK: i64 = 15 * 60 * 1_000_000;
/// More pages than any answer has: a source that always names another one is not followed for ever.
const MOST_PAGES: usize = 50;

/// Polls until shutdown, or until the source turns out to be wrongly configured; then it waits for the shutdown.
///
/// # Errors
/// When the publisher has ended.
pub async fn poll(mut polled: Polled, fetch: Box<dyn Fetch>, way: Way) -> anyhow::Result<()> {
    let mut driver = Driver::new(&polled, fetch, way).await?;
    while !driver.fetch.finished() {
        let began = driver.way.clock.now();
        let Some(Cycle { outcome, failure }) = driver.cycle(&mut polled).await? else { break };
        let now = driver.way.clock.now();
        let scheduled = match polled.schedule {
            Schedule::Every(interval) => began.saturating_add(interval.as_micros() as i64).max(now),
            Schedule::At { next, at } => next(now, at),
        };
        let asked_of_the_past = match &failure {
            None => driver.fill(&polled, scheduled).await?,
            Some(_) => None,
        };
        let next_at = match failure.or(asked_of_the_past) {
            None => scheduled,
            Some(failure @ Failure { next: Next::Never, .. }) => {
                driver.left_alone(&polled, outcome, &failure, now).await?;
                driver.way.status.stopped(&failure.detail);
                driver.way.shutdown.cancelled().await;
                break;
            }
            Some(failure) => {
                let next_try = driver.next_try(&mut polled, failure.next, now);
                if outcome == Outcome::Failed {
                    driver.way.status.failing(&failure.detail, next_try);
                    next_try
                } else {
                    if next_try > scheduled && matches!(failure.next, Next::After(_) | Next::At(_)) {
                        driver.left_alone(&polled, outcome, &failure, now).await?;
                    }
                    scheduled.max(next_try)
                }
            }
        };
        driver.way.status.polled(outcome.as_str(), next_at);
        if !driver.wait_until(next_at).await {
            break;
        }
        driver.way.status.trying();
    }
    driver.end().await
}

/// One poll, for cron: its outcome, or why it failed. `None` when it was interrupted. A plan that allows no call within
/// `patience` fails it; that is no gap, since the source was not asked.
///
/// # Errors
/// When the publisher has ended.
pub async fn once(
    mut polled: Polled,
    fetch: Box<dyn Fetch>,
    way: Way,
    patience: Duration,
) -> anyhow::Result<Option<Cycle>> {
    let mut driver = Driver::new(&polled, fetch, way).await?;
    let now = driver.way.clock.now();
    let cost = polled.requests.first().map_or(0, |request| request.cost);
    let at = driver.budget.call_at(Call { cost, begins: Some(polled.cost()) }, now);
    if micros(at - now) > patience {
        let when = Timestamp::from_microsecond(at).map_or_else(|_| "long".to_owned(), |at| format!("{at:.0}"));
        let failure =
            Failure { next: Next::At(at), ..Failure::poll(format!("the budget allows no call before {when}")) };
        return Ok(Some(Cycle { outcome: Outcome::Failed, failure: Some(failure) }));
    }
    let cycle = driver.cycle(&mut polled).await?;
    let until = driver.way.clock.now().saturating_add(i64::try_from(patience.as_micros()).unwrap_or(i64::MAX));
    driver.fill(&polled, until).await?;
    driver.end().await?;
    Ok(cycle)
}

/// One poll's end.
#[derive(Clone, Debug)]
pub struct Cycle {
    pub outcome: Outcome,
    /// Of one of its requests at least.
    pub failure: Option<Failure>,
}

struct Driver {
    ledger: GapLedger,
    problems: ProblemLog,
    last_told: LastTold,
    budget: Budget,
    fetch: Box<dyn Fetch>,
    /// When the latest answer came, micros UTC.
    received_at: i64,
    /// What the source says that its latest call cost; nothing where it does not say.
    last_cost: u32,
    /// The last poll failed.
    failing: bool,
    /// The plan, and nothing else, has left polls out since the last one.
    left_out_by_budget: bool,
    /// What is still to be asked of the source's history.
    past: VecDeque<Past>,
    way: Way,
}

impl Polled {
    /// What a poll costs, as far as that is known beforehand.
    fn cost(&self) -> u32 {
        self.requests.iter().fold(0, |sum, request| sum.saturating_add(request.cost))
    }
}

impl Driver {
    async fn new(polled: &Polled, fetch: Box<dyn Fetch>, way: Way) -> anyhow::Result<Self> {
        let source = polled.source.name();
        let now = way.clock.now();
        let mut budget = match &way.state_dir {
            Some(dir) => Budget::open(polled.budget, dir, source, now),
            None => Budget::in_memory(polled.budget, now),
        };
        let mut ledger = GapLedger::new(source, way.outbox.clone(), way.status.clone());
        if let Some(before) = &way.predecessor {
            budget.spent_elsewhere(before.used_today, before.used_this_month, before.at, now);
            let missed = match polled.schedule {
                Schedule::Every(interval) => now - before.at > interval.as_micros() as i64,
                Schedule::At { next, at } => next(before.at, at) <= now,
            };
            ledger.take_over(before, missed, &polled.asked).await?;
        }
        ledger.keep_asked(&polled.asked, now).await?;
        way.status.budget(budget.left(now));
        let last_told = LastTold::default();
        Ok(Self {
            ledger,
            problems: ProblemLog::new(source),
            last_told,
            budget,
            fetch,
            received_at: now,
            last_cost: 0,
            failing: false,
            left_out_by_budget: false,
            past: VecDeque::new(),
            way,
        })
    }

    /// One poll: `None` when shutdown came first.
    async fn cycle(&mut self, polled: &mut Polled) -> anyhow::Result<Option<Cycle>> {
        let began_at = self.way.clock.now();
        let mut whole = Parsed::default();
        let mut failure: Option<Failure> = None;
        let mut begins = Some(polled.cost());
        for request in &polled.requests {
            let shutdown = self.way.shutdown.clone();
            let asking = self.ask(polled, request, begins.take());
            let Some(answer) = shutdown.run_until_cancelled(asking).await else { return Ok(None) };
            match answer? {
                Ok(parsed) => whole.append(parsed),
                Err(failed) => {
                    let soon = failed.next == Next::Soon;
                    // The most patient of the failures decides.
                    failure = failure.filter(|other| other.next.patience() >= failed.next.patience()).or(Some(failed));
                    // A source that wants to be left alone is not asked the rest.
                    if !soon {
                        break;
                    }
                }
            }
        }
        polled.source.conclude(&mut whole);
        self.problems.note(&whole.problems);
        self.way.status.found(whole.problems.len());
        let source = polled.source.name();
        if let Some(Failure { next: Next::Never, detail, .. }) = &mut failure {
            *detail = format!("stopped, since asking again changes nothing: {detail}");
            tracing::error!(source, "a source is stopped until its configuration is changed: {detail}");
        }
        let received_at = self.received_at;
        let outcome = match (&failure, whole.answered) {
            (failure, true) => {
                polled.backoff.reset();
                self.good(polled, whole, failure.as_ref(), received_at).await?
            }
            (Some(Failure { reason, detail, .. }), false) => {
                self.ledger.failed(Scope::Source, polled.asked.clone(), *reason, began_at, detail.clone()).await?;
                Outcome::Failed
            }
            // Without a request there is neither.
            (None, false) => Outcome::Unchanged,
        };
        self.failing = outcome == Outcome::Failed;
        outcome.count(source);
        Ok(Some(Cycle { outcome, failure }))
    }

    /// One request with all its pages, each counted before it is made. `begins` is the cost of the poll that begins with it.
    async fn ask(
        &mut self,
        polled: &Polled,
        request: &Ask,
        mut begins: Option<u32>,
    ) -> anyhow::Result<Result<Parsed, Failure>> {
        let mut whole = Parsed::default();
        let mut path = request.path.clone();
        for _ in 0..MOST_PAGES {
            let cost = request.cost.max(self.last_cost);
            self.pay(polled, Call { cost, begins: begins.take() }).await?;
            let asked = trace::clock();
            let answer = self.fetch.get(&path).await;
            let arrived = trace::clock();
            let received_at = self.way.clock.now();
            self.received_at = received_at;
            let answer = match answer {
                Ok(answer) => answer,
                Err(detail) => return Ok(Err(Failure::poll(detail))),
            };
            let payload = Payload::new(
                polled.source.name(),
                &answer.body,
                received_at,
                answer.recorded.as_ref().unwrap_or(&path),
            );
            if self.way.keep_payloads {
                self.way.outbox.payload(polled.source.name(), &payload, Some(answer.status)).await?;
            }
            let mut parsed = polled.source.parse(&payload);
            refuse_future(polled.source.name(), &mut parsed);
            trace::received(polled.source.name(), payload.id, asked, arrived, parsed.ticks.len());
            if let Some(said) = parsed.spent.take() {
                // The next call is taken to cost as much: it is counted before it can be known.
                self.last_cost = said;
                self.budget.correct(cost, said, received_at);
            }
            if let Some(Refusal::Exhausted(until, _)) = &parsed.refusal {
                self.budget.exhausted(*until == Until::NextMonth, received_at);
            }
            self.way.status.budget(self.budget.left(received_at));
            if let Some(mut failure) =
                Failure::of_answer(&parsed, answer.status, answer.retry_after, &answer.body, received_at)
            {
                self.problems.note(&parsed.problems);
                self.way.status.found(parsed.problems.len());
                if answer.recorded.is_some() {
                    failure.next = Next::Soon;
                }
                return Ok(Err(failure));
            }
            let next_page = parsed.next_page.take();
            whole.append(parsed);
            match next_page {
                Some(next) => path = next,
                None => return Ok(Ok(whole)),
            }
        }
        Ok(Err(Failure::poll(format!("the answer has more than {MOST_PAGES} pages"))))
    }

    /// Waits until the plan allows a call, and counts it. A wait that leaves polls out is a gap like any other limit.
    async fn pay(&mut self, polled: &Polled, call: Call) -> anyhow::Result<()> {
        loop {
            let now = self.way.clock.now();
            if self.budget.spend_call(call, now) {
                return Ok(());
            }
            let at = self.budget.call_at(call, now);
            self.way.status.polled("waiting for the budget", at);
            let left_out = match polled.schedule {
                Schedule::Every(interval) => at - now > interval.as_micros() as i64,
                Schedule::At { .. } => at - now > DAILY_SLACK,
            };
            if left_out {
                self.left_out_by_budget |= !self.failing;
                let detail = format!("the budget {} allows no call for {} s", polled.budget, (at - now) / 1_000_000);
                self.ledger.failed(Scope::Source, polled.asked.clone(), GapReason::RateLimited, now, detail).await?;
            }
            self.way.clock.sleep(at - now).await;
        }
    }

    /// Not asking for longer than the schedule has it is a gap for what did come, too. A failed poll has its gap already.
    async fn left_alone(
        &mut self,
        polled: &Polled,
        outcome: Outcome,
        failure: &Failure,
        now: i64,
    ) -> anyhow::Result<()> {
        if outcome == Outcome::Failed {
            return Ok(());
        }
        let Failure { reason, detail, .. } = failure;
        self.ledger.failed(Scope::Source, polled.asked.clone(), *reason, now, detail.clone()).await
    }

    async fn good(
        &mut self,
        polled: &Polled,
        mut parsed: Parsed,
        failure: Option<&Failure>,
        received_at: i64,
    ) -> anyhow::Result<Outcome> {
        let source = polled.source.name();
        self.way.status.answered(received_at);
        let missed = self.ledger.source_answered(received_at).await?;
        let missing = self.follow_missing(polled, &parsed, failure, received_at).await?;
        let stale = self.follow_stale(polled, &parsed, received_at).await?;
        let unchanged = self.last_told.keep_news(&mut parsed.ticks);
        metrics::counter!("tickstream_producer_unchanged_total", "source" => source).increment(unchanged as u64);
        let news = !parsed.ticks.is_empty() || !parsed.weights.is_empty();
        self.way.outbox.ticks(source, &parsed.ticks).await?;
        self.way.outbox.weights(source, &parsed.weights).await?;
        if let Some((from, to)) = missed {
            self.missed(polled, from, to);
        }
        Ok(match (missing, stale, news) {
            (true, ..) => Outcome::Partial,
            (false, true, _) => Outcome::Stale,
            (false, false, true) => Outcome::Fresh,
            (false, false, false) => Outcome::Unchanged,
        })
    }

    /// A symbol that was asked for and is not in a good answer has a gap of its own. Whether there is one.
    async fn follow_missing(
        &mut self,
        polled: &Polled,
        parsed: &Parsed,
        failure: Option<&Failure>,
        received_at: i64,
    ) -> anyhow::Result<bool> {
        // The source says that there is nothing to tell, as of a day without trading: nothing is missing then.
        let is_empty = |problem: &Problem| problem.code == "empty_answer" && problem.effect == Effect::Noted;
        if parsed.ticks.is_empty() && parsed.weights.is_empty() && parsed.problems.iter().any(is_empty) {
            return Ok(false);
        }
        let mut missing = Vec::new();
        for symbol in &polled.asked {
            let scope = Scope::Symbol(symbol.clone());
            let came = parsed.ticks.iter().any(|tick| tick.symbol == *symbol)
                || parsed.weights.iter().any(|weight| weight.index_name == *symbol);
            if came {
                self.ledger.answered(&scope, received_at).await?;
                continue;
            }
            let (reason, detail) = match failure {
                Some(failure) => (failure.reason, failure.detail.clone()),
                None => (GapReason::PollFailed, format!("the answer is without {symbol}")),
            };
            self.ledger.failed(scope, vec![symbol.clone()], reason, received_at, detail).await?;
            missing.push(symbol.as_str());
        }
        if !missing.is_empty() {
            tracing::debug!(source = polled.source.name(), missing = missing.join(","), "a poll is partial");
        }
        Ok(!missing.is_empty())
    }

    /// Whether every symbol with a time of its own is stale.
    async fn follow_stale(&mut self, polled: &Polled, parsed: &Parsed, received_at: i64) -> anyhow::Result<bool> {
        let oldest = received_at - polled.stale_after.as_micros() as i64;
        let (mut timed, mut stale) = (0, 0);
        for tick in parsed.ticks.iter().filter(|tick| tick.event_time_origin == EventTimeOrigin::Source) {
            timed += 1;
            let scope = Scope::Stale(tick.symbol.clone());
            if tick.event_time >= oldest {
                self.ledger.answered(&scope, received_at).await?;
                continue;
            }
            stale += 1;
            let detail =
                format!("the source's time for {} has not moved for {} s", tick.symbol, polled.stale_after.as_secs());
            self.ledger.failed(scope, vec![tick.symbol.clone()], GapReason::Stale, tick.event_time, detail).await?;
        }
        Ok(timed > 0 && stale == timed)
    }

    fn next_try(&self, polled: &mut Polled, next: Next, now: i64) -> i64 {
        let jitter = polled.backoff.next_wait();
        let interval = match polled.schedule {
            Schedule::Every(interval) => interval,
            Schedule::At { .. } => Duration::from_secs(60),
        };
        let wait = match next {
            Next::Soon => jitter,
            Next::After(pause) => pause + jitter.min(Duration::from_secs(1)),
            Next::Interval => interval + jitter,
            Next::At(at) => micros(at - now) + jitter.min(Duration::from_secs(1)),
            Next::Never => Duration::MAX,
        };
        now.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX))
    }

    /// Whether shutdown did not come first.
    async fn wait_until(&self, at: i64) -> bool {
        let wait = at.saturating_sub(self.way.clock.now());
        self.way.shutdown.run_until_cancelled(self.way.clock.sleep(wait)).await.is_some()
    }

    async fn end(mut self) -> anyhow::Result<()> {
        self.ledger.stop(self.way.clock.now()).await
    }
}

fn micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
