//! When each payload of a recording is due. Where the recording says when it was received, the pauses are those; where it does
//! not, the pauses between the source's own times stand in, none longer than a minute; and where there is no time at all a
//! second passes.

use std::time::Duration;

use tokio::time::Instant;

use crate::sources::recorded::Speed;

/// A recording that was not made in one go is not waited for longer.
const LONGEST: i64 = 60 * 1_000_000;
const UNTIMED: i64 = 1_000_000;

/// When a payload came, micros UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// By the recording's clock.
    Received(i64),
    /// By the source's.
    Told(i64),
    Unknown,
}

pub struct Pace {
    speed: Speed,
    began: Option<Instant>,
    /// How much of the recording's time has passed, and where its clock stands.
    passed: i64,
    at: Option<i64>,
}

impl Pace {
    #[must_use]
    pub fn new(speed: Speed) -> Self {
        Self { speed, began: None, passed: 0, at: None }
    }

    /// Whether it matters when payloads came.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.speed != Speed::Max
    }

    /// When the next payload is due; payloads are asked for in their order, each once.
    pub fn due(&mut self, came: Came) -> Instant {
        let began = *self.began.get_or_insert_with(Instant::now);
        let Speed::Times(times) = self.speed else { return began };
        if let Some(at) = self.at {
            self.passed += match came {
                Came::Received(next) => (next - at).max(0),
                Came::Told(next) => (next - at).clamp(0, LONGEST),
                Came::Unknown => UNTIMED,
            };
        }
        self.at = match came {
            Came::Received(next) | Came::Told(next) => Some(next),
            Came::Unknown => Some(self.at.map_or(0, |at| at + UNTIMED)),
        };
        // A recording of a thousand years is a recording's mistake.
        let waited = (self.passed as f64 / 1e6 / times).min(1e9);
        began + Duration::from_secs_f64(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    /// How many seconds after the first each is due.
    fn seconds(speed: Speed, came: &[Came]) -> Vec<f64> {
        let mut pace = Pace::new(speed);
        let due: Vec<Instant> = came.iter().map(|came| pace.due(*came)).collect();
        due.iter().map(|at| at.duration_since(due[0]).as_secs_f64()).collect()
    }

    #[test]
    fn pauses_are_those_of_the_recording() {
        use Came::{Received, Told, Unknown};
        let received = [Received(5 * SECOND), Received(6 * SECOND), Received(306 * SECOND), Received(300 * SECOND)];
        assert_eq!(seconds(Speed::Times(1.0), &received), [0.0, 1.0, 301.0, 301.0]);
        assert_eq!(seconds(Speed::Times(10.0), &received), [0.0, 0.1, 30.1, 30.1]);
        assert_eq!(seconds(Speed::Max, &received), [0.0; 4]);
        let told = [Told(5 * SECOND), Told(6 * SECOND), Told(306 * SECOND), Told(7 * SECOND), Told(8 * SECOND)];
        assert_eq!(seconds(Speed::Times(1.0), &told), [0.0, 1.0, 61.0, 61.0, 62.0]);
        // An acknowledgement between two prices that are a second apart takes none of its own.
        let mixed = [Told(5 * SECOND), Unknown, Told(6 * SECOND), Unknown, Unknown];
        assert_eq!(seconds(Speed::Times(1.0), &mixed), [0.0, 1.0, 1.0, 2.0, 3.0]);
        assert_eq!(seconds(Speed::Times(1.0), &[Unknown, Unknown, Told(1_772_600_767 * SECOND)]), [0.0, 1.0, 61.0]);
    }
}
