//! Fields of one row of a payload, with each way they can be wrong named. A price is exact and positive or there is none;
//! an auxiliary field that is wrong is left out and named. Must never happen here: a float, a guess, or a rounded digit.

use std::borrow::Cow;

use jiff::Timestamp;
use pipeline::decimal::{Decimal38, DecimalError};

use crate::json::{Field, Object, Value};
use crate::problem::{Problem, excerpt};

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
    fn at(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    fn reject(&mut self, code: &'static str, field: &str, detail: impl Into<String>) {
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
        match Decimal38::parse(&text) {
            Ok(value) if value.is_zero() || value.is_negative() => {
                self.reject("not_positive", field, format!("a price of {}", excerpt(&text)));
                None
            }
            Ok(value) => Some(Price { value, text }),
            Err(error) => {
                let (code, detail) = unreadable(&error, &text);
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
        // The digits are an identity: a second spelling of the same number (+7, 007) must not get another one.
        match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Some((number, text)),
            _ => {
                self.reject("not_a_number", field, format!("expected a whole number, got {}", excerpt(&text)));
                None
            }
        }
    }

    /// An RFC 3339 time as micros UTC.
    pub fn timestamp(&mut self, field: &str) -> Option<i64> {
        let text = self.text(field)?;
        match text.parse::<Timestamp>() {
            Ok(time) => Some(time.as_microsecond()),
            Err(_) => {
                self.reject("bad_time", field, format!("expected an RFC 3339 time, got {}", excerpt(&text)));
                None
            }
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

fn unreadable(error: &DecimalError, text: &str) -> (&'static str, String) {
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
