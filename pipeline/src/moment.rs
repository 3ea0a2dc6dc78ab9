//! Points in time as a person writes them on the command line. All is UTC, as everything that is stored.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

/// Before this there were no prices, and what reads as such is a slip.
const EARLIEST: &str = "1970-01-01T00:00:00Z";

/// A point in time for the command line: `now`, `today`, `yesterday` (at midnight), `-24h`, `2 days ago`, a date (at midnight),
/// or a date and a time, UTC unless it says otherwise.
///
/// # Errors
/// What is wrong with the text, and what would be right.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    at(text, Timestamp::now())
}

fn at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    let midnight = |date: Date| date.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp());
    let today = now.to_zoned(TimeZone::UTC).date();
    let found = match text {
        "now" => Ok(now),
        "today" => midnight(today),
        "yesterday" => midnight(today.saturating_sub(1.day())),
        _ => {
            if let Ok(span) = text.parse::<Span>() {
                if span.is_positive() {
                    return Err(format!("{text} lies ahead: write -{text} for the time before now"));
                }
                now.to_zoned(TimeZone::UTC).checked_add(span).map(|zoned| zoned.timestamp())
            } else if let Ok(timestamp) = text.parse::<Timestamp>() {
                Ok(timestamp)
            } else if let Ok(civil) = text.parse::<DateTime>() {
                civil.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp())
            } else {
                return Err(
                    "expected a time such as 2026-11-22T13:00:00Z, a date such as 2026-11-22, -24h, -7d, today, \
                            yesterday or now"
                        .to_owned(),
                );
            }
        }
    };
    match found {
        Ok(timestamp) if timestamp < EARLIEST.parse().expect("a time") => Err("lies before 1970".to_owned()),
        Ok(timestamp) => Ok(timestamp),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time_are_read() {
        let now: Timestamp = "2026-03-01T13:17:05.5Z".parse().expect("a time");
        let read = |text: &str| at(text, now).map(|timestamp| timestamp.to_string());
        for (text, expected) in [
            ("now", "2026-03-01T13:17:05.5Z"),
            ("today", "2026-03-01T00:00:00Z"),
            ("yesterday", "2026-02-28T00:00:00Z"),
            ("-24h", "2026-02-28T13:17:05.5Z"),
            ("-1h30m", "2026-03-01T11:47:05.5Z"),
            ("-7d", "2026-02-22T13:17:05.5Z"),
            ("2 days ago", "2026-02-27T13:17:05.5Z"),
            ("2026-02-03", "2026-02-03T00:00:00Z"),
            ("2026-02-03 04:05", "2026-02-03T04:05:00Z"),
            ("2026-02-03T04:05:06", "2026-02-03T04:05:06Z"),
            ("2026-02-03T04:05:06-03:00", "2026-02-03T07:05:06Z"),
            ("2026-02-03T04:05:06.123456Z", "2026-02-03T04:05:06.123456Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, says) in [
            ("24h", "write -24h"),
            ("soon", "such as"),
            ("", "such as"),
            ("2026-02-30", "such as"),
            ("0001-01-01", "before 1970"),
            ("-3000y", "before 1970"),
        ] {
            assert!(read(text).is_err_and(|error| error.contains(says)), "{text}: {:?}", read(text));
        }
    }
}
