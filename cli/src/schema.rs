//! `tickstream schema`: says before a schema is published whether old readers and new ones get on with it, and registers the
//! ones that records are written with. Must never happen here: a schema that is registered though it breaks what was asked.

mod check;
mod compatibility;
mod demand;
mod history;
mod register;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use pipeline::registry::RegistryArgs;

use crate::output::OutputArgs;

#[derive(Subcommand, Debug)]
pub enum SchemaCommand {
    /// Check whether a schema can read what earlier versions wrote, and they what it writes. Exit code 1 when it breaks what is
    /// demanded.
    Check(CheckArgs),
    /// Register the schemas that records are written with.
    Register(RegisterArgs),
}

#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Schema files (.avsc). Default: the newest version of each record type.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    history: HistoryArgs,
    /// What must hold. Default: backward against the history, and the subject's own level against the registry.
    #[arg(long, env = "SCHEMA_COMPATIBILITY", value_enum, value_name = "LEVEL")]
    compatibility: Option<Compatibility>,
    /// Compare with one of the two alone. Default: the history, and the registry where one is set.
    #[arg(long, env = "SCHEMA_AGAINST", value_enum, value_name = "WHAT")]
    against: Option<Against>,
    /// The registry's subject, for a file whose record type is not known here.
    #[arg(long, env = "SCHEMA_SUBJECT", value_name = "SUBJECT")]
    subject: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
pub struct RegisterArgs {
    /// Record types, such as price_tick. Default: all.
    #[arg(value_name = "RECORD")]
    records: Vec<String>,
    #[command(flatten)]
    history: HistoryArgs,
    /// Register the older versions too, oldest first. Default: the newest, with which records are written.
    #[arg(long, env = "SCHEMA_ALL_VERSIONS")]
    all_versions: bool,
    /// Say what would be done, and do nothing.
    #[arg(long, env = "SCHEMA_DRY_RUN")]
    dry_run: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
struct HistoryArgs {
    /// The folder of all versions, NAME-vN.avsc. Default: those that this program was built with.
    #[arg(long = "history", env = "SCHEMA_HISTORY", value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compatibility {
    /// The new schema reads what every older one wrote.
    Backward,
    /// Every older schema reads what the new one writes.
    Forward,
    /// Both.
    Full,
    /// Nothing: differences are shown and allowed.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    /// The versions in the history.
    History,
    /// The versions that the registry has.
    Registry,
}

pub async fn run(command: SchemaCommand) -> anyhow::Result<()> {
    match command {
        SchemaCommand::Check(args) => check::run(args).await,
        SchemaCommand::Register(args) => register::run(args).await,
    }
}
