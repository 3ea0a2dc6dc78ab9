//! `tickstream replay`: records that were read once are read again, on purpose. A plan is made and shown first, carried out
//! once, and leaves a record in market.replays.v1. Must never happen here: a plan that is carried out though what it was made
//! of has changed.

mod diff;
mod drop;
mod execute;
mod generation;
mod list;
mod plan;
mod planning;
mod promote;
mod record;
mod rewind;
mod switch;

use clap::Subcommand;

#[derive(Subcommand, Debug)]
pub enum ReplayCommand {
    /// Look up what would be read and written, show it, and write it into a file. Nothing else is written.
    Plan(Box<planning::PlanArgs>),
    /// Carry out a plan.
    Execute(execute::ExecuteArgs),
    /// Show all replays and how far they are.
    List(list::ListArgs),
    /// Show one replay: its plan, what was done, and when.
    Show(list::ShowArgs),
    /// Compare a generation with what is live, event by event and column by column. Exit code 1 where they differ.
    Diff(diff::DiffArgs),
    /// Remove a generation. What is live stays as it is.
    Drop(drop::DropArgs),
    /// Put what a generation has in the place of what is live, in one transaction.
    Promote(promote::SwitchArgs),
    /// Put back what was live before a generation was promoted. What came since stays.
    Rollback(promote::SwitchArgs),
}

pub async fn run(command: ReplayCommand) -> anyhow::Result<()> {
    match command {
        ReplayCommand::Plan(args) => planning::run(*args).await,
        ReplayCommand::List(args) => list::list(args).await,
        ReplayCommand::Show(args) => list::show(args).await,
        ReplayCommand::Promote(args) => promote::promote(args).await,
        ReplayCommand::Rollback(args) => promote::roll_back(args).await,
        ReplayCommand::Execute(args) => Box::pin(execute::run(args)).await,
        ReplayCommand::Diff(args) => diff::run(args).await,
        ReplayCommand::Drop(args) => drop::run(args).await,
    }
}
