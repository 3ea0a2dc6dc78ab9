//! What a user can set. The doc comments are the help text.

use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use pipeline::admin::AdminArgs;
use pipeline::consume::Until;
use pipeline::kafka::KafkaArgs;
use pipeline::registry::RegistryArgs;
use pipeline::telemetry::LogArgs;
use pipeline::trace::TraceArgs;
use secrecy::SecretString;

/// Writes market ticks from Kafka to Postgres, each event once, its highest revision.
#[derive(Parser, Clone, Debug)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub config: Config,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub trace: TraceArgs,
}

#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Consume until stopped. This is what is done when no command is given.
    Run,
    /// Bring the schema up to date and exit.
    Migrate {
        /// Change nothing: only say, by the exit code too, whether the schema is the one that this program needs.
        #[arg(long)]
        check: bool,
    },
    /// Drop the days of ticks that are older than so many days and exit. Candles and latest prices stay.
    Retain {
        /// How many whole days before today are kept.
        #[arg(long, env = "DB_RETENTION_DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
        /// Only say what would be dropped.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Args, Clone, Debug)]
pub struct Config {
    /// The database: postgres://user:password@host:5432/database
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        global = true,
        value_name = "URL",
        default_value = "postgres://postgres@127.0.0.1:5432/tickstream",
        value_parser = NonEmptyStringValueParser::new().map(SecretString::from)
    )]
    pub database_url: SecretString,
    /// Start without bringing the schema up to date; it must be already.
    #[arg(long, env = "DB_NO_MIGRATE")]
    pub no_migrate: bool,
    /// The Kafka consumer group.
    #[arg(long, env = "DB_GROUP", default_value = "consumer-db")]
    pub group: String,
    /// A transaction takes at most so many records of a partition, …
    #[arg(long, env = "DB_MAX_ROWS", default_value = "5000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_rows: u32,
    /// … and begins when the oldest record has waited so many milliseconds.
    #[arg(long, env = "DB_MAX_AGE_MS", default_value = "500", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub max_age_ms: u64,
    /// Ticks whose event_time lies more days before their broker time go to the dead letters.
    #[arg(long, env = "DB_OLDEST_EVENT_DAYS", default_value = "400", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub oldest_event_days: u32,
    /// End by itself: write and commit what the topics hold now, then exit. For cron.
    #[arg(long, global = true)]
    pub until_caught_up: bool,
    /// Drop the days of ticks that are older than so many days, once a day. Needs the owner of the table. Default: keep all.
    #[arg(long, env = "DB_RETENTION_DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub retention_days: Option<u32>,
    /// Go on at the start of the log where retention has deleted records that were not read.
    #[arg(long, env = "DB_ACCEPT_HOLE")]
    pub accept_hole: bool,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

impl Config {
    pub fn max_age(&self) -> Duration {
        Duration::from_millis(self.max_age_ms)
    }

    pub fn until(&self) -> Until {
        if self.until_caught_up { Until::CaughtUp } else { Until::Shutdown }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_hides_the_url() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["consumer-db", "--database-url", "postgres://u:hunter2@h/d"]);
        assert!(!format!("{cli:?}").contains("hunter2"));
        assert!(Cli::try_parse_from(["consumer-db", "migrate", "--database-url", "postgres://u@h/d"]).is_ok());
        assert!(Cli::try_parse_from(["consumer-db", "retain", "--days", "0"]).is_err());
    }
}
