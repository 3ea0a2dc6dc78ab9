//! History that is filled in behind the newest.

use super::*;

fn fill(live: &mut Live, tick: &PriceTick, offset: i64) -> usize {
    live.fill_tick(&Told::of(tick, tick.event_time, Position { partition: 0, offset })).len()
}

#[test]
fn a_row_is_told_where_history_has_its_latest_and_once_at_the_end() {
    let mut live = Live::new(24 * HOUR, 10, NOW);
    live.watches_candles = true;
    live.set_whole_from(NOW - 5 * MINUTE_US, true);
    put(&mut live, &tick("BTC-USD", "3", "100", NOW), 100);
    let before = row(&mut live, "BTC-USD");
    live.take_changed_candles();
    assert_eq!(fill(&mut live, &tick("BTC-USD", "2", "150", NOW - 2 * HOUR), 50), 0);
    assert_eq!(fill(&mut live, &tick("BTC-USD", "1", "50", NOW - 3 * HOUR), 49), 0);
    assert_eq!(row(&mut live, "BTC-USD"), before, "it says from when its figures are");
    assert_eq!(fill(&mut live, &tick("USD-BRL", "2", "5.10", NOW - 4 * HOUR), 48), 1);
    assert_eq!(fill(&mut live, &tick("USD-BRL", "1", "5.00", NOW - 5 * HOUR), 47), 0);
    assert!(live.take_changed_candles().is_empty(), "none of these is whole");
    live.set_whole_from(NOW - 24 * HOUR, false);
    assert_eq!(live.touch_all().len(), 2);
    let (bitcoin, real) = (row(&mut live, "BTC-USD"), row(&mut live, "USD-BRL"));
    assert_eq!((&bitcoin["price"], &bitcoin["high"], &bitcoin["low"]), (&"100".into(), &"150".into(), &"50".into()));
    assert_eq!((&real["price"], &real["low"], &real["offset"]), (&"5.1".into(), &"5".into(), &48.into()));
    assert!(bitcoin["stats_from_us"].as_i64() < before["stats_from_us"].as_i64());
    let ticks = |live: &mut Live, symbol| live.row(symbol, "test").map(|(_, ticks)| ticks);
    assert_eq!((ticks(&mut live, "BTC-USD"), ticks(&mut live, "USD-BRL")), (Some(2), Some(2)), "each telling counts");
}

#[test]
fn what_is_lost_does_not_come_back_by_filling_in() {
    let mut live = live();
    put(&mut live, &tick("BTC-USD", "1", "100", NOW - HOUR), 1);
    let covers = |live: &Live| live.covers_from_us("BTC-USD", "test", Timeframe::Minute);
    assert!(covers(&live) < NOW - HOUR);
    live.lose_before(NOW);
    assert!(covers(&live) > NOW);
    live.set_whole_from(NOW - 24 * HOUR, false);
    assert!(covers(&live) > NOW);
}
