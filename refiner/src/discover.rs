//! What is new in bronze: the raw chains from each cursor on. Invariant: raw object k + 1 exists only once the bronze of k is
//! there, so a chain's first raw object without its bronze ends what is taken up of it. The cost grows with what is new, not
//! with the lake. Must never happen here: a listing of the whole lake, but for a refiner that has no state.

use std::collections::BTreeMap;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use pipeline::lake::{
    Link, LinkKind, bronze_key, epoch_key, epoch_prefix, parse_partition, parse_raw_key, partition_prefix, raw_key,
    table,
};
use pipeline::topics;

use crate::objects::Objects;

/// HEADs under way at once.
const AT_ONCE: usize = 16;

/// New bronze objects, and the cursors that stand behind them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub bronze: Vec<String>,
    pub cursors: BTreeMap<String, i64>,
}

/// The topics that silver is made from.
pub const TOPICS: [&str; 3] = [topics::TICKS, topics::GAPS, topics::INDEX];

/// Up to `limit` new bronze objects (about: a page of a listing is taken whole).
///
/// # Errors
/// When the store does not answer, or a chain is broken.
pub async fn discover(objects: &Objects, cursors: &BTreeMap<String, i64>, limit: usize) -> anyhow::Result<Found> {
    let mut found = Found::default();
    for topic in TOPICS {
        for epoch in 0.. {
            if objects.head(&epoch_key(topic, epoch)).await?.is_none() {
                break;
            }
            for partition in partitions(objects, topic, epoch).await? {
                let chain = format!("{topic}/{epoch:04}/{partition:05}");
                let from = cursors.get(&chain).copied().unwrap_or(0);
                let to = follow(objects, topic, epoch, partition, from, limit, &mut found.bronze).await?;
                if to > from {
                    found.cursors.insert(chain, to);
                }
            }
        }
    }
    Ok(found)
}

/// The partitions that have a chain in this epoch: one request each, however long the chains are.
pub(crate) async fn partitions(objects: &Objects, topic: &str, epoch: u32) -> anyhow::Result<Vec<i32>> {
    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let listed = objects.store().list(&epoch_prefix(topic, epoch), after.as_deref()).await?;
        let Some(last) = listed.last() else { return Ok(found) };
        after = Some(match listed.iter().find_map(|object| parse_partition(&object.key)) {
            Some(partition) => {
                found.push(partition);
                // Behind every key of this partition.
                format!("{}~", partition_prefix(topic, epoch, partition))
            }
            None => last.key.clone(),
        });
    }
}

async fn follow(
    objects: &Objects,
    topic: &str,
    epoch: u32,
    partition: i32,
    from: i64,
    limit: usize,
    bronze: &mut Vec<String>,
) -> anyhow::Result<i64> {
    let prefix = partition_prefix(topic, epoch, partition);
    let record = topics::record_type(topic).context("a topic without a table")?;
    let mut cursor = from;
    while bronze.len() < limit {
        let after = (cursor > 0).then(|| raw_key(topic, epoch, partition, cursor - 1));
        let listed = objects.store().list(&prefix, after.as_deref()).await?;
        let starts: Vec<i64> = listed.iter().filter_map(|object| Some(parse_raw_key(&object.key)?.3)).collect();
        if starts.is_empty() {
            break;
        }
        let look = async |start: i64| {
            let key = raw_key(topic, epoch, partition, start);
            let link = link(objects, &key).await?;
            let bronze =
                link.rows.map(|rows| bronze_key(table(record), rows.first_time_ms, topic, epoch, partition, start));
            let there = match &bronze {
                Some(key) => objects.head(key).await?.is_some(),
                None => true,
            };
            anyhow::Ok((link, bronze, there))
        };
        let looked: Vec<_> = stream::iter(starts).map(look).buffered(AT_ONCE).try_collect().await?;
        for (link, key, there) in looked {
            if !there {
                return Ok(cursor);
            }
            bronze.extend(key);
            cursor = link.next_offset;
            if link.kind == LinkKind::End {
                return Ok(cursor);
            }
        }
    }
    Ok(cursor)
}

/// What a raw object says of itself: in its metadata, or, for a copy that lost them, in its footer.
async fn link(objects: &Objects, key: &str) -> anyhow::Result<Link> {
    let head = objects.head(key).await?.with_context(|| format!("{key} was listed and is gone"))?;
    if let Some(link) = Link::from_pairs(&head.metadata) {
        return Ok(link);
    }
    let object = objects.get(key).await?.with_context(|| format!("{key} was listed and is gone"))?;
    let bytes = object.bytes;
    let (link, _) = tokio::task::spawn_blocking(move || lake::raw::decode(bytes))
        .await?
        .with_context(|| format!("{key} is not a raw object"))?;
    Ok(link)
}
