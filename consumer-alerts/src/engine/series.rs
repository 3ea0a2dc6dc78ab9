//! The newest ticks of one symbol, source and price kind, ordered by `event_time`, and the windows over them. All windows
//! share one ring; each keeps where it begins and the sums of what it holds, in integers, so that what is added and taken
//! away again leaves nothing behind and a window is the same however it came to be. The bounds: a window holds at most
//! [`MAX_WINDOW_TICKS`], the ring what its windows hold or the [`REMEMBERED`] newest ticks, by which duplicates are known.

use std::collections::VecDeque;

use super::corrections::Corrections;
use crate::rules::{MAX_WINDOW_TICKS, Window};

/// Ticks that are known again when they come a second time, though no window holds them any more.
const REMEMBERED: usize = 256;
/// Log returns are whole numbers of this size.
pub(super) const RETURN_UNIT: f64 = 1e-12;

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub time: i64,
    /// Half of the event id: what tells apart the ticks of one microsecond.
    pub id: u64,
    /// Unscaled, above zero.
    pub price: i128,
    /// From the tick before it; counts in windows that hold both.
    pub log_return: i64,
    pub revision: i32,
}

/// One window over the ring, as of the series' newest tick.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub window: Window,
    returns: bool,
    /// The number of its oldest entry, counted from the first that the ring ever held.
    start: u64,
    /// Time of that entry, or the end of time.
    oldest: i64,
    pub len: usize,
    pub sum: i128,
    pub moments: Moments,
}

/// Count, sum and sum of squares of log returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moments {
    pub n: i64,
    sum: i128,
    squares: i128,
}

impl Moments {
    fn add(&mut self, log_return: i64) {
        self.n += 1;
        self.sum += i128::from(log_return);
        self.squares += i128::from(log_return) * i128::from(log_return);
    }

    fn remove(&mut self, log_return: i64) {
        self.n -= 1;
        self.sum -= i128::from(log_return);
        self.squares -= i128::from(log_return) * i128::from(log_return);
    }

    /// Those of the returns that are in `self` and not in `part`, which is the newer end of it.
    pub fn without(self, part: Self) -> Self {
        Self { n: self.n - part.n, sum: self.sum - part.sum, squares: self.squares - part.squares }
    }

    /// The sample standard deviation; `None` of fewer than two returns.
    #[expect(clippy::cast_precision_loss, reason = "a statistic, of exact sums")]
    pub fn deviation(self) -> Option<f64> {
        let n = i128::from(self.n);
        let scatter = n * self.squares - self.sum * self.sum;
        (n >= 2).then(|| (scatter as f64 / (n * (n - 1)) as f64).sqrt() * RETURN_UNIT)
    }
}

#[derive(Debug, Default)]
pub(super) struct Series {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    pub views: Vec<View>,
    returns: bool,
    /// The newest `event_time` that was taken.
    clock: Option<i64>,
    pub corrections: Corrections,
}

impl Series {
    /// The view of this window, made if there is none yet; [`Series::rebuild`] fills it.
    pub fn view(&mut self, window: Window, returns: bool) -> usize {
        self.returns |= returns;
        if let Some(known) = self.views.iter().position(|view| view.window == window) {
            self.views[known].returns |= returns;
            return known;
        }
        let (sum, moments) = (0, Moments::default());
        self.views.push(View { window, returns, start: 0, oldest: i64::MAX, len: 0, sum, moments });
        self.views.len() - 1
    }

    pub fn forget_views(&mut self) {
        self.views.clear();
        self.returns = false;
    }

    /// Whether a tick of this time is not behind the newest.
    pub fn is_newest(&self, time: i64) -> bool {
        self.clock.is_none_or(|clock| time >= clock)
    }

    /// The price of the newest tick, if it is not older than that.
    pub fn last_since(&self, time: i64) -> Option<i128> {
        self.entries.back().filter(|entry| entry.time >= time).map(|entry| entry.price)
    }

    /// The oldest tick of a view.
    pub fn oldest(&self, view: usize) -> Option<&Entry> {
        let view = &self.views[view];
        (view.len > 0).then(|| &self.entries[(view.start - self.first) as usize])
    }

    /// Where the tick stands, at this time.
    pub fn find(&self, id: u64, time: i64) -> Option<usize> {
        let from = match self.entries.back() {
            Some(newest) if newest.time >= time => self.entries.partition_point(|entry| entry.time < time),
            Some(_) | None => return None,
        };
        let same_time = self.entries.range(from..).take_while(|entry| entry.time == time);
        same_time.zip(from..).find(|(entry, _)| entry.id == id).map(|(_, index)| index)
    }

    /// Lets go of what is too old at the time of the next tick.
    pub fn advance(&mut self, time: i64) {
        self.clock = Some(time);
        for view in &mut self.views {
            trim(view, &self.entries, self.first, time);
        }
    }

    /// Adds the newest tick, after [`Series::advance`] to its time.
    pub fn push(&mut self, id: u64, time: i64, price: i128, revision: i32) {
        let before = self.entries.back().map(|entry| entry.price);
        let log_return = if self.returns { log_return(before, price) } else { 0 };
        let number = self.first + self.entries.len() as u64;
        self.entries.push_back(Entry { time, id, price, log_return, revision });
        for view in &mut self.views {
            if view.len == 0 {
                (view.start, view.oldest) = (number, time);
            } else if view.returns {
                view.moments.add(log_return);
            }
            view.len += 1;
            view.sum += price;
            trim(view, &self.entries, self.first, time);
        }
        self.evict();
    }

    /// Adds a tick that is older than the newest, at its place.
    pub fn insert(&mut self, id: u64, time: i64, price: i128, revision: i32) {
        let Some(clock) = self.clock else { return };
        let index = self.entries.partition_point(|entry| entry.time <= time);
        let before = index.checked_sub(1).map(|before| self.entries[before].price);
        let own = if self.returns { log_return(before, price) } else { 0 };
        let next = self.entries.get_mut(index).map(|next| {
            let was = next.log_return;
            next.log_return = log_return(Some(price), next.price);
            (was, next.log_return)
        });
        self.entries.insert(index, Entry { time, id, price, log_return: own, revision });
        let number = self.first + index as u64;
        for view in &mut self.views {
            if view.len > 0 && number < view.start {
                view.start += 1;
                continue;
            }
            let is_oldest = view.len == 0 || number == view.start;
            if is_oldest {
                (view.start, view.oldest) = (number, time);
            }
            view.len += 1;
            view.sum += price;
            if view.returns {
                if !is_oldest {
                    view.moments.add(own);
                }
                if let Some((was, is)) = next.filter(|_| view.len > 1 && number + 1 < view.start + view.len as u64) {
                    if !is_oldest {
                        view.moments.remove(was);
                    }
                    view.moments.add(is);
                }
            }
            trim(view, &self.entries, self.first, clock);
        }
        self.evict();
    }

    pub fn revision_at(&self, index: usize) -> i32 {
        self.entries[index].revision
    }

    /// Takes a tick out; the windows close over it.
    pub fn remove(&mut self, index: usize) {
        self.entries.remove(index);
        self.rebuild();
    }

    /// Makes every view again from the ring.
    pub fn rebuild(&mut self) {
        if self.returns {
            let mut before = None;
            for entry in &mut self.entries {
                entry.log_return = log_return(before, entry.price);
                before = Some(entry.price);
            }
        }
        let Some(clock) = self.clock else { return };
        for view in &mut self.views {
            (view.len, view.sum, view.moments) = (0, 0, Moments::default());
            for (entry, number) in self.entries.iter().zip(self.first..) {
                if view.len == 0 {
                    (view.start, view.oldest) = (number, entry.time);
                } else if view.returns {
                    view.moments.add(entry.log_return);
                }
                view.len += 1;
                view.sum += entry.price;
                trim(view, &self.entries, self.first, clock);
            }
        }
        self.evict();
    }

    fn evict(&mut self) {
        let end = self.first + self.entries.len() as u64;
        let used = self.views.iter().filter(|view| view.len > 0).map(|view| view.start).min().unwrap_or(end);
        while self.first < used && self.entries.len() > REMEMBERED {
            self.entries.pop_front();
            self.first += 1;
        }
    }
}

/// Takes from the view's old end what is too old at `clock`, or too much.
fn trim(view: &mut View, entries: &VecDeque<Entry>, first: u64, clock: i64) {
    let most = match view.window {
        Window::Ticks { count, .. } => count,
        Window::Time(_) => MAX_WINDOW_TICKS,
    };
    let earliest = clock - view.window.span().0;
    while view.len > 0 && (view.oldest < earliest || view.len > most) {
        let index = (view.start - first) as usize;
        view.sum -= entries[index].price;
        view.start += 1;
        view.len -= 1;
        if view.len == 0 {
            view.oldest = i64::MAX;
            return;
        }
        let oldest = &entries[index + 1];
        view.oldest = oldest.time;
        if view.returns {
            view.moments.remove(oldest.log_return);
        }
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a statistic; its size is bounded")]
fn log_return(before: Option<i128>, price: i128) -> i64 {
    // No window counts the return of a tick that nothing stands before.
    before.map_or(0, |before| ((price as f64 / before as f64).ln() / RETURN_UNIT).round() as i64)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::rules::Micros;

    #[derive(Clone, Debug)]
    enum Step {
        /// So long after the newest.
        Push(i64),
        /// So long before it.
        Insert(i64),
        Remove(prop::sample::Index),
    }

    proptest! {
        #[test]
        fn sums_are_those_of_a_window_made_anew(
            steps in vec(
                (
                    prop_oneof![
                        8 => (0_i64..30).prop_map(Step::Push),
                        3 => (0_i64..90).prop_map(Step::Insert),
                        1 => any::<prop::sample::Index>().prop_map(Step::Remove),
                    ],
                    1_i128..1_000,
                ),
                1..600,
            ),
        ) {
            let mut series = Series::default();
            for window in [
                Window::Time(Micros(100)),
                Window::Time(Micros(7)),
                Window::Ticks { count: 5, within: Micros(60) },
                Window::Ticks { count: 40, within: Micros(100_000) },
            ] {
                series.view(window, true);
            }
            let mut clock = 0;
            for (id, (step, price)) in (0..).zip(steps) {
                match step {
                    Step::Push(after) => {
                        clock += after;
                        series.advance(clock);
                        series.push(id, clock, price, 0);
                    }
                    Step::Insert(before) => series.insert(id, clock - before, price, 0),
                    Step::Remove(index) if !series.entries.is_empty() => {
                        series.remove(index.index(series.entries.len()));
                    }
                    Step::Remove(_) => {}
                }
                let views = series.views.clone();
                series.rebuild();
                for (kept, made) in views.iter().zip(&series.views) {
                    // Where an empty window begins is nothing to agree on.
                    prop_assert!(kept == made || (kept.len, made.len) == (0, 0), "{kept:?} {made:?}");
                    prop_assert_eq!((kept.sum, kept.moments), (made.sum, made.moments));
                }
            }
        }
    }
}
