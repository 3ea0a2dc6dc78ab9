//! Hours of one day made by one query. Invariant: each hour's object is the one that it would be if the hour were made alone,
//! which is what happens where anything stands in the way. Must never happen here: an hour with rows of an input that it does
//! not list, or a query over more than the bound.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use futures::{StreamExt, stream};

use super::{Base, Done, Mode, READS, Refiner, Wanted, count, file_name, is_ours, is_up_to_date, owned, sources, want};
use crate::object::Inputs;
use crate::refused::hours_left;
use crate::tables::{Group, View};
use crate::touched::touched;

/// What hours that are made by one query may read together, new and listed: some 250,000 ticks, 200 MiB while they are sorted.
const SHARED_BYTES: u64 = 8 << 20;
/// What an object has that is not here yet.
const UNKNOWN_BYTES: u64 = 4 << 20;

/// One of several hours that may be made together.
struct Hour {
    group: Group,
    new: Wanted,
    /// What stands there, and what it is to be made of; `None` where something is in the way, which the hour by itself says.
    read: Option<(HashMap<String, Base>, Wanted)>,
}

type Read<'a> = (&'a Group, &'a HashMap<String, Base>, &'a Wanted);

impl Hour {
    fn read(&self) -> Option<Read<'_>> {
        self.read.as_ref().map(|(bases, wanted)| (&self.group, bases, wanted))
    }
}

impl Refiner {
    /// Makes hours of one day as [`Refiner::refresh`] does, by one query for as many as have little enough to read: an hour
    /// alone and the whole day give the same rows. Where that does not end well, each is made by itself.
    pub async fn refresh_hours(&self, hours: Vec<(Group, Wanted)>, mode: Mode) -> Vec<(Group, anyhow::Result<Done>)> {
        let mut made = Vec::with_capacity(hours.len());
        let hours: Vec<Hour> = stream::iter(hours).map(|hour| self.hour(hour, mode)).buffered(READS).collect().await;
        let size = |key: &String| (key.clone(), self.spool.bytes(key).unwrap_or(UNKNOWN_BYTES));
        let sizes: Vec<BTreeMap<String, u64>> = hours
            .iter()
            .map(|hour| hour.read.iter().flat_map(|(_, wanted)| wanted.keys()).map(size).collect())
            .collect();
        let mut rest = hours.into_iter();
        for share in shares(&sizes) {
            let part: Vec<Hour> = rest.by_ref().take(share).collect();
            let mut shared = self.attempt_hours(&part, mode).await.unwrap_or_else(|error| {
                tracing::debug!("{} hours are made one by one: {error:#}", part.len());
                BTreeMap::new()
            });
            for Hour { group, new, .. } in part {
                let done = match shared.remove(&group) {
                    Some(done) => {
                        count(&group, &done);
                        Ok(done)
                    }
                    None => self.refresh(&group, &new, mode).await,
                };
                made.push((group, done));
            }
        }
        made
    }

    async fn hour(&self, (group, new): (Group, Wanted), mode: Mode) -> Hour {
        let read = async {
            let bases = self.bases(&group, mode).await?;
            is_ours(&group, &bases)?;
            let wanted = self.wanted(&group, &bases, &new).await?;
            anyhow::Ok((bases, wanted))
        };
        let read = read.await.inspect_err(|error| tracing::debug!(%group, "{group} is made by itself: {error:#}")).ok();
        Hour { group, new, read }
    }

    /// What became of the hours at which nobody else was first.
    async fn attempt_hours(&self, hours: &[Hour], mode: Mode) -> anyhow::Result<BTreeMap<Group, Done>> {
        let mut done = BTreeMap::new();
        let hours: Vec<Read<'_>> = hours.iter().filter_map(Hour::read).collect();
        let mut all = Wanted::new();
        for (key, etag) in hours.iter().flat_map(|(.., wanted)| wanted.iter()) {
            want(&mut all, key, etag);
        }
        let folder = self.spool.query_folder()?;
        let inputs = self.fetch(&all, folder.path(), mode).await?;
        let strangers = if hours.len() > 1 { self.strangers(&hours, &all, folder.path())? } else { BTreeSet::new() };
        let mut work = Vec::new();
        for (group, bases, wanted) in hours.into_iter().filter(|(group, ..)| !strangers.contains(*group)) {
            let inputs: Inputs = wanted.keys().filter_map(|key| inputs.get_key_value(key)).map(owned).collect();
            if wanted.is_empty() || mode == Mode::WhereTouched && is_up_to_date(group, bases, &inputs) {
                done.insert(group.clone(), Done { unchanged: bases.len(), inputs, ..Done::default() });
            } else {
                work.push((group, bases, inputs));
            }
        }
        let groups: Vec<Group> = work.iter().map(|(group, ..)| (*group).clone()).collect();
        let Some(first) = groups.first() else { return Ok(done) };
        let mut made = self.engine.run_hours(&groups, &sources(first, folder.path())?).await?;
        for (group, bases, inputs) in work {
            let partitions = group.partitions().unwrap_or_default();
            let mine = partitions.iter().filter_map(|values| made.remove_entry(values)).collect();
            let objects = self.objects_of(group, mine, bases, &inputs)?;
            if let Some(swapped) = self.swap(bases, objects).await? {
                done.insert(group.clone(), Done { inputs, ..swapped });
            }
        }
        Ok(done)
    }

    /// Hours that rows of the others' inputs lie in: what another refiner has taken up and not yet written here. Such an
    /// hour would hold rows of something that it does not list.
    fn strangers(&self, hours: &[Read<'_>], all: &Wanted, folder: &Path) -> anyhow::Result<BTreeSet<Group>> {
        let mut strangers = BTreeSet::new();
        for (number, key) in all.keys().enumerate() {
            let place = self.place(key, folder)?.join(file_name(number));
            if !place.exists() {
                continue;
            }
            let bytes = std::fs::read(&place).with_context(|| format!("a local copy of {key}"))?;
            let bytes = Bytes::from(bytes);
            let touched = touched(View::BronzeTicks, bytes.clone()).with_context(|| format!("{key} is damaged"))?;
            if touched.refused {
                // Whether what they left is left depends on others' inputs too.
                strangers.extend(hours_left(bytes)?);
            }
            let unlisted = hours.iter().filter(|(.., wanted)| !wanted.contains_key(key)).map(|(group, ..)| *group);
            strangers.extend(unlisted.filter(|group| touched.groups.contains(*group)).cloned());
        }
        Ok(strangers)
    }
}

/// How many hours, one after the other, are made by one query each, by the bytes of their inputs.
fn shares(hours: &[BTreeMap<String, u64>]) -> Vec<usize> {
    let (mut shares, mut read, mut bytes): (Vec<usize>, BTreeSet<&String>, u64) = Default::default();
    for hour in hours {
        let unread: u64 = hour.iter().filter(|(key, _)| !read.contains(key)).map(|(_, bytes)| bytes).sum();
        match shares.last_mut().filter(|_| bytes + unread <= SHARED_BYTES) {
            Some(share) => {
                *share += 1;
                bytes += unread;
            }
            None => {
                shares.push(1);
                read.clear();
                bytes = hour.values().sum();
            }
        }
        read.extend(hour.keys());
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_share_a_query_as_long_as_all_that_they_list_is_little() {
        let hour = |own: u64, number: usize| -> BTreeMap<String, u64> {
            BTreeMap::from([("new, of all hours".to_owned(), 1 << 20), (format!("listed {number}"), own)])
        };
        let hours = |own: &[u64]| own.iter().enumerate().map(|(number, own)| hour(*own, number)).collect::<Vec<_>>();
        assert_eq!(shares(&hours(&[1 << 10; 12])), [12]);
        assert_eq!(shares(&hours(&[3 << 20; 5])), [2, 2, 1]);
        assert_eq!(shares(&hours(&[1 << 10, 40 << 20, 1 << 10, 1 << 10])), [1, 1, 2]);
        assert!(shares(&[]).is_empty());
    }
}
