//! `tickstream lake`: what a person does with the lake, beyond reading it. Each command stands in a file of its own.

mod export;
mod restore;

use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub enum LakeCommand {
    /// Write the lake's rows as CSV files, one a day and symbol.
    Export(export::ExportArgs),
    /// Write a raw object that was damaged or deleted anew, from the topic's records.
    Restore(restore::RestoreArgs),
}

pub async fn run(command: LakeCommand) -> anyhow::Result<()> {
    match command {
        LakeCommand::Export(args) => export::run(args).await,
        LakeCommand::Restore(args) => restore::run(args).await,
    }
}
