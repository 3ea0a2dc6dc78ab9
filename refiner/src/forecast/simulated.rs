//! Seeded series for the tests.

use super::{Close, HOUR_US, Series};

/// 2026-01-01T00:00:00Z.
const START_US: i64 = 1_767_225_600_000_000;

/// The end of the first `hours` hours of a simulated series.
pub(super) fn origin_after(hours: usize) -> i64 {
    START_US + hours as i64 * HOUR_US
}

pub(super) fn series_of(prices: impl IntoIterator<Item = f64>) -> Series {
    let closes =
        (0..).zip(prices).map(|(hour, close)| Close { bucket_us: START_US + hour * HOUR_US, close, complete: true });
    Series { symbol: "TEST-USD".to_owned(), closes: closes.collect() }
}

/// Standard normal numbers by Box and Muller's transformation.
fn normals(seed: u64) -> impl Iterator<Item = f64> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(move || {
        let (radius, angle) = (1.0 - random.f64(), random.f64() * std::f64::consts::TAU);
        (-2.0 * radius.ln()).sqrt() * angle.cos()
    })
}

fn walk_of(steps: impl Iterator<Item = f64>, hours: usize) -> Series {
    let logs = steps.scan(100.0_f64.ln(), |log, step| {
        *log += 0.005 * step;
        Some(*log)
    });
    series_of(logs.take(hours).map(f64::exp))
}

/// A geometric random walk from 100, half a per cent an hour.
pub(super) fn walk(seed: u64, hours: usize) -> Series {
    walk_of(normals(seed), hours)
}

/// As [`walk`], calm and wild by turns: GARCH(1,1), which is how hourly prices move.
pub(super) fn clustered_walk(seed: u64, hours: usize) -> Series {
    let mut variance = 1.0_f64;
    let steps = normals(seed).map(move |noise| {
        let step = variance.sqrt() * noise;
        variance = 0.02 + 0.08 * step * step + 0.90 * variance;
        step
    });
    walk_of(steps, hours)
}

/// A wave of two per cent to each side, a tenth of that in noise.
pub(super) fn wave(seed: u64, hours: usize, period: f64) -> Series {
    let at = |hour: usize| 0.02 * (hour as f64 / period * std::f64::consts::TAU).sin();
    series_of(normals(seed).take(hours).enumerate().map(|(hour, noise)| 100.0 * (at(hour) + 0.002 * noise).exp()))
}
