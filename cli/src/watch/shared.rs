//! What the readers have found out and the display shows. Whoever holds the lock neither waits nor writes anywhere.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use pipeline::events::PriceTick;

use super::prices::{Price, Prices};
use crate::groups::Total;

#[derive(Debug, Default)]
pub struct State {
    pub prices: Prices,
    /// Of the groups, newest answer; none before the first.
    pub lags: Option<Vec<Total>>,
    /// Read to where the log ended at the beginning.
    pub caught_up: bool,
    /// Records that are no ticks.
    pub bad: u64,
    /// Why there is no news of the prices, and of the lag.
    pub reading_trouble: Option<String>,
    /// Until something is heard of a broker again.
    pub broker_away: Option<String>,
    pub lag_trouble: Option<String>,
}

pub struct Shared {
    symbols: Vec<String>,
    sources: Vec<String>,
    state: Mutex<State>,
}

/// A moment of all that.
pub struct View {
    pub at: Timestamp,
    pub now: Instant,
    pub ticks_per_second: f64,
    pub prices: Vec<Price>,
    pub not_shown: u64,
    pub bad: u64,
    pub lags: Option<Vec<Total>>,
    pub trouble: Option<String>,
}

impl Shared {
    /// Everything where nothing is named.
    pub fn new(symbols: &[String], sources: &[String]) -> Self {
        Self {
            symbols: symbols.iter().map(|symbol| symbol.to_uppercase()).collect(),
            sources: sources.iter().map(|source| source.to_lowercase()).collect(),
            state: Mutex::default(),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in it is half done when somebody panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, ticks: impl Iterator<Item = PriceTick>, bad: usize) {
        let is_among = |names: &[String], name: &String| names.is_empty() || names.contains(name);
        let now = Instant::now();
        let mut state = self.state();
        state.bad += bad as u64;
        for tick in ticks.filter(|tick| is_among(&self.symbols, &tick.symbol) && is_among(&self.sources, &tick.source))
        {
            state.prices.add(tick, now);
        }
    }

    /// Whether all there was at the beginning is known.
    pub fn is_ready(&self) -> bool {
        let state = self.state();
        (state.caught_up || state.reading_trouble.is_some()) && (state.lags.is_some() || state.lag_trouble.is_some())
    }

    pub fn view(&self) -> View {
        let mut state = self.state();
        let now = Instant::now();
        let trouble: Vec<String> =
            [&state.reading_trouble, &state.broker_away, &state.lag_trouble].into_iter().flatten().cloned().collect();
        View {
            at: Timestamp::now(),
            now,
            ticks_per_second: state.prices.rate(now),
            prices: state.prices.iter().cloned().collect(),
            not_shown: state.prices.not_shown,
            bad: state.bad,
            lags: state.lags.clone(),
            trouble: (!trouble.is_empty()).then(|| trouble.join("; ")),
        }
    }
}
