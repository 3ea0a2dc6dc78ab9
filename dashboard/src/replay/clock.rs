//! The replayed time: it goes on from where it was set, as many times as fast as the wall clock, and stands still while paused.
//! At the speed `max` it stands wherever the last record put it.

use std::str::FromStr;
use std::time::Instant;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const SLOWEST: f64 = 0.1;
const FASTEST: f64 = 1000.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    Times(f64),
    Max,
}

impl Speed {
    fn times(times: f64) -> Result<Self, String> {
        if (SLOWEST..=FASTEST).contains(&times) { Ok(Self::Times(times)) } else { Err(Self::expected()) }
    }

    fn expected() -> String {
        format!("expected {SLOWEST} to {FASTEST}, or max")
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "max" => Ok(Self::Max),
            text => text.parse().map_err(|_| Self::expected()).and_then(Self::times),
        }
    }
}

impl Serialize for Speed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Times(times) => serializer.serialize_f64(*times),
            Self::Max => serializer.serialize_str("max"),
        }
    }
}

impl<'de> Deserialize<'de> for Speed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Told {
            Number(f64),
            Text(String),
        }
        let speed = match Told::deserialize(deserializer)? {
            Told::Number(times) => Self::times(times),
            Told::Text(text) => text.parse(),
        };
        speed.map_err(serde::de::Error::custom)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    at_us: i64,
    set: Instant,
    speed: Speed,
    is_paused: bool,
}

impl Clock {
    pub fn new(at_us: i64, speed: Speed, now: Instant) -> Self {
        Self { at_us, set: now, speed, is_paused: false }
    }

    pub fn speed(&self) -> Speed {
        self.speed
    }

    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Where the replayed time stands, microseconds UTC.
    pub fn at(&self, now: Instant) -> i64 {
        match self.speed {
            Speed::Times(times) if !self.is_paused => {
                let passed_us = now.saturating_duration_since(self.set).as_micros() as f64 * times;
                self.at_us.saturating_add(passed_us as i64)
            }
            _ => self.at_us,
        }
    }

    /// Up to when records are due.
    pub fn due(&self, now: Instant) -> i64 {
        if self.speed == Speed::Max && !self.is_paused { i64::MAX } else { self.at(now) }
    }

    /// A record of this time was played: time does not stand before it.
    pub fn played(&mut self, at_us: i64, now: Instant) {
        if at_us > self.at(now) {
            self.seek(at_us, now);
        }
    }

    pub fn seek(&mut self, at_us: i64, now: Instant) {
        (self.at_us, self.set) = (at_us, now);
    }

    pub fn pause(&mut self, now: Instant) {
        self.seek(self.at(now), now);
        self.is_paused = true;
    }

    pub fn resume(&mut self, now: Instant) {
        self.seek(self.at(now), now);
        self.is_paused = false;
    }

    pub fn set_speed(&mut self, speed: Speed, now: Instant) {
        self.seek(self.at(now), now);
        self.speed = speed;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_goes_as_fast_as_it_is_told_to() {
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        let mut clock = Clock::new(1_000_000, Speed::Times(10.0), start);
        assert_eq!(clock.at(after(2)), 21_000_000);
        clock.set_speed(Speed::Times(0.5), after(2));
        assert_eq!(clock.at(after(4)), 22_000_000);
        clock.pause(after(4));
        assert_eq!((clock.at(after(9)), clock.due(after(9))), (22_000_000, 22_000_000));
        clock.played(23_000_000, after(9));
        clock.resume(after(10));
        assert_eq!(clock.at(after(12)), 24_000_000);
        clock.set_speed(Speed::Max, after(12));
        assert_eq!((clock.at(after(20)), clock.due(after(20))), (24_000_000, i64::MAX));
        clock.played(30_000_000, after(20));
        clock.played(29_000_000, after(20));
        assert_eq!(clock.at(after(21)), 30_000_000);
        clock.seek(5, after(21));
        assert_eq!(clock.at(after(21)), 5);
    }

    #[test]
    fn a_speed_is_a_number_or_max() {
        assert_eq!("10".parse(), Ok(Speed::Times(10.0)));
        assert_eq!("max".parse(), Ok(Speed::Max));
        for bad in ["", "0", "-1", "0.01", "1001", "NaN", "inf", "fast"] {
            assert!(bad.parse::<Speed>().is_err_and(|error| error.contains("0.1 to 1000, or max")), "{bad}");
        }
        let speeds: Vec<Speed> = serde_json::from_str("[2.5, \"max\"]").expect("speeds");
        assert_eq!(serde_json::to_string(&speeds).expect("JSON"), "[2.5,\"max\"]");
        assert!(serde_json::from_str::<Speed>("5000").is_err());
    }
}
