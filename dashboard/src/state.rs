//! What is known, in bounded memory: series with their rows, ticks and candles; gaps, alerts and what sources say of
//! themselves. Pure: time is told by [`Live::advance`], records by the `put_` functions, in any order. One lock holds it and
//! nothing slow happens under that lock.
//!
//! The invariants: a row is the highest tick read so far in (event_time, sequence, event_id, revision); a candle is exact or
//! says that it is not complete ([`chart`]); memory is whole from [`Live::covers_from_us`] on. The same records give the same
//! state whatever their order, but for what says so of itself: spoilt buckets, and what limits refused. Must never happen
//! here: memory that grows with a flood, an older revision over a newer one, a number that is silently wrong.

pub mod alerts;
pub mod candle;
mod chart;
mod corrections;
pub mod gaps;
pub mod hops;
mod read;
pub mod row;
mod seen;
mod series;
pub mod sources;
#[cfg(test)]
mod spoilt_tests;
#[cfg(test)]
pub mod tests;
pub mod tick;
mod timeframe;

use std::collections::HashMap;
use std::sync::Arc;

use pipeline::events::{Alert, EventTimeOrigin, Gap, Kind, SourceHealth};

use alerts::{Alerts, KnownAlert};
use candle::Place;
use chart::Budget;
use corrections::Corrections;
use gaps::{Gaps, KnownGap};
use series::Series;
use sources::Sources;
use tick::{Position, Told};

use crate::protocol::{Json, MAX_NAME_CHARS};
pub use candle::{Candle, Fold};
pub use chart::Reread;
pub use read::{Spoilt, Statistics, candle as candle_of};
pub use series::RECENT;
pub use timeframe::Timeframe;

const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 86_400_000_000;
/// Ticks from before 2009-01-03, and from a day ahead of the broker's clock, are dead letters to Postgres and the lake. How old
/// they may be otherwise is a setting there; a page shows the age.
const OLDEST_EVENT_US: i64 = 1_230_940_800_000_000;
const NEWEST_EVENT_US: i64 = DAY_US;
/// 64 MB.
const MAX_SEEN: usize = 8_000_000;
/// 16 MB.
const MAX_EXACT: usize = 200_000;

/// A bucket of a series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CandleKey {
    pub symbol: Arc<str>,
    pub source: Arc<str>,
    pub basis: Kind,
    pub tf: Timeframe,
    pub start: i64,
}

/// A row that a record has changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touched {
    pub symbol: Arc<str>,
    pub source: Arc<str>,
}

#[derive(Debug)]
pub struct Live {
    look_back_us: i64,
    max_series: usize,
    /// By symbol; a symbol has few sources.
    symbols: HashMap<Arc<str>, Vec<Series>>,
    series: usize,
    corrected: Corrections,
    pub gaps: Gaps,
    pub alerts: Alerts,
    pub sources: Sources,
    budget: Budget,
    now_us: i64,
    whole_from_us: i64,
    /// Older records are still to come.
    is_filling: bool,
    /// Records from before this found no room, or are lost.
    no_room_before_us: i64,
    /// Since when a series may have been turned away.
    refused_series_us: Option<i64>,
    next_eviction_us: i64,
    touched: Vec<Touched>,
    /// Whether anybody wants to know which candles change.
    pub watches_candles: bool,
    changed_candles: Vec<CandleKey>,
    /// Ticks that were not taken in: a name too long, a time that cannot be, or too many series.
    pub refused: u64,
}

impl Live {
    /// `now_us`: the time to begin with; records from then on are expected.
    pub fn new(look_back_us: i64, max_series: usize, now_us: i64) -> Self {
        Self {
            look_back_us,
            max_series,
            symbols: HashMap::new(),
            series: 0,
            corrected: Corrections::default(),
            gaps: Gaps::default(),
            alerts: Alerts::default(),
            sources: Sources::default(),
            budget: Budget { seen: 0, max_seen: MAX_SEEN, exact: 0, max_exact: MAX_EXACT },
            now_us,
            whole_from_us: i64::MAX,
            is_filling: false,
            no_room_before_us: i64::MIN,
            refused_series_us: None,
            next_eviction_us: 0,
            touched: Vec::new(),
            watches_candles: false,
            changed_candles: Vec::new(),
            refused: 0,
        }
    }

    pub fn now_us(&self) -> i64 {
        self.now_us
    }

    /// All ticks that the broker got from `broker_time_us` on are in memory; older ones `is_filling` says to be on their way.
    pub fn set_whole_from(&mut self, broker_time_us: i64, is_filling: bool) {
        self.is_filling = is_filling;
        // A source's clock may be ahead of the broker's a little: the next minute is surely whole.
        let whole_from = (Timeframe::Minute.bucket(broker_time_us) + 2 * MINUTE_US).max(self.no_room_before_us);
        if whole_from == self.whole_from_us {
            return;
        }
        let before = std::mem::replace(&mut self.whole_from_us, whole_from);
        // A row says from when on its figures are: those made while history is filled in stay right.
        if !is_filling || whole_from > before {
            self.all_series().for_each(Series::forget_row);
        }
        if self.watches_candles {
            self.tell_whole(before);
        }
    }

    /// Of the records that the broker got before this time some are lost.
    pub fn lose_before(&mut self, broker_time_us: i64) {
        self.no_room_before_us = self.no_room_before_us.max(Timeframe::Minute.bucket(broker_time_us) + 2 * MINUTE_US);
        self.whole_from_us = self.whole_from_us.max(self.no_room_before_us);
        self.all_series().for_each(Series::forget_row);
    }

    /// Every row as one that has changed: history is filled in.
    pub fn touch_all(&mut self) -> Vec<Touched> {
        let all = self.all_series().filter(|series| !series.is_empty()).map(|series| {
            series.forget_row();
            series.ticks += 1;
            Touched { symbol: series.symbol.clone(), source: series.source.clone() }
        });
        all.collect()
    }

    /// The candles that go on, and those before, which memory holds whole now and did not.
    fn tell_whole(&mut self, before: i64) {
        for series in self.symbols.values().flatten() {
            let from = self.whole_from_us.max(series.whole_from_us);
            for (chart, tf) in series.charts.iter().flat_map(|chart| Timeframe::ALL.map(|tf| (chart, tf))) {
                let newest = tf.bucket(self.now_us) - tf.width_us();
                let buckets = chart.line(tf).range(from.max(newest), before.max(series.whole_from_us));
                self.changed_candles.extend(buckets.map(|bucket| key(series, chart.basis, tf, bucket.start)));
            }
        }
    }

    fn all_series(&mut self) -> impl Iterator<Item = &mut Series> {
        self.symbols.values_mut().flatten()
    }

    /// Takes in a tick; gives the rows that it has changed.
    pub fn put_tick(&mut self, told: &Told<'_>) -> &[Touched] {
        self.take(told, false)
    }

    /// Takes in a tick of the history that is filled in; gives the rows of which it is the latest. Behind the last of them
    /// [`Self::touch_all`] tells the others.
    pub fn fill_tick(&mut self, told: &Told<'_>) -> &[Touched] {
        self.take(told, true)
    }

    fn take(&mut self, told: &Told<'_>, is_older: bool) -> &[Touched] {
        self.touched.clear();
        let tick = &told.tick;
        let is_long = |name: &str| name.len() > MAX_NAME_CHARS && name.chars().count() > MAX_NAME_CHARS;
        let possible = OLDEST_EVENT_US..=tick.broker_time + NEWEST_EVENT_US;
        if is_long(told.symbol) || is_long(told.source) || !possible.contains(&tick.event_time) {
            self.refused += 1;
            return &[];
        }
        if self.corrected.outranks(tick.event_id, tick.revision) {
            return &[];
        }
        if told.is_correction() {
            self.remember(told, true);
            for (symbol, event_time) in told.earlier_places() {
                self.remove(symbol, told.source, Place { event_time, event_id: tick.event_id }, tick.at);
            }
        }
        if !told.retracted {
            self.put(told, is_older);
        }
        self.count_touched();
        &self.touched
    }

    /// Each row that a record has changed has changed once.
    fn count_touched(&mut self) {
        self.touched.sort();
        self.touched.dedup();
        for row in &self.touched {
            let sources = self.symbols.get_mut(&row.symbol).into_iter().flatten();
            sources.filter(|series| series.source == row.source).for_each(|series| series.ticks += 1);
        }
    }

    /// Looks ahead: what a later record corrects need not be worked in first and taken out again.
    pub fn announce(&mut self, told: &Told<'_>) {
        if told.is_correction() {
            self.remember(told, false);
        }
    }

    fn remember(&mut self, told: &Told<'_>, is_done: bool) {
        let tick = &told.tick;
        let forgotten = self.corrected.remember(tick.event_id, tick.event_time, tick.revision, is_done);
        if let Some(event_time) = forgotten
            && self.is_filling
        {
            // What was replaced there may still come, and nobody would know.
            let minute = Timeframe::Minute.bucket(event_time) + MINUTE_US;
            self.all_series().for_each(|series| series.whole_from_us = series.whole_from_us.max(minute));
        }
    }

    fn put(&mut self, told: &Told<'_>, is_older: bool) {
        let reach = chart::Reach { now: self.now_us, whole_from: self.whole_from_us };
        let Some(at) = self.series_for(told.symbol, told.source, told.tick.broker_time) else {
            self.refused += 1;
            return;
        };
        let Some(series) = self.symbols.get_mut(told.symbol).and_then(|sources| sources.get_mut(at)) else { return };
        let (row_changed, candles_changed) = series.put(told, is_older, reach, &mut self.budget);
        if row_changed {
            self.touched.push(Touched { symbol: series.symbol.clone(), source: series.source.clone() });
        }
        // Those that are not whole yet are told when they are.
        let is_told = !is_older || told.tick.event_time >= self.whole_from_us;
        if candles_changed && is_told && self.watches_candles {
            tell_candles(series, told.tick.kind, told.tick.event_time, &mut self.changed_candles);
        }
        if self.budget.seen > self.budget.max_seen {
            self.seal_oldest();
        }
    }

    fn remove(&mut self, symbol: &str, source: &str, place: Place, at: Position) {
        let now = self.now_us;
        let Some(sources) = self.symbols.get_mut(symbol) else { return };
        let Some(series) = sources.iter_mut().find(|series| &*series.source == source) else { return };
        if !series.remove(place, at, now, &mut self.budget) {
            return;
        }
        self.touched.push(Touched { symbol: series.symbol.clone(), source: series.source.clone() });
        if self.watches_candles {
            for basis in series.charts.iter().map(|chart| chart.basis).collect::<Vec<_>>() {
                tell_candles(series, basis, place.event_time, &mut self.changed_candles);
            }
        }
    }

    /// The place of a tick's series among its symbol's, made when there is room for it.
    fn series_for(&mut self, symbol: &str, source: &str, broker_time: i64) -> Option<usize> {
        let find = |sources: &Vec<Series>| sources.iter().position(|series| &*series.source == source);
        if let Some(found) = self.symbols.get(symbol).and_then(find) {
            return Some(found);
        }
        if self.series >= self.max_series && !self.evict_silent(broker_time) {
            self.refused_series_us = Some(broker_time);
            return None;
        }
        let whole_from = self.refused_series_us.map_or(i64::MIN, |refused| refused + 2 * MINUTE_US);
        let series = Series::new(symbol, source, whole_from);
        let sources = self.symbols.entry(series.symbol.clone()).or_default();
        sources.push(series);
        self.series += 1;
        Some(sources.len() - 1)
    }

    /// Makes room by dropping series without a record for a look-back. Looks at most once a second, so that a flood of
    /// symbols does not make each of its ticks walk over all series.
    fn evict_silent(&mut self, broker_time: i64) -> bool {
        if broker_time < self.next_eviction_us {
            return false;
        }
        self.next_eviction_us = broker_time + 1_000_000;
        let oldest = broker_time - self.look_back_us;
        let budget = &mut self.budget;
        let before = self.series;
        self.symbols.retain(|_, sources| {
            sources.retain(|series| {
                let stays = series.last_record_us >= oldest;
                if !stays {
                    series.charts.iter().for_each(|chart| chart.release(budget));
                }
                stays
            });
            !sources.is_empty()
        });
        self.series = self.symbols.values().map(Vec::len).sum();
        if self.series < before {
            self.refused_series_us = Some(broker_time);
        }
        self.series < self.max_series
    }

    /// Forgets which events the oldest minutes hold, a tenth of the hours at a time.
    fn seal_oldest(&mut self) {
        let oldest = |live: &Self| {
            let charts = live.symbols.values().flatten().flat_map(|series| &series.charts);
            charts.filter_map(chart::Chart::oldest_known).min()
        };
        while self.budget.seen > self.budget.max_seen / 10 * 9
            && let Some(minute) = oldest(self)
        {
            let until = minute + 10 * MINUTE_US;
            if self.is_filling {
                // What is older yet is not taken in any more.
                self.no_room_before_us = until.max(self.no_room_before_us);
                self.whole_from_us = until.max(self.whole_from_us);
            }
            let budget = &mut self.budget;
            self.symbols
                .values_mut()
                .flatten()
                .flat_map(|series| &mut series.charts)
                .for_each(|chart| chart.seal(until, budget));
        }
    }

    /// Takes in an opening or a closing; gives it when it is news.
    pub fn put_gap(&mut self, gap: &Gap, at: Position) -> Option<&KnownGap> {
        // While it was open it lay in every candle since.
        let was_open = self.gaps.is_open(gap.id);
        let known = self.gaps.put(gap, at)?;
        if self.watches_candles {
            let ended = known.row.ended_at_us.filter(|_| !was_open);
            let (from, to) = (known.row.started_at_us, ended.unwrap_or(i64::MAX));
            for series in self.symbols.values().flatten() {
                let concerned = |chart: &&chart::Chart| {
                    gaps::concerns(&known.row.source, &known.row.symbols, &series.symbol, &series.source, chart.basis)
                };
                for chart in series.charts.iter().filter(concerned) {
                    for tf in Timeframe::ALL {
                        let buckets = chart.line(tf).range(tf.bucket(from), to);
                        self.changed_candles.extend(buckets.map(|bucket| key(series, chart.basis, tf, bucket.start)));
                    }
                }
            }
        }
        Some(known)
    }

    /// Gives it when it is news.
    pub fn put_alert(&mut self, alert: &Alert, at: Position) -> Option<&KnownAlert> {
        self.alerts.put(alert, at)
    }

    /// Gives whether the source's state is another one now.
    pub fn put_health(&mut self, health: &SourceHealth, broker_time: i64) -> bool {
        self.sources.put(health, broker_time)
    }

    /// Measures the hops of a tick that has just come, or that came then and is replayed.
    pub fn measure(&mut self, told: &Told<'_>, now_us: i64, is_replay: bool) {
        let Some(hops) = self.sources.hops(told.source) else { return };
        let tick = &told.tick;
        let first = (tick.event_time_origin == EventTimeOrigin::Source).then(|| tick.received_at - tick.event_time);
        let last = (!is_replay).then(|| now_us - tick.broker_time);
        hops.record(first, tick.broker_time - tick.received_at, last, now_us);
    }

    /// Moves time on: everything up to `now_us` was read. Never while it could not be.
    pub fn advance(&mut self, now_us: i64) {
        let before = self.now_us;
        let now = before.max(now_us);
        self.now_us = now;
        if self.watches_candles {
            self.close_candles(before, now);
        }
        if Timeframe::Minute.bucket(before) == Timeframe::Minute.bucket(now) {
            return;
        }
        // Older candles that a gap lies in may still come.
        let dropped = if self.is_filling { Vec::new() } else { self.gaps.trim(now) };
        let budget = &mut self.budget;
        for series in self.symbols.values_mut().flatten() {
            let (symbol, source) = (&series.symbol, &series.source);
            for chart in &mut series.charts {
                chart.trim(now, budget);
                for gap in &dropped {
                    if gaps::concerns(&gap.source, &gap.symbols, symbol, source, chart.basis) {
                        chart.touch(gap.started_at_us, gap.ended_at_us.unwrap_or(i64::MAX));
                    }
                }
            }
            // High, low and change are over the last day.
            series.forget_row();
        }
    }

    /// Candles whose bucket has ended between two times.
    fn close_candles(&mut self, before: i64, now: i64) {
        for tf in Timeframe::ALL {
            let (from, to) = (tf.bucket(before), tf.bucket(now));
            if from == to {
                continue;
            }
            for series in self.symbols.values().flatten() {
                for chart in &series.charts {
                    let closed =
                        chart.line(tf).range(from, to).map(|bucket| key(series, chart.basis, tf, bucket.start));
                    self.changed_candles.extend(closed);
                }
            }
        }
    }

    /// The candles that have changed since the last call, each once.
    pub fn take_changed_candles(&mut self) -> Vec<CandleKey> {
        let mut changed = std::mem::take(&mut self.changed_candles);
        changed.sort();
        changed.dedup();
        changed
    }

    /// The row of a series, serialised once after each change.
    pub fn row(&mut self, symbol: &str, source: &str) -> Option<(Json, u64)> {
        let (now, whole_from) = (self.now_us, self.whole_from_us);
        let series = self.symbols.get_mut(symbol)?.iter_mut().find(|series| &*series.source == source)?;
        Some((series.row(now, whole_from), series.ticks))
    }
}

fn key(series: &Series, basis: Kind, tf: Timeframe, start: i64) -> CandleKey {
    CandleKey { symbol: series.symbol.clone(), source: series.source.clone(), basis, tf, start }
}

fn tell_candles(series: &Series, basis: Kind, event_time: i64, changed: &mut Vec<CandleKey>) {
    changed.extend(Timeframe::ALL.map(|tf| key(series, basis, tf, tf.bucket(event_time))));
}
