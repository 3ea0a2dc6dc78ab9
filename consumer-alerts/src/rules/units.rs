//! Times and shares as people write them.

use std::fmt;
use std::time::Duration;

use pipeline::decimal::Decimal38;

/// A length of time, or a time since 1970, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    #[must_use]
    pub fn from_secs(seconds: i64) -> Self {
        Self(seconds * 1_000_000)
    }
}

/// `1h 30m`: what the rules' file takes.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = Duration::from_micros(self.0.unsigned_abs());
        fmt::Display::fmt(&humantime::format_duration(duration), f)
    }
}

/// A share in percent, exact: 3 is three hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub Decimal38);

impl Percent {
    /// The nearest float, in percent.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "whoever needs it exact compares with `exceeded`")]
    pub fn as_f64(self) -> f64 {
        self.0.unscaled() as f64 / 1e18
    }

    /// Two whole numbers, as small as factors of ten make them, of which the first is this share of the second.
    #[must_use]
    pub fn ratio(self) -> (i128, i128) {
        let (mut share, mut hundred) = (self.0.unscaled(), 100 * 10_i128.pow(Decimal38::SCALE));
        while share % 10 == 0 && hundred % 10 == 0 {
            (share, hundred) = (share / 10, hundred / 10);
        }
        (share, hundred)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}
