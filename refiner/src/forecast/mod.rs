//! The next 24 hourly closes of a symbol, with 80 and 95 % intervals and the backtest that chose the model. A function
//! of one symbol's hourly closes and an origin: the same closes give the same bits. Invariant: everything is computed
//! from a `History`, and a history holds no hour that ends after the origin, and of the others what was known at the last
//! making. Must never happen here: a look at a clock, a random number, a value of an hour that ends after the origin, a
//! number that is not finite.

mod backtest;
mod history;
mod models;
mod rows;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;

use std::fmt;

use backtest::{Trial, trials};
use history::History;
pub use models::Model;
pub use rows::{rows, schema, series_from};

pub const HOUR_US: i64 = 3_600_000_000;
/// Hours that are forecast.
pub const HORIZON: usize = 24;
/// Hours that are looked back on: four whole weeks.
pub const HISTORY_HOURS: usize = 672;
/// Less history than this gives no forecast: 48 hours to fit on and a day to judge by.
pub const MIN_HISTORY_HOURS: usize = 72;
/// A symbol whose last close is older than this is not forecast; a weekend without trading is shorter.
pub const MAX_QUIET_HOURS: usize = 72;
/// A day apart each, so that the hours which they judge do not overlap.
pub const BACKTEST_ORIGINS: usize = 10;

/// Standard normal quantiles of 0.90 and 0.975.
const Z80: f64 = 1.281_551_565_544_600_4;
const Z95: f64 = 1.959_963_984_540_054;

/// One symbol's hourly closes, in any order.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub symbol: String,
    pub closes: Vec<Close>,
}

/// The last price of the hour that starts at `bucket_us` (micros since 1970, UTC).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Close {
    pub bucket_us: i64,
    pub close: f64,
    /// No gap touches the hour. The close of an incomplete hour is still the best that is known, so models are fitted
    /// on it; they are judged by it only where complete hours are too few.
    pub complete: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    pub symbol: String,
    pub origin_us: i64,
    pub model: Model,
    /// [`HORIZON`] of them, one an hour.
    pub hours: Vec<ForecastHour>,
    pub beats_naive: bool,
    pub mase: f64,
    pub mase_naive: f64,
    pub mase_drift: f64,
    pub coverage80: f64,
    pub coverage95: f64,
    pub backtest_origins: usize,
    pub history_hours: usize,
    pub filled_hours: usize,
}

/// `lo95 <= lo80 <= forecast <= hi80 <= hi95`, all of them prices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForecastHour {
    /// Start of the hour whose close is forecast.
    pub target_us: i64,
    pub forecast: f64,
    pub lo80: f64,
    pub hi80: f64,
    pub lo95: f64,
    pub hi95: f64,
}

/// Why a symbol has no forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    TooShort { history_hours: usize },
    Quiet { hours: usize },
    TooFilled { filled_hours: usize, history_hours: usize },
    Unjudged,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { history_hours } => {
                write!(f, "{history_hours} hours of history, fewer than {MIN_HISTORY_HOURS}")
            }
            Self::Quiet { hours } => write!(f, "no close in the last {hours} hours, more than {MAX_QUIET_HOURS}"),
            Self::TooFilled { filled_hours, history_hours } => {
                write!(f, "{filled_hours} of {history_hours} hours have no close, more than a third")
            }
            Self::Unjudged => write!(f, "no day of the backtest has closes in half of its hours"),
        }
    }
}

/// [`try_forecast`], with the reason of a symbol that is left out in the log alone.
pub fn forecast(series: &Series, origin_us: i64) -> Option<Forecast> {
    match try_forecast(series, origin_us) {
        Ok(forecast) => Some(forecast),
        Err(reason) => {
            tracing::debug!(symbol = series.symbol, origin_us, %reason, "no forecast for {}: {reason}", series.symbol);
            None
        }
    }
}

/// Forecasts the [`HORIZON`] hours after the last hour that has ended at `origin_us` (micros since 1970, UTC).
///
/// # Errors
/// When the history before the origin does not suffice.
pub fn try_forecast(series: &Series, origin_us: i64) -> Result<Forecast, LeftOut> {
    let history = History::until(series, origin_us)?;
    let trials = trials(&history);
    let naive = trials.iter().find(|trial| trial.model == Model::Naive).ok_or(LeftOut::Unjudged)?;
    let (chosen, prediction) = trials
        .iter()
        .filter(|trial| trial.beats(naive))
        .filter_map(|trial| Some((trial, trial.model.predict(history.logs())?)))
        .min_by(|(a, _), (b, _)| a.mae().total_cmp(&b.mae()))
        .or_else(|| Some((naive, Model::Naive.predict(history.logs())?)))
        .ok_or(LeftOut::Unjudged)?;

    let scale = history.mean_hourly_change();
    let mase = |trial: &Trial| if scale > 0.0 { trial.mae() / scale } else { 0.0 };
    let drift = trials.iter().find(|trial| trial.model == Model::Drift).unwrap_or(naive);
    let (coverage80, coverage95) = chosen.coverage();
    let widening = chosen.widening();
    let hours = (0..HORIZON)
        .map(|h| {
            let at = |z: f64| history.price_after(prediction.change[h] + z * widening * prediction.deviation[h]);
            ForecastHour {
                target_us: history.end_us().saturating_add(h as i64 * HOUR_US),
                forecast: at(0.0),
                lo80: at(-Z80),
                hi80: at(Z80),
                lo95: at(-Z95),
                hi95: at(Z95),
            }
        })
        .collect();
    Ok(Forecast {
        symbol: series.symbol.clone(),
        origin_us,
        model: chosen.model,
        hours,
        beats_naive: chosen.model != Model::Naive,
        mase: mase(chosen),
        mase_naive: mase(naive),
        mase_drift: mase(drift),
        coverage80,
        coverage95,
        backtest_origins: chosen.origins(),
        history_hours: history.hours(),
        filled_hours: history.filled_hours(),
    })
}
