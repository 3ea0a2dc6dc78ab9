//! Alerts that wait for quiet hours to end, in the order in which they came. Of so many that nobody would read them only the
//! ids are kept. Their offsets are not committed, so a restart reads them again. Must never happen here: an alert twice,
//! though a batch comes again after an outage.

use std::collections::{BTreeMap, HashSet};

use pipeline::events::Alert;
use uuid::Uuid;

/// Alerts that are kept whole; more than any message names.
const WHOLE: usize = 500;

#[derive(Debug, Default)]
pub struct Held {
    ids: HashSet<Uuid>,
    whole: Vec<Alert>,
    counted: Vec<Uuid>,
    /// The first held offset of each partition.
    first: BTreeMap<i32, i64>,
}

impl Held {
    pub fn hold(&mut self, alert: Alert, partition: i32, offset: i64) {
        if !self.ids.insert(alert.alert_id) {
            return;
        }
        let first = self.first.entry(partition).or_insert(offset);
        *first = offset.min(*first);
        if self.whole.len() < WHOLE {
            self.whole.push(alert);
        } else {
            self.counted.push(alert.alert_id);
        }
    }

    /// The first offset of `partition` that may not be committed over.
    pub fn first(&self, partition: i32) -> Option<i64> {
        self.first.get(&partition).copied()
    }

    pub fn whole(&self) -> &[Alert] {
        &self.whole
    }

    /// Ids of those that are not kept whole; they came after those that are.
    pub fn counted(&self) -> &[Uuid] {
        &self.counted
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use pipeline::example;

    use super::*;

    #[test]
    fn each_once_in_order_and_past_a_number_only_counted() {
        let mut held = Held::default();
        let alert = |n: u128| Alert { alert_id: Uuid::from_u128(n), ..example::alert() };
        for n in 0..WHOLE as u128 + 3 {
            for _again in 0..2 {
                held.hold(alert(n), 0, 40 + n as i64);
            }
        }
        assert_eq!((held.len(), held.whole().len()), (WHOLE + 3, WHOLE));
        assert!(held.whole().is_sorted_by_key(|alert| alert.alert_id));
        let last: Vec<Uuid> = (0..3).map(|n| Uuid::from_u128(WHOLE as u128 + n)).collect();
        assert_eq!(held.counted(), last);
        assert_eq!((held.first(0), held.first(1)), (Some(40), None));
        held.clear();
        assert_eq!((held.len(), held.first(0)), (0, None));
    }
}
