//! `tickstream lake accept-hole`: shows the holes that retention has left, and with `--yes` lets the lake go on over them.
//! Must never happen here: a loss that is accepted and not printed.

use std::sync::Arc;

use clap::Args;
use lake::chain::operator::{Hole, accept_hole, holes};
use pipeline::{misconfigured, topics};
use serde::Serialize;

use super::world::{WorldArgs, ended};
use crate::output::{self, OutputArgs};

#[derive(Args, Debug)]
pub struct AcceptHoleArgs {
    #[command(flatten)]
    world: WorldArgs,
    /// The topic whose records retention removed before they were in the lake.
    #[arg(long, env = "ACCEPT_HOLE_TOPIC", value_name = "TOPIC")]
    topic: String,
    /// Accept the hole of this partition only. Default: of every partition that has one.
    #[arg(long, env = "ACCEPT_HOLE_PARTITION", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Do it. Without this the command says what it would do, changes nothing and ends with exit code 0.
    #[arg(long, env = "ACCEPT_HOLE_YES")]
    yes: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// The fields of JSON and CSV.
const HEADINGS: [&str; 5] = ["topic", "partition", "start", "next_offset", "state"];

/// `open` would be accepted; `untold` was accepted by a run that was interrupted before it published the gap event.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum HoleState {
    Open,
    Untold,
    Accepted,
}

/// One line of the answer: offsets from `start`, up to `next_offset` exclusive.
#[derive(Debug, Serialize)]
struct Line {
    topic: Arc<str>,
    partition: i32,
    start: i64,
    next_offset: i64,
    state: HoleState,
}

pub async fn run(args: AcceptHoleArgs) -> anyhow::Result<()> {
    let topic: Arc<str> = args.topic.as_str().into();
    let partitions = partitions(&args).await?;
    let world = args.world.connect().await?;
    let mut lines = Vec::new();
    for &partition in &partitions {
        let line =
            |Hole { start, next_offset }, state| Line { topic: topic.clone(), partition, start, next_offset, state };
        if args.yes {
            let accepted = accept_hole(world.clone(), topic.clone(), partition).await.map_err(ended);
            let accepted = accepted.map_err(|error| with_accepted(error, &lines))?;
            lines.extend(accepted.into_iter().map(|hole| line(hole, HoleState::Accepted)));
        } else {
            let found = holes(world.clone(), topic.clone(), partition).await.map_err(ended)?;
            lines.extend(found.untold.into_iter().map(|hole| line(hole, HoleState::Untold)));
            lines.extend(found.open.map(|hole| line(hole, HoleState::Open)));
        }
    }
    if lines.is_empty() {
        let place = args.partition.map_or_else(|| topic.to_string(), |partition| format!("{topic}[{partition}]"));
        return Err(misconfigured(format!(
            "there is no hole to accept: retention has removed nothing of {place} that the lake does not hold"
        )));
    }
    output::print_rows(args.output.format, &HEADINGS, &lines, |lines| as_text(lines, args.yes))
}

async fn partitions(args: &AcceptHoleArgs) -> anyhow::Result<Vec<i32>> {
    let partitions = args.world.partitions(&args.topic, &[topics::GAPS]).await?;
    match args.partition {
        None => Ok(partitions),
        Some(asked) if partitions.contains(&asked) => Ok(vec![asked]),
        Some(asked) => Err(misconfigured(format!(
            "--partition {asked}: topic {} has {} partitions, counted from 0",
            args.topic,
            partitions.len()
        ))),
    }
}

/// What was accepted before another partition failed.
fn with_accepted(error: anyhow::Error, lines: &[Line]) -> anyhow::Error {
    if lines.is_empty() {
        return error;
    }
    let accepted: Vec<String> = lines.iter().map(Line::offsets).collect();
    error.context(format!("accepted were {}", accepted.join(", ")))
}

impl Line {
    fn offsets(&self) -> String {
        format!("offsets {} to {} of {}[{}]", self.start, self.next_offset - 1, self.topic, self.partition)
    }
}

fn as_text(lines: &[Line], done: bool) -> String {
    let mut text = String::new();
    for line in lines {
        let (offsets, next, gaps) = (line.offsets(), line.next_offset, topics::GAPS);
        text.push_str(&match line.state {
            HoleState::Open => format!(
                "{offsets} were removed by retention before they were in the lake: would be accepted as lost; the lake would go on at \
                 {next}, and a gap event would be published to {gaps}\n"
            ),
            HoleState::Untold => {
                format!("{offsets} are accepted as lost already: their gap event would be published to {gaps}\n")
            }
            HoleState::Accepted => format!(
                "{offsets} are accepted as lost: the lake goes on at {next}, and a gap event is published to {gaps}\n"
            ),
        });
    }
    text.push_str(if done { "Start consumer-lake again.\n" } else { "Nothing was changed: --yes does it.\n" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_and_what_was_done_are_told_apart() {
        let line = |state| Line { topic: "t".into(), partition: 2, start: 5, next_offset: 9, state };
        let shown = as_text(&[line(HoleState::Untold), line(HoleState::Open)], false);
        assert_eq!(shown.lines().count(), 3);
        assert!(
            shown.contains("offsets 5 to 8 of t[2] were removed") && shown.contains("Nothing was changed"),
            "{shown}"
        );
        let done = as_text(&[line(HoleState::Accepted)], true);
        assert!(done.contains("goes on at 9") && !done.contains("would") && !done.contains("Nothing"), "{done}");
    }
}
