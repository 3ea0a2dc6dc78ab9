//! Notes of rewritten bronze: whoever makes a bronze object again, by a newer decoder, with a schema that was not known before, or
//! where it was gone, and whoever puts an earlier one back, leaves one first. Invariant: a note is taken up only when the bronze that it names has its version or a
//! higher one, and is not the object that it says is replaced; it is deleted only when everything made of the bronze object has
//! been made again. Must never happen here: a partition that keeps rows which the newer decoder does not give.

use anyhow::anyhow;
use futures::{StreamExt, TryStreamExt, stream};
use pipeline::store::{Head, StoreError};
use serde::Deserialize;

use crate::refiner::Refiner;
use crate::run::day_in;
use crate::state::State;
use crate::tables::{Group, Table, partition_value};

/// Requests under way at once.
const AT_ONCE: usize = 16;
const VERSION: &str = "tickstream-decoder-version";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub key: String,
    pub bronze: String,
}

#[derive(Deserialize)]
struct Told {
    bronze: String,
    version: u64,
    /// The ETag of an object of the same version.
    replaces: Option<String>,
}

impl Told {
    /// Whether `head` is of the object that the note was left for.
    fn is_there(&self, head: &Head) -> bool {
        let version = head.metadata.get(VERSION).and_then(|version| version.parse::<u64>().ok());
        version.unwrap_or(0) >= self.version && self.replaces.as_ref() != Some(&head.etag)
    }
}

const TABLES: [Table; 3] = [Table::Ticks, Table::Gaps, Table::IndexWeights];

/// The notes that can be taken up; `held` gets those that cannot be read.
///
/// # Errors
/// When the store does not answer.
pub async fn read(refiner: &Refiner, held: &mut Vec<(String, anyhow::Error)>) -> anyhow::Result<Vec<Note>> {
    let mut notes = Vec::new();
    for table in TABLES {
        let listed = refiner.objects.list(&format!("bronze/_notes/{}/", table.name()), None).await?;
        let read = async |key: String| {
            let Some(object) = refiner.objects.get(&key).await? else { return anyhow::Ok(Ok(None)) };
            let told: Told = match serde_json::from_slice(&object.bytes) {
                Ok(told) => told,
                Err(error) => return Ok(Err((key.clone(), anyhow!(error).context(format!("{key} is not a note"))))),
            };
            let there = refiner.objects.head(&told.bronze).await?.is_some_and(|head| told.is_there(&head));
            Ok(Ok(there.then_some(Note { key, bronze: told.bronze })))
        };
        let keys = listed.into_iter().map(|listed| listed.key);
        let read: Vec<Result<Option<Note>, _>> = stream::iter(keys).map(read).buffered(AT_ONCE).try_collect().await?;
        for note in read {
            match note {
                Ok(note) => notes.extend(note),
                Err(unreadable) => held.push(unreadable),
            }
        }
    }
    Ok(notes)
}

/// Makes pending what lists the noted objects as inputs: the newer decoder may have moved their rows away from there. This
/// looks through the footers of all of silver, once for all notes that it was not done for. Gives whether every footer could
/// be read; `held` gets the others.
///
/// # Errors
/// When the store does not answer.
pub async fn listed(
    refiner: &Refiner,
    notes: &[Note],
    state: &mut State,
    held: &mut Vec<(String, anyhow::Error)>,
) -> anyhow::Result<bool> {
    state.noted.retain(|key| notes.iter().any(|note| note.key == *key));
    let notes: Vec<&Note> = notes.iter().filter(|note| !state.noted.contains(&note.key)).collect();
    let mut whole = true;
    let tables = [Table::Ticks, Table::QuarantinedTicks, Table::Gaps, Table::IndexWeights];
    for table in tables.into_iter().filter(|_| !notes.is_empty()) {
        let keys = refiner.objects.list(&refiner.prefixes.table(table), None).await?;
        let look = async |key: String| {
            let made = refiner.objects.made(&key).await;
            (key, made)
        };
        let mut looked = stream::iter(keys).map(|listed| look(listed.key)).buffer_unordered(AT_ONCE);
        while let Some((key, made)) = looked.next().await {
            let made = match made {
                Err(error) if error.is::<StoreError>() => return Err(error),
                Err(error) => {
                    whole = false;
                    held.push((key, error));
                    continue;
                }
                Ok(made) => made,
            };
            let Some((made, group)) = made.zip(group(table, &key)) else { continue };
            let of = notes.iter().filter(|note| made.inputs.contains_key(&note.bronze));
            for note in of {
                state.pending.entry(group.clone()).or_default().insert(note.bronze.clone());
            }
        }
    }
    if whole {
        state.noted.extend(notes.into_iter().map(|note| note.key.clone()));
    }
    Ok(whole)
}

fn group(table: Table, key: &str) -> Option<Group> {
    let day = day_in(key)?;
    match table {
        Table::Ticks => Some(Group::hour(day, partition_value(key, "hour")?.parse().ok()?)),
        _ => Some(Group::day(table, day)),
    }
}
