//! What silver and gold go by and nothing else tells: which times silver takes, and how wide candles are. As in `refiner/sql`.

use super::HOUR_US;

/// Timeframes of the candles and their widths in microseconds.
pub const TIMEFRAMES: [(&str, i64); 4] =
    [("1m", 60_000_000), ("5m", 300_000_000), ("1h", HOUR_US), ("1d", 24 * HOUR_US)];
/// 2009-01-03, before which no market had a price, and how far ahead of the broker's clock one may be.
const EARLIEST_US: i64 = 1_230_940_800_000_000;
const AHEAD_US: i64 = 24 * HOUR_US;

/// Whether silver takes a tick of this time, which the broker took at that time; others are quarantined.
pub fn is_sound(event_us: i64, broker_us: i64) -> bool {
    (EARLIEST_US..=broker_us.saturating_add(AHEAD_US)).contains(&event_us)
}
