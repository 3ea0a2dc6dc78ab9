//! The dead letters of one topic. A letter may have been sent twice, so what counts is its identity: (topic id, partition,
//! offset, group).

use std::collections::{BTreeMap, BTreeSet};

use pipeline::dead_letter::{GROUP, OFFSET, PARTITION, TOPIC_ID};
use pipeline::records::Records;
use uuid::Uuid;

use super::database::{Tally, at};

/// Where a record stands: partition and offset.
pub type Coordinates = (i32, i64);

/// Distinct letters of the present topic, by group; those of an earlier topic of the same name stand apart.
#[derive(Debug, Default)]
pub struct Letters {
    by_group: BTreeMap<String, BTreeSet<Coordinates>>,
    /// Letters of topics with other ids.
    pub elsewhere: BTreeSet<(Uuid, String, Coordinates)>,
    /// Records of the dead-letter topic whose headers name no record.
    pub unreadable: u64,
}

static NONE: BTreeSet<Coordinates> = BTreeSet::new();

impl Letters {
    pub fn take(&mut self, topic_id: Uuid, records: &Records) {
        for index in 0..records.len() {
            match identity(&records.headers(index)) {
                Some((id, group, coordinates)) if id == topic_id => {
                    self.by_group.entry(group).or_default().insert(coordinates);
                }
                Some((id, group, coordinates)) => drop(self.elsewhere.insert((id, group, coordinates))),
                None => self.unreadable += 1,
            }
        }
    }

    pub fn of(&self, group: &str) -> &BTreeSet<Coordinates> {
        self.by_group.get(group).unwrap_or(&NONE)
    }

    /// All of them.
    pub fn groups(&self) -> impl Iterator<Item = (&str, Coordinates)> {
        self.by_group.iter().flat_map(|(group, places)| places.iter().map(|place| (group.as_str(), *place)))
    }

    /// Letters of `group` from `start`, up to `end` exclusive.
    pub fn count(&self, group: &str, partition: i32, start: i64, end: i64) -> u64 {
        if start >= end {
            return 0;
        }
        self.of(group).range((partition, start)..(partition, end)).count() as u64
    }
}

/// Letters of records that are nowhere: of a topic that is neither the present one nor one that the lake `known`ly was written
/// from, or of a place at which no record is. A person who has dealt with one has dropped it.
pub fn orphans(
    letters: &Letters,
    topic_id: Uuid,
    known: &BTreeSet<Uuid>,
    has: impl Fn(Coordinates) -> bool,
    is_settled: impl Fn(Uuid, &str, Coordinates) -> bool,
) -> Vec<String> {
    let (mut of_no_topic, mut of_no_record) = (Tally::default(), Tally::default());
    for (id, group, place) in &letters.elsewhere {
        if !known.contains(id) && !is_settled(*id, group, *place) {
            of_no_topic.add(|| format!("{} of topic id {id}, of group {group}", at(*place)));
        }
    }
    for (group, place) in letters.groups() {
        if !has(place) && !is_settled(topic_id, group, place) {
            of_no_record.add(|| format!("{} of group {group}", at(place)));
        }
    }
    let lines = [
        of_no_topic
            .line("dead letters are of a topic that neither the broker nor the lake knows (`tickstream dlq drop`)"),
        of_no_record.line("dead letters are of offsets at which no record is (`tickstream dlq drop`)"),
    ];
    lines.into_iter().flatten().collect()
}

fn identity(headers: &[(String, Option<Vec<u8>>)]) -> Option<(Uuid, String, Coordinates)> {
    // Ours stand behind the record's own, which may be those of an earlier letter.
    let text = |name: &str| {
        let (_, value) = headers.iter().rev().find(|(key, _)| key == name)?;
        std::str::from_utf8(value.as_deref()?).ok()
    };
    let coordinates = (text(PARTITION)?.parse().ok()?, text(OFFSET)?.parse().ok()?);
    Some((text(TOPIC_ID)?.parse().ok()?, text(GROUP)?.to_owned(), coordinates))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::records::{Record, RecordBuffer};

    fn letter(topic_id: Uuid, group: &str, offset: &str) -> Vec<(String, Option<Vec<u8>>)> {
        let id = topic_id.to_string();
        [(TOPIC_ID, id.as_str()), (PARTITION, "2"), (OFFSET, offset), (GROUP, group)]
            .map(|(key, value)| (key.to_owned(), Some(value.as_bytes().to_vec())))
            .to_vec()
    }

    #[test]
    fn a_letter_counts_once_and_only_for_its_topic_and_group() {
        let (topic_id, earlier) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut redriven = letter(topic_id, "lake", "1");
        redriven.extend(letter(topic_id, "lake", "9"));
        let sent = [
            letter(topic_id, "lake", "7"),
            letter(topic_id, "lake", "7"),
            letter(topic_id, "db", "8"),
            letter(earlier, "lake", "5"),
            redriven,
            letter(topic_id, "lake", "x"),
            Vec::new(),
        ];
        let mut buffer = RecordBuffer::new();
        for (offset, headers) in sent.iter().enumerate() {
            let record = Record { offset: offset as i64, timestamp_ms: 0, key: None, value: None };
            buffer.push_owned(record, headers);
        }
        let mut letters = Letters::default();
        letters.take(topic_id, &buffer.finish());
        assert_eq!(letters.of("lake"), &BTreeSet::from([(2, 7), (2, 9)]));
        assert_eq!(letters.of("db"), &BTreeSet::from([(2, 8)]));
        assert_eq!((letters.of("other").len(), letters.unreadable), (0, 2));
        assert_eq!(letters.elsewhere, BTreeSet::from([(earlier, "lake".to_owned(), (2, 5))]));
        assert_eq!(letters.groups().count(), 3);
        assert_eq!(
            (letters.count("lake", 2, 7, 9), letters.count("lake", 1, 0, 100), letters.count("lake", 2, 9, 3)),
            (1, 0, 0)
        );
    }

    #[test]
    fn orphans_are_of_no_topic_or_of_no_record() {
        let [now, before, unknown] = [1, 2, 3].map(Uuid::from_u128);
        let mut buffer = RecordBuffer::new();
        let sent = [(now, "1"), (now, "7"), (now, "8"), (before, "9"), (unknown, "4"), (unknown, "5")];
        for (offset, (id, of)) in sent.into_iter().enumerate() {
            let record = Record { offset: offset as i64, timestamp_ms: 0, key: None, value: None };
            buffer.push_owned(record, &letter(id, "lake", of));
        }
        let mut letters = Letters::default();
        letters.take(now, &buffer.finish());
        let has = |(_, offset)| offset == 1;
        let is_settled = |_, _: &str, (_, offset): Coordinates| offset == 8 || offset == 5;
        let lines = orphans(&letters, now, &BTreeSet::from([now, before]), has, is_settled);
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(
            lines[0].starts_with("1 dead letters are of a topic")
                && lines[0].contains(&format!("partition 2 offset 4 of topic id {unknown}"))
        );
        assert!(
            lines[1].starts_with("1 dead letters are of offsets")
                && lines[1].contains("partition 2 offset 7 of group lake")
        );
    }
}
