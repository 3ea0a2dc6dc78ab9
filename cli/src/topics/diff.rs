//! `tickstream topics diff`: what the broker has and what is declared, side by side. Changes nothing. A difference is what
//! `topics apply` would mend; what it would leave as it is, such as a partition too many, is a note beside the answer.

use anyhow::anyhow;
use pipeline::topics::{Topic, declared};
use serde::Serialize;

use super::DiffArgs;
use super::admin::Admin;
use super::plan::{Change, Existing, Plan, partitions, plan, remark, settings};
use crate::kafka::Cluster;
use crate::output::{self, Align};

/// One thing that is not as declared: `has` is nothing where the topic, or the setting, is not there.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Difference {
    topic: String,
    what: &'static str,
    has: Option<String>,
    declared: String,
}

const HEADINGS: [&str; 4] = ["topic", "what", "has", "declared"];

pub async fn run(args: DiffArgs) -> anyhow::Result<()> {
    let metadata = Cluster::new(&args.kafka)?.metadata().await?;
    let existing = Admin::new(&args.kafka)?.describe(&metadata).await?;
    let mut differences = Vec::new();
    let (mut topics, mut differing) = (0, 0);
    for topic in declared() {
        let existing = existing.get(&topic.name).map(|(existing, _)| existing);
        let found = differences_of(&topic, existing);
        topics += 1;
        differing += usize::from(!found.is_empty());
        differences.extend(found);
        if let Some(remark) = remark(&topic, existing) {
            output::note(&format!("{}: {remark}", topic.name));
        }
    }
    output::print_rows(args.output.format, &HEADINGS, &differences, |differences| {
        if differences.is_empty() {
            format!("all {topics} declared topics are as declared\n")
        } else {
            as_table(differences)
        }
    })?;
    match differing {
        0 => Ok(()),
        1 => Err(anyhow!("1 topic is not as declared; `tickstream topics apply` mends it")),
        more => Err(anyhow!("{more} topics are not as declared; `tickstream topics apply` mends them")),
    }
}

fn differences_of(topic: &Topic, existing: Option<&Existing>) -> Vec<Difference> {
    let difference = |what, has, declared| Difference { topic: topic.name.clone(), what, has, declared };
    match plan(topic, existing) {
        Plan::Create => {
            let settings: Vec<String> =
                settings(topic).into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            let declared = format!("partitions={}, {}", partitions(topic), settings.join(", "));
            vec![difference("topic", None, declared)]
        }
        Plan::Change(changes) => {
            let told = |change| match change {
                Change::Partitions { from, to } => difference("partitions", Some(from.to_string()), to.to_string()),
                Change::Setting { name, from, to } => difference(name, from, to),
            };
            changes.into_iter().map(told).collect()
        }
    }
}

fn as_table(differences: &[Difference]) -> String {
    let row = |difference: &Difference| {
        let Difference { topic, what, has, declared } = difference;
        vec![topic.clone(), (*what).to_owned(), has.clone().unwrap_or_else(|| "-".to_owned()), declared.clone()]
    };
    let columns = [("TOPIC", Align::Left), ("WHAT", Align::Left), ("HAS", Align::Left), ("DECLARED", Align::Left)];
    output::table(&columns, &differences.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_difference_is_named_and_a_partition_too_many_is_none() {
        let topic = declared().into_iter().find(|topic| topic.name == "market.gaps.v1").expect("a declared topic");
        let missing = differences_of(&topic, None);
        assert_eq!((missing.len(), missing[0].what, &missing[0].has), (1, "topic", &None));
        assert!(missing[0].declared.starts_with("partitions=1, cleanup.policy=delete, "), "{}", missing[0].declared);

        let set: BTreeMap<String, String> =
            settings(&topic).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut existing = Existing { partitions: 3, settings: set };
        assert_eq!(differences_of(&topic, Some(&existing)), []);
        existing.settings.insert("cleanup.policy".to_owned(), "compact".to_owned());
        existing.settings.remove("retention.ms");
        let found: Vec<_> =
            differences_of(&topic, Some(&existing)).into_iter().map(|found| (found.what, found.has)).collect();
        assert_eq!(found, [("cleanup.policy", Some("compact".to_owned())), ("retention.ms", None)]);
    }
}
