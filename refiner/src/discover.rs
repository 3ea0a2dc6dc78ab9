//! What is new in bronze: the raw chains from each cursor on. Invariant: raw object k + 1 exists only once the bronze of k is
//! there, so a chain's last raw object without its bronze ends what is taken up of it, and an earlier one holds it and is
//! named; and each link begins where the one before it ends, so what a listing does not show, or somebody deleted, ends it
//! too. The cost grows with what is new, not with the lake. Must never happen here: a cursor that moves over an object that
//! nobody looked at, or a listing of the whole lake, but for a refiner that has no state.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow};
use futures::{StreamExt, TryStreamExt, stream};
use pipeline::lake::{
    Link, LinkKind, Origin, bronze_key, epoch_key, epoch_prefix, origin_key, parse_partition, parse_raw_key,
    partition_prefix, raw_key, table,
};
use pipeline::store::StoreError;
use pipeline::topics;

use crate::objects::Objects;
use crate::run::bronze_again;

/// HEADs under way at once.
const AT_ONCE: usize = 16;
/// How often a chain is listed whose next object is there and was not in the listing.
const LISTINGS: usize = 3;

/// One chain of raw objects; as text, the name of its cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    pub topic: &'static str,
    pub epoch: u32,
    pub partition: i32,
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{:04}/{:05}", self.topic, self.epoch, self.partition)
    }
}

/// The name of the chain that a bronze object was made of, and where its raw object begins.
#[must_use]
pub fn chain_of(bronze: &str) -> Option<(String, i64)> {
    let name = bronze.rsplit('/').next()?.strip_suffix(".parquet")?;
    let mut parts = name.rsplitn(4, '+');
    let (start, partition, epoch, topic) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    Some((format!("{topic}/{epoch}/{partition}"), start.parse().ok()?))
}

/// New bronze objects, and the cursors that stand behind them.
#[derive(Debug, Default)]
pub struct Found {
    pub bronze: Vec<String>,
    pub cursors: BTreeMap<String, i64>,
    /// Whether some chain goes on behind its cursor.
    pub more: bool,
    /// Chains that go on behind something that cannot be read, by the key that stands in the way.
    pub held: Vec<(String, anyhow::Error)>,
}

/// The topics that silver is made from.
pub const TOPICS: [&str; 3] = [topics::TICKS, topics::GAPS, topics::INDEX];

/// Up to `limit` new bronze objects, as many of each chain, so that an hour's partitions come together.
///
/// # Errors
/// When the store does not answer.
pub async fn discover(objects: &Objects, cursors: &BTreeMap<String, i64>, limit: usize) -> anyhow::Result<Found> {
    let mut chains = Vec::new();
    for topic in TOPICS {
        for epoch in 0.. {
            if objects.head(&epoch_key(topic, epoch)).await?.is_none() {
                break;
            }
            let of = partitions(objects, topic, epoch).await?;
            chains.extend(of.into_iter().map(|partition| Chain { topic, epoch, partition }));
        }
    }
    let each = (limit / chains.len().max(1)).max(1);
    let mut found = Found::default();
    for chain in chains {
        follow(objects, chain, cursors.get(&chain.to_string()).copied(), each, &mut found).await?;
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
    chain: Chain,
    from: Option<i64>,
    limit: usize,
    found: &mut Found,
) -> anyhow::Result<()> {
    let Chain { topic, epoch, partition } = chain;
    let Some(mut cursor) = (match from {
        Some(offset) => Some(offset),
        None => origin(objects, chain, found).await?,
    }) else {
        return Ok(());
    };
    let prefix = partition_prefix(topic, epoch, partition);
    let record = topics::record_type(topic).context("a topic without a table")?;
    let (mut taken, mut listings) = (0, 0);
    'chain: while taken < limit {
        let after = (cursor > 0).then(|| raw_key(topic, epoch, partition, cursor - 1));
        let listed = objects.store().list(&prefix, after.as_deref()).await?;
        let starts: Vec<i64> = listed.iter().filter_map(|object| Some(parse_raw_key(&object.key)?.3)).collect();
        let Some(first) = starts.first() else { break };
        if *first != cursor {
            // It is there and was not in the listing, or it is not there at all.
            let next = raw_key(topic, epoch, partition, cursor);
            if objects.head(&next).await?.is_none() {
                let gone = anyhow!(
                    "{next} is missing, and the chain goes on at {first}: put it back (an older version in the bucket, a \
                     copy); `tickstream audit` tells what else is missing"
                );
                found.held.push((next, gone));
                break;
            }
            listings += 1;
            if listings >= LISTINGS {
                break;
            }
            continue;
        }
        let look = async |start: &i64| {
            let key = raw_key(topic, epoch, partition, *start);
            let link = match link(objects, &key).await {
                Ok(link) => link,
                Err(error) if error.is::<StoreError>() => return Err(error),
                Err(error) => return Ok((key, Err(error))),
            };
            let bronze =
                link.rows.map(|rows| bronze_key(table(record), rows.first_time_ms, topic, epoch, partition, *start));
            let there = match &bronze {
                Some(key) => objects.head(key).await?.is_some(),
                None => true,
            };
            anyhow::Ok((key, Ok((link, bronze, there))))
        };
        let newest = starts[starts.len() - 1];
        // A hole in the listing shows itself at the latest behind this page.
        let starts = &starts[..starts.len().min(limit - taken)];
        let looked: Vec<_> = stream::iter(starts).map(look).buffered(AT_ONCE).try_collect().await?;
        for (key, result) in looked {
            let (link, bronze, there) = match result {
                Ok(looked) => looked,
                Err(error) => {
                    found.held.push((key, error));
                    break 'chain;
                }
            };
            if link.start != cursor {
                continue 'chain;
            }
            if !there {
                // Under way, unless the chain goes on: then it was there when the next link was put.
                if let Some(bronze) = bronze.filter(|_| newest > link.start) {
                    let again = bronze_again(&bronze);
                    let gone =
                        anyhow!("{bronze} is missing, though its chain goes on at {newest}: {again} makes it again");
                    found.held.push((bronze, gone));
                }
                break 'chain;
            }
            taken += 1;
            found.bronze.extend(bronze);
            cursor = link.next_offset;
            if link.kind == LinkKind::End {
                break 'chain;
            }
        }
    }
    found.more |= taken >= limit;
    if cursor > from.unwrap_or(0) {
        found.cursors.insert(chain.to_string(), cursor);
    }
    Ok(())
}

/// Where a chain begins.
async fn origin(objects: &Objects, chain: Chain, found: &mut Found) -> anyhow::Result<Option<i64>> {
    let key = origin_key(chain.topic, chain.epoch, chain.partition);
    let told = match objects.get(&key).await? {
        Some(object) => {
            serde_json::from_slice::<Origin>(&object.bytes).with_context(|| format!("{key} is not an origin"))
        }
        None => Err(anyhow!("{key} is missing: put it back, or nobody knows where the chain begins")),
    };
    match told {
        Ok(origin) => Ok(Some(origin.offset)),
        Err(error) => {
            found.held.push((key, error));
            Ok(None)
        }
    }
}

/// What a raw object says of itself: in its metadata, or, for a copy that lost it, in its footer.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bronze_object_names_its_chain() {
        let key = bronze_key("ticks", 0, "market.ticks.v1", 3, 7, 42);
        let chain = Chain { topic: "market.ticks.v1", epoch: 3, partition: 7 };
        assert_eq!(chain_of(&key), Some((chain.to_string(), 42)));
        assert_eq!(chain_of("bronze/_notes/ticks/note.json"), None);
    }
}
