//! What a table can hold, and what can be true: checked before anything is sent, since one value that Postgres refuses would
//! cost the whole batch a second try.

use crate::timestamptz::Timestamptz;

/// Symbols, sources and other names are index keys, and Postgres has no index entry above a third of a page.
pub const NAME_BYTES: usize = 256;

/// # Errors
/// Why the text has no place in a column.
pub fn text(name: &str, text: &str, most_bytes: usize) -> Result<(), String> {
    if text.len() > most_bytes {
        return Err(format!("{name} has {} bytes, more than {most_bytes}", text.len()));
    }
    if text.as_bytes().contains(&0) {
        return Err(format!("{name} contains a zero byte, which Postgres text cannot hold"));
    }
    Ok(())
}

/// 2009-01-03: before it there was no market in what is kept here. The lake's silver draws the same line.
const FIRST_MICROS: i64 = 1_230_940_800_000_000;
/// A source's clock may run ahead, but not for days. The lake's silver draws the same line.
const FUTURE_HOURS: i64 = 24;
const HOUR_MICROS: i64 = 60 * 60 * 1_000_000;

/// # Errors
/// Why this is no time at which anything happened that the broker took at `broker_time`: measured from the broker's clock,
/// not from ours, since a replay next year must come to the same rows.
pub fn past(name: &str, time: Timestamptz, broker_time: Timestamptz) -> Result<(), String> {
    self::time(name, time)?;
    if time.0 > broker_time.0.saturating_add(FUTURE_HOURS * HOUR_MICROS) {
        return Err(format!(
            "{name} out of range: {time} is more than {FUTURE_HOURS} hours after the broker took the record ({broker_time})"
        ));
    }
    if time.0 < FIRST_MICROS {
        return Err(format!("{name} out of range: {time} is before {}", Timestamptz(FIRST_MICROS)));
    }
    Ok(())
}

/// # Errors
/// Why the time has no place in a column.
pub fn time(name: &str, time: Timestamptz) -> Result<(), String> {
    if time.is_held() { Ok(()) } else { Err(format!("{name} out of range: {time}")) }
}
