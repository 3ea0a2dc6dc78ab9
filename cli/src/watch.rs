//! `tickstream watch`: prices and lag as they are now, straight from Kafka. On a terminal it redraws in place until q or
//! Ctrl-C; anywhere else, or with -o json or csv, it prints what it shows, again and again. No group is joined and nothing is
//! committed. Memory is bounded: the newest of each symbol and source, of so many of them. Must never happen here: a terminal
//! that is left in another state than it was found in, or an outage that looks like a quiet market.

mod plain;
mod prices;
mod reading;
mod screen;
mod shared;
mod terminal;

use std::io::IsTerminal;
use std::sync::Arc;

use clap::Args;
use jiff::SignedDuration;
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::registry::RegistryArgs;
use pipeline::topics;

use crate::output::{Format, OutputArgs};
use shared::Shared;

#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Symbols such as BTC-USD; all of them when none is named.
    #[arg(value_name = "SYMBOL")]
    symbols: Vec<String>,
    /// These sources only, separated by commas, such as coinbase,kraken.
    #[arg(long, env = "WATCH_SOURCES", value_delimiter = ',', value_name = "SOURCE")]
    source: Vec<String>,
    /// The groups whose lag is shown, separated by commas. Default: all.
    #[arg(long, env = "WATCH_GROUPS", value_delimiter = ',', value_name = "GROUP")]
    group: Vec<String>,
    /// The topic that the ticks are read from.
    #[arg(long, env = "WATCH_TOPIC", default_value = topics::TICKS, value_name = "TOPIC")]
    topic: String,
    /// How far back it begins to read, such as 10m: a source that is polled seldom has its price from then.
    #[arg(long, env = "WATCH_LOOK_BACK", default_value = "10m", value_name = "DURATION")]
    look_back: SignedDuration,
    /// How often it is shown anew. Default: every 500ms on a terminal, every 5s elsewhere.
    #[arg(long, env = "WATCH_EVERY", value_parser = parse_every, value_name = "DURATION")]
    every: Option<SignedDuration>,
    /// Print so many times as plain text, then end.
    #[arg(long, env = "WATCH_COUNT", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

fn parse_every(text: &str) -> Result<SignedDuration, String> {
    let every: SignedDuration = text.parse().map_err(|_| "expected a duration such as 500ms or 5s".to_owned())?;
    if every < SignedDuration::from_millis(50) { Err("50ms is the shortest".to_owned()) } else { Ok(every) }
}

pub async fn run(args: WatchArgs) -> anyhow::Result<()> {
    if args.look_back.is_negative() {
        return Err(misconfigured("--look-back (WATCH_LOOK_BACK) is how far back it reads: no negative time"));
    }
    let shared = Arc::new(Shared::new(&args.symbols, &args.source));
    let reader = reading::Reader::new(&args).await?;
    // Dropped with this future, which ends all of them.
    let mut work = tokio::task::JoinSet::new();
    work.spawn(reader.run(shared.clone()));
    work.spawn(reading::follow_lags(args.kafka.clone(), args.group.clone(), shared.clone()));

    let on_terminal = std::io::stdout().is_terminal() && args.count.is_none() && args.output.format == Format::Table;
    let every = args.every.unwrap_or(SignedDuration::from_millis(if on_terminal { 500 } else { 5_000 })).unsigned_abs();
    if on_terminal {
        terminal::show(&shared, &args.topic, every).await
    } else {
        plain::show(&shared, args.output.format, every, args.count).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_not_drawn_without_end() {
        assert_eq!(parse_every("500ms"), Ok(SignedDuration::from_millis(500)));
        for wrong in ["0s", "-1s", "10ms", "x"] {
            assert!(parse_every(wrong).is_err(), "{wrong}");
        }
    }
}
