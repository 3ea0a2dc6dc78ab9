//! One symbol and source: its recent ticks, the candles of each price basis, and the row that clients see. The latest tick is
//! the highest by (event_time, sequence, event_id, revision), as in Postgres' `latest_prices`, whatever the order in which
//! ticks come. Must never happen here: a row made of a tick that was replaced or taken back.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::datatypes::i256;
use pipeline::decimal::Decimal38;

use super::candle::{Fold, Place, quotient};
use super::chart::{Budget, Change, Chart, Reach};
use super::row::{ChangeBasis, TickRow};
use super::tick::{Order, Position, Tick, Told};
use super::timeframe::Timeframe;
use crate::protocol::Json;

/// Ticks kept of a series.
pub const RECENT: usize = 200;
const DAY_US: i64 = 86_400_000_000;
/// More digits of a price are noise.
const SIGNIFICANT: u32 = 8;

/// Over the day that is in memory.
#[derive(Clone, Copy, Debug)]
struct Day {
    /// The minute after which it has to be made again.
    until: i64,
    from: i64,
    high: Decimal38,
    low: Decimal38,
    first: Decimal38,
    first_at: Place,
    /// Whether memory holds all of a whole day, and the series is that old.
    is_whole: bool,
}

#[derive(Debug)]
pub struct Series {
    pub symbol: Arc<str>,
    pub source: Arc<str>,
    /// In order.
    recent: VecDeque<Tick>,
    /// Ticks up to here are no longer among the recent.
    forgotten: Option<Order>,
    pub charts: Vec<Chart>,
    /// The last record of each partition that changed the row.
    changed: Vec<Position>,
    /// How often the row has changed by a tick.
    pub ticks: u64,
    /// Of the digits of recent prices.
    places: u32,
    day: Option<Day>,
    row: Option<Json>,
    /// Broker time of the last record, microseconds: a series that gets none for a look-back may give way to a new one.
    pub last_record_us: i64,
    pub first_us: i64,
    /// What came before may have been refused.
    pub whole_from_us: i64,
}

impl Series {
    pub fn new(symbol: &str, source: &str, whole_from_us: i64) -> Self {
        Self {
            symbol: symbol.into(),
            source: source.into(),
            recent: VecDeque::new(),
            forgotten: None,
            charts: Vec::new(),
            changed: Vec::new(),
            ticks: 0,
            places: 0,
            day: None,
            row: None,
            last_record_us: 0,
            first_us: i64::MAX,
            whole_from_us,
        }
    }

    /// Takes a tick in; gives whether the row is to be shown, and whether candles have changed. `is_older`: it comes out of the
    /// history that is filled in, and makes a row that is to be shown only where it is the latest.
    pub fn put(&mut self, told: &Told<'_>, is_older: bool, reach: Reach, budget: &mut Budget) -> (bool, bool) {
        let tick = &told.tick;
        let reach = Reach { whole_from: reach.whole_from.max(self.whole_from_us), ..reach };
        let replaces = told.is_correction();
        let basis = self.charts.iter().position(|chart| chart.basis == tick.kind).unwrap_or_else(|| {
            self.charts.push(Chart::new(tick.kind));
            self.charts.len() - 1
        });
        let change = self.charts[basis].put(tick.place(), tick.price, tick.quantity, replaces, reach, budget);
        self.last_record_us = self.last_record_us.max(tick.broker_time);
        self.first_us = self.first_us.min(tick.event_time);
        let is_latest = self.put_recent(tick);
        if change == Change::None && !is_latest {
            return (false, false);
        }
        if tick.broker_time >= self.last_record_us {
            self.places = self.places.max(places(tick.price));
        }
        let of_day = self.day.as_mut().filter(|day| tick.event_time >= day.from && change == Change::Changed);
        let is_of_day = of_day.is_some();
        let moves_day = of_day.is_some_and(|day| {
            let moves = tick.price > day.high || tick.price < day.low;
            (day.high, day.low) = (day.high.max(tick.price), day.low.min(tick.price));
            moves
        });
        // An older tick may be the first of the day.
        let is_late = !is_latest && change == Change::Changed;
        if is_late && (is_of_day || !is_older) {
            (self.day, self.row) = (None, None);
        }
        let shows = is_latest || !is_older && (is_late || moves_day);
        if shows {
            self.show_change(tick.at);
        }
        (shows, change == Change::Changed)
    }

    /// Gives whether it is the latest now.
    fn put_recent(&mut self, tick: &Tick) -> bool {
        let order = tick.order();
        if self.forgotten.is_some_and(|forgotten| order <= forgotten) {
            return false;
        }
        let at = self.recent.partition_point(|other| other.order() < order);
        if self.recent.get(at).is_some_and(|other| other.event_id == tick.event_id && other.revision == tick.revision) {
            return false;
        }
        self.recent.insert(at, *tick);
        let is_latest = at == self.recent.len() - 1;
        if self.recent.len() > RECENT {
            self.forgotten = self.recent.pop_front().map(|tick| tick.order());
        }
        is_latest
    }

    /// Takes an event away from the place where it may stand, because a correction replaces it; gives whether anything was
    /// changed.
    pub fn remove(&mut self, place: Place, at: Position, now: i64, budget: &mut Budget) -> bool {
        let before = self.recent.len();
        self.recent.retain(|tick| tick.event_id != place.event_id);
        let mut changed = self.recent.len() != before;
        for chart in &mut self.charts {
            changed |= chart.remove(place, now, budget) == Change::Changed;
        }
        if changed {
            self.day = None;
            self.show_change(at);
        }
        changed
    }

    fn show_change(&mut self, at: Position) {
        self.row = None;
        at.raise(&mut self.changed);
    }

    /// What is known of time has changed.
    pub fn forget_row(&mut self) {
        (self.row, self.day) = (None, None);
    }

    /// Whether a record behind `known` has changed the row.
    pub fn changed_after(&self, known: &[Position]) -> bool {
        self.changed.iter().any(|changed| changed.is_after(known))
    }

    /// Whether every tick was taken back.
    pub fn is_empty(&self) -> bool {
        self.recent.is_empty() && self.newest_fold().is_none()
    }

    /// Newest first.
    pub fn recent(&self) -> impl Iterator<Item = &Tick> {
        self.recent.iter().rev()
    }

    /// The newest candle, for when all recent ticks were taken back.
    fn newest_fold(&self) -> Option<(&Chart, &Fold)> {
        self.forgotten?;
        let newest = |chart: &'_ Chart| chart.line(Timeframe::Minute).iter().next_back().map(|bucket| bucket.fold.last);
        let chart = self.charts.iter().filter(|chart| newest(chart).is_some()).max_by_key(|chart| newest(chart))?;
        chart.line(Timeframe::Minute).iter().next_back().map(|bucket| (chart, &bucket.fold))
    }

    /// The row for clients, serialised once after each change.
    pub fn row(&mut self, now: i64, whole_from: i64) -> Json {
        if let Some(row) = &self.row {
            return row.clone();
        }
        let row = Json::of(&self.describe(now, whole_from.max(self.whole_from_us)));
        self.row = Some(row.clone());
        row
    }

    fn describe(&mut self, now: i64, whole_from: i64) -> TickRow {
        let mut row = TickRow::empty(&self.symbol, &self.source);
        let latest = match (self.recent.back(), self.newest_fold()) {
            (Some(tick), _) => {
                row.tell(tick);
                Some((tick.kind, tick.price, tick.place()))
            }
            (None, Some((chart, fold))) => {
                row.kind = Some(chart.basis);
                row.price = Some(fold.close);
                row.event_time_us = Some(fold.last.event_time);
                row.event_id = Some(fold.last.event_id);
                Some((chart.basis, fold.close, fold.last))
            }
            (None, None) => None,
        };
        let Some((kind, price, place)) = latest else { return row };
        row.tick_size = Some(tick_size(price, self.places));
        let moment = now.max(place.event_time);
        if self.day.is_none_or(|day| moment >= day.until) {
            self.day =
                self.charts.iter().find(|chart| chart.basis == kind).and_then(|chart| day(chart, moment, whole_from));
        }
        if let Some(day) = self.day {
            (row.high, row.low, row.stats_from_us) = (Some(day.high), Some(day.low), Some(day.from));
            if row.change_pct.is_none()
                && day.first_at != place
                && let Some(change) = change_pct(day.first, price)
            {
                row.change_pct = Some(change);
                row.change_basis = Some(if day.is_whole { ChangeBasis::Day } else { ChangeBasis::LookBack });
            }
        }
        row
    }
}

/// High, low and first over the day up to `now`, by whole minutes.
fn day(chart: &Chart, now: i64, whole_from: i64) -> Option<Day> {
    let minutes = chart.line(Timeframe::Minute);
    let start = Timeframe::Minute.bucket(now - DAY_US) + Timeframe::Minute.width_us();
    // What lies before a minute that is wrong is not counted.
    let spoilt = minutes.range(start, i64::MAX).rev().find(|bucket| bucket.spoilt > 0);
    let known_from = whole_from.max(spoilt.map_or(i64::MIN, |bucket| bucket.start + Timeframe::Minute.width_us()));
    let inside = || minutes.range(start.max(spoilt.map_or(i64::MIN, |bucket| bucket.start + 1)), i64::MAX);
    let first = inside().next()?;
    Some(Day {
        until: Timeframe::Minute.bucket(now) + Timeframe::Minute.width_us(),
        from: start.max(known_from),
        high: inside().map(|bucket| bucket.fold.high).max()?,
        low: inside().map(|bucket| bucket.fold.low).min()?,
        first: first.fold.open,
        first_at: first.fold.first,
        // A series that began later has no price of a day ago.
        is_whole: known_from <= start && first.start < start + Timeframe::Hour.width_us(),
    })
}

/// Percent from one price to another, rounded at the fourth place.
fn change_pct(from: Decimal38, to: Decimal38) -> Option<Decimal38> {
    let by = i256::from_i128(to.unscaled()).checked_sub(i256::from_i128(from.unscaled()))?;
    let ten_thousandths =
        quotient(by.checked_mul(i256::from_i128(1_000_000))?, i256::from_i128(from.unscaled().abs()))?;
    Decimal38::from_unscaled(ten_thousandths.checked_mul(10_i128.pow(Decimal38::SCALE - 4))?)
}

/// How many digits after the point a price has.
fn places(price: Decimal38) -> u32 {
    let mut rest = price.unscaled();
    let mut places = Decimal38::SCALE;
    while places > 0 && rest % 10 == 0 {
        (rest, places) = (rest / 10, places - 1);
    }
    places
}

fn tick_size(price: Decimal38, places: u32) -> Decimal38 {
    let digits = price.unscaled().unsigned_abs().checked_ilog10().map_or(0, |log| log + 1);
    // The unscaled price's place that is the least of the significant ones.
    let least = digits.saturating_sub(SIGNIFICANT).max(Decimal38::SCALE - places).min(Decimal38::SCALE);
    Decimal38::from_unscaled(10_i128.pow(least)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_size_is_the_source_s_own_with_eight_digits_at_most() {
        let check = |price: &str, expected: &str| {
            let price: Decimal38 = price.parse().expect(price);
            assert_eq!(tick_size(price, places(price)).to_string(), expected, "{price}");
        };
        check("84631.07", "0.01");
        check("84631.073351234", "0.001");
        check("0.00001234", "0.00000001");
        check("100", "1");
        check("123456789012", "1");
        check("0.000056170000000001", "0.000000000001");
    }

    #[test]
    fn a_change_is_exact_to_the_fourth_place() {
        let check = |from: &str, to: &str, expected: Option<&str>| {
            let of = |text: &str| text.parse::<Decimal38>().expect("a price");
            assert_eq!(change_pct(of(from), of(to)).map(|pct| pct.to_string()).as_deref(), expected, "{from} {to}");
        };
        check("200", "201", Some("0.5"));
        check("3", "2", Some("-33.3333"));
        check("3", "1", Some("-66.6667"));
        check("0", "1", None);
        check("-2", "-1", Some("50"));
    }
}
