use proptest::prelude::*;

use super::simulated::*;
use super::*;

/// All of it: a history of four weeks, and the day after.
const HOURS: usize = HISTORY_HOURS + HORIZON;

fn at_four_weeks(series: &Series) -> Forecast {
    forecast(series, origin_after(HISTORY_HOURS)).expect("four weeks of closes")
}

/// What must hold of any forecast, whatever it was made from.
fn assert_sound(forecast: &Forecast) {
    let told = format!("{forecast:?}");
    assert_eq!(forecast.hours.len(), HORIZON, "{told}");
    for hour in &forecast.hours {
        let rising = [1e-18, hour.lo95, hour.lo80, hour.forecast, hour.hi80, hour.hi95, 1e20];
        assert!(rising.windows(2).all(|pair| pair[0] <= pair[1]), "{told}");
    }
    let errors = [forecast.mase, forecast.mase_naive, forecast.mase_drift];
    assert!(errors.iter().all(|error| error.is_finite() && *error >= 0.0), "{told}");
    let coverages = [forecast.coverage80, forecast.coverage95];
    assert!(coverages.iter().all(|share| (0.0..=1.0).contains(share)), "{told}");
    assert!(forecast.coverage80 <= forecast.coverage95, "{told}");
    assert_eq!(forecast.beats_naive, forecast.model != Model::Naive, "{told}");
    assert!(!forecast.beats_naive || forecast.mase < forecast.mase_naive, "{told}");
    assert!((1..=BACKTEST_ORIGINS).contains(&forecast.backtest_origins), "{told}");
}

/// Share of the hours after the origin whose close lay in the 80 and the 95 % interval.
fn hit(series: &Series, forecast: &Forecast) -> (f64, f64) {
    let actual = |hour: &ForecastHour| {
        series.closes.iter().find(|close| close.bucket_us == hour.target_us).expect("simulated past the origin").close
    };
    let share = |hits: &dyn Fn(&ForecastHour, f64) -> bool| {
        forecast.hours.iter().filter(|hour| hits(hour, actual(hour))).count() as f64 / HORIZON as f64
    };
    (
        share(&|hour, actual| (hour.lo80..=hour.hi80).contains(&actual)),
        share(&|hour, actual| (hour.lo95..=hour.hi95).contains(&actual)),
    )
}

/// Simulates `count` series and gives the mean coverage of the day after the origin at 80 and 95 %, then the mean
/// coverage that the backtests said, and how many claim to beat naive.
fn over_many(count: u64, simulate: fn(u64, usize) -> Series) -> ([f64; 4], usize) {
    let mut sums = [0.0; 4];
    let mut claims = 0;
    for seed in 0..count {
        let series = simulate(seed, HOURS);
        let forecast = at_four_weeks(&series);
        assert_sound(&forecast);
        let (in80, in95) = hit(&series, &forecast);
        for (sum, share) in sums.iter_mut().zip([in80, in95, forecast.coverage80, forecast.coverage95]) {
            *sum += share / count as f64;
        }
        claims += usize::from(forecast.beats_naive);
    }
    (sums, claims)
}

#[test]
fn on_random_walks_intervals_cover_what_they_say_and_nothing_claims_to_beat_naive() {
    let ([in80, in95, told80, told95], claims) = over_many(60, walk);
    assert!((0.73..=0.87).contains(&in80) && (0.90..=0.99).contains(&in95), "{in80} {in95}");
    assert!((0.75..=0.85).contains(&told80) && (0.92..=0.98).contains(&told95), "{told80} {told95}");
    assert!(claims <= 4, "{claims} of 60");
}

#[test]
fn on_walks_that_are_calm_and_wild_by_turns_intervals_cover_what_they_say() {
    let ([in80, in95, told80, told95], claims) = over_many(60, clustered_walk);
    assert!((0.72..=0.88).contains(&in80) && (0.88..=0.99).contains(&in95), "{in80} {in95}");
    assert!((0.74..=0.86).contains(&told80) && (0.90..=0.98).contains(&told95), "{told80} {told95}");
    assert!(claims <= 4, "{claims} of 60");
}

#[test]
fn a_daily_wave_is_seen_and_beats_naive() {
    let ([in80, in95, ..], claims) = over_many(10, |seed, hours| wave(seed, hours, 24.0));
    assert_eq!(claims, 10);
    assert!((0.68..=0.92).contains(&in80) && (0.85..=1.0).contains(&in95), "{in80} {in95}");

    let forecast = at_four_weeks(&wave(1, HOURS, 24.0));
    assert_eq!(forecast.model, Model::MstlDay);
    assert!(forecast.mase < forecast.mase_naive / 4.0, "{} {}", forecast.mase, forecast.mase_naive);
}

#[test]
fn a_weekly_wave_needs_the_weekly_season() {
    // Four times a week: no day is like the one before.
    let forecast = at_four_weeks(&wave(1, HOURS, 42.0));
    assert_eq!((forecast.model, forecast.beats_naive), (Model::MstlDayWeek, true));
}

#[test]
fn steady_growth_is_drift() {
    let series = series_of((0..HOURS).map(|hour| 100.0 * (0.001 * hour as f64).exp()));
    let forecast = at_four_weeks(&series);
    assert!(forecast.beats_naive);
    assert!(forecast.mase_drift < 1e-9, "{}", forecast.mase_drift);
    for (hour, close) in forecast.hours.iter().zip(&series.closes[HISTORY_HOURS..]) {
        assert!((hour.forecast / close.close - 1.0).abs() < 1e-9, "{hour:?} {close:?}");
    }
}

#[test]
fn a_step_a_day_is_counted_by_hand() {
    // The price rises by 24 at the first hour of each day and stands still for the rest of it. Naive misses each of the
    // 24 hours by 24, and an hour changes by 1 in the mean, but for the first of the 671 changes' days, which has none.
    let series = series_of((0..HOURS).map(|hour| 10_000.0 + 24.0 * (hour / 24) as f64));
    let forecast = at_four_weeks(&series);
    let mean_change = 27.0 * 24.0 / 671.0;
    assert!((forecast.mase_naive - 24.0 / mean_change).abs() < 1e-9, "{}", forecast.mase_naive);
    assert_eq!((forecast.backtest_origins, forecast.history_hours, forecast.filled_hours), (10, 672, 0));
}

#[test]
fn a_peg_is_forecast_flat_and_exactly() {
    for price in [1.0, 0.9998, 1e-12, 1e12] {
        let forecast = at_four_weeks(&series_of([price; HOURS]));
        assert_sound(&forecast);
        assert_eq!((forecast.model, forecast.beats_naive, forecast.mase), (Model::Naive, false, 0.0));
        assert_eq!((forecast.coverage80, forecast.coverage95), (1.0, 1.0));
        for hour in &forecast.hours {
            assert_eq!([hour.lo95, hour.lo80, hour.forecast, hour.hi80, hour.hi95], [price; 5]);
        }
    }
}

#[test]
fn nothing_that_comes_after_the_origin_changes_a_bit() {
    for (simulated, first) in [(walk(3, HOURS + 200), 5), (wave(3, HOURS + 200, 24.0), 150)] {
        // In the middle of an hour, so that the running hour is there to be looked at.
        for origin_us in [origin_after(first + HISTORY_HOURS), origin_after(first + 500) + HOUR_US / 2] {
            let before = forecast(&simulated, origin_us).expect("weeks of closes");
            let is_later = |close: &Close| close.bucket_us + HOUR_US > origin_us;
            let changes: [&dyn Fn(&mut Close); 5] = [
                &|close| close.close *= 1000.0,
                &|close| close.close = f64::NAN,
                &|close| close.close = 1.0 / close.close,
                &|close| close.complete = false,
                &|close| close.bucket_us += 7 * HOUR_US,
            ];
            for change in changes {
                let mut moved = simulated.clone();
                moved.closes.iter_mut().filter(|close| is_later(close)).for_each(change);
                assert_eq!(
                    rows(&[forecast(&moved, origin_us).expect("same past")]),
                    rows(std::slice::from_ref(&before))
                );
            }
            let mut cut = simulated.clone();
            cut.closes.retain(|close| !is_later(close));
            assert_eq!(rows(&[forecast(&cut, origin_us).expect("same past")]), rows(&[before]));

            let mut last = simulated.clone();
            let newest = last.closes.iter_mut().rfind(|close| !is_later(close)).expect("a past");
            newest.close *= 1.01;
            assert_ne!(
                forecast(&last, origin_us),
                forecast(&simulated, origin_us),
                "the last known close is looked at"
            );
        }
    }
}

#[test]
fn the_first_target_is_the_hour_that_runs_at_the_origin() {
    let series = walk(1, HOURS);
    for (origin_us, target_us) in [
        (origin_after(300), origin_after(300)),
        (origin_after(300) + 1, origin_after(300)),
        (origin_after(301) - 1, origin_after(300)),
    ] {
        let forecast = forecast(&series, origin_us).expect("300 hours");
        assert_eq!((forecast.origin_us, forecast.hours[0].target_us), (origin_us, target_us));
        assert_eq!(forecast.hours[23].target_us, target_us + 23 * HOUR_US);
        assert_eq!(forecast.history_hours, 300);
    }
}

#[test]
fn the_same_closes_give_the_same_bits_in_any_order() {
    let series = wave(5, HOURS, 24.0);
    let mut backwards = series.clone();
    backwards.closes.reverse();
    assert_eq!(rows(&[at_four_weeks(&series)]), rows(&[at_four_weeks(&series)]));
    assert_eq!(rows(&[at_four_weeks(&series)]), rows(&[at_four_weeks(&backwards)]));
}

#[test]
fn the_unit_of_the_price_does_not_matter() {
    for simulated in [walk(4, HOURS), wave(4, HOURS, 24.0)] {
        let plain = at_four_weeks(&simulated);
        for unit in [1e-14, 1e10] {
            let mut other = simulated.clone();
            other.closes.iter_mut().for_each(|close| close.close *= unit);
            let other = at_four_weeks(&other);
            assert_sound(&other);
            assert_eq!(other.model, plain.model);
            for (a, b) in other.hours.iter().zip(&plain.hours) {
                assert!((a.forecast / unit / b.forecast - 1.0).abs() < 1e-4, "{unit}: {a:?} {b:?}");
                assert!((a.hi95 / unit / b.hi95 - 1.0).abs() < 1e-3, "{unit}: {a:?} {b:?}");
            }
        }
    }
}

#[test]
fn hours_without_a_close_are_filled_and_counted() {
    let mut series = walk(6, HOURS);
    series.closes.retain(|close| (close.bucket_us / HOUR_US) % 5 != 0);
    let forecast = at_four_weeks(&series);
    assert_sound(&forecast);
    let missing =
        HISTORY_HOURS - series.closes.iter().filter(|close| close.bucket_us < origin_after(HISTORY_HOURS)).count();
    assert_eq!((forecast.history_hours, forecast.filled_hours), (HISTORY_HOURS, missing));
}

#[test]
fn a_close_that_a_gap_touches_is_used_but_does_not_judge() {
    let plain = walk(7, HOURS);
    let mut touched = plain.clone();
    let last_morning = &mut touched.closes[HISTORY_HOURS - 24..HISTORY_HOURS - 12];
    for close in last_morning {
        close.complete = false;
        close.close *= 3.0;
    }
    let (plain, touched) = (at_four_weeks(&plain), at_four_weeks(&touched));
    assert_eq!((touched.model, touched.hours[0].forecast), (plain.model, plain.hours[0].forecast));
    assert!(touched.mase < plain.mase, "the last origin is not charged with what happened in a gap");
    assert!(touched.hours[0].hi95 > plain.hours[0].hi95 * 1.01, "the models have seen it");
    assert_eq!((touched.backtest_origins, touched.filled_hours), (BACKTEST_ORIGINS, 0));
}

#[test]
fn a_symbol_that_cannot_be_judged_is_left_out_with_the_reason() {
    let without = |keep: fn(i64) -> bool| {
        let mut series = walk(8, HOURS);
        let start_us = series.closes[0].bucket_us;
        series.closes.retain(|close| keep((close.bucket_us - start_us) / HOUR_US));
        try_forecast(&series, origin_after(HISTORY_HOURS)).map(|forecast| forecast.backtest_origins)
    };
    assert_eq!(without(|_| true), Ok(10));
    assert_eq!(without(|_| false), Err(LeftOut::TooShort { history_hours: 0 }));
    assert_eq!(without(|hour| hour >= 672 - 71), Err(LeftOut::TooShort { history_hours: 71 }));
    assert_eq!(without(|hour| hour >= 672 - 72), Ok(1));
    assert_eq!(without(|hour| hour < 672 - 73), Err(LeftOut::Quiet { hours: 73 }));
    assert_eq!(without(|hour| hour < 672 - 72), Ok(7));
    assert_eq!(without(|hour| hour % 2 == 0), Err(LeftOut::TooFilled { filled_hours: 336, history_hours: 672 }));
    assert_eq!(without(|hour| hour < 672 - 240 || hour % 24 >= 13), Err(LeftOut::Unjudged));
}

#[test]
fn hostile_series_give_a_sound_forecast_or_none() {
    let jump = |at: usize, by: f64| series_of((0..HOURS).map(move |hour| if hour < at { 2.0 } else { 2.0 * by }));
    let by_turns = |a: f64, b: f64| series_of((0..HOURS).map(move |hour| if hour % 2 == 0 { a } else { b }));
    let mut short = walk(1, HOURS);
    short.closes.drain(..HISTORY_HOURS - MIN_HISTORY_HOURS);
    let mut twice = walk(2, HOURS);
    twice.closes.extend_from_within(..);
    let mut aslant = walk(2, HOURS);
    aslant.closes.iter_mut().for_each(|close| close.bucket_us += 1_234_567);
    let mut far = walk(2, HOURS);
    far.closes.extend([i64::MIN, -1, i64::MAX].map(|bucket_us| Close { bucket_us, close: 1.0, complete: true }));
    let mut dirty = walk(9, HOURS);
    for (hour, close) in dirty.closes.iter_mut().enumerate().filter(|(hour, _)| hour % 4 == 1) {
        close.close = [f64::NAN, f64::INFINITY, 0.0, -5.0, 1e300, f64::MIN_POSITIVE][hour / 4 % 6];
    }
    let table = [
        ("up a millionfold long ago", jump(100, 1e6)),
        ("up a millionfold in the backtest", jump(HISTORY_HOURS - 30, 1e6)),
        ("up a millionfold in the last hour", jump(HISTORY_HOURS - 1, 1e6)),
        ("down a millionfold in the last hour", jump(HISTORY_HOURS - 1, 1e-6)),
        ("as far as prices go, by turns", by_turns(1e-18, 1e20)),
        ("the last bit, by turns", by_turns(1.0, 1.0 + f64::EPSILON)),
        ("growth to the edge", series_of((0..HOURS).map(|hour| 1e-17 * 1.13_f64.powi(hour as i32)))),
        ("as short as can be", short),
        ("each hour twice", twice),
        ("hours that begin late", aslant),
        ("hours at the ends of time", far),
        ("a quarter is no price", dirty),
    ];
    for (name, series) in table {
        let forecast =
            try_forecast(&series, origin_after(HISTORY_HOURS)).unwrap_or_else(|reason| panic!("{name}: {reason}"));
        assert_sound(&forecast);
    }
    for origin_us in [i64::MIN, -1, 0, i64::MAX] {
        assert_eq!(forecast(&walk(1, HOURS), origin_us), None);
    }
}

fn any_price() -> impl Strategy<Value = f64> {
    prop_oneof![8 => 50.0..150.0, 1 => 1e-18..1e-10, 1 => 1e10..1e20, 1 => any::<f64>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_closes_give_a_sound_forecast_or_none_and_the_future_changes_nothing(
        closes in prop::collection::vec((any_price(), prop::bool::weighted(0.9), prop::bool::weighted(0.9)), 72..400),
        cut in 0.5..1.0,
        later in any_price(),
    ) {
        let mut series = series_of(closes.iter().map(|(price, ..)| *price));
        for (close, (_, complete, _)) in series.closes.iter_mut().zip(&closes) {
            close.complete = *complete;
        }
        let mut there = closes.iter().map(|(.., there)| *there);
        series.closes.retain(|_| there.next().unwrap_or(false));
        let origin_us = origin_after((closes.len() as f64 * cut) as usize);
        let before = forecast(&series, origin_us);
        if let Some(forecast) = &before {
            assert_sound(forecast);
        }
        for close in series.closes.iter_mut().filter(|close| close.bucket_us + HOUR_US > origin_us) {
            close.close = later;
        }
        prop_assert_eq!(forecast(&series, origin_us), before);
    }
}
