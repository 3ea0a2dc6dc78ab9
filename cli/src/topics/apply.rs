//! `tickstream topics apply`. May be run by several at once and again at any time: it says what it did, and does only what
//! is missing.

use std::time::Duration;

use pipeline::topics::declared;
use serde::Serialize;

use super::ApplyArgs;
use super::admin::Admin;
use super::plan::{Change, Plan, partitions, plan, remark};
use crate::kafka::Cluster;
use crate::output;

const MOST_REPLICAS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Created,
    Changed,
    Unchanged,
}

/// What was done with one topic, or would be.
#[derive(Debug, Serialize)]
struct Line {
    topic: String,
    action: Action,
    /// False: this is what would be done.
    done: bool,
    partitions: usize,
    /// Of a topic that is created.
    replication: Option<i32>,
    /// `name from -> to`, separated by commas.
    changes: String,
    remark: Option<String>,
}

const HEADINGS: [&str; 7] = ["topic", "action", "done", "partitions", "replication", "changes", "remark"];

pub async fn run(args: ApplyArgs) -> anyhow::Result<()> {
    let cluster = Cluster::new(&args.kafka)?;
    let metadata = cluster.metadata().await?;
    let admin = Admin::new(&args.kafka)?;
    let existing = admin.describe(&metadata).await?;
    let default = i32::try_from(metadata.brokers.min(MOST_REPLICAS)).unwrap_or(1);
    let replication = args.replication.unwrap_or(default);

    let mut lines = Vec::new();
    for topic in declared() {
        let existing = existing.get(&topic.name);
        let mut line = Line {
            topic: topic.name.clone(),
            action: Action::Unchanged,
            done: !args.dry_run,
            partitions: partitions(&topic),
            replication: None,
            changes: String::new(),
            remark: remark(&topic, existing.map(|(existing, _)| existing)),
        };
        match plan(&topic, existing.map(|(existing, _)| existing)) {
            Plan::Create => {
                let made = args.dry_run || admin.create(&topic, replication).await?;
                if made {
                    line.action = Action::Created;
                    line.replication = Some(replication);
                } else {
                    line.remark = Some("somebody else has just created it".to_owned());
                }
            }
            Plan::Change(changes) if changes.is_empty() => {}
            Plan::Change(changes) => {
                if !args.dry_run {
                    let set_by_others = existing.map(|(_, own)| own.clone()).unwrap_or_default();
                    admin.change(&topic, &changes, set_by_others).await?;
                }
                line.action = Action::Changed;
                line.changes = changes.iter().map(Change::to_string).collect::<Vec<_>>().join(", ");
            }
        }
        lines.push(line);
    }
    if !args.dry_run {
        wait_until_led(&cluster).await?;
    }
    output::print_rows(args.output.format, &HEADINGS, &lines, |lines| lines.iter().map(Line::as_text).collect())
}

impl Line {
    fn as_text(&self) -> String {
        let would = if self.done { "" } else { "would be " };
        let what = match (self.action, self.replication) {
            (Action::Created, replication) => format!(
                "{would}created: {} partition{}, replication {}",
                self.partitions,
                if self.partitions == 1 { "" } else { "s" },
                replication.unwrap_or(1)
            ),
            (Action::Changed, _) => format!("{would}changed: {}", self.changes),
            (Action::Unchanged, _) => "unchanged".to_owned(),
        };
        let remark = self.remark.as_ref().map(|remark| format!(" ({remark})")).unwrap_or_default();
        format!("{}: {what}{remark}\n", self.topic)
    }
}

/// A topic can be used once each partition has a leader; a service that starts right after this must not find it unknown.
async fn wait_until_led(cluster: &Cluster) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let metadata = cluster.metadata().await?;
        let waits = declared().into_iter().find(|topic| {
            !metadata
                .topics
                .get(&topic.name)
                .is_some_and(|found| found.led && found.partitions.len() >= partitions(topic))
        });
        let Some(topic) = waits else { return Ok(()) };
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "{} has partitions without a leader after {PATIENCE:?}",
            topic.name
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
