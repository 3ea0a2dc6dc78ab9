//! What a user can set. The doc comments are the help text.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use pipeline::misconfigured;
use pipeline::telemetry::LogArgs;
use pipeline::trace::TraceArgs;

use crate::backtest::BacktestArgs;
use crate::notify::NotifyArgs;
use crate::rules::{MAX_FILE_BYTES, Rules};
use crate::service::RunArgs;

/// Watches market data by rules and tells when one fires.
#[derive(Parser, Clone, Debug)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub trace: TraceArgs,
}

#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Judge ticks, gaps and the sources' health by the rules, and publish alerts.
    Run(RunArgs),
    /// Read a file of rules and say each rule in one sentence, or what is wrong with the file.
    Check(CheckArgs),
    /// Try rules on a time that is over: print what they would have told.
    Backtest(BacktestArgs),
    /// Send alerts to people and programs: Telegram, webhooks, Slack.
    Notify(NotifyArgs),
}

#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The file; without it the one that --rules names, or the built-in one.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub rules: RulesArgs,
}

/// Where the rules are.
#[derive(Args, Clone, Debug)]
pub struct RulesArgs {
    /// The file of rules (TOML); without it the built-in rules hold.
    #[arg(long, env = "ALERT_RULES", value_name = "FILE")]
    pub rules: Option<PathBuf>,
}

impl RulesArgs {
    /// Reads the file, or gives the built-in rules.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`]: the file, and where in it what is wrong.
    pub fn load(&self) -> anyhow::Result<Rules> {
        self.rules.as_deref().map_or_else(|| Ok(Rules::built_in()), read)
    }
}

/// Reads one file of rules.
///
/// # Errors
/// [`pipeline::Misconfigured`]: the file, and where in it what is wrong.
pub fn read(path: &Path) -> anyhow::Result<Rules> {
    let rules = content(path).and_then(|bytes| parse(&bytes));
    rules.map_err(|why| misconfigured(format!("cannot use the rules in {}: {why}", path.display())))
}

/// What a file of rules has in it: of a larger one than is allowed a byte more than that.
///
/// # Errors
/// Why it cannot be read.
pub fn content(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    // Whatever the file is, it is not read to an end that may not come.
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// # Errors
/// Where in it what is wrong.
pub fn parse(bytes: &[u8]) -> Result<Rules, String> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(format!("it has more than {MAX_FILE_BYTES} bytes; at most so many are read"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        format!("it is not text in UTF-8: the byte at position {} is no part of any", error.valid_up_to())
    })?;
    Rules::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
