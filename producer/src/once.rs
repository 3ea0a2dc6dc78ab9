//! `producer once`: one cycle of each named source, for cron. A polled source is polled once; a pushing one is read until each
//! symbol that was asked for has given a price, or the wait is over. One JSON line a source on standard output says how it
//! went. It publishes as a running producer does, and its state (what was spent, what is open) is the spill folder's.
//!
//! What lies between two runs is the timetable's and no gap: a run looks for no predecessor, tells no health (three missed
//! records would mean PRODUCER_DOWN to every consumer, between any two runs), and joins no group. A failed run opens a gap as
//! any failure does, and leaves it open, in `open-gaps.json` and to the consumers, until a later run gets an answer: the source
//! is what failed, not this process that ends. Must never happen here: a wait without an end.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use pipeline::admin::Health;
use pipeline::misconfigured;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Publishing;
use crate::config::{Config, SourceName, seconds};
use crate::drive::clock::Clock;
use crate::drive::failure::Next;
use crate::drive::poll::{self, Cycle, Outcome};
use crate::drive::status::{State, Status};
use crate::drive::{Driven, Way};
use crate::publish::outbox::{Outbox, Outgoing, Target};

#[derive(Args, Clone, Debug)]
pub struct OnceArgs {
    /// The sources to run one cycle of, separated by commas; --sources is not looked at.
    #[arg(long = "source", value_enum, value_delimiter = ',', required = true)]
    pub source: Vec<SourceName>,
    /// How long a pushing source may take to give a price of each symbol, and how long a polled one may wait for its budget.
    #[arg(long, env = "PRODUCER_ONCE_WAIT_SECONDS", default_value = "30", value_parser = seconds, value_name = "SECONDS")]
    pub wait_seconds: Duration,
    #[command(flatten)]
    pub config: Config,
}

/// One source's line.
#[derive(Clone, Debug, Serialize)]
struct Report {
    source: &'static str,
    outcome: &'static str,
    ticks: u64,
    #[serde(skip_serializing_if = "is_none")]
    index_weights: u64,
    problems: u64,
    /// What was asked for and did not come.
    missing: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Asking again changes nothing.
    #[serde(skip)]
    misconfigured: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// Runs one cycle and prints how it went.
///
/// # Errors
/// When a source failed; [`pipeline::Misconfigured`] for a mistake that the user can mend, a refused key among them.
pub async fn once(args: OnceArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let OnceArgs { source, wait_seconds, config } = args;
    let symbols = Arc::new(config.symbols()?);
    let mut sources = Vec::new();
    for name in source.into_iter().collect::<BTreeSet<_>>() {
        sources.push((name, config.driven(name, &symbols)?));
    }
    let health = Health::new();
    let Publishing { outbox, thread } = Publishing::start(&config, &health).await?;
    let mut cycles = JoinSet::new();
    for (name, driven) in sources {
        let way = Way {
            outbox: outbox.clone(),
            status: Status::new(name.as_str(), health.clone()),
            clock: Clock::Wall,
            keep_payloads: config.keeps_payloads(name),
            state_dir: Some(config.spill_dir.clone()),
            predecessor: None,
            shutdown: shutdown.child_token(),
        };
        cycles.spawn(cycle(driven, way, wait_seconds));
    }
    drop(outbox);
    let mut reports = Vec::new();
    while let Some(report) = cycles.join_next().await {
        reports.push(report.context("a source panicked")??);
    }
    // What was answered is with the broker, or on disk, before it is reported.
    Publishing::ended(thread).await?;
    reports.sort_by_key(|report| report.source);
    print(&reports).context("cannot write to standard output")?;
    verdict(&reports)
}

async fn cycle(driven: Driven, way: Way, wait: Duration) -> anyhow::Result<Report> {
    let (outbox, status, enough) = (way.outbox.clone(), way.status.clone(), way.shutdown.clone());
    let (tapped, batches) = outbox.leaving_gaps_open();
    let way = Way { outbox: tapped, ..way };
    let asked: BTreeSet<String> = driven.asked().iter().cloned().collect();
    let (whole, end) = (asked.clone(), (!matches!(driven, Driven::Polled(..))).then(|| enough.clone()));
    let passing = tokio::spawn(pass_on(batches, outbox, whole, end));
    let polled = match driven {
        Driven::Polled(polled, fetch) => poll::once(polled, fetch, way, wait).await,
        other => listen(other, way, wait).await.map(|()| None),
    };
    enough.cancel();
    let passed = passing.await.context("passing records on panicked")??;
    let cycle = polled?;
    let missing: Vec<String> = asked.difference(&passed.symbols).cloned().collect();
    let outcome = match &cycle {
        Some(Cycle { outcome, .. }) => *outcome,
        None if passed.symbols.is_empty() => Outcome::Failed,
        None if missing.is_empty() => Outcome::Fresh,
        None => Outcome::Partial,
    };
    let failure = cycle.and_then(|cycle| cycle.failure);
    let refused = failure.as_ref().is_some_and(|failure| failure.next == Next::Never);
    let silent = || (outcome == Outcome::Failed).then(|| "no price came in time".to_owned());
    Ok(Report {
        source: status.source(),
        outcome: outcome.as_str(),
        ticks: passed.ticks,
        index_weights: passed.weights,
        problems: status.problems(),
        missing,
        misconfigured: refused || status.state() == State::Stopped,
        error: failure.map(|failure| failure.detail).or_else(|| status.last_error()).or_else(silent),
    })
}

/// Reads a source that is not polled until its way ends, the wait is over, or it turns out to be wrongly configured.
async fn listen(driven: Driven, way: Way, wait: Duration) -> anyhow::Result<()> {
    let (status, enough) = (way.status.clone(), way.shutdown.clone());
    let too_long = async {
        let waited = tokio::time::sleep(wait);
        tokio::pin!(waited);
        let mut looks = tokio::time::interval(Duration::from_millis(100));
        while status.state() != State::Stopped {
            tokio::select! {
                () = &mut waited => break,
                _ = looks.tick() => {}
            }
        }
        enough.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = driven.drive(way) => ended,
        () = too_long => Ok(()),
    }
}

/// What went to the publisher.
#[derive(Debug, Default)]
struct Passed {
    ticks: u64,
    weights: u64,
    symbols: BTreeSet<String>,
}

/// Hands everything on, and says `enough` once each of `asked` has given a price.
async fn pass_on(
    mut batches: mpsc::Receiver<Vec<Outgoing>>,
    outbox: Outbox,
    asked: BTreeSet<String>,
    enough: Option<CancellationToken>,
) -> anyhow::Result<Passed> {
    let mut passed = Passed::default();
    while let Some(batch) = batches.recv().await {
        for record in &batch {
            match record.target {
                Target::Ticks => passed.ticks += 1,
                Target::Index => passed.weights += 1,
                Target::Gaps | Target::Health | Target::Payloads => continue,
            }
            let key = String::from_utf8_lossy(&record.key);
            if !passed.symbols.contains(key.as_ref()) {
                passed.symbols.insert(key.into_owned());
            }
        }
        outbox.forward(batch).await?;
        if let Some(enough) = &enough
            && !asked.is_empty()
            && asked.is_subset(&passed.symbols)
        {
            enough.cancel();
        }
    }
    Ok(passed)
}

fn print(reports: &[Report]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for report in reports {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
    }
    Ok(out.flush()?)
}

fn verdict(reports: &[Report]) -> anyhow::Result<()> {
    let failed = reports.iter().filter(|report| report.misconfigured || report.outcome == Outcome::Failed.as_str());
    let failed: Vec<&Report> = failed.collect();
    if failed.is_empty() {
        return Ok(());
    }
    let said = |report: &&Report| format!("{}: {}", report.source, report.error.as_deref().unwrap_or("failed"));
    let said = failed.iter().map(said).collect::<Vec<_>>().join("; ");
    if failed.iter().any(|report| report.misconfigured) {
        return Err(misconfigured(said));
    }
    bail!("{said}")
}
