//! The candles of one symbol, source and price basis. The invariant: a bucket that is not spoilt is exactly what the ticks
//! read so far come to, each event once, in its highest revision. It holds because
//! - each minute of the last day knows the events in it, so that a repeat is no second tick;
//! - each minute of the last few holds its ticks: what is corrected there is made again from them, and the wider ones from
//!   the narrower;
//! - a correction of any other minute spoils it, and all buckets around it: they are told as not complete until it is read
//!   again from where all ticks are ([`Chart::replace`]).
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
    pub max_seen: usize,
    /// Ticks held, of 80 bytes each.
    pub exact: usize,
    pub max_exact: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    pub start: i64,
    pub fold: Fold,
    /// How often a correction could not be worked in.
    pub spoilt: u32,
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

/// What time it is, and from when on memory holds all of the series.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    pub now: i64,
    pub whole_from: i64,
}

/// A bucket that was spoilt, as it was when it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpoiltBucket {
    pub tf: Timeframe,
    pub start: i64,
    ticks: u32,
    spoilt: u32,
}

/// What a bucket holds, read again from where all ticks are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reread {
    /// Nothing where it holds none.
    pub fold: Option<Fold>,
    /// The seconds of a minute.
    pub seconds: BTreeMap<i64, Fold>,
}

impl Reread {
    /// Takes in a tick of a bucket of `tf`, once.
    pub fn put(&mut self, tf: Timeframe, place: Place, price: Decimal38, quantity: Option<Decimal38>) {
        let tick = Fold::of(place, price, quantity);
        merge(&mut self.fold, &tick);
        if tf == Timeframe::Minute {
            let second = self.seconds.entry(Timeframe::Second.bucket(place.event_time));
            second.and_modify(|known| known.merge(&tick)).or_insert(tick);
        }
    }
}

fn merge(into: &mut Option<Fold>, fold: &Fold) {
    match into {
        Some(known) => known.merge(fold),
        None => *into = Some(*fold),
    }
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
            _ => self.0.insert(at, Bucket { start, fold: *fold, spoilt: 0, touched: false }),
        }
    }

    /// Sets what a bucket holds; nothing takes it away.
    fn set(&mut self, start: i64, fold: Option<Fold>, spoilt: u32) {
        let at = self.at(start);
        let is_there = self.0.get(at).is_some_and(|bucket| bucket.start == start);
        match (fold, is_there) {
            (Some(fold), true) => {
                let bucket = &mut self.0[at];
                (bucket.fold, bucket.spoilt) = (fold, spoilt);
            }
            (Some(fold), false) => self.0.insert(at, Bucket { start, fold, spoilt, touched: false }),
            (None, true) => drop(self.0.remove(at)),
            (None, false) => {}
        }
    }

    /// Takes those away that start in `[from, to)`.
    fn remove(&mut self, from: i64, to: i64) {
        let (a, b) = (self.at(from), self.at(to));
        drop(self.0.drain(a..b.max(a)));
    }

    fn trim(&mut self, before: i64) {
        while self.0.front().is_some_and(|bucket| bucket.start < before) {
            self.0.pop_front();
        }
    }

    /// Gives whether there is such a bucket.
    fn spoil(&mut self, start: i64) -> bool {
        let bucket = self.get_mut(start);
        bucket.map(|bucket| bucket.spoilt = bucket.spoilt.saturating_add(1)).is_some()
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
    /// False: no bucket is spoilt.
    may_be_spoilt: bool,
}

impl Chart {
    pub fn new(basis: Kind) -> Self {
        Self {
            basis,
            lines: Default::default(),
            memory: BTreeMap::new(),
            sealed_before: i64::MIN,
            may_be_spoilt: false,
        }
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
        reach: Reach,
        budget: &mut Budget,
    ) -> Change {
        let minute = Timeframe::Minute.bucket(place.event_time);
        let now = reach.now;
        let fold = Fold::of(place, price, quantity);
        if minute < self.sealed_before || minute < now - Timeframe::Minute.kept_us() {
            return self.put_unsure(place.event_time, &fold, reach);
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
        for timeframe in Timeframe::ALL {
            let start = timeframe.bucket(place.event_time);
            if start >= now - timeframe.kept_us() {
                self.lines[timeframe as usize].merge(start, &fold);
            }
        }
        Change::Changed
    }

    /// Takes in a tick that may be a repeat: what has room for it is spoilt by it, and what is not there begins with it, so that
    /// each wider bucket that is spoilt has a narrower one that is, as long as those are kept.
    fn put_unsure(&mut self, event_time: i64, fold: &Fold, reach: Reach) -> Change {
        let mut change = Change::None;
        for timeframe in Timeframe::ALL {
            let start = timeframe.bucket(event_time);
            if start < reach.now - timeframe.kept_us() {
                continue;
            }
            let line = &mut self.lines[timeframe as usize];
            if !line.spoil(start) {
                if start < reach.whole_from {
                    continue;
                }
                line.merge(start, fold);
                line.spoil(start);
            }
            (change, self.may_be_spoilt) = (Change::Changed, true);
        }
        change
    }

    /// Takes an event away from where it may stand. It stays known there, so that a repeat of what was replaced does not
    /// bring it back.
    pub fn remove(&mut self, place: Place, now: i64, budget: &mut Budget) -> Change {
        let minute = Timeframe::Minute.bucket(place.event_time);
        if minute < self.sealed_before || minute < now - Timeframe::Minute.kept_us() {
            return self.spoil(place.event_time, now);
        }
        let Some(memory) = self.memory.get_mut(&minute) else { return Change::None };
        let Some(ticks) = &mut memory.exact else {
            if !memory.seen.contains(place.event_id) {
                return Change::None;
            }
            return self.spoil(place.event_time, now);
        };
        // It may stand in another second of the minute than the one that is asked about.
        let is_it = |tick: &Exact| tick.place.event_id == place.event_id;
        let stood: Vec<i64> = ticks.iter().filter(|tick| is_it(tick)).map(|tick| tick.place.event_time).collect();
        if stood.is_empty() {
            return Change::None;
        }
        ticks.retain(|tick| !is_it(tick));
        budget.exact -= stood.len();
        for event_time in stood {
            self.make_again(minute, event_time, now);
        }
        Change::Changed
    }

    /// From the ticks that the minute holds.
    fn make_again(&mut self, minute: i64, event_time: i64, now: i64) {
        let second = Timeframe::Second.bucket(event_time);
        let ticks = self.memory.get(&minute).and_then(|memory| memory.exact.as_deref()).unwrap_or_default();
        let (mut in_minute, mut in_second) = (None, None);
        for tick in ticks {
            let fold = Fold::of(tick.place, tick.price, tick.quantity);
            merge(&mut in_minute, &fold);
            if Timeframe::Second.bucket(tick.place.event_time) == second {
                merge(&mut in_second, &fold);
            }
        }
        self.lines[Timeframe::Second as usize].set(second, in_second, 0);
        self.lines[Timeframe::Minute as usize].set(minute, in_minute, 0);
        self.roll_up(Timeframe::Minute, minute, now);
    }

    /// Makes the wider buckets around one again from the narrower ones, as far as all of those are still here.
    fn roll_up(&mut self, from: Timeframe, start: i64, now: i64) {
        for pair in Timeframe::ALL[from as usize..].windows(2) {
            let [narrower, wider] = [pair[0], pair[1]];
            let start = wider.bucket(start);
            if start < now - narrower.kept_us() {
                return;
            }
            let (mut fold, mut spoilt) = (None, 0_u32);
            for part in self.lines[narrower as usize].range(start, start + wider.width_us()) {
                merge(&mut fold, &part.fold);
                spoilt = spoilt.saturating_add(part.spoilt);
            }
            self.lines[wider as usize].set(start, fold, spoilt);
        }
    }

    /// An event that stands there is to go, and cannot.
    fn spoil(&mut self, event_time: i64, now: i64) -> Change {
        let kept = |timeframe: &Timeframe| timeframe.bucket(event_time) >= now - timeframe.kept_us();
        let narrowest = Timeframe::ALL[Timeframe::Minute as usize..].iter().find(|timeframe| kept(timeframe));
        let is_there = |timeframe: &Timeframe| self.line(*timeframe).get(timeframe.bucket(event_time)).is_some();
        if !narrowest.is_some_and(is_there) {
            return Change::None;
        }
        for timeframe in Timeframe::ALL {
            self.lines[timeframe as usize].spoil(timeframe.bucket(event_time));
        }
        self.may_be_spoilt = true;
        Change::Changed
    }

    /// What a spoilt bucket holds, read again. The wider ones around it are made again. Gives whether it was taken: not when
    /// the bucket has changed since it was found.
    pub fn replace(&mut self, found: &SpoiltBucket, reread: &Reread, now: i64) -> bool {
        let SpoiltBucket { tf, start, ticks, spoilt } = *found;
        let is_same = |bucket: &Bucket| bucket.fold.ticks == ticks && bucket.spoilt == spoilt;
        if !self.line(tf).get(start).is_some_and(is_same) {
            return false;
        }
        self.lines[tf as usize].set(start, reread.fold, 0);
        if tf == Timeframe::Minute {
            let seconds = &mut self.lines[Timeframe::Second as usize];
            seconds.remove(start, start + tf.width_us());
            let kept_from = now - Timeframe::Second.kept_us();
            reread.seconds.range(kept_from..).for_each(|(second, fold)| seconds.set(*second, Some(*fold), 0));
        }
        self.roll_up(tf, start, now);
        true
    }

    /// The narrowest spoilt buckets that memory should hold whole, in order of width and time: those to be read again.
    pub fn spoilt(&mut self, reach: Reach) -> Vec<SpoiltBucket> {
        if !self.may_be_spoilt {
            return Vec::new();
        }
        self.may_be_spoilt = false;
        let mut found = Vec::new();
        let mut narrower_from = i64::MAX;
        for tf in &Timeframe::ALL[Timeframe::Minute as usize..] {
            for bucket in self.lines[*tf as usize].iter().filter(|bucket| bucket.spoilt > 0) {
                self.may_be_spoilt = true;
                // What the narrower ones still make up is made again with them.
                if bucket.start >= reach.whole_from && bucket.start < narrower_from {
                    let (start, ticks, spoilt) = (bucket.start, bucket.fold.ticks, bucket.spoilt);
                    found.push(SpoiltBucket { tf: *tf, start, ticks, spoilt });
                }
            }
            narrower_from = reach.now - tf.kept_us();
        }
        found
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
