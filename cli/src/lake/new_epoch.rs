//! `tickstream lake new-epoch`: shows what the lake is bound to and what the broker has, and with `--yes` closes the old epoch
//! and begins the next. Must never happen here: a lake closed for a cluster that was named by mistake without a word.

use std::sync::Arc;

use clap::Args;
use lake::chain::operator::{Begun, Look, look, new_epoch};
use pipeline::lake::{Epoch, table};
use pipeline::topics;
use serde::Serialize;

use super::world::{WorldArgs, ended};
use crate::output::{self, Format, OutputArgs};

#[derive(Args, Debug)]
pub struct NewEpochArgs {
    #[command(flatten)]
    world: WorldArgs,
    /// The topic that was made anew, or that is in another cluster now.
    #[arg(long, env = "NEW_EPOCH_TOPIC", value_name = "TOPIC")]
    topic: String,
    /// Do it. Without this the command says what it would do, changes nothing and ends with exit code 0. It cannot be undone:
    /// a closed epoch stays closed.
    #[arg(long, env = "NEW_EPOCH_YES")]
    yes: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// The answer of `-o json`.
#[derive(Debug, Serialize)]
struct Answer {
    topic: String,
    /// False: this is what would be done.
    done: bool,
    /// The newest epoch before, and what it was written from.
    old_epoch: u32,
    written_from: Epoch,
    /// The epoch that the lake goes on with, and the topic as it is now.
    epoch: u32,
    bound_to: Epoch,
    /// The chains of older epochs that are closed by this run.
    closes: Vec<ClosedChain>,
}

#[derive(Debug, Serialize)]
struct ClosedChain {
    epoch: u32,
    partition: i32,
    /// Where it was closed; null when nothing was done.
    offset: Option<i64>,
}

pub async fn run(args: NewEpochArgs) -> anyhow::Result<()> {
    args.world.partitions(&args.topic, &[topics::GAPS]).await?;
    let world = args.world.connect().await?;
    let topic: Arc<str> = args.topic.as_str().into();
    let found = look(&world, &topic).await.map_err(ended)?;
    found.refuse_if_nothing_to_do(&topic).map_err(ended)?;
    let answer = if args.yes {
        let table = topics::record_type(&topic).map(table);
        let begun = new_epoch(world, topic, table).await.map_err(ended)?;
        done(args.topic, found, begun)
    } else {
        would_do(args.topic, &found)
    };
    match args.output.format {
        Format::Json => output::print_json(&answer),
        Format::Table => output::print(&answer.as_text()),
        Format::Csv => output::print(&answer.as_csv()?),
    }
}

fn would_do(topic: String, found: &Look) -> Answer {
    let closes = found.open().map(|chain| ClosedChain { epoch: chain.epoch, partition: chain.partition, offset: None });
    Answer {
        topic,
        done: false,
        old_epoch: found.epoch,
        written_from: found.bound.clone(),
        epoch: found.epoch + u32::from(found.wants_epoch()),
        bound_to: found.here.clone(),
        closes: closes.collect(),
    }
}

fn done(topic: String, found: Look, begun: Begun) -> Answer {
    let closed = begun.closed.iter();
    let closes =
        closed.map(|chain| ClosedChain { epoch: chain.epoch, partition: chain.partition, offset: Some(chain.offset) });
    Answer {
        topic,
        done: true,
        old_epoch: found.epoch,
        written_from: found.bound,
        epoch: begun.epoch,
        closes: closes.collect(),
        bound_to: begun.bound,
    }
}

/// A line of CSV: a chain, or, where none is to be closed, the epoch alone.
#[derive(Debug, Serialize)]
struct Row<'a> {
    topic: &'a str,
    done: bool,
    old_epoch: u32,
    epoch: u32,
    closed_epoch: Option<u32>,
    partition: Option<i32>,
    offset: Option<i64>,
}

const HEADINGS: [&str; 7] = ["topic", "done", "old_epoch", "epoch", "closed_epoch", "partition", "offset"];

impl Answer {
    fn as_csv(&self) -> anyhow::Result<String> {
        let row = |chain: Option<&ClosedChain>| Row {
            topic: &self.topic,
            done: self.done,
            old_epoch: self.old_epoch,
            epoch: self.epoch,
            closed_epoch: chain.map(|chain| chain.epoch),
            partition: chain.map(|chain| chain.partition),
            offset: chain.and_then(|chain| chain.offset),
        };
        let chains: Vec<Row<'_>> = self.closes.iter().map(|chain| row(Some(chain))).collect();
        output::csv(&HEADINGS, true, &if chains.is_empty() { vec![row(None)] } else { chains })
    }

    fn as_text(&self) -> String {
        let Self { topic, old_epoch, epoch, written_from, bound_to, .. } = self;
        let mut text = format!(
            "epoch {old_epoch:04} of {topic} in the lake was written from topic id {} in cluster {}\n\
             the broker has topic id {} in cluster {}\n",
            written_from.topic_id, written_from.cluster_id, bound_to.topic_id, bound_to.cluster_id
        );
        for chain in &self.closes {
            let name = format!("{topic}[{}] of epoch {:04}", chain.partition, chain.epoch);
            text.push_str(&match chain.offset {
                Some(offset) => format!("{name} is closed at offset {offset}, every bronze object below is there\n"),
                None => format!("{name} would be closed, each missing bronze object made before\n"),
            });
        }
        if written_from != bound_to && !self.closes.is_empty() {
            let (is, gaps) = (if self.done { "is" } else { "would be" }, topics::GAPS);
            text.push_str(&format!(
                "what the old topic had behind the ends of these chains is lost: that {is} told in {gaps}, a gap event a chain
"
            ));
        }
        let begins = epoch != old_epoch;
        text.push_str(&match (self.done, begins) {
            (true, true) => format!("epoch {epoch:04} begins: start consumer-lake again\n"),
            (false, true) => format!(
                "epoch {epoch:04} would begin\nNothing was changed: --yes does it, and it cannot be undone. End what still writes the old epoch first.\n"
            ),
            (true, false) => format!("epoch {epoch:04} goes on\n"),
            (false, false) => format!("epoch {epoch:04} would go on\nNothing was changed: --yes does it.\n"),
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn both_clusters_are_named_before_anything_is_done() {
        let epoch = |name: &str, id| Epoch { cluster_id: name.to_owned(), topic_id: Uuid::from_u128(id) };
        let mut answer = Answer {
            topic: "t".to_owned(),
            done: false,
            old_epoch: 0,
            written_from: epoch("old-cluster", 1),
            epoch: 1,
            bound_to: epoch("new-cluster", 2),
            closes: vec![ClosedChain { epoch: 0, partition: 3, offset: None }],
        };
        let shown = answer.as_text();
        let parts = [
            "old-cluster",
            "new-cluster",
            "t[3] of epoch 0000 would be closed",
            "would be told",
            "0001 would begin",
            "--yes",
        ];
        for part in parts {
            assert!(shown.contains(part), "{shown} does not say {part}");
        }
        let csv = answer.as_csv().expect("text");
        assert_eq!(csv, "topic,done,old_epoch,epoch,closed_epoch,partition,offset\nt,false,0,1,0,3,\n");
        answer.done = true;
        answer.closes[0].offset = Some(7);
        let done = answer.as_text();
        assert!(
            done.contains("closed at offset 7") && done.contains("0001 begins") && !done.contains("would"),
            "{done}"
        );
    }
}
