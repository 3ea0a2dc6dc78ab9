//! `tickstream lake restore`: a raw object that was damaged or deleted, written anew from the topic's records while the topic
//! has them. Invariant: what is written is what a writer of the chain would have written at this key: the same link, exactly
//! the records that the topic delivers in its range; so the topic is asked who it is before they are read and after. Must
//! never happen here: an object that agrees with the topic replaced, or one of which the topic has only a part.

use anyhow::{Context, anyhow, bail};
use clap::Args;
use jiff::Timestamp;
use pipeline::kafka::KafkaArgs;
use pipeline::lake::{Epoch, Link, LinkKind, SPAN, bronze_key, epoch_key, parse_raw_key, partition_prefix, table};
use pipeline::records::Records;
use pipeline::store::{Condition, Object, Put, Store, StoreArgs};
use pipeline::stretches::{self, Stretch};
use pipeline::topic_id::TopicIds;
use pipeline::{misconfigured, topics};

use ::lake::raw::{self, Compression};
use ::lake::remake::records_of;

use crate::kafka::Cluster;
use crate::output;

#[derive(Args, Debug)]
pub struct RestoreArgs {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    store: StoreArgs,
    /// The key of the raw object, as `tickstream audit --deep` names it.
    #[arg(value_name = "KEY")]
    key: String,
}

/// Where a key stands.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    key: &'a str,
    topic: &'a str,
    epoch: u32,
    partition: i32,
    start: i64,
}

pub async fn run(args: RestoreArgs) -> anyhow::Result<()> {
    let key = args.key.trim_start_matches('/');
    let Some((topic, epoch, partition, start)) = parse_raw_key(key) else {
        return Err(misconfigured(format!(
            "{key} is not the key of a raw object: raw/<topic>/epoch=<number>/partition=<number>/<offset>.parquet"
        )));
    };
    let place = Place { key, topic, epoch, partition, start };
    let store = Store::connect(&args.store).await?;
    let ids = TopicIds::new(&args.kafka)?;
    let bound = bound(&ids, &store, place).await?;
    let stored = store.get(key).await?;
    let link = link(&store, place, &bound, stored.as_ref()).await?;
    let records = records(&args, place, &link).await?;
    let link = match (link.kind, raw::rows(&records)) {
        (LinkKind::Data, rows) => Link { rows, ..link },
        (LinkKind::Hole | LinkKind::End, _) => link,
    };
    if let Some(stored) = &stored
        && stored.is_as_written() != Some(false)
        && raw::decode(stored.bytes.clone()).is_ok_and(|(footer, held)| footer == link && same(&held, &records))
    {
        return output::print(&format!("{key} holds what the topic has: there is nothing to restore\n"));
    }
    let (bytes, as_before) = encode(&link, &records, stored.as_ref())?;
    let condition = stored.as_ref().map_or(Condition::IfNoneMatch, |stored| Condition::IfMatch(&stored.head.etag));
    let metadata = link.pairs().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    // The topic may have been made anew while its records were read.
    self::bound(&ids, &store, place).await?;
    match store.put(key, bytes, metadata, condition).await? {
        Put::Done { .. } => {}
        Put::Exists | Put::Racing => bail!("{key} was written by somebody else meanwhile: audit again"),
    }
    let bytes = if as_before { "the bytes that were written first" } else { "other bytes than before" };
    output::print(&format!(
        "{key} restored: {} records from the topic, offsets {start} to {}, {bytes}\n",
        records.len(),
        link.next_offset - 1
    ))?;
    if let Some(command) = rebuild(&store, place, &link).await? {
        output::print(&format!("its bronze is not of these records: `{command}` makes it again\n"))?;
    }
    Ok(())
}

/// The command that makes bronze again where it is of other records: where two neighbours were deleted, one object takes the
/// place of both, and bronze is that of the first.
async fn rebuild(store: &Store, place: Place<'_>, link: &Link) -> anyhow::Result<Option<String>> {
    let Place { topic, epoch, partition, start, .. } = place;
    let (Some(record), Some(rows)) = (topics::record_type(topic), link.rows) else { return Ok(None) };
    let key = bronze_key(table(record), rows.first_time_ms, topic, epoch, partition, start);
    let bronze = store.head(&key).await?;
    if bronze.as_ref().and_then(records_of) == Some(rows.count) {
        return Ok(None);
    }
    let day = Timestamp::from_millisecond(rows.first_time_ms)?.strftime("%Y-%m-%d");
    Ok(Some(format!("refiner rebuild --layer bronze --from {day} --to {day}")))
}

/// What the epoch is bound to: the topic as it is now, or nothing of it can be restored from there.
async fn bound(ids: &TopicIds, store: &Store, place: Place<'_>) -> anyhow::Result<Epoch> {
    let Place { topic, epoch, partition, .. } = place;
    let key = epoch_key(topic, epoch);
    let object = store.get(&key).await?.ok_or_else(|| misconfigured(format!("{key} is not in this lake")))?;
    let bound: Epoch = serde_json::from_slice(&object.bytes).with_context(|| format!("{key} is no epoch"))?;
    let (topic_id, cluster_id) = (ids.topic_id(topic, partition).await?, ids.cluster_id().await?);
    if (bound.topic_id, &bound.cluster_id) != (topic_id, &cluster_id) {
        bail!(
            "epoch {epoch:04} was written from topic id {} in cluster {}, and {topic} is topic id {topic_id} in cluster \
             {cluster_id} now: its records are not there any more; put back a version or a backup",
            bound.topic_id,
            bound.cluster_id
        );
    }
    Ok(bound)
}

/// The link that the object was: from its metadata, or, where that is lost or belies the chain, from where the next object
/// begins.
async fn link(store: &Store, place: Place<'_>, bound: &Epoch, stored: Option<&Object>) -> anyhow::Result<Link> {
    let Place { key, topic, epoch, partition, start } = place;
    let following = store.list(&partition_prefix(topic, epoch, partition), Some(key)).await?;
    let next = following.iter().find_map(|object| parse_raw_key(&object.key)).map(|(.., start)| start);
    let told = stored.and_then(|stored| Link::from_pairs(&stored.head.metadata));
    let told = told.filter(|link| link.start == start && link.topic_id == bound.topic_id);
    if let Some(link) = told.filter(|link| next.is_none_or(|next| next == link.next_offset)) {
        return Ok(link);
    }
    match next {
        Some(next) if next - start > SPAN => bail!(
            "{key} and the next object are {} offsets apart, more than one object holds: put back versions or a backup",
            next - start
        ),
        Some(next_offset) => {
            Ok(Link { kind: LinkKind::Data, topic_id: bound.topic_id, start, next_offset, rows: None })
        }
        None if stored.is_none() => Err(misconfigured(format!(
            "{key} would be the last of its chain: consumer-lake writes it by itself when it starts again"
        ))),
        None => bail!("{key} is the last of its chain and does not say where it ends: put back a version or a backup"),
    }
}

/// All records that the topic delivers in the link's range.
async fn records(args: &RestoreArgs, place: Place<'_>, link: &Link) -> anyhow::Result<Records> {
    let Place { topic, partition, start, .. } = place;
    if link.kind != LinkKind::Data {
        return Ok(Records::empty());
    }
    let ends = Cluster::new(&args.kafka)?.ends(topic, partition).await?;
    if ends.start > start || ends.end < link.next_offset {
        bail!(
            "{topic}[{partition}] has offsets {} to {} now, the object was of {start} to {}: put back a version or a backup",
            ends.start,
            ends.end - 1,
            link.next_offset - 1
        );
    }
    let stretch = Stretch { partition, start, end: link.next_offset };
    let mut batches = Vec::new();
    stretches::read(&args.kafka, topic, &[stretch], "run it again", async |_, records| {
        batches.push(records.batch().clone());
        Ok(())
    })
    .await?;
    let records = Records::from_batch(arrow::compute::concat_batches(&Records::schema(), &batches)?)?;
    match link.rows {
        Some(rows) if raw::rows(&records) != Some(rows) => Err(anyhow!(
            "the object had {} records from offset {} to {}, the topic delivers {}: they are not the same; put back a version \
             or a backup",
            rows.count,
            rows.first,
            rows.last,
            records.len()
        )),
        _ => Ok(records),
    }
}

/// Headers that are absent and headers that are none are the same to Kafka, and not to Parquet.
fn same(held: &Records, told: &Records) -> bool {
    let columns = (held.offsets(), held.timestamps_ms(), held.keys(), held.values())
        == (told.offsets(), told.timestamps_ms(), told.keys(), told.values());
    columns && (0..told.len()).all(|row| held.headers(row) == told.headers(row))
}

/// The object, in the compression that gives the bytes that were written first, where a checksum tells.
fn encode(link: &Link, records: &Records, stored: Option<&Object>) -> anyhow::Result<(bytes::Bytes, bool)> {
    for compression in [Compression::Zstd, Compression::Snappy] {
        let bytes = raw::encode(link, records, compression)?;
        let as_before = stored.is_some_and(|stored| {
            let head = stored.head.clone();
            Object { head, bytes: bytes.clone() }.is_as_written() == Some(true)
        });
        if as_before {
            return Ok((bytes, true));
        }
    }
    Ok((raw::encode(link, records, Compression::default())?, false))
}
