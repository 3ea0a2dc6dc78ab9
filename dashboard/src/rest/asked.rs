//! What a query asks for, from text to numbers, with a plain sentence for whatever makes no sense. A time is RFC 3339 (or what
//! [`pipeline::moment`] reads), or a number since 1970: seconds, milliseconds or microseconds, told apart by its size.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::http::ApiError;
use crate::protocol::MAX_NAME_CHARS;

/// A number below is seconds (to the year 5138), below a thousand times as much milliseconds, else microseconds.
const SECONDS_BELOW: i64 = 100_000_000_000;

/// The query, or 400 with what is wrong in it.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let found = Query::<T>::from_request_parts(parts, state).await;
        found.map(|Query(asked)| Self(asked)).map_err(|rejection| match rejection {
            QueryRejection::FailedToDeserializeQueryString(inner) => {
                let text = inner.body_text();
                let reason = text.rsplit_once("query string: ").map_or(text.as_str(), |(_, reason)| reason);
                ApiError::BadRequest(format!("the query is not understood: {reason}"))
            }
            other => ApiError::BadRequest(other.body_text()),
        })
    }
}

/// Microseconds UTC.
pub fn moment(name: &str, text: &str) -> Result<i64, ApiError> {
    let text = text.trim();
    let refused = |reason: String| ApiError::BadRequest(format!("{name}={text}: {reason}"));
    if let Ok(number) = text.parse::<i64>() {
        let scale = match number.unsigned_abs() {
            n if n < SECONDS_BELOW.unsigned_abs() => 1_000_000,
            n if n < 1000 * SECONDS_BELOW.unsigned_abs() => 1000,
            _ => 1,
        };
        let micros = number.checked_mul(scale).filter(|micros| Timestamp::from_microsecond(*micros).is_ok());
        return micros.filter(|micros| *micros >= 0).ok_or_else(|| refused("is no time from 1970 to 9999".to_owned()));
    }
    // A plus sign that was not escaped in the URL arrives as a space.
    let offset = text.len().checked_sub(6).filter(|at| text.is_char_boundary(*at) && text.as_bytes()[*at] == b' ');
    let mended = match offset {
        Some(at) if text.contains('T') => format!("{}+{}", &text[..at], &text[at + 1..]),
        _ => text.to_owned(),
    };
    pipeline::moment::parse(&mended).map(Timestamp::as_microsecond).map_err(refused)
}

/// As [`moment`]; nothing where nothing was said.
pub fn moment_or_none(name: &str, text: Option<&str>) -> Result<Option<i64>, ApiError> {
    text.filter(|text| !text.is_empty()).map(|text| moment(name, text)).transpose()
}

/// A time from one moment to another.
pub fn in_order(from_us: i64, to_us: i64) -> Result<(), ApiError> {
    if from_us < to_us {
        return Ok(());
    }
    Err(ApiError::BadRequest(format!("from ({}) is not before to ({})", written(from_us), written(to_us))))
}

/// RFC 3339, UTC.
pub fn written(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |timestamp| timestamp.to_string())
}

/// A number from 1 to `most`.
pub fn limit(name: &str, asked: Option<i64>, default: usize, most: usize) -> Result<usize, ApiError> {
    let Some(asked) = asked else { return Ok(default) };
    usize::try_from(asked)
        .ok()
        .filter(|asked| (1..=most).contains(asked))
        .ok_or_else(|| ApiError::BadRequest(format!("{name}={asked}: expected 1 to {most}")))
}

/// The name of a symbol or of a source as it may be asked for.
pub fn name<'a>(parameter: &str, text: &'a str) -> Result<&'a str, ApiError> {
    let is_good = !text.is_empty() && text.chars().count() <= MAX_NAME_CHARS && !text.chars().any(char::is_control);
    if is_good {
        return Ok(text);
    }
    Err(ApiError::BadRequest(format!(
        "{parameter}: expected 1 to {MAX_NAME_CHARS} characters, such as BTC-USD or coinbase"
    )))
}

/// As [`name`]; an empty one is none.
pub fn name_or_none<'a>(parameter: &str, text: Option<&'a str>) -> Result<Option<&'a str>, ApiError> {
    text.filter(|text| !text.is_empty()).map(|text| name(parameter, text)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_text_or_a_number() {
        let half_past_two = 1_763_735_400_000_000;
        for text in [
            "2025-11-21T14:30:00Z",
            "2025-11-21T14:30Z",
            "2025-11-21T14:30",
            "2025-11-21T11:30:00-03:00",
            "2025-11-21T16:30:00+02:00",
            "2025-11-21T16:30:00 02:00",
            "2025-11-21 14:30",
            "1763735400",
            "1763735400000",
            "1763735400000000",
        ] {
            assert_eq!(moment("from", text).expect(text), half_past_two, "{text}");
        }
        assert_eq!(written(half_past_two), "2025-11-21T14:30:00Z");
        for (text, says) in [
            ("yesterdayish", "from=yesterdayish: expected a time such as"),
            ("-5", "no time from 1970"),
            ("9223372036854775807", "no time from 1970"),
            ("1e9", "such as"),
            ("2025-13-01", "such as"),
            ("é é", "such as"),
        ] {
            let error = moment("from", text).expect_err(text).to_string();
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(moment_or_none("from", Some("")).expect("none"), None);
        assert!(in_order(5, 5).is_err_and(|error| error.to_string().contains("is not before")));
    }

    #[test]
    fn a_limit_says_what_it_is() {
        assert_eq!(limit("limit", None, 100, 500).expect("the default"), 100);
        assert_eq!(limit("limit", Some(500), 100, 500).expect("the most"), 500);
        for asked in [0, -1, 501, i64::MAX] {
            assert!(limit("limit", Some(asked), 100, 500).is_err_and(|error| error.to_string().contains("1 to 500")));
        }
    }

    #[test]
    fn a_name_is_short_and_on_one_line() {
        assert!(name("symbol", "<b>-USD").is_ok());
        for bad in ["", "a\0b", "a\nb", &"X".repeat(65)] {
            assert!(name("symbol", bad).is_err(), "{bad:?}");
        }
        assert_eq!(name_or_none("source", Some("")).expect("none"), None);
    }
}
