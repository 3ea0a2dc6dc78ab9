//! What a user can set. The doc comments are the help text.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser};
use lake::raw::Compression;
use pipeline::admin::AdminArgs;
use pipeline::consume::Until;
use pipeline::kafka::KafkaArgs;
use pipeline::registry::RegistryArgs;
use pipeline::store::StoreArgs;
use pipeline::telemetry::LogArgs;
use pipeline::topics;
use pipeline::trace::TraceArgs;

/// Writes Kafka records to the lake: raw Parquet, bytes verbatim, each record once, and bronze Parquet, decoded.
#[derive(Parser, Clone, Debug)]
#[command(version)]
pub struct Cli {
    #[command(flatten)]
    pub config: Config,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub trace: TraceArgs,
}

#[derive(Args, Clone, Debug)]
pub struct Config {
    /// The topics to archive, separated by commas. Records of a declared topic are decoded as well; those of any other one
    /// are kept raw.
    #[arg(long, env = "LAKE_TOPICS", value_delimiter = ',', default_values_t = archived(), value_parser = NonEmptyStringValueParser::new())]
    pub topics: Vec<String>,
    /// The Kafka consumer group.
    #[arg(long, env = "LAKE_GROUP", default_value = "consumer-lake")]
    pub group: String,
    /// A raw object is closed at so many records, …
    #[arg(long, env = "LAKE_MAX_ROWS", default_value = "100000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_rows: u32,
    /// … so many bytes of records, before compression (memory grows with it, a few times over), …
    #[arg(long, env = "LAKE_MAX_BYTES", default_value = "4194304", value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    pub max_bytes: u32,
    /// … or when its first record has waited so many milliseconds. Ten seconds show a demo's ticks while one watches; where
    /// nobody waits for the lake, minutes make fewer and larger objects.
    #[arg(long, env = "LAKE_MAX_AGE_MS", default_value = "10000", value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    pub max_age_ms: u64,
    /// How objects are compressed: zstd makes the smaller ones, snappy is for readers that know nothing else. What is written
    /// already is left as it is.
    #[arg(long, env = "LAKE_COMPRESSION", value_enum, default_value = "zstd")]
    pub compression: Compression,
    /// End by itself: write and commit what the topics hold now, then exit. For cron.
    #[arg(long)]
    pub until_caught_up: bool,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
}

impl Config {
    pub fn max_age(&self) -> Duration {
        Duration::from_millis(self.max_age_ms)
    }

    pub fn until(&self) -> Until {
        if self.until_caught_up { Until::CaughtUp } else { Until::Shutdown }
    }
}

fn archived() -> Vec<String> {
    topics::archived().into_iter().map(|topic| topic.name).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["consumer-lake", "--topics", "a,b"]);
        assert_eq!(cli.config.topics, ["a", "b"]);
        assert!(Cli::try_parse_from(["consumer-lake", "--max-rows", "0"]).is_err());
        assert!(
            Cli::try_parse_from(["consumer-lake", "--max-bytes", "1073741825"]).is_err(),
            "Arrow counts up to 2 GiB"
        );
    }
}
