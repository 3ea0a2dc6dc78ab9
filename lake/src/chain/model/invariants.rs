//! What must hold in every state, and what must be reached in the end: 1 the raw objects of an epoch are one chain, each with
//! exactly the delivered records of its range; 2 the commit, and an end object, pass no raw object without its bronze, which is
//! never of an older version than before; 3 an object holds records of its epoch's topic id only; 4 in the end all is there;
//! 5 no PUT changes a raw object; 6 no record stands in two epochs; 7 a gap event speaks of a hole or of an end that stands,
//! and where another topic took the place of one that the lake has records of, that is told.

use std::collections::{BTreeMap, BTreeSet};

use pipeline::lake::{
    Epoch, Link, LinkKind, Origin, bronze_key, end_key, epoch_key, hole_key, origin_key, partition_prefix, raw_key,
};
use uuid::Uuid;

use super::sim::{BronzeFile, RawFile, Row, State, decode, topic_uuid};

pub const TOPIC: &str = "t";
pub const TABLE: &str = "ticks";

pub struct Stored {
    pub link: Link,
    pub rows: Vec<Row>,
}

/// The epochs, and which creation of the topic each belongs to.
pub fn epochs(state: &State) -> Vec<usize> {
    (0..)
        .map_while(|epoch| state.objects.get(&epoch_key(TOPIC, epoch)))
        .map(|object| {
            let bound: Epoch = serde_json::from_slice(&object.bytes).expect("an epoch");
            (0..state.logs.len())
                .find(|topic| topic_uuid(*topic) == bound.topic_id)
                .expect("a topic id of this history")
        })
        .collect()
}

pub fn origin(state: &State, epoch: u32) -> Option<i64> {
    let object = state.objects.get(&origin_key(TOPIC, epoch, 0))?;
    Some(serde_json::from_slice::<Origin>(&object.bytes).expect("an origin").offset)
}

pub fn raw(state: &State, epoch: u32) -> BTreeMap<i64, Stored> {
    let prefix = partition_prefix(TOPIC, epoch, 0);
    let mine = state.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && key.ends_with(".parquet"));
    mine.map(|(key, object)| {
        let file: RawFile = serde_json::from_slice(&object.bytes).expect("a raw object");
        let link = Link::from_pairs(&file.pairs).expect("a link");
        assert_eq!(*key, raw_key(TOPIC, epoch, 0, link.start));
        (link.start, Stored { link, rows: file.rows })
    })
    .collect()
}

pub fn bronze(state: &State, epoch: u32, link: &Link) -> Option<BronzeFile> {
    let key = bronze_key(TABLE, link.rows?.first_time_ms, TOPIC, epoch, 0, link.start);
    state.objects.get(&key).map(|object| serde_json::from_slice(&object.bytes).expect("a bronze object"))
}

/// The chain from the origin: how many objects are on it, and its tail.
pub fn follow(objects: &BTreeMap<i64, Stored>, origin: i64) -> (usize, i64) {
    let (mut count, mut tail) = (0, origin);
    while let Some(stored) = objects.get(&tail) {
        count += 1;
        if stored.link.kind == LinkKind::End {
            break;
        }
        tail = stored.link.next_offset;
    }
    (count, tail)
}

/// The first invariant that does not hold.
pub fn check(state: &State, versions: &mut BTreeMap<String, u32>) -> Result<(), String> {
    if let Some(broken) = &state.broken {
        return Err(broken.clone());
    }
    let epochs = epochs(state);
    let mut seen = BTreeSet::new();
    for (epoch, topic) in (0u32..).zip(&epochs) {
        let (objects, log) = (raw(state, epoch), &state.logs[*topic]);
        for row in objects.values().flat_map(|stored| &stored.rows) {
            if !seen.insert((row.topic, row.offset)) {
                return Err(format!(
                    "6: offset {} of topic {topic} stands in epoch {epoch} and in an earlier one",
                    row.offset
                ));
            }
        }
        let Some(origin) = origin(state, epoch) else {
            if objects.is_empty() {
                continue;
            }
            return Err(format!("1: epoch {epoch} has objects and no origin"));
        };
        match closed_before(state, &epochs, epoch) {
            Some(end) if end != origin => {
                return Err(format!("6: epoch {epoch} begins at {origin}, its topic was closed at {end}"));
            }
            None if origin > log.low => {
                return Err(format!("1: epoch {epoch} begins at {origin}, above the log start {}", log.low));
            }
            Some(_) | None => {}
        }
        let (count, tail) = follow(&objects, origin);
        if count != objects.len() {
            return Err(format!("1: {} of {} objects of epoch {epoch} are on the chain", count, objects.len()));
        }
        let newest = epoch as usize + 1 == epochs.len();
        let speaks = |(cluster, commit): (usize, &Option<(i64, String)>)| {
            let (offset, metadata) = commit.as_ref()?;
            let of_epoch = match metadata.strip_prefix("epoch=") {
                Some(named) => named.parse() == Ok(epoch),
                None => newest && *topic == state.topics[cluster],
            };
            of_epoch.then_some(*offset)
        };
        let commit = state.commits.iter().enumerate().filter_map(speaks).max();
        let closed = objects.values().any(|stored| stored.link.kind == LinkKind::End);
        for Stored { link, rows } in objects.values() {
            check_object(state, epoch, *topic, link, rows, versions)?;
            let passed = closed || commit.is_some_and(|offset| link.next_offset <= offset);
            if !passed || rows.is_empty() {
                continue;
            }
            let Some(bronze) = bronze(state, epoch, link) else {
                return Err(format!(
                    "2: the commit or an end passed {} of epoch {epoch}, which has no bronze",
                    link.start
                ));
            };
            if let Some((offset, _)) = bronze.bad.iter().find(|(offset, _)| !state.letters.contains(&(*topic, *offset)))
            {
                return Err(format!("2: the commit or an end passed {offset}, neither in bronze nor a dead letter"));
            }
        }
        if let Some(offset) = commit.filter(|offset| *offset > tail) {
            return Err(format!("2: the commit {offset} is beyond the tail {tail} of epoch {epoch}"));
        }
    }
    let standing = losses(state);
    match state.gaps.iter().find(|gap| !standing.contains_key(&gap.id)) {
        Some(gap) => Err(format!("7: a gap was told, and no such hole or end stands: {}", gap.detail)),
        None => Ok(()),
    }
}

/// Where the last epoch before `epoch` of the same topic was closed.
fn closed_before(state: &State, epochs: &[usize], epoch: u32) -> Option<i64> {
    let same = |earlier: &u32| epochs[*earlier as usize] == epochs[epoch as usize];
    let end = |earlier| raw(state, earlier).into_values().find(|stored| stored.link.kind == LinkKind::End);
    (0..epoch).rev().filter(same).find_map(end).map(|stored| stored.link.start)
}

/// The accepted holes of all epochs, and their ends behind which something is lost, by the id of their gap events: the epoch,
/// the kind and where it stands.
fn losses(state: &State) -> BTreeMap<Uuid, (u32, LinkKind, i64)> {
    let mut standing = BTreeMap::new();
    for epoch in (0..).take(epochs(state).len()) {
        for stored in raw(state, epoch).values() {
            let Link { kind, start, .. } = stored.link;
            let note = match kind {
                LinkKind::Data => continue,
                LinkKind::Hole => state.objects.get(&hole_key(TOPIC, epoch, 0, start)),
                LinkKind::End => state.objects.get(&end_key(TOPIC, epoch, 0, start)),
            };
            assert!(note.is_some() || kind == LinkKind::End, "a hole has a note before it");
            let Some(note) = note else { continue };
            let note: serde_json::Value = serde_json::from_slice(&note.bytes).expect("a note");
            let gap = if kind == LinkKind::Hole { &note["gap"] } else { &note };
            let id = gap["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
            assert!(standing.insert(id, (epoch, kind, start)).is_none(), "two losses under one id");
        }
    }
    standing
}

/// An epoch that another topic followed, whose own never came back, and that has records: its end must be told.
fn lost_behind(state: &State, epochs: &[usize], epoch: u32) -> bool {
    let objects = raw(state, epoch);
    let later = &epochs[epoch as usize + 1..];
    let closed = objects.values().any(|stored| stored.link.kind == LinkKind::End);
    let gone = !later.is_empty() && !later.contains(&epochs[epoch as usize]);
    gone && closed && objects.values().any(|stored| !stored.rows.is_empty())
}

/// What the objects show that the histories have met.
pub fn note_met(state: &mut State) {
    for epoch in (0..).take(epochs(state).len()) {
        for Stored { link, rows } in raw(state, epoch).into_values() {
            let offsets = usize::try_from(link.next_offset - link.start).expect("an object ends behind its start");
            if link.kind == LinkKind::Data && rows.len() < offsets {
                state.count("transaction markers");
            }
        }
    }
}

fn check_object(
    state: &State,
    epoch: u32,
    topic: usize,
    link: &Link,
    rows: &[Row],
    versions: &mut BTreeMap<String, u32>,
) -> Result<(), String> {
    let log = &state.logs[topic];
    let (start, next) = (link.start, link.next_offset);
    if rows.iter().any(|row| row.topic != topic) {
        return Err(format!("3: epoch {epoch} at {start} holds records of another topic id"));
    }
    let range = usize::try_from(start).expect("an offset")..usize::try_from(next).expect("an offset");
    let delivered: Vec<Row> = log.rows.get(range).unwrap_or_default().iter().flatten().copied().collect();
    if link.kind == LinkKind::Data && rows != delivered {
        return Err(format!("1: epoch {epoch} {start}..{next} holds {rows:?} and not {delivered:?}"));
    }
    if link.kind == LinkKind::Hole && next > log.low {
        return Err(format!("1: the hole {start}..{next} covers what retention did not remove"));
    }
    if let Some(bronze) = bronze(state, epoch, link) {
        let expected = decode(bronze.version, rows);
        if (&bronze.good, &bronze.bad) != (&expected.good, &expected.bad) {
            return Err(format!("2: bronze {start} of epoch {epoch} is not the decoding of the raw object"));
        }
        let before = versions.insert(format!("{epoch}/{start}"), bronze.version).unwrap_or(0);
        if before > bronze.version {
            return Err(format!("2: bronze {start} of epoch {epoch} fell from version {before} to {}", bronze.version));
        }
        let note = format!("bronze/_notes/{TABLE}/{TOPIC}+{epoch:04}+00000+{start:020}+v{:05}.json", bronze.version);
        if before != 0 && before < bronze.version && !state.objects.contains_key(&note) {
            return Err(format!("2: bronze {start} was replaced without a note"));
        }
    }
    Ok(())
}

/// Everything delivered and not lost to retention is in the chain, every object has its bronze, the commit has followed.
pub fn complete(state: &State) -> Result<(), String> {
    let epochs = epochs(state);
    if epochs.last() != Some(&state.topic()) {
        return Err("the topic has no epoch".to_owned());
    }
    let told = |id: &Uuid| state.gaps.iter().any(|gap| gap.id == *id);
    let losses = losses(state);
    let untold = |(id, (_, kind, _)): &(&Uuid, &(u32, LinkKind, i64))| *kind == LinkKind::Hole && !told(id);
    if let Some((_, (_, _, start))) = losses.iter().find(untold) {
        return Err(format!("4: the hole at {start} is not told"));
    }
    for epoch in (0u32..).take(epochs.len()).filter(|epoch| lost_behind(state, &epochs, *epoch)) {
        let of_end =
            |(id, (of, kind, _)): (&Uuid, &(u32, LinkKind, i64))| *of == epoch && *kind == LinkKind::End && told(id);
        if !losses.iter().any(of_end) {
            return Err(format!("7: what is lost behind the end of epoch {epoch} is not told"));
        }
    }
    for (epoch, topic) in (0u32..).zip(&epochs) {
        let objects = raw(state, epoch);
        for Stored { link, rows } in objects.values() {
            let bronze = bronze(state, epoch, link);
            if !rows.is_empty() && bronze.is_none() {
                return Err(format!("4: epoch {epoch} at {} has no bronze", link.start));
            }
            let bad = bronze.map_or_else(Vec::new, |bronze| bronze.bad);
            if let Some((offset, _)) = bad.iter().find(|(offset, _)| !state.letters.contains(&(*topic, *offset))) {
                return Err(format!("4: offset {offset} of epoch {epoch} is neither in bronze nor a dead letter"));
            }
        }
        if epoch as usize + 1 < epochs.len() {
            continue;
        }
        let log = state.log(state.cluster);
        let tail = origin(state, epoch).map_or(0, |origin| follow(&objects, origin).1);
        let below = usize::try_from(tail).expect("an offset");
        if log.rows.iter().skip(below).flatten().next().is_some() || tail < log.low {
            return Err(format!("4: the chain ends at {tail}, the log at {}", log.end));
        }
    }
    Ok(())
}
