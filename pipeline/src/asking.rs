//! What every part shares that asks servers over HTTP: what Retry-After says, and an error in words. Pure but for the time
//! that a date is held against. Must never happen here: an address or a key. Whoever has them in an error takes them out first
//! (`reqwest::Error::without_url`).

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// How long a server wants to be left alone: Retry-After in seconds, or as an HTTP date, which is an RFC 2822 date in GMT.
/// `None` for a time that is over, and for what is neither. There is no upper bound: whoever waits sets one.
#[must_use]
pub fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Duration::try_from(at.duration_since(Timestamp::now())).ok()
}

/// An error with what caused it, which is where an HTTP client says what went wrong: `a: b: c`.
#[must_use]
pub fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after(" 119 "), Some(Duration::from_secs(119)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), None, "the past asks for no wait");
        assert!(retry_after("Wed, 21 Oct 2099 07:28:00 GMT").is_some_and(|wait| wait > Duration::from_secs(3600)));
        for none in ["soon", "", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(retry_after(none), None, "{none}");
        }
    }

    #[test]
    fn an_error_tells_its_causes() {
        let error = anyhow::anyhow!("refused").context("connecting").context("asking");
        assert_eq!(in_words(error.as_ref()), "asking: connecting: refused");
    }
}
