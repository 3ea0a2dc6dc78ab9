//! The candles of one symbol, source and price basis. The invariant: a bucket that is not `stale` is exactly what the ticks
//! read so far come to, each event once, in its highest revision. It holds because
//! - each minute of the last day knows the events in it, so that a repeat is no second tick;
//! - each minute of the last few holds its ticks: what is corrected there is made again from them, and the wider ones from
//!   the narrower;
//! - a correction of any other minute makes it `stale`, and all buckets around it: they are told as not complete until the
//!   minute is read again from elsewhere ([`Chart::replace_minute`]).
//!
//! Must never happen here: memory that grows with the number of ticks beyond the [`Budget`], or a bucket that is silently
//! wrong.

use std::collections::{BTreeMap, VecDeque};

use super::candle::{Fold, Place};
use super::seen::Seen;
use super::timeframe::Timeframe;
use pipeline::decimal::Decimal38;
use pipeline::events::Kind;

/// Ticks are held for this long, by event time.
const EXACT_US: i64 = 5 * 60 * 1_000_000;

/// What all charts together may hold.
#[derive(Debug)]
pub struct Budget {
    /// Events known, of 8 bytes each.
    pub seen: usize,
    /// Ticks held, of 80 bytes each.
    pub exact: usize,
    pub max_exact: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    pub start: i64,
    pub fold: Fold,
    /// A correction could not be worked in.
    pub stale: bool,
    /// A gap that is no longer in memory lies in it.
    pub touched: bool,
}

#[derive(Clone, Copy, Debug)]
struct Exact {
    place: Place,
    price: Decimal38,
    quantity: Option<Decimal38>,
}

#[derive(Debug, Default)]
struct Memory {
    seen: Seen,
    exact: Option<Vec<Exact>>,
}

/// What a tick or a correction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    None,
    /// The buckets that the time lies in have changed.
    Changed,
}

/// The candles of one timeframe, by start.
#[derive(Debug, Default)]
pub struct Line(VecDeque<Bucket>);

impl Line {
    pub fn iter(&self) -> std::collections::vec_deque::Iter<'_, Bucket> {
        self.0.iter()
    }

    /// Those that start in `[from, to)`.
    pub fn range(&self, from: i64, to: i64) -> impl DoubleEndedIterator<Item = &Bucket> {
        let (a, b) = (self.at(from), self.at(to));
        self.0.range(a..b.max(a))
    }

    pub fn get(&self, start: i64) -> Option<&Bucket> {
        self.0.get(self.at(start)).filter(|bucket| bucket.start == start)
    }

    fn get_mut(&mut self, start: i64) -> Option<&mut Bucket> {
        let at = self.at(start);
        self.0.get_mut(at).filter(|bucket| bucket.start == start)
    }

    fn at(&self, start: i64) -> usize {
        // Nearly every look is for the newest.
        match self.0.back() {
            Some(last) if last.start < start => self.0.len(),
            Some(last) if last.start == start => self.0.len() - 1,
            _ => self.0.partition_point(|bucket| bucket.start < start),
        }
    }

    fn merge(&mut self, start: i64, fold: &Fold) {
        let at = self.at(start);
        match self.0.get_mut(at) {
            Some(bucket) if bucket.start == start => bucket.fold.merge(fold),
            _ => self.0.insert(at, Bucket { start, fold: *fold, stale: false, touched: false }),
        }
    }

    /// Sets what a bucket holds; nothing takes it away.
    fn set(&mut self, start: i64, fold: Option<Fold>, stale: bool) {
        let at = self.at(start);
        let is_there = self.0.get(at).is_some_and(|bucket| bucket.start == start);
        match (fold, is_there) {
            (Some(fold), true) => {
                let bucket = &mut self.0[at];
                (bucket.fold, bucket.stale) = (fold, stale);
            }
            (Some(fold), false) => self.0.insert(at, Bucket { start, fold, stale, touched: false }),
            (None, true) => drop(self.0.remove(at)),
            (None, false) => {}
        }
    }

    fn trim(&mut self, before: i64) {
        while self.0.front().is_some_and(|bucket| bucket.start < before) {
            self.0.pop_front();
        }
    }

    fn mark(&mut self, start: i64) {
        if let Some(bucket) = self.get_mut(start) {
            bucket.stale = true;
        }
    }
}

#[derive(Debug)]
pub struct Chart {
    pub basis: Kind,
    lines: [Line; 5],
    /// By the minute's start.
    memory: BTreeMap<i64, Memory>,
    /// Minutes before this one know no events any more.
    sealed_before: i64,
}

impl Chart {
    pub fn new(basis: Kind) -> Self {
        Self { basis, lines: Default::default(), memory: BTreeMap::new(), sealed_before: i64::MIN }
    }

    pub fn line(&self, timeframe: Timeframe) -> &Line {
        &self.lines[timeframe as usize]
    }

    /// Takes in a tick. `replaces`: a revision of an event that was removed before.
    pub fn put(
        &mut self,
        place: Place,
        price: Decimal38,
        quantity: Option<Decimal38>,
        replaces: bool,
        now: i64,
        budget: &mut Budget,
    ) -> Change {
        let minute = Timeframe::Minute.bucket(place.event_time);
        if minute < self.sealed_before || minute < now - Timeframe::Minute.kept_us() {
            // It may be a repeat.
            return self.mark_stale(place.event_time);
        }
        let is_recent = minute > now - EXACT_US;
        let mut is_first = false;
        let memory = self.memory.entry(minute).or_insert_with(|| {
            is_first = true;
            Memory { seen: Seen::default(), exact: is_recent.then(Vec::new) }
        });
        if memory.seen.insert(place.event_id) {
            budget.seen += 1;
        } else if !replaces {
            return Change::None;
        }
        if let Some(ticks) = &mut memory.exact {
            if budget.exact < budget.max_exact {
                ticks.push(Exact { place, price, quantity });
                budget.exact += 1;
            } else {
                budget.exact -= ticks.len();
                memory.exact = None;
            }
        }
        let fold = Fold::of(place, price, quantity);
        for timeframe in Timeframe::ALL {
            let start = timeframe.bucket(place.event_time);
            if start >= now - timeframe.kept_us() {
                self.lines[timeframe as usize].merge(start, &fold);
            }
        }
        Change::Changed
    }

    /// Takes an event away from where it may stand. It stays known there, so that a repeat of what was replaced does not
    /// bring it back.
    pub fn remove(&mut self, place: Place, now: i64, budget: &mut Budget) -> Change {
        let minute = Timeframe::Minute.bucket(place.event_time);
        if minute < self.sealed_before || minute < now - Timeframe::Minute.kept_us() {
            return self.mark_stale(place.event_time);
        }
        let Some(memory) = self.memory.get_mut(&minute) else { return Change::None };
        let Some(ticks) = &mut memory.exact else {
            if !memory.seen.contains(place.event_id) {
                return Change::None;
            }
            return self.mark_stale(place.event_time);
        };
        let before = ticks.len();
        ticks.retain(|tick| tick.place.event_id != place.event_id);
        if ticks.len() == before {
            return Change::None;
        }
        budget.exact -= before - ticks.len();
        self.make_again(minute, place.event_time);
        Change::Changed
    }

    /// From the ticks that the minute holds.
    fn make_again(&mut self, minute: i64, event_time: i64) {
        let second = Timeframe::Second.bucket(event_time);
        let ticks = self.memory.get(&minute).and_then(|memory| memory.exact.as_deref()).unwrap_or_default();
        let of = |is_in: &dyn Fn(i64) -> bool| {
            let inside = ticks.iter().filter(|tick| is_in(tick.place.event_time));
            let folds = inside.map(|tick| Fold::of(tick.place, tick.price, tick.quantity));
            folds.reduce(|mut a, b| {
                a.merge(&b);
                a
            })
        };
        let (in_minute, in_second) = (of(&|_| true), of(&|time| Timeframe::Second.bucket(time) == second));
        self.lines[Timeframe::Second as usize].set(second, in_second, false);
        self.lines[Timeframe::Minute as usize].set(minute, in_minute, false);
        self.roll_up(minute);
    }

    /// Makes the wider buckets around a minute again from the narrower ones.
    fn roll_up(&mut self, minute: i64) {
        for pair in Timeframe::ALL[1..].windows(2) {
            let [narrower, wider] = [pair[0], pair[1]];
            let start = wider.bucket(minute);
            let parts = || self.lines[narrower as usize].range(start, start + wider.width_us());
            let fold = parts().map(|bucket| bucket.fold).reduce(|mut a, b| {
                a.merge(&b);
                a
            });
            let stale = parts().any(|bucket| bucket.stale);
            self.lines[wider as usize].set(start, fold, stale);
        }
    }

    fn mark_stale(&mut self, event_time: i64) -> Change {
        for timeframe in Timeframe::ALL {
            self.lines[timeframe as usize].mark(timeframe.bucket(event_time));
        }
        Change::Changed
    }

    /// What a minute holds, read again from where all ticks are; nothing where it holds none. The buckets around it are made
    /// again. Gives whether it was taken: not when the minute has changed since it had `ticks`.
    pub fn replace_minute(&mut self, start: i64, ticks: u32, fold: Option<Fold>) -> bool {
        let is_same = self.line(Timeframe::Minute).get(start).is_some_and(|bucket| bucket.fold.ticks == ticks);
        if is_same {
            self.lines[Timeframe::Minute as usize].set(start, fold, false);
            self.roll_up(start);
        }
        is_same
    }

    /// Minutes that have to be read again.
    pub fn stale_minutes(&self) -> impl Iterator<Item = &Bucket> {
        self.line(Timeframe::Minute).iter().filter(|bucket| bucket.stale)
    }

    /// Remembers of each bucket that a gap overlaps it, for when the gap is forgotten.
    pub fn touch(&mut self, from: i64, to: i64) {
        for timeframe in Timeframe::ALL {
            let width = timeframe.width_us();
            for bucket in self.lines[timeframe as usize].0.iter_mut() {
                bucket.touched |= from < bucket.start + width && to > bucket.start;
            }
        }
    }

    /// Forgets what is too old; once a minute is enough.
    pub fn trim(&mut self, now: i64, budget: &mut Budget) {
        for timeframe in Timeframe::ALL {
            self.lines[timeframe as usize].trim(now - timeframe.kept_us());
        }
        for memory in self.memory.range_mut(..now - EXACT_US).map(|(_, memory)| memory) {
            if let Some(ticks) = memory.exact.take() {
                budget.exact -= ticks.len();
                memory.seen.shrink();
            }
        }
        while let Some(entry) = self.memory.first_entry()
            && *entry.key() < now - Timeframe::Minute.kept_us()
        {
            let memory = entry.remove();
            budget.seen -= memory.seen.len();
            budget.exact -= memory.exact.map_or(0, |ticks| ticks.len());
        }
    }

    /// Forgets which events the minutes before `minute` hold: what comes late there makes them stale from now on.
    pub fn seal(&mut self, minute: i64, budget: &mut Budget) {
        self.sealed_before = self.sealed_before.max(minute);
        let kept = self.memory.split_off(&minute);
        for memory in std::mem::replace(&mut self.memory, kept).into_values() {
            budget.seen -= memory.seen.len();
            budget.exact -= memory.exact.map_or(0, |ticks| ticks.len());
        }
    }

    /// Gives what it holds of the budget back.
    pub fn release(&self, budget: &mut Budget) {
        for memory in self.memory.values() {
            budget.seen -= memory.seen.len();
            budget.exact -= memory.exact.as_ref().map_or(0, Vec::len);
        }
    }

    /// The oldest minute whose events are known.
    pub fn oldest_known(&self) -> Option<i64> {
        self.memory.keys().next().copied()
    }
}
