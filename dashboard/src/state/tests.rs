mod filling;

use pipeline::events::{GapReason, PriceTick};
use serde_json::Value;
use uuid::Uuid;

use super::*;

pub const NOW: i64 = 1_800_000_000_000_000;
const HOUR: i64 = 3_600_000_000;

pub fn tick(symbol: &str, key: &str, price: &str, event_time: i64) -> PriceTick {
    PriceTick {
        event_id: pipeline::events::event_id("test", "trades", symbol, key),
        source: "test".to_owned(),
        symbol: symbol.to_owned(),
        price: price.parse().expect("a price"),
        quantity: "2".parse().ok(),
        event_time,
        received_at: event_time,
        sequence: None,
        source_symbol: symbol.to_owned(),
        ..pipeline::example::tick()
    }
}

pub fn live() -> Live {
    let mut live = Live::new(24 * HOUR, 10, NOW);
    live.set_whole_from(NOW - 2 * 24 * HOUR, false);
    live
}

pub fn put(live: &mut Live, tick: &PriceTick, offset: i64) -> usize {
    live.put_tick(&Told::of(tick, tick.event_time.max(NOW - HOUR), Position { partition: 0, offset })).len()
}

fn row(live: &mut Live, symbol: &str) -> Value {
    let (row, _) = live.row(symbol, "test").expect("a row");
    serde_json::from_str(row.get()).expect("JSON")
}

fn candles(live: &Live, tf: Timeframe) -> Vec<(i64, String, String, String, u32, bool)> {
    let text = |candle: Candle| {
        let Candle { start_us, open, close, volume, trades, complete, .. } = candle;
        (start_us, open.to_string(), close.to_string(), volume.map_or("-".into(), |v| v.to_string()), trades, complete)
    };
    live.candles("BTC-USD", None, tf, i64::MIN, i64::MAX).into_iter().map(text).collect()
}

#[test]
fn the_latest_is_by_event_time_sequence_id_and_revision() {
    let mut live = live();
    assert_eq!(put(&mut live, &tick("BTC-USD", "2", "64000.10", NOW), 1), 1);
    put(&mut live, &tick("BTC-USD", "1", "63000", NOW - 5_000_000), 2);
    let shown = row(&mut live, "BTC-USD");
    assert_eq!((&shown["price"], &shown["low"], &shown["offset"]), (&"64000.1".into(), &"63000".into(), &1.into()));
    assert_eq!((&shown["change_pct"], &shown["change_basis"]), (&"1.5875".into(), &"look_back".into()));
    assert_eq!(put(&mut live, &tick("BTC-USD", "2", "64000.10", NOW), 3), 0, "a repeat changes nothing");
    put(&mut live, &tick("BTC-USD", "yesterday", "32000.05", NOW - 24 * HOUR + 61_000_000), 3);
    let shown = row(&mut live, "BTC-USD");
    assert_eq!((&shown["change_pct"], &shown["change_basis"]), (&"100".into(), &"24h".into()));
    let first = PriceTick { sequence: Some(1), ..tick("BTC-USD", "0", "1", NOW) };
    put(&mut live, &first, 4);
    assert_eq!(row(&mut live, "BTC-USD")["price"], "1", "a sequence comes after none");
    put(&mut live, &PriceTick { sequence: Some(2), ..tick("BTC-USD", "9", "2", NOW) }, 5);
    assert_eq!(row(&mut live, "BTC-USD")["price"], "2");
}

#[test]
fn a_correction_replaces_moves_and_takes_back() {
    let mut live = live();
    live.watches_candles = true;
    let wrong = tick("BTC-USD", "1", "108.079", NOW);
    put(&mut live, &tick("BTC-USD", "0", "107", NOW - 1), 0);
    put(&mut live, &wrong, 1);
    let moved = PriceTick {
        revision: 1,
        symbol: "BTC-BRL".to_owned(),
        previous_symbol: Some("BTC-USD".to_owned()),
        price: "108079".parse().expect("a price"),
        event_time: NOW + 61_000_000,
        previous_event_time: Some(NOW),
        ..wrong.clone()
    };
    assert_eq!(put(&mut live, &moved, 2), 2);
    assert_eq!(
        (row(&mut live, "BTC-USD")["price"].clone(), row(&mut live, "BTC-BRL")["price"].clone()),
        ("107".into(), "108079".into())
    );
    assert_eq!(put(&mut live, &wrong, 3), 0, "the first version does not come back");
    assert_eq!(candles(&live, Timeframe::Hour)[0].4, 1);
    assert!(live.take_changed_candles().iter().any(|key| &*key.symbol == "BTC-USD" && key.tf == Timeframe::Day));
    let back =
        PriceTick { revision: 2, retracted: true, previous_symbol: None, previous_event_time: None, ..moved.clone() };
    assert_eq!(put(&mut live, &back, 4), 1);
    assert_eq!(put(&mut live, &moved, 5), 0);
    assert!(row(&mut live, "BTC-BRL")["price"].is_null());
    assert!(live.candles("BTC-BRL", None, Timeframe::Day, 0, i64::MAX).is_empty());
    assert_eq!(live.rows(|_| true, None).len(), 1, "what was taken back is not in a snapshot");
    let since = live.rows(|_| true, Some(&[Position { partition: 0, offset: 3 }]));
    assert_eq!(since.len(), 1, "but it is a change");
    assert!(since[0].row.get().contains("\"price\":null"));
}

#[test]
fn any_order_gives_the_same_candles_and_repeats_count_once() {
    let ticks: Vec<PriceTick> = (0..600)
        .map(|i| tick("BTC-USD", &i.to_string(), &format!("{}.5", 100 + i * 7 % 31), NOW - i * 1_300_000))
        .collect();
    let mut orders: Vec<Vec<&PriceTick>> = vec![ticks.iter().collect(), ticks.iter().rev().collect()];
    orders.push(ticks.iter().step_by(2).chain(ticks.iter().skip(1).step_by(2)).chain(ticks.iter()).collect());
    let states: Vec<Live> = orders
        .into_iter()
        .map(|order| {
            let mut live = live();
            for (offset, tick) in order.iter().enumerate() {
                put(&mut live, tick, offset as i64);
            }
            live
        })
        .collect();
    for tf in Timeframe::ALL {
        let expected = candles(&states[0], tf);
        assert!(!expected.is_empty());
        assert_eq!(expected, candles(&states[1], tf), "{tf:?}");
        assert_eq!(expected, candles(&states[2], tf), "{tf:?}");
    }
    assert_eq!(candles(&states[0], Timeframe::Hour).iter().map(|candle| candle.4).sum::<u32>(), 600);
}

#[test]
fn a_correction_beyond_memory_is_told_and_can_be_mended() {
    let mut live = live();
    let old = NOW - 20 * 60_000_000;
    let wrong = tick("BTC-USD", "1", "9", old);
    put(&mut live, &wrong, 0);
    put(&mut live, &tick("BTC-USD", "2", "10", old + 1), 1);
    put(&mut live, &tick("BTC-USD", "3", "11", NOW), 2);
    let hours = candles(&live, Timeframe::Hour);
    let right = PriceTick { revision: 1, price: "8".parse().expect("a price"), ..wrong.clone() };
    put(&mut live, &right, 3);
    let found = live.spoilt(10, |_| true);
    assert_eq!((found.len(), found[0].start_us()), (1, Timeframe::Minute.bucket(old)));
    assert!(live.spoilt(10, |spoilt| *spoilt != found[0]).is_empty());
    let is_complete = |live: &Live| {
        let hour = Timeframe::Hour.bucket(old);
        live.candles("BTC-USD", None, Timeframe::Hour, hour, hour + 1)[0].complete
    };
    live.advance(NOW + HOUR);
    assert!(!is_complete(&live));
    let reread = |prices: [&str; 2]| {
        let mut reread = Reread::default();
        for (at, (key, price)) in (old..).zip(["1", "2"].into_iter().zip(prices)) {
            let tick = tick("BTC-USD", key, price, at);
            let place = Place { event_time: at, event_id: tick.event_id };
            reread.put(Timeframe::Minute, place, tick.price, tick.quantity);
        }
        reread
    };
    let again = PriceTick { revision: 2, price: "7".parse().expect("a price"), ..wrong };
    put(&mut live, &again, 4);
    assert!(!live.replace(&found[0], &reread(["8", "10"])), "it was corrected once more meanwhile");
    let found = live.spoilt(10, |_| true);
    put(&mut live, &tick("BTC-USD", "4", "11", old + 2), 5);
    assert!(!live.replace(&found[0], &reread(["7", "10"])), "a tick has come meanwhile");
    let found = live.spoilt(10, |_| true);
    assert!(live.replace(&found[0], &reread(["7", "10"])));
    assert!(is_complete(&live) && live.spoilt(10, |_| true).is_empty());
    assert_eq!((hours[0].1.as_str(), candles(&live, Timeframe::Hour)[0].1.as_str()), ("9", "7"));
}

#[test]
fn a_correction_that_is_announced_spoils_nothing() {
    let mut live = live();
    let old = NOW - 20 * 60_000_000;
    let wrong = tick("BTC-USD", "1", "9", old);
    let right = PriceTick { revision: 1, price: "8".parse().expect("a price"), ..wrong.clone() };
    live.announce(&Told::of(&right, NOW, Position::default()));
    assert_eq!(put(&mut live, &wrong, 0), 0);
    assert_eq!(put(&mut live, &right, 1), 1);
    assert!(live.spoilt(1, |_| true).is_empty());
    assert_eq!(candles(&live, Timeframe::Minute)[0].1, "8");
}

#[test]
fn candles_are_complete_when_they_are_over_whole_and_without_a_gap() {
    let mut live = live();
    live.watches_candles = true;
    let start = Timeframe::Minute.bucket(NOW);
    put(&mut live, &tick("BTC-USD", "1", "9", start), 0);
    live.take_changed_candles();
    assert!(!candles(&live, Timeframe::Minute)[0].5, "open");
    live.advance(start + MINUTE_US);
    assert!(candles(&live, Timeframe::Minute)[0].5);
    let closed = live.take_changed_candles();
    assert_eq!(closed.iter().map(|key| key.tf).collect::<Vec<_>>(), [Timeframe::Second, Timeframe::Minute]);
    let gap = Gap {
        id: Uuid::from_u128(1),
        source: "test".to_owned(),
        symbols: vec![],
        reason: GapReason::Disconnected,
        started_at: start + 1,
        ended_at: Some(start + 2),
        detail: String::new(),
    };
    assert!(live.put_gap(&gap, Position::default()).is_some());
    assert!(!candles(&live, Timeframe::Minute)[0].5, "a gap touches it");
    assert!(live.take_changed_candles().iter().any(|key| key.tf == Timeframe::Minute));
    live.advance(start + 24 * HOUR + MINUTE_US);
    assert_eq!(live.gaps.all().count(), 0);
    assert!(!candles(&live, Timeframe::Minute)[0].5, "also when the gap is forgotten");
    live.set_whole_from(start + MINUTE_US, false);
    assert!(live.covers_from_us("BTC-USD", "test", Timeframe::Minute) > start);
}

#[test]
fn floods_of_symbols_corrections_and_ticks_are_bounded() {
    let mut live = live();
    for i in 0..10_000 {
        put(&mut live, &tick(&format!("S{i}-USD"), "1", "1", NOW), i);
    }
    assert_eq!((live.series(), live.refused), (10, 9990));
    put(&mut live, &tick(&"X".repeat(65), "1", "1", NOW), 0);
    let early = PriceTick { event_time: NOW + 3 * 24 * HOUR, ..tick("S1-USD", "2", "1", NOW) };
    live.put_tick(&Told::of(&early, NOW, Position::default()));
    assert_eq!(live.refused, 9992);
    for i in 0..300_000 {
        put(&mut live, &tick("S1-USD", &format!("a{i}"), "1", NOW - i), i);
    }
    assert!(live.budget.exact <= MAX_EXACT, "{}", live.budget.exact);
    live.advance(NOW + 26 * HOUR);
    assert_eq!((live.budget.exact, live.budget.seen), (0, 0), "what is forgotten is given back");
}

#[test]
fn when_all_recent_ticks_are_taken_back_the_candles_still_know_a_price() {
    let mut live = live();
    for i in 0..250 {
        put(&mut live, &tick("BTC-USD", &i.to_string(), &format!("{}", 100 + i), NOW + i), i);
    }
    for i in 50..250 {
        let back = PriceTick { revision: 1, retracted: true, ..tick("BTC-USD", &i.to_string(), "1", NOW + i) };
        put(&mut live, &back, 1000 + i);
    }
    let shown = row(&mut live, "BTC-USD");
    assert_eq!((&shown["price"], &shown["event_time_us"]), (&"149".into(), &(NOW + 49).into()));
    assert_eq!(live.ticks("BTC-USD", None, 10).len(), 0);
    let found = &live.statistics("BTC-USD", 6)[0];
    assert_eq!((found.count, found.min.to_string(), found.avg.to_string()), (50, "100".to_owned(), "124.5".to_owned()));
}

#[test]
fn what_found_no_room_while_filling_is_not_told_to_be_there() {
    let mut live = Live::new(24 * HOUR, 10, NOW);
    live.set_whole_from(NOW - 10 * MINUTE_US, true);
    live.budget.max_seen = 100;
    for i in 0..300 {
        put(&mut live, &tick("BTC-USD", &i.to_string(), "1", NOW - i * MINUTE_US), 1000 - i);
    }
    live.set_whole_from(NOW - 24 * HOUR, false);
    let covered = live.covers_from_us("BTC-USD", "test", Timeframe::Minute);
    assert!(covered > NOW - 101 * MINUTE_US, "{}", (NOW - covered) / MINUTE_US);
    let inside = live.candles("BTC-USD", None, Timeframe::Minute, covered, NOW - MINUTE_US);
    let minutes = (Timeframe::Minute.bucket(NOW - 1) - covered) / MINUTE_US;
    assert_eq!(inside.len() as i64, minutes, "from there on all of them are there");
}
