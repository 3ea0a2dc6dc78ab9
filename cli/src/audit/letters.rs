//! The dead letters of one topic. A letter may have been sent twice, so what counts is its identity: (topic id, partition,
//! offset, group).

use std::collections::{BTreeMap, BTreeSet};

use pipeline::dead_letter::{GROUP, OFFSET, PARTITION, TOPIC_ID};
use pipeline::records::Records;
use uuid::Uuid;

/// Where a record stands: partition and offset.
pub type Coordinates = (i32, i64);

/// Distinct letters of the present topic, by group. Those of an earlier topic of the same name are left out.
#[derive(Debug, Default)]
pub struct Letters {
    by_group: BTreeMap<String, BTreeSet<Coordinates>>,
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
                Some(_) => {}
                None => self.unreadable += 1,
            }
        }
    }

    pub fn of(&self, group: &str) -> &BTreeSet<Coordinates> {
        self.by_group.get(group).unwrap_or(&NONE)
    }

    /// Letters of `group` from `start`, up to `end` exclusive.
    pub fn count(&self, group: &str, partition: i32, start: i64, end: i64) -> u64 {
        if start >= end {
            return 0;
        }
        self.of(group).range((partition, start)..(partition, end)).count() as u64
    }
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
        assert_eq!(
            (letters.count("lake", 2, 7, 9), letters.count("lake", 1, 0, 100), letters.count("lake", 2, 9, 3)),
            (1, 0, 0)
        );
    }
}
