//! `consumer-alerts backtest`: what the rules would have told in a time that is over. The records of ticks, gaps and health
//! come from their topics or from the lake's bronze, are merged by broker time, and go through the [`crate::engine`] that the
//! service runs. It commits and publishes nothing, and may be stopped at any time.
//!
//! Invariant: the same records give the same lines, whichever of the two they come from, however they lie in partitions and
//! objects, and whatever the batches. One batch of each partition is in memory, and of the lake a few objects.
//!
//! Must never happen here: a window that holds other records than the service's had, or a timer by this machine's clock.

mod bronze;
mod chains;
mod page;
mod printer;
mod range;
mod replay;
mod topic;

use std::fmt;
use std::io::Write;
use std::time::Instant;

use anyhow::bail;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use pipeline::kafka::KafkaArgs;
use pipeline::registry::RegistryArgs;
use pipeline::store::{Store, StoreArgs};
use pipeline::{misconfigured, moment};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::config::RulesArgs;
use crate::engine::{Duty, Engine};
use crate::rules::{Condition, Rules};
use crate::service::Topics;
use page::{Stream, Table};
use printer::{Format, Printer};
use range::Range;
use replay::{Replay, Seen, replay};

/// Names offered for a rule that is not there.
const OFFERED: usize = 3;

#[derive(Args, Clone, Debug)]
pub struct BacktestArgs {
    #[command(flatten)]
    pub rules: RulesArgs,
    /// Only this rule, switched on or not. Default: every rule that is switched on.
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,
    /// From when on alerts are told, by the broker's clock: a time such as 2026-11-22T13:00:00Z, a date, -24h, -7d, today or
    /// yesterday (UTC). Windows are filled with what lies before.
    #[arg(long, value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    pub from: Timestamp,
    /// Until when, exclusive. Default: everything there is.
    #[arg(long, value_parser = moment::parse, allow_hyphen_values = true, value_name = "TIME")]
    pub to: Option<Timestamp>,
    /// Where the records come from.
    #[arg(long, value_enum, default_value_t)]
    pub source: Source,
    /// How alerts are printed; the summary is on standard error.
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub topics: Topics,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// The topics, as far back as they are kept.
    #[default]
    Topic,
    /// The lake's bronze, as far back as there is one.
    Lake,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic => "topic",
            Self::Lake => "lake",
        })
    }
}

/// Prints every alert that would have been told in the range, then a summary on standard error.
///
/// # Errors
/// [`pipeline::Misconfigured`] when the rules, the range, the broker or the store cannot be used; when the broker or the
/// store stops answering.
pub async fn backtest(args: BacktestArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let begun = Instant::now();
    let rules = chosen(&args)?;
    let range = Range::new(args.from, args.to)?;
    let engine = Engine::new(rules.clone(), Duty::Both);
    let spans = Table::ALL.map(|table| (table, topic_of(&args.topics, table).to_owned(), range.span(table, &engine)));
    let store = match args.source {
        Source::Topic => None,
        Source::Lake => Some(Store::connect(&args.store).await?),
    };
    let streams = match &store {
        Some(store) => lake_streams(store, &spans).await?,
        None => topic_streams(&args, &rules, &spans).await?,
    };
    let printer = Printer::new(args.output, &rules);
    let (seen, is_interrupted) = {
        let (runtime, shutdown) = (Handle::current(), shutdown.clone());
        let run = Replay::new(engine, range, printer);
        tokio::task::spawn_blocking(move || replay(streams, run, &runtime, &shutdown)).await??
    };
    if is_interrupted {
        bail!("interrupted at {}", seen.last.map_or_else(|| "the beginning".to_owned(), range::text));
    }
    if seen.is_empty() {
        let holds = match &store {
            Some(store) => chains::holds(store, Table::Ticks).await?,
            None => topic::holds(&args.kafka, &args.topics.ticks).await?,
        };
        return Err(misconfigured(format!("no records {range}: {holds}")));
    }
    tell(&seen, &rules, args.source, begun);
    Ok(())
}

fn topic_of(topics: &Topics, table: Table) -> &str {
    match table {
        Table::Gaps => &topics.gaps,
        Table::Health => &topics.health,
        Table::Ticks => &topics.ticks,
    }
}

type Spans = [(Table, String, range::Span); 3];

async fn topic_streams(args: &BacktestArgs, rules: &Rules, spans: &Spans) -> anyhow::Result<Vec<Stream>> {
    let listens = |condition: &Condition| matches!(condition, Condition::StaleFeed { .. } | Condition::OpenGap { .. });
    let needs_health = rules.enabled().any(|(_, rule)| listens(&rule.condition));
    let (kafka, registry) = (args.kafka.clone(), args.registry.registry()?);
    let (runtime, spans) = (Handle::current(), spans.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let mut streams = Vec::new();
        for (table, topic, span) in &spans {
            let told = *table != Table::Health || needs_health;
            streams.extend(topic::open(&kafka, registry.as_ref(), (*table, topic, *span), told, &runtime)?);
        }
        Ok(streams)
    });
    opened.await?
}

async fn lake_streams(store: &Store, spans: &Spans) -> anyhow::Result<Vec<Stream>> {
    let mut streams = Vec::new();
    for (table, topic, span) in spans {
        streams.extend(bronze::open(store, *table, topic, *span).await?);
    }
    Ok(streams)
}

/// The rules that are tried: one by name, or all that are switched on.
fn chosen(args: &BacktestArgs) -> anyhow::Result<Rules> {
    let rules = args.rules.load()?;
    let file =
        args.rules.rules.as_ref().map_or_else(|| "the built-in rules".to_owned(), |path| path.display().to_string());
    match &args.rule {
        Some(name) => rules.only(name).ok_or_else(|| misconfigured(not_known(name, &file, &rules))),
        None if rules.enabled().next().is_none() => {
            Err(misconfigured(format!("{file}: every rule is switched off; --rule NAME tries one all the same")))
        }
        None => Ok(rules),
    }
}

fn not_known(name: &str, file: &str, rules: &Rules) -> String {
    let near = |rule: &str| strsim::damerau_levenshtein(&rule.to_lowercase(), &name.to_lowercase());
    let mut nearest: Vec<(usize, &str)> = rules.iter().map(|rule| (near(&rule.name), rule.name.as_str())).collect();
    nearest.sort_unstable();
    let offered: Vec<String> = nearest.iter().take(OFFERED).map(|(_, name)| format!("{name:?}")).collect();
    format!("--rule: {file} has no rule {name:?}; the nearest names are {}", offered.join(", "))
}

/// The summary. Nobody who does not listen to it stops anything.
fn tell(seen: &Seen, rules: &Rules, source: Source, begun: Instant) {
    let (first, last) = (seen.first.map(range::text), seen.last.map(range::text));
    let between = match (first, last) {
        (Some(first), Some(last)) => format!(" from {first} to {last}"),
        (None, _) | (_, None) => String::new(),
    };
    let [gaps, health, ticks] = seen.records;
    let mut text = format!(
        "{} alerts; read {ticks} ticks, {gaps} gap records and {health} health records{between} of the {source} in {:.1} s\n",
        seen.alerts.values().map(|told| told.fired).sum::<u64>(),
        begun.elapsed().as_secs_f64()
    );
    for (_, rule) in rules.enabled() {
        let told = seen.alerts.get(&rule.name).copied().unwrap_or_default();
        let resolved = if told.resolved > 0 { format!(", {} resolved", told.resolved) } else { String::new() };
        text += &format!("  {}: {}{resolved}\n", rule.name, told.fired);
    }
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_is_not_there_is_answered_with_those_that_are() {
        let said = not_known("Silent  feed", "rules.toml", &Rules::built_in());
        assert!(
            said.starts_with(
                "--rule: rules.toml has no rule \"Silent  feed\"; the nearest names are \"silent feed\", "
            ),
            "{said}"
        );
        assert_eq!(said.matches('"').count(), 8, "{said}");
    }
}
