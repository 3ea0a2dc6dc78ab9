//! What a user can set. The doc comments are the help text.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::civil::Date;
use lake::raw::Compression;
use pipeline::admin::AdminArgs;
use pipeline::misconfigured;
use pipeline::registry::RegistryArgs;
use pipeline::store::StoreArgs;
use pipeline::telemetry::LogArgs;

use crate::tables::Prefixes;

/// Makes silver and gold of the lake from bronze, by plain SQL, and keeps them up to date.
#[derive(Parser, Clone, Debug)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub config: Config,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Look for new bronze again and again, until told to stop.
    Run(RunArgs),
    /// Take up what is new, make all that it touches, and end.
    Once,
    /// Make a range of days again from the raw lake alone; no Kafka is needed. What would be the same is not written.
    Rebuild(RebuildArgs),
    /// Take up the objects that a notification of the store names: an S3 event, as it comes, or within SQS, SNS or EventBridge.
    HandleEvent(HandleEventArgs),
}

#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// How long to rest between two looks, such as 60s or 5m.
    #[arg(long, env = "REFINER_EVERY", default_value = "60s", value_parser = duration, value_name = "DURATION")]
    pub every: Duration,
    /// How often the hour that is still open is made again; closed hours are made as soon as something of theirs comes.
    #[arg(long, env = "REFINER_OPEN_EVERY", default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub open_every: Duration,
    #[command(flatten)]
    pub admin: AdminArgs,
}

#[derive(Args, Clone, Debug)]
pub struct RebuildArgs {
    /// The first day: of the broker's clock for bronze, of the events for silver and gold.
    #[arg(long, value_name = "DATE")]
    pub from: Date,
    /// The last day, included.
    #[arg(long, value_name = "DATE")]
    pub to: Date,
    /// This layer only; all, from bronze up, when not given.
    #[arg(long, value_enum)]
    pub layer: Option<RebuildLayer>,
    /// Write nothing: count what would change.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RebuildLayer {
    Bronze,
    Silver,
    Gold,
}

impl RebuildArgs {
    /// # Errors
    /// [`pipeline::Misconfigured`] when it ends before it begins.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.from <= self.to {
            return Ok(());
        }
        Err(misconfigured(format!("--from {} is after --to {}: no day lies between them", self.from, self.to)))
    }
}

#[derive(Args, Clone, Debug)]
pub struct HandleEventArgs {
    /// The notification as JSON; - reads standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub struct Config {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Where silver begins, below the lake's prefix. Another name makes a second generation beside the first.
    #[arg(long, env = "REFINER_SILVER_PREFIX", default_value = "silver", value_parser = prefix, global = true)]
    pub silver_prefix: String,
    /// Where gold begins.
    #[arg(long, env = "REFINER_GOLD_PREFIX", default_value = "gold", value_parser = prefix, global = true)]
    pub gold_prefix: String,
    /// How objects are compressed. What is written already stays as it is until it is made again.
    #[arg(long, env = "LAKE_COMPRESSION", value_enum, default_value = "zstd", global = true)]
    pub compression: Compression,
    /// Memory for sorting, in MiB; beyond it sorts go on on disk.
    #[arg(long, env = "REFINER_MEMORY_MB", default_value = "1024", value_parser = clap::value_parser!(u32).range(64..), global = true)]
    pub memory_mb: u32,
    /// Disk for copies of objects that were read, in MiB: what is there still need not be fetched again.
    #[arg(long, env = "REFINER_CACHE_MB", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..), global = true)]
    pub cache_mb: u32,
    /// Where those copies, and what does not fit into memory, lie; the system's temporary folder when not given.
    #[arg(long, env = "REFINER_TEMP_DIR", value_name = "DIR", global = true)]
    pub temp_dir: Option<PathBuf>,
}

impl Config {
    #[must_use]
    pub fn prefixes(&self) -> Prefixes {
        Prefixes { silver: self.silver_prefix.clone(), gold: self.gold_prefix.clone() }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.trim().parse().map_err(|_| "expected a duration, such as 60s or 5m".to_owned())?;
    Duration::try_from(span).map_err(|_| "expected a duration that is not negative".to_owned())
}

/// Path parts that no key of raw or bronze begins with.
fn prefix(text: &str) -> Result<String, String> {
    let trimmed = text.trim().trim_matches('/');
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.' | '/');
    let first = trimmed.split('/').next().unwrap_or_default();
    if trimmed.is_empty() || !trimmed.chars().all(plain) || matches!(first, "raw" | "bronze") {
        return Err("expected letters, digits, - _ . and /, and not raw or bronze".to_owned());
    }
    Ok(trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        assert!(Cli::try_parse_from(["refiner", "run", "--every", "90s"]).is_ok());
        for wrong in [&["refiner", "run", "--every", "-1s"][..], &["refiner", "once", "--silver-prefix", "raw/x"]] {
            assert!(Cli::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }
}
