//! Bronze of a range of days made again from raw, whoever made it first. Invariant: what is replaced, or made where it was gone,
//! has left its note before. Must never happen here: bronze of raw bytes that are not those that were written.

use std::collections::{BTreeMap, HashMap};
use std::future::ready;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::civil::Date;
use lake::encodings::Encodings;
use lake::remake::{Remade, bronze_of_raw};
use pipeline::lake::{Link, bronze_key, epoch_key, parse_raw_key, partition_prefix, table};
use pipeline::store::Object;
use pipeline::topics;

use crate::config::RebuildArgs;
use crate::discover::partitions;
use crate::objects::New;
use crate::refiner::{Done, Refiner};
use crate::run::{day_in, is_bronze};

/// Requests under way at once.
const AT_ONCE: usize = 16;
/// Raw objects decoded at once.
const DECODED: usize = 4;

/// Keys of the raw objects that have bronze in the range, by the day of that bronze.
pub(super) async fn raw_by_day(refiner: &Refiner, args: &RebuildArgs) -> anyhow::Result<BTreeMap<Date, Vec<String>>> {
    let objects = &refiner.objects;
    let mut days: BTreeMap<Date, Vec<String>> = BTreeMap::new();
    for topic in topics::archived() {
        let Some(record) = topic.record() else { continue };
        for epoch in 0.. {
            if objects.head(&epoch_key(&topic.name, epoch)).await?.is_none() {
                break;
            }
            for partition in partitions(objects, &topic.name, epoch).await? {
                let listed = objects.list(&partition_prefix(&topic.name, epoch, partition), None).await?;
                let look = async |key: String| {
                    let Some((.., start)) = parse_raw_key(&key) else { return anyhow::Ok(None) };
                    let head = objects.head(&key).await?.with_context(|| format!("{key} was listed and is gone"))?;
                    let link = Link::from_pairs(&head.metadata);
                    let time = link.map(|link| link.rows.map(|rows| rows.first_time_ms));
                    let day = match time {
                        Some(None) => return Ok(None),
                        Some(Some(time)) => day_in(&bronze_key(table(record), time, "", 0, 0, start)),
                        // Without its metadata it is looked into, whatever day it is of.
                        None => Some(args.from),
                    };
                    Ok(day.map(|day| (day, key)))
                };
                let keys = listed.into_iter().map(|listed| listed.key);
                let looked: Vec<_> = stream::iter(keys).map(look).buffered(AT_ONCE).try_collect().await?;
                for (day, key) in looked.into_iter().flatten().filter(|(day, _)| (args.from..=args.to).contains(day)) {
                    days.entry(day).or_default().push(key);
                }
            }
        }
    }
    Ok(days)
}

pub(super) async fn bronze(refiner: &Refiner, encodings: &Encodings, raw: &[String]) -> anyhow::Result<Done> {
    let make = async |key: &String| {
        let object = refiner.objects.get(key).await?.with_context(|| format!("{key} was listed and is gone"))?;
        anyhow::ensure!(
            object.is_as_written() != Some(false),
            "{key} is damaged: its bytes are not those that were written, so no bronze is made of it; put an older version \
             or a copy back"
        );
        let Some(remade) = bronze_of_raw(encodings, key, object.bytes).await? else { return anyhow::Ok(None) };
        let written = swap(refiner, &remade).await?;
        Ok(Some((remade.key, written)))
    };
    let made: Vec<_> = stream::iter(raw).map(make).buffer_unordered(DECODED).try_collect().await?;
    let mut done = Done::default();
    for (key, written) in made.into_iter().flatten() {
        if written {
            done.written.push(key);
        } else {
            done.unchanged += 1;
        }
    }
    Ok(done)
}

/// Whether the object was written.
async fn swap(refiner: &Refiner, remade: &Remade) -> anyhow::Result<bool> {
    let make = |stored: Option<Object>| async move {
        if stored.as_ref().is_some_and(|stored| remade.is_settled_by(stored)) {
            return anyhow::Ok(None);
        }
        // Where nothing stands, what an older decoder made may have stood: silver may hold its rows. Of other tables nobody
        // reads notes.
        if is_bronze(&remade.key) {
            let (key, note) = remade.note(stored.as_ref().map(|stored| &stored.head));
            let new = || New { bytes: note.clone(), metadata: HashMap::new() };
            refiner.objects.update(&key, |stored| ready(Ok(stored.is_none().then(new)))).await?;
        }
        Ok(Some(New { bytes: remade.bytes.clone(), metadata: remade.metadata.clone() }))
    };
    Ok(refiner.objects.update(&remade.key, make).await?.is_some())
}
