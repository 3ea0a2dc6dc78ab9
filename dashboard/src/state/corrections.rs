//! Which events were corrected, and up to which revision: an older one that comes later changes nothing. Bounded, oldest out.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

const MAX: usize = 100_000;

#[derive(Clone, Copy, Debug)]
struct Known {
    revision: i32,
    /// A correction that was seen ahead of its turn is still to be worked in.
    is_done: bool,
}

#[derive(Debug, Default)]
pub struct Corrections {
    known: HashMap<Uuid, Known>,
    order: VecDeque<(Uuid, i64)>,
}

impl Corrections {
    /// Whether a revision of an event has nothing to say any more.
    pub fn outranks(&self, event_id: Uuid, revision: i32) -> bool {
        self.known
            .get(&event_id)
            .is_some_and(|known| known.revision > revision || (known.revision == revision && known.is_done))
    }

    /// Remembers a correction of the event at `event_time`; gives the time of one that is forgotten for it.
    pub fn remember(&mut self, event_id: Uuid, event_time: i64, revision: i32, is_done: bool) -> Option<i64> {
        if self.outranks(event_id, revision) {
            return None;
        }
        if self.known.insert(event_id, Known { revision, is_done }).is_none() {
            self.order.push_back((event_id, event_time));
        }
        if self.order.len() <= MAX {
            return None;
        }
        let (oldest, time) = self.order.pop_front()?;
        self.known.remove(&oldest);
        Some(time)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        assert_eq!(self.known.len(), self.order.len());
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_higher_revision_wins_and_memory_is_bounded() {
        let mut corrections = Corrections::default();
        let id = Uuid::from_u128;
        assert!(!corrections.outranks(id(1), 0));
        corrections.remember(id(1), 7, 2, false);
        assert!(corrections.outranks(id(1), 1) && !corrections.outranks(id(1), 2), "seen ahead, not done");
        corrections.remember(id(1), 7, 2, true);
        assert!(corrections.outranks(id(1), 2) && !corrections.outranks(id(1), 3));
        let forgotten: Vec<i64> =
            (2..MAX as u128 + 10).filter_map(|i| corrections.remember(id(i), 1, 1, true)).collect();
        assert_eq!((corrections.len(), forgotten.len(), forgotten[0]), (MAX, 9, 7));
    }
}
