//! Which time is tried. All of it is broker time in microseconds. Invariant: of each partition, what is read is one stretch:
//! from the first record that is not before a beginning up to the first that is not before the end, even where the broker's
//! clock was put back.

use std::fmt;

use jiff::Timestamp;
use pipeline::misconfigured;

use super::page::Table;
use crate::engine::{Engine, LATE};
use crate::rules::MAX_SPAN;

/// From when to when alerts are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub from: i64,
    /// Exclusive; [`i64::MAX`] where there is no limit.
    pub to: i64,
}

/// What is read of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Before this nothing is read; up to `from` windows are filled.
    pub begins: i64,
    pub from: i64,
    pub to: i64,
}

impl Range {
    /// # Errors
    /// [`pipeline::Misconfigured`] when no time lies between them.
    pub fn new(from: Timestamp, to: Option<Timestamp>) -> anyhow::Result<Self> {
        match to {
            Some(to) if from >= to => Err(misconfigured(format!("--from {from} is not before --to {to}"))),
            to => Ok(Self { from: from.as_microsecond(), to: to.map_or(i64::MAX, Timestamp::as_microsecond) }),
        }
    }

    /// A gap may be open for long before a window has a part of it.
    pub fn span(self, table: Table, engine: &Engine) -> Span {
        let back = match table {
            Table::Gaps => engine.looks_back().0.max(MAX_SPAN.0 + LATE.0),
            Table::Health | Table::Ticks => engine.looks_back().0,
        };
        Span { begins: self.from.saturating_sub(back).max(0), from: self.from, to: self.to }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {}", text(self.from))?;
        if self.to == i64::MAX { Ok(()) } else { write!(f, " to {}", text(self.to)) }
    }
}

/// A broker time as people read it, to the millisecond.
pub fn text(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| format!("{micros} microseconds"), |time| format!("{time:.3}"))
}

/// Cuts the stretch out of a partition's records as they come.
#[derive(Debug)]
pub struct Cut {
    begins: i64,
    to: i64,
    /// The greatest broker time so far.
    latest: i64,
    /// A record that is not before the end was met.
    pub is_past: bool,
}

impl Cut {
    pub fn new(span: Span) -> Self {
        Self { begins: span.begins, to: span.to, latest: i64::MIN, is_past: false }
    }

    /// Which of the next records are read, and the time that each is merged by: the greatest up to it.
    pub fn of(&mut self, times: &[i64]) -> (std::ops::Range<usize>, Vec<i64>) {
        let (mut first, mut order) = (times.len(), Vec::with_capacity(times.len()));
        for (row, time) in times.iter().enumerate() {
            self.latest = self.latest.max(*time);
            if self.latest >= self.to {
                self.is_past = true;
                break;
            }
            if self.latest >= self.begins {
                first = first.min(row);
                order.push(self.latest);
            }
        }
        (first..first + order.len(), order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_cut_out_wherever_batches_end() {
        // The clock is put back twice: from 13 to 12, and from 20 to 19 beyond the end.
        let times = [8, 9, 11, 13, 12, 14, 20, 19, 21];
        for size in 1..=times.len() {
            let mut cut = Cut::new(Span { begins: 10, from: 12, to: 20 });
            let (mut read, mut order) = (Vec::new(), Vec::new());
            for batch in times.chunks(size) {
                let (rows, by) = cut.of(batch);
                read.extend_from_slice(&batch[rows]);
                order.extend(by);
                if cut.is_past {
                    break;
                }
            }
            assert_eq!((read, order), (vec![11, 13, 12, 14], vec![11, 13, 13, 14]), "by {size}");
            assert!(cut.is_past);
        }
    }

    #[test]
    fn a_range_has_time_in_it() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let (early, late) = (at("2026-11-22T10:00:00Z"), at("2026-11-22T11:00:00.25Z"));
        let range = Range::new(early, Some(late)).expect("an hour");
        assert_eq!(range.to_string(), "from 2026-11-22T10:00:00.000Z to 2026-11-22T11:00:00.250Z");
        assert_eq!(Range::new(early, None).expect("no end").to_string(), "from 2026-11-22T10:00:00.000Z");
        for (from, to) in [(late, early), (early, early)] {
            assert!(Range::new(from, Some(to)).is_err_and(|error| error.to_string().contains("is not before --to")));
        }
    }
}
