//! Points in time and lengths of time as a person writes them. All is UTC, as everything that is stored; a day has 24
//! hours.

use jiff::{Span, SpanRelativeTo, Timestamp};
pub use pipeline::moment::parse;

/// A moment in the past: as [`parse`], or how long ago, `1h` as well as `-1h`.
pub fn parse_since(text: &str) -> Result<Timestamp, String> {
    match text.trim().parse::<Span>() {
        Ok(span) if span.is_positive() => {
            parse(&format!("-{}", text.trim())).or_else(|_| parse(&format!("{} ago", text.trim())))
        }
        _ => parse(text),
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
    fn since_is_a_time_or_how_long_ago() {
        let ago = |text: &str| parse_since(text).map(|time| Timestamp::now().duration_since(time).as_secs() / 60);
        assert_eq!(["1h", "-1h", "90m", "1 hour"].map(ago), [60, 60, 90, 60].map(Ok));
        assert_eq!(parse_since("2026-02-03").map(|time| time.to_string()).as_deref(), Ok("2026-02-03T00:00:00Z"));
        assert!(parse_since("soon").is_err());
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
