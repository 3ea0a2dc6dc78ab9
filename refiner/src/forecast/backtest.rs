//! The rolling-origin backtest: at each of the last days' origins every model is fitted on what came before that origin
//! alone, and judged by the day after it. Invariant: the interval that an origin is judged by is widened by what the
//! origins before it taught, never by its own outcome, so that coverage is measured of the very procedure that makes
//! the published intervals.

use super::history::History;
use super::models::Model;
use super::{BACKTEST_ORIGINS, HORIZON, MIN_HISTORY_HOURS, Z80, Z95};

const MIN_TRAINING_HOURS: usize = MIN_HISTORY_HOURS - HORIZON;
/// How many origins the model's own deviation counts for against the backtest's.
const PRIOR_ORIGINS: f64 = 5.0;
/// One origin cannot say more than that the intervals were four times too narrow: one jump is not a habit.
const MAX_RATIO: f64 = 16.0;
/// Student's t at 1 − 0.05/4, one to nine degrees of freedom: one-sided, and shared among the four that challenge
/// naive.
const T_CRITICAL: [f64; BACKTEST_ORIGINS - 1] =
    [25.4517, 6.2053, 4.1765, 3.4954, 3.1634, 2.9687, 2.8412, 2.7515, 2.6850];

/// One model over all origins.
pub(super) struct Trial {
    pub(super) model: Model,
    /// Mean absolute error in price units, one an origin, oldest first.
    errors: Vec<f64>,
    /// Mean of (error / deviation)², one an origin: 1 where the model knows how far off it will be.
    ratios: Vec<f64>,
    judged: usize,
    in80: usize,
    in95: usize,
}

/// A trial of each model that can be fitted at every origin; naive always can. Without origins there are no trials.
pub(super) fn trials(history: &History) -> Vec<Trial> {
    let cuts = cuts(history);
    if cuts.is_empty() {
        return Vec::new();
    }
    Model::ALL.into_iter().filter_map(|model| Trial::run(model, history, &cuts)).collect()
}

/// How many hours each origin has before it, oldest origin first.
fn cuts(history: &History) -> Vec<usize> {
    let days = (1..=BACKTEST_ORIGINS).rev();
    let cuts = days.filter_map(|day| history.hours().checked_sub(day * HORIZON));
    cuts.filter(|&cut| cut >= MIN_TRAINING_HOURS && history.judged(cut).is_some()).collect()
}

impl Trial {
    fn run(model: Model, history: &History, cuts: &[usize]) -> Option<Self> {
        let mut trial = Self { model, errors: Vec::new(), ratios: Vec::new(), judged: 0, in80: 0, in95: 0 };
        for &cut in cuts {
            trial.judge(history, cut)?;
        }
        Some(trial)
    }

    fn judge(&mut self, history: &History, cut: usize) -> Option<()> {
        let known = &history.logs()[..cut];
        let prediction = self.model.predict(known)?;
        let widening = self.widening();
        let last = known[cut - 1];
        let (mut error_sum, mut ratio_sum, mut count) = (0.0, 0.0, 0);
        for (h, price) in history.judged(cut)? {
            let deviation = prediction.deviation[h];
            let miss = (history.logs()[cut + h] - last - prediction.change[h]).abs();
            error_sum += (price - history.price_after_cut(cut, prediction.change[h])).abs();
            ratio_sum += ratio(miss, deviation);
            self.in80 += usize::from(miss <= Z80 * widening * deviation);
            self.in95 += usize::from(miss <= Z95 * widening * deviation);
            count += 1;
        }
        self.judged += count;
        self.errors.push(error_sum / count as f64);
        self.ratios.push((ratio_sum / count as f64).min(MAX_RATIO));
        Some(())
    }

    pub(super) fn origins(&self) -> usize {
        self.errors.len()
    }

    /// In price units, over all origins.
    pub(super) fn mae(&self) -> f64 {
        mean(&self.errors)
    }

    /// Shares of the judged hours whose close lay in the 80 and the 95 % interval.
    pub(super) fn coverage(&self) -> (f64, f64) {
        let judged = self.judged as f64;
        (self.in80 as f64 / judged, self.in95 as f64 / judged)
    }

    /// What the model's own deviation is multiplied by: √((n₀ + Σ ratio) / (n₀ + origins)), the scale of the posterior
    /// under a scaled inverse chi-squared prior at the model's own variance (Gelman et al., Bayesian Data Analysis,
    /// 2.6). Intervals that proved too wide become narrower by it.
    pub(super) fn widening(&self) -> f64 {
        let ratios: f64 = self.ratios.iter().sum();
        ((PRIOR_ORIGINS + ratios) / (PRIOR_ORIGINS + self.ratios.len() as f64)).sqrt()
    }

    /// Whether the model was better than naive by more than luck: the one-sided Diebold-Mariano test on the origins'
    /// mean absolute errors, which for windows that do not overlap and with the correction of Harvey, Leybourne and
    /// Newbold is the paired t test. Without it the best of five models beats naive on two random walks of three.
    pub(super) fn beats(&self, naive: &Self) -> bool {
        let gains: Vec<f64> = naive.errors.iter().zip(&self.errors).map(|(naive, own)| naive - own).collect();
        let degrees = gains.len() - 1;
        let Some(critical) = degrees.checked_sub(1).and_then(|at| T_CRITICAL.get(at)) else { return false };
        let gain = mean(&gains);
        let variance = gains.iter().map(|one| (one - gain).powi(2)).sum::<f64>() / degrees as f64;
        gain > 0.0 && gain > critical * (variance / gains.len() as f64).sqrt()
    }
}

/// (miss / deviation)². A model that expects no change and is right has taught nothing.
fn ratio(miss: f64, deviation: f64) -> f64 {
    if deviation > 0.0 {
        (miss / deviation).powi(2).min(MAX_RATIO * HORIZON as f64)
    } else if miss == 0.0 {
        1.0
    } else {
        MAX_RATIO
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::super::simulated::{origin_after, series_of, walk, wave};
    use super::super::{HISTORY_HOURS, Series};
    use super::*;

    fn history_of(series: &Series, hours: usize) -> History {
        History::until(series, origin_after(hours)).expect("enough closes")
    }

    fn trial(errors: &[f64], ratios: &[f64]) -> Trial {
        Trial { model: Model::Ets, errors: errors.to_vec(), ratios: ratios.to_vec(), judged: 1, in80: 1, in95: 1 }
    }

    #[test]
    fn each_origin_is_a_day_and_the_first_has_two_days_before_it() {
        let cuts_of = |hours| cuts(&history_of(&walk(1, hours), hours));
        assert_eq!(cuts_of(72), [48]);
        assert_eq!(cuts_of(100), [52, 76]);
        assert_eq!(cuts_of(672), [432, 456, 480, 504, 528, 552, 576, 600, 624, 648]);
    }

    #[test]
    fn an_origin_is_fitted_on_what_came_before_it_alone() {
        let changed_by = |series: &Series, cut: usize, factor: f64| {
            let mut series = series.clone();
            series.closes[cut..cut + HORIZON / 2].iter_mut().for_each(|close| close.complete = false);
            let unjudged = (cut..cut + HORIZON / 2).chain(cut + HORIZON..series.closes.len());
            unjudged.for_each(|hour| series.closes[hour].close *= factor);
            trials(&history_of(&series, HISTORY_HOURS))
        };
        for simulated in [walk(2, HISTORY_HOURS), wave(2, HISTORY_HOURS, 24.0)] {
            for (nth, cut) in cuts(&history_of(&simulated, HISTORY_HOURS)).into_iter().enumerate() {
                let (plain, moved) = (changed_by(&simulated, cut, 1.0), changed_by(&simulated, cut, 1.5));
                assert_eq!((plain.len(), moved.len()), (Model::ALL.len(), Model::ALL.len()));
                for (plain, moved) in plain.iter().zip(&moved) {
                    assert_eq!(plain.errors[..=nth], moved.errors[..=nth], "{} at {cut}", plain.model);
                    assert_eq!(plain.ratios[..=nth], moved.ratios[..=nth], "{} at {cut}", plain.model);
                }
            }
        }
    }

    #[test]
    fn errors_of_naive_by_hand() {
        // 100 for four days, then a day that ends at 124: naive misses its hours by 1, 2, … 24, 12.5 in the mean.
        let flat = std::iter::repeat_n(100.0, 96);
        let series = series_of(flat.chain((1..=24).map(|hour| 100.0 + f64::from(hour))));
        let trials = trials(&history_of(&series, 120));
        assert_eq!(trials[0].model, Model::Naive);
        assert_eq!(trials[0].errors, [0.0, 0.0, 12.5]);
        // It expected no change, was right twice and wrong once; 48 of the 72 hours lay in an interval of no width.
        assert_eq!(trials[0].ratios, [1.0, 1.0, MAX_RATIO]);
        assert_eq!(trials[0].coverage(), (48.0 / 72.0, 48.0 / 72.0));
        assert!(trials.iter().all(|trial| matches!(trial.model, Model::Naive | Model::Drift)));
    }

    #[test]
    fn widening_by_hand() {
        assert_eq!(trial(&[], &[]).widening(), 1.0);
        assert_eq!(trial(&[], &[1.0; 10]).widening(), 1.0);
        assert_eq!(trial(&[], &[3.0; 5]).widening(), 2.0_f64.sqrt());
        assert_eq!(trial(&[], &[0.25; 10]).widening(), 0.5_f64.sqrt());
    }

    #[test]
    fn luck_does_not_beat_naive() {
        let naive = trial(&[10.0, 12.0, 11.0, 13.0], &[]);
        let beats = |errors: &[f64]| trial(errors, &[]).beats(&naive);
        // Gains 5, 5, 6, 4: mean 5, deviation √(2/3), t = 5 / (√(2/3) / 2) = 12.2 with three degrees of freedom.
        assert!(beats(&[5.0, 7.0, 5.0, 9.0]));
        // Gains 9, −1, 1, 1: mean 2.5, t = 1.1.
        assert!(!beats(&[1.0, 13.0, 10.0, 12.0]));
        assert!(!beats(&[10.0, 12.0, 11.0, 13.0]), "as good is not better");
        assert!(!beats(&[15.0, 17.0, 15.0, 19.0]), "reliably worse is not better");
        assert!(!trial(&[1.0], &[]).beats(&trial(&[9.0], &[])), "one day proves nothing");
    }
}
