//! The widths of candles. Buckets begin at multiples of their width since 1970, UTC, as those in Postgres and in the lake.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub enum Timeframe {
    #[serde(rename = "1s")]
    Second,
    #[serde(rename = "1m")]
    Minute,
    #[serde(rename = "5m")]
    FiveMinutes,
    #[serde(rename = "1h")]
    Hour,
    #[serde(rename = "1d")]
    Day,
}

impl Timeframe {
    pub const ALL: [Self; 5] = [Self::Second, Self::Minute, Self::FiveMinutes, Self::Hour, Self::Day];

    /// As messages have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Second => "1s",
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    pub fn width_us(self) -> i64 {
        match self {
            Self::Second => 1_000_000,
            Self::Minute => 60_000_000,
            Self::FiveMinutes => 300_000_000,
            Self::Hour => 3_600_000_000,
            Self::Day => 86_400_000_000,
        }
    }

    /// How long candles stay in memory, microseconds.
    pub fn kept_us(self) -> i64 {
        const HOUR: i64 = 3_600_000_000;
        match self {
            Self::Second => HOUR / 6,
            // An hour more than the day that is shown, for what comes late.
            Self::Minute => 25 * HOUR,
            Self::FiveMinutes => 3 * 24 * HOUR,
            Self::Hour => 14 * 24 * HOUR,
            Self::Day => 60 * 24 * HOUR,
        }
    }

    /// The start of the bucket that `time_us` lies in.
    pub fn bucket(self, time_us: i64) -> i64 {
        time_us - time_us.rem_euclid(self.width_us())
    }
}

impl FromStr for Timeframe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|timeframe| timeframe.name() == text);
        found.ok_or_else(|| "expected one of 1s, 1m, 5m, 1h, 1d".to_owned())
    }
}
