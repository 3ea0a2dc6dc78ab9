//! A tick on its way into its series: new, late, known already, or a correction of one that is there. Only a new one that
//! is the newest of its series is judged: what came late is history, and what corrects is no news.

use uuid::Uuid;

use super::feed::{Board, Look, NEVER};
use super::judge::{Judge, Scene};
use super::series::Series;
use super::silence::Listener;
use super::{AHEAD, Duty, Engine, LATE, Outcome, Place, Tick};

/// Unscaled: windows take prices above zero and below 10^16, so that no sum of theirs leaves 128 bits.
const COUNTABLE: i128 = 10_i128.pow(34);

impl Engine {
    pub(super) fn tick(&mut self, place: Place<'_>, tick: &Tick<'_>, outcome: Option<&mut Outcome>) {
        if self.duty == Duty::Sources {
            return;
        }
        let index = self.board(tick.symbol);
        let answered_at = || self.answered.get(tick.source).copied().unwrap_or(NEVER);
        let board = &mut self.boards[index];
        let known = board.feeds.iter().position(|feed| feed.source == tick.source);
        let feed = known.unwrap_or_else(|| board.feed(tick.source, answered_at(), &self.rules, &mut self.states));
        let prices = board.feeds[feed].prices(tick.kind, tick.symbol, &self.rules, &mut self.states);
        let place_in = (index, feed, prices);
        if tick.revision > 0 || tick.retracted {
            self.correct(place_in, place.at, tick);
            return;
        }
        self.take_new(place_in, place, tick, outcome);
    }

    /// A tick that was not corrected: new, late, or there already.
    fn take_new(
        &mut self,
        (index, feed, prices): (usize, usize, usize),
        place: Place<'_>,
        tick: &Tick<'_>,
        mut outcome: Option<&mut Outcome>,
    ) {
        let id = half(tick.event_id);
        let board = &mut self.boards[index];
        let newest = &mut board.feeds[feed].prices[prices];
        let age = place.at.saturating_sub(tick.event_time);
        let is_history = !(-AHEAD.0..=LATE.0).contains(&age);
        // Of history it is not known whether it was there before: a restart does not read that far back.
        let is_known = !is_history
            && (newest.series.corrections.covers(id, tick.event_time - AHEAD.0)
                || newest.series.find(id, tick.event_time).is_some());
        if is_known {
            return;
        }
        newest.last_at = newest.last_at.max(place.at);
        let is_news = newest.series.is_newest(tick.event_time);
        if let Some(outcome) = outcome.as_deref_mut() {
            let mut listener = Listener { rules: &self.rules, groups: &mut self.groups, place, outcome };
            listener.heard(&board.symbol, &mut board.feeds[feed], Some(tick));
        }
        if is_history {
            return;
        }
        let price = tick.price.unscaled();
        let is_countable = price > 0 && price < COUNTABLE;
        let series = &mut board.feeds[feed].prices[prices].series;
        if !is_news {
            if is_countable {
                series.insert(id, tick.event_time, price, tick.revision);
            }
            return;
        }
        series.advance(tick.event_time);
        if is_countable {
            board.feeds[feed].prices[prices].priced_at = place.at;
        }
        let passes = if is_countable { &[Pass::Before, Pass::After][..] } else { &[Pass::Uncountable][..] };
        for pass in passes {
            if *pass == Pass::After {
                board.feeds[feed].prices[prices].series.push(id, tick.event_time, price, tick.revision);
            }
            let Some(outcome) = outcome.as_deref_mut() else { continue };
            if *pass == Pass::After && !board.feeds[feed].prices[prices].varies {
                continue;
            }
            // Judging one series looks at the others of its symbol: the slots are out of it meanwhile.
            let mut slots = std::mem::take(&mut board.feeds[feed].prices[prices].slots);
            let mut judge = Judge {
                rules: &self.rules,
                gaps: &self.gaps,
                groups: &mut self.groups,
                place,
                outcome,
                others: &mut self.others,
            };
            for slot in slots.iter_mut().filter(|slot| pass.judges(&slot.look)) {
                judge.judge(Scene { board, feed, prices, tick }, slot);
            }
            board.feeds[feed].prices[prices].slots = slots;
        }
    }

    /// A correction fires nothing. What it corrects is replaced where a window still holds it.
    fn correct(&mut self, (index, feed, prices): (usize, usize, usize), at: i64, tick: &Tick<'_>) {
        let id = half(tick.event_id);
        let series = &mut self.boards[index].feeds[feed].prices[prices].series;
        series.corrections.add(id, at);
        if let Some(previous) = tick.previous_symbol.filter(|previous| *previous != tick.symbol) {
            let Some(&index) = self.by_symbol.get(previous) else { return };
            let feeds = self.boards[index].feeds.iter_mut().filter(|feed| feed.source == tick.source);
            for prices in feeds.flat_map(|feed| &mut feed.prices).filter(|prices| prices.kind == tick.kind) {
                prices.series.corrections.add(id, at);
                take_out(&mut prices.series, id, tick);
            }
            return;
        }
        let price = tick.price.unscaled();
        if take_out(series, id, tick) && !tick.retracted && price > 0 && price < COUNTABLE {
            series.insert(id, tick.event_time, price, tick.revision);
        }
    }

    pub(super) fn board(&mut self, symbol: &str) -> usize {
        if let Some(&known) = self.by_symbol.get(symbol) {
            return known;
        }
        self.boards.push(Board { symbol: symbol.to_owned(), feeds: Vec::new() });
        self.by_symbol.insert(symbol.to_owned(), self.boards.len() - 1);
        self.boards.len() - 1
    }
}

/// What is judged of a tick when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Against the windows before it.
    Before,
    /// With the tick in its windows.
    After,
    /// Of a price that no window takes.
    Uncountable,
}

impl Pass {
    fn judges(self, look: &Look) -> bool {
        match self {
            Self::Before => !matches!(look, Look::Volatility { .. }),
            Self::After => matches!(look, Look::Volatility { .. }),
            Self::Uncountable => matches!(look, Look::Threshold { .. }),
        }
    }
}

/// Takes the earlier revision of `tick` out of its windows; whether it was in one.
fn take_out(series: &mut Series, id: u64, tick: &Tick<'_>) -> bool {
    let before = tick.previous_event_time.and_then(|time| series.find(id, time));
    let Some(index) = before.or_else(|| series.find(id, tick.event_time)) else { return false };
    let is_earlier = series.revision_at(index) < tick.revision;
    if is_earlier {
        series.remove(index);
    }
    is_earlier
}

/// Event ids are hashes: half of one tells apart the ticks of a microsecond.
fn half(id: Uuid) -> u64 {
    id.as_u64_pair().1
}
