//! Events whose row is not there because it is not to be: their highest revision lies before retention's horizon.

use std::collections::HashMap;

use uuid::Uuid;

use super::letters::Coordinates;

/// Those records that decide it: the ones before the horizon, and every correction.
#[derive(Debug, Default)]
pub struct Retired {
    /// Microseconds from 1970; `None` where every tick is kept.
    horizon: Option<i64>,
    records: HashMap<Uuid, Vec<Told>>,
}

#[derive(Debug)]
struct Told {
    revision: i32,
    place: Coordinates,
    is_before: bool,
}

impl Retired {
    pub fn new(horizon: Option<i64>) -> Self {
        Self { horizon, records: HashMap::new() }
    }

    pub fn horizon(&self) -> Option<i64> {
        self.horizon
    }

    pub fn take(&mut self, id: Uuid, revision: i32, event_time: i64, place: Coordinates) {
        let is_before = self.horizon.is_some_and(|horizon| event_time < horizon);
        if self.horizon.is_some() && (is_before || revision > 0) {
            self.records.entry(id).or_default().push(Told { revision, place, is_before });
        }
    }

    /// Whether the highest revision that `counts` lies before the horizon.
    pub fn has(&self, id: Uuid, counts: impl Fn(Coordinates) -> bool) -> bool {
        let told = self.records.get(&id).into_iter().flatten().filter(|told| counts(told.place));
        told.max_by_key(|told| told.revision).is_some_and(|told| told.is_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_revision_that_is_no_dead_letter_decides() {
        let mut retired = Retired::new(Some(100));
        let [old, moved_in, moved_out, new] = [1, 2, 3, 4].map(Uuid::from_u128);
        for (id, revision, event_time, offset) in [
            (old, 0, 99, 1),
            (moved_in, 0, 150, 2),
            (moved_in, 1, 50, 3),
            (moved_out, 0, 50, 4),
            (moved_out, 1, 100, 5),
            (new, 0, 100, 6),
        ] {
            retired.take(id, revision, event_time, (0, offset));
        }
        let all = |_| true;
        assert_eq!([old, moved_in, moved_out, new].map(|id| retired.has(id, all)), [true, true, false, false]);
        assert!(!retired.has(moved_in, |(_, offset)| offset != 3), "a dead letter does not count");
        assert!(retired.has(moved_out, |(_, offset)| offset != 5));
    }

    #[test]
    fn without_a_horizon_nothing_is_retired() {
        let mut retired = Retired::new(None);
        retired.take(Uuid::nil(), 3, i64::MIN, (0, 1));
        assert!(!retired.has(Uuid::nil(), |_| true));
    }
}
