//! `tickstream lake`: what a person does with the lake, beyond reading it. Each command stands in a file of its own.

mod accept_hole;
pub mod export;
mod new_epoch;
mod restore;
mod world;

use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub enum LakeCommand {
    /// Let the lake go on over offsets that retention removed before the lake had them.
    AcceptHole(accept_hole::AcceptHoleArgs),
    /// Let the lake go on with a topic that was made anew, or with another cluster: close the old epoch, begin the next.
    NewEpoch(new_epoch::NewEpochArgs),
    /// Write the lake's rows as CSV files, one a day and symbol.
    Export(export::ExportArgs),
    /// Write a raw object that was damaged or deleted anew, from the topic's records.
    Restore(restore::RestoreArgs),
}

pub async fn run(command: LakeCommand) -> anyhow::Result<()> {
    match command {
        LakeCommand::AcceptHole(args) => accept_hole::run(args).await,
        LakeCommand::NewEpoch(args) => new_epoch::run(args).await,
        LakeCommand::Export(args) => export::run(args).await,
        LakeCommand::Restore(args) => restore::run(args).await,
    }
}
