//! Which events were counted in a minute, by half of their ids: event ids are hashes, so two of one minute that share 64
//! bits do not happen. Eight bytes an event, most of them sorted; the newest few are not yet.

use uuid::Uuid;

#[derive(Debug, Default)]
pub struct Seen {
    /// Up to `sorted` in order.
    halves: Vec<u64>,
    sorted: usize,
}

impl Seen {
    /// Gives whether it is new.
    pub fn insert(&mut self, event_id: Uuid) -> bool {
        if self.contains(event_id) {
            return false;
        }
        let unsorted = self.halves.len() - self.sorted;
        if unsorted >= 64.max(self.sorted / 64) {
            // Two runs, of which the sort makes one.
            self.halves.sort();
            self.sorted = self.halves.len();
        }
        self.halves.push(event_id.as_u64_pair().0);
        true
    }

    pub fn contains(&self, event_id: Uuid) -> bool {
        let half = event_id.as_u64_pair().0;
        let (sorted, rest) = self.halves.split_at(self.sorted);
        sorted.binary_search(&half).is_ok() || rest.contains(&half)
    }

    pub fn len(&self) -> usize {
        self.halves.len()
    }

    pub fn shrink(&mut self) {
        self.halves.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_new_once() {
        let mut seen = Seen::default();
        let id = |i: u32| pipeline::events::event_id("test", "trades", "BTC-USD", &i.to_string());
        assert!((0..20_000).all(|i| seen.insert(id(i))));
        assert!((0..20_000).rev().all(|i| seen.contains(id(i)) && !seen.insert(id(i))));
        assert!(!seen.contains(id(20_000)));
        assert_eq!(seen.len(), 20_000);
    }
}
