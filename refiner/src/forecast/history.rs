//! What was known of a symbol at an origin: one close an hour without a hole, no later than the origin. Invariant:
//! closes of hours that end after the origin do not come past [`History::until`], so that nothing built on a history
//! can look ahead.

use super::{Close, HISTORY_HOURS, HORIZON, HOUR_US, LeftOut, MAX_QUIET_HOURS, MIN_HISTORY_HOURS, Series};

/// What DECIMAL(38,18) can hold; a close outside it is no price and counts as missing, and no forecast leaves it.
const LEAST_PRICE: f64 = 1e-18;
const GREATEST_PRICE: f64 = 1e20;

pub(super) struct History {
    /// Start of the hour after the last one.
    end_us: i64,
    hours: Vec<Hour>,
    logs: Vec<f64>,
}

#[derive(Clone, Copy)]
struct Hour {
    price: f64,
    seen: Seen,
}

#[derive(Clone, Copy, PartialEq)]
enum Seen {
    Complete,
    TouchedByGap,
    /// No close: the price of the hour before stands in.
    Not,
}

impl History {
    /// The at most [`HISTORY_HOURS`] hours that have ended at the origin, from the first that has a close.
    pub(super) fn until(series: &Series, origin_us: i64) -> Result<Self, LeftOut> {
        let last_start_us = origin_us.saturating_sub(HOUR_US);
        let known = series.closes.iter().filter(|close| close.bucket_us <= last_start_us);

        let end = origin_us.div_euclid(HOUR_US);
        let mut hours: Vec<Option<Close>> = vec![None; HISTORY_HOURS];
        for close in known.filter(|close| is_price(close.close)) {
            let back = usize::try_from(end - close.bucket_us.div_euclid(HOUR_US)).unwrap_or(usize::MAX);
            if (1..=HISTORY_HOURS).contains(&back) {
                hours[HISTORY_HOURS - back] = Some(*close);
            }
        }
        let filled = fill(&hours);
        let history_hours = filled.len();
        let filled_hours = filled.iter().filter(|hour| hour.seen == Seen::Not).count();
        let quiet = filled.iter().rev().take_while(|hour| hour.seen == Seen::Not).count();
        if history_hours < MIN_HISTORY_HOURS {
            return Err(LeftOut::TooShort { history_hours });
        }
        if quiet > MAX_QUIET_HOURS {
            return Err(LeftOut::Quiet { hours: quiet });
        }
        if filled_hours * 3 > history_hours {
            return Err(LeftOut::TooFilled { filled_hours, history_hours });
        }
        let logs = filled.iter().map(|hour| hour.price.ln()).collect();
        Ok(Self { end_us: end * HOUR_US, hours: filled, logs })
    }

    pub(super) fn end_us(&self) -> i64 {
        self.end_us
    }

    pub(super) fn hours(&self) -> usize {
        self.hours.len()
    }

    pub(super) fn filled_hours(&self) -> usize {
        self.hours.iter().filter(|hour| hour.seen == Seen::Not).count()
    }

    /// Natural logarithms of the prices.
    pub(super) fn logs(&self) -> &[f64] {
        &self.logs
    }

    /// What a forecast from the first `cut` hours is judged by: hours ahead, from 0, and their closes. Those that no
    /// gap touches; where they are less than half of the day, all closes; where those are, too, nothing.
    pub(super) fn judged(&self, cut: usize) -> Option<Vec<(usize, f64)>> {
        let seen = |wanted: fn(Seen) -> bool| -> Vec<(usize, f64)> {
            let horizon = self.hours[cut..].iter().take(HORIZON).enumerate();
            horizon.filter(|(_, hour)| wanted(hour.seen)).map(|(h, hour)| (h, hour.price)).collect()
        };
        let choices = [seen(|seen| seen == Seen::Complete), seen(|seen| seen != Seen::Not)];
        choices.into_iter().find(|judged| judged.len() * 2 >= HORIZON)
    }

    /// The last price, changed by so much of its logarithm.
    pub(super) fn price_after(&self, change: f64) -> f64 {
        self.price_after_cut(self.hours.len(), change)
    }

    /// As [`Self::price_after`], from the last of the first `cut` hours.
    pub(super) fn price_after_cut(&self, cut: usize, change: f64) -> f64 {
        (self.hours[cut - 1].price * change.exp()).clamp(LEAST_PRICE, GREATEST_PRICE)
    }

    /// Mean of |close − close of the hour before| over the hours that have a close: what the naive forecast of one hour
    /// misses by, the scale of MASE.
    pub(super) fn mean_hourly_change(&self) -> f64 {
        let changes = self.hours.windows(2).filter(|pair| pair[1].seen != Seen::Not);
        let (sum, count) =
            changes.fold((0.0, 0.0), |(sum, count), pair| (sum + (pair[1].price - pair[0].price).abs(), count + 1.0));
        if count > 0.0 { sum / count } else { 0.0 }
    }
}

fn is_price(value: f64) -> bool {
    (LEAST_PRICE..=GREATEST_PRICE).contains(&value)
}

fn fill(hours: &[Option<Close>]) -> Vec<Hour> {
    let mut filled: Vec<Hour> = Vec::with_capacity(hours.len());
    for hour in hours {
        match (hour, filled.last()) {
            (Some(close), _) => {
                let seen = if close.complete { Seen::Complete } else { Seen::TouchedByGap };
                filled.push(Hour { price: close.close, seen });
            }
            (None, Some(last)) => filled.push(Hour { price: last.price, seen: Seen::Not }),
            (None, None) => {}
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::super::simulated::{origin_after, series_of};
    use super::*;

    /// Two days at 1, then a day at 2, 3, … 25 of which `change` may take something away.
    fn third_day(change: impl Fn(usize, &mut Close)) -> Option<Vec<(usize, f64)>> {
        let prices = (0..72).map(|hour| if hour < 48 { 1.0 } else { f64::from(hour - 46) });
        let mut series = series_of(prices);
        series.closes.iter_mut().skip(48).enumerate().for_each(|(hour, close)| change(hour, close));
        History::until(&series, origin_after(72)).expect("three days").judged(48)
    }

    fn hours_of(judged: Option<Vec<(usize, f64)>>) -> Vec<usize> {
        judged.expect("half a day").into_iter().map(|(hour, _)| hour).collect()
    }

    #[test]
    fn closes_that_no_gap_touches_judge_where_they_are_half_of_the_day() {
        assert_eq!(third_day(|_, _| {}).expect("a whole day")[..2], [(0, 2.0), (1, 3.0)]);
        let half = third_day(|hour, close| close.complete = hour >= 12);
        assert_eq!(hours_of(half), (12..24).collect::<Vec<_>>());
        let less = third_day(|hour, close| close.complete = hour >= 13);
        assert_eq!(hours_of(less), (0..24).collect::<Vec<_>>());
        let some_missing = third_day(|hour, close| {
            close.complete = hour >= 13;
            close.close = if hour % 3 == 0 { f64::NAN } else { close.close };
        });
        assert_eq!(hours_of(some_missing), (0..24).filter(|hour| hour % 3 != 0).collect::<Vec<_>>());
        assert_eq!(third_day(|hour, close| close.close = if hour < 13 { 0.0 } else { 1.0 }), None);
    }

    #[test]
    fn the_mean_hourly_change_leaves_filled_hours_out() {
        // 100, 110, nothing, 120, 130, nothing, …: two changes in three hours, each of 10.
        let prices = (0..300).map(|hour| 100.0 + 10.0 * f64::from(hour / 3 * 2 + hour % 3));
        let mut series = series_of(prices);
        let mut hour = 0;
        series.closes.retain(|_| {
            hour += 1;
            hour % 3 != 0
        });
        let history = History::until(&series, origin_after(299)).expect("three hundred hours");
        assert_eq!((history.hours(), history.filled_hours()), (299, 99));
        assert_eq!(history.mean_hourly_change(), 10.0);
    }
}
