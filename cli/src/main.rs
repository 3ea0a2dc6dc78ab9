//! The `tickstream` command: makes the topics, proves that topic, lake and database hold the same records, and shows
//! the latest prices and those of the past. Answers go to standard output, everything else to standard error. Exit
//! codes: 0 done, 1 failed or a difference was found, 2 a mistake of the user's. Must never happen here: an answer that
//! is printed though half of it could not be had.

mod audit;
mod database;
mod history;
mod kafka;
mod lake;
mod latest;
mod moment;
mod nearest;
mod output;
mod topics;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use pipeline::telemetry::LogArgs;
use tokio_util::sync::CancellationToken;

/// Topics, audit, latest and past prices of a tickstream installation.
#[derive(Parser, Debug)]
#[command(name = "tickstream", version)]
struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Create, mend and list the declared topics.
    #[command(subcommand)]
    Topics(topics::TopicsCommand),
    /// Prove that topic, lake and database hold the same records; name every difference.
    Audit(audit::AuditArgs),
    /// Mend the lake and take data out of it.
    #[command(subcommand)]
    Lake(lake::LakeCommand),
    /// Show the latest price of each symbol and source.
    Latest(latest::LatestArgs),
    /// Show open, high, low, close and volume of a symbol over a span of time.
    History(history::HistoryArgs),
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if matches.value_source("log") == Some(ValueSource::DefaultValue) {
        // What the Kafka client finds worth a line is said by the command itself, in one.
        cli.log.log = "warn,librdkafka=off,rdkafka=off".to_owned();
    }
    pipeline::main("tickstream", &cli.log.clone(), |shutdown| run(cli.command, shutdown))
}

async fn run(command: Command, shutdown: CancellationToken) -> anyhow::Result<()> {
    // What goes on until it is interrupted is done then.
    let goes_on = matches!(&command, Command::Latest(args) if args.watch);
    let work = async {
        match command {
            Command::Topics(command) => topics::run(command).await,
            Command::Audit(args) => audit::run(args).await,
            Command::Lake(command) => lake::run(command).await,
            Command::Latest(args) => latest::run(args).await,
            Command::History(args) => history::run(args).await,
        }
    };
    tokio::select! {
        result = work => result,
        () = shutdown.cancelled(), if goes_on => Ok(()),
        () = shutdown.cancelled(), if !goes_on => anyhow::bail!("interrupted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_well_formed() {
        Cli::command().debug_assert();
    }
}
