//! Full-jitter back-off: each wait is anywhere between nothing and a bound that doubles, so that many clients that failed
//! together do not return together.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// How long to wait before the next try.
    pub fn next_wait(&mut self) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(fastrand::f64())
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn bound(&self) -> Duration {
        let doubled = 1_u32.checked_shl(self.failures).and_then(|times| self.first.checked_mul(times));
        doubled.unwrap_or(self.most).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_to_its_most_and_starts_again_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(60));
        let mut bounds = Vec::new();
        for _ in 0..100 {
            bounds.push(backoff.bound());
            assert!(backoff.next_wait() <= bounds[bounds.len() - 1]);
        }
        let millis: Vec<u128> = bounds.iter().take(10).map(Duration::as_millis).collect();
        assert_eq!(millis, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(bounds[99], Duration::from_secs(60));
        backoff.reset();
        assert_eq!(backoff.bound(), Duration::from_millis(250));
    }
}
