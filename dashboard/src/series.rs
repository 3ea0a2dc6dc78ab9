//! One pair of symbol and source: its latest tick and a bounded line of points for the chart. The latest is the greatest by
//! (event_time, revision), whatever the order in which ticks arrive; a correction replaces what it corrects. Must never
//! happen here: memory that grows with the number of ticks.

use std::collections::VecDeque;
use std::sync::Arc;

use pipeline::decimal::Decimal38;
use pipeline::events::{EventTimeOrigin, Kind, PriceTick};
use serde::Serialize;
use uuid::Uuid;

use crate::protocol::Json;

/// Points of one series; the step between them is the look-back divided by this.
pub const MAX_POINTS: i64 = 1200;
/// A source's clock may run ahead of the broker's by this much before its ticks stay out of the chart.
const CLOCK_AHEAD_US: i64 = 60_000_000;

/// The span of time that a chart covers.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub look_back_us: i64,
    pub step_us: i64,
}

impl Span {
    pub fn new(look_back_us: i64) -> Self {
        Self { look_back_us, step_us: (look_back_us / MAX_POINTS).max(1_000_000) }
    }
}

/// The last price of one step of the chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub event_time: i64,
    pub price: Decimal38,
    event_id: Uuid,
    revision: i32,
}

#[derive(Debug)]
struct Latest {
    event_id: Uuid,
    revision: i32,
    kind: Option<Kind>,
    price: Decimal38,
    bid: Option<Decimal38>,
    ask: Option<Decimal38>,
    volume_24h: Option<Decimal38>,
    change_24h_pct: Option<Decimal38>,
    event_time: i64,
    event_time_origin: Option<EventTimeOrigin>,
    received_at: Option<i64>,
    broker_time: i64,
}

/// A series as the page sees it.
#[derive(Serialize)]
struct Row<'a> {
    symbol: &'a str,
    source: &'a str,
    kind: Option<Kind>,
    /// Null when every tick was taken back: the page forgets the row.
    price: Option<Decimal38>,
    bid: Option<Decimal38>,
    ask: Option<Decimal38>,
    volume_24h: Option<Decimal38>,
    change_pct: Option<String>,
    /// `24h` as the source gives it, or `look_back`: against the first price that the chart holds.
    change_basis: Option<&'static str>,
    event_time_us: Option<i64>,
    event_time_origin: Option<EventTimeOrigin>,
    received_at_us: Option<i64>,
    broker_time_us: Option<i64>,
    event_id: Option<Uuid>,
    revision: Option<i32>,
}

#[derive(Debug)]
pub struct Series {
    pub symbol: Arc<str>,
    pub source: Arc<str>,
    latest: Option<Latest>,
    points: VecDeque<Point>,
    row: Option<Json>,
    /// Broker time of the last record, microseconds: a series that gets none for a look-back may give way to a new one.
    pub last_record_us: i64,
}

impl Series {
    pub fn new(symbol: &str, source: &str) -> Self {
        Self {
            symbol: symbol.into(),
            source: source.into(),
            latest: None,
            points: VecDeque::new(),
            row: None,
            last_record_us: 0,
        }
    }

    /// Takes a tick in. Gives whether what the page shows has changed.
    pub fn put(&mut self, tick: &PriceTick, broker_time: i64, span: Span) -> bool {
        self.last_record_us = self.last_record_us.max(broker_time);
        let in_chart = self.put_point(tick, broker_time, span);
        let newer = self
            .latest
            .as_ref()
            .is_none_or(|latest| (tick.event_time, tick.revision) > (latest.event_time, latest.revision));
        if newer {
            self.latest = Some(Latest {
                event_id: tick.event_id,
                revision: tick.revision,
                kind: Some(tick.kind),
                price: tick.price,
                bid: tick.bid,
                ask: tick.ask,
                volume_24h: tick.volume_24h,
                change_24h_pct: tick.change_24h_pct,
                event_time: tick.event_time,
                event_time_origin: Some(tick.event_time_origin),
                received_at: Some(tick.received_at),
                broker_time,
            });
        }
        if newer || in_chart {
            self.row = None;
        }
        newer || in_chart
    }

    fn put_point(&mut self, tick: &PriceTick, broker_time: i64, span: Span) -> bool {
        let oldest = broker_time - span.look_back_us;
        while self.points.front().is_some_and(|point| point.event_time < oldest) {
            self.points.pop_front();
        }
        if tick.event_time < oldest || tick.event_time > broker_time + CLOCK_AHEAD_US {
            return false;
        }
        let point =
            Point { event_time: tick.event_time, price: tick.price, event_id: tick.event_id, revision: tick.revision };
        let step = tick.event_time.div_euclid(span.step_us);
        let at = self.points.partition_point(|other| other.event_time.div_euclid(span.step_us) < step);
        match self.points.get_mut(at) {
            Some(other) if other.event_time.div_euclid(span.step_us) == step => {
                let newer = (point.event_time, point.revision) > (other.event_time, other.revision);
                if newer {
                    *other = point;
                }
                newer
            }
            _ => {
                self.points.insert(at, point);
                // A clock that is ahead by a minute can add its steps to those of the look-back.
                while self.points.len() as i64 > MAX_POINTS + CLOCK_AHEAD_US / span.step_us + 1 {
                    self.points.pop_front();
                }
                true
            }
        }
    }

    /// Forgets one event because a correction moves it or takes it back. Gives whether what the page shows has changed.
    pub fn remove(&mut self, event_id: Uuid) -> bool {
        let points = self.points.len();
        self.points.retain(|point| point.event_id != event_id);
        let was_latest = self.latest.as_ref().is_some_and(|latest| latest.event_id == event_id);
        if was_latest {
            // Of an older tick only the point is kept.
            self.latest = self.points.back().map(|point| Latest {
                event_id: point.event_id,
                revision: point.revision,
                kind: None,
                price: point.price,
                bid: None,
                ask: None,
                volume_24h: None,
                change_24h_pct: None,
                event_time: point.event_time,
                event_time_origin: None,
                received_at: None,
                broker_time: self.last_record_us,
            });
        }
        let changed = was_latest || self.points.len() != points;
        if changed {
            self.row = None;
        }
        changed
    }

    /// Whether every tick was taken back.
    pub fn is_empty(&self) -> bool {
        self.latest.is_none()
    }

    /// The row for the page, serialised once after each change.
    pub fn row(&mut self) -> Json {
        if let Some(row) = &self.row {
            return row.clone();
        }
        let latest = self.latest.as_ref();
        let (change_pct, change_basis) = latest.map_or((None, None), |latest| self.change(latest));
        let row = Json::of(&Row {
            symbol: &self.symbol,
            source: &self.source,
            kind: latest.and_then(|latest| latest.kind),
            price: latest.map(|latest| latest.price),
            bid: latest.and_then(|latest| latest.bid),
            ask: latest.and_then(|latest| latest.ask),
            volume_24h: latest.and_then(|latest| latest.volume_24h),
            change_pct,
            change_basis,
            event_time_us: latest.map(|latest| latest.event_time),
            event_time_origin: latest.and_then(|latest| latest.event_time_origin),
            received_at_us: latest.and_then(|latest| latest.received_at),
            broker_time_us: latest.map(|latest| latest.broker_time),
            event_id: latest.map(|latest| latest.event_id),
            revision: latest.map(|latest| latest.revision),
        });
        self.row = Some(row.clone());
        row
    }

    fn change(&self, latest: &Latest) -> (Option<String>, Option<&'static str>) {
        if let Some(given) = latest.change_24h_pct {
            return (Some(given.to_string()), Some("24h"));
        }
        match self.points.front() {
            Some(first) if first.event_id != latest.event_id && !first.price.is_zero() => {
                // A percentage for reading: the float never becomes a price.
                let (from, to) = (first.price.unscaled() as f64, latest.price.unscaled() as f64);
                let pct = format!("{:.4}", (to - from) / from.abs() * 100.0);
                (Some(if pct == "-0.0000" { "0.0000".to_owned() } else { pct }), Some("look_back"))
            }
            _ => (None, None),
        }
    }

    /// The chart's points in time order.
    pub fn points(&self) -> impl ExactSizeIterator<Item = &Point> {
        self.points.iter()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const NOW: i64 = 1_800_000_000_000_000;

    pub fn tick(symbol: &str, key: &str, price: &str, event_time: i64) -> PriceTick {
        PriceTick {
            event_id: pipeline::events::event_id("test", "trades", symbol, key),
            source: "test".to_owned(),
            symbol: symbol.to_owned(),
            price: price.parse().expect("a price"),
            event_time,
            received_at: event_time,
            source_symbol: symbol.to_owned(),
            ..pipeline::example::tick()
        }
    }

    fn row(series: &mut Series) -> serde_json::Value {
        serde_json::from_str(series.row().get()).expect("JSON")
    }

    fn hour() -> Span {
        Span::new(3_600_000_000)
    }

    #[test]
    fn the_latest_is_by_event_time_then_revision() {
        let mut series = Series::new("BTC-USD", "test");
        assert!(series.put(&tick("BTC-USD", "2", "64000.10", NOW), NOW, hour()));
        series.put(&tick("BTC-USD", "1", "63000", NOW - 5_000_000), NOW, hour());
        assert_eq!(row(&mut series)["price"], "64000.1");
        assert!(!series.put(&tick("BTC-USD", "2", "64000.10", NOW), NOW, hour()), "a repeat changes nothing");
        let corrected = PriceTick { revision: 1, ..tick("BTC-USD", "2", "64000.000000000000000007", NOW) };
        assert!(series.put(&corrected, NOW, hour()));
        assert_eq!(row(&mut series)["price"], "64000.000000000000000007");
        assert!(!series.put(&tick("BTC-USD", "2", "64000.10", NOW), NOW, hour()), "a lower revision changes nothing");
    }

    #[test]
    fn the_change_says_what_it_is_against() {
        let mut series = Series::new("BTC-USD", "test");
        series.put(&tick("BTC-USD", "1", "200", NOW - 60_000_000), NOW, hour());
        assert_eq!(row(&mut series)["change_pct"], serde_json::Value::Null);
        series.put(&tick("BTC-USD", "2", "201", NOW), NOW, hour());
        assert_eq!(
            (&row(&mut series)["change_pct"], &row(&mut series)["change_basis"]),
            (&"0.5000".into(), &"look_back".into())
        );
        let given = PriceTick { change_24h_pct: "-1.25".parse().ok(), ..tick("BTC-USD", "3", "202", NOW + 1) };
        series.put(&given, NOW, hour());
        assert_eq!(
            (&row(&mut series)["change_pct"], &row(&mut series)["change_basis"]),
            (&"-1.25".into(), &"24h".into())
        );
    }

    #[test]
    fn points_are_bounded_and_in_order() {
        let mut series = Series::new("BTC-USD", "test");
        for i in (0..20_000_i64).map(|i| i * 7919 % 20_000) {
            series.put(&tick("BTC-USD", &i.to_string(), "1", NOW + i * 1_000_000), NOW + 20_000_000_000, hour());
        }
        assert!(series.points().len() as i64 <= MAX_POINTS + 30, "{}", series.points().len());
        let times: Vec<i64> = series.points().map(|point| point.event_time).collect();
        assert!(times.is_sorted());
        assert!(times.first().is_some_and(|first| *first >= NOW + 16_400_000_000), "nothing older than the look-back");
    }

    #[test]
    fn a_clock_that_is_ahead_stays_out_of_the_chart() {
        let mut series = Series::new("BTC-USD", "test");
        series.put(&tick("BTC-USD", "1", "1", NOW + 3_600_000_000), NOW, hour());
        assert_eq!(series.points().len(), 0);
    }

    #[test]
    fn a_tick_taken_back_leaves_the_one_before() {
        let mut series = Series::new("BTC-USD", "test");
        series.put(&tick("BTC-USD", "1", "10", NOW - 60_000_000), NOW, hour());
        series.put(&tick("BTC-USD", "2", "9999", NOW), NOW, hour());
        assert!(series.remove(tick("BTC-USD", "2", "0", NOW).event_id));
        assert_eq!(row(&mut series)["price"], "10");
        assert!(series.remove(tick("BTC-USD", "1", "0", NOW).event_id));
        assert!(series.is_empty() && row(&mut series)["price"].is_null());
    }
}
