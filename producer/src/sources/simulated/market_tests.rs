use std::collections::HashMap;

use pipeline::events::PriceTick;

use super::*;
use crate::parse::payload::Payload;
use crate::sources::Source;
use crate::sources::simulated::{SYMBOLS, Simulated};

const NOW: i64 = 1_772_600_767_000_000;

fn symbols() -> Vec<String> {
    SYMBOLS.map(str::to_owned).to_vec()
}

/// The next `count` trades, in frames of `size`.
fn trades(market: &mut Market, count: u32, size: u32) -> Vec<PriceTick> {
    let mut ticks = Vec::new();
    for _ in 0..count / size {
        let frame = market.frame(size, NOW, NOW + 1_000);
        let mut parsed = Simulated.parse(&Payload::new("simulated", frame.as_bytes(), NOW + 2_000, ""));
        assert_eq!(parsed.problems, []);
        ticks.append(&mut parsed.ticks);
    }
    assert_eq!(ticks.len(), count as usize);
    ticks
}

fn told(ticks: &[PriceTick]) -> Vec<String> {
    ticks.iter().map(|tick| format!("{} {} {:?}", tick.symbol, tick.price, tick.quantity)).collect()
}

fn number(decimal: pipeline::decimal::Decimal38) -> f64 {
    decimal.unscaled() as f64 / 1e18
}

/// The last price of each symbol in each stretch of the same many trades.
fn sampled(ticks: &[PriceTick], stretch: usize) -> HashMap<&str, Vec<f64>> {
    let mut latest: HashMap<&str, f64> = HashMap::new();
    let mut samples: HashMap<&str, Vec<f64>> = HashMap::new();
    for stretch in ticks.chunks(stretch) {
        latest.extend(stretch.iter().map(|tick| (tick.symbol.as_str(), number(tick.price))));
        for (symbol, price) in &latest {
            samples.entry(symbol).or_default().push(*price);
        }
    }
    samples
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let moves = |prices: &[f64]| prices.windows(2).map(|pair| pair[1] / pair[0] - 1.0).collect::<Vec<f64>>();
    let (a, b) = (moves(a), moves(b));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(&a), mean(&b));
    let product = |x: &[f64], mean_x: f64, y: &[f64], mean_y: f64| {
        x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>()
    };
    product(&a, mean_a, &b, mean_b) / (product(&a, mean_a, &a, mean_a) * product(&b, mean_b, &b, mean_b)).sqrt()
}

#[test]
fn a_seed_gives_the_same_trades_however_they_are_framed_and_another_run_gives_other_ids() {
    let first = trades(&mut Market::new(7, &symbols(), 1), 1_000, 100);
    let again = trades(&mut Market::new(7, &symbols(), 2), 1_000, 5);
    let other = trades(&mut Market::new(8, &symbols(), 1), 1_000, 100);
    assert_eq!(told(&first), told(&again));
    assert_ne!(told(&first), told(&other));
    let ids: std::collections::HashSet<_> =
        first.iter().chain(&again).chain(&other).map(|tick| tick.event_id).collect();
    assert_eq!(ids.len(), 3_000);
}

#[test]
fn the_walk_never_changes() {
    // Written down once: a change of these is a change of what every seed means.
    let ticks = trades(&mut Market::new(1, &symbols(), 1), 4, 4);
    let expected = [
        "USD-BRL 5.4493 Some(3721.63)",
        "ETH-BRL 18642.4 Some(0.503119)",
        "ETH-BRL 18643.14 Some(0.05701)",
        "BTC-USD 67189.18 Some(0.002019)",
    ];
    assert_eq!(told(&ticks), expected);
}

#[test]
fn trades_are_numbered_and_timed_in_order() {
    let ticks = trades(&mut Market::new(1, &symbols(), 1), 2_000, 500);
    let mut numbers: HashMap<&str, i64> = HashMap::new();
    for tick in &ticks {
        let number = numbers.entry(&tick.symbol).or_default();
        *number += 1;
        assert_eq!(tick.trade_id, Some(number.to_string()));
    }
    assert!(ticks[..500].is_sorted_by_key(|tick| tick.event_time));
    assert_eq!((ticks[0].event_time, ticks[499].event_time), (NOW + 2, NOW + 1_000));
}

#[test]
fn coins_move_together_and_the_dollar_against_them() {
    let ticks = trades(&mut Market::new(3, &symbols(), 1), 400_000, 500);
    let samples = sampled(&ticks, 500);
    let coins = correlation(&samples["BTC-USD"], &samples["ETH-USD"]);
    assert!((0.3..0.95).contains(&coins), "{coins}");
    let dollar = correlation(&samples["BTC-USD"], &samples["USD-BRL"]);
    assert!((-0.9..-0.05).contains(&dollar), "{dollar}");
    for ((bitcoin, real), crossed) in
        samples["BTC-USD"].iter().zip(&samples["USD-BRL"]).zip(&samples["BTC-BRL"]).skip(1)
    {
        assert!((bitcoin * real / crossed - 1.0).abs() < 0.01, "{bitcoin} x {real} is not {crossed}");
    }
}

#[test]
fn prices_move_have_fat_tails_and_come_with_volume() {
    let ticks = trades(&mut Market::new(5, &symbols(), 1), 400_000, 500);
    let bitcoin: Vec<&PriceTick> = ticks.iter().filter(|tick| tick.symbol == "BTC-USD").collect();
    let mut moves: Vec<(f64, f64)> = bitcoin
        .windows(2)
        .map(|pair| {
            let moved = number(pair[1].price) / number(pair[0].price) - 1.0;
            (moved.abs(), pair[1].quantity.map_or(0.0, number))
        })
        .collect();
    moves.sort_by(|a, b| a.0.total_cmp(&b.0));
    let deviation = (moves.iter().map(|(moved, _)| moved * moved).sum::<f64>() / moves.len() as f64).sqrt();
    let (middle, largest) = (moves[moves.len() / 2].0, moves[moves.len() - 1].0);
    assert!(middle > 0.0 && largest < 0.05, "{middle} {largest}");
    assert!(largest > 8.0 * deviation, "{largest} is not far out of {deviation}");
    let volume = |moves: &[(f64, f64)]| moves.iter().map(|(_, quantity)| quantity).sum::<f64>() / moves.len() as f64;
    let tenth = moves.len() / 10;
    let (calm, wild) = (volume(&moves[..tenth]), volume(&moves[9 * tenth..]));
    assert!(wild > 1.5 * calm, "{wild} in the largest moves, {calm} in the smallest");
}

#[test]
fn prices_keep_their_grid_and_any_symbol_has_one() {
    let symbols: Vec<String> = ["USD-BRL", "BTC-USD", "NEW-USD", "BRL-BTC", "USDT-USD"].map(str::to_owned).to_vec();
    let ticks = trades(&mut Market::new(1, &symbols, 1), 20_000, 500);
    for (symbol, digits, near) in
        [("USD-BRL", 4, 5.4493), ("BTC-USD", 2, 67_187.34), ("NEW-USD", 2, 100.0), ("BRL-BTC", 10, 2.731e-6)]
    {
        let of_symbol: Vec<&PriceTick> = ticks.iter().filter(|tick| tick.symbol == symbol).collect();
        assert!(of_symbol.iter().all(|tick| tick.price.unscaled() % 10_i128.pow(18 - digits) == 0), "{symbol}");
        assert!(of_symbol.iter().all(|tick| (number(tick.price) / near - 1.0).abs() < 0.2), "{symbol}");
    }
}

#[test]
fn a_jump_is_as_large_as_asked_and_takes_the_crosses_with_it() {
    let last = |ticks: &[PriceTick], symbol: &str| {
        number(ticks.iter().rfind(|tick| tick.symbol == symbol).expect("it is traded").price)
    };
    for (symbol, basis_points, moves) in [
        ("BTC-USD", -800, [("BTC-USD", 0.92), ("BTC-BRL", 0.92), ("ETH-USD", 1.0), ("USD-BRL", 1.0)]),
        ("USD-BRL", 1_000, [("USD-BRL", 1.1), ("BTC-BRL", 1.1), ("ETH-BRL", 1.1), ("BTC-USD", 1.0)]),
        ("BTC-USD", 90_000, [("BTC-USD", 10.0), ("BTC-BRL", 10.0), ("ETH-USD", 1.0), ("USD-BRL", 1.0)]),
    ] {
        let mut market = Market::new(1, &symbols(), 1);
        let before = trades(&mut market, 500, 500);
        market.jump(symbol, basis_points);
        let after = trades(&mut market, 500, 500);
        for (symbol, times) in moves {
            let moved = last(&after, symbol) / last(&before, symbol);
            assert!((moved / times - 1.0).abs() < 0.01, "{symbol} {basis_points}: {moved}, expected {times}");
        }
    }
}
