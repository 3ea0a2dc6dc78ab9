//! Epochs of a topic as it once was: there is no topic left to compare with, but their chains must be whole and closed. Must
//! never happen here: a chain called closed that a writer can still add to.

use pipeline::lake::{Epoch, LinkKind, table};
use pipeline::store::Store;
use pipeline::topics::Topic;

use super::chain::Chain;
use super::deep::strays;
use super::lake::{self, Bronze, From, Place};

/// What was looked at, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Older {
    pub chains: u64,
    pub differences: Vec<String>,
}

/// What is wrong with the shape of such a chain.
pub fn faults(chain: &Chain, topic: &str, bound: &Epoch, to_be_closed: bool) -> Vec<String> {
    let mut lines = chain.breaks(bound.topic_id, |_| None);
    if chain.origin.is_none() {
        lines.push("there are objects and no _origin.json: put back a version or a backup of it".to_owned());
    } else if to_be_closed && chain.links.last().is_none_or(|last| last.kind != LinkKind::End) {
        lines.push(format!("the chain was never closed: `tickstream lake new-epoch --topic {topic}` closes it"));
    }
    lines
}

/// Looks at the chains of `epochs`: at their ends, or with `every_link` at each object and its bronze.
pub async fn check(store: &Store, topic: &Topic, epochs: &[(u32, Epoch)], every_link: bool) -> anyhow::Result<Older> {
    let mut older = Older::default();
    if epochs.is_empty() {
        return Ok(older);
    }
    let (places, _) = strays::places(store, &topic.name).await?;
    for (epoch, partition) in places {
        let Some((_, bound)) = epochs.iter().find(|(number, _)| *number == epoch) else { continue };
        let place = Place { topic: &topic.name, epoch, partition };
        let chain =
            lake::chain(store, place, if every_link { From::Origin } else { From::Offset(i64::MAX) }, i64::MAX).await?;
        let mut lines = faults(&chain, &topic.name, bound, true);
        if let Some(record) = topic.record().filter(|_| every_link) {
            for bronze in lake::bronze(store, place, table(record), &chain.links).await? {
                if let Bronze::Missing(key) = bronze {
                    lines.push(format!("{key} is missing"));
                }
            }
        }
        older.chains += 1;
        let name = format!("{}[{partition}] in epoch {epoch:04}", topic.name);
        older.differences.extend(lines.into_iter().map(|line| format!("{name}: {line}")));
    }
    Ok(older)
}
