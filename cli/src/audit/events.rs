//! The events of a topic: each id once, with where it stands. A sorted vector of 24 bytes an entry, since a map would take
//! three times as much, and a bit for each to say that Postgres has it.

use uuid::Uuid;

use super::letters::Coordinates;

/// An id and the place of its record, packed so that an entry has no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    high: u64,
    low: u64,
    /// Partition in the upper 16 bits, offset in the lower 48: order is (partition, offset).
    place: u64,
}

const OFFSET_BITS: u32 = 48;

impl Entry {
    fn new(id: Uuid, (partition, offset): Coordinates) -> Self {
        let (high, low) = id.as_u64_pair();
        let place =
            (partition.cast_unsigned() as u64) << OFFSET_BITS | (offset.cast_unsigned() & ((1 << OFFSET_BITS) - 1));
        Self { high, low, place }
    }

    fn id(&self) -> Uuid {
        Uuid::from_u64_pair(self.high, self.low)
    }

    fn coordinates(&self) -> Coordinates {
        ((self.place >> OFFSET_BITS) as i32, (self.place & ((1 << OFFSET_BITS) - 1)) as i64)
    }
}

/// Gathers every decoded record.
#[derive(Debug, Default)]
pub struct Gathering(Vec<Entry>);

impl Gathering {
    pub fn push(&mut self, id: Uuid, coordinates: Coordinates) {
        self.0.push(Entry::new(id, coordinates));
    }

    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// The distinct ids of the records for which `counts` says yes, each with its first place.
    pub fn distinct(self, counts: impl Fn(Coordinates) -> bool) -> Events {
        let mut entries = self.0;
        entries.retain(|entry| counts(entry.coordinates()));
        entries.sort_unstable();
        entries.dedup_by_key(|entry| (entry.high, entry.low));
        let seen = vec![0; entries.len().div_ceil(64)];
        Events { entries, seen }
    }
}

/// Distinct events, and which of them were seen elsewhere.
#[derive(Debug)]
pub struct Events {
    entries: Vec<Entry>,
    seen: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    First,
    Again,
    Unknown,
}

impl Events {
    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    pub fn see(&mut self, id: Uuid) -> Seen {
        let Ok(index) = self.entries.binary_search_by_key(&id.as_u64_pair(), |entry| (entry.high, entry.low)) else {
            return Seen::Unknown;
        };
        let (word, bit) = (&mut self.seen[index / 64], 1 << (index % 64));
        if *word & bit != 0 {
            return Seen::Again;
        }
        *word |= bit;
        Seen::First
    }

    pub fn unseen(&self) -> impl Iterator<Item = (Uuid, Coordinates)> + '_ {
        let entries = self.entries.iter().enumerate();
        entries
            .filter(|(index, _)| self.seen[index / 64] & (1 << (index % 64)) == 0)
            .map(|(_, entry)| (entry.id(), entry.coordinates()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_and_keep_their_first_place() {
        let id = Uuid::from_u128;
        let mut gathering = Gathering::default();
        for (n, place) in
            [(9, (3, 1 << 40)), (7, (0, 5)), (9, (1, 2)), (u128::MAX, (i32::from(i16::MAX), 0)), (5, (0, 6))]
        {
            gathering.push(id(n), place);
        }
        assert_eq!(gathering.len(), 5);
        let mut events = gathering.distinct(|place| place != (0, 6));
        assert_eq!(events.len(), 3, "the dead letter at 0:6 is no event");
        assert_eq!(events.see(id(9)), Seen::First);
        assert_eq!(events.see(id(9)), Seen::Again);
        assert_eq!((events.see(id(5)), events.see(id(8))), (Seen::Unknown, Seen::Unknown));
        let unseen: Vec<_> = events.unseen().collect();
        assert_eq!(unseen, [(id(7), (0, 5)), (id(u128::MAX), (i32::from(i16::MAX), 0))]);
    }

    #[test]
    fn a_dead_letter_does_not_take_a_good_record_of_the_same_event_with_it() {
        let mut gathering = Gathering::default();
        gathering.push(Uuid::nil(), (0, 1));
        gathering.push(Uuid::nil(), (0, 2));
        let events = gathering.distinct(|place| place != (0, 1));
        assert_eq!(events.unseen().collect::<Vec<_>>(), [(Uuid::nil(), (0, 2))]);
    }
}
