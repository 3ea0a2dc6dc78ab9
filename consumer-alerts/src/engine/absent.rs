//! What is kept of rules that are not in force: taken out of the file, switched off, or not in it yet when a member with an
//! older file began. They may come back, and then they remember, as they would after a restart. Bounded: of too many, those
//! whose silence ends last are kept.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::state::{State, StateKey};

/// So many states are kept; twice as many before the others are let go.
const KEPT: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Absent(HashMap<StateKey, State>);

impl Absent {
    pub fn keep(&mut self, key: StateKey, state: State) {
        self.0.insert(key, state);
        if self.0.len() > 2 * KEPT {
            let mut states: Vec<(StateKey, State)> = self.0.drain().collect();
            states.select_nth_unstable_by_key(KEPT, |(_, state)| Reverse(state.quiet_until));
            states.truncate(KEPT);
            self.0.extend(states);
        }
    }

    /// All of them: some may be of rules that are back.
    pub fn take(&mut self) -> HashMap<StateKey, State> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Phase;

    #[test]
    fn of_too_many_the_newest_are_kept() {
        let mut absent = Absent::default();
        let all = i64::try_from(2 * KEPT).expect("a small number") + 1;
        for n in 0..all {
            let rule = "00000000000000ff".parse().expect("a hash");
            let key = StateKey { rule, symbol: Some(n.to_string()), source: None, part: None };
            absent.keep(key, State { phase: Phase::Up, quiet_until: n, alert_id: None, severity: None });
        }
        let kept = absent.take();
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept.values().map(|state| state.quiet_until).min(), Some(all - KEPT as i64));
        assert!(absent.take().is_empty());
    }
}
