//! The `tickstream` command: makes the topics, proves that topic, lake and database hold the same records, and shows
//! the latest prices, those of the past, and how far everybody is behind. Answers go to standard output, everything else
//! to standard error. Exit codes: 0 done, 1 failed or a difference was found, 2 a mistake of the user's. Must never
//! happen here: an answer that is printed though half of it could not be had.

mod audit;
#[cfg(test)]
mod command_line;
mod completions;
mod database;
mod dlq;
mod export;
mod groups;
mod history;
mod kafka;
mod lake;
mod latest;
mod man;
mod moment;
mod nearest;
mod output;
mod replay;
mod schema;
mod topics;
mod trace;
mod transactions;
mod watch;

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
    /// Check that schemas get on with each other, and register them.
    #[command(subcommand)]
    Schema(schema::SchemaCommand),
    /// Show how far each consumer group is behind, in records and in time.
    Groups(groups::GroupsArgs),
    /// Show prices and lag as they are now, redrawn in place.
    Watch(watch::WatchArgs),
    /// Prove that topic, lake and database hold the same records; name every difference.
    Audit(audit::AuditArgs),
    /// Follow one tick from its payload to its candles: every place, every time, what is missing.
    Trace(trace::TraceArgs),
    /// Look at dead letters, send their records again, or drop them.
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// Read again what was read once: plan it, carry it out, see what it did.
    #[command(subcommand)]
    Replay(replay::ReplayCommand),
    /// Mend the lake and take data out of it.
    #[command(subcommand)]
    Lake(lake::LakeCommand),
    /// Write rows of a span of time, out of the topic or the lake, as Parquet, CSV or JSON lines.
    Export(export::ExportArgs),
    /// Show the latest price of each symbol and source.
    Latest(latest::LatestArgs),
    /// Show open, high, low, close and volume of a symbol over a span of time.
    History(history::HistoryArgs),
    /// Print the script by which a shell completes this command.
    Completions(completions::CompletionsArgs),
    /// Print the manual page.
    Man(man::ManArgs),
}

fn main() -> ExitCode {
    let matches = pipeline::secrets::with_files(man::with_exit_codes(Cli::command())).get_matches();
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if matches.value_source("log") == Some(ValueSource::DefaultValue) {
        // What the Kafka client finds worth a line is said by the command itself, in one.
        cli.log.log = "warn,librdkafka=off,rdkafka=off".to_owned();
    }
    pipeline::main("tickstream", &cli.log.clone(), |shutdown| run(cli.command, shutdown))
}

async fn run(command: Command, shutdown: CancellationToken) -> anyhow::Result<()> {
    // What goes on until it is interrupted is done then.
    let goes_on = matches!(&command, Command::Watch(_)) || matches!(&command, Command::Latest(args) if args.watch);
    let work = async {
        match command {
            Command::Topics(command) => topics::run(command).await,
            Command::Schema(command) => Box::pin(schema::run(command)).await,
            Command::Groups(args) => Box::pin(groups::run(args)).await,
            Command::Watch(args) => Box::pin(watch::run(args)).await,
            Command::Audit(args) => Box::pin(audit::run(args)).await,
            Command::Trace(args) => Box::pin(trace::run(args)).await,
            Command::Dlq(command) => Box::pin(dlq::run(command)).await,
            Command::Replay(command) => Box::pin(replay::run(command)).await,
            Command::Lake(command) => lake::run(command).await,
            Command::Export(args) => Box::pin(export::run(args)).await,
            Command::Latest(args) => latest::run(args).await,
            Command::History(args) => history::run(args).await,
            Command::Completions(args) => completions::run(&args, Cli::command()),
            Command::Man(args) => man::run(&args, Cli::command()),
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
