//! The gaps that the log has told of, by source: a window with a gap in it is not compared, for what looks like a jump may be
//! the time that is missing.

use std::collections::HashMap;

use pipeline::events::Gap;
use uuid::Uuid;

use super::LATE;
use crate::rules::MAX_SPAN;

/// So many gaps of a source are remembered, the latest; and none that ended longer ago than any window reaches.
const REMEMBERED: usize = 1_000;
/// A gap is in a window that it takes so large a part of: one missed trade in an hour does not silence the hour.
const PART: i64 = 10;

#[derive(Debug, Default)]
pub(super) struct KnownGaps(HashMap<String, Vec<KnownGap>>);

#[derive(Debug)]
struct KnownGap {
    id: Uuid,
    symbols: Vec<String>,
    from: i64,
    to: Option<i64>,
    /// Broker time of the last record of it.
    told_at: i64,
}

impl KnownGaps {
    /// `at`: the broker time of the record.
    pub fn add(&mut self, gap: &Gap, at: i64) {
        let horizon = at.saturating_sub(MAX_SPAN.0 + LATE.0);
        let gaps = match self.0.get_mut(&gap.source) {
            Some(gaps) => gaps,
            None => self.0.entry(gap.source.clone()).or_default(),
        };
        // A gap that has ended does not begin again: its opening has come a second time.
        if gap.ended_at.is_none() && gaps.iter().any(|known| known.id == gap.id && known.to.is_some()) {
            return;
        }
        gaps.retain(|known| known.id != gap.id && known.to.is_none_or(|to| to >= horizon));
        if gaps.len() >= REMEMBERED {
            gaps.remove(0);
        }
        gaps.push(KnownGap {
            id: gap.id,
            symbols: gap.symbols.clone(),
            from: gap.started_at,
            to: gap.ended_at,
            told_at: at,
        });
    }

    /// Whether a gap takes a part of the time between `from` and `to` that matters; `at` is the broker's time. One that was
    /// told of long ago and never closed is no gap: prices come.
    pub fn between(&self, source: &str, symbol: &str, (from, to): (i64, i64), at: i64) -> bool {
        let Some(gaps) = self.0.get(source) else { return false };
        let concerned = |gap: &&KnownGap| gap.symbols.is_empty() || gap.symbols.iter().any(|known| known == symbol);
        let counts = |gap: &&KnownGap| gap.to.is_some() || at.saturating_sub(gap.told_at) <= LATE.0;
        gaps.iter().filter(concerned).filter(counts).any(|gap| {
            let missing = gap.to.unwrap_or(to).min(to).saturating_sub(gap.from.max(from));
            missing > 0 && missing.saturating_mul(PART) >= to - from
        })
    }
}
