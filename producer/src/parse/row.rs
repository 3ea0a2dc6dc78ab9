//! Fields of one row of a payload, with each way they can be wrong named. A price is exact and positive or there is none;
//! an auxiliary field that is wrong is left out and named. Must never happen here: a float, a guess, or a rounded digit.

use std::borrow::Cow;

use jiff::Timestamp;
use pipeline::decimal::{Decimal38, DecimalError};
use pipeline::fits;

use crate::parse::json::{Field, Object, Value};
use crate::parse::problem::{Effect, Problem, excerpt};

/// How the source documents a numeric field. The other form is read too, since its digits are as exact, and noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Number,
    Text,
}

/// Which values of an auxiliary field mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    Any,
    NotNegative,
    /// Zero is how the source writes "unknown": no value, and no problem either.
    ZeroIsUnknown,
}

/// A price with the digits it came with: the digits go into the event's identity.
#[derive(Clone, Debug)]
pub struct Price<'a> {
    pub value: Decimal38,
    pub text: Cow<'a, str>,
}

/// One row: an object and where it stands in the payload.
pub struct Row<'a, 'r> {
    pub object: &'r Object<'a>,
    pub path: &'r str,
    pub problems: &'r mut Vec<Problem>,
}

impl<'a> Row<'a, '_> {
    /// Where that field stands in the payload.
    #[must_use]
    pub fn at(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// Names what is wrong with a field, without which there is no tick.
    pub fn reject(&mut self, code: &'static str, field: &str, detail: impl Into<String>) {
        let problem = Problem::rejected(code, self.at(field), detail);
        self.problems.push(problem);
    }

    fn null(&mut self, code: &'static str, field: &str, detail: impl Into<String>) {
        let problem = Problem::nulled(code, self.at(field), detail);
        self.problems.push(problem);
    }

    /// The digits of a numeric field, whichever form they came in.
    fn digits(&mut self, field: &str, form: Form) -> Result<Cow<'a, str>, (&'static str, String)> {
        let digits = match (self.object.get(field), form) {
            (Field::Missing, _) => return Err(("missing_field", "the field is not there".to_owned())),
            (Field::Ambiguous, _) => {
                return Err(("duplicate_key", "the key stands there twice with different values".to_owned()));
            }
            (Field::One(Value::Null), _) => return Err(("null_field", "null".to_owned())),
            (Field::One(Value::Number(text)), Form::Number) => return Ok(Cow::Borrowed(text)),
            (Field::One(Value::Text(text)), Form::Text) => return Ok(text),
            (Field::One(Value::Number(text)), Form::Text) => Cow::Borrowed(text),
            (Field::One(Value::Text(text)), Form::Number) => text,
            (Field::One(other), _) => {
                return Err(("wrong_type", format!("expected a number, got {}", other.kind())));
            }
        };
        if Decimal38::parse(&digits).is_ok() {
            let detail = match form {
                Form::Number => {
                    format!("a string where a number is documented; its digits are taken: {}", excerpt(&digits))
                }
                Form::Text => {
                    format!("a number where a string is documented; its digits are taken: {}", excerpt(&digits))
                }
            };
            let problem = Problem::noted("unexpected_form", self.at(field), detail);
            self.problems.push(problem);
        }
        Ok(digits)
    }

    /// The price. `None` with a problem when it is missing, not a number, not positive or not exact in DECIMAL(38,18).
    pub fn price(&mut self, field: &str, form: Form) -> Option<Price<'a>> {
        let text = match self.digits(field, form) {
            Ok(text) => text,
            Err((code, detail)) => {
                self.reject(code, field, detail);
                return None;
            }
        };
        match positive(text) {
            Ok(price) => Some(price),
            Err((code, detail)) => {
                self.reject(code, field, detail);
                None
            }
        }
    }

    /// An auxiliary number. Missing and null are silently none; whatever else is not exact is none with a problem.
    pub fn auxiliary(&mut self, field: &str, form: Form, range: Range) -> Option<Decimal38> {
        let text = match self.digits(field, form) {
            Ok(text) => text,
            Err(("missing_field" | "null_field", _)) => return None,
            Err((code, detail)) => {
                self.null(code, field, detail);
                return None;
            }
        };
        match Decimal38::parse(&text) {
            Ok(value) if range == Range::ZeroIsUnknown && value.is_zero() => None,
            Ok(value) if range != Range::Any && value.is_negative() => {
                self.null("negative", field, excerpt(&text));
                None
            }
            Ok(value) => Some(value),
            Err(error) => {
                let (code, detail) = unreadable(&error, &text);
                self.null(code, field, detail);
                None
            }
        }
    }

    /// A string that must be there.
    pub fn text(&mut self, field: &str) -> Option<Cow<'a, str>> {
        match self.object.get(field) {
            Field::One(Value::Text(text)) if !text.is_empty() => Some(text),
            Field::One(Value::Text(_)) => {
                self.reject("missing_field", field, "an empty string");
                None
            }
            found => {
                let (code, detail) = not_the("a string", &found);
                self.reject(code, field, detail);
                None
            }
        }
    }

    /// An object that must be there.
    pub fn object_below(&mut self, field: &str) -> Option<Object<'a>> {
        match self.object.get(field) {
            Field::One(Value::Object(text)) => Some(Object::parse(text)),
            found => {
                let (code, detail) = not_the("an object", &found);
                self.reject(code, field, detail);
                None
            }
        }
    }

    /// An array that must be there, as its text.
    pub fn array_below(&mut self, field: &str) -> Option<&'a str> {
        match self.object.get(field) {
            Field::One(Value::Array(text)) => Some(text),
            found => {
                let (code, detail) = not_the("an array", &found);
                self.reject(code, field, detail);
                None
            }
        }
    }

    /// A whole number's digits as they came, from a number or a string. `None` with a problem when it is anything else.
    pub fn whole_number(&mut self, field: &str) -> Option<(i64, Cow<'a, str>)> {
        let text = match self.object.get(field) {
            Field::One(Value::Number(text)) => Cow::Borrowed(text),
            Field::One(Value::Text(text)) => text,
            found => {
                let (code, detail) = not_the("a whole number", &found);
                self.reject(code, field, detail);
                return None;
            }
        };
        // The digits are an identity: a second spelling of the same number (+7, 007) must not get another one. Zeros in front
        // are how some ids are padded.
        match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Some((number, text)),
            Ok(number) if text.starts_with('0') => Some((number, Cow::Owned(number.to_string()))),
            _ => {
                self.reject("not_a_number", field, format!("expected a whole number, got {}", excerpt(&text)));
                None
            }
        }
    }

    /// An RFC 3339 time as micros UTC.
    pub fn timestamp(&mut self, field: &str) -> Option<i64> {
        let text = self.text(field)?;
        match utc_micros(&text).or_else(|| Some(text.parse::<Timestamp>().ok()?.as_microsecond())) {
            Some(micros) => self.plausible(field, micros, &text),
            None => {
                self.reject("bad_time", field, format!("expected an RFC 3339 time, got {}", excerpt(&text)));
                None
            }
        }
    }

    /// A time counted from 1970 as micros UTC, and its digits as they came, from a number or a string.
    pub fn epoch(&mut self, field: &str, unit: Unit) -> Option<(i64, Cow<'a, str>)> {
        let (count, text) = self.whole_number(field)?;
        let micros = count.checked_mul(unit.micros()).unwrap_or(i64::MAX);
        Some((self.plausible(field, micros, &text)?, text))
    }

    fn plausible(&mut self, field: &str, micros: i64, text: &str) -> Option<i64> {
        if is_plausible(micros) {
            return Some(micros);
        }
        self.reject("bad_time", field, format!("{} is no time that a price can have", excerpt(text)));
        None
    }

    /// What `read` gives; where it gives nothing the row stands without that field, and the problems say so.
    pub fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.problems.len();
        let value = read(self);
        for problem in &mut self.problems[before..] {
            problem.effect = Effect::Nulled;
        }
        value
    }

    /// What `read` makes of the source's own time. Missing and null are silently none; any other time that cannot be meant is
    /// named, and that of receipt stands in for it.
    pub fn told_time<T>(&mut self, field: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.is_absent(field) {
            return None;
        }
        let before = self.problems.len();
        let time = self.optional(read);
        for problem in &mut self.problems[before..] {
            problem.code = "bad_time";
            problem.detail.push_str("; the time of receipt is taken");
        }
        time
    }

    /// Whether the field is not there, or null.
    #[must_use]
    pub fn is_absent(&self, field: &str) -> bool {
        matches!(self.object.get(field), Field::Missing | Field::One(Value::Null))
    }
}

/// Digits as a price: positive and exact, or the code and the detail of what is wrong with them.
///
/// # Errors
/// When they are no number, not positive, or not exact in DECIMAL(38,18).
pub fn positive(text: Cow<'_, str>) -> Result<Price<'_>, (&'static str, String)> {
    match Decimal38::parse(&text) {
        Ok(value) if value.is_zero() || value.is_negative() => {
            Err(("not_positive", format!("a price of {}", excerpt(&text))))
        }
        Ok(value) => Ok(Price { value, text }),
        Err(error) => Err(unreadable(&error, &text)),
    }
}

/// A time as exchanges write it, `2026-03-04T05:06:07.123456Z`, as micros; what is finer is cut off. `None` for one that is
/// written in another way, or is none.
fn utc_micros(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.strip_suffix('Z')?.split_at_checked(19)?;
    let text = seconds.as_bytes();
    let punctuated =
        [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')].iter().all(|&(at, mark)| text[at] == mark);
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_i64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    };
    let (year, month, day) = (number(&text[..4])?, number(&text[5..7])?, number(&text[8..10])?);
    let (hour, minute, second) = (number(&text[11..13])?, number(&text[14..16])?, number(&text[17..])?);
    let leap = i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
    let lengths = [31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let last = *lengths.get(usize::try_from(month - 1).ok()?)?;
    let in_range = year >= 1970 && (1..=last).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if !punctuated || !in_range {
        return None;
    }
    let micros = match fraction.as_bytes() {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => {
            let kept = &digits[..digits.len().min(6)];
            number(digits)?;
            number(kept)? * 10_i64.pow(6 - kept.len() as u32)
        }
        _ => return None,
    };
    // Years begin in March, so that the day of a leap year is the last: (153 m + 2) / 5 days stand before its month m.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

/// No price is older than the first block of 2009-01-03, and none is of the next century: such a time is another unit.
#[must_use]
pub fn is_plausible(micros: i64) -> bool {
    const LATEST: i64 = 4_102_444_800_000_000;
    (fits::FIRST_US..LATEST).contains(&micros)
}

/// What an epoch time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Millis,
    Micros,
}

impl Unit {
    #[must_use]
    pub fn micros(self) -> i64 {
        match self {
            Self::Seconds => 1_000_000,
            Self::Millis => 1_000,
            Self::Micros => 1,
        }
    }
}

fn not_the(wanted: &str, found: &Field<'_>) -> (&'static str, String) {
    match found {
        Field::Missing => ("missing_field", "the field is not there".to_owned()),
        Field::Ambiguous => ("duplicate_key", "the key stands there twice with different values".to_owned()),
        Field::One(Value::Null) => ("null_field", "null".to_owned()),
        Field::One(other) => ("wrong_type", format!("expected {wanted}, got {}", other.kind())),
    }
}

/// The code and the detail of digits that are no exact number.
#[must_use]
pub fn unreadable(error: &DecimalError, text: &str) -> (&'static str, String) {
    match error {
        DecimalError::NotANumber => ("not_a_number", format!("expected a decimal number, got {}", excerpt(text))),
        DecimalError::TooManyDigits => {
            ("too_many_digits", format!("{} does not fit into 20 digits before the point", excerpt(text)))
        }
        DecimalError::TooPrecise { fraction_digits } => (
            "too_precise",
            format!(
                "{} has {fraction_digits} digits after the point; 18 are kept, and none is rounded away",
                excerpt(text)
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_the_library(text: &str) -> Option<i64> {
        Some(text.parse::<Timestamp>().ok()?.as_microsecond())
    }

    #[test]
    fn times_are_those_of_the_library() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2024-02-29T23:59:59.999999999Z",
            "2100-02-28T00:00:00.1Z",
            "2000-03-01T12:30:00.123456Z",
            "9998-12-31T23:59:59Z",
        ] {
            assert_eq!(utc_micros(text).map(Some), Some(by_the_library(text)), "{text}");
        }
        for text in [
            "",
            "Z",
            "2026-03-04T05:06:07",
            "2026-03-04 05:06:07Z",
            "2026-03-04T05:06:07+00:00",
            "2026-02-29T05:06:07Z",
            "2026-00-04T05:06:07Z",
            "2026-13-04T05:06:07Z",
            "2026-03-04T24:00:00Z",
            "2026-03-04T05:06:60Z",
            "2026-03-04T05:06:07.Z",
            "2026-03-04T05:06:07.1234567890Z",
            "2026-03-04T05:06:07.12x456Z",
            "2026-03-04T05:06:+7Z",
            "1969-12-31T23:59:59Z",
            "2026-03-04T05:06:0é",
        ] {
            assert_eq!(utc_micros(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_time_is_that_of_the_library(nanos in 0_i128..4_102_444_800_000_000_000, digits in 0_usize..10) {
            let text = format!("{:.*}", digits, Timestamp::from_nanosecond(nanos).expect("in range"));
            prop_assert_eq!(utc_micros(&text).map(Some), Some(by_the_library(&text)), "{}", text);
        }
    }
}
