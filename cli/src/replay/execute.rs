//! `tickstream replay execute`: a plan is read, held against what there is now, and carried out.

use std::path::PathBuf;

use clap::Args;
use pipeline::misconfigured;

use super::plan::{Mode, Plan};

#[derive(Args, Debug)]
pub struct ExecuteArgs {
    /// The plan, as `tickstream replay plan` wrote it.
    #[arg(env = "REPLAY_PLAN", value_name = "PLAN")]
    plan: PathBuf,
}

pub async fn run(args: ExecuteArgs) -> anyhow::Result<()> {
    let plan = Plan::read(&args.plan)?;
    match plan.mode {
        Mode::Rewind | Mode::SideBySide => Err(misconfigured("no plan can be carried out yet")),
    }
}
