//! `tickstream topics`: makes the cluster agree with the declared topics, says where it does not, and lists them.

mod admin;
mod apply;
mod diff;
mod list;
mod plan;

use clap::{Args, Subcommand};
use pipeline::kafka::KafkaArgs;

use crate::output::OutputArgs;

#[derive(Subcommand, Debug)]
pub enum TopicsCommand {
    /// Create the declared topics and mend those that differ. Changes nothing when all is as declared.
    Apply(ApplyArgs),
    /// Show where the topics are not as declared, and change nothing. Exit code 1 when any is not.
    Diff(DiffArgs),
    /// Show the declared topics: partitions, offsets, topic ids.
    List(ListArgs),
}

#[derive(Args, Debug)]
pub struct ApplyArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    /// Replicas of each new topic. Default: 3, or as many as there are brokers.
    #[arg(long, env = "TOPIC_REPLICATION", value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    replication: Option<i32>,
    /// Say what would be done, and do nothing.
    #[arg(long, env = "TOPICS_DRY_RUN")]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
pub struct DiffArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub async fn run(command: TopicsCommand) -> anyhow::Result<()> {
    match command {
        TopicsCommand::Apply(args) => apply::run(args).await,
        TopicsCommand::Diff(args) => diff::run(args).await,
        TopicsCommand::List(args) => list::run(args).await,
    }
}
