//! Which ticks were corrected, taken back or moved lately: the first revision of one, coming after its correction in a replay
//! or from another producer, is nothing new.

use std::collections::VecDeque;

/// So many corrections of one series are remembered, the newest.
const REMEMBERED: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Corrections(VecDeque<(u64, i64)>);

impl Corrections {
    /// `at`: the broker time of the correction.
    pub fn add(&mut self, id: u64, at: i64) {
        self.0.retain(|(known, _)| *known != id);
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((id, at));
    }

    /// Whether the tick was corrected since.
    pub fn covers(&self, id: u64, since: i64) -> bool {
        self.0.iter().any(|(known, at)| *known == id && *at >= since)
    }
}
