//! `tickstream replay`: records that were read once are read again, on purpose. A plan is made and shown first, carried out
//! once, and leaves a record in market.replays.v1. Must never happen here: a plan that is carried out though what it was made
//! of has changed.

mod execute;
mod generation;
mod plan;

use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub enum ReplayCommand {
    /// Carry out a plan.
    Execute(execute::ExecuteArgs),
}

pub async fn run(command: ReplayCommand) -> anyhow::Result<()> {
    match command {
        ReplayCommand::Execute(args) => execute::run(args).await,
    }
}
