//! The five ends of a poll. Must never happen here: a sixth one, or an old price that stands for any of them.

/// How a poll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All that was asked came, and something of it is new.
    Fresh,
    /// All came, and it is what came before.
    Unchanged,
    /// All came, and the source's own time has not moved for longer than its cadence.
    Stale,
    /// Some of what was asked did not come.
    Partial,
    Failed,
}

impl Outcome {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Unchanged => "unchanged",
            Self::Stale => "stale",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }

    pub(super) fn count(self, source: &'static str) {
        metrics::counter!("tickstream_producer_polls_total", "source" => source, "outcome" => self.as_str())
            .increment(1);
    }
}
