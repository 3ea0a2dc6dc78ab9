//! The events of a topic: each record's id with where it stands and what it says. A sorted vector of 32 bytes an entry, since
//! a map would take three times as much, and a bit for each event to say that Postgres has it.

use std::collections::HashMap;

use uuid::Uuid;

use super::letters::Coordinates;

/// An id, the place of its record, packed so that an entry has no padding, and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    high: u64,
    low: u64,
    /// Partition in the upper 16 bits, offset in the lower 48: order is (partition, offset).
    place: u64,
    content: u64,
}

const OFFSET_BITS: u32 = 48;

fn pack((partition, offset): Coordinates) -> u64 {
    (partition.cast_unsigned() as u64) << OFFSET_BITS | (offset.cast_unsigned() & ((1 << OFFSET_BITS) - 1))
}

fn unpack(place: u64) -> Coordinates {
    ((place >> OFFSET_BITS) as i32, (place & ((1 << OFFSET_BITS) - 1)) as i64)
}

impl Entry {
    fn id(&self) -> Uuid {
        Uuid::from_u64_pair(self.high, self.low)
    }

    fn key(&self) -> (u64, u64) {
        (self.high, self.low)
    }
}

/// Gathers every decoded record.
#[derive(Debug, Default)]
pub struct Gathering {
    entries: Vec<Entry>,
    /// Of the records that have one above 0, by their packed place: few.
    revisions: HashMap<u64, i32>,
    later_wins: bool,
}

impl Gathering {
    /// Where of records of one rank the last stands, and not the first.
    pub fn where_later_wins() -> Self {
        Self { later_wins: true, ..Self::default() }
    }

    pub fn push(&mut self, id: Uuid, coordinates: Coordinates, revision: i32, content: u64) {
        let (high, low) = id.as_u64_pair();
        let place = pack(coordinates);
        if revision > 0 {
            self.revisions.insert(place, revision);
        }
        self.entries.push(Entry { high, low, place, content });
    }

    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The records for which `counts` says yes, by their ids.
    pub fn distinct(self, counts: impl Fn(Coordinates) -> bool) -> Events {
        let Self { mut entries, revisions, later_wins } = self;
        entries.retain(|entry| counts(unpack(entry.place)));
        entries.sort_unstable();
        let distinct = entries.chunk_by(|a, b| a.key() == b.key()).count() as u64;
        let seen = vec![0; entries.len().div_ceil(64)];
        Events { entries, revisions, later_wins, distinct, seen }
    }
}

/// Events, and which of them were seen elsewhere.
#[derive(Debug)]
pub struct Events {
    entries: Vec<Entry>,
    revisions: HashMap<u64, i32>,
    later_wins: bool,
    distinct: u64,
    /// A bit for the first entry of each event.
    seen: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    First(Said),
    Again,
    Unknown,
}

/// What a row that claims a record's place says, beside that record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Same,
    /// Something else.
    Altered,
    /// The same, and a record that wins over it stands there.
    Outranked(Coordinates),
    /// No record of the event stands at the place that the row names.
    NotThere,
}

impl Events {
    pub fn len(&self) -> u64 {
        self.distinct
    }

    pub fn see(&mut self, id: Uuid, coordinates: Coordinates, content: u64) -> Seen {
        let key = id.as_u64_pair();
        let first = self.entries.partition_point(|entry| entry.key() < key);
        let group = self.entries[first..].iter().take_while(|entry| entry.key() == key).count();
        if group == 0 {
            return Seen::Unknown;
        }
        let (word, bit) = (&mut self.seen[first / 64], 1 << (first % 64));
        if *word & bit != 0 {
            return Seen::Again;
        }
        *word |= bit;
        let group = &self.entries[first..first + group];
        let Some(own) = group.iter().find(|entry| entry.place == pack(coordinates)) else {
            return Seen::First(Said::NotThere);
        };
        Seen::First(match self.winner_over(own, group) {
            _ if own.content != content => Said::Altered,
            Some(winner) => Said::Outranked(unpack(winner.place)),
            None => Said::Same,
        })
    }

    /// The higher revision wins; at equal revision the first of its partition, or the last. Which of two partitions was first
    /// their broker's clocks would have to tell.
    fn winner_over<'a>(&self, own: &Entry, group: &'a [Entry]) -> Option<&'a Entry> {
        let revision = |entry: &Entry| self.revisions.get(&entry.place).copied().unwrap_or(0);
        let same_partition = |entry: &Entry| entry.place >> OFFSET_BITS == own.place >> OFFSET_BITS;
        let is_before = |entry: &Entry| if self.later_wins { entry.place > own.place } else { entry.place < own.place };
        let mine = revision(own);
        let wins = |entry: &Entry| {
            revision(entry) > mine || revision(entry) == mine && same_partition(entry) && is_before(entry)
        };
        group.iter().find(|entry| wins(entry))
    }

    pub fn highest_revision(&self, id: Uuid) -> i32 {
        let key = id.as_u64_pair();
        let first = self.entries.partition_point(|entry| entry.key() < key);
        let group = self.entries[first..].iter().take_while(|entry| entry.key() == key);
        group.filter_map(|entry| self.revisions.get(&entry.place).copied()).max().unwrap_or(0)
    }

    pub fn unseen(&self) -> impl Iterator<Item = (Uuid, Coordinates)> + '_ {
        let is_first = |index: usize| index == 0 || self.entries[index - 1].key() != self.entries[index].key();
        let entries = self.entries.iter().enumerate();
        entries
            .filter(move |(index, _)| is_first(*index) && self.seen[index / 64] & (1 << (index % 64)) == 0)
            .map(|(_, entry)| (entry.id(), unpack(entry.place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(records: &[(u128, Coordinates, i32)]) -> Events {
        let mut gathering = Gathering::default();
        for (id, place, revision) in records {
            gathering.push(Uuid::from_u128(*id), *place, *revision, place.1 as u64);
        }
        gathering.distinct(|_| true)
    }

    #[test]
    fn ids_are_distinct_and_keep_their_first_place() {
        let id = Uuid::from_u128;
        let mut gathering = Gathering::default();
        for (n, place) in
            [(9, (3, 1 << 40)), (7, (0, 5)), (9, (1, 2)), (u128::MAX, (i32::from(i16::MAX), 0)), (5, (0, 6))]
        {
            gathering.push(id(n), place, 0, 1);
        }
        assert_eq!(gathering.len(), 5);
        let mut events = gathering.distinct(|place| place != (0, 6));
        assert_eq!(events.len(), 3, "the dead letter at 0:6 is no event");
        assert_eq!(events.see(id(9), (1, 2), 1), Seen::First(Said::Same));
        assert_eq!(events.see(id(9), (1, 2), 1), Seen::Again);
        assert_eq!((events.see(id(5), (0, 6), 1), events.see(id(8), (0, 8), 1)), (Seen::Unknown, Seen::Unknown));
        let unseen: Vec<_> = events.unseen().collect();
        assert_eq!(unseen, [(id(7), (0, 5)), (id(u128::MAX), (i32::from(i16::MAX), 0))]);
    }

    #[test]
    fn a_dead_letter_does_not_take_a_good_record_of_the_same_event_with_it() {
        let mut gathering = Gathering::default();
        gathering.push(Uuid::nil(), (0, 1), 0, 0);
        gathering.push(Uuid::nil(), (0, 2), 0, 0);
        let events = gathering.distinct(|place| place != (0, 1));
        assert_eq!(events.unseen().collect::<Vec<_>>(), [(Uuid::nil(), (0, 2))]);
    }

    #[test]
    fn a_row_is_held_against_the_record_that_it_names() {
        let see = |records: &[(u128, Coordinates, i32)], place: Coordinates, content: u64| {
            events(records).see(Uuid::from_u128(1), place, content)
        };
        let twice = [(1, (0, 4), 0), (1, (0, 9), 0), (2, (0, 5), 0)];
        assert_eq!(see(&twice, (0, 4), 4), Seen::First(Said::Same));
        assert_eq!(see(&twice, (0, 4), 5), Seen::First(Said::Altered));
        assert_eq!(see(&twice, (0, 9), 9), Seen::First(Said::Outranked((0, 4))), "the first stays");
        assert_eq!(see(&twice, (0, 5), 5), Seen::First(Said::NotThere), "that is another event's");
        let corrected = [(1, (0, 4), 0), (1, (2, 1), 1)];
        assert_eq!(see(&corrected, (2, 1), 1), Seen::First(Said::Same));
        assert_eq!(see(&corrected, (0, 4), 4), Seen::First(Said::Outranked((2, 1))));
        let mut closed_twice = Gathering::where_later_wins();
        for (place, rank) in [((0, 3), 0), ((0, 4), 1), ((0, 7), 1), ((0, 8), 0)] {
            closed_twice.push(Uuid::from_u128(1), place, rank, place.1 as u64);
        }
        let mut closed_twice = closed_twice.distinct(|_| true);
        let said = closed_twice.see(Uuid::from_u128(1), (0, 4), 4);
        assert_eq!(said, Seen::First(Said::Outranked((0, 7))), "the last closing, whatever opening follows");
        let elsewhere = [(1, (0, 4), 0), (1, (2, 1), 0)];
        assert_eq!(see(&elsewhere, (0, 4), 4), Seen::First(Said::Same));
        assert_eq!(see(&elsewhere, (2, 1), 1), Seen::First(Said::Same));
    }
}
