//! The models that compete. Each is fitted on logarithms of prices, so that a forecast turned back is a positive price
//! and "one per cent" means the same at any price. Invariant: a prediction is finite, and says how the logarithm will
//! have changed since its last value, so that a constant series gives exactly zero.

use std::fmt;

use augurs::Predict;
use augurs::ets::model::{ErrorComponent, ModelType, SeasonalComponent, TrendComponent, Unfit};
use augurs::mstl::stlrs::MstlParams;

use super::HORIZON;

const DAY: usize = 24;
const WEEK: usize = 168;
/// Nelder-Mead steps a fit: forty come within one per cent of the backtest error that two thousand reach.
const MAX_STEPS: usize = 40;
/// What a smoothing is fitted on: the last week says as much as the last four, and hears of a new volatility sooner.
const SMOOTHED_HOURS: usize = WEEK;
/// The level at which an interval reaches one standard deviation to each side.
const ONE_DEVIATION: f64 = 0.682_689_492_137_085_9;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// The last close.
    Naive,
    /// The last close, moved on by the mean change an hour.
    Drift,
    /// Exponential smoothing: a level, or a level and a damped trend.
    Ets,
    /// A day's shape by MSTL, the rest by [`Model::Ets`].
    MstlDay,
    /// A day's and a week's shape by MSTL, the rest by [`Model::Ets`].
    MstlDayWeek,
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// For each hour ahead, how the logarithm will have changed, and the standard deviation of that.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prediction {
    pub(super) change: Vec<f64>,
    pub(super) deviation: Vec<f64>,
}

impl Model {
    pub(super) const ALL: [Self; 5] = [Self::Naive, Self::Drift, Self::Ets, Self::MstlDay, Self::MstlDayWeek];

    /// As it stands in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Drift => "drift",
            Self::Ets => "ets",
            Self::MstlDay => "mstl24+ets",
            Self::MstlDayWeek => "mstl24,168+ets",
        }
    }

    /// Fits on `logs` (hourly, oldest first, at least 48) and predicts the hours after them. `None` where the model has
    /// nothing to fit: too short a series for its seasons, one that never changes, a fit that fails.
    pub(super) fn predict(self, logs: &[f64]) -> Option<Prediction> {
        let last = *logs.last()?;
        let changes: Vec<f64> = logs.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let hours = changes.len() as f64;
        let spread = (changes.iter().map(|change| change * change).sum::<f64>() / hours).sqrt();
        let steps = (1..=HORIZON).map(|h| h as f64);
        let prediction = match self {
            Self::Naive => {
                Prediction { change: vec![0.0; HORIZON], deviation: steps.map(|h| spread * h.sqrt()).collect() }
            }
            Self::Drift => {
                let slope = (last - logs[0]) / hours;
                let around = changes.iter().map(|change| (change - slope).powi(2)).sum::<f64>();
                let spread = (around / (hours - 1.0)).sqrt();
                Prediction {
                    change: steps.clone().map(|h| h * slope).collect(),
                    deviation: steps.map(|h| spread * (h * (1.0 + h / hours)).sqrt()).collect(),
                }
            }
            Self::Ets => scaled(logs, last, spread, ets)?,
            Self::MstlDay => scaled(logs, last, spread, |y| mstl(y, &[DAY]))?,
            Self::MstlDayWeek => scaled(logs, last, spread, |y| mstl(y, &[DAY, WEEK]))?,
        };
        prediction.is_sound().then_some(prediction)
    }
}

impl Prediction {
    fn is_sound(&self) -> bool {
        self.change.len() == HORIZON
            && self.deviation.len() == HORIZON
            && self.change.iter().all(|change| change.is_finite())
            && self.deviation.iter().all(|deviation| deviation.is_finite() && *deviation >= 0.0)
    }
}

/// Fits in units of the usual hourly change, counted from the last value: the optimiser's absolute steps and tolerances
/// then mean the same for a peg that moves by 1e-5 as for a coin that moves by a tenth.
fn scaled(logs: &[f64], last: f64, spread: f64, fit: impl FnOnce(&[f64]) -> Option<Prediction>) -> Option<Prediction> {
    if spread == 0.0 {
        return None;
    }
    let y: Vec<f64> = logs.iter().map(|log| (log - last) / spread).collect();
    let mut prediction = fit(&y)?;
    for value in prediction.change.iter_mut().chain(&mut prediction.deviation) {
        *value *= spread;
    }
    Some(prediction)
}

/// ETS(A,N,N) or ETS(A,Ad,N), whichever has the lower AICc. Additive errors only: their intervals have a formula,
/// whereas augurs simulates the others with numbers from the thread's random source.
fn ets(y: &[f64]) -> Option<Prediction> {
    let y = &y[y.len().saturating_sub(SMOOTHED_HOURS)..];
    let kinds = [(TrendComponent::None, false), (TrendComponent::Additive, true)];
    let fits = kinds.into_iter().filter_map(|(trend, damped)| {
        let kind = ModelType { error: ErrorComponent::Additive, trend, season: SeasonalComponent::None };
        Unfit::new(kind).damped(damped).nmse(1).max_iterations(MAX_STEPS).fit(y).ok()
    });
    let best = fits.filter(|fit| fit.aicc().is_finite()).min_by(|a, b| a.aicc().total_cmp(&b.aicc()))?;
    let forecast = best.predict(HORIZON, ONE_DEVIATION).ok()?;
    let upper = forecast.intervals?.upper;
    let deviation = upper.iter().zip(&forecast.point).map(|(upper, point)| upper - point).collect();
    Some(Prediction { change: forecast.point, deviation })
}

/// The seasons by stlrs itself and in f64: augurs' `MSTLModel` passes the series through f32, and takes its trend
/// model's search without bounds.
fn mstl(y: &[f64], periods: &[usize]) -> Option<Prediction> {
    let parts = MstlParams::new().fit(y, periods).ok()?;
    let mut rest = y.to_vec();
    for season in parts.seasonal() {
        for (value, part) in rest.iter_mut().zip(season) {
            *value -= part;
        }
    }
    let mut prediction = ets(&rest)?;
    for (season, &period) in parts.seasonal().iter().zip(periods) {
        let last_cycle = &season[season.len() - period..];
        for (value, part) in prediction.change.iter_mut().zip(last_cycle.iter().cycle()) {
            *value += part;
        }
    }
    Some(prediction)
}

#[cfg(test)]
mod tests {
    use super::super::simulated::wave;
    use super::*;

    fn close_to(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-12, "{actual} is not {expected}");
    }

    #[test]
    fn naive_by_hand() {
        // Changes 1 and 2: √((1 + 4) / 2) an hour, times √h.
        let prediction = Model::Naive.predict(&[0.0, 1.0, 3.0]).expect("naive always predicts");
        assert_eq!(prediction.change, [0.0; HORIZON]);
        close_to(prediction.deviation[0], 2.5_f64.sqrt());
        close_to(prediction.deviation[3], 10.0_f64.sqrt());
    }

    #[test]
    fn drift_by_hand() {
        // Changes 1 and 2: 1.5 an hour, and √((0.25 + 0.25) / 1) around it, times √(h (1 + h / 2)).
        let prediction = Model::Drift.predict(&[0.0, 1.0, 3.0]).expect("three values");
        close_to(prediction.change[0], 1.5);
        close_to(prediction.change[23], 36.0);
        close_to(prediction.deviation[0], 0.75_f64.sqrt());
        close_to(prediction.deviation[1], 2.0_f64.sqrt());
    }

    #[test]
    fn only_naive_and_drift_have_something_to_say_of_a_constant() {
        let able = Model::ALL.into_iter().filter(|model| model.predict(&[4.6; 400]).is_some());
        assert_eq!(able.collect::<Vec<_>>(), [Model::Naive, Model::Drift]);
    }

    #[test]
    fn a_season_needs_to_have_been_seen_twice() {
        let logs: Vec<f64> = wave(1, 336, 24.0).closes.iter().map(|close| close.close.ln()).collect();
        assert!(Model::MstlDay.predict(&logs[..48]).is_some() && Model::MstlDay.predict(&logs[..47]).is_none());
        assert!(Model::MstlDayWeek.predict(&logs).is_some() && Model::MstlDayWeek.predict(&logs[..335]).is_none());
    }

    #[test]
    fn a_wave_goes_on_where_it_stopped() {
        let logs: Vec<f64> = wave(2, 360, 24.0).closes.iter().map(|close| close.close.ln()).collect();
        let prediction = Model::MstlDay.predict(&logs[..336]).expect("two weeks");
        for (h, change) in prediction.change.iter().enumerate() {
            let miss = (logs[336 + h] - logs[335] - change).abs();
            assert!(miss < 0.01, "{miss} at hour {h}: the noise is 0.002, the wave 0.02 to each side");
        }
    }
}
