//! What the tables can hold and what can be true of an event, decided by its fields and the broker's clock alone. The database
//! refuses by it before anything is sent, and whoever sends a dead letter back asks the same question first. Must never happen
//! here: an answer that depends on our clock, since a replay next year must come to the same rows.

use std::fmt;

use jiff::SignedDuration;
use jiff::civil::{DateTime, datetime};

use crate::decode::Ticks;
use crate::events::{Alert, Gap, IndexWeight};

/// Symbols, sources and other names are index keys, and Postgres has no index entry above a third of a page.
pub const NAME_BYTES: usize = 256;
/// Years 1 to 9999, in microseconds from 1970: what Postgres, Parquet readers and every client language agree to hold.
pub const HELD: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// 2009-01-03: before it there was no market in what is kept here. The refiner's SQL (`silver/`) says so again.
pub const FIRST_US: i64 = 1_230_940_800_000_000;
/// A source's clock may run ahead of the broker's, but not for days. The refiner's SQL says so again.
pub const AHEAD_US: i64 = FUTURE_HOURS * HOUR_MICROS;
const FUTURE_HOURS: i64 = 24;
const HOUR_MICROS: i64 = 60 * 60 * 1_000_000;
const DAY_MICROS: i64 = 24 * HOUR_MICROS;
const EPOCH: DateTime = datetime(1970, 1, 1, 0, 0, 0, 0);

/// Microseconds from 1970-01-01 UTC, written as a time.
#[derive(Clone, Copy, Debug)]
pub struct Shown(pub i64);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not a jiff::Timestamp, which ends a day before the year 9999 does.
        match EPOCH.checked_add(SignedDuration::from_micros(self.0)) {
            Ok(time) => write!(f, "{time}Z"),
            Err(_) => write!(f, "{} microseconds from 1970", self.0),
        }
    }
}

/// # Errors
/// Why no row can be made of the tick in row `i`. Ticks of more than `oldest_days` before the broker's time are refused.
pub fn tick(ticks: &Ticks<'_>, i: usize, broker_time: i64, oldest_days: u32) -> Result<(), String> {
    let event_time = ticks.event_time(i);
    time("broker_time", broker_time)?;
    past("event_time", event_time, broker_time)?;
    if event_time < broker_time.saturating_sub(i64::from(oldest_days).saturating_mul(DAY_MICROS)) {
        return Err(format!(
            "event_time out of range: {} is more than {oldest_days} days before the broker took the record ({})",
            Shown(event_time),
            Shown(broker_time)
        ));
    }
    time("received_at", ticks.received_at(i))?;
    ticks.previous_event_time(i).map_or(Ok(()), |micros| time("previous_event_time", micros))?;
    texts([
        ("source", Some(ticks.source(i)), NAME_BYTES),
        ("symbol", Some(ticks.symbol(i)), NAME_BYTES),
        ("base", Some(ticks.base(i)), NAME_BYTES),
        ("quote", Some(ticks.quote(i)), NAME_BYTES),
        ("source_symbol", Some(ticks.source_symbol(i)), usize::MAX),
        ("trade_id", ticks.trade_id(i), usize::MAX),
        ("previous_symbol", ticks.previous_symbol(i), usize::MAX),
    ])
}

/// # Errors
/// Why no row can be made of the gap.
pub fn gap(gap: &Gap, broker_time: i64) -> Result<(), String> {
    time("broker_time", broker_time)?;
    past("started_at", gap.started_at, broker_time)?;
    gap.ended_at.map_or(Ok(()), |micros| time("ended_at", micros))?;
    text("source", &gap.source, NAME_BYTES)?;
    gap.symbols.iter().try_for_each(|symbol| text("symbols", symbol, NAME_BYTES))?;
    text("detail", &gap.detail, usize::MAX)
}

/// # Errors
/// Why no row can be made of the weight.
pub fn index_weight(weight: &IndexWeight, broker_time: i64) -> Result<(), String> {
    let IndexWeight { source, index_name, code, asset, asset_type, segment, .. } = weight;
    time("broker_time", broker_time)?;
    texts([
        ("source", Some(&**source), NAME_BYTES),
        ("index_name", Some(index_name), NAME_BYTES),
        ("code", Some(code), NAME_BYTES),
        ("asset", Some(asset), usize::MAX),
        ("type", Some(asset_type), usize::MAX),
        ("segment", segment.as_deref(), usize::MAX),
    ])?;
    if weight.pregao_date.year() < 1 {
        return Err(format!("pregao_date out of range: {}", weight.pregao_date));
    }
    time("received_at", weight.received_at)
}

/// # Errors
/// Why no row can be made of the alert.
pub fn alert(alert: &Alert, broker_time: i64) -> Result<(), String> {
    let Alert { rule, rule_hash, symbol, source, trigger_topic, message, .. } = alert;
    time("broker_time", broker_time)?;
    texts([
        ("rule", Some(&**rule), NAME_BYTES),
        ("rule_hash", Some(rule_hash), NAME_BYTES),
        ("symbol", symbol.as_deref(), NAME_BYTES),
        ("source", source.as_deref(), NAME_BYTES),
        ("trigger_topic", Some(trigger_topic), NAME_BYTES),
        ("message", Some(message), usize::MAX),
    ])?;
    time("event_time", alert.event_time)?;
    time("fired_at", alert.fired_at)
}

/// # Errors
/// Why this is no time at which anything happened that the broker took at `broker_time`, both in microseconds from 1970:
/// measured from the broker's clock, not from ours.
pub fn past(name: &str, micros: i64, broker_time: i64) -> Result<(), String> {
    time(name, micros)?;
    if micros > broker_time.saturating_add(AHEAD_US) {
        return Err(format!(
            "{name} out of range: {} is more than {FUTURE_HOURS} hours after the broker took the record ({})",
            Shown(micros),
            Shown(broker_time)
        ));
    }
    if micros < FIRST_US {
        return Err(format!("{name} out of range: {} is before {}", Shown(micros), Shown(FIRST_US)));
    }
    Ok(())
}

/// Whether something may have happened then that the broker took at `broker_time`: as [`past`], of a time that is held.
#[must_use]
pub fn is_possible(micros: i64, broker_time: i64) -> bool {
    (FIRST_US..=broker_time.saturating_add(AHEAD_US)).contains(&micros)
}

/// # Errors
/// Why the time has no place in a column.
pub fn time(name: &str, micros: i64) -> Result<(), String> {
    if HELD.contains(&micros) { Ok(()) } else { Err(format!("{name} out of range: {}", Shown(micros))) }
}

fn texts<'a>(texts: impl IntoIterator<Item = (&'static str, Option<&'a str>, usize)>) -> Result<(), String> {
    texts
        .into_iter()
        .try_for_each(|(name, value, most_bytes)| value.map_or(Ok(()), |value| text(name, value, most_bytes)))
}

/// # Errors
/// Why the text has no place in a column.
fn text(name: &str, text: &str, most_bytes: usize) -> Result<(), String> {
    if text.len() > most_bytes {
        return Err(format!("{name} has {} bytes, more than {most_bytes}", text.len()));
    }
    if text.as_bytes().contains(&0) {
        return Err(format!("{name} contains a zero byte, which Postgres text cannot hold"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    const TAKEN: i64 = 1_772_500_000_000_000;

    #[test]
    fn what_no_table_holds_has_its_reason() {
        let cases = [
            (Gap { started_at: TAKEN + 25 * HOUR_MICROS, ..example::gap() }, "started_at out of range: 2026-03-04"),
            (Gap { started_at: 0, ..example::gap() }, "started_at out of range: 1970-01-01T00:00:00Z is before 2009"),
            (Gap { ended_at: Some(i64::MAX), ..example::gap() }, "ended_at out of range"),
            (Gap { detail: "a\0b".to_owned(), ..example::gap() }, "detail contains a zero byte"),
            (Gap { symbols: vec!["X".repeat(257)], ..example::gap() }, "symbols has 257 bytes"),
        ];
        for (refused, reason) in cases {
            let found = gap(&refused, TAKEN).expect_err(reason);
            assert!(found.starts_with(reason), "{found} instead of {reason}");
        }
        assert_eq!(gap(&Gap { ended_at: Some(*HELD.end()), ..example::gap() }, TAKEN), Ok(()));
        let long = Alert { rule: "r".repeat(300), ..example::alert() };
        assert!(alert(&long, TAKEN).expect_err("a long name").starts_with("rule has 300 bytes"));
        let weight = IndexWeight { pregao_date: jiff::civil::date(-1, 1, 1), ..example::index_weight() };
        assert!(index_weight(&weight, TAKEN).expect_err("no such year").starts_with("pregao_date out of range"));
    }

    #[test]
    fn the_ends_of_what_is_held() {
        assert_eq!(Shown(*HELD.start()).to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(Shown(*HELD.end()).to_string(), "9999-12-31T23:59:59.999999Z");
        assert_eq!(Shown(i64::MAX).to_string(), format!("{} microseconds from 1970", i64::MAX));
        assert!(time("t", HELD.end() + 1).is_err() && time("t", *HELD.start()).is_ok());
    }
}
