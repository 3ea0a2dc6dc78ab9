//! Points in time and lengths of time as a person writes them. All is UTC, as everything that is stored; a day has 24
//! hours.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp, ToSpan};

/// Before this there were no prices, and what reads as such is a slip.
const EARLIEST: &str = "1970-01-01T00:00:00Z";

/// A point in time for the command line.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    at(text, Timestamp::now())
}

/// `now`, `today`, `yesterday` (at midnight), `-24h`, `2 days ago`, a date (at midnight), or a date and a time, UTC
/// unless it says otherwise.
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

/// A length of time in whole minutes that divides a day, so that buckets of it begin at midnight: `1m`, `15m`, `4h`,
/// `1d`.
pub fn parse_bucket(text: &str) -> Result<i32, String> {
    const DAY: i64 = 24 * 60;
    let wanted = "expected minutes, hours or a day, such as 1m, 15m, 4h or 1d";
    let span: Span = text.trim().parse().map_err(|_| wanted.to_owned())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wanted.to_owned())?;
    let (minutes, rest) = (duration.as_secs() / 60, duration.as_secs() % 60);
    let is_whole = rest == 0 && duration.subsec_nanos() == 0;
    if !is_whole || minutes < 1 || DAY % minutes != 0 {
        return Err(format!("a day is no multiple of {text} in whole minutes; {wanted}"));
    }
    i32::try_from(minutes).map_err(|_| wanted.to_owned())
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

    #[test]
    fn buckets_divide_a_day() {
        let minutes = ["1m", "5m", "15m", "60m", "1h", "90m", "1h30m", "4h", "12h", "1d", "24h"].map(parse_bucket);
        assert_eq!(minutes, [1, 5, 15, 60, 60, 90, 90, 240, 720, 1440, 1440].map(Ok));
        for text in ["0m", "-1h", "7m", "5h", "30s", "1m30s", "2d", "1w", "1mo", "x", "", "1500ms"] {
            assert!(parse_bucket(text).is_err(), "{text}");
        }
    }
}
