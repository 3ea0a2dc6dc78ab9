//! What stands beside the chains: objects that no writer of ours would put there. Must never happen here: an object called
//! stray that came while the audit ran.

use std::collections::BTreeSet;

use pipeline::lake::{Link, bronze_key, epoch_key, holes_folder, parse_raw_key, table, topic_prefix};
use pipeline::store::Store;
use pipeline::topics::{self, Topic};
use twox_hash::XxHash3_128;

use super::raw_key_of;
use crate::output::Progress;

const AWAY: &str = "no writer of ours put it there: find out who did, and take it away";

/// The bronze keys of the raw objects that were opened, as 64 bits each.
#[derive(Default)]
pub(super) struct Expected(Vec<u64>);

impl Expected {
    pub fn insert(&mut self, key: &str) {
        self.0.push(print_of(key));
    }

    fn sorted(mut self) -> Self {
        self.0.sort_unstable();
        self
    }

    fn has(&self, key: &str) -> bool {
        self.0.binary_search(&print_of(key)).is_ok()
    }
}

fn print_of(key: &str) -> u64 {
    XxHash3_128::oneshot(key.as_bytes()) as u64
}

/// What lies directly under a prefix.
enum Child {
    Object(String),
    /// With the slash at its end.
    Folder(String),
}

/// Of each folder only one key is asked for, however full it is.
async fn children(store: &Store, prefix: &str) -> anyhow::Result<Vec<Child>> {
    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let listed = store.list(prefix, after.as_deref()).await?;
        if listed.is_empty() {
            return Ok(found);
        }
        for object in listed {
            let Some(rest) = object.key.strip_prefix(prefix) else { continue };
            match rest.split_once('/') {
                None => {
                    after = Some(object.key.clone());
                    found.push(Child::Object(object.key));
                }
                Some((folder, _)) => {
                    // The sign after the slash: the next key is none of this folder's.
                    after = Some(format!("{prefix}{folder}0"));
                    found.push(Child::Folder(format!("{prefix}{folder}/")));
                    break;
                }
            }
        }
    }
}

/// The chains of a topic, and what is none of them and above them.
pub(in crate::audit) async fn places(
    store: &Store,
    topic: &str,
) -> anyhow::Result<(BTreeSet<(u32, i32)>, Vec<String>)> {
    let (mut places, mut strays) = (BTreeSet::new(), Vec::new());
    for child in children(store, &topic_prefix(topic)).await? {
        let Child::Folder(folder) = child else {
            strays.push(child.stray("it belongs to no epoch"));
            continue;
        };
        let epoch = number(&folder, "epoch=", 4);
        let bound = match epoch {
            Some(epoch) => store.head(&epoch_key(topic, epoch)).await?.is_some(),
            None => false,
        };
        let Some(epoch) = epoch.filter(|_| bound) else {
            strays.push(format!("{folder}: no _epoch.json binds it to a topic; {AWAY}"));
            continue;
        };
        for child in children(store, &folder).await? {
            match child {
                Child::Object(key) if key == epoch_key(topic, epoch) => {}
                Child::Object(_) => strays.push(child.stray("it belongs to no partition")),
                Child::Folder(name) if name == holes_folder(topic, epoch) => {}
                Child::Folder(ref name) => match number(name, "partition=", 5).and_then(|n| i32::try_from(n).ok()) {
                    Some(partition) => drop(places.insert((epoch, partition))),
                    None => strays.push(child.stray("it is no partition")),
                },
            }
        }
    }
    Ok((places, strays))
}

impl Child {
    fn stray(&self, what: &str) -> String {
        let (Self::Object(name) | Self::Folder(name)) = self;
        format!("{name}: {what}; {AWAY}")
    }
}

/// The number in `…/epoch=0003/`, when it is written as ours are.
fn number(folder: &str, name: &str, digits: usize) -> Option<u32> {
    let last = folder.trim_end_matches('/').rsplit('/').next()?;
    let number: u32 = last.strip_prefix(name)?.parse().ok()?;
    (last.len() == name.len() + digits.max(number.to_string().len())).then_some(number)
}

/// Folders of raw that are of no topic.
pub(super) async fn unknown_topics(store: &Store, topics: &[Topic]) -> anyhow::Result<Vec<String>> {
    let known: BTreeSet<String> = topics.iter().map(|topic| topic_prefix(&topic.name)).collect();
    let strays = children(store, "raw/").await?.into_iter().filter_map(|child| match &child {
        Child::Folder(folder) if known.contains(folder) => None,
        Child::Folder(_) | Child::Object(_) => Some(child.stray("no declared topic has this name")),
    });
    Ok(strays.collect())
}

/// Bronze objects without a raw object. Only those of `topics`, unless these are all.
pub(super) async fn bronze(
    store: &Store,
    expected: Expected,
    topics: &[Topic],
    all: bool,
    progress: &mut Progress,
) -> anyhow::Result<Vec<String>> {
    let (expected, mut strays, mut after) = (expected.sorted(), Vec::new(), None::<String>);
    let mut seen = 0_u64;
    loop {
        let listed = store.list("bronze/", after.as_deref()).await?;
        let Some(last) = listed.last() else { return Ok(strays) };
        after = Some(last.key.clone());
        seen += listed.len() as u64;
        for object in listed {
            let key = object.key;
            let is_note = key.starts_with("bronze/_notes/");
            if is_note || expected.has(&key) {
                continue;
            }
            let raw = raw_key_of(&key);
            let topic = raw.as_deref().and_then(parse_raw_key).map(|(topic, ..)| topic);
            let asked = all || topics.iter().any(|asked| Some(asked.name.as_str()) == topic);
            if asked && let Some(what) = what_is_wrong(store, &key, raw.as_deref()).await? {
                strays.push(format!("{key}: {what}"));
            }
        }
        progress.tell(|| format!("{seen} bronze keys looked at, {} without a raw object", strays.len()));
    }
}

/// What is wrong with a bronze key that no opened object stands for: it may have come later.
async fn what_is_wrong(store: &Store, key: &str, raw: Option<&str>) -> anyhow::Result<Option<String>> {
    let Some((raw, (topic, epoch, partition, start))) = raw.and_then(|raw| Some((raw, parse_raw_key(raw)?))) else {
        return Ok(Some(format!("its name is not one of ours; {AWAY}")));
    };
    let Some(head) = store.head(raw).await? else {
        return Ok(Some(format!(
            "its raw object {raw} is not there: put that back if it was deleted, else take this away"
        )));
    };
    // Raw objects without metadata are told by their chain.
    let Some(link) = Link::from_pairs(&head.metadata) else { return Ok(None) };
    let belongs = topics::record_type(topic)
        .and_then(|record| Some(bronze_key(table(record), link.rows?.first_time_ms, topic, epoch, partition, start)));
    Ok(match belongs {
        Some(belongs) if belongs == key => None,
        Some(belongs) => Some(format!("the bronze of {raw} belongs at {belongs}; {AWAY}")),
        None => Some(format!("{raw} has no bronze; {AWAY}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ours_or_none() {
        assert_eq!(number("raw/t/epoch=0003/", "epoch=", 4), Some(3));
        assert_eq!(number("raw/t/epoch=12345/", "epoch=", 4), Some(12_345));
        for stray in ["raw/t/epoch=3/", "raw/t/epoch=00003/", "raw/t/epochs/", "raw/t/epoch=-003/"] {
            assert_eq!(number(stray, "epoch=", 4), None, "{stray}");
        }
    }

    #[test]
    fn expected_keys_are_found_again() {
        let mut expected = Expected::default();
        ["c", "a", "b"].iter().for_each(|key| expected.insert(key));
        let expected = expected.sorted();
        assert!(expected.has("a") && expected.has("b") && expected.has("c") && !expected.has("d"));
    }
}
